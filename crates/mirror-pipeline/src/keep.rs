//! Index lines on their way into the mirror: those that it does not have yet.

use std::collections::HashMap;
use std::sync::Arc;

use mirror_manifest::{Catalogue, LinePacker, PackedLines, TextDigest};

use crate::error::PipelineError;
use crate::event::Event;
use crate::plan::{Planner, hash};

/// Which index files the mirror has lines of, and which.
#[derive(Clone)]
pub(crate) enum Kept {
    /// Of all of them: by a hash of the path, a part of the digest.
    All(Arc<HashMap<u64, u64>>),
    /// The catalogue is asked for each.
    Ask,
}

fn part(digest: &TextDigest) -> u64 {
    let (first, _) = digest.as_bytes().split_at(8);
    first.iter().fold(0, |part, byte| part << 8 | u64::from(*byte))
}

impl Kept {
    /// Looks at all of them: worth it when all index files are read.
    pub(crate) fn all(catalogue: &Catalogue) -> Result<Self, PipelineError> {
        let mut known = HashMap::new();
        catalogue.index_files(&mut |row| {
            known.insert(hash(&row.path), part(&row.digest));
        })?;
        Ok(Self::All(Arc::new(known)))
    }

    fn has(&self, catalogue: Option<&Catalogue>, path: &str, digest: &TextDigest) -> bool {
        match (self, catalogue) {
            (Self::All(known), _) => known.get(&hash(path)) == Some(&part(digest)),
            (Self::Ask, Some(catalogue)) => {
                catalogue.index_file(path).ok().flatten().is_some_and(|row| row.digest == *digest)
            }
            (Self::Ask, None) => false,
        }
    }
}

/// Lines that the mirror does not have, if zstd had the memory to pack them.
pub(crate) type Picked = std::io::Result<Option<Box<PackedLines>>>;

/// Picks and packs what is not kept yet; one for each thread that reads the index.
pub(crate) struct Keeper {
    kept: Kept,
    packer: Option<LinePacker>,
}

impl Keeper {
    pub(crate) fn new(kept: Kept) -> Self {
        Self { kept, packer: None }
    }

    /// Another one with the same knowledge.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.kept.clone())
    }

    /// The lines of an index file, packed; `None` when the mirror has them.
    pub(crate) fn pick(&mut self, catalogue: Option<&Catalogue>, path: &str, text: &[u8]) -> Picked {
        let digest = TextDigest::of(text);
        if self.kept.has(catalogue, path, &digest) {
            return Ok(None);
        }
        let packer = match &mut self.packer {
            Some(packer) => packer,
            none => none.insert(LinePacker::new()?),
        };
        packer.pack(path, digest, text).map(|lines| Some(Box::new(lines)))
    }
}

impl Planner {
    /// Keeps in mind the lines of the index file that is planned next.
    pub(crate) fn lines_of(&mut self, path: &str, text: &[u8]) -> Result<(), PipelineError> {
        if let Some(keeper) = &mut self.keeper {
            let picked = keeper.pick(self.catalogue.as_ref(), path, text);
            self.take_lines(picked)?;
        }
        Ok(())
    }

    /// The same, when a reader has picked them.
    pub(crate) fn take_lines(&mut self, picked: Picked) -> Result<(), PipelineError> {
        self.lines = picked.map_err(|error| PipelineError::Internal(format!("index lines: {error}")))?;
        Ok(())
    }

    /// Keeps the lines back until it is known whether what they lack is to be hidden: with them it would be. Lines
    /// beyond a bound are dropped: so many are a mass, and a later run picks them again.
    pub(crate) fn defer_lines(&mut self) {
        const DEFERRED_MOST: usize = 20_000;
        if !self.defers {
            return;
        }
        let lines = self.lines.take();
        if self.deferred.len() < DEFERRED_MOST {
            self.deferred.extend(lines.map(|lines| *lines));
        }
    }

    /// Sends the lines to the committer: they belong to a crate that is wanted. Ahead of its downloads,
    /// so that no release is held without its line.
    pub(crate) fn send_lines(&mut self) {
        if let (Some(sinks), Some(lines)) = (&self.sinks, self.lines.take()) {
            // A committer that is gone has said why.
            let _ = sinks.events.send(Event::Lines(lines));
        }
    }
}
