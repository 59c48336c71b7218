//! Held files, opened for a server to read.

use std::fs::File;
use std::io;
use std::path::Path;

use mirror_fs::{FileReader, patient};

use crate::error::{StoreError, at};
use crate::path::below;
use crate::store::Store;

impl Store {
    /// Opens a held file; `None` when there is none. Blocks.
    ///
    /// # Errors
    /// When something other than a regular file is there, or it cannot be opened.
    pub fn open_held(&self, rel: &str) -> Result<Option<FileReader>, StoreError> {
        let path = below(self.root(), rel)?;
        opened(patient(|| mirror_fs::open_to_read(&path)), &path)
    }

    /// Opens a held file like [`Store::open_held`], but only if that takes no wait for the disk.
    ///
    /// # Errors
    /// When something other than a regular file is there, or it cannot be opened.
    pub fn open_held_at_once(&self, rel: &str) -> Result<AtOnce, StoreError> {
        let path = below(self.root(), rel)?;
        let found = match mirror_fs::open_at_once(&path) {
            Ok(None) => return Ok(AtOnce::Later),
            Ok(Some(file)) => opened(Ok(file), &path),
            Err(error) => opened(Err(error), &path),
        };
        Ok(found?.map_or(AtOnce::Missing, AtOnce::Open))
    }
}

/// The facts known about a held file without waiting.
#[derive(Debug)]
pub enum AtOnce {
    /// Finding out would take a wait for the disk.
    Later,
    /// There is no such file.
    Missing,
    /// The file is open.
    Open(FileReader),
}

fn opened(file: io::Result<File>, path: &Path) -> Result<Option<FileReader>, StoreError> {
    let strange = || StoreError::Strange { path: path.to_owned(), expected: "a regular file" };
    match file {
        Ok(file) => FileReader::of(file).map_err(at("look at", path))?.ok_or_else(strange).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let link = std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file());
            Err(if link { strange() } else { at("open", path)(error) })
        }
    }
}

#[cfg(test)]
mod tests {
    use mirror_types::Layout;

    use super::*;

    #[test]
    fn held_files_are_read_by_position_and_links_are_not_followed() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::create_dir_all(dir.path().join("s/er")).expect("dir");
        std::fs::write(dir.path().join("s/er/serde-1.0.0.crate"), b"0123456789").expect("write");
        let store = Store::open_read_only(dir.path(), Layout::Shard).expect("open").expect("some");
        let held = store.open_held("s/er/serde-1.0.0.crate").expect("open").expect("some");
        let mut out = [0; 4];
        held.read_exact_at(&mut out, 6).expect("read");
        assert_eq!((&out, held.len()), (b"6789", 10));
        assert!(held.read_exact_at(&mut out, 7).is_err());
        if let AtOnce::Open(held) = store.open_held_at_once("s/er/serde-1.0.0.crate").expect("open")
            && held.read_at_once(&mut out, 1).expect("read")
        {
            assert_eq!(&out, b"1234");
        }
        assert!(store.open_held("s/er/serde-1.0.1.crate").expect("open").is_none());
        assert!(store.open_held("s/er").is_err());
        assert!(store.open_held("../x").is_err());
        assert!(store.open_held_at_once("s/../s/er/serde-1.0.0.crate").is_err());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("serde-1.0.0.crate", dir.path().join("s/er/link.crate"))
                .expect("link");
            assert!(store.open_held("s/er/link.crate").is_err());
            assert!(matches!(store.open_held_at_once("s/er/link.crate"), Err(_) | Ok(AtOnce::Later)));
        }
    }
}
