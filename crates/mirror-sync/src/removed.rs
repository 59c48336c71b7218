//! Hides releases that upstream deleted: they are still held, and not offered any more.

use mirror_manifest::{Catalogue, PackedLines};
use mirror_repo::MirrorWriter;
use mirror_types::{ReleaseId, redacted};

use crate::cursor::Cursor;
use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver};
use crate::options::{DownloadOptions, Upstream};
use crate::outcome::Outcome;
use crate::source::Input;

/// Returns the identity of the source of a run: the registry, the address that the repository was cloned from, or else
/// its path. `None` for a list, which has none. It contains no secrets.
fn identity(input: &Input, options: &DownloadOptions) -> Result<Option<String>, SyncError> {
    let text = match (input, &options.upstream) {
        (Input::List { .. }, _) | (_, Upstream::List(_)) => return Ok(None),
        (_, Upstream::Sparse(url)) => format!("sparse+{}", mirror_index::sparse::root(url)?),
        (Input::Local(source), Upstream::Local(dir)) => {
            let asked = options.update.as_ref().and_then(|update| update.url.as_ref());
            match asked.map(|url| url.reveal().to_owned()).or_else(|| source.origin()) {
                Some(origin) => format!("git+{origin}"),
                None => {
                    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.clone());
                    format!("path+{}", dir.display())
                }
            }
        }
        (Input::Sparse { .. }, Upstream::Local(_)) => return Ok(None),
    };
    Ok(Some(redacted(&text)))
}

/// Returns the bit of the source of a run; 0, the bit of a source that listed nothing, when the source was not
/// recorded.
pub(crate) fn bit_of(
    catalogue: Option<&Catalogue>,
    input: &Input,
    options: &DownloadOptions,
) -> Result<u64, SyncError> {
    match (catalogue, identity(input, options)?) {
        (Some(catalogue), Some(identity)) => Ok(catalogue.source_bit(&identity)?.unwrap_or(0)),
        _ => Ok(0),
    }
}

/// Records the source of a run in the mirror and returns its bit. When the mirror never recorded a source, everything
/// that it holds counts as seen in this one if the source has the tree of the cursor.
pub(crate) fn record_source(
    mirror: &mut MirrorWriter,
    input: &Input,
    options: &DownloadOptions,
) -> Result<u64, SyncError> {
    let Some(identity) = identity(input, options)? else { return Ok(0) };
    mirror.record_source(&identity, |catalogue| match input {
        Input::Local(source) => Cursor::is_of(source, catalogue),
        _ => Ok(false),
    })
}

/// Hides `removed`, and stores the index lines that lack them; does neither when they are a mass that was not accepted.
/// Durable on return.
pub(crate) fn hide(
    mirror: &mut MirrorWriter,
    removed: &[ReleaseId],
    deferred: Vec<PackedLines>,
    accept_mass: bool,
    outcome: &mut Outcome,
    observer: &dyn SyncObserver,
) -> Result<(), SyncError> {
    if removed.is_empty() {
        return Ok(());
    }
    if !accept_mass && mirror.is_mass_removal(removed.len())? {
        observer.event(SyncEvent::MassRemovalRefused { releases: removed.len() as u64 });
        outcome.removal_refused = removed.len() as u64;
        return Ok(());
    }
    observer.event(SyncEvent::Hidden(removed));
    Ok(mirror.hide(removed, deferred)?)
}
