use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use mirror_index::sparse::DlTemplate;
use mirror_index::{LockSet, Selection};
use mirror_manifest::{DeferredGroup, PackedLines, UpstreamRemoval};
use mirror_policy::LoadedPolicy;
use mirror_types::{CrateName, IndexRecord, Location, ReleaseId, Sha256, StoreId, index_path};
use url::Url;

use super::decision::{Audited, Decision, DownloadAddress, Job, PlanFault};
use super::deferred::{DeferredCrates, Judge, Listed};
use super::held::{HeldRow, HeldView, SeenIn};
use super::index::{Index, Item, Parsed};
use super::sink::{Halt, Sink};
use crate::error::SyncError;
use crate::list::{Checksums, readable};

/// The part of the index that a plan reads. Only a plan of all of it can report what is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A part of it.
    Part,
    /// The differences from an earlier tree, and so, in effect, all of it.
    Changes,
    /// Every file.
    All,
}

/// The wanted part of an index.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) selection: Selection,
    /// Crates that must be found: those of a selection without wildcards.
    pub(crate) named: Vec<CrateName>,
    /// Releases that must be found.
    pub(crate) must: Option<LockSet>,
    /// The template of the download addresses of an index.
    pub(crate) template: Arc<DlTemplate>,
    /// Checksums by URL, which must agree with the index.
    pub(crate) checksums: Option<Checksums>,
    /// Most releases that are selected; 0 means all.
    pub(crate) limit: u64,
    /// True if the run is offline.
    pub(crate) offline: bool,
    /// True if everything that is held is to be hashed.
    pub(crate) verify: bool,
    /// True if what is held and need not be looked at is to be recorded, too.
    pub(crate) audits: bool,
    /// The stores each of which has to hold every release.
    pub(crate) copies: Vec<StoreId>,
    pub(crate) scope: Scope,
    /// The policy that holds selected releases back.
    pub(crate) policy: Option<Arc<LoadedPolicy>>,
    /// The moment by which the policy decides.
    pub(crate) now: SystemTime,
}

/// The result of a plan.
#[derive(Debug)]
pub(crate) struct Planned {
    /// True if every crate of the index was looked at.
    pub(crate) complete: bool,
    /// True if everything that was selected was looked at.
    pub(crate) through: bool,
    /// The releases that upstream is known to have removed and that are held now.
    pub(crate) removed_upstream: HashMap<ReleaseId, UpstreamRemoval>,
}

/// Decides what to do about each item of `index`, and passes each decision to `sink`. Memory: one index file, and some
/// bytes for each crate when all files are read. Blocks.
///
/// # Errors
/// When the index or what is held cannot be read.
pub(crate) fn plan(
    wanted: Wanted,
    index: &mut dyn Index,
    held: &mut dyn HeldView,
    sink: &mut Sink<'_>,
) -> Result<Planned, SyncError> {
    let mut planner = Planner {
        ledger: held.failed_crates()?,
        deferred: DeferredCrates::of(&held.deferred_crates()?),
        grouped: grouped(held, wanted.scope)?,
        removed_upstream: held.removed_upstream()?,
        named: wanted.named.iter().map(|name| (name.canonical(), name.clone())).collect(),
        read: (wanted.scope == Scope::All).then(HashSet::new),
        wanted,
        held,
        sink,
        lines: None,
        removes: false,
        found: HashSet::new(),
        rechecks: HashSet::new(),
        selected: 0,
    };
    let mut halted = None;
    index.read(&mut |item| match planner.take(item) {
        Ok(()) => ControlFlow::Continue(()),
        Err(halt) => {
            halted = Some(halt);
            ControlFlow::Break(())
        }
    })?;
    let ended = halted.map_or_else(|| planner.end(), Err);
    let through = match ended {
        Ok(()) => true,
        Err(Halt::Stopped) => false,
        Err(Halt::Failed(error)) => return Err(error),
    };
    let complete = through && planner.wanted.scope != Scope::Part;
    Ok(Planned { complete, through, removed_upstream: planner.removed_upstream })
}

pub(super) struct Planner<'p> {
    pub(super) wanted: Wanted,
    pub(super) held: &'p mut dyn HeldView,
    sink: &'p mut Sink<'p>,
    /// Crates that must be found, by canonical name; a crate is taken out when it is found.
    pub(super) named: HashMap<String, CrateName>,
    /// Crates of the failure ledger; a crate is taken out when the plan has looked at it.
    pub(super) ledger: HashSet<String>,
    /// Crates with deferred releases; a crate is taken out when the plan has looked at it.
    pub(super) deferred: DeferredCrates,
    /// When all files are read: hashes of the names of crates with releases that are deferred without a date.
    pub(super) grouped: Option<HashSet<u64>>,
    /// The releases that upstream is known to have removed.
    pub(super) removed_upstream: HashMap<ReleaseId, UpstreamRemoval>,
    /// When all files are read: hashes of the names in them, and of the paths of those that may have more.
    pub(super) read: Option<HashSet<u64>>,
    /// The lines of the current index file, until one of its crates turns out to be wanted.
    lines: Option<Box<PackedLines>>,
    /// True if held releases are not in those lines any more.
    removes: bool,
    /// The releases that must be found and were.
    found: HashSet<ReleaseId>,
    /// Held releases in the ledger: to be hashed.
    pub(super) rechecks: HashSet<ReleaseId>,
    selected: u64,
}

impl Planner<'_> {
    pub(super) fn decide(&mut self, decision: Decision) -> Result<(), Halt> {
        match (self.sink)(decision) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Halt::Stopped),
        }
    }

    fn take(&mut self, item: Item) -> Result<(), Halt> {
        match item {
            Item::File(file) => self.file(file),
            Item::Chosen { file, records } => self.chosen(file, records),
            Item::Listed { name, entries } => self.listed(&name, entries),
            Item::NoFile(path) => self.gone_at(&path, &[]),
            Item::OnlyFile { name, path } => self.gone_but(&name, path.as_deref()),
            Item::FileGone(before) => self.file_gone(&before),
            Item::CrateGone(name) => self.gone(&name),
            Item::Exists(name) => {
                self.named.remove(&name.canonical());
                Ok(())
            }
            Item::Unread { name, why } => self.unread(&name, &why),
            Item::Unmatched { name, requirement } => self.unmatched(name, requirement),
            Item::BadLine(text) => self.decide(Decision::BadLine(text)),
            Item::Unchanged(totals) => self.decide(Decision::Unchanged(totals)),
        }
    }

    /// Looks, at the end of the index, for what is not in it.
    fn end(&mut self) -> Result<(), Halt> {
        self.gone_crates()?;
        self.missing()
    }

    fn file(&mut self, file: Parsed) -> Result<(), Halt> {
        let whole = file.is_whole();
        let names: Vec<CrateName> = file.names().cloned().collect();
        if !whole {
            let (path, bad, first) = (file.path.clone(), file.bad_lines, file.faults);
            self.decide(Decision::BadFile { path, bad, first })?;
            if names.is_empty() {
                self.nothing_good(&file.path)?;
            }
        }
        if let Some(read) = &mut self.read {
            read.extend(names.iter().map(|name| hash(name.as_str())));
            if !whole {
                read.insert(hash(&file.path));
            }
        } else if whole {
            self.gone_at(&file.path, &names)?;
        }
        self.keep_lines(file.lines);
        file.crates.into_iter().try_for_each(|records| self.records(records, whole))
    }

    fn chosen(&mut self, file: Option<Parsed>, records: Vec<IndexRecord>) -> Result<(), Halt> {
        if let Some(file) = file {
            let whole = file.is_whole();
            let mut removes = false;
            for records in &file.crates {
                let Some(first) = records.first() else { continue };
                let held = self.held.versions(&first.id.name)?;
                removes |= self.compare(&first.id.name, records, whole, &held)?;
            }
            self.keep_lines(file.lines);
            self.removes = removes;
        }
        self.records(records, false)
    }

    /// Plans all records of one crate. `whole`: none of its lines is bad.
    fn records(&mut self, records: Vec<IndexRecord>, whole: bool) -> Result<(), Halt> {
        let Some(first) = records.first() else { return Ok(()) };
        let name = first.id.name.clone();
        if !self.wanted.selection.wants_crate(&name) {
            return Ok(());
        }
        if !self.named.is_empty() {
            self.named.remove(&name.canonical());
        }
        let held = self.held.versions(&name)?;
        self.removes |= self.compare(&name, &records, whole, &held)?;
        self.send_lines()?;
        let listed = self.listed_of(&name)?;
        let all: HashSet<String> = match whole && !listed.is_empty() {
            true => records.iter().map(|record| record.id.version.to_string()).collect(),
            false => HashSet::new(),
        };
        let policy = self.wanted.policy.clone();
        let judge = policy
            .as_ref()
            .map(|policy| Judge::new(policy, &name, &records, &held, &listed, self.wanted.now));
        let selected = self.wanted.selection.select(records);
        if selected.yanked_skipped > 0 {
            self.decide(Decision::YankedSkipped(selected.yanked_skipped as u64))?;
        }
        if selected.undated > 0 {
            self.decide(Decision::Undated(selected.undated as u64))?;
        }
        let good = |record: &IndexRecord| {
            held.get(record.id.version.as_str()).is_some_and(|held| held.sha256 == record.cksum)
        };
        let wanted = selected.records.iter().map(|record| (&record.id, good(record)));
        let wanted = wanted.chain(selected.checksum_conflicts.iter().map(|(id, ..)| (id, false)));
        let is_gone = |version: &str| whole && !all.contains(version);
        self.undefer(&listed, wanted.clone(), &is_gone)?;
        let mut groups = self.remaining(&listed, wanted.clone(), &is_gone);
        self.resolve(&name, wanted)?;
        // The entry of the crate that an earlier run left is resolved by now.
        for requirement in selected.unmatched {
            self.unmatched(name.clone(), requirement)?;
        }
        let largest = largest(&held);
        for (id, lock, index) in selected.checksum_conflicts {
            self.begin(&id)?;
            let fault = PlanFault::LockConflict { name: id.name.clone(), lock, index };
            self.fail(id, Some(index), fault)?;
        }
        for record in selected.records {
            self.record(record, &held, largest, (&listed, &mut groups), judge.as_ref())?;
        }
        self.regroup(&name, &listed, groups)
    }

    fn record(
        &mut self,
        record: IndexRecord,
        held: &HashMap<String, HeldRow>,
        largest: u64,
        (listed, groups): (&Listed, &mut Vec<DeferredGroup>),
        judge: Option<&Judge<'_>>,
    ) -> Result<(), Halt> {
        self.begin(&record.id)?;
        let row = held.get(record.id.version.as_str());
        if row.is_none_or(|row| row.sha256 != record.cksum)
            && self.defer(&record, row, (listed, groups), judge)?
        {
            return Ok(());
        }
        let IndexRecord { id, cksum, yanked, .. } = record;
        if row.is_none() {
            if yanked { self.yanked_before(&id)? } else { self.unyanked_before(&id)? }
        }
        let from = DownloadAddress::Template(self.wanted.template.clone(), cksum);
        let given = self.wanted.checksums.as_ref().and_then(|sums| sums.get(&from.readable(&id)).copied());
        if let Some(given) = given.filter(|given| *given != cksum) {
            return self.fail(id, Some(cksum), PlanFault::ChecksumsConflict { given, index: cksum });
        }
        self.place(id, Some(cksum), from, row, largest)
    }

    fn listed(&mut self, name: &CrateName, entries: Vec<(ReleaseId, Url)>) -> Result<(), Halt> {
        if !self.wanted.selection.wants_crate(name) {
            return Ok(());
        }
        let held = self.held.versions(name)?;
        self.note_rechecks(name)?;
        let largest = largest(&held);
        for (id, url) in entries {
            self.begin(&id)?;
            let given = self.wanted.checksums.as_ref().map(|sums| sums.get(&readable(url.as_str())).copied());
            if given == Some(None) {
                let url = readable(url.as_str());
                self.decide(Decision::Fail { id, cksum: None, url, fault: PlanFault::NoChecksum })?;
                continue;
            }
            let row = held.get(id.version.as_str());
            self.place(id, given.flatten(), DownloadAddress::Given(url), row, largest)?;
        }
        Ok(())
    }

    /// Counts a selected release, unless the limit is reached.
    fn begin(&mut self, id: &ReleaseId) -> Result<(), Halt> {
        if self.wanted.limit > 0 && self.selected >= self.wanted.limit {
            return Err(Halt::Stopped);
        }
        self.selected += 1;
        if self.wanted.must.is_some() {
            self.found.insert(id.clone());
        }
        Ok(())
    }

    /// Decides what becomes of a selected release: existing, to be hashed, or to be fetched.
    fn place(
        &mut self,
        id: ReleaseId,
        cksum: Option<Sha256>,
        from: DownloadAddress,
        row: Option<&HeldRow>,
        largest_held_bytes: u64,
    ) -> Result<(), Halt> {
        let good = row.filter(|row| cksum.is_none_or(|sum| sum == row.sha256));
        let recheck = self.rechecks.remove(&id);
        // Where several copies are wanted and one is missing, it is made from another.
        let whole =
            |row: &HeldRow| self.wanted.copies.iter().all(|store| row.locations.get(*store).is_some());
        if let Some(row) = good.filter(|row| whole(row) && !self.wanted.verify && !recheck) {
            let audited = |id: &ReleaseId| {
                let url = from.readable(id);
                Box::new(Audited { id: id.clone(), cksum, url, held: row.clone() })
            };
            let audit = self.wanted.audits.then(|| audited(&id));
            return self.decide(Decision::Existing { id, bytes: row.bytes, audit });
        }
        let mut job = Box::new(Job {
            id,
            cksum: cksum.or_else(|| row.map(|row| row.sha256)),
            from,
            replaces: None,
            held_bytes: row.map(|row| row.bytes),
            largest_held_bytes,
        });
        if let Some(row) = good {
            let held = HeldRow { recorded: row.recorded && !recheck, ..row.clone() };
            return self.decide(Decision::Verify { job, held });
        }
        // A file without a row was put there by a person or another program: it is hashed once, unless there is no
        // checksum to compare with.
        if row.is_none()
            && let Some(sha256) = job.cksum
            && self.held.has_unrecorded(&job.id)?
        {
            return self.decide(Decision::Verify { job, held: HeldRow::unrecorded(sha256) });
        }
        job.replaces = row.map(|row| row.sha256);
        self.decide(Decision::Fetch(job))
    }

    fn fail(&mut self, id: ReleaseId, cksum: Option<Sha256>, fault: PlanFault) -> Result<(), Halt> {
        let url = cksum.map_or_else(String::new, |sum| self.wanted.template.readable(&id, &sum));
        self.decide(Decision::Fail { id, cksum, url, fault })
    }

    fn fail_crate(&mut self, name: CrateName, fault: PlanFault) -> Result<(), Halt> {
        self.selected += 1;
        self.decide(Decision::FailCrate { name, fault })
    }

    /// Reports a requirement on a named crate that none of its versions satisfies.
    fn unmatched(&mut self, name: CrateName, requirement: String) -> Result<(), Halt> {
        let fault = PlanFault::NoVersion { name: name.clone(), requirement };
        self.fail_crate(name, fault)
    }

    fn keep_lines(&mut self, lines: Option<Box<PackedLines>>) {
        (self.lines, self.removes) = (lines, false);
    }

    /// Passes on the lines of the current file once one of its crates is wanted. They go ahead of its releases, so that
    /// none is held without its line.
    fn send_lines(&mut self) -> Result<(), Halt> {
        let removes = self.removes;
        self.lines.take().map_or(Ok(()), |lines| self.decide(Decision::IndexFile { lines, removes }))
    }

    /// Reports the wanted releases of a crate whose index file could not be read.
    fn unread(&mut self, name: &CrateName, why: &str) -> Result<(), Halt> {
        self.named.remove(&name.canonical());
        let fault = PlanFault::IndexUnread(why.to_owned());
        let locked: Vec<ReleaseId> = match &self.wanted.must {
            Some(set) => set.missing(&self.found).into_iter().filter(|id| id.name == *name).collect(),
            None => Vec::new(),
        };
        if locked.is_empty() {
            return self.fail_crate(name.clone(), fault);
        }
        for id in locked {
            self.begin(&id)?;
            self.fail(id, None, fault.clone())?;
        }
        Ok(())
    }

    /// Reports the crates named by the path of an index file without a good line. Its held releases are not gone for
    /// that.
    fn nothing_good(&mut self, path: &str) -> Result<(), Halt> {
        let file = path.rsplit('/').next().and_then(|name| name.parse::<CrateName>().ok());
        let named = file.and_then(|file| self.named.get(&file.canonical()).cloned());
        named.map_or(Ok(()), |name| self.unread(&name, "none of its lines is good"))
    }

    /// Reports the named crates and releases that are not in the index.
    fn missing(&mut self) -> Result<(), Halt> {
        if self.wanted.limit > 0 {
            return Ok(());
        }
        let offline = self.wanted.offline;
        for (_, name) in std::mem::take(&mut self.named) {
            if !offline {
                self.gone_but(&name, None)?;
                self.gone(&name)?;
            }
            self.fail_crate(name, if offline { PlanFault::NoCrateOffline } else { PlanFault::NoCrate })?;
        }
        let Some(must) = &self.wanted.must else { return Ok(()) };
        for id in must.missing(&self.found) {
            if self.wanted.selection.wants_crate(&id.name) {
                self.begin(&id)?;
                let fault = if offline { PlanFault::NoReleaseOffline } else { PlanFault::NoRelease };
                self.fail(id, None, fault)?;
            }
        }
        Ok(())
    }

    /// Looks, at the end of the whole index, for crates that are held or in a list and were not in it.
    fn gone_crates(&mut self) -> Result<(), Halt> {
        let Some(read) = self.read.take() else { return Ok(()) };
        let mut gone: Vec<CrateName> = Vec::new();
        let mut look = |name: &str| {
            if let Ok(name) = name.parse::<CrateName>()
                && !read.contains(&hash(name.as_str()))
                && !read.contains(&hash(&index_path(&name)))
            {
                gone.push(name);
            }
        };
        self.held.crates(&mut look)?;
        self.ledger.iter().for_each(|name| look(name));
        self.deferred.names().for_each(|name| look(name.as_str()));
        self.held.grouped_crates(&mut look)?;
        gone.sort_unstable();
        gone.dedup();
        gone.iter().try_for_each(|name| self.gone(name))
    }
}

impl HeldRow {
    /// Makes the row of a file without a record that may have these bytes.
    fn unrecorded(sha256: Sha256) -> Self {
        let locations = Location::LOOSE.into();
        Self { sha256, bytes: 0, locations, seen: SeenIn::Unknown, recorded: false }
    }
}

/// Returns the hashes of the names of crates with releases that are deferred without a date, for a plan of all files.
/// Another plan asks for each crate.
fn grouped(held: &dyn HeldView, scope: Scope) -> Result<Option<HashSet<u64>>, SyncError> {
    if scope != Scope::All {
        return Ok(None);
    }
    let mut names = HashSet::new();
    held.grouped_crates(&mut |name| {
        names.insert(hash(name));
    })?;
    Ok(Some(names))
}

fn largest(held: &HashMap<String, HeldRow>) -> u64 {
    held.values().map(|row| row.bytes).max().unwrap_or(0)
}

/// Returns a hash of a text that is the same within one process.
pub(crate) fn hash(text: &str) -> u64 {
    use std::hash::BuildHasher as _;
    static STATE: std::sync::LazyLock<std::hash::RandomState> = std::sync::LazyLock::new(Default::default);
    STATE.hash_one(text)
}
