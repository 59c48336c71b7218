//! Rebuilds the catalogue from the manifest, the bundles and the files.

use mirror_repo::{RebuildOutcome, RebuildReport};
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver};
use crate::options::RebuildOptions;

/// Rebuilds the catalogue of a mirror and puts it in the place of the old one, which may be damaged or gone. Takes the
/// lock of the mirror. Blocks; reads every file that no record names.
///
/// # Errors
/// When another run holds the mirror, manifest or bundles are damaged, or the disk refuses; the old
/// catalogue stays then.
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
    Ok(rebuilt?)
}
