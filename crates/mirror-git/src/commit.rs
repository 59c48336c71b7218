//! The files of HEAD's commit, of a repository that is no index.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gix::objs::tree::EntryMode;
use mirror_types::Cause;

use crate::repository;

/// Longest list of a directory that is read, bytes. Some 400,000 names fit in it.
const MAX_TREE_BYTES: usize = 16 << 20;

/// The reason why the files of a repository could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The repository has a form that cannot be read; clone it again as the text says.
    #[error("the git repository {} cannot be read: {why}", path.display())]
    Unreadable {
        /// The repository.
        path: PathBuf,
        /// The reason, and what to do.
        why: &'static str,
    },
    /// The repository could not be read; run `git fsck` there, or clone it again.
    #[error("could not {doing} the git repository {} (run `git fsck` there, or clone it again)", path.display())]
    Git {
        /// The operation that failed.
        doing: &'static str,
        /// The repository.
        path: PathBuf,
        /// The reason.
        source: Cause,
    },
}

/// The commit at HEAD of a git repository, bare or checked out, and its files. They are read from the objects: what a work
/// tree holds makes no difference.
#[derive(Debug)]
pub struct CommitFiles {
    repo: gix::Repository,
    path: PathBuf,
    commit: gix::ObjectId,
    tree: gix::ObjectId,
    time: SystemTime,
}

/// The sort of an entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntrySort {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A link, or another repository.
    Other,
}

/// An entry of a directory of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitEntry {
    /// Its name, without that of the directory. What is not UTF-8 is replaced.
    pub name: String,
    /// Its sort.
    pub sort: EntrySort,
    id: gix::ObjectId,
}

impl CommitFiles {
    /// Returns whether a git repository is at `path` itself, and not only above it.
    #[must_use]
    pub fn is_repository(path: &Path) -> bool {
        (path.join("objects").is_dir() && path.join("HEAD").is_file()) || path.join(".git").exists()
    }

    /// Opens the repository at `path`. It stays at the commit that HEAD has now. Blocks.
    ///
    /// # Errors
    /// When it has no commit, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, CommitError> {
        if let Some(why) = repository::unreadable_form(path) {
            return Err(CommitError::Unreadable { path: path.to_owned(), why });
        }
        let fail = |doing| move |error: gix::error::Error| fail(path, doing, error);
        let opened = gix::open_opts(path, repository::options_within(MAX_TREE_BYTES));
        let repo = opened.map_err(fail("open"))?;
        let commit = repo.head_commit().map_err(fail("find HEAD of"))?;
        let tree = commit.tree_id().map_err(fail("read HEAD of"))?.detach();
        let time = commit.time().map_err(fail("read HEAD of"))?;
        let id = commit.id;
        drop(commit);
        Ok(Self { repo, path: path.to_owned(), commit: id, tree, time: moment(time.seconds) })
    }

    /// Returns the id of the commit, in hex.
    #[must_use]
    pub fn commit_id(&self) -> String {
        self.commit.to_string()
    }

    /// Returns the moment at which the commit was made, as it records it.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// Returns the entries of the root. Blocks.
    ///
    /// # Errors
    /// When they cannot be read, or their list is longer than 16 MiB.
    pub fn root(&self) -> Result<Vec<CommitEntry>, CommitError> {
        self.list(self.tree)
    }

    /// Returns the entries of a directory; none of anything else. Blocks.
    ///
    /// # Errors
    /// When they cannot be read, or their list is longer than 16 MiB.
    pub fn entries(&self, of: &CommitEntry) -> Result<Vec<CommitEntry>, CommitError> {
        if of.sort == EntrySort::Directory { self.list(of.id) } else { Ok(Vec::new()) }
    }

    /// Returns the bytes of a file; `None` when it has more than `max_bytes`, or is none. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, file: &CommitEntry, max_bytes: usize) -> Result<Option<Vec<u8>>, CommitError> {
        if file.sort != EntrySort::File { Ok(None) } else { self.object(file.id, max_bytes) }
    }

    fn list(&self, tree: gix::ObjectId) -> Result<Vec<CommitEntry>, CommitError> {
        const DOING: &str = "read a directory of";
        let Some(bytes) = self.object(tree, MAX_TREE_BYTES)? else {
            return Err(self.fail(DOING, format!("{tree} has more than {MAX_TREE_BYTES} bytes")));
        };
        gix::objs::TreeRefIter::from_bytes(&bytes, self.repo.object_hash())
            .map(|entry| {
                let entry = entry.map_err(|error| self.fail(DOING, error))?;
                let name = String::from_utf8_lossy(entry.filename).into_owned();
                Ok(CommitEntry { name, sort: sort(entry.mode), id: entry.oid.to_owned() })
            })
            .collect()
    }

    /// Returns the bytes of an object; `None` when it has more than `max_bytes`.
    fn object(&self, id: gix::ObjectId, max_bytes: usize) -> Result<Option<Vec<u8>>, CommitError> {
        const DOING: &str = "read an object of";
        let header = self.repo.find_header(id).map_err(|error| self.fail(DOING, error))?;
        if header.size() > max_bytes as u64 {
            return Ok(None);
        }
        let object = self.repo.find_object(id).map_err(|error| self.fail(DOING, error))?;
        Ok(Some(object.detach().data))
    }

    fn fail(
        &self,
        doing: &'static str,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> CommitError {
        fail(&self.path, doing, error)
    }
}

fn fail(
    path: &Path,
    doing: &'static str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> CommitError {
    CommitError::Git { doing, path: path.to_owned(), source: Cause::new(error) }
}

fn sort(mode: EntryMode) -> EntrySort {
    if mode.is_tree() {
        EntrySort::Directory
    } else if mode.is_blob() {
        EntrySort::File
    } else {
        EntrySort::Other
    }
}

/// Returns the moment so many seconds after 1970 (or before); one that cannot be is 1970.
fn moment(seconds: i64) -> SystemTime {
    let from_epoch = Duration::from_secs(seconds.unsigned_abs());
    let moment =
        if seconds < 0 { UNIX_EPOCH.checked_sub(from_epoch) } else { UNIX_EPOCH.checked_add(from_epoch) };
    moment.unwrap_or(UNIX_EPOCH)
}
