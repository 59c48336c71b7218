//! The summary that a person reads at the end.

use std::fmt::Write as _;

use std::path::Path;

use mirror_sync::{
    ClosureCounts, Decision, Diagnosis, DownloadOptions, ExitStatus, Explained, ListedGap, Outcome,
    Printable, RebuildOutcome, Rule, Storage, UpstreamRemoval, Verdict, human_bytes,
};

use mirror_types::human_time;

use crate::advisories;
use crate::room::{Need, Room};

fn whole_seconds(time: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_secs(time.as_secs().max(1))
}

/// Lists the known gaps, one a line, separated by tabs: release, `known` or `new`, the last answer and since when, and
/// the note of a person.
pub(crate) fn of_gaps(listed: &[ListedGap]) -> String {
    let mut text = String::new();
    for gap in listed {
        let state = if gap.acknowledged.is_some() { "known" } else { "new" };
        let seen = gap.seen.as_ref().map_or_else(
            || "not asked for since".to_owned(),
            |row| format!("HTTP {} since {}", row.http_status, Printable(&row.first_seen)),
        );
        let _ = write!(text, "{}\t{state}\t{seen}", Printable(&gap.release));
        if let Some(said) = &gap.acknowledged {
            let (since, who, why) = (Printable(&said.since), Printable(&said.who), Printable(&said.why));
            let _ = write!(text, "\tsince {since}, {who}: {why}");
        }
        text.push('\n');
    }
    if listed.is_empty() {
        text.push_str("no gaps are known\n");
    }
    text
}

/// Explains what decides about releases: a sentence for each, in the words of a server's 404, and a line for each rule
/// that is in use.
pub(crate) fn of_explained(explained: &[Explained]) -> String {
    let mut text = String::new();
    for release in explained {
        let held = if release.is_held { "held" } else { "not held" };
        let verdict = match &release.verdict {
            Verdict::Offered if release.is_held => "offered".to_owned(),
            Verdict::Offered => "would be offered".to_owned(),
            Verdict::HeldBack(decision) => {
                let mut decision = decision.clone();
                // The mirror knows since when; the rule does not.
                decision.since = release.in_force.as_ref().map_or(decision.since, |in_force| in_force.since);
                decision.to_string()
            }
            Verdict::Undecided(facts) => format!("not decided: its {facts} is not known"),
        };
        let _ = writeln!(text, "{}: {verdict} ({held})", release.id);
        let agrees = match (&release.verdict, &release.in_force) {
            (Verdict::HeldBack(decided), Some(in_force)) => decided.rule == in_force.rule,
            (Verdict::HeldBack(decided), None) => decided.rule == Rule::Deleted || !release.is_held,
            (_, in_force) => in_force.is_none(),
        };
        if !agrees {
            let now = release.in_force.as_ref().map_or("offered".to_owned(), ToString::to_string);
            let _ = writeln!(text, "  until the next run: {now}");
        }
        for finding in release.findings.iter().filter(|finding| finding.decision != Decision::Off) {
            let mark = match finding.decision {
                Decision::HoldsBack => "holds back",
                Decision::Waived => "waived",
                Decision::Undecided => "undecided",
                Decision::Passes | Decision::Off => "passes",
            };
            let _ = writeln!(text, "  {:<16}{mark:<11}{}", finding.rule.name(), Printable(&finding.reason));
        }
        for id in &release.reports {
            let _ = writeln!(text, "  {:<16}{:<11}{}", "advisories", "reported", Printable(id));
        }
    }
    text
}

/// Writes numbers by rule: `10 min-publish-age, 2 deny`.
fn by_rule(counts: &std::collections::BTreeMap<Rule, u64>) -> String {
    counts.iter().map(|(rule, count)| format!("{count} {rule}")).collect::<Vec<_>>().join(", ")
}

/// Writes the summary of a rebuilt catalogue.
pub(crate) fn of_rebuild(outcome: &RebuildOutcome, out: &Path) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<19}{value}");
    };
    if outcome.interrupted {
        return "stopped; the catalogue is as it was\n".to_owned();
    }
    line("manifest records", outcome.records.to_string());
    line("bundles", outcome.bundles.to_string());
    if outcome.members > 0 {
        line("unrecorded members", outcome.members.to_string());
    }
    line("adopted files", outcome.adopted.to_string());
    if outcome.moved > 0 {
        line("moved", format!("{} (they lay as another tool lays them out)", outcome.moved));
    }
    if outcome.beside > 0 {
        line("left beside", format!("{} (their releases are in their place already)", outcome.beside));
    }
    if outcome.unplaced > 0 {
        line("not adopted", format!("{} (their paths tell no release)", outcome.unplaced));
    }
    if outcome.index_files > 0 {
        line("index files", format!("{} (their lines were found beside the bundles)", outcome.index_files));
    }
    line("lost files", outcome.lost.len().to_string());
    if outcome.lost_members > 0 {
        line("lost members", format!("{} (records speak of them, no bundle has them)", outcome.lost_members));
    }
    line("held", outcome.held.to_string());
    line("elapsed", format!("{:.1}s", outcome.elapsed.as_secs_f64()));
    for name in &outcome.missing_bundles {
        let _ = writeln!(text, "  {name} is not there any more, or shorter than it was");
    }
    for path in &outcome.first_left {
        let _ = writeln!(text, "  {} was left where it is", Printable(path));
    }
    for id in outcome.lost.iter().take(MAX_LISTED) {
        let _ = writeln!(text, "  {id} has no file of its size any more");
    }
    if !outcome.lost.is_empty() || outcome.lost_members > 0 || !outcome.missing_bundles.is_empty() {
        text.push_str("\nthe next run of the usual command fetches what is missing\n");
    }
    let _ = writeln!(text, "\n{} was rebuilt", out.join(".mirror/catalogue.sqlite").display());
    text
}

/// Most items that are listed one by one.
const MAX_LISTED: usize = 10;

/// Writes the summary of a run.
pub(crate) fn of(outcome: &Outcome, options: &DownloadOptions) -> String {
    let mut text = String::new();
    if options.index_only {
        return index_only(outcome, options);
    }
    mirror_cli::row(&mut text, "selected", outcome.selected.to_string());
    if options.dry_run {
        would_be_done(&mut text, outcome, options);
    } else {
        was_done(&mut text, outcome, options);
    }
    mirror_cli::row(&mut text, "elapsed", format!("{:.1}s", outcome.elapsed.as_secs_f64()));
    held(&mut text, outcome);
    if options.closure.is_some() {
        closure(&mut text, &outcome.closure);
    }
    selected(&mut text, outcome);
    faults(&mut text, outcome, options);
    advice(&mut text, outcome);
    if !options.dry_run {
        where_and_what_next(&mut text, outcome, options);
    }
    text
}

/// Shows rows of failures in red.
pub(crate) fn coloured(text: String, is_coloured: bool) -> String {
    if !is_coloured {
        return text;
    }
    let alarms = |line: &str| {
        ["failed ", "unavailable ", "quarantined ", "the run was given up", "nothing could be downloaded"]
            .iter()
            .any(|row| line.starts_with(row))
            && line.split_whitespace().nth(1) != Some("0")
    };
    let paint =
        |line: &str| if alarms(line) { format!("\u{1b}[31m{line}\u{1b}[0m\n") } else { format!("{line}\n") };
    text.lines().map(paint).collect()
}

/// Writes the summary of a run that only brought the index up to date.
fn index_only(outcome: &Outcome, options: &DownloadOptions) -> String {
    if outcome.interrupted {
        return "stopped; the index is as it was\n".to_owned();
    }
    let elapsed = outcome.elapsed.as_secs_f64();
    let advisories = outcome.advisories.as_ref().map_or_else(String::new, |used| {
        let mut row = String::new();
        mirror_cli::row(&mut row, "advisories", advisories::row(used));
        row
    });
    format!(
        "the {} is up to date ({elapsed:.1}s)\n{advisories}\nnext: the same command with --dry-run in place of --index-only says what a \
         run would fetch\n",
        crate::resolve::source_of(options)
    )
}

/// Writes, as the last lines, where the mirror is and what can be done with it.
fn where_and_what_next(text: &mut String, outcome: &Outcome, options: &DownloadOptions) {
    let out = &options.out;
    let full = std::path::absolute(out).unwrap_or_else(|_| out.clone());
    let _ = writeln!(text, "\nmirror             {}", full.display());
    if outcome.exit_status() == ExitStatus::Complete {
        let _ = writeln!(
            text,
            "next               serve-mirror --mirror {} lets Cargo build from it; the same command again brings it up to date",
            out.display()
        );
    }
}

fn would_be_done(text: &mut String, outcome: &Outcome, options: &DownloadOptions) {
    let mut line = |name: &str, value: String| mirror_cli::row(text, name, value);
    line("held", outcome.existing.to_string());
    line("would fetch", outcome.would_fetch.to_string());
    let (bytes, time) = match outcome.estimate {
        _ if outcome.would_fetch == 0 => ("none".to_owned(), "none".to_owned()),
        Some(estimate) => (
            if estimate.least_bytes == estimate.most_bytes && estimate.sampled == outcome.would_fetch {
                format!("{} (by the sizes of all {} releases)", human_bytes(estimate.bytes), estimate.sampled)
            } else {
                format!(
                    "about {}, between {} and {} (by the sizes of {} releases)",
                    human_bytes(estimate.bytes),
                    human_bytes(estimate.least_bytes),
                    human_bytes(estimate.most_bytes),
                    estimate.sampled
                )
            },
            match estimate.time {
                Some(time) => format!("about {}", human_time(whole_seconds(time))),
                None => "unknown: no earlier run gives a rate to judge by".to_owned(),
            },
        ),
        None => ("unknown: the origin gave no lengths".to_owned(), "unknown".to_owned()),
    };
    line("bytes", bytes);
    line("time", time);
    if let Some(room) = Room::of(options) {
        for (name, value) in room.compared(Need::of(outcome, options.storage)) {
            line(name, value);
        }
    }
}

fn was_done(text: &mut String, outcome: &Outcome, options: &DownloadOptions) {
    let mut line = |name: &str, value: String| mirror_cli::row(text, name, value);
    line("downloaded", outcome.downloaded.to_string());
    line("existing", outcome.existing.to_string());
    if outcome.verified_existing > 0 {
        line("verified existing", outcome.verified_existing.to_string());
    }
    if options.storage != Storage::Loose {
        line("bundled", outcome.bundled.to_string());
    }
    line("unavailable", outcome.unavailable.to_string());
    line("failed", outcome.failed.to_string());
    if outcome.failures_by_kind.len() > 1 || outcome.failures_by_kind.values().any(|records| *records > 1) {
        let kinds: Vec<String> =
            outcome.failures_by_kind.iter().map(|(kind, records)| format!("{records} {kind}")).collect();
        line("kinds of failures", kinds.join(", "));
    }
    line("bytes", human_bytes(outcome.bytes));
    let seconds = outcome.elapsed.as_secs_f64().max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    line("rate", format!("{:.1}/s", outcome.downloaded as f64 / seconds));
}

/// Writes what happened to held releases.
fn held(text: &mut String, outcome: &Outcome) {
    let mut line = |name: &str, value: String| mirror_cli::row(text, name, value);
    if let Some(name) = &outcome.partial_bundle {
        line("partial bundle", format!("{name}; the next run continues it, --bundle-seal seals it"));
    }
    if outcome.quarantined > 0 {
        line(
            "quarantined",
            format!("{} held copies were wrong (.mirror/quarantine has the files)", outcome.quarantined),
        );
    }
    if outcome.replaced > 0 {
        line(
            "replaced upstream",
            format!("{} releases have other bytes now (.mirror/replaced keeps the old)", outcome.replaced),
        );
    }
    if !outcome.removed_upstream.is_empty() {
        let deleted =
            outcome.removed_upstream.iter().filter(|(_, kind)| *kind == UpstreamRemoval::Deleted).count();
        line(
            "removed upstream",
            format!(
                "{deleted} releases deleted, {} yanked since the last look (table withdrawn has the dates)",
                outcome.removed_upstream.len() - deleted
            ),
        );
    }
    if outcome.acknowledged > 0 {
        let text =
            format!("{} of the unavailable were acknowledged (--gaps lists them)", outcome.acknowledged);
        line("known gaps", text);
    }
    if !outcome.resolved_gaps.is_empty() {
        let named: Vec<String> =
            outcome.resolved_gaps.iter().take(MAX_LISTED).map(ToString::to_string).collect();
        line("gaps resolved", format!("{}: {}", outcome.resolved_gaps.len(), named.join(", ")));
    }
    if outcome.reinstated > 0 {
        line("back upstream", format!("{} releases, offered again", outcome.reinstated));
    }
    if outcome.pruned > 0 {
        line("pruned", outcome.pruned.to_string());
    }
    if let Some(serial) = outcome.snapshot {
        line("snapshot", serial.to_string());
    }
    if outcome.lost_while_running > 0 {
        line("lost", format!("{} files were removed while the run went on", outcome.lost_while_running));
    }
}

/// Writes how large a closure is, and what it does not follow.
fn closure(text: &mut String, counts: &ClosureCounts) {
    let needed = counts.releases.saturating_sub(counts.roots);
    let size = format!("{} asked for, {needed} more that these need", counts.roots);
    mirror_cli::row(text, "closure", size);
    let left_out: Vec<String> = [
        (counts.optional, "optional"),
        (counts.other_targets, "for other targets"),
        (counts.dev, "for tests (--dev follows them)"),
    ]
    .into_iter()
    .filter(|(dependencies, _)| *dependencies > 0)
    .map(|(dependencies, why)| format!("{dependencies} {why}"))
    .collect();
    if !left_out.is_empty() {
        mirror_cli::row(text, "not followed", format!("dependencies: {}", left_out.join(", ")));
    }
}

/// Writes what was left out of the selection, and what it lacks.
fn selected(text: &mut String, outcome: &Outcome) {
    let mut line = |name: &str, value: String| mirror_cli::row(text, name, value);
    if outcome.yanked_skipped > 0 {
        line(
            "yanked, skipped",
            format!("{} (old lockfiles may need them: --include-yanked)", outcome.yanked_skipped),
        );
    }
    if outcome.deferred > 0 {
        let rules = by_rule(&outcome.deferred_by);
        let rules = if rules.is_empty() { "as before".to_owned() } else { rules };
        line("deferred", format!("{} (policy keeps them from being fetched: {rules})", outcome.deferred));
    }
    if !outcome.held_back.is_empty() {
        let total: u64 = outcome.held_back.values().sum();
        line("held back", format!("{total} (held and not offered: {})", by_rule(&outcome.held_back)));
    }
    if let Some(used) = &outcome.advisories {
        line("advisories", advisories::row(used));
    }
    if outcome.reported.releases > 0 {
        line(
            "with advisories",
            format!("{} (offered; `vulnerable = \"deny\"` holds them back)", outcome.reported.releases),
        );
    }
    if outcome.undated > 0 {
        line(
            "undated, skipped",
            format!("{} (the index does not say when they were published)", outcome.undated),
        );
    }
    if outcome.without_checksum > 0 {
        line(
            "without checksum",
            format!(
                "{} URLs of the list have no checksum in the file of --checksums, and were not fetched",
                outcome.without_checksum
            ),
        );
    }
    if !outcome.foreign_packages.is_empty() {
        let total: usize = outcome.foreign_packages.values().sum();
        let named: Vec<_> = outcome
            .foreign_packages
            .iter()
            .map(|(source, packages)| format!("{source} ({packages})"))
            .collect();
        line("other registries", format!("{total} packages of the lockfiles, skipped: {}", named.join(", ")));
    }
    if outcome.lockfiles_read > 0 {
        line(
            "lockfiles inside",
            format!("{} were read, and what they name was mirrored", outcome.lockfiles_read),
        );
    }
    for unusable in outcome.lockfiles_unusable.iter().take(MAX_LISTED) {
        line("unusable", format!("{}: {}", unusable.what, mirror_sync::Printable(&unusable.why)));
    }
    if !outcome.elsewhere.is_empty() {
        let named: Vec<_> =
            outcome.elsewhere.iter().map(|(registry, releases)| format!("{registry} ({releases})")).collect();
        line(
            "needed elsewhere",
            format!("releases with dependencies in other registries: {}", named.join(", ")),
        );
    }
    if outcome.unsatisfied > 0 {
        line(
            "unsatisfied",
            format!(
                "{} requirements have no release that satisfies them: {}",
                outcome.unsatisfied,
                outcome.first_unsatisfied.join("; ")
            ),
        );
    }
}

fn faults(text: &mut String, outcome: &Outcome, options: &DownloadOptions) {
    if outcome.bad_lines > 0 {
        mirror_cli::row(text, "bad index lines", outcome.bad_lines.to_string());
        for bad in &outcome.first_bad_lines {
            let _ = writeln!(text, "  {bad}");
        }
    }
    if !outcome.first_failures.is_empty() {
        let _ = writeln!(text, "\nfirst failures:");
        for failed in &outcome.first_failures {
            let _ = writeln!(text, "  {}: {}", failed.what, mirror_sync::Printable(&failed.why));
        }
    }
    if options.dry_run && !outcome.first_deferred.is_empty() {
        let _ = writeln!(text, "\npolicy would keep {} releases from being fetched:", outcome.deferred);
        for deferred in &outcome.first_deferred {
            let _ = writeln!(text, "  {}: {}", deferred.what, Printable(&deferred.why));
        }
    }
    if !outcome.reported.first.is_empty() {
        let _ = writeln!(text, "\nfirst releases with advisories:");
        for reported in &outcome.reported.first {
            let _ = writeln!(text, "  {}: {}", reported.what, Printable(&reported.why));
        }
    }
    if options.dry_run && options.prune.is_some() {
        let _ = writeln!(text, "\nwould prune {} releases:", outcome.would_prune.len());
        for id in &outcome.would_prune {
            let _ = writeln!(text, "  {id}");
        }
    }
}

/// Returns why a run was given up, and what to do about it.
pub(crate) fn given_up(outcome: &Outcome) -> (String, String) {
    match &outcome.diagnosis {
        Some(diagnosis) => (diagnosis.to_string(), advice_on(diagnosis).to_owned()),
        None => (
            "the origin refused every request or never answered".to_owned(),
            "Check the network, --crates-base-url and --user-agent, then run the same command again"
                .to_owned(),
        ),
    }
}

fn advice_on(diagnosis: &Diagnosis) -> &'static str {
    match diagnosis {
        Diagnosis::Pages => {
            "Check the proxy (https_proxy, no_proxy) and --crates-base-url, then run the same command again"
        }
        Diagnosis::WrongBytes => {
            "Check that --crates-base-url (or the `dl` of the index) and --index-dir or --index-url are of one registry, \
             then run the same command again"
        }
        _ => "Check --crates-base-url and the network, then run the same command again",
    }
}

/// Writes what to do next.
fn advice(text: &mut String, outcome: &Outcome) {
    if outcome.removal_refused > 0 {
        let _ = writeln!(
            text,
            "\n{} releases disappeared upstream, more than 500 or 0.1% of what is held. That looks like a fault of the \
             index, so they are still offered, and the next run looks again. Look at them with --dry-run; if that is how \
             it should be, add --accept-mass-removal.",
            outcome.removal_refused
        );
    }
    if outcome.prune_refused > 0 {
        let _ = writeln!(
            text,
            "\nnothing was pruned: upstream removed {} releases, more than 500 or 0.1% of what is held. Look at them \
             with --dry-run --prune; if that is how it should be, add --allow-mass-prune.",
            outcome.prune_refused
        );
    }
    if outcome.given_up {
        let (why, advice) = given_up(outcome);
        let _ = writeln!(text, "\nthe run was given up: {why}.\n{advice}.");
    } else if let Some(diagnosis) = &outcome.diagnosis {
        let unless = if matches!(diagnosis, Diagnosis::NotThere(_)) {
            ", unless upstream removed all of these releases"
        } else {
            ""
        };
        let advice = advice_on(diagnosis);
        let _ = writeln!(text, "\nnothing could be downloaded: {diagnosis}{unless}.\n{advice}.");
    } else if outcome.unrepaired > 0 {
        text.push_str(
            "\nheld files were found damaged and could not be fetched again; they are in .mirror/quarantine.\n",
        );
    }
    if outcome.interrupted {
        text.push_str("\nstopped early; run the same command again to continue from here.\n");
    } else if outcome.failed + outcome.unavailable > outcome.acknowledged {
        text.push_str(
            "\nthe mirror is not complete: these releases are in the failure ledger (.mirror/catalogue.sqlite, \
             table failures) and are tried again by the next run of the same command.\n",
        );
    }
}

#[cfg(test)]
mod tests {
    use mirror_sync::Upstream;

    use super::*;

    #[test]
    fn deferred_releases_are_counted_once_there_are_some() {
        let mut options = DownloadOptions::new(Upstream::Local("index".into()), "mirror".into());
        for dry_run in [false, true] {
            options.dry_run = dry_run;
            let mut outcome = Outcome::default();
            assert!(!of(&outcome, &options).contains("deferred"));
            outcome.deferred = 2;
            let summary = of(&outcome, &options);
            assert!(summary.contains("\ndeferred           2 (policy keeps"), "{summary}");
        }
    }
}
