use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Something other than a regular file or a directory is where one belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not {expected}")]
pub struct NotPlain {
    /// The kind of object that belongs there: `a regular file` or `a directory`.
    pub expected: &'static str,
}

const FILE: NotPlain = NotPlain { expected: "a regular file" };
const DIRECTORY: NotPlain = NotPlain { expected: "a directory" };

impl From<NotPlain> for io::Error {
    fn from(fault: NotPlain) -> Self {
        Self::new(io::ErrorKind::InvalidInput, fault)
    }
}

/// Returns the object that belongs at the path of an error of this crate, when another one is there.
#[must_use]
pub fn not_plain(error: &io::Error) -> Option<NotPlain> {
    error.get_ref()?.downcast_ref::<NotPlain>().copied()
}

/// Returns the obstacle to an operation on `path` that failed with `error`, and the object that belongs there instead:
/// at the path itself, or at a directory above it. `None` when the system refused for another reason. Examines the
/// directories above if one of them is no directory.
#[must_use]
pub fn in_the_way(path: &Path, error: &io::Error) -> Option<(PathBuf, &'static str)> {
    if let Some(NotPlain { expected }) = not_plain(error) {
        return Some((path.to_owned(), expected));
    }
    if error.kind() != io::ErrorKind::NotADirectory {
        return None;
    }
    let is_other = |at: &&Path| fs::symlink_metadata(at).is_ok_and(|meta| !meta.is_dir());
    path.ancestors().find(is_other).map(|file| (file.to_owned(), DIRECTORY.expected))
}

/// Opens a regular file with these options, which may create it.
///
/// # Errors
/// [`NotPlain`] when a link or anything but a regular file is there; otherwise the error of the system.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match no_follow(path, options).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(FILE.into()),
        Err(error) => Err(if is_strange(path) { FILE.into() } else { error }),
    }
}

/// Opens a regular file for reading and writing, at its beginning; creates it if it does not exist.
///
/// # Errors
/// As [`open`].
pub fn open_or_create(path: &Path) -> io::Result<File> {
    open(path, File::options().read(true).write(true).create(true).truncate(false))
}

/// Opens a regular file for reading.
///
/// # Errors
/// As [`open`].
pub fn open_to_read(path: &Path) -> io::Result<File> {
    open(path, File::options().read(true))
}

/// Opens the object at `path` for reading, unless it is a link, if that needs no waiting; `None` when the disk would
/// have to be read, and where the system cannot tell.
///
/// # Errors
/// The error of the system, also for a link.
#[cfg(target_os = "linux")]
pub fn open_at_once(path: &Path) -> io::Result<Option<File>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    use rustix::io::Errno;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(file) => Ok(Some(file.into())),
        // Not in memory, or the system has no such call.
        Err(Errno::AGAIN | Errno::NOSYS | Errno::INVAL | Errno::PERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns `None`: this system cannot tell whether opening needs waiting.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub fn open_at_once(_: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

#[cfg(unix)]
fn no_follow<'o>(_: &Path, options: &'o mut OpenOptions) -> &'o mut OpenOptions {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt as _;
    // Does not wait for the other end of a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    options.custom_flags(flags.bits().cast_signed())
}

/// Checks the path just before it is opened: this system has no option not to follow links.
#[cfg(not(unix))]
fn no_follow<'o>(path: &Path, options: &'o mut OpenOptions) -> &'o mut OpenOptions {
    if is_strange(path) { options.read(false).write(false).append(false) } else { options }
}

fn is_strange(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file())
}

/// Returns whether a regular file is at `path`; `false` when nothing is there.
///
/// # Errors
/// As [`open`].
pub fn is_file(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => Ok(true),
        Ok(_) => Err(FILE.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a directory unless it exists; returns whether it was made.
///
/// # Errors
/// [`NotPlain`] when a link or anything but a directory is there; otherwise the error of the system.
pub fn make_dir(path: &Path) -> io::Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() { Ok(false) } else { Err(DIRECTORY.into()) }
        }
        Err(error) => Err(error),
    }
}

/// Makes the directories of `path` below `root`, which must exist, one after the other.
///
/// # Errors
/// As [`make_dir`]; also when `path` does not lie below `root`.
pub fn make_dirs(root: &Path, path: &Path) -> io::Result<()> {
    let below = path.strip_prefix(root).map_err(|_| io::Error::from(DIRECTORY))?;
    let mut here = root.to_owned();
    for part in below.components() {
        here.push(part);
        make_dir(&here)?;
    }
    Ok(())
}

/// Makes a directory, and those above it, unless they exist. Follows links among them: for places that belong to the
/// caller.
///
/// # Errors
/// The error of the system.
pub fn make_dir_all(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Makes a directory like [`make_dir_all`], for durable contents: the names of all new directories are durable on
/// return, as far as the directory above them can be opened and synced. Blocks.
///
/// # Errors
/// The error of the system.
pub fn make_root(path: &Path) -> io::Result<()> {
    let is_missing =
        |dir: &Path| fs::symlink_metadata(dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| is_missing(dir)).collect();
    make_dir_all(path)?;
    for dir in missing {
        match dir.parent() {
            Some(above) if above.as_os_str().is_empty() => drop(crate::sync_dir(Path::new("."))),
            Some(above) => drop(crate::sync_dir(above)),
            None => {}
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_plain_file_is_made_and_opened() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("f");
        assert!(open_to_read(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound));
        assert!(!is_file(&path).expect("look"));
        open_or_create(&path).expect("make").write_all(b"x").expect("write");
        assert_eq!(open_to_read(&path).expect("open").metadata().expect("meta").len(), 1);
        assert!(is_file(&path).expect("look"));
    }

    #[test]
    fn directories_above_are_made_with_the_last_one() {
        let dir = tempfile::tempdir().expect("dir");
        for make in [make_dir_all, make_root] {
            let path = dir.path().join("a/b/c");
            make(&path).expect("made");
            make(&path).expect("there");
            assert!(path.is_dir());
            fs::write(path.join("f"), "").expect("write");
            assert!(make(&path.join("f/d")).is_err(), "below a file");
            fs::remove_dir_all(dir.path().join("a")).expect("remove");
        }
    }

    #[test]
    fn what_is_in_the_way_is_found_at_the_path_or_above_it() {
        let dir = tempfile::tempdir().expect("dir");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").expect("write");
        symlink(at("file"), at("link")).expect("link");
        let in_the_way_of = |name: &str| in_the_way(&at(name), &open_to_read(&at(name)).expect_err(name));
        assert_eq!(in_the_way_of("link"), Some((at("link"), "a regular file")));
        assert_eq!(in_the_way_of("file/below/it"), Some((at("file"), "a directory")));
        assert_eq!(in_the_way_of("link/below"), Some((at("link"), "a directory")));
        assert_eq!(in_the_way_of("absent"), None);
        assert_eq!(in_the_way(&at("dir"), &io::ErrorKind::NotADirectory.into()), None, "it is gone again");
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        let dir = tempfile::tempdir().expect("dir");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("victim"), "precious").expect("write");
        fs::create_dir(at("dir")).expect("dir");
        symlink(at("victim"), at("link")).expect("link");
        symlink(at("later"), at("dangling")).expect("link");
        symlink(at("dir"), at("link-to-dir")).expect("link");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .expect("fifo");
        for name in ["link", "dangling", "link-to-dir", "dir", "fifo"] {
            for opened in [open_or_create(&at(name)), open_to_read(&at(name))] {
                let error = opened.expect_err(name);
                assert_eq!(not_plain(&error), Some(FILE), "{name}: {error}");
            }
            assert_eq!(not_plain(&is_file(&at(name)).expect_err(name)), Some(FILE), "{name}");
        }
        for name in ["link", "dangling", "link-to-dir", "victim", "fifo"] {
            assert_eq!(not_plain(&make_dir(&at(name)).expect_err(name)), Some(DIRECTORY), "{name}");
            let below = at(name).join("sub");
            assert_eq!(not_plain(&make_dirs(dir.path(), &below).expect_err(name)), Some(DIRECTORY), "{name}");
        }
        assert!(!make_dir(&at("dir")).expect("there"));
        make_dirs(dir.path(), &at("dir/a/b")).expect("made");
        assert!(at("dir/a/b").is_dir() && !at("later").exists());
        assert_eq!(fs::read(at("victim")).expect("read"), b"precious");
    }
}
