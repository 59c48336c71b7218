//! The table, as Markdown.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::measure::Series;

pub(crate) struct Report {
    head: String,
    targets: String,
    body: String,
}

fn first_line(program: &str, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else { return "not there".to_owned() };
    // nginx speaks to standard error.
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}

impl Report {
    pub(crate) fn begin(root: &Path) -> anyhow::Result<Self> {
        let date = first_line("date", "--iso-8601");
        let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root).output();
        let commit =
            commit.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let head = format!(
            "# Benchmarks\n\nWritten by `cargo xtask bench --write` on {date}, commit {commit}, {cpus} cores, {}.\n\n\
             Programs were run in turn, round by round; a ratio is the median over the rounds of one wall time \
             over the other. CPU is user and system time of the program alone, without the origin, which shares \
             the cores with it. Output goes to tmpfs. `$WORK` is the folder of the run.\n\n\
             Versions: {}; {}; {}; {}.\n\n",
            first_line("uname", "-sr"),
            first_line("nginx", "-v"),
            first_line("h2load", "--version"),
            first_line("curl", "--version").split(" (").next().unwrap_or_default(),
            first_line("wget2", "--version").split(" - ").next().unwrap_or_default(),
        );
        Ok(Self { head, targets: String::new(), body: String::new() })
    }

    pub(crate) fn downloads(
        &mut self,
        title: &str,
        work: &str,
        count: usize,
        us: &Series,
        rivals: &[&Series],
    ) {
        let text = &mut self.body;
        let _ = writeln!(text, "## {title}\n\n{work}; {} rounds.\n", us.costs.len());
        let _ = writeln!(text, "| Program | files/s | CPU s per 1,000 | Peak MiB | our speed over it |");
        let _ = writeln!(text, "|---|---|---|---|---|");
        for series in std::iter::once(us).chain(rivals.iter().copied()) {
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.3} | {:.0} | {:.2} |",
                series.name,
                count as f64 / series.median(|cost| cost.wall_s),
                series.median(|cost| cost.cpu_s) * 1000.0 / count as f64,
                series.peak_mib(),
                us.speed_over(series),
            );
        }
        self.commands(std::iter::once(us).chain(rivals.iter().copied()));
    }

    pub(crate) fn memory(&mut self, title: &str, rows: &[Series]) {
        let _ = writeln!(self.body, "## {title}\n\nFiles of 200 bytes on average from nginx; one round.\n");
        let _ = writeln!(self.body, "| Run | Peak MiB | wall s | CPU s |\n|---|---|---|---|");
        for series in rows {
            let _ = writeln!(
                self.body,
                "| {} | {:.0} | {:.1} | {:.1} |",
                series.name,
                series.peak_mib(),
                series.median(|cost| cost.wall_s),
                series.median(|cost| cost.cpu_s),
            );
        }
        self.commands(rows.iter().take(1));
    }

    /// What each digest costs alone, and runs of the program with how near to the bound they came.
    pub(crate) fn archive(&mut self, mib: u64, alone: &[(String, f64)], runs: &[(&Series, f64)]) {
        let bytes = (mib << 20) as f64;
        let rounds = runs.first().map_or(0, |(series, _)| series.costs.len());
        let text = &mut self.body;
        let _ = writeln!(
            text,
            "## Archive: eleven digests in one read\n\nOne file of {mib} MiB of noise, warm; {rounds} rounds. The \
             bound is the sum of what each digest costs alone on one thread, reading aside, divided by two cores.\n"
        );
        let _ = writeln!(text, "| Digest, alone on one thread | s | ns a byte | MB/s |\n|---|---|---|---|");
        let sum: f64 = alone.iter().map(|(_, seconds)| seconds).sum();
        let total = [("sum".to_owned(), sum), ("bound (sum / 2)".to_owned(), sum / 2.0)];
        for (name, seconds) in alone.iter().chain(&total) {
            let _ = writeln!(
                text,
                "| {name} | {seconds:.3} | {:.3} | {:.0} |",
                seconds * 1e9 / bytes,
                bytes / 1e6 / seconds
            );
        }
        let _ = writeln!(text, "\n| Run | wall s | CPU s | bound / wall | Peak MiB |\n|---|---|---|---|---|");
        for (series, ratio) in runs {
            let _ = writeln!(
                text,
                "| {} | {:.2} | {:.2} | {ratio:.3} | {:.0} |",
                series.name,
                series.median(|cost| cost.wall_s),
                series.median(|cost| cost.cpu_s),
                series.peak_mib(),
            );
        }
        self.commands(runs.iter().map(|(series, _)| *series));
    }

    fn commands<'a>(&mut self, of: impl Iterator<Item = &'a Series>) {
        self.body.push_str("\n```\n");
        for series in of {
            let _ = writeln!(self.body, "{}", series.command);
        }
        self.body.push_str("```\n\n");
    }

    pub(crate) fn target(&mut self, name: &str, value: f64, wanted: &str, met: impl Fn(f64) -> bool) {
        let verdict = if met(value) { "met" } else { "**missed**" };
        let _ = writeln!(self.targets, "| {name} | {value:.3} | {wanted} | {verdict} |");
    }

    pub(crate) fn text(&self) -> String {
        format!(
            "{}| Target | Measured | Wanted | |\n|---|---|---|---|\n{}\n{}",
            self.head,
            self.targets,
            self.body.trim_end_matches('\n').to_owned() + "\n"
        )
    }
}
