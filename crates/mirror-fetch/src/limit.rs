//! Limits on concurrent work: the adaptive limit on requests in flight, and plain rate limits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Locks, even after a panic of an earlier holder: every critical section here leaves valid data.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const START: usize = 32;

/// Doubles each window while goodput grows, then creeps up; cuts to 0.7 at most once per window. A window has as many
/// ended attempts as the limit had requests when it began.
pub(crate) struct Limiter {
    current: AtomicUsize,
    max: usize,
    window: Mutex<Window>,
}

struct Window {
    began: Instant,
    length: usize,
    done: usize,
    good: u64,
    bytes: u64,
    best_good_rate: u64,
    best_byte_rate: u64,
    cut: bool,
    slow_start: bool,
}

impl Limiter {
    pub(crate) fn new(max: usize) -> Self {
        let start = START.min(max.max(1));
        Self {
            current: AtomicUsize::new(start),
            max: max.max(1),
            window: Mutex::new(Window {
                began: Instant::now(),
                length: start,
                done: 0,
                good: 0,
                bytes: 0,
                best_good_rate: 0,
                best_byte_rate: 0,
                cut: false,
                slow_start: true,
            }),
        }
    }

    pub(crate) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Notes an ended attempt. Returns the new limit when it changed.
    pub(crate) fn record(&self, bytes: u64, ok: bool, congested: bool) -> Option<usize> {
        let mut w = lock(&self.window);
        w.done += 1;
        w.good += u64::from(ok);
        w.bytes += bytes;
        let mut limit = self.current();
        let before = limit;
        if congested && !w.cut {
            w.cut = true;
            w.slow_start = false;
            limit = (limit * 7 / 10).max(1);
        }
        if w.done >= w.length {
            let micros = u64::try_from(w.began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
            let good_rate = w.good.saturating_mul(1_000_000) / micros;
            let byte_rate = w.bytes.saturating_mul(1_000_000) / micros;
            if !w.cut {
                let grew = good_rate > w.best_good_rate + w.best_good_rate / 10
                    || byte_rate > w.best_byte_rate + w.best_byte_rate / 10;
                limit += if w.slow_start && grew { limit } else { (limit / 8).max(1) };
                limit = limit.min(self.max);
            }
            w.best_good_rate = w.best_good_rate.max(good_rate);
            w.best_byte_rate = w.best_byte_rate.max(byte_rate);
            (w.began, w.length, w.done, w.good, w.bytes, w.cut) = (Instant::now(), limit, 0, 0, 0, false);
        }
        if limit == before {
            return None;
        }
        self.current.store(limit, Ordering::Relaxed);
        Some(limit)
    }
}

/// A token bucket that may go into debt: a caller that takes tokens waits until they are earned.
pub(crate) struct Bucket {
    per_sec: u64,
    /// The time at which all tokens taken so far are earned.
    paid_until: Mutex<Instant>,
}

impl Bucket {
    /// Makes the bucket; `None` without a limit.
    pub(crate) fn new(per_sec: u64) -> Option<Self> {
        (per_sec > 0).then(|| Self { per_sec, paid_until: Mutex::new(Instant::now()) })
    }

    /// Takes `n` tokens and waits until they are earned. A burst of 50 ms is free.
    /// Returns whether it waited.
    pub(crate) async fn take(&self, n: u64) -> bool {
        let cost = Duration::from_nanos(n.saturating_mul(1_000_000_000) / self.per_sec);
        let due = {
            let mut paid_until = lock(&self.paid_until);
            let start = (*paid_until).max(Instant::now());
            *paid_until = start + cost;
            start
        };
        if due <= Instant::now() + Duration::from_millis(50) {
            return false;
        }
        tokio::time::sleep_until(due).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches_the_maximum_in_few_windows() {
        let limiter = Limiter::new(1024);
        let mut windows = 0;
        while limiter.current() < 1024 {
            windows += 1;
            assert!(windows <= 8, "{}", limiter.current());
            for _ in 0..limiter.current() {
                limiter.record(u64::MAX >> (40 - windows), true, false);
            }
        }
    }

    #[test]
    fn cuts_once_per_window() {
        let limiter = Limiter::new(100);
        let start = limiter.current();
        for _ in 0..start / 2 {
            limiter.record(0, false, true);
        }
        assert_eq!(limiter.current(), start * 7 / 10);
    }

    #[test]
    fn never_stops_altogether() {
        let limiter = Limiter::new(2);
        for _ in 0..50 {
            limiter.record(0, false, true);
        }
        assert_eq!(limiter.current(), 1);
    }
}
