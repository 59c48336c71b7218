//! Defers releases that policy holds back, and resolves them when their crates are looked at again. Those that wait for a
//! date are listed one by one; those that no date changes are listed by crate and reason, for there may be millions.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mirror_manifest::{DeferredGroup, HeldBackRelease, ReplacedRelease};
use mirror_policy::{Candidate, CratePolicy, LoadedPolicy, Verdict};
use mirror_types::{CrateName, HeldBack, IndexRecord, ReleaseId, index_path};

use super::decision::Decision;
use super::held::HeldRow;
use super::planner::{Planner, Scope, hash};
use super::sink::Halt;
use crate::licences::Licences;

/// Crates with deferred releases, by the path of their index file. A crate is taken out when the plan has looked at it.
pub(super) struct DeferredCrates(HashMap<String, Vec<CrateName>>);

impl DeferredCrates {
    pub(super) fn of(names: &[String]) -> Self {
        let mut by_path: HashMap<String, Vec<CrateName>> = HashMap::new();
        for name in names.iter().filter_map(|name| name.parse::<CrateName>().ok()) {
            by_path.entry(index_path(&name)).or_default().push(name);
        }
        Self(by_path)
    }

    /// Takes a crate out; returns whether it was there.
    fn take(&mut self, name: &CrateName) -> bool {
        let at = if self.0.is_empty() { None } else { self.0.get_mut(&index_path(name)) };
        let Some(names) = at else { return false };
        let before = names.len();
        names.retain(|other| other != name);
        names.len() < before
    }

    /// Returns those whose index file is at `path` and that are not among `present`.
    pub(super) fn missing_at(&self, path: &str, present: &[CrateName]) -> Vec<CrateName> {
        let names = self.0.get(path).into_iter().flatten();
        names.filter(|name| !present.contains(name)).cloned().collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &CrateName> {
        self.0.values().flatten()
    }
}

/// The entries of the lists for a crate that is planned.
pub(super) struct Listed {
    /// Its releases that are deferred until a date, or because their bytes replace others, by version.
    deferred: HashMap<String, HeldBackRelease>,
    /// Its other deferred releases, by reason.
    groups: Vec<DeferredGroup>,
    /// Its releases whose bytes replace others.
    replaced: Vec<ReplacedRelease>,
    /// The licences of its held releases, where a rule that compares releases has to know them.
    licences: Licences,
    /// True if it is in the failure ledger.
    failed: bool,
}

impl Listed {
    /// Returns whether nothing of the crate is deferred.
    pub(super) fn is_empty(&self) -> bool {
        self.deferred.is_empty() && self.groups.is_empty()
    }

    /// Returns the moment from which the age of a release counts that is not held as the index lists it, when its bytes
    /// replace others: they are as old as the mirror's knowledge of them. `row`: the others are held. They may be lost.
    pub(super) fn since(
        &self,
        record: &IndexRecord,
        row: Option<&HeldRow>,
        now: SystemTime,
    ) -> Option<SystemTime> {
        let Some(_) = row.filter(|row| row.sha256 != record.cksum) else {
            let mut replaced = self.replaced.iter();
            return replaced
                .find(|replaced| replaced.id == record.id && replaced.cksum == record.cksum)
                .map(|replaced| replaced.seen);
        };
        let known = self.deferred.get(record.id.version.as_str());
        let known = known.filter(|known| known.cksum == record.cksum);
        Some(known.and_then(|known| known.decision.since).unwrap_or(now))
    }
}

impl Planner<'_> {
    /// Returns the entries of the lists for a crate. Must be called before the ledger's entries are resolved.
    pub(super) fn listed_of(&mut self, name: &CrateName) -> Result<Listed, Halt> {
        let deferred = match self.deferred.take(name) {
            true => self.held.deferred_of(name)?,
            false => Vec::new(),
        };
        let by_version = deferred.into_iter().map(|release| (release.id.version.to_string(), release));
        let replaced = match self.wanted.policy {
            Some(_) => self.held.replaced_of(name)?,
            None => Vec::new(),
        };
        let groups = match self.grouped.as_ref().is_none_or(|names| names.contains(&hash(name.as_str()))) {
            true => self.held.deferred_groups_of(name)?,
            false => Vec::new(),
        };
        let needs = self.wanted.policy.as_ref().map(|policy| policy.policy().needs());
        let licences = match needs.is_some_and(|needs| needs.licence && needs.releases) {
            true => Licences::new(self.held.licences_of(name)?),
            false => Licences::default(),
        };
        let failed = self.ledger.contains(name.as_str());
        Ok(Listed { deferred: by_version.collect(), groups, replaced, licences, failed })
    }

    /// Takes releases out of the list that are held by now, not wanted any more, or gone from the index. Only a plan of
    /// the whole index can find that a release is not wanted; `is_gone` returns whether a release is not in the index
    /// at all.
    pub(super) fn undefer<'r>(
        &mut self,
        listed: &Listed,
        wanted: impl Iterator<Item = (&'r ReleaseId, bool)>,
        is_gone: &dyn Fn(&str) -> bool,
    ) -> Result<(), Halt> {
        if listed.deferred.is_empty() {
            return Ok(());
        }
        let wanted: HashMap<&str, bool> = wanted.map(|(id, held)| (id.version.as_str(), held)).collect();
        for (version, release) in &listed.deferred {
            let waits = match wanted.get(version.as_str()) {
                Some(is_held) => !is_held,
                None => self.wanted.scope == Scope::Part && !is_gone(version),
            };
            if !waits {
                self.decide(Decision::Undeferred(release.id.clone()))?;
            }
        }
        Ok(())
    }

    /// Returns the groups of deferred releases of a crate without those that this plan looks at. Only a plan of the whole
    /// index can find that a release is not wanted.
    pub(super) fn remaining<'r>(
        &self,
        listed: &Listed,
        wanted: impl Iterator<Item = (&'r ReleaseId, bool)>,
        is_gone: &dyn Fn(&str) -> bool,
    ) -> Vec<DeferredGroup> {
        if listed.groups.is_empty() || self.wanted.scope != Scope::Part {
            return Vec::new();
        }
        let wanted: HashSet<&str> = wanted.map(|(id, _)| id.version.as_str()).collect();
        let mut groups = listed.groups.clone();
        for group in &mut groups {
            group.versions.retain(|version| !wanted.contains(version.as_str()) && !is_gone(version.as_str()));
        }
        groups
    }

    /// Reports the groups of deferred releases of a crate, if they are others than before.
    pub(super) fn regroup(
        &mut self,
        name: &CrateName,
        listed: &Listed,
        mut groups: Vec<DeferredGroup>,
    ) -> Result<(), Halt> {
        DeferredGroup::sort(&mut groups);
        if DeferredGroup::agree(&listed.groups, &groups) {
            return Ok(());
        }
        self.decide(Decision::DeferredGroups { name: name.clone(), groups })
    }

    /// Defers a selected release that is not held as the index lists it, when policy holds it back. `row`: other bytes
    /// are held under its name. Returns whether it did. A release without a date is added to `groups`.
    pub(super) fn defer(
        &mut self,
        record: &IndexRecord,
        row: Option<&HeldRow>,
        (listed, groups): (&Listed, &mut Vec<DeferredGroup>),
        judge: Option<&Judge<'_>>,
    ) -> Result<bool, Halt> {
        let now = self.wanted.now;
        let Some(judge) = judge else { return Ok(false) };
        let since = listed.since(record, row, now);
        let known = listed.deferred.get(record.id.version.as_str());
        let Some(HeldBack { rule, until, why, .. }) = judge.held_back(record, since, now) else {
            return Ok(false);
        };
        let until = until.map(in_whole_millis);
        if until.is_some_and(|until| until <= now) {
            return Ok(false);
        }
        let decision = HeldBack { rule, until, why, since };
        let release =
            HeldBackRelease { id: record.id.clone(), cksum: record.cksum, is_held: false, decision };
        let mut is_known = !listed.failed && known.is_some_and(|known| known.agrees_with(&release));
        if until.is_none() && since.is_none() {
            is_known = true;
            if known.is_some() {
                self.decide(Decision::Undeferred(record.id.clone()))?;
            }
            if listed.failed {
                self.decide(Decision::Dropped(record.id.clone()))?;
            }
            add(groups, &release);
        }
        self.decide(Decision::Deferred { release: Box::new(release), known: is_known })?;
        Ok(true)
    }
}

/// Adds a release to the group of its reason.
fn add(groups: &mut Vec<DeferredGroup>, release: &HeldBackRelease) {
    let HeldBack { rule, why, .. } = &release.decision;
    let version = release.id.version.clone();
    match groups.iter_mut().find(|group| group.rule == *rule && group.why == *why) {
        Some(group) => group.versions.push(version),
        None => {
            groups.push(DeferredGroup {
                rule: *rule,
                why: why.clone(),
                since: None,
                versions: vec![version],
            });
        }
    }
}

/// The judgement of policy about the releases of one crate that are not held.
pub(super) struct Judge<'p> {
    of_crate: CratePolicy<'p>,
    /// The verdicts of rules that compare the releases of a crate.
    together: Option<HashMap<String, Verdict>>,
}

impl<'p> Judge<'p> {
    /// Makes the judge of a crate, with all of its records and what is held of them.
    pub(super) fn new(
        policy: &'p LoadedPolicy,
        name: &CrateName,
        records: &[IndexRecord],
        held: &HashMap<String, HeldRow>,
        listed: &Listed,
        now: SystemTime,
    ) -> Self {
        let of_crate = policy.of_crate(name);
        let together = policy.policy().needs().releases.then(|| {
            let mut candidates: Vec<Candidate<'_>> = Vec::with_capacity(records.len());
            for record in records {
                let row = held.get(record.id.version.as_str());
                let mut candidate = Candidate::new(record);
                candidate.size_bytes = row.filter(|row| row.sha256 == record.cksum).map(|row| row.bytes);
                candidate.licence = listed.licences.of(record);
                count_from(&mut candidate, listed.since(record, row, now));
                candidates.push(candidate);
            }
            let versions = records.iter().map(|record| record.id.version.to_string());
            versions.zip(of_crate.verdicts(&candidates, now)).collect()
        });
        Self { of_crate, together }
    }

    /// Returns the decision to hold a release back, if policy can decide that before it is fetched. `since` is the moment
    /// from which its age counts instead of its publication, when that is later. A release without a publication time
    /// stays without an age.
    fn held_back(
        &self,
        record: &IndexRecord,
        since: Option<SystemTime>,
        now: SystemTime,
    ) -> Option<HeldBack> {
        let mut candidate = Candidate::new(record);
        count_from(&mut candidate, since);
        if let Verdict::HeldBack(decision) = self.of_crate.verdict(&candidate, now) {
            return Some(decision);
        }
        match self.together.as_ref()?.get(record.id.version.as_str())? {
            Verdict::HeldBack(decision) => Some(decision.clone()),
            Verdict::Offered | Verdict::Undecided(_) => None,
        }
    }
}

/// Counts the age of a release from a moment, when that is later than its publication. A release without a publication
/// time stays without an age.
pub(crate) fn count_from(candidate: &mut Candidate<'_>, since: Option<SystemTime>) {
    candidate.counts_from = candidate.counts_from.map(|at| since.map_or(at, |since| at.max(since)));
}

/// Rounds a moment up to the precision of the list.
fn in_whole_millis(moment: SystemTime) -> SystemTime {
    let Ok(since) = moment.duration_since(UNIX_EPOCH) else { return moment };
    let below = since.subsec_nanos() % 1_000_000;
    if below == 0 { moment } else { moment + Duration::from_nanos(u64::from(1_000_000 - below)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_rounded_up_and_never_down() {
        let at = |nanos| UNIX_EPOCH + Duration::from_nanos(nanos);
        for (nanos, rounded) in [(0, 0), (1, 1_000_000), (1_000_000, 1_000_000), (5_999_999, 6_000_000)] {
            assert_eq!(in_whole_millis(at(nanos)), at(rounded));
        }
    }
}
