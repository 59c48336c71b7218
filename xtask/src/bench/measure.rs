//! Runs programs and takes their wall time, CPU time and peak memory, with GNU time.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// The cost of one run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_mib: f64,
    /// The private part of the peak, without mapped files, which the system can drop. The highest of several samples; 0
    /// if the system does not report it.
    pub(crate) own_mib: f64,
}

/// The costs of one program over all rounds.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) command: String,
    pub(crate) costs: Vec<Cost>,
}

impl Series {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), command: String::new(), costs: Vec::new() }
    }

    /// Runs the program once and adds its cost; its output goes to `log`.
    pub(crate) fn run(&mut self, work: &Path, program: &str, arguments: &[String]) -> anyhow::Result<()> {
        let line = std::iter::once(program.to_owned()).chain(arguments.iter().cloned()).collect::<Vec<_>>();
        self.command = shown(&line).replace(&work.display().to_string(), "$WORK");
        let figures = work.join("time");
        let log = std::fs::File::create(work.join("log")).context("making a log")?;
        let mut child = Command::new("/usr/bin/time")
            .args(["--format", "%e %U %S %M", "--output"])
            .arg(&figures)
            .args(&line)
            .current_dir(work)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("sharing the log")?)
            .stderr(log)
            .spawn()
            .context("running /usr/bin/time (Debian package time)")?;
        let done = AtomicBool::new(false);
        let (status, own_kib) = std::thread::scope(|scope| {
            let (timer, done) = (child.id(), &done);
            let sampler = scope.spawn(move || sample(timer, done));
            let status = child.wait();
            done.store(true, Ordering::Relaxed);
            (status, sampler.join().unwrap_or(0))
        });
        let status = status.context("waiting for the program")?;
        if !status.success() {
            let log = std::fs::read_to_string(work.join("log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(20).collect();
            bail!("{} failed: {}", self.command, tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        let text = std::fs::read_to_string(&figures).context("reading the figures of GNU time")?;
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [wall_s, user, system, kib] = numbers[..] else { bail!("GNU time wrote {text:?}") };
        #[expect(clippy::cast_precision_loss, reason = "a size for people")]
        let own_mib = own_kib as f64 / 1024.0;
        self.costs.push(Cost { wall_s, cpu_s: user + system, peak_mib: kib / 1024.0, own_mib });
        Ok(())
    }

    /// Measures a program that reports its own wall and CPU seconds in the last line that it prints.
    pub(crate) fn run_reported(
        &mut self,
        work: &Path,
        program: &str,
        arguments: &[String],
    ) -> anyhow::Result<()> {
        self.run(work, program, arguments)?;
        let text = std::fs::read_to_string(work.join("log")).context("reading the log")?;
        let last = text.lines().last().unwrap_or_default();
        let numbers: Vec<f64> = last.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let ([wall_s, cpu_s], Some(cost)) = (&numbers[..], self.costs.last_mut()) else {
            bail!("{} printed {last:?}", self.command)
        };
        (cost.wall_s, cost.cpu_s) = (*wall_s, *cpu_s);
        Ok(())
    }

    pub(crate) fn median(&self, of: impl Fn(&Cost) -> f64) -> f64 {
        median(self.costs.iter().map(of).collect())
    }

    /// Returns the ratio of the CPU time to that of `other`: the median over the rounds.
    pub(crate) fn cpu_over(&self, other: &Self) -> f64 {
        median(self.costs.iter().zip(&other.costs).map(|(own, its)| own.cpu_s / its.cpu_s).collect())
    }

    pub(crate) fn peak_mib(&self) -> f64 {
        self.costs.iter().map(|cost| cost.peak_mib).fold(0.0, f64::max)
    }

    /// Returns the largest [`Cost::own_mib`].
    pub(crate) fn own_mib(&self) -> f64 {
        self.costs.iter().map(|cost| cost.own_mib).fold(0.0, f64::max)
    }

    /// Returns the speed relative to `other`: the median over the rounds.
    pub(crate) fn speed_over(&self, other: &Self) -> f64 {
        median(self.costs.iter().zip(&other.costs).map(|(own, its)| its.wall_s / own.wall_s).collect())
    }
}

/// Samples the private memory of the child of `timer`, and returns the highest value, in KiB. Costs next to nothing.
fn sample(timer: u32, done: &AtomicBool) -> u64 {
    const EVERY: Duration = Duration::from_millis(20);
    let mut most = 0;
    while !done.load(Ordering::Relaxed) {
        let children = std::fs::read_to_string(format!("/proc/{timer}/task/{timer}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
            let own =
                status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next());
            most = most.max(own.and_then(|kib| kib.parse().ok()).unwrap_or(0));
        }
        std::thread::sleep(EVERY);
    }
    most
}

/// Returns the command line without the paths of this machine.
fn shown(line: &[String]) -> String {
    let name = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
    let words = line.iter().enumerate().map(|(at, word)| match at {
        0 => name(word),
        _ if word.ends_with("/ca.pem") => "$CA".to_owned(),
        _ if word.is_empty() => "''".to_owned(),
        _ => word.clone(),
    });
    words.collect::<Vec<_>>().join(" ")
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns whether a program is installed.
pub(crate) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

pub(crate) fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|word| (*word).to_owned()).collect()
}
