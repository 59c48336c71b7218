//! Logs the events of a run.

use mirror_archive::{ArchiveEvent, ArchiveObserver, shown};

/// Logs each event.
pub(crate) struct Log;

impl ArchiveObserver for Log {
    fn event(&self, event: ArchiveEvent<'_>) {
        match event {
            ArchiveEvent::Reading { dir, files, bytes } => {
                tracing::info!(files, bytes, "reading {}", dir.display());
            }
            ArchiveEvent::Archived { path, bytes } => {
                tracing::debug!(path = %shown(path), bytes, "archived");
            }
            ArchiveEvent::WritingInventory => tracing::info!("writing the inventory"),
            ArchiveEvent::Comparing { files, bytes } => tracing::info!(files, bytes, "comparing"),
            ArchiveEvent::TransientListed => tracing::warn!(
                "the inventory lists locks or the stage of a mirror, as earlier versions did; the digests of the \
                 whole cover them and were not compared, but those of each file were"
            ),
            _ => {}
        }
    }
}
