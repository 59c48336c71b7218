//! The tasks that every block goes through.

use sha2::Digest as _;

use crate::engine::{Block, Task};
use crate::error::ArchiveError;
use crate::hashes::Hasher;
use crate::tar::Packer;
use crate::zip::Zipper;

/// One of the tasks of a run.
pub(crate) enum Work {
    /// A digest of the whole directory.
    Whole(Hasher),
    /// SHA-256 of each file.
    EachSha256(sha2::Sha256),
    /// BLAKE3 of each file.
    EachBlake3(Box<blake3::Hasher>),
    /// SHA-256 of all that is read, headers of a tar included.
    Raw(sha2::Sha256),
    /// Writes the tar.
    Pack(Box<Packer>),
    /// Writes the ZIP.
    Zip(Box<Zipper>),
}

impl Work {
    /// Makes the tasks for both digests of each file.
    pub(crate) fn each() -> [Self; 2] {
        [Self::EachSha256(sha2::Sha256::new()), Self::EachBlake3(Box::default())]
    }
}

impl Task for Work {
    fn block(&mut self, block: &Block) -> Result<(), ArchiveError> {
        match self {
            Self::Whole(hasher) => whole(hasher, block),
            Self::EachSha256(hasher) => {
                for piece in block.pieces.iter().filter(|piece| piece.entry.is_file()) {
                    hasher.update(&block.data()[piece.range.clone()]);
                    if piece.last {
                        let _ = piece.entry.digests.sha256.set(hasher.finalize_reset().into());
                    }
                }
            }
            Self::EachBlake3(hasher) => {
                for piece in block.pieces.iter().filter(|piece| piece.entry.is_file()) {
                    hasher.update(&block.data()[piece.range.clone()]);
                    if piece.last {
                        let _ = piece.entry.digests.blake3.set(hasher.finalize().into());
                        hasher.reset();
                    }
                }
            }
            Self::Raw(hasher) => hasher.update(block.data()),
            Self::Pack(packer) => packer.block(block)?,
            Self::Zip(zipper) => zipper.block(block)?,
        }
        Ok(())
    }
}

/// Hashes adjacent contents in one call, so that many small files cost no more than a large one.
fn whole(hasher: &mut Hasher, block: &Block) {
    let (mut from, mut to) = (0, 0);
    let contents = block.pieces.iter().filter(|piece| piece.entry.is_file() && !piece.entry.is_metadata);
    for range in contents.map(|piece| &piece.range) {
        if range.start != to {
            hasher.update(&block.data()[from..to]);
            from = range.start;
        }
        to = range.end;
    }
    hasher.update(&block.data()[from..to]);
}
