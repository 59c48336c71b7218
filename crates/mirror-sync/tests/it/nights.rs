//! Nights of a mirror under a policy, over a registry that changes. After each, the offered releases are compared with a
//! model that is written from the documentation of policy and does not call the code that decides.

mod changes;
mod checks;
mod licences;
mod model;
mod rules;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use mirror_snapshot::Snapshot;
use mirror_sync::{Outcome, Storage};
use mirror_testkit::{Origin, OriginOptions};
use mirror_types::ReleaseId;

use licences::Body;
use rules::{Advice, Line, Rules, rfc3339};

/// Seeds and nights of the gate. `cargo xtask proof nights` sets the variable to more of them, as `SEEDS NIGHTS`.
const OF_THE_GATE: (u64, u32) = (4, 40);
const VARIABLE: &str = "MIRROR_NIGHTS";
/// The seeds of longer forms begin here.
const FIRST_OF_PROOF: u64 = 1_000;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const CRATES: [&str; 4] = ["aa", "Bb", "cc-d", "e"];

#[test]
fn what_is_offered_after_each_night_is_what_the_policy_admits() {
    let more = std::env::var(VARIABLE).ok().map(|text| {
        let (seeds, nights) = text.split_once(' ').expect("two numbers");
        (seeds.parse().expect("seeds"), nights.parse().expect("nights"))
    });
    let first = if more.is_some() { FIRST_OF_PROOF } else { 0 };
    let (seeds, nights) = more.unwrap_or(OF_THE_GATE);
    (first..first + seeds).for_each(|seed| Simulation::new(seed).run(nights));
}

fn id(name: &str, version: &str) -> ReleaseId {
    ReleaseId { name: name.parse().expect("name"), version: version.parse().expect("version") }
}

/// The moment at which a run saw bytes replace others: the first at which it may have, and the first at which it must.
#[derive(Debug, Clone)]
struct Replaced {
    body: Body,
    earliest: u64,
    latest: Option<u64>,
    /// True if they were held at the end of a night.
    was_held: bool,
}

/// The way in which a night differs from others.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Whole,
    Part(Vec<&'static str>),
    Stopped(u64),
    Verify,
    Prune {
        /// True if it may prune many releases; in a mirror as small as this, each is many.
        allows_mass: bool,
    },
}

struct Simulation {
    seed: u64,
    night: u32,
    random: fastrand::Rng,
    origin: Origin,
    dir: tempfile::TempDir,
    storage: Storage,
    /// True if the runs ask the registry for each crate, in place of reading its git index.
    is_sparse: bool,
    /// True if releases are packages that state a licence.
    has_packages: bool,
    now: u64,
    rules: Rules,
    advice: Vec<Advice>,
    serials: usize,
    /// Upstream's lines.
    truth: BTreeMap<ReleaseId, Line>,
    /// Lines that upstream deleted.
    buried: BTreeMap<ReleaseId, Line>,
    /// The lines that the mirror has seen last.
    known: BTreeMap<ReleaseId, Line>,
    held: BTreeMap<ReleaseId, Body>,
    /// Held releases whose licence the mirror has certainly read.
    read: BTreeSet<ReleaseId>,
    /// Held releases that the mirror has seen to be deleted.
    deleted: BTreeSet<ReleaseId>,
    replaced: BTreeMap<ReleaseId, Replaced>,
    /// Releases whose file was removed from the mirror before this night.
    lost: BTreeSet<ReleaseId>,
    /// The newest snapshot.
    snapshot: Option<Snapshot>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let storage = if seed & 1 == 0 { Storage::Loose } else { Storage::Bundle };
        let old = Line { body: Body::text(0, 0), yanked: false, published: Some(0) };
        Self {
            seed,
            night: 0,
            random: fastrand::Rng::with_seed(seed),
            origin: Origin::start(OriginOptions::default(), Arc::new(|_| None)),
            dir: tempfile::tempdir().expect("dir"),
            storage,
            is_sparse: seed & 2 > 0,
            // Each kind of storage and source with and without them, also among few seeds.
            has_packages: (seed & 7).count_ones() % 2 == 1,
            now: 10 * DAY,
            rules: Rules { age: DAY, ..Rules::default() },
            advice: Vec::new(),
            serials: 0,
            // An index is never empty.
            truth: [(id("old", "1.0.0"), old)].into(),
            buried: BTreeMap::new(),
            known: BTreeMap::new(),
            held: BTreeMap::new(),
            read: BTreeSet::new(),
            deleted: BTreeSet::new(),
            replaced: BTreeMap::new(),
            lost: BTreeSet::new(),
            snapshot: None,
        }
    }

    fn run(mut self, nights: u32) {
        for night in 0..nights {
            self.night = night;
            self.pass_time();
            let had_licences = self.rules.licences.is_some();
            self.change_all();
            let asks_for_licences = !had_licences && self.rules.licences.is_some();
            if night > 0 && self.random.u8(..8) == 0 {
                self.rebuild();
            }
            let kind = self.kind(asks_for_licences);
            let outcome = self.download_all(&kind);
            self.check(&kind, &outcome);
        }
    }

    fn change_all(&mut self) {
        for _ in 0..self.random.usize(0..5) {
            self.change();
        }
        if self.random.u8(..5) == 0 {
            self.change_policy();
        }
        if self.random.u8(..8) == 0 {
            self.change_advice();
        }
        self.lost.clear();
        if self.storage == Storage::Loose && self.random.u8(..8) == 0 {
            self.lose();
        }
    }

    /// Chooses the kind of a night. Often the first with a rule on licences verifies what is held, as the documentation
    /// advises.
    fn kind(&mut self, asks_for_licences: bool) -> Kind {
        match self.random.u8(..10) {
            _ if asks_for_licences && self.random.bool() => Kind::Verify,
            0 | 1 => {
                let names = CRATES.iter().filter(|_| self.random.bool()).copied().collect::<Vec<_>>();
                if names.is_empty() { Kind::Whole } else { Kind::Part(names) }
            }
            2 | 3 => Kind::Stopped(self.random.u64(0..3)),
            4 => Kind::Verify,
            5 => Kind::Prune { allows_mass: self.random.u8(..4) > 0 },
            _ => Kind::Whole,
        }
    }

    /// Runs until nothing follows: a release that turns out to be too large, or to have another licence, makes room for an
    /// older one in the next run.
    fn download_all(&mut self, kind: &Kind) -> Outcome {
        let mut outcome = self.download(kind);
        let finds_out = self.rules.largest.is_some() || self.rules.licences.is_some();
        let makes_room = self.rules.newest > 0 && finds_out && !matches!(kind, Kind::Stopped(_));
        let mut has_read = *kind == Kind::Verify;
        while makes_room && (has_read || outcome.downloaded > 0) {
            outcome = self.download(if has_read { &Kind::Whole } else { kind });
            has_read = false;
        }
        outcome
    }

    #[track_caller]
    fn fail(&self, kind: &Kind, what: &str, id: &ReleaseId) -> ! {
        let (seed, night, now) = (self.seed, self.night, self.now);
        panic!(
            "seed {seed}, night {night} ({kind:?}, {:?}, {}{}): {id}: {what}\nupstream: {:?}\nseen: {:?}\nheld: {:?}\n\
             deleted: {}, licence read: {}\nreplaced: {:?}\nadvice: {:?}\n{}",
            self.storage,
            if self.is_sparse { "sparse, " } else { "" },
            rfc3339(now),
            self.truth.get(id),
            self.known.get(id),
            self.held.get(id),
            self.deleted.contains(id),
            self.read.contains(id),
            self.replaced.get(id),
            self.advice,
            self.rules.text()
        );
    }

    fn pass_time(&mut self) {
        let dues: Vec<u64> = self
            .truth
            .iter()
            .filter_map(|(id, line)| {
                let since = self.replaced.get(id).map_or(0, |replaced| replaced.earliest);
                Some(line.published?.max(since) + self.rules.age)
            })
            .filter(|due| *due > self.now + 1)
            .collect();
        let next = dues.into_iter().min().unwrap_or(self.now + DAY);
        self.now = match self.random.u8(..4) {
            0 => next,
            1 => next - 1,
            _ => self.now + self.random.u64(1..30) * HOUR,
        };
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }
}
