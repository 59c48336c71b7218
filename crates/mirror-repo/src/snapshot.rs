//! The snapshots of a mirror: documents below its root, and rows that the catalogue can tell of each.

mod dir;
mod rows;

use mirror_manifest::SnapshotRow;
use mirror_snapshot::Snapshot;

use crate::error::RepoError;
use crate::writer::MirrorWriter;

pub use dir::{SNAPSHOTS, SnapshotDir, SnapshotFile};
pub use rows::{At, OfferedUnits, check_offered, check_rows, offered_units, rows_of};

impl MirrorWriter {
    /// Returns the snapshots of this mirror.
    #[must_use]
    pub fn snapshot_dir(&self) -> SnapshotDir {
        SnapshotDir::of(self.store().root())
    }

    /// Returns the digests of what is offered now. Computes those of the units that changed since the newest snapshot.
    /// Blocks.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn offered_units(&self) -> Result<OfferedUnits, RepoError> {
        offered_units(self.catalogue())
    }

    /// Writes a snapshot of what is offered now, after its signatures, each with the name of its file. `units` are those
    /// of the same state. When a document is published, its serial is used up, whatever happens next. Blocks.
    ///
    /// # Errors
    /// When the disk or SQLite fails; when there is a document with this serial.
    pub fn publish_snapshot(
        &mut self,
        snapshot: &Snapshot,
        signatures: &[(String, Vec<u8>)],
        units: &OfferedUnits,
    ) -> Result<(), RepoError> {
        self.snapshot_dir().publish(snapshot, signatures)?;
        self.adopt_snapshot(snapshot, units)
    }

    /// Records a snapshot whose document is there, and that says what is offered now, as the newest.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn adopt_snapshot(&mut self, snapshot: &Snapshot, units: &OfferedUnits) -> Result<(), RepoError> {
        let row = SnapshotRow { serial: snapshot.serial(), sha256: snapshot.digest() };
        Ok(self.catalogue_mut().snapshot_taken(row, units.changed())?)
    }

    /// Removes all snapshots of this mirror but the newest `newest`, those that are pinned, and the one that is newest of
    /// all. Leaves documents alone that it cannot read or that are another mirror's. Returns the serials of those that were
    /// removed. Blocks.
    ///
    /// # Errors
    /// When the disk or SQLite fails.
    pub fn retain_snapshots(&mut self, newest: usize) -> Result<Vec<u64>, RepoError> {
        let (dir, newest) = (self.snapshot_dir(), newest.max(1));
        let mut files = dir.list()?;
        files.reverse();
        let are_few = files.len() <= newest;
        let (mut kept, mut removed) = (Vec::new(), Vec::new());
        let mut ours = 0;
        for SnapshotFile { serial, is_pinned } in files {
            let is_ours = are_few || self.is_of_this_mirror(dir.read(serial));
            ours += usize::from(is_ours);
            if is_pinned || !is_ours || ours <= newest {
                kept.push(serial);
            } else {
                removed.push(serial);
            }
        }
        // A document whose rows cannot be told any more does less harm than rows without their document.
        self.catalogue_mut().keep_snapshots(&kept)?;
        for serial in &removed {
            dir.remove(*serial)?;
        }
        removed.sort_unstable();
        Ok(removed)
    }

    fn is_of_this_mirror(&self, read: Result<Option<Snapshot>, RepoError>) -> bool {
        read.is_ok_and(|found| found.is_some_and(|snapshot| snapshot.contents().mirror == self.id()))
    }
}
