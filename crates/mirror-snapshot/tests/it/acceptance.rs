//! The rules by which a snapshot may follow another.

use std::time::{Duration, SystemTime};

use mirror_snapshot::{Acceptance, CLOCK_TOLERANCE, Contents, Held, Refusal, Snapshot, accept, accept_chain};
use mirror_types::FaultKind;

use crate::world::{CREATED, DAY, at, contents, snapshot, successor};

/// Five snapshots, each made from the one before, one a day.
fn chain() -> Vec<Snapshot> {
    let mut chain = vec![snapshot()];
    for before in 0..4 {
        chain.push(successor(&chain[before]));
    }
    chain
}

fn now() -> SystemTime {
    at(CREATED + 5 * DAY)
}

fn with(base: &Snapshot, change: impl FnOnce(&mut Contents)) -> Snapshot {
    let mut contents = base.contents().clone();
    change(&mut contents);
    Snapshot::new(contents).unwrap()
}

#[test]
fn the_first_the_next_and_a_later_one_are_accepted() {
    let chain = chain();
    let held = Held::from(&chain[1]);
    assert_eq!(accept(None, &chain[3], now()), Ok(Acceptance::First));
    assert_eq!(accept(Some(&held), &chain[1], now()), Ok(Acceptance::AlreadyHeld));
    assert_eq!(accept(Some(&held), &chain[2], now()), Ok(Acceptance::Next));
    assert_eq!(accept(Some(&held), &chain[4], now()), Ok(Acceptance::Later { skipped: 2 }));
    // What is held is not judged by the clock again.
    assert_eq!(accept(Some(&held), &chain[1], at(CREATED + 1_000 * DAY)), Ok(Acceptance::AlreadyHeld));
}

#[test]
fn every_rule_has_its_refusal() {
    let chain = chain();
    let held = Held::from(&chain[1]);
    let refuse = |new: &Snapshot, now| {
        let refusal = accept(Some(&held), new, now).expect_err("refused");
        assert_eq!(refusal.kind(), FaultKind::Refused);
        refusal.to_string()
    };
    let other = with(&chain[2], |c| c.mirror = "f".repeat(32).parse().unwrap());
    assert_eq!(
        refuse(&other, now()),
        "the snapshot is of mirror ffffffffffffffffffffffffffffffff, and the one held is of mirror \
         0fa00102030405060708090a0b0c0d0e"
    );
    assert_eq!(refuse(&chain[0], now()), "the snapshot has serial 1, and serial 2 is held: it would go back");
    let fork = with(&chain[1], |c| c.counts.bytes += 1);
    assert_eq!(
        refuse(&fork, now()),
        format!(
            "serial 2 is held with digest {}, and the snapshot of that serial has digest {}",
            chain[1].digest(),
            fork.digest()
        )
    );
    let broken = with(&chain[2], |c| c.previous = Some(fork.digest()));
    assert_eq!(
        refuse(&broken, now()),
        format!("snapshot 3 does not follow snapshot 2: it names {}", fork.digest())
    );
    let unlinked = with(&chain[2], |c| c.previous = None);
    assert_eq!(refuse(&unlinked, now()), "snapshot 3 does not follow snapshot 2: it names none");
    let expires = chain[2].contents().expires;
    assert_eq!(
        refuse(&chain[2], expires),
        "the snapshot expired at 2027-02-27T03:00:00Z, and it is 2027-02-27T03:00:00Z"
    );
    assert!(accept(Some(&held), &chain[2], expires - Duration::from_secs(1)).is_ok());
    let older = with(&chain[2], |c| c.created = held.created - Duration::from_secs(1));
    assert_eq!(
        refuse(&older, now()),
        "the snapshot was made at 2026-11-28T02:59:59Z, before the held one, which was made at 2026-11-28T03:00:00Z"
    );
    let as_old = with(&chain[2], |c| c.created = held.created);
    assert_eq!(accept(Some(&held), &as_old, now()), Ok(Acceptance::Next));
    let created = chain[2].contents().created;
    assert_eq!(
        refuse(&chain[2], created - CLOCK_TOLERANCE - Duration::from_secs(1)),
        "the snapshot was made at 2026-11-29T03:00:00Z, and it is only 2026-11-28T02:59:59Z: set the clock"
    );
    assert_eq!(accept(Some(&held), &chain[2], created - CLOCK_TOLERANCE), Ok(Acceptance::Next));
}

#[test]
fn without_a_held_one_the_clock_counts_alone() {
    let new = &chain()[2];
    assert!(matches!(accept(None, new, new.contents().expires), Err(Refusal::Expired { .. })));
    assert!(matches!(accept(None, new, at(CREATED - 30 * DAY)), Err(Refusal::InTheFuture { .. })));
}

#[test]
fn a_chain_proves_that_a_later_one_follows() {
    let all = chain();
    let held = Held::from(&all[0]);
    let accepted = |between: &[Snapshot], new: &Snapshot| accept_chain(Some(&held), between, new, now());
    assert_eq!(accepted(&all[1..4], &all[4]), Ok(Acceptance::Next));
    assert_eq!(accepted(&all[..4], &all[4]), Ok(Acceptance::Next), "it may begin with the held one");
    assert_eq!(accepted(&[], &all[1]), Ok(Acceptance::Next));
    assert_eq!(accepted(&all[1..4], &all[0]), Ok(Acceptance::AlreadyHeld));
    assert_eq!(accept_chain(None, &[], &all[4], now()), Ok(Acceptance::First));
    for (between, expected, found) in [(&all[1..3], 4, 5), (&all[2..4], 2, 3), (&[], 2, 5)] {
        assert_eq!(accepted(between, &all[4]), Err(Refusal::MissingLink { expected, found }));
    }
    let other = with(&all[2], |c| c.counts.bytes += 1);
    let forked = [all[1].clone(), other.clone(), all[3].clone()];
    assert_eq!(
        accepted(&forked, &all[4]),
        Err(Refusal::BrokenChain { serial: 4, before: 3, stated: Some(all[2].digest()) })
    );
    let other_first = with(&all[0], |c| c.counts.bytes += 1);
    assert!(matches!(accepted(&[other_first], &all[1]), Err(Refusal::Fork { serial: 1, .. })));
    let strange = with(&all[1], |c| c.mirror = "f".repeat(32).parse().unwrap());
    assert!(matches!(accepted(&[strange], &all[2]), Err(Refusal::OtherMirror { .. })));
    // Those between may have expired, the new one may not.
    let late = all[3].contents().expires;
    assert_eq!(accept_chain(Some(&held), &all[1..4], &all[4], late), Ok(Acceptance::Next));
    assert!(matches!(
        accept_chain(Some(&held), &all[1..4], &all[4], all[4].contents().expires),
        Err(Refusal::Expired { .. })
    ));
}

#[test]
fn the_facts_of_a_held_one_are_those_of_its_document() {
    let held = Held::from(&snapshot());
    assert_eq!((held.mirror, held.serial), (contents().mirror, 1));
    assert_eq!((held.digest, held.created), (snapshot().digest(), at(CREATED)));
}
