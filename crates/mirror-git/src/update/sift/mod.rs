//! Takes a pack with objects that are too large for memory apart: these become loose objects, and the rest a pack that
//! can be indexed.
//!
//! The pack is in a file, and is read twice: once to find its entries and to store large whole objects, once to write
//! the rest. In between, the deltas to and from large objects are resolved. Memory: some hundred bytes for each object,
//! and a few objects of the largest size that is processed in memory.

mod patch;
mod rewrite;
mod survey;
mod weave;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gix::ObjectId;

use super::supervise::Meter;

/// Largest object that is stored at all, bytes.
const MAX_STORED_BYTES: u64 = 4 << 30;

/// The reason why a pack cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub(super) enum SiftError {
    /// It is not a valid pack.
    #[error("the pack is damaged: {0}")]
    Damaged(String),
    /// It is valid, and exceeds a limit.
    #[error("{0}")]
    Beyond(String),
    /// A file could not be read or written.
    #[error("the pack could not be taken apart")]
    Io(#[from] io::Error),
    /// An object could not be found or stored.
    #[error(transparent)]
    Git(#[from] gix::Error),
}

/// The means for taking a pack apart.
pub(super) struct Work<'a> {
    /// The repository with the objects that the pack builds on; it receives the large ones.
    pub(super) repo: &'a gix::Repository,
    /// A directory for temporary files.
    pub(super) dir: &'a Path,
    pub(super) max_bytes: u64,
    pub(super) meter: &'a Meter,
    pub(super) interrupt: &'a AtomicBool,
}

/// The rest of a pack.
pub(super) struct Sifted {
    /// A pack without the large objects; the pack itself when it had none.
    pub(super) rest: PathBuf,
    /// Objects in it.
    pub(super) objects: u32,
    /// The number of objects that became loose ones.
    pub(super) aside: u32,
}

/// Loose objects, by their offsets in the pack.
type Aside = HashMap<u64, ObjectId>;

/// Takes apart the pack in the file `pack`.
pub(super) fn sift(work: &Work<'_>, pack: &Path) -> Result<Sifted, SiftError> {
    let mut aside = Aside::new();
    let entries = survey::survey(work, pack, &mut aside)?;
    weave::weave(work, pack, &entries, &mut aside)?;
    if aside.is_empty() {
        let objects = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        return Ok(Sifted { rest: pack.to_owned(), objects, aside: 0 });
    }
    let rest = work.dir.join("sifted.pack");
    let objects = rewrite::rewrite(work, pack, &entries, &aside, &rest)?;
    let aside = u32::try_from(entries.len()).unwrap_or(u32::MAX) - objects;
    Ok(Sifted { rest, objects, aside })
}
