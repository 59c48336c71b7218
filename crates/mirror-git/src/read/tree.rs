//! Walks and compares trees.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use gix::ObjectId;
use gix::objs::TreeRefIter;
use gix::objs::tree::EntryRef;
use mirror_index::{holds_index_files, is_index_file};

use super::GitIndex;
use crate::error::IndexError;

/// Yields the files and directories of a tree.
pub(super) fn entries<'a>(
    index: &'a GitIndex,
    tree: &'a [u8],
) -> impl Iterator<Item = Result<EntryRef<'a>, IndexError>> {
    TreeRefIter::from_bytes(tree, index.repo.object_hash())
        .map(|entry| entry.map_err(|error| index.fail("read a tree of", error)))
        .filter(|entry| {
            entry
                .as_ref()
                .map_or(true, |entry| (entry.mode.is_tree() || entry.mode.is_blob()) && name(entry).is_some())
        })
}

fn name<'a>(entry: &EntryRef<'a>) -> Option<&'a str> {
    std::str::from_utf8(entry.filename).ok()
}

/// Returns whether an entry at `path` can belong to an index. Other entries are not looked into, however deep they go.
fn belongs(entry: &EntryRef<'_>, path: &str) -> bool {
    if entry.mode.is_tree() { holds_index_files(path) } else { is_index_file(path) }
}

/// A callback that takes a file: its path and its blob.
type Files<'a> = dyn FnMut(&str, ObjectId) -> Result<ControlFlow<()>, IndexError> + 'a;

/// Passes every index file below `tree` to `visit`, in the order of the tree.
pub(super) fn walk(
    index: &GitIndex,
    tree: ObjectId,
    path: &mut String,
    visit: &mut Files<'_>,
) -> Result<ControlFlow<()>, IndexError> {
    let tree = index.read(tree)?;
    for entry in entries(index, &tree) {
        let entry = entry?;
        let len = path.len();
        path.push_str(name(&entry).unwrap_or_default());
        let flow = if !belongs(&entry, path) {
            ControlFlow::Continue(())
        } else if entry.mode.is_tree() {
            path.push('/');
            walk(index, entry.oid.to_owned(), path, visit)?
        } else {
            visit(path, entry.oid.to_owned())?
        };
        path.truncate(len);
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// A callback for a changed file: its path, its blob before, its blob now.
type Differs<'a> = dyn FnMut(&str, Option<ObjectId>, Option<ObjectId>) + 'a;

/// Passes every index file that differs between two trees to `differs`, in the order of the trees. Equal
/// subtrees are not looked into.
pub(super) fn compare(
    index: &GitIndex,
    old: ObjectId,
    new: ObjectId,
    path: &mut String,
    differs: &mut Differs<'_>,
) -> Result<(), IndexError> {
    if old == new {
        return Ok(());
    }
    let (old, new) = (index.read(old)?, index.read(new)?);
    let mut old = entries(index, &old).peekable();
    let mut new = entries(index, &new).peekable();
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(Ok(old)), Some(Ok(new))) => key(old).cmp(key(new)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(()),
            // The fault is reported below.
            (Some(_), Some(_)) => Ordering::Equal,
        };
        let before = if order.is_le() { old.next().transpose()? } else { None };
        let after = if order.is_ge() { new.next().transpose()? } else { None };
        let Some(entry) = before.or(after) else { return Ok(()) };
        let ids = (before.map(|entry| entry.oid.to_owned()), after.map(|entry| entry.oid.to_owned()));
        let len = path.len();
        path.push_str(name(&entry).unwrap_or_default());
        if !belongs(&entry, path) {
            // Whatever the entry is, it has no records.
        } else if !entry.mode.is_tree() {
            if ids.0 != ids.1 {
                differs(path, ids.0, ids.1);
            }
        } else {
            path.push('/');
            match ids {
                (Some(before), Some(after)) => compare(index, before, after, path, differs)?,
                (Some(gone), None) => {
                    every(index, gone, path, &mut |path, id| differs(path, Some(id), None))?;
                }
                (None, Some(came)) => {
                    every(index, came, path, &mut |path, id| differs(path, None, Some(id)))?;
                }
                (None, None) => {}
            }
        }
        path.truncate(len);
    }
}

fn every(
    index: &GitIndex,
    tree: ObjectId,
    path: &mut String,
    visit: &mut dyn FnMut(&str, ObjectId),
) -> Result<(), IndexError> {
    walk(index, tree, path, &mut |path, id| {
        visit(path, id);
        Ok(ControlFlow::Continue(()))
    })
    .map(drop)
}

/// Yields the key by which git sorts: the name, with a slash after that of a tree.
fn key<'a>(entry: &EntryRef<'a>) -> impl Iterator<Item = u8> + use<'a> {
    entry.filename.iter().copied().chain(entry.mode.is_tree().then_some(b'/'))
}
