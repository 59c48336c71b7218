//! Files that exist as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A file without its final name. If it is dropped before it is published, it is removed.
#[derive(Debug)]
pub struct TempFile {
    file: File,
    path: PathBuf,
    published: bool,
}

impl TempFile {
    /// Creates the file at `path`, for reading and writing. Removes an existing file or link of that name first.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self::of(create_anew(path)?, path))
    }

    /// Creates a file like [`TempFile::create`], with permissions of at most `mode`, as in `0o600`. Systems without
    /// such permissions ignore `mode`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn create_with_mode(path: &Path, mode: u32) -> io::Result<Self> {
        remove(path)?;
        Ok(Self::of(with_mode(new_file(), mode).open(path)?, path))
    }

    /// Wraps a file that is open for writing.
    #[must_use]
    pub fn of(file: File, path: &Path) -> Self {
        Self { file, path: path.to_owned(), published: false }
    }

    /// Returns the open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the path of the file until it is published.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the bytes durable. Blocks.
    ///
    /// # Errors
    /// When the disk refuses. A failure is final.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Renames the file to its final name, replacing an existing one. The name is durable after a
    /// [`sync_dir`](crate::sync_dir); the bytes must be [synced](TempFile::sync) before.
    ///
    /// # Errors
    /// When the disk refuses; what was there stays.
    pub fn publish(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Adds the permissions of files that are created.
#[cfg(unix)]
fn with_mode(mut options: OpenOptions, mode: u32) -> OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    options
}

#[cfg(not(unix))]
fn with_mode(options: OpenOptions, _mode: u32) -> OpenOptions {
    options
}

fn new_file() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    options
}

/// Creates a file, for reading and writing. Removes an existing file or link of that name first.
///
/// # Errors
/// When a directory is there, or the disk refuses.
pub fn create_anew(path: &Path) -> io::Result<File> {
    remove(path)?;
    new_file().open(path)
}

/// Creates a file that does not exist yet, for reading and writing.
///
/// # Errors
/// `AlreadyExists` when anything is there; when the disk refuses.
pub fn create_new(path: &Path) -> io::Result<File> {
    new_file().open(path)
}

/// Replaces `path` with a file of these bytes, atomically; `beside` is the path at which they are written first, in the
/// same directory. The new bytes are durable before they get the name; the name is durable after a
/// [`sync_dir`](crate::sync_dir). Blocks.
///
/// # Errors
/// When the disk refuses; the file is the old one then, or the new one.
pub fn replace(path: &Path, beside: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_anew(beside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(beside, path)
}

/// Replaces a file like [`replace`], without a sync: after a power cut it may be empty or torn. For content that can be
/// fetched again.
///
/// # Errors
/// As [`replace`], and when `bytes` cannot be read.
pub fn replace_unsynced(path: &Path, beside: &Path, bytes: &mut dyn io::Read) -> io::Result<()> {
    let mut file = create_anew(beside)?;
    io::copy(bytes, &mut file)?;
    fs::rename(beside, path)
}

/// Creates a file of these bytes where none exists. No other process sees it without them, where the file system has
/// hard links; `beside` is the path at which they are written first, in the same directory. Not durable.
///
/// # Errors
/// `AlreadyExists` when anything is there; when the disk refuses.
pub fn create_whole(path: &Path, beside: &Path, bytes: &[u8]) -> io::Result<()> {
    create_anew(beside)?.write_all(bytes)?;
    let made = match fs::hard_link(beside, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            File::create_new(path).and_then(|mut file| file.write_all(bytes))
        }
        made => made,
    };
    fs::remove_file(beside)?;
    made
}

/// Renames a file or a directory; replaces an existing file of the new name.
///
/// # Errors
/// When the disk refuses.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Links a file to a second name, which must be free.
///
/// # Errors
/// When the disk refuses; also where the file system has no such names, or the two are on different ones.
pub fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)
}

/// Removes a file. A missing file is no error.
///
/// # Errors
/// When a directory is there, or the disk refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_file(path))
}

/// Removes a directory with everything in it; removes links, and does not follow them. A missing directory is no error.
///
/// # Errors
/// When the disk refuses; a part may be gone then.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_dir_all(path))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("list");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("entry").file_name().into_string().expect("name")).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole() {
        let dir = tempfile::tempdir().expect("dir");
        let (path, temp) = (dir.path().join("f"), dir.path().join(".f.partial"));
        fs::write(&temp, "left by a crash").expect("write");
        for make in [TempFile::create, |path: &Path| TempFile::create_with_mode(path, 0o600)] {
            let file = make(&temp).expect("create");
            file.file().write_all(b"new").expect("write");
            assert!(file.path().exists() && !path.exists());
            drop(file);
            assert_eq!(names(dir.path()), [""; 0]);
            let file = make(&temp).expect("create");
            file.file().write_all(b"new").expect("write");
            file.sync().expect("sync");
            file.publish(&path).expect("publish");
            assert_eq!(
                (names(dir.path()), fs::read(&path).expect("read")),
                (vec!["f".to_owned()], b"new".into())
            );
            remove(&path).expect("remove");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("dir");
        let file = TempFile::create_with_mode(&dir.path().join("f"), 0o600).expect("create");
        assert_eq!(file.file().metadata().expect("look").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_is_replaced_whole_or_stays() {
        let dir = tempfile::tempdir().expect("dir");
        let (path, beside) = (dir.path().join("f"), dir.path().join("f.new"));
        fs::write(&beside, "left by a crash, and longer").expect("write");
        replace(&path, &beside, b"first").expect("replace");
        assert_eq!(fs::read(&path).expect("read"), b"first");
        replace_unsynced(&path, &beside, &mut &b"second"[..]).expect("replace");
        assert_eq!(fs::read(&path).expect("read"), b"second");
        let mut short = io::Read::chain(&b"third"[..], Failing);
        replace_unsynced(&path, &beside, &mut short).expect_err("bytes that fail");
        assert_eq!(fs::read(&path).expect("read"), b"second");
    }

    struct Failing;

    impl io::Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("no more"))
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_replaced_and_not_written_through() {
        let dir = tempfile::tempdir().expect("dir");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("victim"), "precious").expect("write");
        for name in ["f", "f.new", "anew", "temp"] {
            std::os::unix::fs::symlink(at("victim"), at(name)).expect("link");
        }
        replace(&at("f"), &at("f.new"), b"new").expect("replace");
        create_anew(&at("anew")).expect("create").write_all(b"new").expect("write");
        drop(TempFile::create(&at("temp")).expect("create"));
        assert!(create_new(&at("victim")).is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(at("victim")).expect("read"), b"precious");
        assert_eq!(names(dir.path()), ["anew", "f", "victim"]);
    }

    #[test]
    fn a_file_is_created_once() {
        let dir = tempfile::tempdir().expect("dir");
        let (path, beside) = (dir.path().join("f"), dir.path().join("f.new"));
        create_whole(&path, &beside, b"first").expect("create");
        let error = create_whole(&path, &beside, b"second").expect_err("there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            (names(dir.path()), fs::read(&path).expect("read")),
            (vec!["f".to_owned()], b"first".into())
        );
    }

    #[test]
    fn what_is_not_there_is_removed_without_an_error() {
        let dir = tempfile::tempdir().expect("dir");
        remove(&dir.path().join("f")).expect("no file");
        remove_tree(&dir.path().join("d")).expect("no directory");
        fs::create_dir_all(dir.path().join("d/e")).expect("dirs");
        remove_tree(&dir.path().join("d")).expect("remove");
        assert_eq!(names(dir.path()), [""; 0]);
    }
}
