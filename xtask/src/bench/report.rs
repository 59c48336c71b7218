//! Writes the tables as Markdown.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::measure::Series;

pub(crate) struct Report {
    head: String,
    /// The date, the commit and the machine.
    sitting: String,
    /// Rows of the first table. Each begins with its benchmark.
    targets: Vec<String>,
    /// The other tables, each below its title.
    sections: Vec<String>,
}

fn first_line(program: &str, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else { return "not there".to_owned() };
    // nginx prints to standard error.
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
        let head = "# Benchmarks\n\nWritten by `cargo xtask bench --write`. Programs were run in turn, round by round; a ratio \
                    is the median over the rounds of one wall time over the other. CPU is user and system time of \
                    the program alone, without the origin, which shares the cores with it. Output goes to tmpfs. \
                    `$WORK` is the folder of the run.\n\n";
        let sitting = format!(
            "{date}, commit {commit}, {cpus} cores, {}; {}; {}; {}; {}; {}.",
            first_line("uname", "-sr"),
            first_line("nginx", "-v"),
            first_line("h2load", "--version"),
            first_line("curl", "--version").split(" (").next().unwrap_or_default(),
            first_line("wget2", "--version").split(" - ").next().unwrap_or_default(),
            first_line("git", "--version"),
        );
        Ok(Self { head: head.to_owned(), sitting, targets: Vec::new(), sections: Vec::new() })
    }

    /// Begins a section, and returns its text to add a table.
    fn section(&mut self, title: &str, work: &str) -> &mut String {
        self.sections.push(format!("## {title}\n\n{work}. {}\n\n", self.sitting));
        let last = self.sections.len() - 1;
        &mut self.sections[last]
    }

    pub(crate) fn downloads(
        &mut self,
        title: &str,
        work: &str,
        count: usize,
        us: &Series,
        rivals: &[&Series],
    ) {
        let text = self.section(title, &format!("{work}; {} rounds", us.costs.len()));
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

    /// Writes the requests per second of each series, and its ratio to the second one of the pair.
    pub(crate) fn serving(&mut self, title: &str, work: &str, requests: usize, rows: &[(&Series, &Series)]) {
        self.requests(title, work, requests, "over nginx", rows);
    }

    /// Writes the same with a policy and without, which is the second one of each pair.
    pub(crate) fn serving_with_policy(
        &mut self,
        title: &str,
        work: &str,
        requests: usize,
        rows: &[(&Series, &Series)],
    ) {
        self.requests(title, work, requests, "over no policy", rows);
    }

    fn requests(
        &mut self,
        title: &str,
        work: &str,
        requests: usize,
        over: &str,
        rows: &[(&Series, &Series)],
    ) {
        let rounds = rows.first().map_or(0, |(series, _)| series.costs.len());
        let text = self.section(title, &format!("{work}; {rounds} rounds"));
        let _ = writeln!(text, "| Server | requests/s | {over} |\n|---|---|---|");
        for (series, nginx) in rows {
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.2} |",
                series.name,
                requests as f64 / series.median(|cost| cost.wall_s),
                series.speed_over(nginx),
            );
        }
        self.commands(rows.iter().take(1).map(|(series, _)| *series));
    }

    /// Writes the memory and the time of whole runs, one for each row.
    pub(crate) fn memory(&mut self, title: &str, rows: &[Series]) {
        self.costs(title, "Files of 200 bytes on average from nginx; one round", "Run", rows.iter());
    }

    /// Writes the cost of getting from a fresh clone to a mirror.
    pub(crate) fn fresh(&mut self, releases: usize, rows: &[&Series]) {
        let rounds = rows.first().map_or(0, |series| series.costs.len());
        let work = format!(
            "The {releases} releases of `Cargo.lock`, from an origin on this machine; dependencies are fetched, nothing is \
             built; {rounds} rounds"
        );
        self.costs("P9: from a fresh clone to a mirror", &work, "Command", rows.iter().copied());
    }

    /// Writes a table with the time and the memory that each row took, and the command of the first row.
    fn costs<'a>(
        &mut self,
        title: &str,
        work: &str,
        heading: &str,
        rows: impl Iterator<Item = &'a Series> + Clone,
    ) {
        let text = self.section(title, work);
        let _ = writeln!(text, "| {heading} | wall s | CPU s | Peak MiB |\n|---|---|---|---|");
        for series in rows.clone() {
            let _ = writeln!(
                text,
                "| {} | {:.1} | {:.1} | {:.0} |",
                series.name,
                series.median(|cost| cost.wall_s),
                series.median(|cost| cost.cpu_s),
                series.peak_mib(),
            );
        }
        self.commands(rows.take(1));
    }

    /// Writes the cost of each incremental run, and what the program reported of it.
    pub(crate) fn incremental_runs(&mut self, title: &str, work: &str, rows: &[(&Series, &str)]) {
        let text = self.section(title, work);
        let _ = writeln!(
            text,
            "| Before the run | wall s | CPU s | Peak MiB | beside mapped files | Reported, and checked |\n|---|---|---|---|---|---|"
        );
        for (series, noticed) in rows {
            let _ = writeln!(
                text,
                "| {} | {:.2} | {:.2} | {:.0} | {:.0} | {noticed} |",
                series.name,
                series.median(|cost| cost.wall_s),
                series.median(|cost| cost.cpu_s),
                series.peak_mib(),
                series.own_mib(),
            );
        }
        self.commands(rows.iter().take(1).map(|(series, _)| *series));
    }

    /// Writes the cost of each digest alone, and how close runs of the program came to the bound.
    pub(crate) fn archive(&mut self, mib: u64, alone: &[(String, f64)], runs: &[(&Series, f64)]) {
        let bytes = (mib << 20) as f64;
        let rounds = runs.first().map_or(0, |(series, _)| series.costs.len());
        let work = format!(
            "One file of {mib} MiB of noise, warm; {rounds} rounds; the bound is the sum of what each digest costs \
             alone on one thread, reading aside, divided by two cores"
        );
        let text = self.section("Archive: eleven digests in one read", &work);
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
        let Some(text) = self.sections.last_mut() else { return };
        text.push_str("\n```\n");
        for series in of {
            let _ = writeln!(text, "{}", series.command);
        }
        text.push_str("```\n");
    }

    /// Writes a figure that has no target, but explains one.
    pub(crate) fn figure(&mut self, name: &str, value: f64, what: &str) {
        self.targets.push(format!("| {name} | {value:.3} | {what} | |"));
    }

    /// Writes the comparison of a benchmark with the previous version, if that took part.
    pub(crate) fn before(&mut self, name: &str, us: &Series, before: &Series) {
        if !before.costs.is_empty() {
            self.figure(
                &format!("{name}, speed over the version before"),
                us.speed_over(before),
                "1 or more",
            );
            self.figure(&format!("{name}, CPU by the version before"), us.cpu_over(before), "1 or less");
            self.figure(&format!("{name}, peak MiB of the version before"), before.peak_mib(), "");
        }
    }

    pub(crate) fn target(&mut self, name: &str, value: f64, wanted: &str, met: impl Fn(f64) -> bool) {
        let verdict = if met(value) { "met" } else { "**missed**" };
        self.targets.push(format!("| {name} | {value:.3} | {wanted} | {verdict} |"));
    }

    pub(crate) fn text(&self) -> String {
        self.merged("")
    }

    /// Returns the whole document: the new figures, and those of an earlier one that were not measured again.
    pub(crate) fn merged(&self, old: &str) -> String {
        let again = |text: &str, all: &[String]| all.iter().any(|new| benchmark(new) == benchmark(text));
        let mut targets: Vec<String> = old
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| Target "))
            .filter(|line| !again(line, &self.targets))
            .map(str::to_owned)
            .collect();
        // Only the first table has targets.
        if let Some(end) = old.find("\n## ") {
            let first = &old[..end];
            targets.retain(|row| first.contains(row.as_str()));
        }
        targets.extend(self.targets.iter().cloned());
        let mut sections: Vec<String> = old
            .split("\n## ")
            .skip(1)
            .map(|section| format!("## {}\n", section.trim_end()))
            .filter(|section| !again(section, &self.sections))
            .collect();
        sections.extend(self.sections.iter().cloned());
        targets.sort_by_key(|row| benchmark(row).to_owned());
        sections.sort_by_key(|section| benchmark(section).to_owned());
        format!(
            "{}| Target | Measured | Wanted | |\n|---|---|---|---|\n{}\n\n{}",
            self.head,
            targets.join("\n"),
            sections.join("\n")
        )
    }
}

/// Returns the benchmark of a row or a title, as in `P1`.
fn benchmark(text: &str) -> &str {
    text.trim_start_matches(['|', '#', ' ']).split([' ', ':']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(targets: &[&str], sections: &[&str]) -> Report {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Report {
            head: "# Head\n\n".to_owned(),
            sitting: String::new(),
            targets: owned(targets),
            sections: owned(sections),
        }
    }

    #[test]
    fn figures_that_were_not_measured_again_stay() {
        let first = report(
            &["| P1 x | 1 |", "| P6 z | 3 |"],
            &["## P1: one\n\n| P1 no target |\n", "## P6: six\n\ntext\n"],
        );
        let old = first.merged("");
        assert_eq!(first.merged(&old), old);
        let new =
            report(&["| P3 y | 2 |", "| P6 w | 4 |"], &["## P3: three\n\ntext\n", "## P6: other\n\ntext\n"])
                .merged(&old);
        assert_eq!(
            new,
            "# Head\n\n| Target | Measured | Wanted | |\n|---|---|---|---|\n| P1 x | 1 |\n| P3 y | 2 |\n| P6 w | 4 |\n\n\
             ## P1: one\n\n| P1 no target |\n\n## P3: three\n\ntext\n\n## P6: other\n\ntext\n"
        );
    }
}
