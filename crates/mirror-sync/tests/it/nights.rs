//! Nights of a mirror under a policy, over a registry that changes. After each, the offered releases are compared with a
//! model that is written from the documentation of policy and does not call the code that decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use mirror_checksum::Hasher;
use mirror_fetch::FetchObserver;
use mirror_repo::{At, Listing, Mirror, SnapshotDir, check_rows, rows_of};
use mirror_snapshot::{
    Held as HeldSnapshot, Row, RowError, RowState, Snapshot, accept, digest_rows, row_order,
};
use mirror_sync::{
    Advisories, DownloadOptions, LoadedPolicy, NameSet, Outcome, Policy, RebuildOptions, Storage, SyncEvent,
    SyncObserver, Upstream, download, rebuild_catalogue,
};
use mirror_testkit::{Origin, OriginOptions, TestRegistry};
use mirror_types::{Layout, ReleaseId, index_path};
use tokio_util::sync::CancellationToken;

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

/// Returns year, month and day of a moment, in seconds since 1970.
fn date(at: u64) -> (u64, u64, u64) {
    let (mut days, mut year) = (at / DAY, 1970);
    loop {
        let is_leap = year % 4 == 0;
        let of_year = 365 + u64::from(is_leap);
        if days >= of_year {
            (days, year) = (days - of_year, year + 1);
            continue;
        }
        let february = 28 + u64::from(is_leap);
        let mut month = 1;
        for of_month in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if days < of_month {
                return (year, month, days + 1);
            }
            (days, month) = (days - of_month, month + 1);
        }
    }
}

fn rfc3339(at: u64) -> String {
    let ((year, month, day), of_day) = (date(at), at % DAY);
    let (hour, minute, second) = (of_day / HOUR, of_day / 60 % 60, of_day % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A release as upstream lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    body: String,
    yanked: bool,
    published: Option<u64>,
}

/// Returns the place of a version in the order of versions; the patch number is always 0.
fn order(id: &ReleaseId) -> (u64, u64, bool) {
    let version = id.version.as_str();
    let mut numbers = version.split('.').map(|number| number.parse().expect("a number"));
    let is_release = !version.contains('-');
    (numbers.next().expect("major"), numbers.next().expect("minor"), is_release)
}

fn is_prerelease(id: &ReleaseId) -> bool {
    !order(id).2
}

/// The bound of a requirement: versions before it, or from it on.
#[derive(Debug, Clone)]
enum Range {
    All,
    Before(u64, u64),
    From(u64, u64),
}

/// An entry of a list.
#[derive(Debug, Clone)]
struct Entry {
    text: &'static str,
    names: Vec<&'static str>,
    range: Range,
}

impl Entry {
    fn text(&self) -> String {
        match self.range {
            Range::All => format!("\"{}\"", self.text),
            Range::Before(major, minor) => format!("\"{}@<{major}.{minor}\"", self.text),
            Range::From(major, minor) => format!("\"{}@>={major}.{minor}\"", self.text),
        }
    }

    fn matches(&self, id: &ReleaseId) -> bool {
        self.names.contains(&id.name.as_str())
            && match self.range {
                Range::All => true,
                Range::Before(major, minor) => order(id) < (major, minor, true),
                Range::From(major, minor) => order(id) >= (major, minor, true),
            }
    }
}

#[derive(Debug, Clone)]
struct Waiver {
    id: ReleaseId,
    rule: &'static str,
    /// The last moment of its last day has passed.
    ends: u64,
}

#[derive(Debug, Clone)]
struct Advice {
    serial: usize,
    name: &'static str,
    is_malicious: bool,
    /// The first version that is not affected.
    patched: (u64, u64),
}

/// The policy, as the test knows it.
#[derive(Debug, Clone, Default)]
struct Rules {
    age: u64,
    deny: Vec<Entry>,
    allow: Vec<Entry>,
    largest: Option<u64>,
    newest: usize,
    denies_yanked: bool,
    denies_vulnerable: bool,
    waivers: Vec<Waiver>,
}

impl Rules {
    fn text(&self) -> String {
        let list = |entries: &[Entry]| entries.iter().map(Entry::text).collect::<Vec<_>>().join(", ");
        let mut text = format!("min-publish-age = \"{} seconds\"\n", self.age);
        let _ = writeln!(text, "deny = [{}]\nallow = [{}]", list(&self.deny), list(&self.allow));
        let _ = writeln!(text, "newest = {}", self.newest);
        if self.denies_yanked {
            text += "yanked = \"deny\"\n";
        }
        if let Some(largest) = self.largest {
            let _ = writeln!(text, "max-crate-size = \"{largest} B\"");
        }
        if self.denies_vulnerable {
            text += "[advisories]\nvulnerable = \"deny\"\n";
        }
        for Waiver { id, rule, ends } in &self.waivers {
            let (year, month, day) = date(ends - DAY);
            let _ = writeln!(
                text,
                "[[waiver]]\nrelease = \"{}@{}\"\nrules = [\"{rule}\"]\nuntil = {year}-{month:02}-{day:02}\n\
                 who = \"a\"\nwhy = \"b\"",
                id.name, id.version
            );
        }
        text
    }

    fn waives(&self, id: &ReleaseId, rule: &str, now: u64) -> bool {
        self.waivers.iter().any(|waiver| waiver.id == *id && waiver.rule == rule && now < waiver.ends)
    }

    /// Returns whether every rule that needs no other release, and not the size, admits a release. `since`: the moment
    /// at which the mirror saw its bytes replace others.
    fn admit(&self, id: &ReleaseId, line: &Line, since: Option<u64>, advice: &[Advice], now: u64) -> bool {
        let age = || line.published.is_some_and(|at| at.max(since.unwrap_or(0)) + self.age <= now);
        let advised = |advice: &Advice| {
            advice.name == id.name.as_str()
                && (advice.is_malicious || self.denies_vulnerable)
                && order(id) < (advice.patched.0, advice.patched.1, true)
        };
        let forbids = [
            ("deny", self.deny.iter().any(|entry| entry.matches(id))),
            ("allow", !self.allow.is_empty() && !self.allow.iter().any(|entry| entry.matches(id))),
            ("advisories", advice.iter().any(advised)),
            ("yanked", line.yanked && self.denies_yanked),
            ("min-publish-age", self.age > 0 && !age()),
        ];
        forbids.iter().all(|(rule, forbids)| !forbids || self.waives(id, rule, now))
    }

    fn admits_size(&self, id: &ReleaseId, size: usize, now: u64) -> bool {
        self.largest.is_none_or(|largest| size as u64 <= largest) || self.waives(id, "max-crate-size", now)
    }

    /// Keeps those that are not displaced by `counted`, of which each is admitted by all other rules.
    fn keep_newest(&self, ids: &mut BTreeSet<ReleaseId>, counted: &[(ReleaseId, bool)], now: u64) {
        if self.newest == 0 {
            return;
        }
        ids.retain(|id| {
            let of_crate = || counted.iter().filter(|(other, yanked)| other.name == id.name && !yanked);
            let has_releases = of_crate().any(|(other, _)| !is_prerelease(other));
            let counts = |other: &ReleaseId| !(has_releases && is_prerelease(other));
            let newer = of_crate().filter(|(other, _)| order(other) > order(id) && counts(other));
            let is_yanked = counted.iter().any(|(other, yanked)| other == id && *yanked);
            (!is_yanked && counts(id) && newer.count() < self.newest) || self.waives(id, "newest", now)
        });
    }
}

/// The moment at which a run saw bytes replace others: the first at which it may have, and the first at which it must.
#[derive(Debug, Clone)]
struct Replaced {
    body: String,
    earliest: u64,
    latest: Option<u64>,
}

/// The way in which a night differs from others.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Whole,
    Part(Vec<&'static str>),
    Stopped(u64),
    Verify,
}

#[derive(Default)]
struct Stop {
    after: u64,
    downloaded: AtomicU64,
    cancel: CancellationToken,
}

impl FetchObserver for Stop {}

impl SyncObserver for Stop {
    fn event(&self, event: SyncEvent<'_>) {
        if matches!(event, SyncEvent::Downloaded { .. })
            && self.downloaded.fetch_add(1, Ordering::Relaxed) + 1 == self.after
        {
            self.cancel.cancel();
        }
    }
}

struct Simulation {
    seed: u64,
    night: u32,
    random: fastrand::Rng,
    origin: Origin,
    dir: tempfile::TempDir,
    storage: Storage,
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
    held: BTreeMap<ReleaseId, String>,
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
        let mut random = fastrand::Rng::with_seed(seed);
        let storage = if random.bool() { Storage::Loose } else { Storage::Bundle };
        let old = Line { body: "old".to_owned(), yanked: false, published: Some(0) };
        Self {
            seed,
            night: 0,
            random,
            origin: Origin::start(OriginOptions::default(), Arc::new(|_| None)),
            dir: tempfile::tempdir().expect("dir"),
            storage,
            now: 10 * DAY,
            rules: Rules { age: DAY, ..Rules::default() },
            advice: Vec::new(),
            serials: 0,
            // An index is never empty.
            truth: [(id("old", "1.0.0"), old)].into(),
            buried: BTreeMap::new(),
            known: BTreeMap::new(),
            held: BTreeMap::new(),
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
            if night > 0 && self.random.u8(..8) == 0 {
                self.rebuild();
            }
            let kind = match self.random.u8(..10) {
                0 | 1 => {
                    let names = CRATES.iter().filter(|_| self.random.bool()).copied().collect::<Vec<_>>();
                    if names.is_empty() { Kind::Whole } else { Kind::Part(names) }
                }
                2 | 3 => Kind::Stopped(self.random.u64(0..3)),
                4 => Kind::Verify,
                _ => Kind::Whole,
            };
            let mut outcome = self.download(&kind);
            // A release that turns out to be too large makes room for an older one in the next run.
            let makes_room = self.rules.newest > 0 && self.rules.largest.is_some();
            while makes_room && outcome.downloaded > 0 && !matches!(kind, Kind::Stopped(_)) {
                outcome = self.download(&kind);
            }
            self.check(&kind, &outcome);
        }
    }

    #[track_caller]
    fn fail(&self, kind: &Kind, what: &str, id: &ReleaseId) -> ! {
        let (seed, night, now) = (self.seed, self.night, self.now);
        panic!(
            "seed {seed}, night {night} ({kind:?}, {:?}, {}): {id}: {what}\nupstream: {:?}\nseen: {:?}\nheld: {:?}\n\
             deleted: {}\nreplaced: {:?}\nadvice: {:?}\n{}",
            self.storage,
            rfc3339(now),
            self.truth.get(id),
            self.known.get(id),
            self.held.get(id),
            self.deleted.contains(id),
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

    fn body(&mut self) -> String {
        self.serials += 1;
        let size = self.random.usize(20..200);
        let body = format!("{:.<size$}", format!("body {} of {size} ", self.serials));
        body
    }

    fn published(&mut self) -> Option<u64> {
        let at = self.now - self.random.u64(0..30) * HOUR;
        (self.random.u8(..8) > 0).then_some(at)
    }

    fn any(&mut self, of: impl Fn(&Self) -> Vec<ReleaseId>) -> Option<ReleaseId> {
        let mut ids = of(self);
        ids.retain(|id| id.name.as_str() != "old");
        (!ids.is_empty()).then(|| ids.swap_remove(self.random.usize(..ids.len())))
    }

    fn change(&mut self) {
        let listed = self.any(|this| this.truth.keys().cloned().collect());
        match (self.random.u8(..12), listed) {
            (0 | 1, Some(id)) => {
                let line = self.truth.remove(&id).expect("listed");
                self.buried.insert(id, line);
            }
            (2 | 3, Some(id)) => {
                let line = self.truth.get_mut(&id).expect("listed");
                line.yanked = !line.yanked;
            }
            (4, Some(id)) => {
                let body = self.body();
                let published = self.published();
                let keeps = self.random.bool();
                let line = self.truth.get_mut(&id).expect("listed");
                line.body = body;
                if !keeps {
                    line.published = published;
                }
            }
            (5, _) => {
                let Some(id) = self.any(|this| this.buried.keys().cloned().collect()) else { return };
                let mut line = self.buried.remove(&id).expect("buried");
                if self.random.u8(..3) == 0 {
                    line.body = self.body();
                }
                self.truth.insert(id, line);
            }
            (6, Some(id)) if self.random.u8(..3) == 0 => {
                let gone: Vec<_> = self.truth.keys().filter(|other| other.name == id.name).cloned().collect();
                for id in gone {
                    let line = self.truth.remove(&id).expect("listed");
                    self.buried.insert(id, line);
                }
            }
            _ => {
                let name = CRATES[self.random.usize(..CRATES.len())];
                let pre = if self.random.u8(..6) == 0 { "-rc.1" } else { "" };
                let version = format!("{}.{}.0{pre}", self.random.u8(0..4), self.random.u8(0..12));
                let id = id(name, &version);
                if self.truth.contains_key(&id) || self.buried.contains_key(&id) {
                    return;
                }
                let (body, published) = (self.body(), self.published());
                self.truth.insert(id, Line { body, yanked: false, published });
            }
        }
    }

    fn change_policy(&mut self) {
        let entries = [
            ("aa", vec!["aa"]),
            ("BB", vec!["Bb"]),
            ("cc_d", vec!["cc-d"]),
            ("c*", vec!["cc-d"]),
            ("?", vec!["e"]),
        ];
        let entry = |random: &mut fastrand::Rng, with_range: bool| {
            let (text, names) = entries[random.usize(..entries.len())].clone();
            let (major, minor) = (random.u64(0..4), random.u64(0..12));
            let range = match random.u8(..4) {
                0 if with_range => Range::Before(major, minor),
                1 | 2 if with_range => Range::From(major, minor),
                _ => Range::All,
            };
            Entry { text, names, range }
        };
        match self.random.u8(..9) {
            0 | 1 => self.rules.age = self.random.u64(0..5) * DAY,
            2 => self.rules.deny = vec![entry(&mut self.random, true)],
            3 => self.rules.deny.clear(),
            4 if self.rules.allow.is_empty() && self.random.bool() => {
                let any = |random: &mut fastrand::Rng| entry(random, false);
                self.rules.allow = vec![any(&mut self.random), any(&mut self.random)];
            }
            4 => self.rules.allow.clear(),
            5 => self.rules.largest = self.random.bool().then_some(120),
            6 => self.rules.newest = self.random.usize(0..4),
            7 => self.rules.denies_yanked = !self.rules.denies_yanked,
            _ => {
                let Some(id) = self.any(|this| this.truth.keys().cloned().collect()) else { return };
                let rules =
                    ["deny", "allow", "advisories", "yanked", "min-publish-age", "max-crate-size", "newest"];
                let rule = rules[self.random.usize(..rules.len())];
                let ends = (self.now / DAY + self.random.u64(1..4)) * DAY;
                self.rules.waivers.retain(|waiver| waiver.id != id || waiver.rule != rule);
                self.rules.waivers.push(Waiver { id, rule, ends });
            }
        }
    }

    fn change_advice(&mut self) {
        if !self.advice.is_empty() && self.random.bool() {
            let at = self.random.usize(..self.advice.len());
            self.advice.remove(at);
            return;
        }
        self.serials += 1;
        self.advice.push(Advice {
            serial: self.serials,
            name: CRATES[self.random.usize(..CRATES.len())],
            is_malicious: self.random.u8(..4) > 0,
            patched: (self.random.u64(0..4), self.random.u64(0..12)),
        });
        self.rules.denies_vulnerable = self.random.bool();
    }

    /// Removes the file of a held release.
    fn lose(&mut self) {
        let Some(id) = self.any(|this| this.held.keys().cloned().collect()) else { return };
        std::fs::remove_file(self.out().join(Layout::Shard.path(&id))).expect("removed");
        self.held.remove(&id);
        self.lost.insert(id);
    }

    /// Rebuilds the catalogue: without a policy, nothing is offered where one was in force; with one, what it admits of
    /// what the mirror knows.
    fn rebuild(&mut self) {
        let mut options = RebuildOptions::new(self.out());
        let observer = Stop::default();
        let policy = Arc::new(self.policy());
        let was_open = !self.out().join(".mirror/policy-in-force").exists();
        if self.random.bool() {
            rebuild_catalogue(&options, &observer, &observer.cancel).expect("rebuilt");
            let mirror = Mirror::open(&self.out(), None).expect("a mirror");
            assert_eq!(mirror.totals().is_ok(), was_open, "{}", self.rules.text());
        }
        options.policy = Some(policy);
        options.now = Some(UNIX_EPOCH + Duration::from_secs(self.now));
        rebuild_catalogue(&options, &observer, &observer.cancel).expect("rebuilt");
        let mirror = Mirror::open(&self.out(), None).expect("a mirror");
        self.check_offered(&Kind::Stopped(0), &mirror);
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn registry(&self) -> TestRegistry {
        let mut registry = TestRegistry::default();
        for (id, line) in &self.truth {
            let release = registry.add(id.name.as_str(), id.version.as_str(), line.body.as_bytes());
            (release.yanked, release.pubtime) = (line.yanked, line.published.map(rfc3339));
        }
        registry
    }

    fn policy(&self) -> LoadedPolicy {
        let files = self.advice.iter().map(|advice| {
            let Advice { serial, name, is_malicious, patched: (major, minor) } = advice;
            let (id, category) = (format!("RUSTSEC-2026-{serial:04}"), if *is_malicious { "malicious" } else { "crypto-failure" });
            let text = format!(
                "```toml\n[advisory]\nid = \"{id}\"\npackage = \"{name}\"\ndate = \"2026-11-01\"\n\
                 categories = [\"{category}\"]\n\n[versions]\npatched = [\">= {major}.{minor}.0\"]\n```\n\n# A title\n"
            );
            (format!("crates/{name}/{id}.md"), text)
        });
        let advisories = Advisories::from_files(files);
        assert_eq!(advisories.faults(), []);
        let text = self.rules.text();
        LoadedPolicy::new(Policy::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}")), advisories)
    }

    fn download(&mut self, kind: &Kind) -> Outcome {
        let registry = self.registry();
        let index = self.dir.path().join("index");
        self.origin.replace_site(registry.site(""));
        registry.commit_git(&index);
        let mut options = DownloadOptions::new(Upstream::Local(index), self.out());
        options.policy = Some(Arc::new(self.policy()));
        options.now = Some(UNIX_EPOCH + Duration::from_secs(self.now));
        options.include_yanked = true;
        options.storage = self.storage;
        options.accept_mass_removal = self.random.bool();
        options.crates_base_url = Some(format!("{}/crates", self.origin.base()).into());
        options.fetch.cacert = Some(self.origin.ca().to_owned());
        options.verify_existing = *kind == Kind::Verify;
        let observer = Arc::new(Stop::default());
        let mut observer = Arc::into_inner(observer).expect("the only one");
        match kind {
            Kind::Part(names) => {
                let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
                options.include = NameSet::parse(&names).expect("names");
            }
            Kind::Stopped(after) => {
                observer.after = *after;
                if *after == 0 {
                    observer.cancel.cancel();
                }
            }
            Kind::Whole | Kind::Verify => {}
        }
        let cancel = observer.cancel.clone();
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        runtime.block_on(download(options, Arc::new(observer), cancel)).expect("run")
    }

    /// Returns whether a night with this kind looks at a crate to its end.
    fn looks_at(kind: &Kind, id: &ReleaseId) -> bool {
        match kind {
            Kind::Whole | Kind::Verify => true,
            Kind::Part(names) => names.contains(&id.name.as_str()),
            Kind::Stopped(_) => false,
        }
    }

    /// Notes which bytes the mirror sees replace others.
    fn note_replaced(&mut self, kind: &Kind, held_before: &BTreeMap<ReleaseId, String>) {
        let is_stopped = matches!(kind, Kind::Stopped(_));
        let seen: Vec<_> = self.truth.clone().into_iter().collect();
        for (id, line) in seen {
            if !is_stopped && !Self::looks_at(kind, &id) {
                continue;
            }
            let now = self.now;
            if let Some(known) = self.replaced.get_mut(&id).filter(|known| known.body == line.body) {
                if !is_stopped {
                    known.latest.get_or_insert(now);
                }
                continue;
            }
            let latest = (!is_stopped).then_some(now);
            let replaced = Replaced { body: line.body.clone(), earliest: now, latest };
            match held_before.get(&id) {
                Some(body) if *body != line.body => {
                    self.replaced.insert(id, replaced);
                }
                Some(_) => {
                    self.replaced.remove(&id);
                }
                // Nobody says whether bytes replace others that were lost on the same night.
                None if self.lost.contains(&id) => {
                    self.replaced.insert(id, Replaced { earliest: 0, ..replaced });
                }
                None => {}
            }
        }
    }

    fn since(&self, id: &ReleaseId, line: &Line, latest: bool) -> Option<u64> {
        let replaced = self.replaced.get(id).filter(|replaced| replaced.body == line.body)?;
        Some(if latest { replaced.latest.unwrap_or(self.now) } else { replaced.earliest })
    }

    /// Returns the releases that are certainly admitted, or those that perhaps are, by what the mirror has seen.
    fn admitted(&self, certainly: bool) -> BTreeSet<ReleaseId> {
        let admits = |id: &ReleaseId, line: &Line, certainly: bool| {
            self.rules.admit(id, line, self.since(id, line, certainly), &self.advice, self.now)
        };
        let is_held = |id: &ReleaseId, line: &Line| self.held.get(id) == Some(&line.body);
        let fits = |id: &ReleaseId, line: &Line| self.rules.admits_size(id, line.body.len(), self.now);
        let mut ids: BTreeSet<ReleaseId> = self
            .known
            .iter()
            .filter(|(id, line)| admits(id, line, certainly) && fits(id, line))
            .map(|(id, _)| id.clone())
            .collect();
        // Those that are not held may have any size, and may come or not.
        let counted: Vec<(ReleaseId, bool)> = self
            .known
            .iter()
            .filter(|(id, line)| match is_held(id, line) {
                true => admits(id, line, !certainly) && fits(id, line),
                false => certainly && admits(id, line, false),
            })
            .map(|(id, line)| (id.clone(), line.yanked))
            .collect();
        self.rules.keep_newest(&mut ids, &counted, self.now);
        ids
    }

    fn check(&mut self, kind: &Kind, outcome: &Outcome) {
        let some = id("old", "1.0.0");
        // A crate that is named must be in the index.
        let named: &[&str] = if let Kind::Part(names) = kind { names } else { &[] };
        let is_listed = |name: &str| self.truth.keys().any(|id| id.name.as_str() == name);
        let missing = named.iter().filter(|name| !is_listed(name));
        if outcome.failed != missing.count() as u64 || outcome.unavailable > 0 {
            self.fail(kind, &format!("the run failed: {outcome:?}"), &some);
        }
        let before = self.held.clone();
        self.note_replaced(kind, &before);
        let mirror = Mirror::open(&self.out(), None).expect("a mirror");
        self.learn(kind, &mirror);
        self.check_held(kind, &mirror, &before);
        self.check_offered(kind, &mirror);
        self.check_snapshots(kind, outcome, &mirror);
    }

    /// Checks that the newest snapshot states what the index files list and the files hold, and that the rows of earlier
    /// ones can still be told.
    fn check_snapshots(&mut self, kind: &Kind, outcome: &Outcome, mirror: &Mirror) {
        let dir = SnapshotDir::of(&self.out());
        // A run that is to be stopped may have ended before.
        assert!(outcome.snapshot.is_some() || matches!(kind, Kind::Stopped(_)));
        if let Some(serial) = outcome.snapshot {
            let snapshot = dir.read(serial).expect("read").expect("there");
            assert_eq!(dir.list().expect("list").last().map(|file| file.serial), Some(serial), "the newest");
            let rows = self.listed(mirror);
            let (units, counts) = digest_rows(rows.into_iter().map(Ok::<_, RowError>)).expect("sorted");
            let stated = snapshot.contents();
            if stated.units != units {
                let catalogue = mirror.catalogue().expect("catalogue");
                let listed = self.listed(mirror);
                for name in CRATES {
                    let told = rows_of(&catalogue, At::Now, &name.parse().expect("name")).expect("rows");
                    let of_name = listed.iter().filter(|row| row.id.name.as_str() == name);
                    for row in told.iter().filter(|row| !listed.contains(row)) {
                        self.fail(
                            kind,
                            &format!("is in the snapshot ({:?}) and not listed so", row.state),
                            &row.id,
                        );
                    }
                    for row in of_name.filter(|row| !told.contains(row)) {
                        let why = catalogue.held_back_of(&row.id.name).expect("rows");
                        let failed = catalogue.failures().expect("failures");
                        let what = format!(
                            "is listed ({:?}) and not in the snapshot: {why:?} {failed:?}",
                            row.state
                        );
                        self.fail(kind, &what, &row.id);
                    }
                }
            }
            assert_eq!(
                (&stated.units, stated.counts.crates, stated.counts.releases),
                (&units, counts.crates, counts.releases),
                "seed {}, night {}",
                self.seed,
                self.night
            );
            if let Some(before) = &self.snapshot {
                let acceptance = accept(Some(&HeldSnapshot::from(before)), &snapshot, stated.created);
                assert!(acceptance.is_ok(), "{acceptance:?}");
            }
            self.snapshot = Some(snapshot);
        }
        let catalogue = mirror.catalogue().expect("catalogue");
        for row in catalogue.snapshots().expect("snapshots") {
            let snapshot = dir.read(row.serial).expect("read").expect("there");
            check_rows(&catalogue, &snapshot).unwrap_or_else(|error| {
                panic!("seed {}, night {}, snapshot {}: {error}", self.seed, self.night, row.serial)
            });
        }
    }

    /// Returns the rows of what the index files list, with the checksums of the bytes.
    fn listed(&self, mirror: &Mirror) -> Vec<Row> {
        let mut rows = Vec::new();
        for path in mirror.index_paths().expect("paths") {
            let Some(listing) = mirror.listing_at(&path).expect("listing") else { continue };
            let text = String::from_utf8(listing.text.to_vec()).expect("text");
            for (id, line) in listing.releases().zip(text.lines()) {
                let line: serde_json::Value = serde_json::from_str(line).expect("a line");
                let state = if line["yanked"] == true { RowState::Yanked } else { RowState::Offered };
                rows.push(Row { checksum: Hasher::of(self.held[&id].as_bytes()), id, state });
            }
        }
        rows.sort_by(|one, other| row_order(&one.id, &other.id));
        rows
    }

    /// Brings what the mirror has seen up to date.
    fn learn(&mut self, kind: &Kind, mirror: &Mirror) {
        let ever: BTreeSet<ReleaseId> =
            self.truth.keys().chain(self.known.keys()).chain(self.held.keys()).cloned().collect();
        for name in ever.iter().map(|id| id.name.clone()).collect::<BTreeSet<_>>() {
            let of = |lines: &BTreeMap<ReleaseId, Line>| -> BTreeMap<ReleaseId, Line> {
                lines
                    .iter()
                    .filter(|(id, _)| id.name == name)
                    .map(|(id, line)| (id.clone(), line.clone()))
                    .collect()
            };
            let (new, old) = (of(&self.truth), of(&self.known));
            let some = ever.iter().find(|id| id.name == name).expect("one");
            let sees = if matches!(kind, Kind::Stopped(_)) {
                let text = mirror.index_text(&index_path(&name)).expect("lines").unwrap_or_default();
                let has = |lines| text == Self::text_of(lines).into_bytes();
                if !has(&new) && !has(&old) && !old.is_empty() {
                    self.fail(kind, "the lines are neither those of before nor the new ones", some);
                }
                has(&new)
            } else {
                Self::looks_at(kind, some)
            };
            if sees {
                self.known.retain(|id, _| id.name != name);
                self.known.extend(new);
            }
        }
        for id in ever {
            let is_gone = !self.truth.contains_key(&id);
            let is_deleted = mirror.is_deleted(&id).expect("deleted");
            if matches!(kind, Kind::Stopped(_)) {
                if is_deleted && !is_gone && !self.deleted.contains(&id) {
                    self.fail(kind, "counts as deleted and is listed", &id);
                }
                if is_deleted {
                    self.deleted.insert(id.clone());
                } else {
                    self.deleted.remove(&id);
                }
            } else if Self::looks_at(kind, &id) {
                if is_gone {
                    self.deleted.insert(id.clone());
                } else {
                    self.deleted.remove(&id);
                }
            }
            // Bytes that were never held and come back are seen anew.
            let is_pending = |replaced: &Replaced| self.held.get(&id) != Some(&replaced.body);
            if is_gone && self.replaced.get(&id).is_some_and(is_pending) {
                if Self::looks_at(kind, &id) {
                    self.replaced.remove(&id);
                } else if let (Kind::Stopped(_), Some(replaced)) = (kind, self.replaced.get_mut(&id)) {
                    replaced.latest = None;
                }
            }
        }
    }

    fn text_of(lines: &BTreeMap<ReleaseId, Line>) -> String {
        let mut registry = TestRegistry::default();
        for (id, line) in lines {
            let release = registry.add(id.name.as_str(), id.version.as_str(), line.body.as_bytes());
            (release.yanked, release.pubtime) = (line.yanked, line.published.map(rfc3339));
        }
        registry.releases().fold(String::new(), |text, release| text + &release.line() + "\n")
    }

    fn check_held(&mut self, kind: &Kind, mirror: &Mirror, before: &BTreeMap<ReleaseId, String>) {
        let catalogue = mirror.catalogue().expect("catalogue");
        let names: BTreeSet<_> = self.truth.keys().chain(before.keys()).map(|id| id.name.clone()).collect();
        let mut held = BTreeMap::new();
        for name in names {
            for row in catalogue.held_of(&name).expect("held") {
                let id = id(name.as_str(), &row.version);
                // A run that is stopped may not have looked.
                if self.lost.contains(&id) && !mirror.is_there(&id, &row).expect("look") {
                    continue;
                }
                let located = mirror.locate(&id, &row).expect("locate");
                let Some(located) = located else { self.fail(kind, "is held and not there", &id) };
                held.insert(
                    id.clone(),
                    String::from_utf8(mirror.read(&id, &located).expect("bytes")).expect("text"),
                );
            }
        }
        for (id, body) in before {
            let listed = self.truth.get(id).map(|line| &line.body);
            match held.get(id) {
                None => self.fail(kind, "is not held any more", id),
                Some(found) if found != body && Some(found) != listed => {
                    self.fail(kind, "has other bytes", id)
                }
                Some(_) => {}
            }
        }
        for (id, body) in &held {
            if before.get(id) == Some(body) {
                continue;
            }
            let Some(line) = self.truth.get(id).filter(|line| line.body == *body) else {
                self.fail(kind, "is held with bytes that upstream does not list", id)
            };
            if !self.rules.admit(id, line, self.since(id, line, false), &self.advice, self.now) {
                self.fail(kind, "was fetched although the policy forbids it", id);
            }
        }
        self.held = held;
        for id in self.admitted(true) {
            if Self::looks_at(kind, &id) && self.held.get(&id) != self.truth.get(&id).map(|line| &line.body) {
                self.fail(kind, "is admitted and not fetched", &id);
            }
        }
    }

    fn check_offered(&self, kind: &Kind, mirror: &Mirror) {
        let (must, may) = (self.admitted(true), self.admitted(false));
        let ever: BTreeSet<_> =
            self.truth.keys().chain(self.known.keys()).chain(self.held.keys()).cloned().collect();
        let names: BTreeSet<_> = ever.iter().map(|id| id.name.clone()).collect();
        let mut listed = BTreeMap::new();
        for name in names {
            let listing = mirror.listing_at(&index_path(&name)).expect("listing");
            let text =
                listing.as_ref().map(|listing| String::from_utf8(listing.text.to_vec()).expect("text"));
            let lines = text.iter().flat_map(|text| text.lines()).map(|line| format!("{line}\n"));
            listed.extend(listing.iter().flat_map(Listing::releases).zip(lines.collect::<Vec<_>>()));
        }
        for id in &ever {
            let line = self.known.get(id);
            let is_whole = line.is_some_and(|line| self.held.get(id) == Some(&line.body));
            let may_be = is_whole && may.contains(id) && !self.deleted.contains(id);
            let must_be = is_whole && must.contains(id) && !self.deleted.contains(id);
            let is_held = mirror.held(id).expect("held").is_some();
            if let Some(text) = listed.get(id) {
                if !may_be {
                    self.fail(kind, "is listed and must not be", id);
                }
                if *text != Self::text_of(&[(id.clone(), line.expect("known").clone())].into()) {
                    self.fail(kind, "is listed with another line", id);
                }
            }
            if is_held && is_whole && !may_be {
                self.fail(kind, "is offered and must not be", id);
            }
            if is_held && self.deleted.contains(id) {
                self.fail(kind, "is offered and was deleted", id);
            }
            let is_stopped = matches!(kind, Kind::Stopped(_));
            if must_be && !is_stopped && !(is_held && listed.contains_key(id)) {
                let decision = mirror.catalogue().expect("catalogue").held_back(id).expect("row");
                self.fail(kind, &format!("is not offered and must be ({decision:?})"), id);
            }
        }
    }
}
