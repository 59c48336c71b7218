//! The summary as one JSON object, for programs.

use std::path::Path;

use mirror_sync::{DownloadOptions, ExitStatus, FailedRecord, Outcome};
use serde_json::{Value, json};

use crate::room::Room;

/// Writes the summary of a run, or of a dry run, on one line.
pub(crate) fn of(outcome: &Outcome, options: &DownloadOptions) -> String {
    let status = outcome.exit_status();
    let mut summary = json!({
        "schema": 1,
        "dry_run": options.dry_run,
        "mirror": options.out.display().to_string(),
        "exit_code": status.code(),
        "interrupted": outcome.interrupted,
        "given_up": outcome.given_up,
        "diagnosis": outcome.diagnosis.map(|diagnosis| diagnosis.to_string()),
        "selected": outcome.selected,
        "existing": outcome.existing,
        "unavailable": outcome.unavailable,
        "acknowledged": outcome.acknowledged,
        "failed": outcome.failed,
        "failures_by_kind": outcome.failures_by_kind,
        "first_failures": listed(&outcome.first_failures),
        "deferred": outcome.deferred,
        "bad_index_lines": outcome.bad_lines,
        "yanked_skipped": outcome.yanked_skipped,
        "unsatisfied": outcome.unsatisfied,
        "elapsed_seconds": outcome.elapsed.as_secs_f64(),
    });
    if options.closure.is_some() {
        let counts = outcome.closure;
        summary["closure"] = json!({
            "roots": counts.roots,
            "releases": counts.releases,
            "optional": counts.optional,
            "other_targets": counts.other_targets,
            "dev": counts.dev,
        });
    }
    let more = if options.dry_run { would_be(outcome, options) } else { was(outcome) };
    if let (Some(summary), Value::Object(more)) = (summary.as_object_mut(), more) {
        summary.extend(more);
    }
    format!("{summary}\n")
}

/// Writes the summary of a run that ended with an error, on one line.
pub(crate) fn of_error(error: &anyhow::Error, status: ExitStatus, is_dry: bool, out: &Path) -> String {
    let summary = json!({
        "schema": 1,
        "dry_run": is_dry,
        "mirror": out.display().to_string(),
        "exit_code": status.code(),
        "error": format!("{error:#}"),
    });
    format!("{summary}\n")
}

fn was(outcome: &Outcome) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = outcome.downloaded as f64 / outcome.elapsed.as_secs_f64().max(0.001);
    json!({
        "downloaded": outcome.downloaded,
        "verified_existing": outcome.verified_existing,
        "bundled": outcome.bundled,
        "bytes": outcome.bytes,
        "rate_per_sec": rate,
        "quarantined": outcome.quarantined,
        "unrepaired": outcome.unrepaired,
        "replaced": outcome.replaced,
        "removed_upstream": outcome.removed_upstream.len(),
        "pruned": outcome.pruned,
        "snapshot": outcome.snapshot,
    })
}

fn would_be(outcome: &Outcome, options: &DownloadOptions) -> Value {
    let estimate = outcome.estimate.as_ref();
    let room = Room::of(options);
    json!({
        "would_fetch": outcome.would_fetch,
        "would_verify": outcome.would_verify,
        "would_prune": outcome.would_prune.len(),
        "estimated_bytes": estimate.map(|estimate| estimate.bytes),
        "least_bytes": estimate.map(|estimate| estimate.least_bytes),
        "most_bytes": estimate.map(|estimate| estimate.most_bytes),
        "estimated_seconds": estimate.and_then(|estimate| estimate.time).map(|time| time.as_secs()),
        "free_bytes": room.map(|room| room.bytes),
        "free_files": room.and_then(|room| room.files),
    })
}

fn listed(records: &[FailedRecord]) -> Vec<Value> {
    records.iter().map(|record| json!({ "what": record.what, "why": record.why })).collect()
}

#[cfg(test)]
mod tests {
    use mirror_sync::Upstream;

    use super::*;

    #[test]
    fn the_summary_is_one_object_on_a_line() {
        let mut options = DownloadOptions::new(Upstream::Local("index".into()), "mirror".into());
        let mut outcome = Outcome::default();
        (outcome.selected, outcome.downloaded, outcome.failed) = (3, 2, 1);
        outcome.failures_by_kind.insert("timeout", 1);
        let text = of(&outcome, &options);
        assert_eq!(text.matches('\n').count(), 1);
        let summary: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&summary["exit_code"], &summary["downloaded"]), (&3.into(), &2.into()));
        assert_eq!(summary["failures_by_kind"]["timeout"], 1);
        assert_eq!(summary.get("would_fetch"), None);
        options.dry_run = true;
        outcome.would_fetch = 7;
        let summary: Value = serde_json::from_str(&of(&outcome, &options)).unwrap();
        assert_eq!((&summary["would_fetch"], summary.get("downloaded")), (&7.into(), None));
    }
}
