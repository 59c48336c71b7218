//! Estimates the bytes of many releases by asking for the sizes of a few.
//!
//! Sizes of crates are very uneven: a few large releases make most of the bytes, and a sample that takes all releases
//! alike misses them. So a size is expected of each release, and the sample takes it with a probability in proportion
//! to that (priority sampling: Duffield, Lund and Thorup, "Priority sampling for estimation of arbitrary subset sums",
//! Journal of the ACM 54 (2007), article 32). Releases above a threshold are always taken. The others are taken in
//! proportion, so the mean ratio of actual to expected size among them holds for those that are not taken. Expectations
//! that are wrong make the range wider.
//!
//! In simulations with 100 sizes of 3,000 in log-normal and Pareto distributions, and expectations that are off by a
//! factor of two, the root mean square error is 7%. It is 30% to 45% with a sample that takes all alike, 15% to 24%
//! with the 50 largest expected and a sample of the rest, and 11% to 15% when that sample is scaled by what was
//! expected.

use std::collections::BinaryHeap;

use mirror_types::ReleaseId;
use url::Url;

/// Releases whose size is asked for.
pub(crate) const SAMPLE_SIZE: usize = 100;
/// Bytes expected of a release of which no other version is held: the mean of the registry, 400 GB in 2.5 million.
const UNKNOWN_BYTES: u64 = 160_000;
/// Least size expected of any release, bytes. A small crate whose next version is large is rarely sampled, and counts
/// for more when it is.
const LEAST_EXPECTED_BYTES: u64 = 32 << 10;
/// Standard errors on both sides of an estimate between which the truth lies in 19 of 20 cases.
const DEVIATIONS: f64 = 1.96;

/// Collects the releases to ask for while a run is planned. The same releases and the same mirror lead to the same
/// sample in every run, in whatever order they come.
#[derive(Debug, Default)]
pub(crate) struct SizeSample {
    held: Sizes,
    wanted: u64,
    /// Expected bytes of all wanted releases.
    expected_bytes: u64,
    /// Releases with the smallest ranks: those to ask for, and the next one, which sets the threshold.
    candidates: BinaryHeap<(Rank, Url)>,
}

/// The rank of a release among those that may be asked for; the smallest ranks are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// A random number from 0 to 1 divided by the expected bytes, as the bits of a positive `f64`: they compare as it
    /// does.
    bits: u64,
    expected_bytes: u64,
}

impl Rank {
    fn of(id: &ReleaseId, expected_bytes: u64) -> Self {
        // FNV-1a, 64 bits: the same in every run.
        let text = [id.name.as_str(), "@", id.version.as_str()];
        let hash = text.iter().flat_map(|part| part.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // Mixes the bits: hashes of names that differ only in their last letters lie close together.
        let hash = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let random = (hash as f64 + 1.0) / 2_f64.powi(64);
        Self { bits: (random / expected_bytes as f64).to_bits(), expected_bytes }
    }
}

impl SizeSample {
    /// Takes the size of a release that is held, in bytes.
    pub(crate) fn held(&mut self, bytes: u64) {
        self.held.add(bytes);
    }

    /// Counts a release that is to be fetched. `largest_held_bytes` is the size of the largest held version of its
    /// crate, 0 when none is held. Returns its rank when it may be asked for. Most may not, and their addresses are
    /// never made.
    pub(crate) fn want(&mut self, id: &ReleaseId, largest_held_bytes: u64) -> Option<Rank> {
        self.want_expected(id, expected_bytes(largest_held_bytes))
    }

    fn want_expected(&mut self, id: &ReleaseId, expected_bytes: u64) -> Option<Rank> {
        self.wanted += 1;
        self.expected_bytes = self.expected_bytes.saturating_add(expected_bytes);
        let rank = Rank::of(id, expected_bytes);
        let belongs = self.candidates.len() <= SAMPLE_SIZE
            || self.candidates.peek().is_some_and(|(last, _)| rank < *last);
        belongs.then_some(rank)
    }

    /// Takes the address of a release that may be asked for.
    pub(crate) fn candidate(&mut self, rank: Rank, url: Url) {
        self.candidates.push((rank, url));
        if self.candidates.len() > SAMPLE_SIZE + 1 {
            self.candidates.pop();
        }
    }

    /// Returns the sample, once all wanted releases are counted.
    pub(crate) fn draw(mut self) -> Draw {
        let beyond = if self.candidates.len() > SAMPLE_SIZE { self.candidates.pop() } else { None };
        let asked = self.candidates.into_sorted_vec().into_iter().map(|(rank, url)| Asked {
            url,
            expected_bytes: rank.expected_bytes,
            bytes: None,
        });
        Draw {
            asked: asked.collect(),
            held: self.held,
            wanted: self.wanted,
            expected_bytes: self.expected_bytes,
            threshold: beyond.map(|(rank, _)| f64::from_bits(rank.bits).recip()),
        }
    }
}

/// Returns the bytes expected of a release, given the size of the largest held version of its crate (0 when none is
/// held). To expect too little of a large release costs more than to expect too much of a small one.
fn expected_bytes(largest_held_bytes: u64) -> u64 {
    match largest_held_bytes {
        0 => UNKNOWN_BYTES,
        bytes => bytes.max(LEAST_EXPECTED_BYTES),
    }
}

/// The releases to ask for, and what they stand for.
#[derive(Debug)]
pub(crate) struct Draw {
    pub(crate) asked: Vec<Asked>,
    held: Sizes,
    wanted: u64,
    expected_bytes: u64,
    /// Expected bytes from which a release is always asked for; `None` when all are.
    threshold: Option<f64>,
}

/// One release to ask for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) url: Url,
    expected_bytes: u64,
    /// Its size, once the origin has reported it.
    pub(crate) bytes: Option<u64>,
}

/// The estimated bytes of everything that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizeRange {
    pub(crate) least_bytes: u64,
    pub(crate) bytes: u64,
    pub(crate) most_bytes: u64,
    /// The number of sizes behind the estimate.
    pub(crate) sampled: u64,
}

impl SizeRange {
    #[expect(clippy::cast_possible_truncation, reason = "an estimate of what is not negative")]
    fn around(bytes: f64, error: f64, known: f64, sampled: u64) -> Self {
        let spread = DEVIATIONS * error;
        let least_bytes = (bytes - spread).max(known) as u64;
        let bytes = (bytes as u64).max(least_bytes);
        Self { least_bytes, bytes, most_bytes: (bytes as f64 + spread) as u64, sampled }
    }
}

/// An answer of the sample, for releases that were not asked for or did not answer.
struct Answer {
    /// The ratio of actual to expected bytes.
    ratio: f64,
    /// Its weight.
    weight: f64,
    /// The unknown part of what the answer stands for.
    unknown: f64,
}

impl Draw {
    /// Estimates the bytes of all wanted releases: from the answers, or from what is held when there are none. `None`
    /// when nothing is known.
    pub(crate) fn estimate(&self) -> Option<SizeRange> {
        let answers: Vec<(f64, f64)> = self.asked.iter().filter_map(Asked::answer).collect();
        if answers.is_empty() {
            return self.held.estimate(self.wanted);
        }
        let is_certain = |expected: f64| self.threshold.is_none_or(|threshold| expected >= threshold);
        let (mut known, mut rest) = (0.0, self.expected_bytes as f64);
        for (expected, bytes) in answers.iter().filter(|(expected, _)| is_certain(*expected)) {
            known += bytes;
            rest -= expected;
        }
        let answered: f64 = answers.iter().map(|(_, bytes)| bytes).sum();
        if rest <= 0.0 {
            return Some(SizeRange::around(known, 0.0, answered, answers.len() as u64));
        }
        let sampled = answers.iter().filter(|(expected, _)| !is_certain(*expected));
        let mut sampled: Vec<Answer> = sampled
            .map(|(expected, bytes)| Answer {
                ratio: bytes / expected,
                weight: 1.0,
                unknown: 1.0 - expected / self.threshold.unwrap_or(f64::INFINITY),
            })
            .collect();
        if sampled.is_empty() {
            // Only releases that are always asked for have answered.
            sampled.extend(answers.iter().map(|(expected, bytes)| Answer {
                ratio: bytes / expected,
                weight: *expected,
                unknown: 1.0,
            }));
        }
        let (ratio, error) = mean(&sampled);
        Some(SizeRange::around(known + rest * ratio, rest * error, answered, answers.len() as u64))
    }
}

impl Asked {
    /// Returns the expected and the actual bytes.
    fn answer(&self) -> Option<(f64, f64)> {
        Some((self.expected_bytes as f64, self.bytes? as f64))
    }
}

/// Returns the weighted mean of the ratios, and its standard error.
fn mean(answers: &[Answer]) -> (f64, f64) {
    let weights: f64 = answers.iter().map(|answer| answer.weight).sum();
    let mean = answers.iter().map(|answer| answer.weight * answer.ratio).sum::<f64>() / weights;
    if answers.len() < 2 {
        // One size does not show how much sizes differ.
        return (mean, mean);
    }
    let squares =
        answers.iter().map(|answer| answer.unknown * (answer.weight * (answer.ratio - mean)).powi(2));
    let count = answers.len() as f64;
    (mean, (count / (count - 1.0) * squares.sum::<f64>()).sqrt() / weights)
}

/// Sizes of held releases, as far as an estimate needs them.
#[derive(Debug, Default, Clone, Copy)]
struct Sizes {
    count: u64,
    bytes: f64,
    squares: f64,
}

impl Sizes {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes as f64;
        self.squares += (bytes as f64).powi(2);
    }

    /// Estimates the bytes of `files` further releases that are like these.
    fn estimate(self, files: u64) -> Option<SizeRange> {
        if self.count == 0 {
            return None;
        }
        let (count, files) = (self.count as f64, files as f64);
        let mean = self.bytes / count;
        // The mean of these differs from that of all, and those to come differ from it, too.
        let error = if self.count < 2 {
            mean * files
        } else {
            let variance = (self.squares / count - mean.powi(2)).max(0.0) * count / (count - 1.0);
            (variance * (files + files.powi(2) / count)).sqrt()
        };
        Some(SizeRange::around(mean * files, error, 0.0, self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: usize) -> Vec<ReleaseId> {
        let id = |n| ReleaseId {
            name: format!("crate-{}", n / 7).parse().expect("name"),
            version: format!("1.0.{n}").parse().expect("version"),
        };
        (0..count).map(id).collect()
    }

    /// Draws from numbered releases, each with its expected bytes.
    fn draw<'i>(releases: impl Iterator<Item = (usize, &'i ReleaseId, u64)>) -> Draw {
        let mut sample = SizeSample::default();
        for (number, id, expected_bytes) in releases {
            if let Some(rank) = sample.want_expected(id, expected_bytes) {
                sample.candidate(rank, Url::parse(&format!("http://h/{number}")).expect("url"));
            }
        }
        sample.draw()
    }

    fn numbers(draw: &Draw) -> Vec<usize> {
        draw.asked.iter().map(|asked| asked.url.path()[1..].parse().expect("a number")).collect()
    }

    /// Draws from all releases, answers every question, and estimates.
    fn estimated(ids: &[ReleaseId], expected: impl Fn(usize) -> u64, sizes: &[u64]) -> SizeRange {
        let mut draw = draw(ids.iter().enumerate().map(|(number, id)| (number, id, expected(number))));
        for (asked, number) in numbers(&draw).into_iter().enumerate() {
            draw.asked[asked].bytes = Some(sizes[number]);
        }
        let range = draw.estimate().expect("an estimate");
        assert!(range.least_bytes <= range.bytes && range.bytes <= range.most_bytes, "{range:?}");
        range
    }

    #[test]
    fn a_sample_is_small_fair_and_the_same_in_every_run() {
        let ids = ids(10_100);
        let all: Vec<_> = ids.iter().enumerate().map(|(number, id)| (number, id, UNKNOWN_BYTES)).collect();
        let first = numbers(&draw(all[..10_000].iter().copied()));
        assert_eq!(first.len(), SAMPLE_SIZE);
        assert_eq!(first, numbers(&draw(all[..10_000].iter().rev().copied())), "whatever the order");
        let late = first.iter().filter(|number| **number >= 1_000).count();
        assert!((80..100).contains(&late), "nine tenths come from the later nine tenths: {late}");
        // A few more releases change little of the sample.
        let grown = numbers(&draw(all.iter().copied()));
        assert!(first.iter().filter(|number| grown.contains(number)).count() > 90);
    }

    #[test]
    fn the_largest_expected_are_asked_for_whatever_their_hashes() {
        let ids = ids(10_000);
        let is_large = |number: &usize| number % 500 == 3;
        let expected = |number| if is_large(&number) { 100 << 20 } else { LEAST_EXPECTED_BYTES };
        let drawn = numbers(&draw(ids.iter().enumerate().map(|(n, id)| (n, id, expected(n)))));
        assert_eq!((drawn.len(), drawn.iter().filter(|number| is_large(number)).count()), (SAMPLE_SIZE, 20));
        let alike = numbers(&draw(ids.iter().enumerate().map(|(n, id)| (n, id, UNKNOWN_BYTES))));
        assert!(alike.iter().filter(|number| is_large(number)).count() < 5, "their hashes are like others");
    }

    #[test]
    fn a_new_version_is_expected_to_be_as_large_as_the_largest_held() {
        for (largest, expected) in
            [(900_000, 900_000), (20, LEAST_EXPECTED_BYTES), (0, UNKNOWN_BYTES), (800_000, 800_000)]
        {
            assert_eq!(expected_bytes(largest), expected);
        }
    }

    #[test]
    fn ranges_hold_when_nothing_is_known_of_sizes() {
        let ids = ids(3_000);
        let mut random = fastrand::Rng::with_seed(1);
        let mut within = 0;
        for _ in 0..400 {
            let sizes: Vec<u64> = ids.iter().map(|_| 1 << random.u32(8..18)).collect();
            let range = estimated(&ids, |_| UNKNOWN_BYTES, &sizes);
            within += u32::from((range.least_bytes..=range.most_bytes).contains(&sizes.iter().sum()));
        }
        assert!(within >= 360, "{within} of 400");
    }

    /// Draws sizes from a Pareto distribution, in which a few releases make a large part of the bytes. The next version
    /// of a crate has from half to twice the size that is expected.
    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "sizes from a distribution")]
    fn expected_sizes_make_the_range_hold_and_the_error_small() {
        let ids = ids(1_500);
        let mut random = fastrand::Rng::with_seed(2);
        let (mut within, mut error, mut plain_error) = (0, 0.0, 0.0);
        for _ in 0..400 {
            let expected: Vec<u64> =
                ids.iter().map(|_| (20e3 * (1.0 - random.f64()).powf(-1.0 / 1.2)).min(10e6) as u64).collect();
            let next = |bytes: &u64| (*bytes as f64 * 2_f64.powf(2.0 * random.f64() - 1.0)) as u64;
            let sizes: Vec<u64> = expected.iter().map(next).collect();
            let truth: u64 = sizes.iter().sum();
            let off = |range: SizeRange| (range.bytes as f64 / truth as f64 - 1.0).powi(2);
            let range = estimated(&ids, |n| expected[n].max(LEAST_EXPECTED_BYTES), &sizes);
            within += u32::from((range.least_bytes..=range.most_bytes).contains(&truth));
            error += off(range);
            plain_error += off(estimated(&ids, |_| UNKNOWN_BYTES, &sizes));
        }
        let rms = |squares: f64| (squares / 400.0_f64).sqrt();
        assert!(within >= 360, "{within} of 400");
        assert!(rms(error) * 4.0 < rms(plain_error), "{} and {}", rms(error), rms(plain_error));
    }

    #[test]
    fn what_is_known_is_known_and_what_does_not_answer_is_like_the_rest() {
        let ids = ids(2);
        let mut draw = draw([(0, &ids[0], 300), (1, &ids[1], 100)].into_iter());
        assert_eq!(draw.estimate(), None, "nothing is held, nobody answers");
        let at = |draw: &Draw, expected| {
            draw.asked.iter().position(|asked| asked.expected_bytes == expected).expect("asked")
        };
        let (large, small) = (at(&draw, 300), at(&draw, 100));
        draw.asked[small].bytes = Some(200);
        let range = draw.estimate().expect("an estimate");
        assert_eq!((range.least_bytes, range.bytes, range.sampled), (200, 200 + 600, 1));
        assert!(range.most_bytes > 1_400, "one size says little");
        draw.asked[large].bytes = Some(307);
        let known = SizeRange { least_bytes: 507, bytes: 507, most_bytes: 507, sampled: 2 };
        assert_eq!(draw.estimate(), Some(known));
        // A hostile server may announce any size.
        draw.asked[small].bytes = Some(u64::MAX);
        draw.asked[large].bytes = Some(u64::MAX);
        assert_eq!(draw.estimate().expect("an estimate").most_bytes, u64::MAX);
    }

    #[test]
    fn without_answers_the_range_is_that_of_a_few_others_like_what_is_held() {
        const NEW: usize = 40;
        let ids = ids(NEW);
        let mut random = fastrand::Rng::with_seed(3);
        let mut within = 0;
        for _ in 0..400 {
            let mut sample = SizeSample::default();
            (0..2_000).for_each(|_| sample.held(1 << random.u32(8..18)));
            for id in &ids {
                assert!(sample.want(id, 0).is_some());
            }
            let range = sample.draw().estimate().expect("an estimate");
            assert_eq!(range.sampled, 2_000);
            let truth: u64 = (0..NEW).map(|_| 1 << random.u32(8..18)).sum();
            within += u32::from((range.least_bytes..=range.most_bytes).contains(&truth));
        }
        assert!((360..400).contains(&within), "{within} of 400");
    }
}
