//! The progress of a run in one line, as wide as there is room.

use std::fmt::Write as _;

use mirror_types::{human_bytes, human_time};

use crate::stats::Snapshot;

/// Narrowest line that is written.
const MIN_WIDTH: usize = 40;
const RED: &str = "\u{1b}[31m";
const PLAIN: &str = "\u{1b}[0m";

/// Writes a bar and what fits beside it into `width` columns: the most important first.
pub(crate) fn bar_line(now: &Snapshot, width: usize, is_coloured: bool) -> String {
    let width = width.max(MIN_WIDTH);
    let cells = match width {
        ..80 => 10,
        80..110 => 16,
        _ => 24,
    };
    let mut line = bar(now, cells);
    let mut taken = cells + 2;
    for part in parts(now) {
        let columns = part.text.chars().count() + 2;
        if taken + columns > width {
            continue;
        }
        taken += columns;
        let _ = match part.is_alarming && is_coloured {
            true => write!(line, "  {RED}{}{PLAIN}", part.text),
            false => write!(line, "  {}", part.text),
        };
    }
    line
}

/// Writes the same as a log line.
pub(crate) fn log_line(now: &Snapshot) -> String {
    let parts: Vec<String> = parts(now).into_iter().map(|part| part.text).collect();
    parts.join(", ")
}

/// Returns the bytes that arrived in each second of the run.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate for people"
)]
pub(crate) fn bytes_per_sec(now: &Snapshot) -> u64 {
    (now.received as f64 / now.uptime.as_secs_f64().max(1e-3)) as u64
}

fn bar(now: &Snapshot, cells: usize) -> String {
    let total = if now.plan_finished { now.planned } else { 0 };
    let done = match total {
        0 => 0,
        total => usize::try_from(u128::from(now.processed.min(total)) * cells as u128 / u128::from(total))
            .unwrap_or(cells),
    };
    format!("[{}{}]", "#".repeat(done), "-".repeat(cells - done))
}

struct Part {
    text: String,
    is_alarming: bool,
}

/// Returns what is to be said of a run, in the order of its importance.
fn parts(now: &Snapshot) -> Vec<Part> {
    let calm = |text: String| Part { text, is_alarming: false };
    let failed = now.errors + now.unavailable;
    let mut parts = vec![calm(match now.plan_finished {
        true => format!("{} of {} records", now.processed, now.planned),
        false => format!("{} records, planning…", now.processed),
    })];
    if failed > 0 {
        parts.push(Part { text: format!("{failed} failed"), is_alarming: true });
    }
    let is_done = now.plan_finished && now.processed >= now.planned;
    parts.extend(now.eta.filter(|_| !is_done).map(|eta| calm(format!("{} left", human_time(eta)))));
    parts.extend([
        calm(format!("{}/s", human_bytes(bytes_per_sec(now)))),
        calm(human_bytes(now.bytes)),
        calm(format!("{:.0} records/s", now.rate_per_sec)),
        calm(format!("{} in flight", now.inflight)),
    ]);
    parts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stats::RunStats;

    fn now() -> Snapshot {
        let mut now = RunStats::new("0").snapshot();
        now.planned = 2_500_000;
        now.processed = 1_234_567;
        (now.plan_finished, now.errors, now.inflight) = (true, 17, 128);
        (now.bytes, now.received) = (300 << 30, 300 << 30);
        (now.uptime, now.rate_per_sec) = (Duration::from_secs(10_000), 123.4);
        now.eta = Some(Duration::from_secs(10_866));
        now
    }

    #[test]
    fn the_line_fits_and_wider_ones_show_more() {
        let lines = [60, 80, 120].map(|width| bar_line(&now(), width, false));
        for (line, width) in lines.iter().zip([60, 80, 120]) {
            assert!(line.chars().count() <= width, "{width}: {line}");
            assert!(line.contains("1234567 of 2500000 records  17 failed"), "{line}");
        }
        assert!(lines[1].contains("3 h 1 min left"), "{}", lines[1]);
        assert!(lines[2].contains("30.7 MiB/s  300.0 GiB"), "{}", lines[2]);
        assert!(lines[2].chars().count() > lines[1].chars().count());
        assert!(lines[0].starts_with("[####------]"), "{}", lines[0]);
    }

    #[test]
    fn failures_are_red_only_where_there_are_colours() {
        let coloured = bar_line(&now(), 80, true);
        assert!(coloured.contains("\u{1b}[31m17 failed\u{1b}[0m"), "{coloured:?}");
        assert_eq!(coloured.replace(RED, "").replace(PLAIN, ""), bar_line(&now(), 80, false));
        assert!(!bar_line(&Snapshot { errors: 0, ..now() }, 80, true).contains('\u{1b}'));
    }

    #[test]
    fn there_is_no_total_before_everything_is_planned() {
        let planning = Snapshot { plan_finished: false, eta: None, ..now() };
        let line = bar_line(&planning, 80, false);
        assert!(line.starts_with("[----------------]  1234567 records, planning…"), "{line}");
        assert!(!line.contains(" of ") && !line.contains("left"), "{line}");
        assert!(log_line(&now()).starts_with("1234567 of 2500000 records, 17 failed, 3 h 1 min left, "));
    }
}
