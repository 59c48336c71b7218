use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mirror_types::human_bytes;

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
        let bar = options.bar.then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}");
            let bar = ProgressBar::new(0);
            terminal.0.add(style.map_or(bar.clone(), |style| bar.with_style(style)))
        });
        let thread = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || match bar {
                Some(bar) => draw(&stats, &bar, &stopped),
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

fn draw(stats: &RunStats, bar: &ProgressBar, stopped: &Receiver<()>) {
    while stopped.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
        if let Some(Activity { text, done, total }) = stats.activity() {
            bar.set_length(total.unwrap_or(done));
            bar.set_position(done);
            bar.set_message(text);
            continue;
        }
        let now = stats.snapshot();
        bar.set_length(now.planned);
        bar.set_position(now.processed);
        bar.set_message(line(&now));
    }
    bar.finish_and_clear();
}

fn log(stats: &RunStats, options: ProgressOptions, stopped: &Receiver<()>) {
    let asked = options.interval.is_some() || options.every > 0;
    let interval = options.interval.or((!asked).then_some(Duration::from_secs(10)));
    let (mut last, mut shown) = (Instant::now(), 0);
    while stopped.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        let due = interval.is_some_and(|interval| last.elapsed() >= interval);
        if let Some(Activity { text, done, total }) = stats.activity() {
            if due {
                match total {
                    Some(total) => tracing::info!("{text}: {done} of {total}"),
                    None if done > 0 => tracing::info!("{text}: {done}"),
                    None => tracing::info!("{text}"),
                }
                last = Instant::now();
            }
            continue;
        }
        let now = stats.snapshot();
        if due || (options.every > 0 && now.processed / options.every > shown / options.every) {
            tracing::info!("{} of {} records, {}", now.processed, now.planned, line(&now));
            (last, shown) = (Instant::now(), now.processed);
        }
    }
}

fn line(now: &Snapshot) -> String {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people"
    )]
    let rate = (now.received as f64 / now.uptime.as_secs_f64().max(1e-3)) as u64;
    let eta = now.eta.map_or_else(String::new, |eta| format!(", {}s left", eta.as_secs()));
    format!(
        "{:.0}/s, {} at {}/s, {} in flight, {} failed{eta}",
        now.rate_per_sec,
        human_bytes(now.bytes),
        human_bytes(rate),
        now.inflight,
        now.errors + now.unavailable
    )
}
