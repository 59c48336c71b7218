//! Decides which of the held releases are offered: applies policy to the catalogue.
//!
//! The selection of a run has no say in it. Every held release is judged by its line in the mirror's index cache, when it
//! enters the mirror, when its line changes, when its time comes, and when the policy changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use mirror_index::{IndexLimits, parse_file};
use mirror_manifest::{Held, HeldBackRelease};
use mirror_policy::{Candidate, LoadedPolicy, Verdict};
use mirror_repo::{MirrorWriter, Transaction};
use mirror_types::{CrateName, HeldBack, IndexRecord, ReleaseId, Rule, Sha256, index_path};

use crate::error::SyncError;

/// Changes that are committed together.
const BATCH: usize = 10_000;

/// The crates of which the held releases are to be judged.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Judged<'c> {
    /// All of them.
    All,
    /// These.
    Crates(&'c [CrateName]),
}

/// Judges what the policy of the last run left: everything when the policy has changed since, and otherwise the crates
/// of which a release has become old enough. Blocks.
///
/// # Errors
/// When the index cache or the catalogue fails.
pub(crate) fn begin(
    mirror: &mut MirrorWriter,
    policy: &LoadedPolicy,
    now: SystemTime,
) -> Result<(), SyncError> {
    let identity = policy.identity(now);
    // A mirror that never had a policy offers everything, which the default policy does too.
    let applied = mirror.catalogue().policy()?;
    if applied.unwrap_or_else(|| LoadedPolicy::default().identity(now)) == identity {
        let due = mirror.catalogue().crates_due(now)?;
        return judge(mirror, policy, Judged::Crates(&due), now);
    }
    judge(mirror, policy, Judged::All, now)?;
    let mut tx = mirror.begin();
    tx.policy_applied(identity);
    mirror.commit(tx)?;
    Ok(())
}

/// Judges the held releases of crates, and records what has changed. Memory: one index file, and the names of all crates
/// where all are judged. Blocks.
///
/// # Errors
/// When the index cache or the catalogue fails.
pub(crate) fn judge(
    mirror: &mut MirrorWriter,
    policy: &LoadedPolicy,
    which: Judged<'_>,
    now: SystemTime,
) -> Result<(), SyncError> {
    let mut all = Vec::new();
    let names = match which {
        Judged::Crates(names) => names,
        Judged::All => {
            mirror.catalogue().crates(&mut |name| all.extend(name.parse::<CrateName>()))?;
            &all
        }
    };
    if names.is_empty() {
        return Ok(());
    }
    let lines = mirror.index_cache_reader()?;
    let mut limits = IndexLimits::default();
    limits.reads_published = policy.policy().needs().publication_time;
    let mut changes = Changes { tx: mirror.begin(), count: 0 };
    for name in names {
        let held = mirror.catalogue().held_of(name)?;
        let path = index_path(name);
        let text = lines.read(&path)?.unwrap_or_default();
        // Lines that are bad were reported when they were read from the index.
        let mut records = parse_file(&path, &text, &limits, &mut |_| {});
        records.retain(|record| record.id.name == *name);
        let before = mirror.catalogue().held_back_of(name)?;
        let after = held_back(policy, name, &records, &held, now);
        changes.compare(before, after);
        if changes.count >= BATCH {
            let full = std::mem::replace(&mut changes, Changes { tx: mirror.begin(), count: 0 });
            mirror.commit(full.tx)?;
        }
    }
    mirror.commit(changes.tx)?;
    Ok(())
}

/// Returns the held releases of a crate that policy holds back. `records` are its lines in the index.
fn held_back(
    policy: &LoadedPolicy,
    name: &CrateName,
    records: &[IndexRecord],
    held: &[Held],
    now: SystemTime,
) -> Vec<HeldBackRelease> {
    let releases = Releases::of(name, records, held);
    let candidates = releases.candidates();
    let verdicts = policy.of_crate(name).verdicts(&candidates, now);
    let held_back = |(candidate, verdict): (&Candidate<'_>, Verdict)| {
        let decision = match verdict {
            Verdict::Offered => return None,
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

/// The releases of a crate that are listed or held, with what is known of each.
pub(crate) struct Releases {
    /// With the size in bytes of those that are held.
    releases: Vec<(IndexRecord, Option<u64>)>,
}

impl Releases {
    /// Joins the lines of a crate with what is held of it. Bytes that upstream has replaced are judged by the line of the
    /// others. A held release without a line has no date: a list has none, and upstream may have deleted it.
    pub(crate) fn of(name: &CrateName, records: &[IndexRecord], held: &[Held]) -> Self {
        let mut held: HashMap<&str, &Held> = held.iter().map(|row| (row.version.as_str(), row)).collect();
        let mut releases: Vec<_> = records
            .iter()
            .map(|record| match held.remove(record.id.version.as_str()) {
                Some(row) => (IndexRecord { cksum: row.sha256, ..record.clone() }, Some(row.size)),
                None => (record.clone(), None),
            })
            .collect();
        releases.extend(held.into_values().filter_map(|row| {
            let id = ReleaseId { name: name.clone(), version: row.version.parse().ok()? };
            Some((IndexRecord { id, cksum: row.sha256, yanked: false, published: None }, Some(row.size)))
        }));
        Self { releases }
    }

    /// Returns them as candidates.
    pub(crate) fn candidates(&self) -> Vec<Candidate<'_>> {
        let mut candidates = Vec::with_capacity(self.releases.len());
        for (record, size_bytes) in &self.releases {
            let mut candidate = Candidate::new(record);
            candidate.size_bytes = *size_bytes;
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
        let why = "it is not judged yet".to_owned();
        let decision = HeldBack { rule: Rule::MaxCrateSize, until: None, since: None, why };
        Some(HeldBackRelease { id: id.clone(), cksum, is_held: true, decision })
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

    /// Judges crates whose releases and lines are committed.
    pub(crate) fn finish(&self, mirror: &mut MirrorWriter, names: &[CrateName]) -> Result<(), SyncError> {
        judge(mirror, &self.policy, Judged::Crates(names), self.now)
    }
}

/// The changes of a batch.
struct Changes {
    tx: Transaction,
    count: usize,
}

impl Changes {
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
