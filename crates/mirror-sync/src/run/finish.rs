//! The end of a run: steps and reports that need everything to be committed.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mirror_git::IndexSource;
use mirror_manifest::RunRow;
use mirror_repo::{Gap, MirrorWriter};
use mirror_types::{CrateName, ExitStatus, Rule};
use tokio_util::sync::CancellationToken;

use crate::cursor::Cursor;
use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver};
use crate::offer::{LicenceSource, judge_marked, mark_unjudged};
use crate::options::{DownloadOptions, Upstream};
use crate::outcome::Outcome;
use crate::plan::Totals;
use crate::prune::prune;
use crate::removed::hide;
use crate::reported::survey;
use crate::snapshot::{self, RunState};
use crate::tally::PlanReport;

/// Most files with bad lines that the cursor names; with more, every run reads everything.
const MAX_BAD_FILES: usize = 1_000;
/// A run that takes longer ends by scanning what it wrote.
const RESCAN_AFTER: Duration = Duration::from_secs(30);

/// The result of carrying a plan out.
pub(crate) struct Carried {
    pub(crate) mirror: MirrorWriter,
    pub(crate) outcome: Outcome,
    pub(crate) report: PlanReport,
    /// Licences that were read.
    pub(crate) licences_read: u64,
}

/// Ends a run that began at `began`: hides what upstream deleted, prunes, moves the cursor, and leaves the mirror as
/// the next run expects it. Blocks.
pub(crate) fn finish(
    carried: Carried,
    (cursor, state): (Option<Cursor>, RunState),
    mut gaps: Vec<Gap>,
    options: &DownloadOptions,
    observer: &dyn SyncObserver,
    (began, cancel): (Instant, &CancellationToken),
) -> Result<Outcome, SyncError> {
    let Carried { mut mirror, mut outcome, mut report, mut licences_read } = carried;
    let (complete, looked_through) = (report.complete, report.through);
    let bad_files = std::mem::take(&mut report.bad_files);
    let removed = std::mem::take(&mut report.removed);
    let withheld = std::mem::take(&mut report.withheld_lines);
    report.add_to(&mut outcome);
    outcome.check()?;
    if !outcome.resolved_gaps.is_empty() {
        gaps.retain(|gap| !outcome.resolved_gaps.contains(&gap.release));
        mirror.resolve_gaps(Some(&gaps))?;
    }
    // Other releases of their crates may have other lines, or another place among the newest versions.
    let policy = options.policy.clone().filter(|policy| !policy.is_open() && !removed.is_empty());
    if policy.is_some() {
        let mut tx = mirror.begin();
        mark_unjudged(&mut tx);
        mirror.commit(tx)?;
    }
    hide(&mut mirror, &removed, withheld, options.accept_mass_removal, &mut outcome, observer)?;
    if let Some(policy) = policy {
        let names: HashSet<CrateName> = removed.iter().map(|id| id.name.clone()).collect();
        let names: Vec<CrateName> = names.into_iter().collect();
        // A version that takes the place of a deleted one may not have been read: it was not asked for, also where the run
        // verified.
        let never = CancellationToken::new();
        licences_read +=
            judge_marked(&mut mirror, &policy, &names, LicenceSource::Read(&never), options.moment())?;
    }
    // The next run must see a refused removal again.
    let accepted = outcome.removal_refused == 0;
    let ended = !outcome.interrupted && !outcome.given_up;
    let through = complete && ended;
    if let Some(what) = options.prune {
        let source = if through { index_of_run(options, cursor.as_ref())? } else { None };
        match &source {
            Some(source) => {
                prune(&mut mirror, source, what, options.allow_mass_prune, &mut outcome, observer)?;
            }
            None => observer.event(SyncEvent::PruneSkipped),
        }
    }
    // A release that turns out to be too large, or to have another licence, makes room for an older one, which only a plan
    // finds.
    let makes_room = options.policy.as_ref().is_some_and(|policy| {
        let needs = policy.policy().needs();
        (needs.size || needs.licence)
            && (outcome.downloaded > 0 || licences_read > 0)
            && outcome.deferred_by.contains_key(&Rule::Newest)
    });
    if makes_room {
        let mut tx = mirror.begin();
        tx.cursor_outdated();
        mirror.commit(tx)?;
    }
    // Failures are in the ledger, and files with bad lines in the cursor.
    if let (true, Some(cursor)) =
        (!makes_room && accepted && through && bad_files.len() <= MAX_BAD_FILES, cursor)
    {
        let totals = Totals {
            selected: outcome.selected,
            yanked_skipped: outcome.yanked_skipped,
            deferred: outcome.deferred,
        };
        cursor.leave(&mut mirror, totals, bad_files)?;
    }
    let (held_back, reported) = survey(mirror.catalogue(), options, observer)?;
    outcome.held_back =
        held_back.iter().filter(|count| count.held > 0).map(|count| (count.rule, count.held)).collect();
    outcome.reported = reported;
    mirror.finish(if accepted { &removed } else { &[] }, ended)?;
    if began.elapsed() > RESCAN_AFTER && !outcome.interrupted {
        // The next run need not list what this one wrote.
        let lost = mirror.rescan(&|| cancel.is_cancelled())?;
        lost.iter().for_each(|id| observer.event(SyncEvent::Lost(id)));
        outcome.lost_while_running = lost.len() as u64;
    }
    let is_whole = matches!(outcome.exit_status(), ExitStatus::Complete | ExitStatus::Records);
    if let Some(snapshots) = options.snapshots.as_ref().filter(|_| looked_through && ended && is_whole) {
        // A run of a part says nothing of the rest of the index.
        let state = RunState { index: state.index.filter(|_| complete), ..state };
        match snapshot::take(&mut mirror, state, snapshots, observer, options.moment()) {
            Ok(serial) => outcome.snapshot = serial,
            Err(error) => {
                observer.event(SyncEvent::SnapshotFailed(&error));
                outcome.has_no_snapshot = true;
            }
        }
    }
    // All is committed, and only the history is shorter.
    if let Err(error) = mirror.record_run(row_of(&outcome, began.elapsed())) {
        observer.event(SyncEvent::HistoryFailed(&error));
    }
    Ok(outcome)
}

/// Returns the row of a run that ends now, for the history of the mirror.
fn row_of(outcome: &Outcome, took: Duration) -> RunRow {
    let state = match outcome.exit_status() {
        ExitStatus::Complete => RunRow::COMPLETE,
        ExitStatus::Interrupted => "stopped",
        ExitStatus::Integrity => "damage",
        ExitStatus::Origin => "given-up",
        _ => "missing",
    };
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let ended_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms);
    RunRow {
        began_ms: ended_ms.saturating_sub(ms(took)),
        ended_ms,
        state: state.to_owned(),
        downloaded: outcome.downloaded,
        bytes: outcome.bytes,
        failed: outcome.failed + outcome.unavailable - outcome.acknowledged,
        verified: outcome.verified_existing,
        snapshot: outcome.snapshot,
        ..RunRow::default()
    }
}

/// Opens the local index again, if it is still the one that the run went through.
fn index_of_run(
    options: &DownloadOptions,
    cursor: Option<&Cursor>,
) -> Result<Option<IndexSource>, SyncError> {
    let Upstream::Local(dir) = &options.upstream else { return Ok(None) };
    let source = IndexSource::open(dir)?;
    let same = cursor.map_or(source.tree_id().is_none(), |cursor| cursor.is_at(&source));
    Ok(same.then_some(source))
}
