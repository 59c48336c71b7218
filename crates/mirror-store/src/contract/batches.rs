//! Checks of staging, adding and committing.

use std::sync::{Arc, mpsc};
use std::thread;

use super::kit::{
    Kit, assert_held, assert_listed, begin, bytes, commit, done, list, read, release, releases, stage,
    with_body,
};
use crate::CrateBody;

pub(super) fn what_is_committed_is_there(kit: &Kit<'_>) {
    let store = kit.open();
    assert_listed(&*store, &[], &[], "a new store");
    let all = releases(12);
    let first = commit(&store, &all[..5]);
    assert_held(&*store, &all[..5], &first, "after a commit");
    let second = commit(&store, &all[5..]);
    let at = [first, second].concat();
    assert_held(&*store, &all, &at, "after two commits");
    assert_listed(&*store, &all, &at, "after two commits");
}

pub(super) fn an_empty_batch_commits_nothing(kit: &Kit<'_>) {
    let store = kit.open();
    assert_eq!(commit(&store, &[]), [], "{}", kit.name);
    let all = releases(2);
    let at = commit(&store, &all);
    assert_eq!(commit(&store, &[]), [], "{}", kit.name);
    assert_listed(&*store, &all, &at, "after an empty batch");
}

pub(super) fn locations_come_in_the_order_of_adding(kit: &Kit<'_>) {
    let store = kit.open();
    // Large ones between small ones: the last to be staged may be ready first.
    let all: Vec<_> = (0..40_u32)
        .map(|n| {
            let len = if n % 4 == 0 { 200_000 } else { 50 };
            (release(&format!("n{n}"), "1.0.0"), bytes(u64::from(n), len))
        })
        .collect();
    let staged: Vec<_> = all.iter().map(|(id, bytes)| stage(&*store, id, bytes)).collect();
    let mut batch = begin(&store);
    // Not in the order of staging.
    for staged in staged.into_iter().rev() {
        done("adding", batch.add(staged));
    }
    let at: Vec<_> = done("committing", batch.commit()).into_iter().rev().collect();
    assert_eq!(at.len(), all.len(), "a commit returns a location for each release");
    assert_held(&*store, &all, &at, kit.name);
}

pub(super) fn a_release_may_be_committed_again(kit: &Kit<'_>) {
    let store = kit.open();
    let id = release("again", "1.0.0");
    let bodies = [bytes(1, 900), bytes(2, 700), bytes(2, 700), bytes(3, 1_100)];
    let mut last = None;
    for body in &bodies {
        let at = commit(&store, &[(id.clone(), body.clone())]);
        assert_held(&*store, &[(id.clone(), body.clone())], &at, "committed again");
        last = at.into_iter().next();
    }
    // Within one batch, too.
    let twice = [(id.clone(), bytes(4, 800)), (id.clone(), bytes(5, 600))];
    let at = commit(&store, &twice);
    assert_held(&*store, &twice[1..], &at[1..], "twice in one batch");
    drop(store);
    let store = kit.open();
    assert_held(&*store, &twice[1..], &at[1..], "opened again");
    assert!(list(&*store).iter().any(|listed| listed.location == at[1]), "the last one is listed");
    if let Some(last) = last.filter(|last| *last != at[1]) {
        let found = read(&*store, &id, &last);
        assert!(found.is_none_or(|found| found == bodies[3]), "an earlier place has bytes of a later one");
    }
}

pub(super) fn what_is_only_staged_is_gone_when_it_is_dropped(kit: &Kit<'_>) {
    let store = kit.open();
    let all = releases(4);
    drop(stage(&*store, &all[0].0, &all[0].1));
    let kept = stage(&*store, &all[1].0, &all[1].1);
    let at = commit(&store, &all[2..]);
    assert_listed(&*store, &all[2..], &at, "while something is staged");
    drop(kept);
    drop(store);
    assert_listed(&*kit.open(), &all[2..], &at, "after it was dropped");
}

pub(super) fn a_dropped_batch_promises_nothing_and_harms_nothing(kit: &Kit<'_>) {
    let store = kit.open();
    let all = releases(6);
    let mut batch = begin(&store);
    for (id, bytes) in &all[..2] {
        done("adding", batch.add(stage(&*store, id, bytes)));
    }
    drop(batch);
    let at = commit(&store, &all[2..4]);
    assert_held(&*store, &all[2..4], &at, "the batch after one that was dropped");
    let mut batch = begin(&store);
    for (id, bytes) in &all[4..] {
        done("adding", batch.add(stage(&*store, id, bytes)));
    }
    assert_held(&*store, &all[2..4], &at, "while a batch is open");
    drop(batch);
    drop(store);
    let store = kit.open();
    assert_held(&*store, &all[2..4], &at, "after dropped batches");
    for listed in list(&*store) {
        let Some((_, bytes)) = all.iter().find(|(id, _)| *id == listed.id) else {
            panic!("nobody added {listed:?}")
        };
        let found = read(&*store, &listed.id, &listed.location);
        assert!(found.as_ref() == Some(bytes), "{} of a dropped batch is not whole", listed.id);
    }
}

pub(super) fn a_body_of_another_length_is_refused(kit: &Kit<'_>) {
    let all = releases(4);
    let store = kit.open();
    let at = commit(&store, &all[..1]);
    drop(store);
    for said in [10, 3_000] {
        let store = kit.open();
        let bytes = bytes(7, 200);
        let new = with_body(&all[1].0, &bytes, CrateBody::Memory(Box::new(bytes.clone())));
        let refused = store.stage(crate::NewCrate { size: said, ..new }).and_then(|staged| {
            let mut batch = Arc::clone(&store).begin()?;
            batch.add(staged)?;
            batch.commit()
        });
        assert!(refused.is_err(), "a body of 200 bytes was taken for one of {said}");
        drop(store);
        assert_listed(&*kit.open(), &all[..1], &at, "after a body that was refused");
    }
}

pub(super) fn any_number_of_threads_may_stage(kit: &Kit<'_>) {
    const THREADS: usize = 4;
    let store = &kit.open();
    let all = releases(60);
    let (sender, staged) = mpsc::sync_channel(8);
    let at = thread::scope(|scope| {
        for part in all.chunks(all.len() / THREADS) {
            let sender = sender.clone();
            scope.spawn(move || {
                for (id, bytes) in part {
                    if sender.send(stage(&**store, id, bytes)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let (mut batch, mut ids, mut at) = (begin(store), Vec::new(), Vec::new());
        for staged in staged {
            ids.push(staged.id().clone());
            done("adding", batch.add(staged));
            if ids.len() % 16 == 0 {
                at.extend(done("committing", batch.commit()));
                batch = begin(store);
            }
        }
        at.extend(done("committing", batch.commit()));
        ids.into_iter().zip(at).collect::<Vec<_>>()
    });
    assert_eq!(at.len(), all.len(), "releases that were committed");
    let place = |id| at.iter().find(|(known, _)| known == id).map(|(_, at)| at.clone());
    let at: Vec<_> = all.iter().filter_map(|(id, _)| place(id)).collect();
    assert_held(&**store, &all, &at, kit.name);
    assert_listed(&**store, &all, &at, kit.name);
}

pub(super) fn a_batch_outlives_the_hold_on_its_store(kit: &Kit<'_>) {
    let store = kit.open();
    let all = releases(5);
    let mut batch = begin(&store);
    for (id, bytes) in &all {
        done("adding", batch.add(stage(&*store, id, bytes)));
    }
    drop(store);
    let at = done("committing", batch.commit());
    assert_held(&*kit.open(), &all, &at, "after its store was let go");
}
