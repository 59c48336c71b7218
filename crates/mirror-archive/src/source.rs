//! Reads the files of a directory as blocks.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{self, Stamp};
use crate::engine::{Block, Piece, Source};
use crate::entry::{Digests, Entry, EntryKind};
use crate::error::ArchiveError;
use crate::monitor::Monitor;
use crate::names::below;
use crate::walk::{Found, Walk, vanished};

/// Receives finished entries, in the order of the walk.
pub(crate) trait Sink {
    fn entry(&mut self, entry: &Entry) -> Result<(), ArchiveError>;
}

/// Reads every file below a directory once.
pub(crate) struct Tree<'a, S> {
    root: PathBuf,
    walk: Walk,
    open: Option<Open>,
    monitor: &'a Monitor,
    /// The name of the metadata that an unpacked tar left at the root: read, but no part of the directory.
    metadata: Option<Vec<u8>>,
    pub(crate) sink: S,
}

struct Open {
    entry: Arc<Entry>,
    file: File,
    stamp: Stamp,
    read_bytes: u64,
}

impl<'a, S: Sink> Tree<'a, S> {
    pub(crate) fn new(root: &Path, monitor: &'a Monitor, sink: S) -> Result<Self, ArchiveError> {
        Ok(Self { root: root.to_owned(), walk: Walk::new(root)?, open: None, monitor, metadata: None, sink })
    }

    /// Treats a file of this name at the root as the metadata of an unpacked tar.
    pub(crate) fn with_metadata(self, name: Option<&str>) -> Self {
        Self { metadata: name.map(|name| name.as_bytes().to_vec()), ..self }
    }

    fn open(&self, path: Vec<u8>) -> Result<Open, ArchiveError> {
        let at = below(&self.root, &path);
        let file = mirror_fs::open_to_read(&at).map_err(|error| match std::fs::symlink_metadata(&at) {
            Ok(now) if !now.is_file() => ArchiveError::changed(&path, "became something else"),
            _ => vanished("opening", &path)(error),
        })?;
        let metadata = file.metadata().map_err(ArchiveError::io("looking at", &path))?;
        if !metadata.is_file() {
            return Err(ArchiveError::changed(&path, "became something else"));
        }
        let is_metadata = self.metadata.as_ref() == Some(&path);
        let entry = Arc::new(Entry {
            path,
            kind: EntryKind::File,
            size_bytes: metadata.len(),
            modified_s: disk::modified_s(&metadata),
            mode: disk::mode(&metadata),
            is_metadata,
            digests: Digests::default(),
        });
        Ok(Open { entry, file, stamp: Stamp::of(&metadata), read_bytes: 0 })
    }
}

impl Open {
    /// Reads as much as fits; returns `true` at the end of the file.
    fn read(&mut self, block: &mut Block) -> Result<bool, ArchiveError> {
        let path = &self.entry.path;
        let (from, first) = (block.len(), self.read_bytes == 0);
        while self.read_bytes < self.entry.size_bytes && !block.room().is_empty() {
            let room = block.room();
            let left = usize::try_from(self.entry.size_bytes - self.read_bytes).unwrap_or(usize::MAX);
            let wanted = room.len().min(left);
            let got = read(&mut self.file, &mut room[..wanted], path)?;
            if got == 0 {
                return Err(ArchiveError::changed(path, "became shorter"));
            }
            block.filled(got);
            self.read_bytes += got as u64;
        }
        let last = self.read_bytes == self.entry.size_bytes;
        if last {
            self.check()?;
        }
        let range = from..block.len();
        block.pieces.push(Piece { entry: Arc::clone(&self.entry), range, first, last });
        Ok(last)
    }

    /// Checks that nothing follows the expected end, and that the file was not changed since it was opened.
    fn check(&mut self) -> Result<(), ArchiveError> {
        let path = &self.entry.path;
        if read(&mut self.file, &mut [0], path)? != 0 {
            return Err(ArchiveError::changed(path, "grew"));
        }
        let now = self.file.metadata().map_err(ArchiveError::io("looking at", path))?;
        if Stamp::of(&now) != self.stamp {
            return Err(ArchiveError::changed(path, "was written to"));
        }
        Ok(())
    }
}

fn read(file: &mut File, buffer: &mut [u8], path: &[u8]) -> Result<usize, ArchiveError> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.map_err(ArchiveError::io("reading", path)),
        }
    }
}

impl<S: Sink> Source for Tree<'_, S> {
    fn fill(&mut self, block: &mut Block) -> Result<bool, ArchiveError> {
        while !block.is_full() {
            if let Some(open) = &mut self.open {
                if open.read(block)? {
                    self.open = None;
                }
                continue;
            }
            match self.walk.next()? {
                Some(Found::File(path)) => self.open = Some(self.open(path)?),
                Some(Found::Other(entry)) => {
                    let at = block.len();
                    let entry = Arc::new(entry);
                    block.pieces.push(Piece { entry, range: at..at, first: true, last: true });
                }
                None => break,
            }
        }
        Ok(!block.pieces.is_empty())
    }

    fn retire(&mut self, block: &Block) -> Result<(), ArchiveError> {
        let mut files = 0;
        for piece in block.pieces.iter().filter(|piece| piece.last) {
            files += u64::from(piece.entry.is_file());
            self.sink.entry(&piece.entry)?;
        }
        self.monitor.add(files, block.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
