//! The past of a run: exact for the last minutes, coarser with age, and bounded however long the run takes.

use std::collections::VecDeque;

use serde_json::{Value, json};

/// The counters at a moment. Those that only grow are totals, so that leaving samples out loses no event: a rate between
/// two samples is the mean over the time between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Records that are done.
    pub processed: u64,
    /// Bytes of bodies received.
    pub received: u64,
    /// Records that failed, or that upstream cannot deliver.
    pub failed: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Requests under way at that moment.
    pub inflight: u64,
    /// Their limit at that moment.
    pub concurrency: u64,
}

/// A level of detail: the shortest time between two samples, and how many of them are kept.
struct Tier {
    every_ms: u64,
    most: usize,
}

/// Four minutes by the second, 40 minutes by 10 s, 4 hours by the minute, two days by 10 minutes, 12 days by the hour.
const TIERS: [Tier; 5] = [
    Tier { every_ms: 1_000, most: 240 },
    Tier { every_ms: 10_000, most: 240 },
    Tier { every_ms: 60_000, most: 240 },
    Tier { every_ms: 600_000, most: 300 },
    Tier { every_ms: 3_600_000, most: 300 },
];

/// The samples of a run.
#[derive(Debug, Default)]
pub struct History {
    tiers: [VecDeque<Sample>; TIERS.len()],
    /// The first sample: every rate is relative to it.
    first: Option<Sample>,
}

impl History {
    /// Adds a sample. Ignores one that comes less than a second, but for 50 ms, after the last; one from before the last
    /// begins the history anew, because the clock of the machine was set back.
    pub fn push(&mut self, sample: Sample) {
        const SLACK_MS: u64 = 50;
        if self.tiers[0].back().is_some_and(|last| sample.time_ms < last.time_ms) {
            *self = Self::default();
        }
        self.first.get_or_insert(sample);
        for (tier, kept) in TIERS.iter().zip(&mut self.tiers) {
            let is_due =
                kept.back().is_none_or(|last| sample.time_ms + SLACK_MS >= last.time_ms + tier.every_ms);
            if is_due {
                kept.push_back(sample);
                if kept.len() > tier.most {
                    kept.pop_front();
                }
            }
        }
    }

    /// Returns the samples, oldest first, each with the most detail that is kept of its time.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let mut all: Vec<Sample> = Vec::new();
        // Each tier covers the time before the first sample of the finer one.
        let mut before = u64::MAX;
        for kept in &self.tiers {
            all.extend(kept.iter().rev().filter(|sample| sample.time_ms < before));
            before = kept.front().map_or(before, |first| first.time_ms.min(before));
        }
        all.extend(self.first.filter(|first| first.time_ms < before));
        all.reverse();
        all
    }

    /// Returns the samples as JSON: the names of the columns, and a row for each.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows: Vec<[u64; 7]> = self.samples().into_iter().map(Sample::row).collect();
        json!({"columns": COLUMNS, "rows": rows})
    }
}

const COLUMNS: [&str; 7] =
    ["time_ms", "processed", "received", "failed", "retries", "inflight", "concurrency"];

impl Sample {
    fn row(self) -> [u64; 7] {
        let Self { time_ms, processed, received, failed, retries, inflight, concurrency } = self;
        [time_ms, processed, received, failed, retries, inflight, concurrency]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Sample {
        Sample { time_ms: second * 1_000, processed: second * 10, ..Sample::default() }
    }

    #[test]
    fn the_last_minutes_are_exact_and_the_past_is_coarser() {
        let mut history = History::default();
        (0..20_000).for_each(|second| history.push(at(second)));
        let samples = history.samples();
        assert_eq!((samples[0], *samples.last().unwrap_or(&at(0))), (at(0), at(19_999)));
        assert!(samples.is_sorted_by_key(|sample| sample.time_ms));
        let gaps: Vec<u64> =
            samples.windows(2).map(|pair| (pair[1].time_ms - pair[0].time_ms) / 1_000).collect();
        assert!(gaps[gaps.len() - 239..].iter().all(|gap| *gap == 1), "{gaps:?}");
        assert!(gaps.iter().all(|gap| *gap <= 600) && gaps.contains(&10) && gaps.contains(&60), "{gaps:?}");
        // No event is lost, however coarse.
        let sum: u64 = samples.windows(2).map(|pair| pair[1].processed - pair[0].processed).sum();
        assert_eq!(sum, 199_990);
    }

    #[test]
    fn a_year_takes_no_more_room_than_a_fortnight() {
        let mut history = History::default();
        (0..365 * 24 * 60).for_each(|minute| history.push(at(minute * 60)));
        assert!(history.samples().len() <= TIERS.iter().map(|tier| tier.most).sum::<usize>() + 1);
        assert_eq!(history.samples()[0], at(0), "the beginning stays");
    }

    #[test]
    fn a_clock_that_is_set_back_begins_anew() {
        let mut history = History::default();
        (100..200).for_each(|second| history.push(at(second)));
        history.push(at(50));
        assert_eq!(history.samples(), [at(50)]);
    }

    #[test]
    fn samples_that_come_too_often_are_left_out() {
        let mut history = History::default();
        (0..100).for_each(|tenth| history.push(Sample { time_ms: tenth * 100, ..Sample::default() }));
        assert_eq!(history.samples().len(), 10);
        let json = history.json();
        assert_eq!(json["columns"].as_array().map(Vec::len), Some(7));
        assert_eq!(json["rows"][1][0], 1_000);
    }
}
