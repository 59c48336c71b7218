//! The dispatcher alone: messages in, a mirror and an outcome out.

use std::sync::Mutex;
use std::time::SystemTime;

use mirror_fetch::FetchObserver;
use mirror_manifest::LinePacker;
use mirror_repo::{FailedAttempt, OpenOptions, VerifiedBytes, WantedRelease};
use mirror_store::{CrateBody, NewCrate};
use mirror_types::{Location, Sha256, StoreId};

use super::*;
use crate::plan::{Decision, Job};
use crate::run::diagnosis::Diagnosis;
use crate::run::message::PriorState;
use crate::tally::Tally;

/// Remembers the events.
#[derive(Default)]
struct EventLog(Mutex<Vec<String>>);

impl FetchObserver for EventLog {}

impl SyncObserver for EventLog {
    fn event(&self, event: SyncEvent<'_>) {
        let word = match event {
            SyncEvent::Downloaded { bytes } => format!("downloaded {bytes}"),
            SyncEvent::Verified => "verified".to_owned(),
            SyncEvent::Failed { release, kind, unavailable, acknowledged, .. } => {
                format!("failed {release} {kind} {unavailable} {acknowledged}")
            }
            SyncEvent::CrateFailed { name, kind, .. } => format!("failed {name} {kind}"),
            SyncEvent::GapFilled(release) => format!("filled {release}"),
            SyncEvent::RemovedUpstream { release, kind } => format!("{} {release}", kind.as_str()),
            SyncEvent::Reinstated(release) => format!("reinstated {release}"),
            _ => return,
        };
        self.0.lock().expect("lock").push(word);
    }
}

struct World {
    dir: tempfile::TempDir,
    events: Arc<EventLog>,
    cancel: CancellationToken,
    gaps: HashSet<ReleaseId>,
    existing: u64,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let (events, cancel) = (Arc::default(), CancellationToken::new());
        Self { dir, events, cancel, gaps: HashSet::new(), existing: 0 }
    }

    fn open(&self) -> MirrorWriter {
        let mut options = OpenOptions::default();
        options.root = self.dir.path().join("out");
        MirrorWriter::open(&options).expect("open").0
    }

    /// Makes messages with the mirror, and runs a dispatcher over them.
    fn take(
        &self,
        make: impl FnOnce(&MirrorWriter) -> Vec<Message>,
    ) -> Result<(Outcome, MirrorWriter), SyncError> {
        let mirror = self.open();
        let messages = make(&mirror);
        let mut tally = Tally::new(None, Arc::new(()));
        for n in 0..self.existing {
            let id = id("held", &format!("1.0.{n}"));
            tally.count(&Decision::Existing { id, bytes: 1, audit: None });
        }
        let was_empty = mirror.catalogue().is_empty().expect("catalogue");
        let dispatcher = Dispatcher {
            mirror,
            observer: Arc::clone(&self.events) as Arc<dyn SyncObserver>,
            progress: tally.progress(),
            gaps: self.gaps.clone(),
            judgement: Judgement::new(Arc::default(), SystemTime::now()),
            licences_read: 0,
            cancel: self.cancel.clone(),
            outcome: Outcome::default(),
            same: SameFailures::default(),
            was_empty,
            denied_before: 0,
        };
        let (send, receive) = crossbeam_channel::unbounded();
        messages.into_iter().for_each(|message| send.send(message).expect("taken"));
        drop(send);
        dispatcher.run(&receive).map(|Finished { outcome, mirror, .. }| (outcome, mirror))
    }

    fn events(&self) -> Vec<String> {
        std::mem::take(&mut self.events.0.lock().expect("lock"))
    }
}

fn id(name: &str, version: &str) -> ReleaseId {
    ReleaseId { name: name.parse().expect("name"), version: version.parse().expect("version") }
}

fn context(name: &str, body: &[u8]) -> Box<JobContext> {
    let id = id(name, "1.0.0");
    let path = mirror_types::Layout::Shard.path(&id);
    let cksum = Some(mirror_checksum::Hasher::of(body));
    let release = WantedRelease { id, path, url: format!("http://h/{name}"), cksum };
    Box::new(JobContext { release, guarded: false, was_wrong: false, replaces: false })
}

fn bytes(body: &[u8]) -> VerifiedBytes {
    let now = SystemTime::now();
    VerifiedBytes {
        sha256: mirror_checksum::Hasher::of(body),
        size: body.len() as u64,
        retries: 0,
        http_status: Some(200),
        started: now,
        finished: now,
    }
}

/// Makes the message of a download: `found` are the bytes that arrived, `wanted` those of the index.
fn verified(mirror: &MirrorWriter, name: &str, wanted: &[u8], found: &[u8]) -> Message {
    let context = context(name, wanted);
    let (bytes, body) = (bytes(found), CrateBody::Memory(Box::new(found.to_vec())));
    let new = NewCrate { id: &context.release.id, sha256: bytes.sha256, size: bytes.size, url: "", body };
    let staged = mirror.stores().get(StoreId::LOOSE).expect("the tree").stage(new).expect("stage");
    Message::Verified(VerifiedRelease { context, bytes, prior: PriorState::default(), staged: vec![staged] })
}

fn failure(name: &str, status: u16) -> Message {
    let mut failure = RecordFailure::planned("http", format!("status {status}"));
    failure.denied = status == 403;
    failure.is_planned = false;
    failure.attempt.unavailable = matches!(status, 403 | 404);
    failure.attempt = FailedAttempt { http_status: Some(status), ..failure.attempt };
    Message::Failed { context: context(name, b"x"), failure: Box::new(failure) }
}

fn held(mirror: &MirrorWriter, name: &str) -> Option<Sha256> {
    let row = mirror.catalogue().held_release(&id(name, "1.0.0")).expect("catalogue");
    row.map(|held| held.sha256)
}

#[test]
fn what_is_right_is_held_and_what_fails_stands_in_the_ledger() {
    let world = World::new();
    let (outcome, mirror) = world
        .take(|mirror| {
            let text = b"{}\n";
            let digest = mirror_manifest::TextDigest::of(text);
            let lines = LinePacker::new().expect("packer").pack("go/od/good", digest, text).expect("packed");
            vec![
                Message::IndexFile(Box::new(lines)),
                Message::Many(vec![verified(mirror, "good", b"bytes", b"bytes"), failure("gone", 404)]),
                failure("broken", 500),
                Message::CrateFailed {
                    name: "lost".parse().expect("name"),
                    failure: Box::new(RecordFailure::planned("index", "no answer".to_owned())),
                },
            ]
        })
        .expect("run");
    assert_eq!((outcome.downloaded, outcome.bytes, outcome.unavailable, outcome.failed), (1, 5, 1, 2));
    assert_eq!(held(&mirror, "good"), Some(mirror_checksum::Hasher::of(b"bytes")));
    assert_eq!(std::fs::read(world.dir.path().join("out/g/oo/good-1.0.0.crate")).expect("read"), b"bytes");
    assert_eq!(mirror.catalogue().ledger_crates().expect("ledger"), ["broken", "gone", "lost"]);
    let cache = mirror.index_cache_reader().expect("cache");
    assert!(cache.read("go/od/good").expect("lines").is_some());
    let events = world.events();
    assert_eq!(
        events,
        [
            "failed gone 1.0.0 http true false",
            "failed broken 1.0.0 http false false",
            "failed lost index",
            "downloaded 5"
        ],
        "a download is reported once it is durable"
    );
}

/// Checks that the dispatcher compares checksums itself, whatever thread sent the bytes.
#[test]
fn bytes_that_are_not_those_of_the_index_are_never_stored() {
    let world = World::new();
    let (outcome, mirror) =
        world.take(|mirror| vec![verified(mirror, "torn", b"whole", b"who")]).expect("run");
    assert_eq!((outcome.downloaded, outcome.failed), (0, 1));
    assert_eq!(held(&mirror, "torn"), None);
    assert!(!world.dir.path().join("out/t/or/torn-1.0.0.crate").exists());
    assert_eq!(world.events(), ["failed torn 1.0.0 wrong_hash false false"]);
}

#[test]
fn an_acknowledged_gap_is_none_any_more_when_it_is_filled() {
    let mut world = World::new();
    world.gaps = [id("gap", "1.0.0"), id("other", "1.0.0")].into();
    let made = |mirror: &MirrorWriter| vec![verified(mirror, "gap", b"x", b"x"), failure("other", 404)];
    let (outcome, _) = world.take(made).expect("run");
    assert_eq!(outcome.resolved_gaps, [id("gap", "1.0.0")]);
    assert_eq!((outcome.unavailable, outcome.acknowledged), (1, 1));
    assert!(outcome.first_failures.is_empty(), "what is acknowledged is no failure to tell");
    assert_eq!(world.events(), ["filled gap 1.0.0", "failed other 1.0.0 http true true", "downloaded 1"]);
}

#[test]
fn an_origin_that_denies_access_is_given_up_and_sooner_by_a_new_mirror() {
    let refused = |count: usize| (0..count).map(|n| failure(&format!("c{n}"), 403)).collect::<Vec<_>>();
    for (existing, count, given_up) in [(0, 19, false), (0, 20, true), (1, 999, false), (1, 1_000, true)] {
        let world = World { existing, ..World::new() };
        let (outcome, _) = world.take(|_| refused(count)).expect("run");
        let what = format!("{existing} held, {count} refused");
        assert_eq!((outcome.given_up, world.cancel.is_cancelled()), (given_up, given_up), "{what}");
    }
    let world = World::new();
    let mut messages = vec![failure("answered", 404)];
    messages.extend(refused(30));
    assert!(!world.take(|_| messages).expect("run").0.given_up, "it answers for some");
}

#[test]
fn an_origin_without_any_of_the_releases_is_diagnosed() {
    let missing = |count: usize| (0..count).map(|n| failure(&format!("c{n}"), 404)).collect::<Vec<_>>();
    let world = World::new();
    let outcome = world.take(|_| missing(100)).expect("run").0;
    assert_eq!((outcome.diagnosis, outcome.given_up), (Some(Diagnosis::NotThere(404)), true));
    assert_eq!(outcome.failures_by_kind.get("http"), Some(&100));
    for (existing, count) in [(0, 99), (1, 100)] {
        let world = World { existing, ..World::new() };
        let outcome = world.take(|_| missing(count)).expect("run").0;
        // Where everything was tried and nothing is held, that is the likely reason.
        let likely = (existing == 0).then_some(Diagnosis::NotThere(404));
        assert_eq!(
            (outcome.diagnosis, outcome.given_up),
            (likely, false),
            "{existing} held, {count} missing"
        );
    }
    let world = World::new();
    let mut made = missing(200);
    let outcome = world.take(|mirror| {
        made.insert(0, verified(mirror, "there", b"x", b"x"));
        made
    });
    assert!(!outcome.expect("run").0.given_up, "it delivers some");
}

/// Checks the night of a mirror that holds something, when nothing is new and the origin refuses what it always did.
#[test]
fn what_the_origin_never_delivered_does_not_end_a_later_run() {
    let refused = |status, names: std::ops::Range<usize>| {
        names.map(|n| failure(&format!("c{n}"), status)).collect::<Vec<_>>()
    };
    for status in [404, 403] {
        let world = World::new();
        world.take(|mirror| vec![verified(mirror, "there", b"x", b"x")]).expect("run");
        // The first of these nights is given up, and leaves all of them in the ledger.
        world.take(|_| refused(status, 0..1_200)).expect("run");
        let world = World { cancel: CancellationToken::new(), ..world };
        let outcome = world.take(|_| refused(status, 0..1_200)).expect("run").0;
        assert_eq!((outcome.given_up, outcome.diagnosis), (false, None), "{status}: all are known");
        let outcome = world.take(|_| refused(status, 0..2_199)).expect("run").0;
        assert!(!outcome.given_up, "{status}: 999 are new");
        let outcome = world.take(|_| refused(status, 0..3_199)).expect("run").0;
        assert!(outcome.given_up, "{status}: 1,000 are new");
    }
    // In a mirror that holds nothing, what failed before counts like all others.
    let world = World::new();
    world.take(|_| refused(404, 0..99)).expect("run");
    assert!(world.take(|_| refused(404, 0..100)).expect("run").0.given_up);
}

/// Checks the order of an incremental run, which counts what is unchanged last.
#[test]
fn a_mirror_that_holds_something_is_not_new_before_the_plan_has_counted_it() {
    let world = World::new();
    world.take(|mirror| vec![verified(mirror, "there", b"x", b"x")]).expect("run");
    let refused = (0..100).map(|n| failure(&format!("c{n}"), 404)).collect();
    assert!(!world.take(|_| refused).expect("run").0.given_up);
}

#[test]
fn a_writer_that_cannot_go_on_ends_the_run_for_all() {
    let world = World::new();
    let ended = world.take(|mirror| {
        vec![
            verified(mirror, "before", b"x", b"x"),
            Message::Broken(SyncError::Spool("the disk is full".to_owned())),
            verified(mirror, "behind", b"x", b"x"),
        ]
    });
    assert!(matches!(ended, Err(SyncError::Spool(_))));
    assert!(world.cancel.is_cancelled());
    // The lock is free again, and nothing is half written.
    let mirror = world.open();
    assert_eq!((held(&mirror, "before"), held(&mirror, "behind")), (None, None));
}

#[test]
fn what_upstream_does_to_held_releases_is_recorded_and_reported() {
    let world = World::new();
    world
        .take(|mirror| vec![verified(mirror, "a", b"x", b"x"), verified(mirror, "b", b"y", b"y")])
        .expect("run");
    world.events();
    let (_, mirror) = world
        .take(|_| {
            vec![
                Message::RemovedUpstream(id("a", "1.0.0"), UpstreamRemoval::Yanked),
                Message::RemovedUpstream(id("b", "1.0.0"), UpstreamRemoval::Deleted),
                Message::Reinstated(id("b", "1.0.0")),
            ]
        })
        .expect("run");
    assert_eq!(world.events(), ["yanked a 1.0.0", "deleted b 1.0.0", "reinstated b 1.0.0"]);
    let removed_upstream = mirror.catalogue().removed_upstream().expect("catalogue");
    let left: Vec<_> = removed_upstream.iter().map(|(id, kind, _)| (id.to_string(), *kind)).collect();
    assert_eq!(
        left,
        [("a 1.0.0".to_owned(), UpstreamRemoval::Yanked)],
        "in their order: one is offered again"
    );
}

/// Checks that a verified release is recorded again only when something changed.
#[test]
fn verified_releases_count_and_lost_ones_leave_the_catalogue() {
    let world = World::new();
    world
        .take(|mirror| vec![verified(mirror, "a", b"x", b"x"), verified(mirror, "b", b"y", b"y")])
        .expect("run");
    let (outcome, mirror) = world
        .take(|_| {
            let prior = PriorState { at: Location::LOOSE.into(), recorded: true };
            let right = VerifiedRelease {
                context: context("a", b"x"),
                bytes: bytes(b"x"),
                prior,
                staged: Vec::new(),
            };
            vec![Message::Verified(right), Message::Lost(id("b", "1.0.0"), StoreId::LOOSE)]
        })
        .expect("run");
    assert_eq!((outcome.verified_existing, outcome.downloaded), (1, 0));
    assert!(held(&mirror, "a").is_some());
    assert_eq!(held(&mirror, "b"), None);
    assert_eq!(mirror.catalogue().ledger_crates().expect("ledger"), ["b"], "to be fetched again");
}

/// Checks an assumption of the tests above, which the dispatcher does not use: a job counts as selected and no more.
#[test]
fn only_existing_releases_make_a_mirror_known() {
    let mut tally = Tally::new(None, Arc::new(()));
    let url = url::Url::parse("http://h/a").expect("url");
    let job = Job {
        id: id("a", "1.0.0"),
        cksum: None,
        from: crate::plan::DownloadAddress::Given(url),
        replaces: None,
        held_bytes: None,
        largest_held_bytes: 0,
    };
    tally.count(&Decision::Fetch(Box::new(job)));
    assert_eq!(tally.progress().existing(), 0);
}
