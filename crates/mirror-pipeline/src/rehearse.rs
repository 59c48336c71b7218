//! A dry run: the same planning, nothing written, an estimate.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use mirror_fetch::{FetchRequest, Fetcher};
use mirror_manifest::Catalogue;
use mirror_repo::MirrorWriter;
use mirror_store::Store;
use mirror_types::ReleaseId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::bundles;
use crate::cursor::Cursor;
use crate::download::{Observer, Run, add_plan, database};
use crate::error::PipelineError;
use crate::outcome::{Estimate, Outcome};
use crate::prune::{is_mass, outside_bundles};
use crate::source::{Surroundings, plan_all};
use crate::spool::MemorySpools;
use crate::sweep::sweep;
use crate::threads::{join, spawn};

/// Releases whose size is asked for.
const ASKED: usize = 100;
/// Held sizes that make asking unnecessary.
const ENOUGH: u64 = 1_000;
/// Standard errors on both sides of an estimate between which the truth lies in 19 of 20 cases.
const DEVIATIONS: f64 = 1.96;

/// What is known of sizes: those of what is held, and some addresses to ask for others. The same selection is judged by
/// the same releases in every run: those with the smallest hashes.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    held: Sizes,
    asked: Sizes,
    urls: BinaryHeap<(u64, Url)>,
}

/// Sizes, as far as an estimate needs them.
#[derive(Debug, Default, Clone, Copy)]
struct Sizes {
    count: u64,
    bytes: u64,
    /// Sum of the squares.
    squares: f64,
}

impl Sizes {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        // A peer may announce anything.
        self.bytes = self.bytes.saturating_add(bytes);
        self.squares += (bytes as f64).powi(2);
    }

    /// Estimates the bytes of `files` of which these are a sample, or which these resemble: the least, the likely and
    /// the most.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of what is not negative"
    )]
    fn estimate(self, files: u64, is_part: bool) -> Option<(u64, u64, u64)> {
        let mean = self.bytes.checked_div(self.count)? as f64;
        if is_part && self.count == files {
            return Some((self.bytes, self.bytes, self.bytes));
        }
        let (count, files) = (self.count as f64, files as f64);
        let variance = (self.squares / count - (self.bytes as f64 / count).powi(2)).max(0.0);
        let left = if is_part { (1.0 - count / files).max(0.0) } else { 1.0 };
        // One size says nothing of how much they differ.
        let spread = if self.count < 2 { mean } else { (variance / (count - 1.0) * left).sqrt() };
        let (likely, spread) = (mean * files, DEVIATIONS * spread * files);
        let known = if is_part { self.bytes } else { 0 };
        Some(((likely - spread).max(known as f64) as u64, likely as u64, (likely + spread) as u64))
    }
}

impl Sample {
    pub(crate) fn held(&mut self, bytes: u64) {
        self.held.add(bytes);
    }

    /// Returns where a wanted release has its place in the sample, when it belongs there. Most do not, and their
    /// address is never made.
    pub(crate) fn place(&self, id: &ReleaseId) -> Option<u64> {
        // FNV-1a, 64 bits: the same in every run.
        let text = [id.name.as_str(), "@", id.version.as_str()];
        let place =
            text.iter().flat_map(|part| part.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        // Names that differ in their last letters lie close together otherwise.
        let place = (place ^ place >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let belongs = self.urls.len() < ASKED || self.urls.peek().is_some_and(|(last, _)| place < *last);
        belongs.then_some(place)
    }

    /// Takes an address.
    pub(crate) fn wanted(&mut self, place: u64, url: Url) {
        self.urls.push((place, url));
        if self.urls.len() > ASKED {
            self.urls.pop();
        }
    }

    /// Estimates the bytes of what is to be fetched.
    fn estimate(&self, files: u64) -> Option<(u64, (u64, u64, u64))> {
        let (sizes, is_part) = if self.asked.count > 0 { (self.asked, true) } else { (self.held, false) };
        Some((sizes.count, sizes.estimate(files, is_part)?))
    }
}

impl Run {
    /// What would be done; nothing is written.
    pub(crate) async fn rehearse(self) -> Result<Outcome, PipelineError> {
        let options = self.options.clone();
        let (foreign, cancel) = (self.foreign.clone(), self.cancel.clone());
        Store::check_tree(&options.out, options.layout, options.layout_asked)?;
        let (_, bundles_dir) = MirrorWriter::rehearse(&options.mirror())?;
        let store = Store::open_read_only(&options.out, options.layout)?;
        let fetcher = Fetcher::new(
            options.fetch.clone(),
            Arc::new(Observer(self.stats.clone())),
            Arc::new(MemorySpools::default()),
        )?;
        let catalogue = match &store {
            Some(store) => Catalogue::open_read_only(&database(store))?,
            None => None,
        };
        let rate = match &catalogue {
            Some(catalogue) => catalogue.recall("files_per_sec")?.and_then(|text| text.parse().ok()),
            None => None,
        };
        let lost = match (&store, &catalogue) {
            (Some(store), Some(catalogue)) => sweep(store, catalogue, &cancel)?.lost,
            _ => Vec::new(),
        };
        if let Some(catalogue) = &catalogue {
            bundles::check(catalogue, &bundles_dir)?;
        }
        let held = match &catalogue {
            Some(catalogue) if options.prune.is_some() => catalogue.count()?,
            _ => 0,
        };
        let held_rows = match &store {
            Some(store) if options.prune.is_some() => Catalogue::open_read_only(&database(store))?,
            _ => None,
        };
        let cursor = Cursor::of(&self.input, &options, self.selection.is_open());
        let around = Surroundings { store, fetcher: fetcher.clone(), catalogue, lost, cursor, sinks: None };
        let (planner, records) = self.planner(around).await?;
        let (mut report, mut sample) = join(spawn("plan", move || plan_all(planner, records))?).await??;
        let mut outcome = Outcome { foreign_packages: foreign, ..Outcome::default() };
        if !options.offline && sample.held.count < ENOUGH {
            ask(&mut sample, &fetcher, &cancel).await?;
        }
        if let Some((sampled, (least_bytes, bytes, most_bytes))) = sample.estimate(report.to_fetch) {
            outcome.estimate = Some(Estimate {
                bytes,
                least_bytes,
                most_bytes,
                sampled,
                time: time(report.to_fetch, bytes, rate, &options.fetch),
            });
        }
        if let Some(what) = options.prune {
            let known = std::mem::take(&mut report.known_withdrawn).into_iter();
            let doomed = known.filter(|(_, kind)| what.takes(*kind)).map(|(id, _)| id).collect();
            outcome.would_prune = match &held_rows {
                Some(catalogue) => outside_bundles(catalogue, doomed)?,
                None => doomed,
            };
            outcome.would_prune.sort();
            let doomed = outcome.would_prune.len() as u64;
            if !options.allow_mass_prune && doomed > 0 && is_mass(doomed, held) {
                outcome.prune_refused = doomed;
            }
        }
        add_plan(&mut outcome, report);
        outcome.interrupted = cancel.is_cancelled();
        Ok(outcome)
    }
}

/// By the rate of the last run, not faster than the caps allow.
fn time(
    files: u64,
    bytes: u64,
    files_per_sec: Option<f64>,
    fetch: &mirror_fetch::FetchOptions,
) -> Option<Duration> {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let (files, bytes) = (files as f64, bytes as f64);
    let caps = [
        (fetch.max_requests_per_sec > 0).then(|| files / f64::from(fetch.max_requests_per_sec)),
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        (fetch.max_bytes_per_sec > 0).then(|| bytes / fetch.max_bytes_per_sec as f64),
        files_per_sec.filter(|rate| *rate > 0.0).map(|rate| files / rate),
    ];
    let seconds = caps.into_iter().flatten().reduce(f64::max)?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Asks the origin for the lengths of the sample.
async fn ask(
    sample: &mut Sample,
    fetcher: &Fetcher,
    cancel: &CancellationToken,
) -> Result<(), PipelineError> {
    let urls = std::mem::take(&mut sample.urls);
    let (jobs, queue) = mpsc::channel(ASKED);
    let (results, mut answers) = mpsc::channel(ASKED);
    for (_, url) in urls {
        let request = FetchRequest::new(url).head().across_origins();
        if jobs.try_send(((), request)).is_err() {
            return Err(PipelineError::Internal("the sample is larger than its queue".to_owned()));
        }
    }
    drop(jobs);
    // What nobody answers is unknown, and the estimate says so.
    let _ = fetcher.run(queue, results, cancel.clone()).await;
    while let Some(((), answer)) = answers.recv().await {
        let length = answer
            .ok()
            .and_then(|got| got.headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok());
        if let Some(length) = length {
            sample.asked.add(length);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(order: impl Iterator<Item = u32>) -> Vec<(u64, Url)> {
        let mut sample = Sample::default();
        for n in order {
            let name = format!("crate-{}", n / 7).parse().expect("name");
            let id = ReleaseId { name, version: format!("1.0.{n}").parse().expect("version") };
            if let Some(place) = sample.place(&id) {
                sample.wanted(place, Url::parse(&format!("http://h/{n}")).expect("url"));
            }
        }
        sample.urls.into_sorted_vec()
    }

    #[test]
    fn a_sample_is_small_fair_and_the_same_in_every_run() {
        let first = sample(0..10_000);
        assert_eq!(first.len(), ASKED);
        assert_eq!(first, sample((0..10_000).rev()), "whatever the order");
        let late = first.iter().filter(|(_, url)| url.path().len() == 5).count();
        assert!((75..=99).contains(&late), "nine tenths come from the later nine tenths: {late}");
        // A few more releases change little of it.
        let grown = sample(0..10_100);
        assert!(first.iter().filter(|taken| grown.contains(taken)).count() > 90);
    }

    #[test]
    fn estimates_have_a_range_that_holds() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut held = 0;
        for _ in 0..400 {
            let sizes: Vec<u64> = (0..3_000).map(|_| 1 << random.u32(8..18)).collect();
            let mut asked = Sizes::default();
            random.choose_multiple(&sizes, ASKED).into_iter().for_each(|size| asked.add(*size));
            let (least, likely, most) = asked.estimate(3_000, true).expect("an estimate");
            assert!(least <= likely && likely <= most);
            held += u32::from((least..=most).contains(&sizes.iter().sum()));
        }
        assert!(held >= 360, "{held} of 400");
        let mut all = Sizes::default();
        [5, 7].into_iter().for_each(|size| all.add(size));
        assert_eq!(all.estimate(2, true), Some((12, 12, 12)), "what is known is known");
        assert_eq!(Sizes::default().estimate(2, true), None);
    }

    #[test]
    fn caps_bound_the_time() {
        let fetch = mirror_fetch::FetchOptions { max_requests_per_sec: 10, ..Default::default() };
        assert_eq!(time(100, 1, Some(1000.0), &fetch), Some(Duration::from_secs(10)));
        assert_eq!(time(100, 1, None, &mirror_fetch::FetchOptions::default()), None);
    }
}
