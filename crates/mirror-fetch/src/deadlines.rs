//! Deadlines of one attempt: total time, and time without progress.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::failure::{FailureKind, Fault};

/// Fewer bytes than this within the idle time are no progress: a slow drip ends like a stall.
pub(crate) const PROGRESS_BYTES: u64 = 1024;

/// One timer for an attempt. Progress only moves a mark; the timer is reset when it fires.
pub(crate) struct Deadlines<'a> {
    sleep: Pin<&'a mut Sleep>,
    total: Instant,
    idle: Duration,
    mark: Instant,
    since_mark: u64,
    /// The sum of deliberate waits of ours.
    excused: Duration,
    /// The part of this machine's delays that may still be added to the deadlines.
    lateness_left: Duration,
}

/// A timer that fires later than this shows a busy machine, not a slow origin.
const LATE_AFTER: Duration = Duration::from_millis(100);

impl<'a> Deadlines<'a> {
    pub(crate) fn first_alarm(now: Instant, total: Duration, idle: Duration) -> Instant {
        now + total.min(idle)
    }

    pub(crate) fn new(sleep: Pin<&'a mut Sleep>, now: Instant, total: Duration, idle: Duration) -> Self {
        let excused = Duration::ZERO;
        Self { sleep, total: now + total, idle, mark: now, since_mark: 0, excused, lateness_left: total }
    }

    /// Notes real progress.
    pub(crate) fn mark(&mut self) {
        self.mark = Instant::now();
        self.since_mark = 0;
    }

    /// Excludes a deliberate wait of ours from all deadlines.
    pub(crate) fn excuse(&mut self, waited: Duration) {
        self.total += waited;
        self.excused += waited;
        self.mark();
    }

    /// Returns the sum of the waits that were excluded.
    pub(crate) const fn excused(&self) -> Duration {
        self.excused
    }

    /// Counts body bytes.
    pub(crate) fn bytes(&mut self, n: u64) {
        self.since_mark += n;
        if self.since_mark >= PROGRESS_BYTES {
            self.mark();
        }
    }

    /// Returns the fault when a deadline has passed.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let now = Instant::now();
        if now >= self.total {
            return Err(Fault::new(FailureKind::Timeout, "the attempt took too long"));
        }
        if now >= self.mark + self.idle {
            let idle = self.idle;
            return Err(Fault::new(FailureKind::Idle, format_args!("no progress for {idle:?}")));
        }
        Ok(())
    }

    /// Moves the deadlines when the timer fires late: bytes that arrived meanwhile have not been processed yet.
    fn forgive_lateness(&mut self) {
        let late = Instant::now().saturating_duration_since(self.sleep.deadline());
        if late > LATE_AFTER {
            let more = (late + LATE_AFTER).min(self.lateness_left);
            self.lateness_left -= more;
            self.total += more;
            self.mark += more;
        }
    }

    /// Runs `future` under the deadlines.
    pub(crate) async fn guard<F: Future>(&mut self, future: F) -> Result<F::Output, Fault> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(out) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(out));
            }
            while self.sleep.as_mut().poll(cx).is_ready() {
                self.forgive_lateness();
                if let Err(fault) = self.check() {
                    return Poll::Ready(Err(fault));
                }
                let next = self.total.min(self.mark + self.idle);
                self.sleep.as_mut().reset(next);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_of_ours_are_added_up_and_move_the_end() {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let sleep = pin!(tokio::time::sleep_until(now));
        let mut deadlines = Deadlines::new(sleep, now, Duration::ZERO, minute);
        assert!(deadlines.check().is_err());
        deadlines.excuse(minute);
        deadlines.excuse(minute);
        assert_eq!(deadlines.excused(), 2 * minute);
        assert!(deadlines.check().is_ok());
    }
}
