//! Opens the mirror of a run.

use mirror_repo::{LockedMirror, MirrorWriter, OpenReport};
use mirror_store::Store;
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver};
use crate::options::DownloadOptions;

/// Takes the lock of the mirror.
pub(crate) fn lock(options: &DownloadOptions) -> Result<Store, SyncError> {
    Ok(LockedMirror::lock(&options.mirror())?)
}

/// Opens the mirror whose lock is held, and reports what was found, also on failure.
pub(crate) fn open(
    store: Store,
    options: &DownloadOptions,
    observer: &dyn SyncObserver,
    cancel: &CancellationToken,
) -> Result<MirrorWriter, SyncError> {
    let mut report = OpenReport::default();
    let opened = MirrorWriter::open_in(store, &options.mirror(), &|| cancel.is_cancelled(), &mut report);
    observer.event(SyncEvent::Opened(&report));
    Ok(opened?)
}
