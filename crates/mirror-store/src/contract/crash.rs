//! Checks what remains of a store when a crash cuts it short after any step, or a step fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mirror_fs::sim::{Loss, Simulator};
use mirror_fs::{Fs, LocalFs};
use mirror_types::{Location, ReleaseId};

use super::kit::{self, bytes, done, release, stage};
use crate::{CrateStore, Removal, StoreError};

/// Opens a store at a place; the store makes its changes through the given file system.
type Open<'a> = &'a dyn Fn(&Path, Arc<dyn Fs>) -> Result<Arc<dyn CrateStore>, StoreError>;

/// Runs some sessions on a simulated disk, below `scratch`, which has to be an empty directory. Cuts them short after
/// each step in every possible way, and lets each step fail. What was promised must be there and whole, and no name may
/// have torn bytes or those of another release. Takes some seconds.
///
/// # Panics
/// Where the store breaks the contract of [`CrateStore`].
pub fn run_crashes(scratch: &Path, open: Open<'_>) {
    let whole = Session::run(&scratch.join("whole"), open, None);
    assert!(whole.error.is_none(), "without a fault: {:?}", whole.error);
    let steps = whole.sim.steps();
    assert!(steps.len() > 5, "the store changes its files through the Fs that it was given: {steps:?}");
    let mut disk = whole.sim.start();
    for (at, step) in steps.iter().enumerate() {
        disk.apply(step);
        for loss in Loss::ALL {
            let left = scratch.join("left");
            let laid = disk.lay_down(loss, &left);
            laid.unwrap_or_else(|error| panic!("laying the disk down: {error}"));
            whole.assert_kept(&left, open, at + 1, &format!("{loss:?} after step {at} ({step:?})"));
            clear(&left);
        }
    }
    for (at, step) in steps.iter().enumerate() {
        let place = scratch.join("failed");
        let failed = Session::run(&place, open, Some(at));
        // A session that ends before the step did not meet the fault.
        assert!(failed.sim.count() > at, "step {at} was not reached");
        failed.assert_kept(&place, open, usize::MAX, &format!("step {at} failed ({step:?})"));
        clear(&place);
    }
}

fn clear(place: &Path) {
    mirror_fs::remove_tree(place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
}

/// The changes of one operation; `None` removes.
type Changes = Vec<(ReleaseId, Option<(Vec<u8>, Location)>)>;

/// An operation: finished, or cut short.
struct Operation {
    /// Steps before it.
    begin: usize,
    /// Steps until it returned.
    end: Option<usize>,
    touched: Vec<ReleaseId>,
    changes: Changes,
}

/// The operations on a store on a simulated disk.
struct Session {
    sim: Simulator,
    operations: Vec<Operation>,
    /// All bytes that a release ever had.
    bodies: Vec<(ReleaseId, Vec<u8>)>,
    error: Option<StoreError>,
}

impl Session {
    fn run(place: &Path, open: Open<'_>, fails: Option<usize>) -> Self {
        const EIO: i32 = 5;
        let made = mirror_fs::make_dir_all(place);
        made.unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        let sim = Simulator::new(place, Arc::new(LocalFs::unsynced()));
        let sim = sim.unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        if let Some(at) = fails {
            sim.fail_at(at, EIO);
        }
        let mut session = Self { sim, operations: Vec::new(), bodies: Vec::new(), error: None };
        session.error = session.sessions(place, open).err();
        session
    }

    fn sessions(&mut self, place: &Path, open: Open<'_>) -> Result<(), StoreError> {
        let release_of = |n| release(&format!("crate-{}", n % 4), &format!("1.0.{n}"));
        let all: Vec<_> = (0..12).map(|n| (release_of(n), bytes(n as u64, 400 + 100 * n))).collect();
        let store = open(place, Arc::new(self.sim.clone()))?;
        self.commit(&store, &all[..4])?;
        self.commit(&store, &all[4..7])?;
        self.remove(&*store, &all[1].0)?;
        // Other bytes for a release that is there.
        self.commit(&store, &[(all[0].0.clone(), bytes(100, 900)), all[7].clone()])?;
        drop(store);
        let store = open(place, Arc::new(self.sim.clone()))?;
        // Added, and then dropped.
        let mut batch = Arc::clone(&store).begin()?;
        let (id, body) = &all[8];
        self.bodies.push((id.clone(), body.clone()));
        batch.add(store.stage(kit::new(id, body))?)?;
        drop(batch);
        self.commit(&store, &all[9..])
    }

    fn commit(
        &mut self,
        store: &Arc<dyn CrateStore>,
        all: &[(ReleaseId, Vec<u8>)],
    ) -> Result<(), StoreError> {
        self.bodies.extend_from_slice(all);
        let touched = all.iter().map(|(id, _)| id.clone()).collect();
        self.operations.push(Operation { begin: self.sim.count(), end: None, touched, changes: Vec::new() });
        let mut batch = Arc::clone(store).begin()?;
        for (id, bytes) in all {
            batch.add(store.stage(kit::new(id, bytes))?)?;
        }
        let at = batch.commit()?;
        let changes = all.iter().zip(at).map(|((id, bytes), at)| (id.clone(), Some((bytes.clone(), at))));
        self.done(changes.collect());
        Ok(())
    }

    fn remove(&mut self, store: &dyn CrateStore, id: &ReleaseId) -> Result<(), StoreError> {
        let Some((_, at)) = self.promised(usize::MAX).remove(id) else { return Ok(()) };
        let (begin, touched) = (self.sim.count(), vec![id.clone()]);
        self.operations.push(Operation { begin, end: None, touched, changes: Vec::new() });
        let changes = match store.remove(&[(id.clone(), at)])? {
            Removal::Gone => vec![(id.clone(), None)],
            Removal::Kept => Vec::new(),
        };
        self.done(changes);
        Ok(())
    }

    fn done(&mut self, changes: Changes) {
        let end = self.sim.count();
        if let Some(last) = self.operations.last_mut() {
            (last.end, last.changes) = (Some(end), changes);
        }
    }

    /// Returns what is promised after so many steps, without what the operation under way at that moment touches.
    fn promised(&self, steps: usize) -> BTreeMap<ReleaseId, (Vec<u8>, Location)> {
        let mut promised = BTreeMap::new();
        for operation in &self.operations {
            if operation.end.is_some_and(|end| end <= steps) {
                for (id, held) in &operation.changes {
                    match held {
                        Some(held) => promised.insert(id.clone(), held.clone()),
                        None => promised.remove(id),
                    };
                }
            } else if operation.begin < steps {
                operation.touched.iter().for_each(|id| drop(promised.remove(id)));
            }
        }
        promised
    }

    /// Opens the remains, compares them with what was promised, and continues with them.
    fn assert_kept(&self, place: &Path, open: Open<'_>, steps: usize, what: &str) {
        let store = done(what, open(place, Arc::new(LocalFs::unsynced())));
        for (id, (bytes, at)) in self.promised(steps) {
            match kit::read(&*store, &id, &at) {
                None => panic!("{what}: {id} was promised at {at:?} and is not there"),
                Some(found) => assert!(found == bytes, "{what}: {id} has other bytes than were promised"),
            }
        }
        for listed in kit::list(&*store) {
            let found = kit::read(&*store, &listed.id, &listed.location);
            let is_known = found.as_ref().is_some_and(|found| {
                self.bodies.iter().any(|(id, bytes)| *id == listed.id && bytes == found)
            });
            assert!(is_known, "{what}: {} is listed at {:?} and is not whole", listed.id, listed.location);
        }
        let (id, bytes) = (release("later", "1.0.0"), bytes(77, 333));
        let mut batch = done(what, Arc::clone(&store).begin());
        done(what, batch.add(stage(&*store, &id, &bytes)));
        let at = done(what, batch.commit());
        kit::assert_held(&*store, &[(id, bytes)], &at, what);
    }
}
