//! Filters index lines on their way into the index cache: those that the mirror does not have yet.

use std::collections::HashMap;
use std::sync::Arc;

use mirror_manifest::{IndexCacheReader, LinePacker, PackedLines, TextDigest};
use mirror_types::Unexpected;

use crate::error::SyncError;
use crate::plan::hash;

/// Every index file in the index cache: part of its digest, by a hash of its path.
pub(crate) type KnownLines = Arc<HashMap<u64, u64>>;

/// The files that the mirror keeps.
enum Kept {
    All(KnownLines),
    /// A query to the index cache for each file.
    Ask(Box<IndexCacheReader>),
}

fn part(digest: &TextDigest) -> u64 {
    let (first, _) = digest.as_bytes().split_at(8);
    first.iter().fold(0, |part, byte| part << 8 | u64::from(*byte))
}

/// Packs the index files that the cache does not have yet; one filter for each thread that reads the index.
pub(crate) struct IndexCacheFilter {
    kept: Kept,
    packer: Option<LinePacker>,
}

impl IndexCacheFilter {
    /// Makes a filter that asks the index cache for each file.
    pub(crate) fn asking(cache: IndexCacheReader) -> Self {
        Self { kept: Kept::Ask(Box::new(cache)), packer: None }
    }

    /// Makes a filter that loads the digests of all files: worth it when all index files are read.
    pub(crate) fn knowing(cache: &IndexCacheReader) -> Result<Self, SyncError> {
        let mut known = HashMap::new();
        cache.digests(&mut |path, digest| {
            known.insert(hash(path), part(&digest));
        })?;
        Ok(Self::of(Arc::new(known)))
    }

    /// Makes a filter that shares `known`.
    pub(crate) fn of(known: KnownLines) -> Self {
        Self { kept: Kept::All(known), packer: None }
    }

    /// Returns the loaded digests, for further filters that share them.
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
