//! Reads the index through gix, which only this module and those of `update` know.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::error::IndexError;
use crate::record::IndexFile;
use crate::source::skipped;

/// A git repository, bare or checked out. Only the objects of HEAD's tree are read.
#[derive(Debug)]
pub struct GitIndex {
    repo: gix::Repository,
    path: PathBuf,
    /// HEAD's tree when the index was opened: what is read, whatever HEAD becomes meanwhile.
    tree: gix::ObjectId,
}

impl GitIndex {
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        let mut repo = gix::open(path).map_err(|error| fail("open", path)(error.to_string()))?;
        repo.object_cache_size_if_unset(0);
        let commit = repo.head_commit().map_err(|error| fail("find HEAD of", path)(error.to_string()))?;
        let tree = commit.tree_id().map_err(|error| fail("read HEAD of", path)(error.to_string()))?.detach();
        drop(commit);
        Ok(Self { repo, path: path.to_owned(), tree })
    }

    pub(crate) fn tree_id(&self) -> String {
        self.tree.to_string()
    }

    pub(crate) fn describe(&self) -> String {
        let head =
            self.repo.head_id().map_or_else(|_| "no commit".to_owned(), |id| id.shorten_or_id().to_string());
        let form = if self.repo.is_bare() { "bare" } else { "checked out" };
        format!("git, {form}, HEAD {head}")
    }

    pub(crate) fn scan(&self, visit: &mut dyn FnMut(IndexFile) -> ControlFlow<()>) -> Result<(), IndexError> {
        self.walk(self.tree, "", visit).map(|_| ())
    }

    fn walk(
        &self,
        tree: gix::ObjectId,
        prefix: &str,
        visit: &mut dyn FnMut(IndexFile) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, IndexError> {
        let read = |id: gix::ObjectId| {
            self.repo
                .find_object(id)
                .map_err(|error| fail("read an object of", &self.path)(error.to_string()))
        };
        let tree = read(tree)?.detach();
        for entry in gix::objs::TreeRefIter::from_bytes(&tree.data, self.repo.object_hash()) {
            let entry = entry.map_err(|error| fail("read a tree of", &self.path)(error.to_string()))?;
            let Ok(name) = std::str::from_utf8(entry.filename) else { continue };
            if skipped(name) {
                continue;
            }
            let flow = if entry.mode.is_tree() {
                self.walk(entry.oid.to_owned(), &format!("{prefix}{name}/"), visit)?
            } else if entry.mode.is_blob() {
                let data = read(entry.oid.to_owned())?.detach().data;
                visit(IndexFile { path: format!("{prefix}{name}"), data })
            } else {
                ControlFlow::Continue(())
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn fail(doing: &'static str, path: &Path) -> impl FnOnce(String) -> IndexError {
    let path = path.to_owned();
    move |reason| IndexError::Git { doing, path, reason }
}
