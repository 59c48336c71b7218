//! Decides which of the held releases are offered: applies policy to the catalogue.
//!
//! The selection of a run has no say in it. Every held release is judged by its line in the mirror's index cache, when it
//! enters the mirror, when its line changes, when its time comes, and when the policy changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use mirror_index::{IndexLimits, parse_file};
use mirror_manifest::{Catalogue, Held, HeldBackRelease, LicenceRow, ReplacedRelease};
use mirror_policy::{Candidate, LoadedPolicy, Verdict};
use mirror_repo::{MirrorWriter, Stores, Transaction};
use mirror_types::{CrateName, HeldBack, IndexRecord, ReleaseId, Rule, Sha256, index_path};
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;
use crate::licences::{Licences, read_licence};
use crate::plan::count_from;

/// The reason of a release that is committed and not judged yet.
const UNJUDGED: &str = "it is not judged yet";
/// Changes that are committed together.
const BATCH: usize = 10_000;
/// The identity of no policy. It is in the catalogue while something that is committed is not judged.
const NONE_APPLIED: &str = "";

/// Notes, with the changes of a transaction, that they are not judged yet.
pub(crate) fn mark_unjudged(tx: &mut Transaction) {
    tx.policy_applied(NONE_APPLIED.to_owned());
}

/// Judges the crates that [`mark_unjudged`] was about; afterwards everything is judged. Returns the number of licences that
/// were read. Blocks.
///
/// # Errors
/// When the index cache or the catalogue fails.
pub(crate) fn judge_marked(
    mirror: &mut MirrorWriter,
    policy: &LoadedPolicy,
    names: &[CrateName],
    source: LicenceSource<'_>,
    now: SystemTime,
) -> Result<u64, SyncError> {
    let read = judge(mirror, policy, Judged::Crates(names), source, now)?;
    let mut tx = mirror.begin();
    tx.policy_applied(policy.identity(now));
    mirror.commit(tx)?;
    Ok(read)
}

/// The crates of which the held releases are to be judged.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Judged<'c> {
    /// All of them.
    All,
    /// These.
    Crates(&'c [CrateName]),
}

/// The source of licences that a rule needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LicenceSource<'c> {
    /// The catalogue. A release whose licence it does not have stays held back.
    Known,
    /// The catalogue, and the bytes of releases whose licence it does not have, until this is cancelled.
    Read(&'c CancellationToken),
}

/// Judges what the policy of the last run left: the releases that it committed and did not judge because it was killed;
/// everything else when the policy has changed since, or when that run was killed while something was not judged; and
/// otherwise the crates of which a release has become old enough. Blocks.
///
/// # Errors
/// As [`judge`].
pub(crate) fn begin(
    mirror: &mut MirrorWriter,
    policy: &LoadedPolicy,
    now: SystemTime,
) -> Result<(), SyncError> {
    note_advisories(mirror, policy)?;
    let unjudged = unjudged(mirror)?;
    let never = CancellationToken::new();
    judge(mirror, policy, Judged::Crates(&unjudged), LicenceSource::Read(&never), now)?;
    let identity = policy.identity(now);
    // A mirror that never had a policy offers everything, which the default policy does too.
    let applied = mirror.catalogue().policy()?;
    let applied = applied.unwrap_or_else(|| LoadedPolicy::default().identity(now));
    if !policy.is_open() {
        mirror.catalogue().set_policy_in_force(true)?;
    }
    if applied == identity && !mirror.catalogue().is_unjudged()? {
        let due = mirror.catalogue().crates_due(now)?;
        judge(mirror, policy, Judged::Crates(&due), LicenceSource::Known, now)?;
        return Ok(());
    }
    judge(mirror, policy, Judged::All, LicenceSource::Known, now)?;
    let mut tx = mirror.begin();
    tx.policy_applied(identity);
    mirror.commit(tx)?;
    if policy.is_open() {
        mirror.catalogue().set_policy_in_force(false)?;
    }
    Ok(())
}

/// Notes of which moment the advisories are, for those who judge the mirror without a policy.
fn note_advisories(mirror: &mut MirrorWriter, policy: &LoadedPolicy) -> Result<(), SyncError> {
    let moment = policy.advisories().commit().map(|commit| commit.time);
    if mirror.catalogue().advisories_of()? != moment {
        let mut tx = mirror.begin();
        tx.advisories_of(moment);
        mirror.commit(tx)?;
    }
    Ok(())
}

/// Returns the crates of which a release was committed and not judged.
fn unjudged(mirror: &MirrorWriter) -> Result<Vec<CrateName>, SyncError> {
    let mut unjudged = Vec::new();
    for name in mirror.catalogue().crates_held_back_by(Rule::MaxCrateSize)? {
        let rows = mirror.catalogue().held_back_of(&name)?;
        if rows.iter().any(|row| row.is_held && row.decision.why == UNJUDGED) {
            unjudged.push(name);
        }
    }
    Ok(unjudged)
}

/// Judges everything that is held once more, with the licences that the catalogue did not have yet, if a rule needs them.
/// To be called when the bytes were verified. Returns the number of licences that were read. Blocks.
///
/// # Errors
/// As [`judge`].
pub(crate) fn read_licences(
    mirror: &mut MirrorWriter,
    policy: &LoadedPolicy,
    now: SystemTime,
    cancel: &CancellationToken,
) -> Result<u64, SyncError> {
    if !policy.policy().needs().licence || cancel.is_cancelled() {
        return Ok(0);
    }
    judge(mirror, policy, Judged::All, LicenceSource::Read(cancel), now)
}

/// Judges the held releases of crates, and records what has changed. Returns the number of licences that were read. Memory:
/// one index file, one release where licences are read, and the names of all crates where all are judged. Blocks.
///
/// # Errors
/// When the index cache or the catalogue fails, or the disk refuses to read a release.
pub(crate) fn judge(
    mirror: &mut MirrorWriter,
    policy: &LoadedPolicy,
    which: Judged<'_>,
    source: LicenceSource<'_>,
    now: SystemTime,
) -> Result<u64, SyncError> {
    let mut all = Vec::new();
    let names = match which {
        Judged::Crates(names) => names,
        Judged::All => {
            mirror.catalogue().crates(&mut |name| all.extend(name.parse::<CrateName>()))?;
            &all
        }
    };
    if names.is_empty() {
        return Ok(0);
    }
    let lines = mirror.index_cache_reader()?;
    let needs = policy.policy().needs();
    let mut changes = Changes { tx: mirror.begin(), count: 0 };
    let mut read = 0;
    for name in names {
        let held = mirror.catalogue().held_of(name)?;
        let text = lines.read(&index_path(name))?.unwrap_or_default();
        let before = mirror.catalogue().held_back_of(name)?;
        let releases = Releases::read(mirror.catalogue(), name, &text, &held, needs.publication_time)?;
        let of_crate = OfCrate { policy, name, releases, now };
        let mut licences = Licences::default();
        if needs.licence {
            licences = Licences::new(mirror.catalogue().licences_of(name)?);
            if let LicenceSource::Read(cancel) = source {
                let found = of_crate.read_licences(mirror.stores(), &held, &mut licences, cancel)?;
                read += found.len() as u64;
                changes.add_licences(found, needs.releases);
            }
        }
        let after = of_crate.held_back(&licences);
        changes.compare(before, after);
        if changes.count >= BATCH {
            let full = std::mem::replace(&mut changes, Changes { tx: mirror.begin(), count: 0 });
            mirror.commit(full.tx)?;
        }
    }
    mirror.commit(changes.tx)?;
    Ok(read)
}

/// The releases of a crate, under a policy.
struct OfCrate<'p> {
    policy: &'p LoadedPolicy,
    name: &'p CrateName,
    releases: Releases,
    now: SystemTime,
}

impl OfCrate<'_> {
    /// Returns the versions of held releases about which only a licence that is not known can decide.
    fn without_licence(&self, licences: &Licences) -> HashSet<String> {
        let candidates = self.releases.candidates(licences, self.now);
        let verdicts = self.policy.of_crate(self.name).verdicts(&candidates, self.now);
        let held = candidates.iter().zip(verdicts).filter(|(candidate, _)| candidate.size_bytes.is_some());
        held.filter(|(_, verdict)| matches!(verdict, Verdict::Undecided(facts) if facts.licence))
            .map(|(candidate, _)| candidate.record.id.version.to_string())
            .collect()
    }

    /// Reads the licences about which only they can decide, until `cancel` is cancelled. One that is not allowed makes room
    /// for an older version, whose licence decides then.
    fn read_licences(
        &self,
        stores: &Stores,
        held: &[Held],
        licences: &mut Licences,
        cancel: &CancellationToken,
    ) -> Result<Vec<LicenceRow>, SyncError> {
        let mut found = Vec::new();
        loop {
            let (open, known) = (self.without_licence(licences), found.len());
            for row in held.iter().filter(|row| open.contains(&row.version)) {
                if !cancel.is_cancelled()
                    && let Some(row) = read_licence(stores, self.name, row)?
                {
                    licences.add(&row);
                    found.push(row);
                }
            }
            if found.len() == known {
                return Ok(found);
            }
        }
    }

    /// Returns the held releases that policy holds back, without those that upstream deleted, which the catalogue hides
    /// itself.
    fn held_back(&self, licences: &Licences) -> Vec<HeldBackRelease> {
        let candidates = self.releases.candidates(licences, self.now);
        let verdicts = self.policy.of_crate(self.name).verdicts(&candidates, self.now);
        let held_back = |(candidate, verdict): (&Candidate<'_>, Verdict)| {
            let decision = match verdict {
                Verdict::Offered => return None,
                Verdict::HeldBack(decision) if decision.rule == Rule::Deleted => return None,
                Verdict::HeldBack(decision) => HeldBack { since: None, ..decision },
                // A release whose facts are unknown might be one that must not be offered.
                Verdict::Undecided(facts) => {
                    let rule = if facts.licence { Rule::Licenses } else { Rule::MaxCrateSize };
                    HeldBack { rule, until: None, since: None, why: format!("its {facts} is not known yet") }
                }
            };
            let IndexRecord { id, cksum, .. } = candidate.record.clone();
            Some(HeldBackRelease { id, cksum, is_held: true, decision })
        };
        candidates
            .iter()
            .zip(verdicts)
            .filter(|(candidate, _)| candidate.size_bytes.is_some())
            .filter_map(held_back)
            .collect()
    }
}

/// The releases of a crate that are listed or held, with what is known of each.
pub(crate) struct Releases(Vec<Release>);

struct Release {
    record: IndexRecord,
    /// Its size, if it is held.
    size_bytes: Option<u64>,
    /// The moment at which a run saw its bytes replace others.
    since: Option<SystemTime>,
    /// True if upstream deleted it.
    is_deleted: bool,
}

impl Releases {
    /// Reads what decides about the releases of a crate: its lines in the index file `text`, and what the catalogue has of
    /// it. `held` are its held releases.
    pub(crate) fn read(
        catalogue: &Catalogue,
        name: &CrateName,
        text: &[u8],
        held: &[Held],
        reads_published: bool,
    ) -> Result<Self, SyncError> {
        let mut limits = IndexLimits::default();
        limits.reads_published = reads_published;
        // Lines that are bad were reported when they were read from the index.
        let mut records = parse_file(&index_path(name), text, &limits, &mut |_| {});
        records.retain(|record| record.id.name == *name);
        let mut releases = Self::of(name, &records, held, &catalogue.replaced_of(name)?);
        let deleted = catalogue.deleted_of(name)?;
        for Release { record, is_deleted, .. } in &mut releases.0 {
            *is_deleted = deleted.iter().any(|version| version == record.id.version.as_str());
        }
        Ok(releases)
    }

    /// Joins the lines of a crate with what is held of it. Bytes that upstream has replaced are judged by the line of the
    /// others, and are as young as these. A held release without a line has no date: a list has none, and upstream may
    /// have deleted it.
    fn of(name: &CrateName, records: &[IndexRecord], held: &[Held], replaced: &[ReplacedRelease]) -> Self {
        let since = |id: &ReleaseId, cksums: &[Sha256]| {
            let of_release = replaced.iter().filter(|bytes| bytes.id == *id);
            of_release.filter(|bytes| cksums.contains(&bytes.cksum)).map(|bytes| bytes.seen).max()
        };
        let mut held: HashMap<&str, &Held> = held.iter().map(|row| (row.version.as_str(), row)).collect();
        let mut releases: Vec<_> = records
            .iter()
            .map(|record| {
                let row = held.remove(record.id.version.as_str());
                let cksum = row.map_or(record.cksum, |row| row.sha256);
                Release {
                    record: IndexRecord { cksum, ..record.clone() },
                    size_bytes: row.map(|row| row.size),
                    since: since(&record.id, &[cksum, record.cksum]),
                    is_deleted: false,
                }
            })
            .collect();
        releases.extend(held.into_values().filter_map(|row| {
            let id = ReleaseId { name: name.clone(), version: row.version.parse().ok()? };
            let since = since(&id, &[row.sha256]);
            let record = IndexRecord { id, cksum: row.sha256, yanked: false, published: None };
            Some(Release { record, size_bytes: Some(row.size), since, is_deleted: false })
        }));
        Self(releases)
    }

    /// Returns them as candidates, with the licences that are known. The rule about deleted releases needs the fact only:
    /// its moment is `now`. What was deleted takes no place among the newest versions.
    pub(crate) fn candidates<'r>(&'r self, licences: &'r Licences, now: SystemTime) -> Vec<Candidate<'r>> {
        let mut candidates = Vec::with_capacity(self.0.len());
        for Release { record, size_bytes, since, is_deleted } in &self.0 {
            let mut candidate = Candidate::new(record);
            candidate.size_bytes = *size_bytes;
            candidate.deleted = is_deleted.then_some(now);
            candidate.licence = licences.of(record);
            count_from(&mut candidate, *since);
            candidates.push(candidate);
        }
        candidates
    }
}

/// Judges releases while a run commits them.
#[derive(Debug)]
pub(crate) struct Judgement {
    policy: Arc<LoadedPolicy>,
    now: SystemTime,
    /// True if the policy cannot decide everything before a release is fetched.
    needs_bytes: bool,
    is_open: bool,
}

impl Judgement {
    pub(crate) fn new(policy: Arc<LoadedPolicy>, now: SystemTime) -> Self {
        let needs = policy.policy().needs();
        let needs_bytes = needs.size || needs.licence || needs.releases;
        let is_open = policy.is_open();
        Self { policy, now, needs_bytes, is_open }
    }

    /// Begins with a release that is to be held: it is held back until its crate is judged, which is in the index cache
    /// and in the catalogue only after the commit. Returns `None` where the plan has judged it already.
    pub(crate) fn begin(
        &self,
        id: &ReleaseId,
        cksum: Sha256,
        unjudged: &mut HashSet<CrateName>,
    ) -> Option<HeldBackRelease> {
        if !self.needs_bytes {
            return None;
        }
        unjudged.insert(id.name.clone());
        Some(not_judged(id, cksum))
    }

    /// Notes that the lines of an index file change: the held releases of its crates are to be judged by them.
    pub(crate) fn line_changed(
        &self,
        mirror: &MirrorWriter,
        file: &str,
        unjudged: &mut HashSet<CrateName>,
    ) -> Result<(), SyncError> {
        if !self.is_open {
            let names = mirror.catalogue().crates_of_file(file)?;
            unjudged.extend(names.iter().filter_map(|name| name.parse::<CrateName>().ok()));
        }
        Ok(())
    }

    /// Notes that a held release is to be offered again: it is held back until its crate is judged. Returns `None` where
    /// the policy holds nothing back.
    pub(crate) fn reinstated(
        &self,
        mirror: &MirrorWriter,
        id: &ReleaseId,
        unjudged: &mut HashSet<CrateName>,
    ) -> Result<Option<HeldBackRelease>, SyncError> {
        if self.is_open {
            return Ok(None);
        }
        unjudged.insert(id.name.clone());
        let row = mirror.catalogue().held_of(&id.name)?;
        let row = row.into_iter().find(|row| row.version == id.version.as_str());
        Ok(row.map(|row| not_judged(id, row.sha256)))
    }

    /// Notes that bytes that are to be held replace others. They are as old as the mirror's knowledge of them.
    pub(crate) fn replaced(
        &self,
        mirror: &MirrorWriter,
        id: &ReleaseId,
        cksum: Sha256,
        unjudged: &mut HashSet<CrateName>,
    ) -> Result<ReplacedRelease, SyncError> {
        if !self.is_open {
            unjudged.insert(id.name.clone());
        }
        let deferred = mirror.catalogue().deferred_of(&id.name)?;
        let known = deferred.into_iter().find(|release| release.id == *id && release.cksum == cksum);
        let seen = known.and_then(|release| release.decision.since).unwrap_or(self.now);
        Ok(ReplacedRelease { id: id.clone(), cksum, seen })
    }

    /// Judges crates whose releases and lines are committed. Returns the number of licences that were read.
    pub(crate) fn finish(&self, mirror: &mut MirrorWriter, names: &[CrateName]) -> Result<u64, SyncError> {
        if names.is_empty() {
            return Ok(0);
        }
        // A commit that has begun is finished: a release that is judged without its licence would stay held back.
        let never = CancellationToken::new();
        judge_marked(mirror, &self.policy, names, LicenceSource::Read(&never), self.now)
    }
}

/// Returns the row of a held release that is to be judged.
fn not_judged(id: &ReleaseId, cksum: Sha256) -> HeldBackRelease {
    let (rule, why) = (Rule::MaxCrateSize, UNJUDGED.to_owned());
    let decision = HeldBack { rule, until: None, since: None, why };
    HeldBackRelease { id: id.clone(), cksum, is_held: true, decision }
}

/// The changes of a batch.
struct Changes {
    tx: Transaction,
    count: usize,
}

impl Changes {
    /// Records licences that were read. `displaces`: releases displace each other, so that the next run has to plan anew
    /// what takes the place of a release that is held back by its licence.
    fn add_licences(&mut self, found: Vec<LicenceRow>, displaces: bool) {
        if displaces && !found.is_empty() {
            self.tx.cursor_outdated();
        }
        self.count += found.len();
        found.into_iter().for_each(|row| self.tx.licence(row));
    }

    /// Records the difference between two states of a crate.
    fn compare(&mut self, before: Vec<HeldBackRelease>, after: Vec<HeldBackRelease>) {
        let mut before: HashMap<ReleaseId, HeldBackRelease> = before
            .into_iter()
            .filter(|release| release.is_held)
            .map(|release| (release.id.clone(), release))
            .collect();
        for release in after {
            if before.remove(&release.id).is_none_or(|known| !known.agrees_with(&release)) {
                self.tx.hold_back(release);
                self.count += 1;
            }
        }
        for id in before.into_keys() {
            self.tx.offer(id);
            self.count += 1;
        }
    }
}
