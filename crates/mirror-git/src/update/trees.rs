//! Compares two trees.

use std::collections::BTreeMap;

use gix::ObjectId;
use gix::objs::tree::EntryMode;

/// A path that differs: mode and object before and after. Never a tree.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    /// The path below the root, with slashes; any bytes but NUL.
    pub(crate) path: Vec<u8>,
    pub(crate) old: Option<(EntryMode, ObjectId)>,
    pub(crate) new: Option<(EntryMode, ObjectId)>,
}

type Entries = BTreeMap<Vec<u8>, (EntryMode, ObjectId)>;

/// Passes every difference to `visit`. Does not read subtrees that are equal, so that the cost is that of the
/// differences.
pub(crate) fn differences<E: From<String>>(
    repo: &gix::Repository,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    visit: &mut dyn FnMut(Difference) -> Result<(), E>,
) -> Result<(), E> {
    let mut pairs = vec![(Vec::new(), old, new)];
    while let Some((prefix, old, new)) = pairs.pop() {
        let (mut old, new) = (read(repo, old)?, read(repo, new)?);
        for (name, after) in new {
            let before = old.remove(&name);
            if before != Some(after) {
                part(&prefix, &name, before, Some(after), &mut pairs, visit)?;
            }
        }
        for (name, before) in old {
            part(&prefix, &name, Some(before), None, &mut pairs, visit)?;
        }
    }
    Ok(())
}

type Pairs = Vec<(Vec<u8>, Option<ObjectId>, Option<ObjectId>)>;

/// Compares one name: queues trees for later, and passes anything else to `visit`.
fn part<E>(
    prefix: &[u8],
    name: &[u8],
    old: Option<(EntryMode, ObjectId)>,
    new: Option<(EntryMode, ObjectId)>,
    pairs: &mut Pairs,
    visit: &mut dyn FnMut(Difference) -> Result<(), E>,
) -> Result<(), E> {
    let path = [prefix, name].concat();
    let tree =
        |side: Option<(EntryMode, ObjectId)>| side.filter(|(mode, _)| mode.is_tree()).map(|(_, id)| id);
    let (old_tree, new_tree) = (tree(old), tree(new));
    if old_tree.is_some() || new_tree.is_some() {
        pairs.push(([&path[..], b"/"].concat(), old_tree, new_tree));
    }
    let (old, new) = (old.filter(|_| old_tree.is_none()), new.filter(|_| new_tree.is_none()));
    if old.is_some() || new.is_some() { visit(Difference { path, old, new }) } else { Ok(()) }
}

fn read<E: From<String>>(repo: &gix::Repository, tree: Option<ObjectId>) -> Result<Entries, E> {
    let Some(id) = tree else { return Ok(Entries::new()) };
    let object = repo.find_object(id).map_err(|error| error.to_string())?;
    let mut entries = Entries::new();
    for entry in gix::objs::TreeRefIter::from_bytes(&object.data, repo.object_hash()) {
        let entry = entry.map_err(|error| error.to_string())?;
        entries.insert(entry.filename.to_vec(), (entry.mode, entry.oid.to_owned()));
    }
    Ok(entries)
}
