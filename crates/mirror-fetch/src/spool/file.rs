use std::any::Any;
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use mirror_fs::TempFile;

use super::{Spool, SpoolFactory};

/// Makes spools that are temporary files in one directory. A file is removed when its spool is dropped; only a killed
/// process leaves some.
#[derive(Debug, Clone)]
pub struct FileSpools {
    dir: PathBuf,
}

impl FileSpools {
    /// Makes spools in an existing directory, into which no other user can put links.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }
}

impl SpoolFactory for FileSpools {
    fn create(&self) -> io::Result<Box<dyn Spool>> {
        let path = self.dir.join(format!("spool-{}-{:016x}", std::process::id(), fastrand::u64(..)));
        Ok(Box::new(FileSpool { file: TempFile::of(mirror_fs::create_new(&path)?, &path) }))
    }
}

/// A large body in a temporary file.
#[derive(Debug)]
pub struct FileSpool {
    file: TempFile,
}

impl FileSpool {
    /// Returns the file, with its position at the end. It is removed when it is dropped, unless it is
    /// [published](TempFile::publish) before.
    #[must_use]
    pub fn into_file(self) -> TempFile {
        self.file
    }
}

impl Spool for FileSpool {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.file().write_all(chunk)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.file().set_len(0)?;
        self.file.file().rewind()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }

    fn into_reader(self: Box<Self>) -> io::Result<Box<dyn Read + Send>> {
        self.file.file().rewind()?;
        Ok(Box::new(Reader(self.file)))
    }
}

/// A reader of a file that is removed when the reader is dropped.
struct Reader(TempFile);

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.file().read(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> usize {
        std::fs::read_dir(dir).expect("list").count()
    }

    #[test]
    fn a_body_is_in_a_file_for_as_long_as_its_spool_lives() {
        let dir = tempfile::tempdir().expect("dir");
        let spools = FileSpools::new(dir.path());
        let mut spool = spools.create().expect("spool");
        spool.write(b"something else").expect("write");
        spool.restart().expect("restart");
        spool.write(b"the ").expect("write");
        spool.write(b"body").expect("write");
        let other = spools.create().expect("another");
        assert_eq!(files(dir.path()), 2);
        drop(other);
        let mut reader = spool.into_reader().expect("reader");
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("read");
        assert_eq!((read.as_str(), files(dir.path())), ("the body", 1));
        drop(reader);
        assert_eq!(files(dir.path()), 0);
        assert!(FileSpools::new(&dir.path().join("none")).create().is_err());
    }

    #[test]
    fn a_body_can_be_published_where_it_is() {
        let dir = tempfile::tempdir().expect("dir");
        let mut spool = FileSpools::new(dir.path()).create().expect("spool");
        spool.write(b"the body").expect("write");
        let spool = spool.into_any().downcast::<FileSpool>().expect("a spool of these");
        let target = dir.path().join("kept");
        spool.into_file().publish(&target).expect("publish");
        assert_eq!(std::fs::read(&target).expect("read"), b"the body");
        assert_eq!(files(dir.path()), 1);
    }
}
