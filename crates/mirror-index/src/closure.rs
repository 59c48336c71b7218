use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use mirror_index_line::{IndexLine, lines};
use mirror_types::{CLIPPED_VALUE_BYTES, CrateName, IndexRecord, ReleaseId, clipped};
use semver::{Version, VersionReq};

use crate::features::{DEFAULT, Follow, Manifest, Need};
use crate::record::{IndexFile, IndexLimits, LineFault, parse_file};
use crate::selection::Selection;
use crate::target::Target;

/// The extent of a closure.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ClosureOptions {
    /// Only dependencies of these targets; none means those of all targets.
    pub targets: Vec<Target>,
    /// For the crates that it begins with, only the default features; else all of them.
    pub no_optional: bool,
    /// For the crates that it begins with, also the dependencies for tests, examples and benchmarks.
    pub dev: bool,
    /// Bounds.
    pub limits: ClosureLimits,
}

impl ClosureOptions {
    /// Returns what is followed of a release.
    fn follow(&self, is_root: bool) -> Follow<'_> {
        Follow { targets: &self.targets, dev: self.dev && is_root }
    }
}

/// Bounds of a closure: a registry decides how many crates depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClosureLimits {
    /// Most crates in the closure.
    pub max_crates: usize,
    /// Most memory for their index files.
    pub max_bytes: usize,
}

impl Default for ClosureLimits {
    fn default() -> Self {
        Self { max_crates: 50_000, max_bytes: 128 << 20 }
    }
}

impl ClosureLimits {
    /// Returns no bounds, for a trusted index on a local disk.
    #[must_use]
    pub const fn none() -> Self {
        Self { max_crates: usize::MAX, max_bytes: usize::MAX }
    }
}

/// Memory for a release beside its line.
const RELEASE_BYTES: usize = 200;
/// Most unsatisfied requirements that are named.
const NAMED_UNSATISFIED: usize = 20;

/// The size of a closure, and the dependencies that it does not follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClosureCounts {
    /// Releases that it begins with.
    pub roots: u64,
    /// All releases in it.
    pub releases: u64,
    /// Optional dependencies of these releases that no feature turns on.
    pub optional: u64,
    /// Dependencies of these releases that only other targets have.
    pub other_targets: u64,
    /// Dependencies for tests of the releases that it begins with, unless they are followed.
    pub dev: u64,
}

/// The results of a closure, beside the releases that it chose.
#[derive(Debug, Default)]
pub struct ClosureReport {
    /// Its size.
    pub counts: ClosureCounts,
    /// Releases with dependencies in another registry, by its address; those dependencies are left out.
    pub elsewhere: BTreeMap<String, usize>,
    /// Requirements that no release satisfies.
    pub unsatisfied: usize,
    /// The first of these requirements, for people.
    pub first_unsatisfied: Vec<String>,
    /// Requirements on the crates that it begins with that no version satisfies.
    pub unmatched: Vec<(CrateName, String)>,
    /// Crates that were not examined, with the reason.
    pub beyond: Vec<(CrateName, String)>,
}

/// The releases that builds of a selection need: for each requirement the release that Cargo would choose, with the
/// requested features, transitively. A state machine without I/O: call [`Closure::next_needed`], answer with
/// [`Closure::provide`], until nothing is needed.
///
/// The release for a requirement is the newest that satisfies it, has the features and is not yanked; with a
/// selection's `latest` the newest so many, without it all of them. Where two requirements on one crate overlap, the
/// release that Cargo would choose for both is the newest of one of them, so the closure has it. The first crates have
/// all their features, or the default ones; others have the requested ones. Dependencies for tests are left out, those of
/// the first crates only unless they are wanted; so are those in other registries, which are reported.
#[derive(Debug)]
pub struct Closure {
    selection: Selection,
    options: ClosureOptions,
    roots: HashSet<String>,
    /// The crates that were asked for, by canonical name.
    asked: HashMap<String, CrateName>,
    needed: Vec<CrateName>,
    doubts: Option<Doubts>,
    files: HashMap<String, Crate>,
    bytes: usize,
    /// Requirements on crates that have not been provided, by canonical name.
    waiting: HashMap<String, Vec<Need>>,
    done: HashMap<String, HashSet<Need>>,
    chosen: BTreeMap<CrateName, Vec<IndexRecord>>,
    report: ClosureReport,
}

/// The crates whose index file lacks what another crate requires, and may be old.
#[derive(Debug, Default)]
struct Doubts {
    /// Crates to be asked for again.
    next: Vec<CrateName>,
    /// Crates that were doubted, each once, by canonical name.
    all: HashSet<String>,
    /// The requirements that wait for their new index file.
    waiting: HashMap<String, Vec<Need>>,
}

/// Requirements to be met.
type Work = Vec<(CrateName, Need)>;

#[derive(Debug, Default)]
struct Crate {
    data: Vec<u8>,
    releases: Vec<Release>,
}

#[derive(Debug)]
struct Release {
    record: IndexRecord,
    version: Option<Version>,
    /// The range of its line.
    line: Range<usize>,
    /// The active features; `None` when it is not chosen.
    features: Option<BTreeSet<String>>,
    /// True if the closure begins with it.
    is_root: bool,
}

impl Crate {
    fn of(file: IndexFile, records: Vec<IndexRecord>) -> Self {
        let base = file.data.as_ptr() as usize;
        let mut ranges: HashMap<String, Range<usize>> = HashMap::new();
        for (_, line) in lines(&file.data) {
            let start = line.as_ptr() as usize - base;
            if let Ok(read) = IndexLine::skim(line) {
                ranges.insert(read.vers.into_owned(), start..start + line.len());
            }
        }
        let releases = records.into_iter().map(|record| Release {
            version: Version::parse(record.id.version.as_str()).ok(),
            line: ranges.get(record.id.version.as_str()).cloned().unwrap_or_default(),
            record,
            features: None,
            is_root: false,
        });
        Self { releases: releases.collect(), data: file.data }
    }

    fn bytes(&self) -> usize {
        self.data.len() + self.releases.len() * RELEASE_BYTES
    }

    /// Takes over which releases were chosen, with which features, from an older index file of the crate.
    fn take_over(&mut self, older: Self) {
        let mut older: HashMap<ReleaseId, Release> =
            older.releases.into_iter().map(|release| (release.record.id.clone(), release)).collect();
        for release in &mut self.releases {
            if let Some(known) = older.remove(&release.record.id) {
                (release.features, release.is_root) = (known.features, known.is_root);
            }
        }
    }

    fn manifest(&self, at: usize) -> Manifest {
        Manifest::read(&self.data[self.releases[at].line.clone()])
    }
}

impl Closure {
    /// Begins with those releases of the crates `roots` that `selection` takes.
    #[must_use]
    pub fn new(selection: Selection, roots: Vec<CrateName>, options: ClosureOptions) -> Self {
        let roots: Vec<_> = roots.into_iter().filter(|name| selection.wants_crate(name)).collect();
        let asked: HashMap<_, _> = roots.iter().map(|name| (name.canonical(), name.clone())).collect();
        Self {
            selection,
            options,
            roots: asked.keys().cloned().collect(),
            asked,
            needed: roots,
            doubts: None,
            files: HashMap::new(),
            bytes: 0,
            waiting: HashMap::new(),
            done: HashMap::new(),
            chosen: BTreeMap::new(),
            report: ClosureReport::default(),
        }
    }

    /// Doubts the index file of a crate when it lacks what another crate requires: a cache on the way may have answered
    /// with an old one. Ask past the caches for what [`Closure::next_doubted`] returns, and provide it again.
    #[must_use]
    pub fn with_doubts(mut self) -> Self {
        self.doubts = Some(Doubts::default());
        self
    }

    /// Returns the crates whose index file must be provided once more; asks for each once. Call it when nothing is
    /// needed, and then [`Closure::next_needed`] again.
    pub fn next_doubted(&mut self) -> Vec<CrateName> {
        self.doubts.as_mut().map(|doubts| std::mem::take(&mut doubts.next)).unwrap_or_default()
    }

    /// Returns the crates whose index file must be provided now; asks for each once.
    pub fn next_needed(&mut self) -> Vec<CrateName> {
        std::mem::take(&mut self.needed)
    }

    /// Takes the index file of a crate; `None` when there is none.
    pub fn provide(
        &mut self,
        name: &CrateName,
        file: Option<IndexFile>,
        limits: &IndexLimits,
        faults: &mut dyn FnMut(LineFault),
    ) {
        let key = name.canonical();
        let mut waiting = self.waiting.remove(&key).unwrap_or_default();
        waiting.extend(self.no_longer_doubted(&key));
        let Some(file) = file else {
            waiting.iter().for_each(|need| self.unsatisfied(&key, need));
            return;
        };
        let records = parse_file(&file.path, &file.data, limits, faults);
        let bytes = file.data.len() + records.len() * RELEASE_BYTES;
        let known = self.files.get(&key).map_or(0, Crate::bytes);
        if bytes > self.options.limits.max_bytes - (self.bytes - known) {
            let most = self.options.limits.max_bytes;
            let why = format!("the index files of what is needed have more than {most} bytes together");
            self.report.beyond.push((name.clone(), why));
            return;
        }
        self.bytes = self.bytes - known + bytes;
        let mut found = Crate::of(file, records.clone());
        let is_first = match self.files.remove(&key) {
            Some(known) => {
                found.take_over(known);
                false
            }
            None => true,
        };
        self.files.insert(key.clone(), found);
        let mut work = Vec::new();
        if is_first && self.roots.contains(&key) {
            let named = records.first().map_or_else(|| name.clone(), |record| record.id.name.clone());
            let selected = self.selection.select(records);
            let unmatched = selected.unmatched.into_iter();
            self.report.unmatched.extend(unmatched.map(|requirement| (named.clone(), requirement)));
            let wanted: HashSet<ReleaseId> = selected.records.into_iter().map(|record| record.id).collect();
            self.begin_with(&key, &wanted, &mut work);
        }
        for need in waiting {
            self.require(&key, &need, &mut work);
        }
        while let Some((name, need)) = work.pop() {
            self.meet(name, need, &mut work);
        }
    }

    fn begin_with(&mut self, key: &str, wanted: &HashSet<ReleaseId>, work: &mut Work) {
        let Some(found) = self.files.get_mut(key) else { return };
        let mut roots = Vec::new();
        for (at, release) in found.releases.iter_mut().enumerate() {
            release.is_root = wanted.contains(&release.record.id);
            roots.extend(release.is_root.then_some(at));
        }
        for at in roots {
            let features = match (self.options.no_optional, self.files.get(key)) {
                (false, Some(found)) => found.manifest(at).all_features(),
                _ => BTreeSet::from([DEFAULT.to_owned()]),
            };
            self.choose(key, at, &features, work);
        }
    }

    /// Meets a requirement now, or when its crate is provided.
    fn meet(&mut self, name: CrateName, need: Need, work: &mut Work) {
        let key = name.canonical();
        if self.selection.exclude.matches(&name) {
            return;
        }
        if self.files.contains_key(&key) {
            return self.require(&key, &need, work);
        }
        if !self.asked.contains_key(&key) {
            if self.asked.len() >= self.options.limits.max_crates.saturating_add(self.roots.len()) {
                let why = format!("more than {} crates are needed", self.options.limits.max_crates);
                self.report.beyond.push((name.clone(), why));
                self.asked.insert(key, name);
                return;
            }
            self.asked.insert(key.clone(), name.clone());
            self.needed.push(name);
        }
        self.waiting.entry(key).or_default().push(need);
    }

    fn require(&mut self, key: &str, need: &Need, work: &mut Work) {
        if !self.done.entry(key.to_owned()).or_default().insert(need.clone()) {
            return;
        }
        let chosen = self.candidates(key, need);
        if chosen.is_empty() {
            self.unsatisfied(key, need);
        }
        for at in chosen {
            self.choose(key, at, &need.features, work);
        }
    }

    /// Returns the releases for a requirement: the newest first, as many as the selection wants.
    fn candidates(&self, key: &str, need: &Need) -> Vec<usize> {
        let (Some(found), Ok(req)) = (self.files.get(key), VersionReq::parse(&need.req)) else {
            return Vec::new();
        };
        let latest = self.selection.latest;
        // As in a selection: the newest are those that Cargo would choose.
        let yanked = self.selection.include_yanked && latest == 0;
        let mut fitting: Vec<(&Version, usize)> = found
            .releases
            .iter()
            .enumerate()
            .filter(|(_, release)| yanked || !release.record.yanked)
            .filter_map(|(at, release)| Some((release.version.as_ref()?, at)))
            .filter(|(version, _)| req.matches(version))
            .collect();
        fitting.sort_by(|a, b| b.0.cmp(a.0));
        let fitting = fitting.into_iter().map(|(_, at)| at);
        let able = fitting.filter(|at| {
            let beside_default = need.features.iter().any(|feature| feature != DEFAULT);
            !beside_default || {
                let manifest = found.manifest(*at);
                need.features.iter().all(|feature| manifest.has(feature))
            }
        });
        able.take(if latest == 0 { usize::MAX } else { latest }).collect()
    }

    /// Chooses a release with these features, and adds its requirements to the work.
    fn choose(&mut self, key: &str, at: usize, features: &BTreeSet<String>, work: &mut Work) {
        let Some(found) = self.files.get_mut(key) else { return };
        let release = &mut found.releases[at];
        let first = release.features.is_none();
        let active = release.features.get_or_insert_default();
        let before = active.len();
        active.extend(features.iter().cloned());
        if !first && active.len() == before {
            return;
        }
        let active = active.clone();
        let (record, follow) = (release.record.clone(), self.options.follow(release.is_root));
        let needs = found.manifest(at).needs(&active, follow);
        if first {
            for registry in needs.elsewhere {
                *self.report.elsewhere.entry(clipped(&registry, CLIPPED_VALUE_BYTES)).or_default() += 1;
            }
            self.chosen.entry(record.id.name.clone()).or_default().push(record);
        }
        work.extend(needs.crates);
    }

    /// Returns the requirements that waited for the new index file of a crate, to be looked at again.
    fn no_longer_doubted(&mut self, key: &str) -> Vec<Need> {
        let waiting = self.doubts.as_mut().and_then(|doubts| doubts.waiting.remove(key)).unwrap_or_default();
        if let Some(done) = self.done.get_mut(key) {
            waiting.iter().for_each(|need| {
                done.remove(need);
            });
        }
        waiting
    }

    /// Lets a requirement that nothing satisfies wait for a newer index file; returns false when there is none to come.
    fn doubt(&mut self, key: &str, need: &Need) -> bool {
        let (Some(doubts), Some(name)) = (&mut self.doubts, self.asked.get(key)) else { return false };
        if doubts.all.insert(key.to_owned()) {
            doubts.next.push(name.clone());
            doubts.waiting.insert(key.to_owned(), Vec::new());
        }
        let waiting = doubts.waiting.get_mut(key);
        waiting.map(|waiting| waiting.push(need.clone())).is_some()
    }

    fn unsatisfied(&mut self, key: &str, need: &Need) {
        if self.doubt(key, need) {
            return;
        }
        let features: Vec<_> =
            need.features.iter().filter(|feature| *feature != DEFAULT).map(String::as_str).collect();
        let with = if features.is_empty() { String::new() } else { format!(" with {}", features.join(", ")) };
        self.count_unsatisfied(format!("{key} {}{with}", need.req));
    }

    fn count_unsatisfied(&mut self, requirement: String) {
        self.report.unsatisfied += 1;
        if self.report.first_unsatisfied.len() < NAMED_UNSATISFIED {
            self.report.first_unsatisfied.push(clipped(requirement, CLIPPED_VALUE_BYTES));
        }
    }

    /// Counts what was chosen and what was left out, now that all features are known.
    fn counts(&self) -> ClosureCounts {
        let mut counts = ClosureCounts::default();
        for found in self.files.values() {
            for (at, release) in found.releases.iter().enumerate() {
                let Some(features) = &release.features else { continue };
                let left_out = found.manifest(at).left_out(features, self.options.follow(release.is_root));
                counts.releases += 1;
                counts.optional += left_out.optional;
                counts.other_targets += left_out.other_targets;
                if release.is_root {
                    counts.roots += 1;
                    counts.dev += left_out.dev;
                }
            }
        }
        counts
    }

    /// Returns the chosen releases, by crate, in order.
    #[must_use]
    pub fn finish(mut self) -> (Vec<Vec<IndexRecord>>, ClosureReport) {
        self.report.counts = self.counts();
        let chosen = self.chosen.into_values().map(|mut records| {
            records.sort_by(|a, b| a.id.cmp(&b.id));
            records
        });
        (chosen.collect(), self.report)
    }
}

#[cfg(test)]
mod tests;
