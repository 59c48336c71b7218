//! Queues log lines for the thread that writes them, so that callers do not wait for a log that nothing reads.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most bytes that wait to be written. A log that moves stays far below.
const MOST_BYTES: usize = 1 << 20;

/// The time that a caller, or the end of the program, waits for a log that does not move.
const PATIENCE: Duration = Duration::from_secs(1);

/// A queue of lines, and the thread that writes them. Clones share the queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Signals that something was queued, or that there is room.
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<String>,
    bytes: usize,
    /// True while the thread writes a batch.
    writing: bool,
    /// The number of batches written. It grows while the log moves.
    written: u64,
    /// True if nothing was written for [`PATIENCE`], nor since. Then callers do not wait.
    stuck: bool,
    /// Lines that found no room since this was last reported.
    lost: u64,
}

impl Lines {
    /// Starts the thread, which passes all waiting lines to `write` at once. `report_lost` formats the line about lost
    /// ones.
    ///
    /// # Errors
    /// Fails when the thread cannot be started.
    pub(crate) fn start(
        mut write: impl FnMut(&str) + Send + 'static,
        report_lost: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let lines = Self::default();
        let own = lines.clone();
        let work = move || {
            loop {
                let batch = own.next(&report_lost);
                write(&batch);
                let mut queue = own.queue();
                (queue.writing, queue.stuck) = (false, false);
                queue.written += 1;
                own.0.moved.notify_all();
            }
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(work)?;
        Ok(lines)
    }

    /// Queues a line. Waits for room while the log moves; drops the line when the log is stuck.
    pub(crate) fn push(&self, line: String) {
        let mut queue = self.queue();
        while queue.bytes + line.len() > MOST_BYTES && !queue.waiting.is_empty() {
            queue = self.wait(queue);
            if queue.stuck {
                queue.lost += 1;
                return;
            }
        }
        queue.bytes += line.len();
        queue.waiting.push_back(line);
        self.0.moved.notify_all();
    }

    /// Waits until all queued lines are written, as long as the log moves.
    pub(crate) fn flush(&self) {
        let mut queue = self.queue();
        while (queue.writing || !queue.waiting.is_empty()) && !queue.stuck {
            queue = self.wait(queue);
        }
    }

    /// Waits until something was written, at most [`PATIENCE`]; sets `stuck` if nothing was.
    fn wait<'q>(&'q self, queue: MutexGuard<'q, Queue>) -> MutexGuard<'q, Queue> {
        let before = queue.written;
        let as_before = |queue: &mut Queue| queue.written == before && !queue.stuck;
        let waited = self.0.moved.wait_timeout_while(queue, PATIENCE, as_before);
        let (mut queue, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.stuck |= timeout.timed_out() && queue.written == before;
        queue
    }

    /// Waits for lines, and takes them all.
    fn next(&self, report_lost: &dyn Fn(u64) -> String) -> String {
        let mut queue = self.queue();
        while queue.waiting.is_empty() {
            queue = self.0.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let mut batch = String::with_capacity(queue.bytes);
        batch.extend(queue.waiting.drain(..));
        let lost = std::mem::take(&mut queue.lost);
        (queue.bytes, queue.writing) = (0, true);
        if lost > 0 {
            batch.push_str(&report_lost(lost));
        }
        batch
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn report_lost(lost: u64) -> String {
        format!("{lost} lost\n")
    }

    #[test]
    fn every_line_is_written_in_order_while_the_log_moves() {
        let (written, read) = mpsc::sync_channel::<String>(0);
        let lines =
            Lines::start(move |text| drop(written.send(text.to_owned())), report_lost).expect("a thread");
        // Several times the room of the queue, and a line that exceeds it by itself.
        let all: Vec<String> =
            (0..5_000).map(|n| format!("{n:>900}\n")).chain(["x".repeat(2 << 20)]).collect();
        let (own, queued) = (lines.clone(), all.clone());
        let logging = std::thread::spawn(move || {
            queued.into_iter().for_each(|line| own.push(line));
            own.flush();
        });
        let (mut seen, expected) = (String::new(), all.concat());
        while seen.len() < expected.len() {
            seen.push_str(&read.recv().expect("more"));
        }
        assert!(seen == expected);
        logging.join().expect("all is written");
    }

    #[test]
    fn a_stuck_log_delays_callers_once_and_later_reports_what_it_lost() {
        let (written, read) = mpsc::sync_channel::<String>(0);
        let lines =
            Lines::start(move |text| drop(written.send(text.to_owned())), report_lost).expect("a thread");
        // The first is being written, the second fills the queue; ten thousand more find no room.
        lines.push("first\n".to_owned());
        while !lines.queue().writing {
            std::thread::yield_now();
        }
        lines.push("x".repeat(MOST_BYTES));
        for _ in 0..10_000 {
            lines.push("too many\n".to_owned());
        }
        lines.flush();
        assert_eq!(read.recv().expect("first"), "first\n");
        let second = read.recv().expect("second");
        assert!(second.ends_with("x10000 lost\n"), "{}", &second[MOST_BYTES..]);
        lines.push("again\n".to_owned());
        assert_eq!(read.recv().expect("third"), "again\n");
    }
}
