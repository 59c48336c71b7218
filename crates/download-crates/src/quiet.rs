//! Keeps a log short when the same thing happens a million times: the first of a kind are named, the rest are counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most events of one kind that are named one by one.
pub(crate) const MAX_NAMED: u64 = 10;
/// The first number of events that is logged as a sum. It doubles from then on.
const FIRST_SUM: u64 = 100;
/// The time between two lines about retries.
const BETWEEN_RETRIES: Duration = Duration::from_secs(10);

/// The way in which an event is to be logged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// By name.
    Name,
    /// By name, and that further ones are only counted.
    LastName,
    /// As the number of events so far.
    Sum(u64),
    /// Not at all.
    Nothing,
}

/// Counts events by kind.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    kinds: Mutex<HashMap<String, u64>>,
    retries: Mutex<Retries>,
}

#[derive(Debug, Default)]
struct Retries {
    last_line: Option<Instant>,
    since: u64,
}

impl Quiet {
    /// Counts an event.
    pub(crate) fn count(&self, kind: &str) -> Say {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match kinds.get_mut(kind) {
            Some(count) => count,
            None => kinds.entry(kind.to_owned()).or_default(),
        };
        *count += 1;
        match *count {
            ..MAX_NAMED => Say::Name,
            MAX_NAMED => Say::LastName,
            count if count % FIRST_SUM == 0 && (count / FIRST_SUM).is_power_of_two() => Say::Sum(count),
            _ => Say::Nothing,
        }
    }

    /// Counts a retry. Returns the number of those that were not logged since the last line, when another line is due.
    pub(crate) fn retry(&self, now: Instant) -> Option<u64> {
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        if retries.last_line.is_some_and(|last| now.saturating_duration_since(last) < BETWEEN_RETRIES) {
            retries.since += 1;
            return None;
        }
        retries.last_line = Some(now);
        Some(std::mem::take(&mut retries.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_events_of_five_kinds_are_fewer_than_two_hundred_lines() {
        let quiet = Quiet::default();
        let mut lines = 0;
        for event in 0..1_000_000_u32 {
            let kind = ["wrong_hash", "http_status", "timeout", "reset", "tls"][event as usize % 5];
            lines += match quiet.count(kind) {
                Say::Name | Say::Sum(_) => 1,
                Say::LastName => 2,
                Say::Nothing => 0,
            };
        }
        assert!((50..200).contains(&lines), "{lines}");
    }

    #[test]
    fn the_first_are_named_and_sums_double() {
        let quiet = Quiet::default();
        let said: Vec<Say> = (0..500).map(|_| quiet.count("one")).collect();
        assert!(said[..9].iter().all(|say| *say == Say::Name));
        assert_eq!((&said[9], &said[10]), (&Say::LastName, &Say::Nothing));
        let sums: Vec<&Say> = said.iter().filter(|say| matches!(say, Say::Sum(_))).collect();
        assert_eq!(sums, [&Say::Sum(100), &Say::Sum(200), &Say::Sum(400)]);
        assert_eq!(quiet.count("another"), Say::Name);
    }

    #[test]
    fn retries_are_a_line_in_ten_seconds() {
        let (quiet, began) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.retry(began), Some(0));
        assert_eq!(quiet.retry(began + Duration::from_secs(1)), None);
        assert_eq!(quiet.retry(began + Duration::from_secs(9)), None);
        assert_eq!(quiet.retry(began + Duration::from_secs(10)), Some(2));
    }
}
