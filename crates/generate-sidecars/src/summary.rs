//! The summary that a person reads at the end.

use std::fmt::Write as _;

use mirror_sidecar::generate::{SidecarMode, SidecarOptions, SidecarOutcome};
use mirror_types::human_bytes;

/// Writes the summary of a run.
pub(crate) fn of(outcome: &SidecarOutcome, options: &SidecarOptions) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| mirror_cli::row(&mut text, name, value);
    line("selected", outcome.selected.to_string());
    line("written", outcome.written.to_string());
    if let SidecarMode::Files { .. } = options.mode {
        line("existing", outcome.existing.to_string());
        let refreshed = outcome.refreshed + outcome.yanked_refreshed;
        if options.refresh || refreshed > 0 {
            line("refreshed", refreshed.to_string());
        }
    }
    line("bytes", human_bytes(outcome.bytes));
    line("elapsed", format!("{:.1}s", outcome.elapsed.as_secs_f64()));
    if let Some(files) = outcome.news {
        line("looked at", format!("{files} index files; the others are as they were"));
    }
    if outcome.yanked_skipped > 0 {
        line("yanked, skipped", format!("{} (--include-yanked)", outcome.yanked_skipped));
    }
    if outcome.not_offered > 0 {
        line("not offered", outcome.not_offered.to_string());
    }
    if let Some(read) = &outcome.manifest {
        let torn = if read.torn { ", the last one torn" } else { "" };
        line("manifest", format!("{} records, {} releases held{torn}", read.records, read.releases));
    }
    if outcome.bad_lines > 0 {
        line("bad index lines", outcome.bad_lines.to_string());
        for bad in &outcome.first_bad_lines {
            let _ = writeln!(text, "  {bad}");
        }
    }
    if let Some(read) = outcome.manifest.as_ref().filter(|read| read.bad_lines > 0) {
        mirror_cli::row(&mut text, "bad manifest lines", read.bad_lines);
        for bad in &read.first_bad_lines {
            let _ = writeln!(text, "  {bad}");
        }
    }
    if outcome.interrupted {
        text.push_str("\nstopped early; run the same command again.\n");
    }
    text
}
