//! The bytes of a release, a piece at a time.

use mirror_store::{ReadAt as _, StoreError};
use mirror_types::{FaultKind, ReleaseId};

use crate::error::RepoError;
use crate::mirror::{Located, Mirror};

/// Bytes of a file that are read at a time.
const PIECE_BYTES: u64 = 64 << 10;

impl Mirror {
    /// Passes the bytes of a release to `take`, in order, until it returns false. Returns whether they could be read;
    /// what a damaged bundle has before the damage was passed on then. Memory: one piece. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn read_in_pieces(
        &self,
        id: &ReleaseId,
        located: &Located,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<bool, RepoError> {
        match located {
            Located::Open(file) => {
                let mut piece = Vec::new();
                let mut offset = 0;
                while offset < file.len() {
                    let len = PIECE_BYTES.min(file.len() - offset);
                    piece.resize(usize::try_from(len).unwrap_or(0), 0);
                    file.read_exact_at(&mut piece, offset).map_err(|source| StoreError::Io {
                        doing: "read",
                        path: self.layout().path(id).into(),
                        source,
                    })?;
                    if !take(&piece) {
                        break;
                    }
                    offset += len;
                }
                Ok(true)
            }
            Located::Bundled(reader, at, _) => {
                let mut wants_more = true;
                let read = self.bundles().visit(reader, *at, id, &mut |member| {
                    member.read(&mut |piece| {
                        wants_more = wants_more && take(piece);
                        Ok::<_, StoreError>(())
                    })
                });
                match read {
                    Err(error) if error.kind() == FaultKind::Integrity => Ok(false),
                    read => Ok(read?),
                }
            }
        }
    }
}
