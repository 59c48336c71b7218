//! Records in, jobs out: what is wanted minus what is held.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crossbeam_channel::Sender;
use mirror_fetch::FetchRequest;
use mirror_index::sparse::DlTemplate;
use mirror_index::{IndexLimits, LockSet, Selection, parse_file};
use mirror_manifest::{Catalogue, Held, LOST, PackedLines, Withdrawal};
use mirror_telemetry::RunStats;
use mirror_types::{CrateName, IndexRecord, KEPT_FAILURES, Layout, Printable, ReleaseId, Sha256};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::cursor::Totals;
use crate::error::PipelineError;
use crate::event::{Event, Problem, Tag, Was};
use crate::keep::{Keeper, Picked};
use crate::list::{Checksums, readable};
use crate::options::Storage;
use crate::presence::Presence;
use crate::size_estimate::SizeSample;
use crate::verify::HashJob;

/// One job for the fetcher.
pub(crate) type Job = (Box<Tag>, FetchRequest);

/// Held files that one thread hashes before it takes more.
const HASH_AT_ONCE: usize = 32;

/// The address of a release. Most releases are held, and theirs is never made.
pub(crate) enum Address {
    Template(Arc<DlTemplate>, Sha256),
    Given(Url),
}

impl Address {
    pub(crate) fn url(&self, id: &ReleaseId) -> Result<Url, PipelineError> {
        match self {
            Self::Given(url) => Ok(url.clone()),
            Self::Template(template, cksum) => Ok(template.url(id, cksum)?),
        }
    }

    /// For people and records.
    fn readable(&self, id: &ReleaseId) -> String {
        match self {
            Self::Given(url) => readable(url.as_str()),
            Self::Template(template, cksum) => template.readable(id, cksum),
        }
    }
}

/// Where the planner's decisions go.
pub(crate) struct Sinks {
    pub(crate) jobs: mpsc::Sender<Job>,
    pub(crate) hashes: Sender<Vec<HashJob>>,
    pub(crate) events: Sender<Event>,
}

/// Counters of planning.
#[derive(Debug, Default)]
pub(crate) struct PlanReport {
    /// Whether every crate of the index was looked at.
    pub(crate) complete: bool,
    pub(crate) selected: u64,
    pub(crate) existing: u64,
    pub(crate) to_fetch: u64,
    pub(crate) yanked_skipped: u64,
    /// Of a closure: releases with dependencies in other registries, by registry.
    pub(crate) elsewhere: BTreeMap<String, usize>,
    /// Of a closure: requirements that nothing satisfies, and the first of them.
    pub(crate) unsatisfied: usize,
    pub(crate) first_unsatisfied: Vec<String>,
    /// What was selected by its name, when the lockfiles inside are wanted.
    pub(crate) roots: Vec<ReleaseId>,
    /// URLs of a list for which its checksums have nothing.
    pub(crate) without_checksum: u64,
    pub(crate) bad_lines: u64,
    pub(crate) first_bad_lines: Vec<String>,
    /// Index files that have bad lines.
    pub(crate) bad_files: BTreeSet<String>,
    /// Held releases that upstream withdrew since it was last looked.
    pub(crate) withdrawn: Vec<(ReleaseId, Withdrawal)>,
    /// Held releases that are gone from the source of the run and offered until now.
    pub(crate) removed: Vec<ReleaseId>,
    /// The lines of index files in which some of them stood, to be taken in once they are hidden.
    pub(crate) deferred: Vec<PackedLines>,
    /// Releases that were deleted and are back.
    pub(crate) reinstated: u64,
    /// All that are known to be withdrawn and held now.
    pub(crate) known_withdrawn: HashMap<ReleaseId, Withdrawal>,
}

/// What a reader made of one file of the index.
pub(crate) struct Parsed {
    path: String,
    /// The records of a crate follow each other; a file may hold two spellings of one name.
    crates: Vec<Vec<IndexRecord>>,
    bad_lines: u64,
    /// The first of them.
    faults: Vec<String>,
    /// Its lines, where they are not kept yet.
    lines: Picked,
}

/// Bad lines of one file that are told one by one.
const FAULTS_TOLD: usize = 20;

impl Parsed {
    pub(crate) fn of(path: &str, data: &[u8], limits: &IndexLimits) -> Self {
        let (mut bad_lines, mut faults) = (0, Vec::new());
        let records = parse_file(path, data, limits, &mut |fault| {
            bad_lines += 1;
            if faults.len() < FAULTS_TOLD {
                faults.push(fault.to_string());
            }
        });
        Self { path: path.to_owned(), crates: by_spelling(records), bad_lines, faults, lines: Ok(None) }
    }

    /// With its lines, as a reader picked them.
    pub(crate) fn with(self, lines: Picked) -> Self {
        Self { lines, ..self }
    }

    /// The crate, or the two of them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &CrateName> {
        self.crates.iter().filter_map(|records| records.first()).map(|record| &record.id.name)
    }

    /// The crates with their records, and whether no line was bad.
    pub(crate) fn crates(&self) -> impl Iterator<Item = (&CrateName, &[IndexRecord], bool)> {
        let whole = self.bad_lines == 0;
        self.crates
            .iter()
            .filter_map(move |records| Some((&records.first()?.id.name, records.as_slice(), whole)))
    }

    /// What is selected of it.
    pub(crate) fn totals(self, selection: &Selection) -> Totals {
        let mut totals = Totals::default();
        for records in self.crates {
            if records.first().is_some_and(|record| selection.wants_crate(&record.id.name)) {
                let picked = selection.select(records);
                totals.selected += (picked.records.len() + picked.checksum_conflicts.len()) as u64;
                totals.yanked_skipped += picked.yanked_skipped as u64;
            }
        }
        totals
    }
}

fn by_spelling(records: Vec<IndexRecord>) -> Vec<Vec<IndexRecord>> {
    let Some(first) = records.first() else { return Vec::new() };
    if records.iter().all(|record| record.id.name == first.id.name) {
        return vec![records];
    }
    let mut crates: Vec<Vec<IndexRecord>> = Vec::new();
    for record in records {
        match crates.iter_mut().find(|others| others[0].id.name == record.id.name) {
            Some(others) => others.push(record),
            None => crates.push(vec![record]),
        }
    }
    crates
}

/// Whether the file at `path` may hold a crate that is wanted: its name is the crate's, in lower
/// case, and selection does not tell case apart.
pub(crate) fn wants_file(selection: &Selection, path: &str) -> bool {
    let name = path.rsplit('/').next().and_then(|name| name.parse().ok());
    name.is_none_or(|name| selection.wants_crate(&name))
}

pub(crate) struct Planner {
    pub(crate) selection: Selection,
    /// What names crates, when the lockfiles inside of them are wanted.
    pub(crate) rooted: Option<Selection>,
    /// Releases that must be found.
    pub(crate) must: Option<LockSet>,
    /// Crates that must be found, by canonical name; those that were are taken out.
    pub(crate) named: HashMap<String, CrateName>,
    /// Crates of the failure ledger.
    pub(crate) ledger: HashSet<String>,
    /// What is known to be withdrawn upstream.
    pub(crate) withdrawn: HashMap<ReleaseId, Withdrawal>,
    /// The bit of the source of this run; 0 when nothing was ever seen in it.
    pub(crate) source: u64,
    /// Held releases that the source lists no more, and that are offered until now.
    pub(crate) removed: Vec<ReleaseId>,
    /// Whether lines of crates that lost some wait until it is known whether that is a mass.
    pub(crate) defers: bool,
    /// Those lines.
    pub(crate) deferred: Vec<PackedLines>,
    /// When all files are read: hashes of the names that are in them, and of the paths of those that may have more.
    pub(crate) read: Option<HashSet<u64>>,
    /// Held releases whose files are gone; a dry run cannot have the catalogue forget them.
    pub(crate) lost: HashSet<ReleaseId>,
    pub(crate) limits: IndexLimits,
    pub(crate) template: Arc<DlTemplate>,
    /// Whether the template leads to another host than the operator named.
    pub(crate) guarded: bool,
    pub(crate) checksums: Option<Checksums>,
    pub(crate) layout: Layout,
    pub(crate) limit: u64,
    pub(crate) offline: bool,
    pub(crate) verify_existing: bool,
    pub(crate) storage: Storage,
    /// Whether this run goes through the whole index.
    pub(crate) complete: bool,
    pub(crate) catalogue: Option<Catalogue>,
    pub(crate) presence: Presence,
    /// `None` when nothing is kept.
    pub(crate) keeper: Option<Keeper>,
    /// Of the index file that is planned, until one of its crates turns out to be wanted.
    pub(crate) lines: Option<Box<PackedLines>>,
    pub(crate) stats: Arc<RunStats>,
    pub(crate) cancel: CancellationToken,
    /// `None` in a dry run.
    pub(crate) sinks: Option<Sinks>,
    pub(crate) seen: HashSet<ReleaseId>,
    /// Held releases that stand in the ledger: to be hashed.
    pub(crate) doubted: HashSet<ReleaseId>,
    /// Crates whose index file could not be had, with the reason.
    pub(crate) unread: Vec<(CrateName, String)>,
    /// Called when the downloads first hold planning back.
    pub(crate) on_full: Option<Box<dyn FnOnce() + Send>>,
    /// Held files that wait for company on their way to be hashed.
    pub(crate) to_hash: Vec<HashJob>,
    /// What a dry run estimates sizes by.
    pub(crate) sample: SizeSample,
    pub(crate) report: PlanReport,
}

/// The receiving side is gone or the run was stopped: planning ends, without an error of its own.
pub(crate) struct Stopped;

impl Planner {
    pub(crate) fn bad_line(&mut self, text: String) {
        tracing::warn!("bad index line: {text}");
        self.report.bad_lines += 1;
        if self.report.first_bad_lines.len() < KEPT_FAILURES {
            self.report.first_bad_lines.push(text);
        }
    }

    /// Plans one file of the index.
    pub(crate) fn file(&mut self, path: &str, data: &[u8]) -> Result<Result<(), Stopped>, PipelineError> {
        if !wants_file(&self.selection, path) {
            return Ok(Ok(()));
        }
        let lines = match &mut self.keeper {
            Some(keeper) => keeper.pick(self.catalogue.as_ref(), path, data),
            None => Ok(None),
        };
        self.parsed(Parsed::of(path, data, &self.limits).with(lines))
    }

    /// Plans what a reader made of a file.
    pub(crate) fn parsed(&mut self, parsed: Parsed) -> Result<Result<(), Stopped>, PipelineError> {
        let whole = parsed.bad_lines == 0;
        if !whole {
            self.report.bad_files.insert(parsed.path.clone());
        }
        let names: Vec<CrateName> = parsed.names().cloned().collect();
        let untold = parsed.bad_lines - parsed.faults.len() as u64;
        for fault in parsed.faults {
            self.bad_line(fault);
        }
        if untold > 0 {
            tracing::warn!("{untold} more bad index lines in {}", Printable(&parsed.path));
            self.report.bad_lines += untold;
        }
        let seen = &parsed.path;
        if !whole && names.is_empty() {
            self.nothing_good(seen);
        }
        if let Some(read) = &mut self.read {
            read.extend(names.iter().map(|name| hash(name.as_str())));
            if !whole {
                read.insert(hash(seen));
            }
        } else if whole {
            self.gone_at(seen, &names)?;
        }
        self.take_lines(parsed.lines)?;
        for records in parsed.crates {
            if self.records(records, whole)?.is_err() {
                return Ok(Err(Stopped));
            }
        }
        Ok(Ok(()))
    }

    /// Plans all records of one crate. `whole`: none of its lines was bad.
    pub(crate) fn records(
        &mut self,
        records: Vec<IndexRecord>,
        whole: bool,
    ) -> Result<Result<(), Stopped>, PipelineError> {
        let Some(first) = records.first() else { return Ok(Ok(())) };
        let name = first.id.name.clone();
        if !self.selection.wants_crate(&name) {
            return Ok(Ok(()));
        }
        if !self.named.is_empty() {
            self.named.remove(&name.canonical());
        }
        let held = self.held(&name)?;
        if self.compare_held(&name, &records, whole, &held) {
            self.defer_lines();
        }
        self.send_lines();
        let picked = self.selection.select(records);
        self.report.yanked_skipped += picked.yanked_skipped as u64;
        let good = |record: &IndexRecord| {
            held.get(record.id.version.as_str()).is_some_and(|held| held.sha256 == record.cksum)
        };
        let wanted = picked.records.iter().map(|record| (&record.id, good(record)));
        self.settle(&name, wanted.chain(picked.checksum_conflicts.iter().map(|(id, ..)| (id, false))))?;
        for (id, lock, index) in picked.checksum_conflicts {
            let why = format!(
                "Cargo.lock says its checksum is {lock}, the index says {index}; one of them is wrong, so it \
                 was not fetched. Run `cargo update -p {}` or look at where the lockfile comes from",
                id.name
            );
            if !self.begin(&id) || self.conflict(&id, index, why).is_err() {
                return Ok(Err(Stopped));
            }
        }
        for record in picked.records {
            if !self.begin(&record.id) {
                return Ok(Err(Stopped));
            }
            if record.yanked && !held.contains_key(record.id.version.as_str()) {
                self.yanked_before(&record.id);
            }
            let from = Address::Template(self.template.clone(), record.cksum);
            let given = self.checksums.as_ref().and_then(|sums| sums.get(&from.readable(&record.id)));
            if let Some(given) = given.filter(|given| **given != record.cksum) {
                let why =
                    format!("--checksums says {given}, the index says {}; it was not fetched", record.cksum);
                if self.conflict(&record.id, record.cksum, why).is_err() {
                    return Ok(Err(Stopped));
                }
            } else if self.place(record.id, Some(record.cksum), from, &held)?.is_err() {
                return Ok(Err(Stopped));
            }
        }
        Ok(Ok(()))
    }

    /// Takes out of the ledger what stands there of a crate and is held after all (one of its two
    /// places is gone), or is not wanted any more: upstream has withdrawn it. Only a run through the
    /// whole index may tell that.
    pub(crate) fn settle<'r>(
        &mut self,
        name: &CrateName,
        wanted: impl Iterator<Item = (&'r ReleaseId, bool)>,
    ) -> Result<(), PipelineError> {
        if !self.ledger.remove(name.as_str()) {
            return Ok(());
        }
        let (Some(sinks), Some(catalogue)) = (&self.sinks, &self.catalogue) else { return Ok(()) };
        let wanted: HashMap<&str, bool> = wanted.map(|(id, held)| (id.version.as_str(), held)).collect();
        for (version, kind) in catalogue.ledger_of(name)? {
            if version.is_empty() {
                let _ = sinks.events.send(Event::CrateRead(name.clone()));
                continue;
            }
            let held = wanted.get(version.as_str()).copied();
            let Ok(version) = version.parse() else { continue };
            let id = ReleaseId { name: name.clone(), version };
            let event = match held {
                // Damage may be why it stands there: only its bytes can tell.
                Some(true) if self.verify_existing || kind != LOST => {
                    self.doubted.insert(id);
                    continue;
                }
                Some(true) => Event::Settled(id),
                None if self.complete => Event::Unwanted(id),
                _ => continue,
            };
            let _ = sinks.events.send(event);
        }
        Ok(())
    }

    /// Has what stands in the ledger of a crate be hashed before it counts as held.
    pub(crate) fn doubt(&mut self, name: &CrateName) -> Result<(), PipelineError> {
        let Some(catalogue) = self.catalogue.as_ref().filter(|_| self.ledger.contains(name.as_str())) else {
            return Ok(());
        };
        for (version, _) in catalogue.ledger_of(name)?.into_iter().filter(|(_, kind)| kind != LOST) {
            self.doubted.extend(version.parse().map(|version| ReleaseId { name: name.clone(), version }));
        }
        Ok(())
    }

    /// Counts a selected record; false when the limit is reached or the run was stopped.
    pub(crate) fn begin(&mut self, id: &ReleaseId) -> bool {
        if self.cancel.is_cancelled() || (self.limit > 0 && self.report.selected >= self.limit) {
            return false;
        }
        self.report.selected += 1;
        self.stats.planned(1);
        if self.rooted.as_ref().is_some_and(|selection| selection.wants_crate(&id.name)) {
            self.report.roots.push(id.clone());
        }
        if self.must.is_some() {
            self.seen.insert(id.clone());
        }
        true
    }

    fn tag(&self, id: ReleaseId, cksum: Option<Sha256>, url: String) -> Box<Tag> {
        let path = self.layout.path(&id);
        Box::new(Tag { id, cksum, url, path, guarded: self.guarded, was_wrong: false, replaces: false })
    }

    fn conflict(&self, id: &ReleaseId, index: Sha256, why: String) -> Result<(), Stopped> {
        self.fail(id, Some(index), Problem::planned("checksum-conflict", why))
    }

    /// Reports a record that cannot be fetched.
    pub(crate) fn fail(
        &self,
        id: &ReleaseId,
        cksum: Option<Sha256>,
        problem: Problem,
    ) -> Result<(), Stopped> {
        let url = cksum.map_or_else(String::new, |sum| self.template.readable(id, &sum));
        self.fail_at(id, cksum, url, problem)
    }

    /// The same, of a record whose address was given.
    pub(crate) fn fail_at(
        &self,
        id: &ReleaseId,
        cksum: Option<Sha256>,
        url: String,
        problem: Problem,
    ) -> Result<(), Stopped> {
        let tag = self.tag(id.clone(), cksum, url);
        match &self.sinks {
            Some(sinks) => {
                sinks.events.send(Event::Failed { tag, problem: Box::new(problem) }).map_err(|_| Stopped)
            }
            None => {
                tracing::warn!(release = %id, "{}", problem.message);
                Ok(())
            }
        }
    }

    /// What the catalogue holds of a crate.
    pub(crate) fn held(&mut self, name: &CrateName) -> Result<HashMap<String, Held>, PipelineError> {
        let Some(catalogue) = &self.catalogue else { return Ok(HashMap::new()) };
        let mut rows = catalogue.held_of(name)?;
        if !self.lost.is_empty() {
            let lost = &self.lost;
            rows.retain(|row| {
                let version = row.version.parse();
                version.is_ok_and(|version| !lost.contains(&ReleaseId { name: name.clone(), version }))
            });
        }
        Ok(rows.into_iter().map(|row| (row.version.clone(), row)).collect())
    }

    /// Decides what becomes of a selected record: existing, to be hashed, or to be fetched.
    pub(crate) fn place(
        &mut self,
        id: ReleaseId,
        cksum: Option<Sha256>,
        from: Address,
        held: &HashMap<String, Held>,
    ) -> Result<Result<(), Stopped>, PipelineError> {
        let row = held.get(id.version.as_str());
        if let Some(row) = row {
            self.sample.held(row.size);
        }
        let known_good = row.is_some_and(|row| cksum.is_none_or(|sum| sum == row.sha256));
        // A file that no row speaks of was put there by hand or by another program: hash it once.
        let unknown = row.is_none() && self.presence.has(self.layout, &id)?;
        if let Some(row) = row
            && !known_good
        {
            tracing::warn!(release = %id, held = %row.sha256, "was republished upstream with other bytes");
        }
        // Both places are wanted, and one is missing: it is made from the other.
        let whole =
            row.is_some_and(|row| self.storage != Storage::Both || (row.loose && row.frame.is_some()));
        let doubted = self.doubted.remove(&id);
        if known_good && whole && !self.verify_existing && !doubted {
            self.report.existing += 1;
            self.stats.existing(1);
            return Ok(Ok(()));
        }
        let expected = cksum.or_else(|| row.map(|row| row.sha256));
        // Without a checksum there is nothing to compare an unknown file with.
        let hash_it = known_good || (unknown && expected.is_some());
        if !hash_it {
            self.report.to_fetch += 1;
        }
        let Some(sinks) = &self.sinks else {
            if !hash_it && let Some(rank) = self.sample.want(&id, held) {
                self.sample.candidate(rank, from.url(&id)?);
            }
            return Ok(Ok(()));
        };
        let readable = from.readable(&id);
        let mut tag = self.tag(id, expected, readable);
        tag.replaces = row.is_some() && !known_good;
        let sent = if hash_it {
            let was = match row {
                Some(row) if known_good => Was { loose: row.loose, frame: row.frame, recorded: !doubted },
                _ => Was { loose: true, ..Was::default() },
            };
            self.to_hash.push(HashJob { tag, from, was });
            self.to_hash.len() < HASH_AT_ONCE || sinks.hashes.send(std::mem::take(&mut self.to_hash)).is_ok()
        } else {
            let url = from.url(&tag.id)?;
            match sinks.jobs.try_send(job(tag, url)) {
                Ok(()) => true,
                Err(TrySendError::Closed(_)) => false,
                Err(TrySendError::Full(job)) => {
                    if let Some(call) = self.on_full.take() {
                        call();
                    }
                    sinks.jobs.blocking_send(job).is_ok()
                }
            }
        };
        Ok(if sent { Ok(()) } else { Err(Stopped) })
    }

    /// Counts what need not be looked at: it was selected and held by an earlier run.
    pub(crate) fn carry(&mut self, totals: Totals) {
        self.report.selected += totals.selected;
        self.report.existing += totals.selected;
        self.report.yanked_skipped += totals.yanked_skipped;
        self.stats.planned(totals.selected);
        self.stats.existing(totals.selected);
    }

    /// Ends planning.
    pub(crate) fn finish(mut self) -> (PlanReport, SizeSample) {
        self.stats.plan_finished();
        self.report.complete = self.complete && !self.cancel.is_cancelled();
        if let Some(sinks) = &self.sinks
            && !self.to_hash.is_empty()
        {
            let _ = sinks.hashes.send(self.to_hash);
        }
        self.report.withdrawn.extend(self.removed.iter().map(|id| (id.clone(), Withdrawal::Deleted)));
        self.report.removed = self.removed;
        self.report.deferred = self.deferred;
        self.report.known_withdrawn = self.withdrawn;
        (self.report, self.sample)
    }
}

/// A hash of a text, the same within one run.
pub(crate) fn hash(text: &str) -> u64 {
    use std::hash::BuildHasher as _;
    static STATE: std::sync::LazyLock<std::hash::RandomState> = std::sync::LazyLock::new(Default::default);
    STATE.hash_one(text)
}

/// The request for a planned release.
pub(crate) fn job(tag: Box<Tag>, url: Url) -> Job {
    let request = FetchRequest::new(url);
    let request = if tag.guarded { request.guarded() } else { request };
    let request = match tag.cksum {
        Some(sum) => request.with_expect(sum),
        None => request,
    };
    (tag, request)
}
