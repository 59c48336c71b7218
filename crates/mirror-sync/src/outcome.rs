use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mirror_index::ClosureCounts;
use mirror_manifest::UpstreamRemoval;
use mirror_policy::DatabaseCommit;
use mirror_types::{ExitStatus, FailedRecord, KEPT_FAILURES, ReleaseId, Rule};

use crate::error::SyncError;
use crate::run::diagnosis::Diagnosis;

/// The outcome of a run. The counters add up: `selected` is the sum of `downloaded`, `existing`, `verified_existing`,
/// `deferred`, `unavailable` and `failed`, unless the run was stopped.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Records that were selected.
    pub selected: u64,
    /// Fetched and durable.
    pub downloaded: u64,
    /// Held already.
    pub existing: u64,
    /// Held already and hashed in this run.
    pub verified_existing: u64,
    /// Wanted and not fetched yet, because policy holds them back.
    pub deferred: u64,
    /// Those of them that were looked at, by rule.
    pub deferred_by: BTreeMap<Rule, u64>,
    /// The first of them, with reasons.
    pub first_deferred: Vec<FailedRecord>,
    /// Held releases that policy does not offer, by rule, after the run.
    pub held_back: BTreeMap<Rule, u64>,
    /// Releases that are offered although an advisory is about them, because the policy only reports it. In a dry run,
    /// also those that would be fetched.
    pub reported: Reported,
    /// The advisory database by which the run decided, when it read one.
    pub advisories: Option<AdvisoriesUsed>,
    /// Left out because nothing says when they were published, and only older ones are wanted.
    pub undated: u64,
    /// Not available upstream.
    pub unavailable: u64,
    /// Of these, gaps that a person acknowledged.
    pub acknowledged: u64,
    /// Acknowledged gaps that could be fetched after all.
    pub resolved_gaps: Vec<ReleaseId>,
    /// Failed otherwise.
    pub failed: u64,
    /// Put into bundles.
    pub bundled: u64,
    /// The partial bundle, when bundles were written.
    pub partial_bundle: Option<String>,
    /// Bytes of the downloaded files.
    pub bytes: u64,
    /// Yanked releases left out.
    pub yanked_skipped: u64,
    /// Bad lines of the index.
    pub bad_lines: u64,
    /// Packages of other registries and of git repositories in the lockfiles, by source; they are skipped.
    pub foreign_packages: BTreeMap<String, usize>,
    /// With a closure: its size, and the dependencies that it does not follow.
    pub closure: ClosureCounts,
    /// With a closure: releases with dependencies in other registries, by registry; those are not followed.
    pub elsewhere: BTreeMap<String, usize>,
    /// With a closure: requirements that no release satisfies.
    pub unsatisfied: usize,
    /// The first of these requirements.
    pub first_unsatisfied: Vec<String>,
    /// Releases that were selected by name, when the lockfiles inside them are wanted.
    pub(crate) roots: Vec<ReleaseId>,
    /// Lockfiles inside releases that were read.
    pub lockfiles_read: u64,
    /// Lockfiles inside releases that cannot be used, with the reason.
    pub lockfiles_unusable: Vec<FailedRecord>,
    /// URLs of a list that have no entry in its file of checksums; they count as failures.
    pub without_checksum: u64,
    /// Files that were held with wrong bytes and moved to quarantine.
    pub quarantined: u64,
    /// Held files that upstream replaced with other bytes; they are kept under `.mirror/replaced`.
    pub replaced: u64,
    /// Quarantined files that could not be fetched again.
    pub unrepaired: u64,
    /// Held releases that upstream removed since the mirror last looked.
    pub removed_upstream: Vec<(ReleaseId, UpstreamRemoval)>,
    /// Releases that upstream deleted and that are still offered, because they are suspiciously many.
    pub removal_refused: u64,
    /// Releases that upstream had deleted and offers again.
    pub reinstated: u64,
    /// Releases that upstream removed and that were pruned.
    pub pruned: u64,
    /// Releases that upstream removed and that were not pruned, because they are suspiciously many.
    pub prune_refused: u64,
    /// With `--dry-run`: releases that upstream removed and that would be pruned.
    pub would_prune: Vec<ReleaseId>,
    /// Files that were removed while the run went on.
    pub lost_while_running: u64,
    /// Failures because no server answered, or it was too busy (429, 503).
    pub unreached: u64,
    /// Failures because the origin denied access (401, 403, 407) or failed (408, 5xx).
    pub denied: u64,
    /// True if the run was given up because the origin refused or never answered.
    pub given_up: bool,
    /// Why nothing arrived, when every request failed alike: the reason for which the run was given up, or, for one that
    /// tried everything, the likely one.
    pub diagnosis: Option<Diagnosis>,
    /// Failed and unavailable records, by the kinds of the failure ledger.
    pub failures_by_kind: BTreeMap<&'static str, u64>,
    /// The first failures, with reasons.
    pub first_failures: Vec<FailedRecord>,
    /// The first bad lines.
    pub first_bad_lines: Vec<String>,
    /// Releases that were planned to be fetched; in a dry run, those that would be.
    pub would_fetch: u64,
    /// Held releases that were planned to be hashed before they count as held; in a dry run, those that would be.
    pub would_verify: u64,
    /// With `--dry-run`: estimated bytes and time of these downloads, when something is known.
    pub estimate: Option<Estimate>,
    /// The serial of the newest snapshot, when the run took one or found that it still holds.
    pub snapshot: Option<u64>,
    /// True if a snapshot was due and could not be taken or signed; the next run takes it.
    pub has_no_snapshot: bool,
    /// Time taken.
    pub elapsed: Duration,
    /// Stopped before the end.
    pub interrupted: bool,
}

/// Releases with an advisory that the policy only reports.
#[derive(Debug, Clone, Default)]
pub struct Reported {
    /// Their number.
    pub releases: u64,
    /// The first of them by name, each with the ids of its advisories.
    pub first: Vec<FailedRecord>,
}

/// The advisory database by which a run decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvisoriesUsed {
    /// Its path.
    pub dir: PathBuf,
    /// Its advisories that count.
    pub advisories: u64,
    /// The commit that was read; `None` for a plain directory.
    pub commit: Option<DatabaseCommit>,
    /// The age of that commit at the moment by which the run decided.
    pub age: Option<Duration>,
    /// True if it was to be brought up to date, and that failed.
    pub is_outdated: bool,
}

/// The estimated cost of the downloads of a dry run: exact for up to 100 releases whose sizes the origin reports, else
/// estimated from a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bounds that hold in 19 of 20 cases; both are `bytes` when all sizes are known.
    pub least_bytes: u64,
    /// See `least_bytes`.
    pub most_bytes: u64,
    /// The number of sizes behind the estimate: of releases to be fetched, or of all held ones when the origin reports
    /// none.
    pub sampled: u64,
    /// The time that they would take, when the last run recorded a rate.
    pub time: Option<Duration>,
}

impl Outcome {
    /// Returns the exit status for this outcome.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        let missing = self.unavailable - self.acknowledged + self.failed;
        if self.interrupted {
            ExitStatus::Interrupted
        } else if self.unrepaired + self.lost_while_running > 0 {
            ExitStatus::Integrity
        } else if self.given_up || (missing > 0 && self.downloaded == 0 && self.unreached == missing) {
            ExitStatus::Origin
        } else if missing > 0
            || self.bad_lines > 0
            || self.removal_refused > 0
            || self.advisories.as_ref().is_some_and(|used| used.is_outdated)
            || !self.lockfiles_unusable.is_empty()
            || self.has_no_snapshot
        {
            ExitStatus::Records
        } else if self.prune_refused > 0 {
            ExitStatus::Usage
        } else {
            ExitStatus::Complete
        }
    }

    /// Checks that a run that was not stopped has an answer for every selected record.
    pub(crate) fn check(&self) -> Result<(), SyncError> {
        let held = self.downloaded + self.existing + self.verified_existing;
        let answered = held + self.deferred + self.unavailable + self.failed;
        if self.interrupted || self.given_up || answered == self.selected {
            return Ok(());
        }
        Err(SyncError::Unaccounted { selected: self.selected, answered })
    }

    /// Adds the outcome of a further pass of the same run.
    pub(crate) fn absorb(&mut self, more: Self) {
        if more.snapshot.is_some() || more.has_no_snapshot {
            (self.snapshot, self.has_no_snapshot) = (more.snapshot, more.has_no_snapshot);
        }
        for (own, more) in [
            (&mut self.selected, more.selected),
            (&mut self.downloaded, more.downloaded),
            (&mut self.existing, more.existing),
            (&mut self.verified_existing, more.verified_existing),
            (&mut self.deferred, more.deferred),
            (&mut self.unavailable, more.unavailable),
            (&mut self.failed, more.failed),
            (&mut self.acknowledged, more.acknowledged),
            (&mut self.removal_refused, more.removal_refused),
            (&mut self.reinstated, more.reinstated),
            (&mut self.bundled, more.bundled),
            (&mut self.bytes, more.bytes),
            (&mut self.bad_lines, more.bad_lines),
            (&mut self.quarantined, more.quarantined),
            (&mut self.replaced, more.replaced),
            (&mut self.unrepaired, more.unrepaired),
            (&mut self.lost_while_running, more.lost_while_running),
            (&mut self.unreached, more.unreached),
            (&mut self.denied, more.denied),
        ] {
            *own += more;
        }
        // Both are the state of the mirror after a pass.
        self.held_back = more.held_back;
        self.reported = more.reported;
        self.partial_bundle = more.partial_bundle.or(self.partial_bundle.take());
        self.removed_upstream.extend(more.removed_upstream);
        self.resolved_gaps.extend(more.resolved_gaps);
        self.first_failures.extend(more.first_failures);
        self.first_failures.truncate(KEPT_FAILURES);
        self.first_bad_lines.extend(more.first_bad_lines);
        self.first_bad_lines.truncate(KEPT_FAILURES);
        for (source, packages) in more.foreign_packages {
            *self.foreign_packages.entry(source).or_default() += packages;
        }
        for (kind, records) in more.failures_by_kind {
            *self.failures_by_kind.entry(kind).or_default() += records;
        }
        // Of a pass that went to its end, it tells only where the earlier ones brought nothing either.
        if more.given_up || self.downloaded + self.existing + self.verified_existing == 0 {
            self.diagnosis = self.diagnosis.or(more.diagnosis);
        }
        self.given_up |= more.given_up;
        self.interrupted |= more.interrupted;
    }

    pub(crate) fn fail(&mut self, what: String, why: String) {
        if self.first_failures.len() < KEPT_FAILURES {
            self.first_failures.push(FailedRecord { what, why });
        }
    }
}
