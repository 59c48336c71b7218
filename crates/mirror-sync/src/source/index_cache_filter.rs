//! Index lines on their way into the mirror: those that it does not have yet.

use std::collections::HashMap;
use std::sync::Arc;

use mirror_manifest::{IndexCacheReader, LinePacker, PackedLines, TextDigest};
use mirror_types::Unexpected;

use crate::error::SyncError;
use crate::plan::hash;

/// Of all index files that the mirror keeps: by a hash of the path, a part of the digest.
pub(crate) type KnownLines = Arc<HashMap<u64, u64>>;

/// The files that the mirror keeps.
enum Kept {
    All(KnownLines),
    /// The index cache is asked for each.
    Ask(Box<IndexCacheReader>),
}

fn part(digest: &TextDigest) -> u64 {
    let (first, _) = digest.as_bytes().split_at(8);
    first.iter().fold(0, |part, byte| part << 8 | u64::from(*byte))
}

/// Picks and packs the lines that are not kept yet; one for each thread that reads the index.
pub(crate) struct IndexCacheFilter {
    kept: Kept,
    packer: Option<LinePacker>,
}

impl IndexCacheFilter {
    /// Asks the index cache for each file.
    pub(crate) fn asking(cache: IndexCacheReader) -> Self {
        Self { kept: Kept::Ask(Box::new(cache)), packer: None }
    }

    /// Learns of all files that are kept: worth it when all index files are read.
    pub(crate) fn knowing(cache: &IndexCacheReader) -> Result<Self, SyncError> {
        let mut known = HashMap::new();
        cache.digests(&mut |path, digest| {
            known.insert(hash(path), part(&digest));
        })?;
        Ok(Self::of(Arc::new(known)))
    }

    /// Makes a filter that has what `known` has.
    pub(crate) fn of(known: KnownLines) -> Self {
        Self { kept: Kept::All(known), packer: None }
    }

    /// Returns what it knows of all files, for further ones that share it.
    pub(crate) fn known(&self) -> Result<KnownLines, SyncError> {
        match &self.kept {
            Kept::All(known) => Ok(Arc::clone(known)),
            Kept::Ask(_) => Err(SyncError::Internal("several threads cannot ask one index cache".to_owned())),
        }
    }

    fn has(&self, path: &str, digest: &TextDigest) -> Result<bool, SyncError> {
        match &self.kept {
            Kept::All(known) => Ok(known.get(&hash(path)) == Some(&part(digest))),
            Kept::Ask(cache) => Ok(cache.digest(path)?.is_some_and(|kept| kept == *digest)),
        }
    }

    /// Returns the lines of an index file, packed; `None` when the mirror has them.
    pub(crate) fn pick(&mut self, path: &str, text: &[u8]) -> Result<Option<Box<PackedLines>>, SyncError> {
        let digest = TextDigest::of(text);
        if self.has(path, &digest)? {
            return Ok(None);
        }
        let packer = match &mut self.packer {
            Some(packer) => packer,
            none => {
                none.insert(LinePacker::new().map_err(Unexpected::could_not("pack the index lines to keep"))?)
            }
        };
        Ok(Some(Box::new(
            packer.pack(path, digest, text).map_err(Unexpected::could_not("pack the index lines to keep"))?,
        )))
    }
}
