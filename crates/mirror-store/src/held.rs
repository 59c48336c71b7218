//! Held files, open for reading: for whoever serves them.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::disk::patient;
use crate::error::{StoreError, at};
use crate::path::below;
use crate::store::{Store, open_plain};

/// A held file, open. Any number of threads may read.
#[derive(Debug)]
pub struct HeldFile {
    file: File,
    len: u64,
    modified: SystemTime,
}

impl HeldFile {
    fn of(file: File) -> io::Result<Option<Self>> {
        let meta = file.metadata()?;
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(meta.is_file().then_some(Self { file, len: meta.len(), modified }))
    }

    /// Its length when it was opened, bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// When it was changed last.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        self.modified
    }

    /// Fills `out` from `offset` on. Blocks.
    ///
    /// # Errors
    /// When it is shorter, or the disk fails.
    pub fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        read_exact_at(&self.file, out, offset)
    }

    /// The same, but only when nothing has to be waited for; false, and `out` is nothing, when the disk
    /// would have to be asked.
    ///
    /// # Errors
    /// When it is shorter, or the disk fails.
    pub fn read_at_once(&self, out: &mut [u8], offset: u64) -> io::Result<bool> {
        read_at_once(&self.file, out, offset)
    }
}

impl Store {
    /// Opens a held file; `None` when there is none. Blocks.
    ///
    /// # Errors
    /// When something other than a regular file is there, or it cannot be opened.
    pub fn open_held(&self, rel: &str) -> Result<Option<HeldFile>, StoreError> {
        let path = below(self.root(), rel)?;
        opened(patient(|| open_plain(&path)), &path)
    }

    /// The same, but only when nothing has to be waited for: `None` when the disk would have to be asked.
    ///
    /// # Errors
    /// When something other than a regular file is there, or it cannot be opened.
    pub fn open_held_at_once(&self, rel: &str) -> Result<Option<Option<HeldFile>>, StoreError> {
        let path = below(self.root(), rel)?;
        match open_at_once(&path) {
            Ok(None) => Ok(None),
            Ok(Some(file)) => opened(Ok(file), &path).map(Some),
            Err(error) => opened(Err(error), &path).map(Some),
        }
    }
}

fn opened(file: io::Result<File>, path: &Path) -> Result<Option<HeldFile>, StoreError> {
    let strange = || StoreError::Strange { path: path.to_owned(), expected: "a regular file" };
    match file {
        Ok(file) => HeldFile::of(file).map_err(at("look at", path))?.ok_or_else(strange).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let link = std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file());
            Err(if link { strange() } else { at("open", path)(error) })
        }
    }
}

/// `None` when it would have to wait, or when this cannot be told.
#[cfg(target_os = "linux")]
fn open_at_once(path: &Path) -> io::Result<Option<File>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    use rustix::io::Errno;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(file) => Ok(Some(file.into())),
        // Not in memory, or a system that does not know how to ask.
        Err(Errno::AGAIN | Errno::NOSYS | Errno::INVAL | Errno::PERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_at_once(_: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

#[cfg(target_os = "linux")]
pub(crate) fn read_at_once(file: &File, out: &mut [u8], offset: u64) -> io::Result<bool> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    let mut done = 0;
    while done < out.len() {
        let rest = &mut [io::IoSliceMut::new(&mut out[done..])];
        match preadv2(file, rest, offset + done as u64, ReadWriteFlags::NOWAIT) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            // Not in memory, or a file system that does not know how to tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn read_at_once(_: &File, _: &mut [u8], _: u64) -> io::Result<bool> {
    Ok(false)
}

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, out, offset)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out = &mut out[n..];
        offset += n as u64;
    }
    Ok(())
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
        if let Some(Some(held)) = store.open_held_at_once("s/er/serde-1.0.0.crate").expect("open")
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
            assert!(!matches!(store.open_held_at_once("s/er/link.crate"), Ok(Some(_))));
        }
    }
}
