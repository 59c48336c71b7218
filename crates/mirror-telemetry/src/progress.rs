use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mirror_types::clipped;

use crate::bar::{bar_line, bytes_per_sec, log_line};
use crate::logging::ProgressHandle;
use crate::stats::{Activity, RunStats, Snapshot};

/// The settings of the progress display. By default a line is logged every 10 s.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ProgressOptions {
    /// A log line at this interval. `None`: every 10 s if `every` is 0, else never.
    pub interval: Option<Duration>,
    /// A log line every N records; 0 disables.
    pub every: u64,
    /// True to draw a bar; the caller knows whether there is a terminal.
    pub bar: bool,
    /// True to show failures in red.
    pub is_coloured: bool,
    /// True to log numbers as fields, for programs, instead of a sentence.
    pub has_fields: bool,
    /// True to show nothing.
    pub is_quiet: bool,
}

/// Shows progress from a separate thread until [`finish`](Self::finish).
#[derive(Debug)]
pub struct Progress {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to show `stats`.
    #[must_use]
    pub fn start(stats: Arc<RunStats>, options: ProgressOptions, terminal: &ProgressHandle) -> Self {
        let (stop, stopped) = channel();
        let bar = (options.bar && !options.is_quiet).then(|| {
            let style = ProgressStyle::with_template("{msg}");
            let bar = ProgressBar::new(0);
            terminal.0.add(style.map_or(bar.clone(), |style| bar.with_style(style)))
        });
        let thread = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || match bar {
                Some(bar) => draw(&stats, &bar, options.is_coloured, &stopped),
                None if options.is_quiet => drop(stopped.recv()),
                None => log(&stats, options, &stopped),
            })
            .ok();
        Self { stop, thread }
    }

    /// Stops, and clears the bar.
    pub fn finish(self) {
        drop(self.stop);
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

fn draw(stats: &RunStats, bar: &ProgressBar, is_coloured: bool, stopped: &Receiver<()>) {
    while stopped.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
        // The last column stays free: some terminals wrap when it is written.
        let width = usize::from(console::Term::stderr().size().1).saturating_sub(1);
        bar.set_message(match stats.activity() {
            Some(activity) => clipped(activity_line(&activity), width),
            None => bar_line(&stats.snapshot(), width, is_coloured),
        });
    }
    bar.finish_and_clear();
}

fn activity_line(activity: &Activity) -> String {
    let Activity { text, done, total } = activity;
    match total {
        Some(total) => format!("{text}: {done} of {total}"),
        None if *done > 0 => format!("{text}: {done}"),
        None => text.clone(),
    }
}

fn log(stats: &RunStats, options: ProgressOptions, stopped: &Receiver<()>) {
    let asked = options.interval.is_some() || options.every > 0;
    let interval = options.interval.or((!asked).then_some(Duration::from_secs(10)));
    let (mut last, mut shown) = (Instant::now(), 0);
    while stopped.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        let due = interval.is_some_and(|interval| last.elapsed() >= interval);
        if let Some(activity) = stats.activity() {
            if due {
                tracing::info!("{}", activity_line(&activity));
                last = Instant::now();
            }
            continue;
        }
        let now = stats.snapshot();
        if due || (options.every > 0 && now.processed / options.every > shown / options.every) {
            report(&now, options.has_fields);
            (last, shown) = (Instant::now(), now.processed);
        }
    }
}

/// Logs progress: as a sentence, or as fields.
fn report(now: &Snapshot, has_fields: bool) {
    if !has_fields {
        tracing::info!("{}", log_line(now));
        return;
    }
    let eta_seconds = now.eta.map(|eta| eta.as_secs());
    tracing::info!(
        phase = now.phase.as_str(),
        processed = now.processed,
        planned = now.plan_finished.then_some(now.planned),
        downloaded = now.downloaded,
        existing = now.existing,
        failed = now.errors,
        unavailable = now.unavailable,
        bytes = now.bytes,
        bytes_per_second = bytes_per_sec(now),
        records_per_second = now.rate_per_sec,
        in_flight = now.inflight,
        retries = now.retries,
        eta_seconds,
        "progress"
    );
}
