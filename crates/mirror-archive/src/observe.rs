//! The events of a run, and the trait that receives them.

use std::path::Path;

/// Receives the events of a run, to log or draw them. The [`Monitor`](crate::Monitor) has the progress.
pub trait ArchiveObserver: Send + Sync {
    /// Receives an event. It is called for every file that is archived, and must not block.
    fn event(&self, event: ArchiveEvent<'_>);
}

/// One thing that happened in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveEvent<'a> {
    /// The files of a directory were counted; they are read next.
    Reading {
        /// The directory.
        dir: &'a Path,
        /// Files in it.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// An entry of the directory was read and hashed.
    Archived {
        /// Its path below the directory.
        path: &'a [u8],
        /// Its size.
        bytes: u64,
    },
    /// Everything is read; the inventory is written next.
    WritingInventory,
    /// The inventory was opened; what it lists is compared next.
    Comparing {
        /// Files that it lists.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The inventory lists locks or the stage of a mirror, as earlier versions did. The digests of the whole, which
    /// cover them, were not compared; those of each file were.
    TransientListed,
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{Against, CreateOptions, HashKind, Monitor, Signing, VerifyOptions, create, verify};

    /// Records the events.
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl ArchiveObserver for Notes {
        fn event(&self, event: ArchiveEvent<'_>) {
            let note = match event {
                ArchiveEvent::Reading { files, bytes, .. } => format!("reading {files}, {bytes}"),
                ArchiveEvent::Archived { path, bytes } => format!("{}, {bytes}", crate::shown(path)),
                event => format!("{event:?}"),
            };
            self.0.lock().unwrap().push(note);
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test's own files")]
    fn reads_and_writes_are_reported_in_order() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("d");
        std::fs::create_dir(&dir).unwrap();
        for (name, bytes) in [("a", "one"), ("b", "two!")] {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
        let notes = Notes::default();
        let monitor = Monitor::observed_by(notes.clone());
        let options = CreateOptions {
            dir: dir.clone(),
            out_dir: None,
            prefix: None,
            hashes: vec![HashKind::Sha256],
            workers: 1,
            tar: false,
            zip: false,
            signing: Signing::No,
        };
        let created = create(&options, &monitor).unwrap();
        let noted = std::mem::take(&mut *notes.0.lock().unwrap());
        assert_eq!(noted, ["reading 2, 7", "a, 3", "b, 4", "WritingInventory"]);
        let options = VerifyOptions {
            inventory: created.inventory,
            against: Against::Dir(dir),
            public_key: None,
            skip_signature: true,
            hashes: vec![HashKind::Sha256],
            workers: 1,
        };
        assert!(verify(&options, &monitor, &mut |_| {}).unwrap().is_good());
        assert_eq!(*notes.0.lock().unwrap(), ["Comparing { files: 2, bytes: 7 }"]);
    }
}
