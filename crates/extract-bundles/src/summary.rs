//! The summary that a person reads at the end.

use std::fmt::Write as _;

use mirror_extract::{ExtractOptions, ExtractOutcome, ExtractTask};
use mirror_types::{Printable, human_bytes};

/// Writes the summary of a run.
pub(crate) fn of(outcome: &ExtractOutcome, options: &ExtractOptions) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| mirror_cli::row(&mut text, name, value);
    line("bundles", outcome.bundles.to_string());
    line("members", outcome.members.to_string());
    match options.task {
        ExtractTask::Extract { .. } => {
            line("extracted", outcome.extracted.to_string());
            line("existing", outcome.existing.to_string());
            line("bytes", human_bytes(outcome.bytes));
        }
        ExtractTask::Verify => line("verified", outcome.verified.to_string()),
        ExtractTask::List => {}
    }
    if outcome.superseded > 0 {
        line("superseded", format!("{} (a later bundle has other bytes)", outcome.superseded));
    }
    line("failed", outcome.failed.to_string());
    if outcome.bad_bundles > 0 {
        line("bad bundles", outcome.bad_bundles.to_string());
    }
    if outcome.unlisted > 0 {
        line("not in a manifest", format!("{} (their bundles have none to check by)", outcome.unlisted));
    }
    line("elapsed", format!("{:.1}s", outcome.elapsed.as_secs_f64()));
    if !outcome.first_failures.is_empty() {
        let _ = writeln!(text, "\nfirst faults:");
        for failed in &outcome.first_failures {
            let _ = writeln!(text, "  {}: {}", Printable(&failed.what), Printable(&failed.why));
        }
    }
    if outcome.bad_bundles > 0 {
        text.push_str(
            "\na bundle is damaged, or was not made by this system or the Go system; nothing of it was used from the \
             fault on. Take another copy of it, or fetch the releases again with download-crates.\n",
        );
    }
    if outcome.in_the_way > 0 {
        let _ = writeln!(
            text,
            "\nof {} releases other bytes are there already; remove those files, or use --overwrite.",
            outcome.in_the_way
        );
    }
    if outcome.not_found
        && let Some(only) = &options.only
    {
        let _ = writeln!(text, "\n{only} is in none of these bundles.");
    }
    if outcome.interrupted {
        text.push_str("\nstopped early; run the same command again to continue from here.\n");
    }
    text
}
