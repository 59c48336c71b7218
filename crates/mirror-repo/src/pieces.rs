//! Reads the bytes of a release piece by piece.

use std::ops::ControlFlow;

use mirror_store::StoreError;
use mirror_types::{FaultKind, ReleaseId};

use crate::error::RepoError;
use crate::mirror::{Located, Mirror};

impl Mirror {
    /// Passes the bytes of a release to `take`, in order, until it returns false. Returns whether they could be read;
    /// in a damaged bundle, the bytes before the damage have been passed on then. Memory: one piece. Blocks.
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
                let read = file.pieces(&mut |piece| {
                    if take(piece) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                read.map_err(|source| self.unread(id, source))?;
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
