//! Checks that a tree that arrived is whole, and not larger than any index.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use gix::ObjectId;
use gix::objs::tree::EntryMode;

use super::supervise::Meter;

/// Most levels of directories below the root. An index has two or three.
const MAX_DEPTH: usize = 8;
/// Most files and directories in a tree when it is written out, and most that are read to check it. crates.io has a
/// quarter of a million; a few small trees that name each other can have any number.
const MAX_ENTRIES: u64 = 20_000_000;

/// The reason why a tree is refused.
#[derive(Debug)]
pub(crate) enum Flaw {
    /// Something is missing or damaged; it may arrive the next time.
    Broken(String),
    /// It is no index.
    Monstrous(String),
}

/// The size of a tree when it is written out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Weight {
    entries: u64,
    /// Levels of directories in the tree.
    height: usize,
}

/// Entries as they are stored, even several of one name.
type Entries = Vec<(Vec<u8>, (EntryMode, ObjectId))>;

/// Checks that all of `new` is there. Does not look into subtrees that `old` has at the same place.
pub(crate) fn complete(
    repo: &gix::Repository,
    new: ObjectId,
    old: Option<ObjectId>,
    meter: &Meter,
    interrupt: &AtomicBool,
) -> Result<(), Flaw> {
    let mut scales = Scales { repo, meter, interrupt, known: HashMap::new(), read: 0, most: MAX_ENTRIES };
    scales.weigh(new, old, 0).map(drop)
}

struct Scales<'a> {
    repo: &'a gix::Repository,
    meter: &'a Meter,
    interrupt: &'a AtomicBool,
    /// Trees that are whole by themselves, without an old tree that vouches for parts of them.
    known: HashMap<ObjectId, Weight>,
    read: u64,
    most: u64,
}

impl Scales<'_> {
    /// Goes no deeper than [`MAX_DEPTH`], and into each tree once unless an old one is at its place. Parts that the old
    /// tree vouches for have no weight: they were weighed when they arrived.
    fn weigh(&mut self, new: ObjectId, old: Option<ObjectId>, depth: usize) -> Result<Weight, Flaw> {
        if old.is_none()
            && let Some(known) = self.known.get(&new)
        {
            return if depth + known.height > MAX_DEPTH { Err(too_deep()) } else { Ok(*known) };
        }
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        self.meter.listed();
        // An old tree that cannot be read vouches for nothing.
        let before = old.and_then(|id| self.entries(id).ok()).unwrap_or_default();
        let before: HashMap<_, _> = before.into_iter().collect();
        let mut weight = Weight::default();
        for (name, (mode, id)) in self.entries(new)? {
            let old = before.get(&name).copied();
            if old == Some((mode, id)) {
                continue;
            }
            let mut part = Weight { entries: 1, height: 0 };
            if mode.is_tree() {
                let old = old.filter(|(mode, _)| mode.is_tree()).map(|(_, id)| id);
                part = self.weigh(id, old, depth + 1)?;
                part = Weight { entries: part.entries + 1, height: part.height + 1 };
            } else if !mode.is_commit() && !self.repo.has_object(id) {
                return Err(Flaw::Broken(format!("object {id} is missing")));
            }
            weight.entries += part.entries;
            weight.height = weight.height.max(part.height);
            self.bear(weight.entries)?;
        }
        if old.is_none() {
            self.known.insert(new, weight);
        }
        Ok(weight)
    }

    fn entries(&mut self, tree: ObjectId) -> Result<Entries, Flaw> {
        let broken = |error: gix::error::Error| Flaw::Broken(error.to_string());
        let object = self.repo.find_object(tree).map_err(broken)?;
        if !object.kind.is_tree() {
            return Err(Flaw::Broken(format!("object {tree} is no tree")));
        }
        let mut entries = Entries::new();
        for entry in gix::objs::TreeRefIter::from_bytes(&object.data, self.repo.object_hash()) {
            let entry = entry.map_err(|error| Flaw::Broken(error.to_string()))?;
            entries.push((entry.filename.to_vec(), (entry.mode, entry.oid.to_owned())));
            self.read += 1;
            self.bear(self.read)?;
            if self.interrupt.load(Relaxed) {
                return Err(Flaw::Broken("stopped".to_owned()));
            }
        }
        Ok(entries)
    }

    fn bear(&self, entries: u64) -> Result<(), Flaw> {
        if entries <= self.most {
            return Ok(());
        }
        Err(Flaw::Monstrous(format!("what the remote has is no index: more than {} files in it", self.most)))
    }
}

fn too_deep() -> Flaw {
    Flaw::Monstrous(format!(
        "what the remote has is no index: directories in it are nested more than {MAX_DEPTH} deep"
    ))
}

#[cfg(test)]
mod tests {
    use gix::objs::Tree;
    use gix::objs::tree::{Entry, EntryKind};

    use super::*;

    fn tree(repo: &gix::Repository, parts: usize, kind: EntryKind, oid: ObjectId) -> ObjectId {
        let entry = |n: usize| Entry { mode: kind.into(), filename: format!("{n:05}").into(), oid };
        let tree = Tree { entries: (0..parts).map(entry).collect() };
        repo.write_object(&tree).unwrap().detach()
    }

    fn repo() -> (tempfile::TempDir, gix::Repository, ObjectId) {
        let dir = tempfile::tempdir().unwrap();
        let repo = gix::init_bare(dir.path()).unwrap();
        let blob = repo.write_blob("a file").unwrap().detach();
        (dir, repo, blob)
    }

    fn weigh(repo: &gix::Repository, new: ObjectId, old: Option<ObjectId>) -> Result<Weight, Flaw> {
        let (meter, interrupt) = (Meter::default(), AtomicBool::new(false));
        let mut scales = Scales {
            repo,
            meter: &meter,
            interrupt: &interrupt,
            known: HashMap::new(),
            read: 0,
            most: MAX_ENTRIES,
        };
        scales.weigh(new, old, 0)
    }

    #[test]
    fn bombs_are_detected_at_once() {
        let (_dir, repo, blob) = repo();
        let mut bomb = tree(&repo, 10, EntryKind::Blob, blob);
        for level in 1..10 {
            bomb = tree(&repo, 10, EntryKind::Tree, bomb);
            let weighed = weigh(&repo, bomb, None);
            assert_eq!(weighed.is_ok(), level < 7, "{level}: {weighed:?}");
            assert!(!matches!(weighed, Err(Flaw::Broken(_))));
        }
        // Also where an old tree vouches for a part: what is beside it weighs no less for that.
        let old = tree(&repo, 1, EntryKind::Tree, bomb);
        let new = tree(&repo, 2, EntryKind::Tree, bomb);
        assert!(matches!(weigh(&repo, new, Some(old)), Err(Flaw::Monstrous(_))));
    }

    #[test]
    fn nesting_ends_soon() {
        let (_dir, repo, blob) = repo();
        let mut nested = tree(&repo, 1, EntryKind::Blob, blob);
        for level in 1..=MAX_DEPTH {
            nested = tree(&repo, 1, EntryKind::Tree, nested);
            assert_eq!(
                weigh(&repo, nested, None).unwrap(),
                Weight { entries: level as u64 + 1, height: level }
            );
        }
        for _ in 0..2_000 {
            nested = tree(&repo, 1, EntryKind::Tree, nested);
        }
        assert!(matches!(weigh(&repo, nested, None), Err(Flaw::Monstrous(_))));
        // A tree that is known by itself must not be deeper than allowed in its new place, either.
        let deep = tree(&repo, 1, EntryKind::Blob, blob);
        let deep = (0..5).fold(deep, |inner, _| tree(&repo, 1, EntryKind::Tree, inner));
        let deeper = (0..4).fold(deep, |inner, _| tree(&repo, 1, EntryKind::Tree, inner));
        let entry = |name: &str, oid| Entry { mode: EntryKind::Tree.into(), filename: name.into(), oid };
        let both = Tree { entries: vec![entry("a", deep), entry("b", deeper)] };
        let both = repo.write_object(&both).unwrap().detach();
        assert!(matches!(weigh(&repo, both, None), Err(Flaw::Monstrous(_))));
    }

    #[test]
    fn missing_objects_are_reported_unless_they_were_there_before() {
        let (_dir, repo, _) = repo();
        let absent = ObjectId::from_hex(&[b'1'; 40]).unwrap();
        for kind in [EntryKind::Blob, EntryKind::Tree] {
            let lacking = tree(&repo, 3, kind, absent);
            assert!(matches!(weigh(&repo, lacking, None), Err(Flaw::Broken(_))));
            weigh(&repo, lacking, Some(lacking)).unwrap();
            let more = tree(&repo, 4, kind, absent);
            assert!(matches!(weigh(&repo, more, Some(lacking)), Err(Flaw::Broken(_))));
        }
        weigh(&repo, tree(&repo, 3, EntryKind::Commit, absent), None).unwrap();
    }
}
