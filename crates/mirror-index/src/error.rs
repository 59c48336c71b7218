use std::path::PathBuf;

use mirror_types::Cause;

/// The reason why a directory of index files could not be read: the disk refused one of them; the source says why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error("could not read {} of the index", path.display())]
pub struct DirError {
    /// The directory or the file.
    pub path: PathBuf,
    /// The reason.
    pub source: std::io::Error,
}

/// The reason why a lockfile could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It is no `Cargo.lock`, or one of a later format; let a current Cargo write it again.
    #[error("{label} is not a Cargo.lock that this program understands")]
    Parse {
        /// The file.
        label: String,
        /// The reason.
        source: Cause,
    },
    /// Two lockfiles, or two entries of one, disagree; find out which of them is right.
    #[error("{label} gives {release} the checksum {second}, an earlier entry {first}; one of them is wrong")]
    Conflict {
        /// The file.
        label: String,
        /// Crate and version.
        release: String,
        /// The earlier checksum.
        first: String,
        /// The later one.
        second: String,
    },
}

/// The reason why a selection makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// The text is neither a name nor a glob; write one.
    #[error("{text} is neither a crate name nor a pattern with * or ?")]
    Name {
        /// The text, printable.
        text: String,
    },
    /// The text is neither a crate name and a version nor one and a requirement; write one.
    #[error("{text} is not a crate name with a version or a requirement, as serde@1.0.200 and serde@^1 are")]
    Versions {
        /// The text, printable.
        text: String,
    },
    /// The text is no target triple; write one, as `rustc` prints them.
    #[error("{text} is not a target triple, as x86_64-unknown-linux-gnu is one")]
    Target {
        /// The text, printable.
        text: String,
    },
    /// The text is not of the form `i/n`; write it like that.
    #[error("a share is i/n with 1 <= i <= n, for example 2/4")]
    Shard,
}
