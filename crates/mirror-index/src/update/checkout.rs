//! The work tree of an index that is checked out.

use std::path::Path;

use gix::ObjectId;

use super::error::UpdateError;
use super::options::UpdateWatch;

pub(crate) struct Checkout;

impl Checkout {
    /// `None` for a bare repository.
    pub(crate) fn examine(
        dir: &Path,
        repo: &gix::Repository,
        _watch: &dyn UpdateWatch,
    ) -> Result<Option<Self>, UpdateError> {
        if repo.is_bare() {
            return Ok(None);
        }
        Err(UpdateError::refused(
            dir,
            "it is checked out; run `git pull` there, or give --index-dir a bare clone",
        ))
    }

    pub(crate) fn bring(
        &mut self,
        dir: &Path,
        _repo: &gix::Repository,
        _tip: ObjectId,
        _watch: &dyn UpdateWatch,
    ) -> Result<u64, UpdateError> {
        Err(UpdateError::refused(dir, "it is checked out"))
    }
}
