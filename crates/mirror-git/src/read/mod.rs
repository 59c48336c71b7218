//! Reads the git index: HEAD's tree through gix, and its blobs in the order of the packs.

pub(crate) mod delta;
mod delta_tree;
mod tree;

use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use mirror_index::{IndexFile, Visit, oversize};
use mirror_types::Cause;

use crate::error::IndexError;
use crate::repository;
use crate::source::{BlobId, Change};

/// A git repository, bare or checked out. Only the objects of HEAD's tree are read.
#[derive(Debug)]
pub struct GitIndex {
    repo: gix::Repository,
    path: PathBuf,
    /// HEAD's tree at the time of opening: it is what is read, even if HEAD moves.
    tree: gix::ObjectId,
    /// HEAD's commit at that time.
    commit: gix::ObjectId,
    /// Largest object that is read.
    max_bytes: usize,
}

impl GitIndex {
    pub(crate) fn open(path: &Path, max_bytes: usize) -> Result<Self, IndexError> {
        if let Some(why) = repository::unreadable_form(path) {
            return Err(IndexError::Unreadable { path: path.to_owned(), why });
        }
        let opened = gix::open_opts(path, repository::options_within(max_bytes));
        let mut repo = opened.map_err(|error| fail("open", path)(error.into()))?;
        repo.object_cache_size_if_unset(0);
        let head = repo.head_commit().map_err(|error| fail("find HEAD of", path)(error.into()))?;
        let tree = head.tree_id().map_err(|error| fail("read HEAD of", path)(error.into()))?.detach();
        let commit = head.id().detach();
        drop(head);
        Ok(Self { repo, path: path.to_owned(), tree, commit, max_bytes })
    }

    /// Returns the address that it was cloned from, according to its configuration.
    pub(crate) fn origin(&self) -> Option<String> {
        self.repo.config_snapshot().string("remote.origin.url").map(|url| url.to_string())
    }

    pub(crate) fn tree_id(&self) -> String {
        self.tree.to_string()
    }

    pub(crate) fn commit_id(&self) -> String {
        self.commit.to_string()
    }

    pub(crate) fn describe(&self) -> String {
        let head =
            self.repo.head_id().map_or_else(|_| "no commit".to_owned(), |id| id.shorten_or_id().to_string());
        let form = if self.repo.is_bare() { "bare" } else { "checked out" };
        format!("git, {form}, HEAD {head}")
    }

    /// Passes all files to `visit`, in the order of the tree.
    pub(crate) fn scan(&self, visit: &mut dyn FnMut(IndexFile) -> ControlFlow<()>) -> Result<(), IndexError> {
        let mut path = String::new();
        tree::walk(self, self.tree, &mut path, &mut |path, id| {
            Ok(visit(IndexFile { path: path.to_owned(), data: self.read_file(id)? }))
        })
        .map(drop)
    }

    /// Passes all files to visitors, in the order of the packs, on several threads.
    pub(crate) fn scan_unordered<'v>(
        &self,
        threads: usize,
        visitor: &(dyn Fn() -> Visit<'v> + Sync),
    ) -> Result<(), IndexError> {
        delta_tree::scan(self, threads, visitor)
    }

    /// Returns what differs from an earlier tree; `None` when that, or a part of it, is no longer there.
    pub(crate) fn compare(&self, since: &str) -> Option<Vec<Change>> {
        let old = gix::ObjectId::from_hex(since.as_bytes()).ok()?;
        let mut changes = Vec::new();
        tree::compare(self, old, self.tree, &mut String::new(), &mut |path, before, after| {
            let blob = |id: gix::ObjectId| BlobId(id.to_string());
            changes.push(Change { path: path.to_owned(), before: before.map(blob), after: after.map(blob) });
        })
        .ok()?;
        // A truncated repository may have a tree without its blobs.
        let is_there = |blob: &BlobId| {
            gix::ObjectId::from_hex(blob.0.as_bytes()).is_ok_and(|id| self.repo.has_object(id))
        };
        changes.iter().filter_map(|change| change.before.as_ref()).all(is_there).then_some(changes)
    }

    /// Reads the bytes of a changed file.
    pub(crate) fn blob(&self, blob: &BlobId) -> Result<Vec<u8>, IndexError> {
        let id = gix::ObjectId::from_hex(blob.0.as_bytes());
        self.read_file(id.map_err(|error| self.fail("read an object of", error))?)
    }

    /// Reads one file.
    pub(crate) fn file(&self, path: &str) -> Result<Option<Vec<u8>>, IndexError> {
        self.find(path)?.map(|id| self.read_file(id)).transpose()
    }

    /// Returns a small file and its size; for a file of more than `most` bytes only the size.
    pub(crate) fn small_file(&self, path: &str, most: u64) -> Result<Option<(u64, Vec<u8>)>, IndexError> {
        let Some(id) = self.find(path)? else { return Ok(None) };
        let size = self.size(id)?;
        let data = if size <= most { self.read(id)? } else { Vec::new() };
        Ok(Some((size, data)))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn find(&self, path: &str) -> Result<Option<gix::ObjectId>, IndexError> {
        let mut at = self.tree;
        for part in path.split('/') {
            let tree = self.read(at)?;
            let found = tree::entries(self, &tree)
                .find(|entry| entry.as_ref().map_or(true, |entry| entry.filename == part.as_bytes()));
            match found {
                Some(entry) => at = entry?.oid.to_owned(),
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Returns the bytes of an object that is needed to read the index.
    fn read(&self, id: gix::ObjectId) -> Result<Vec<u8>, IndexError> {
        let size = self.size(id)?;
        if size > self.max_bytes as u64 {
            return Err(self.fail("read an object of", format!("{id} has {size} bytes")));
        }
        let object = self.repo.find_object(id).map_err(|error| self.fail("read an object of", error))?;
        Ok(object.detach().data)
    }

    /// Returns the bytes of an index file, or the stand-in for one that is too large.
    fn read_file(&self, id: gix::ObjectId) -> Result<Vec<u8>, IndexError> {
        let size = self.size(id)?;
        if size > self.max_bytes as u64 {
            return Ok(oversize::large(size, self.max_bytes));
        }
        match self.repo.find_object(id) {
            Ok(object) => Ok(object.detach().data),
            Err(error) if error.is_resource_exhausted() => Ok(of_a_large_base(self.max_bytes)),
            Err(error) => Err(self.fail("read an object of", error)),
        }
    }

    fn size(&self, id: gix::ObjectId) -> Result<u64, IndexError> {
        let header = self.repo.find_header(id).map_err(|error| self.fail("read an object of", error))?;
        Ok(header.size())
    }

    fn fail(&self, doing: &'static str, error: impl Into<Box<dyn Error + Send + Sync>>) -> IndexError {
        fail(doing, &self.path)(error.into())
    }
}

fn fail(doing: &'static str, path: &Path) -> impl FnOnce(Box<dyn Error + Send + Sync>) -> IndexError {
    let path = path.to_owned();
    move |error| IndexError::Git { doing, path, source: Cause::new(error) }
}

/// Returns the stand-in for a file that git stores as a difference to an object larger than `max_bytes`, directly or
/// through others.
fn of_a_large_base(max_bytes: usize) -> Vec<u8> {
    oversize::stand_in(&format!(
        "the file is stored as a difference to one that is too large, {max_bytes} bytes are allowed; \
         `git -c core.bigFileThreshold=16m repack -adf` in the index stores it by itself"
    ))
}
