//! Rebuilds the catalogue from the manifest, the bundles and the files.

use std::time::SystemTime;

use mirror_repo::{MirrorWriter, RebuildOutcome, RebuildReport};
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver};
use crate::offer;
use crate::options::RebuildOptions;

/// Rebuilds the catalogue of a mirror and puts it in the place of the old one, which may be damaged or gone. Then judges
/// by the policy of the options what is offered; until that is done, a mirror with a policy offers nothing. Takes the
/// lock of the mirror. Blocks; reads every file that no record names.
///
/// # Errors
/// When another run holds the mirror, manifest or bundles are damaged, or the disk refuses; the old
/// catalogue stays then, unless the new one is in its place and could not be judged.
pub fn rebuild_catalogue(
    options: &RebuildOptions,
    observer: &dyn SyncObserver,
    cancel: &CancellationToken,
) -> Result<RebuildOutcome, SyncError> {
    let mut report = RebuildReport::default();
    let rebuilt = mirror_repo::rebuild(&options.mirror(), &|| cancel.is_cancelled(), &mut report);
    observer.event(SyncEvent::Opened(&report.opened));
    if let Some(error) = &report.sources_unknown {
        observer.event(SyncEvent::SourcesUnknown(error));
    }
    let outcome = rebuilt?;
    if !outcome.interrupted {
        judge(options)?;
    }
    Ok(outcome)
}

/// Judges everything in a rebuilt catalogue, if there is a policy.
fn judge(options: &RebuildOptions) -> Result<(), SyncError> {
    let Some(policy) = &options.policy else { return Ok(()) };
    let (mut mirror, _) = MirrorWriter::open(&options.mirror())?;
    let now = options.now.unwrap_or_else(SystemTime::now);
    offer::begin(&mut mirror, policy, now)?;
    mirror.finish(&[], false)?;
    Ok(())
}
