//! Counts the decisions of a plan, for a run and for a dry run alike.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mirror_index::{ClosureCounts, ClosureReport, Selection};
use mirror_manifest::{PackedLines, UpstreamRemoval};
use mirror_types::{FailedRecord, KEPT_FAILURES, ReleaseId, Rule};

use crate::observe::{SyncEvent, SyncObserver};
use crate::outcome::Outcome;
use crate::plan::{Decision, PlanFault, Planned};

/// Most index files whose lines are withheld. That many are a mass, and a later run reads them again.
const MAX_WITHHELD_FILES: usize = 20_000;

/// The result of a plan.
#[derive(Debug, Default)]
pub(crate) struct PlanReport {
    /// True if every crate of the index was looked at.
    pub(crate) complete: bool,
    /// True if everything that was selected was looked at.
    pub(crate) through: bool,
    pub(crate) selected: u64,
    pub(crate) existing: u64,
    pub(crate) to_fetch: u64,
    pub(crate) to_verify: u64,
    pub(crate) yanked_skipped: u64,
    /// Releases that are left out because nothing says when they were published.
    pub(crate) undated: u64,
    /// Releases that policy holds back and that are not fetched.
    pub(crate) deferred: u64,
    /// Those that were looked at, by rule.
    pub(crate) deferred_by: BTreeMap<Rule, u64>,
    /// The first of them, each with the reason.
    pub(crate) first_deferred: Vec<FailedRecord>,
    /// Of a closure: its size.
    pub(crate) closure: ClosureCounts,
    /// Of a closure: releases with dependencies in other registries, by registry.
    pub(crate) elsewhere: BTreeMap<String, usize>,
    /// Of a closure: requirements that no release satisfies, and the first of them.
    pub(crate) unsatisfied: usize,
    pub(crate) first_unsatisfied: Vec<String>,
    /// The releases that were selected by name, when the lockfiles inside them are wanted.
    pub(crate) roots: Vec<ReleaseId>,
    /// URLs of a list that have no entry in its checksums.
    pub(crate) without_checksum: u64,
    pub(crate) bad_lines: u64,
    pub(crate) first_bad_lines: Vec<String>,
    /// Index files that have bad lines.
    pub(crate) bad_files: BTreeSet<String>,
    /// Held releases that upstream removed since the mirror last looked.
    pub(crate) removed_upstream: Vec<(ReleaseId, UpstreamRemoval)>,
    /// Held releases that are gone from the source of the run and still offered.
    pub(crate) removed: Vec<ReleaseId>,
    /// The lines of index files that listed some of them, to be stored once they are hidden.
    pub(crate) withheld_lines: Vec<PackedLines>,
    /// Releases that were deleted and are back.
    pub(crate) reinstated: u64,
    /// Every held release that upstream is known to have removed.
    pub(crate) known_removed: HashMap<ReleaseId, UpstreamRemoval>,
}

impl PlanReport {
    /// Adds what was planned to the outcome of a run.
    pub(crate) fn add_to(self, outcome: &mut Outcome) {
        outcome.selected = self.selected;
        outcome.existing = self.existing;
        outcome.would_fetch = self.to_fetch;
        outcome.would_verify = self.to_verify;
        outcome.yanked_skipped = self.yanked_skipped;
        outcome.undated = self.undated;
        outcome.deferred = self.deferred;
        outcome.deferred_by = self.deferred_by;
        outcome.first_deferred = self.first_deferred;
        outcome.without_checksum = self.without_checksum;
        outcome.roots = self.roots;
        outcome.closure = self.closure;
        outcome.elsewhere = self.elsewhere;
        outcome.unsatisfied = self.unsatisfied;
        outcome.first_unsatisfied = self.first_unsatisfied;
        outcome.bad_lines = self.bad_lines;
        outcome.first_bad_lines = self.first_bad_lines;
        outcome.removed_upstream = self.removed_upstream;
        outcome.reinstated = self.reinstated;
    }
}

/// The progress of planning, for the other threads of a run.
#[derive(Debug, Default)]
pub(crate) struct PlanProgress {
    existing: AtomicU64,
    is_over: AtomicBool,
}

impl PlanProgress {
    /// Returns the number of releases that were found to be held.
    pub(crate) fn existing(&self) -> u64 {
        self.existing.load(Ordering::Relaxed)
    }

    /// Returns whether everything is planned.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// Counts decisions.
pub(crate) struct Tally {
    report: PlanReport,
    /// The selection by name, when the lockfiles inside the crates are wanted.
    rooted: Option<Selection>,
    observer: Arc<dyn SyncObserver>,
    progress: Arc<PlanProgress>,
}

impl Tally {
    pub(crate) fn new(rooted: Option<Selection>, observer: Arc<dyn SyncObserver>) -> Self {
        Self { report: PlanReport::default(), rooted, observer, progress: Arc::default() }
    }

    pub(crate) fn progress(&self) -> Arc<PlanProgress> {
        Arc::clone(&self.progress)
    }

    fn tell(&self, event: SyncEvent<'_>) {
        self.observer.event(event);
    }

    fn selected(&mut self, id: &ReleaseId) {
        self.select(1);
        if self.rooted.as_ref().is_some_and(|selection| selection.wants_crate(&id.name)) {
            self.report.roots.push(id.clone());
        }
    }

    fn select(&mut self, releases: u64) {
        self.report.selected += releases;
        self.tell(SyncEvent::Selected(releases));
    }

    fn existing(&self, releases: u64) {
        self.progress.existing.fetch_add(releases, Ordering::Relaxed);
        self.tell(SyncEvent::Existing(releases));
    }

    fn deferred(&mut self, releases: u64) {
        self.report.deferred += releases;
        self.tell(SyncEvent::Deferred(releases));
    }

    pub(crate) fn count(&mut self, decision: &Decision) {
        match decision {
            Decision::Existing { id, .. } => {
                self.selected(id);
                self.existing(1);
            }
            Decision::Verify { job, .. } => {
                self.selected(&job.id);
                self.report.to_verify += 1;
            }
            Decision::Fetch(job) => {
                self.selected(&job.id);
                self.report.to_fetch += 1;
                if let Some(held) = job.replaces {
                    self.tell(SyncEvent::Republished { release: &job.id, held });
                }
            }
            Decision::Fail { id, fault, .. } => {
                self.selected(id);
                self.report.without_checksum += u64::from(*fault == PlanFault::NoChecksum);
            }
            Decision::FailCrate { .. } => self.select(1),
            Decision::Deferred { release, .. } => {
                self.select(1);
                self.deferred(1);
                *self.report.deferred_by.entry(release.decision.rule).or_default() += 1;
                if self.report.first_deferred.len() < KEPT_FAILURES {
                    let (what, why) = (release.id.to_string(), release.decision.to_string());
                    self.report.first_deferred.push(FailedRecord { what, why });
                }
            }
            Decision::Unchanged(totals) => {
                self.select(totals.selected);
                self.existing(totals.selected.saturating_sub(totals.deferred));
                self.deferred(totals.deferred);
                self.report.yanked_skipped += totals.yanked_skipped;
            }
            Decision::YankedSkipped(releases) => self.report.yanked_skipped += releases,
            Decision::Undated(releases) => self.report.undated += releases,
            Decision::Yanked(id) => self.report.removed_upstream.push((id.clone(), UpstreamRemoval::Yanked)),
            Decision::Reinstated(_) => self.report.reinstated += 1,
            Decision::Removed(id) => self.report.removed.push(id.clone()),
            Decision::BadFile { path, bad, first } => self.bad_file(path, *bad, first),
            Decision::BadLine(text) => self.bad_line(text),
            Decision::CrateRead(_)
            | Decision::Resolved(_)
            | Decision::Dropped(_)
            | Decision::DeferredGroups { .. }
            | Decision::Undeferred(_)
            | Decision::Seen(_)
            | Decision::YankedBefore(_)
            | Decision::Unyanked(_)
            | Decision::IndexFile { .. } => {}
        }
    }

    /// Withholds lines until it is known whether the releases they lack are to be hidden: storing the lines would hide
    /// them.
    pub(crate) fn withhold(&mut self, lines: PackedLines) {
        if self.report.withheld_lines.len() < MAX_WITHHELD_FILES {
            self.report.withheld_lines.push(lines);
        }
    }

    fn bad_file(&mut self, path: &str, bad: u64, first: &[String]) {
        self.report.bad_files.insert(path.to_owned());
        first.iter().for_each(|text| self.bad_line(text));
        let more = bad - first.len() as u64;
        if more > 0 {
            self.tell(SyncEvent::MoreBadLines { path, lines: more });
            self.report.bad_lines += more;
        }
    }

    fn bad_line(&mut self, text: &str) {
        self.tell(SyncEvent::BadLine(text));
        self.report.bad_lines += 1;
        if self.report.first_bad_lines.len() < KEPT_FAILURES {
            self.report.first_bad_lines.push(text.to_owned());
        }
    }

    /// Ends counting.
    pub(crate) fn finish(self, planned: Planned, closure: ClosureReport) -> PlanReport {
        self.progress.is_over.store(true, Ordering::Relaxed);
        self.tell(SyncEvent::Planned);
        let mut report = self.report;
        report
            .removed_upstream
            .extend(report.removed.iter().map(|id| (id.clone(), UpstreamRemoval::Deleted)));
        PlanReport {
            complete: planned.complete,
            through: planned.through,
            existing: self.progress.existing(),
            known_removed: planned.removed_upstream,
            closure: closure.counts,
            elsewhere: closure.elsewhere,
            unsatisfied: closure.unsatisfied,
            first_unsatisfied: closure.first_unsatisfied,
            ..report
        }
    }
}
