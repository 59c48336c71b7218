use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mirror_types::{human_bytes, human_time};

use crate::logging::ProgressHandle;

/// The progress of work on files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkDone {
    /// Finished files.
    pub files: u64,
    /// Finished bytes.
    pub bytes: u64,
    /// All files; 0 until they are counted.
    pub total_files: u64,
    /// All bytes; 0 until they are counted.
    pub total_bytes: u64,
}

/// Shows the progress of work on files, from a separate thread, until [`finish`](Self::finish).
#[derive(Debug)]
pub struct WorkProgress {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl WorkProgress {
    /// Polls `done`, and draws a bar or logs a line at this interval.
    #[must_use]
    pub fn start(
        done: impl Fn() -> WorkDone + Send + 'static,
        interval: Duration,
        bar: bool,
        terminal: &ProgressHandle,
    ) -> Self {
        let (stop, stopped) = channel();
        let bar = bar.then(|| {
            let style = ProgressStyle::with_template("{bar:16} {percent:>3}%  {wide_msg}");
            let bar = ProgressBar::new(0);
            terminal.0.add(style.map_or(bar.clone(), |style| bar.with_style(style)))
        });
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || match bar {
            Some(bar) => draw(&done, &bar, &stopped),
            None => log(&done, interval, &stopped),
        });
        Self { stop, thread: thread.ok() }
    }

    /// Stops, and clears the bar.
    pub fn finish(self) {
        drop(self.stop);
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

fn draw(done: &impl Fn() -> WorkDone, bar: &ProgressBar, stopped: &Receiver<()>) {
    let begun = Instant::now();
    while stopped.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
        let now = done();
        bar.set_length(now.total_bytes);
        bar.set_position(now.bytes.min(now.total_bytes));
        bar.set_message(line(&now, begun.elapsed()));
    }
    bar.finish_and_clear();
}

fn log(done: &impl Fn() -> WorkDone, interval: Duration, stopped: &Receiver<()>) {
    let begun = Instant::now();
    let interval = interval.max(Duration::from_millis(10));
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        tracing::info!("{}", line(&done(), begun.elapsed()));
    }
}

fn line(now: &WorkDone, elapsed: Duration) -> String {
    if now.total_files == 0 {
        return "counting files".to_owned();
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people"
    )]
    let rate = (now.bytes as f64 / elapsed.as_secs_f64().max(1e-3)) as u64;
    let left = now.total_bytes.saturating_sub(now.bytes).checked_div(rate);
    format!(
        "{} of {} files, {} of {} at {}/s{}",
        now.files,
        now.total_files,
        human_bytes(now.bytes),
        human_bytes(now.total_bytes),
        human_bytes(rate),
        left.map_or_else(String::new, |seconds| format!(
            ", {} left",
            human_time(Duration::from_secs(seconds))
        ))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_progress_and_the_time_left() {
        let done = WorkDone { files: 1, bytes: 2_000, total_files: 4, total_bytes: 8_000 };
        let text = line(&done, Duration::from_secs(2));
        assert!(text.starts_with("1 of 4 files, ") && text.ends_with("/s, 6 s left"), "{text}");
        assert_eq!(line(&WorkDone::default(), Duration::ZERO), "counting files");
        let stuck = WorkDone { total_files: 1, total_bytes: 1, ..WorkDone::default() };
        assert!(line(&stuck, Duration::from_secs(1)).ends_with("/s"), "no rate, no end");
    }

    #[test]
    fn finishing_ends_the_thread_at_once() {
        let progress =
            WorkProgress::start(WorkDone::default, Duration::from_secs(3600), false, &ProgressHandle::new());
        progress.finish();
    }
}
