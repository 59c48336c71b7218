use std::ops::ControlFlow;
use std::path::Path;

use crate::dir::DirIndex;
use crate::error::IndexError;
use crate::git::GitIndex;
use crate::record::IndexFile;

/// A local index.
#[derive(Debug)]
#[non_exhaustive]
pub enum IndexSource {
    /// A git repository; its objects are read, never its work tree.
    Git(Box<GitIndex>),
    /// A plain directory of index files.
    Dir(DirIndex),
}

impl IndexSource {
    /// Opens whatever index is at `path`.
    ///
    /// # Errors
    /// When there is none or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        if !path.is_dir() {
            return Err(IndexError::Missing { path: path.to_owned() });
        }
        let bare = path.join("objects").is_dir() && path.join("HEAD").is_file();
        if bare || path.join(".git").exists() {
            GitIndex::open(path).map(|index| Self::Git(Box::new(index)))
        } else {
            Ok(Self::Dir(DirIndex::new(path)))
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Git(index) => index.describe(),
            Self::Dir(_) => "plain directory".to_owned(),
        }
    }

    /// The id of the tree that is read, when it has one: equal trees hold equal records. Histories
    /// say nothing, because upstream squashes its own.
    #[must_use]
    pub fn tree_id(&self) -> Option<String> {
        match self {
            Self::Git(index) => Some(index.tree_id()),
            Self::Dir(_) => None,
        }
    }

    /// Gives every file to `visit`, in bytewise order of paths, until it breaks. One file is in
    /// memory at a time. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn scan(&self, visit: &mut dyn FnMut(IndexFile) -> ControlFlow<()>) -> Result<(), IndexError> {
        match self {
            Self::Git(index) => index.scan(visit),
            Self::Dir(index) => index.scan(visit),
        }
    }
}

/// Whether a file or directory at the top of an index holds no records.
pub(crate) fn skipped(name: &str) -> bool {
    name.starts_with(".git") || name == "config.json" || name == "README.md" || name.ends_with(".keep")
}
