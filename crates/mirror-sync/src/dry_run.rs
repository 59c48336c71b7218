//! A dry run: the same planning, nothing written, an estimate.

mod size_estimate;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use mirror_fetch::{FetchObserver, FetchRequest, Fetcher};
use mirror_manifest::{Catalogue, UpstreamRemoval};
use mirror_repo::{Mirror, Preview, is_mass};
use mirror_types::ReleaseId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::dry_run::size_estimate::{Draw, SAMPLE_SIZE, SizeSample};
use crate::error::SyncError;
use crate::held_view::CatalogueView;
use crate::observe::{SyncEvent, SyncObserver};
use crate::options::DownloadOptions;
use crate::outcome::{Estimate, Outcome};
use crate::plan::{Decision, plan};
use crate::prune::outside_bundles;
use crate::removed::bit_of;
use crate::reported::Reports;
use crate::source::{Expected, OpenContext, Opened, Run};
use crate::spool::memory_spools;
use crate::tally::{PlanReport, Tally};
use crate::threads::{join, spawn};

/// Finds out what would be done; writes nothing.
pub(crate) async fn dry_run(run: Run) -> Result<Outcome, SyncError> {
    let options = run.options.clone();
    let (foreign, cancel, observer) = (run.foreign.clone(), run.cancel.clone(), Arc::clone(&run.observer));
    let found = Preview::open(&options.mirror(), &|| cancel.is_cancelled())?;
    let catalogue = found.mirror().map(Mirror::catalogue).transpose()?;
    let rate = catalogue.as_ref().map(Catalogue::download_rate).transpose()?.flatten();
    let fetcher = Fetcher::new(
        options.fetch.clone(),
        Arc::clone(&observer) as Arc<dyn FetchObserver>,
        Arc::new(memory_spools()),
    )?;
    let cursor = run.cursor();
    let rooted = options.with_lockfiles.then(|| run.selection.clone());
    let source_bit = bit_of(catalogue.as_ref(), &run.input, &options)?;
    let opened = run
        .open_index(OpenContext {
            store: found.store().cloned(),
            fetcher: fetcher.clone(),
            catalogue: catalogue.as_ref(),
            cache: None,
            lost: found.lost(),
            cursor: cursor.as_ref(),
            keeps: false,
        })
        .await?;
    if let Expected::Releases(releases) = opened.expected {
        observer.event(SyncEvent::Expected(releases));
    }
    let mut reports = Reports::new(options.policy.as_ref());
    if let Some(catalogue) = &catalogue {
        reports.add_offered(catalogue)?;
    }
    let (store, layout) = (found.store().cloned(), found.layout());
    let view = CatalogueView::new(catalogue, store, layout, source_bit, found.lost());
    let count = Count {
        tally: Tally::new(rooted, Arc::clone(&observer)),
        observer: Arc::clone(&observer),
        sample: SizeSample::default(),
        reports,
        failed: None,
        cancel: cancel.clone(),
    };
    let Planned { mut report, sample, reports } =
        join(spawn("plan", move || count.all(opened, view))?).await??;
    let mut outcome = Outcome { foreign_packages: foreign, ..Outcome::default() };
    let mut sizes = sample.draw();
    if !options.offline {
        ask(&mut sizes, &fetcher, &cancel).await?;
    }
    outcome.estimate = sizes.estimate().map(|sizes| Estimate {
        bytes: sizes.bytes,
        least_bytes: sizes.least_bytes,
        most_bytes: sizes.most_bytes,
        sampled: sizes.sampled,
        time: time(report.to_fetch, sizes.bytes, rate, &options.fetch),
    });
    let known = std::mem::take(&mut report.known_removed);
    would_prune(&options, found.mirror(), known, &*observer, &mut outcome)?;
    report.add_to(&mut outcome);
    outcome.reported = reports.finish();
    outcome.interrupted = cancel.is_cancelled();
    Ok(outcome)
}

/// Finds out which releases that upstream removed would be pruned.
fn would_prune(
    options: &DownloadOptions,
    mirror: Option<&Mirror>,
    known: HashMap<ReleaseId, UpstreamRemoval>,
    observer: &dyn SyncObserver,
    outcome: &mut Outcome,
) -> Result<(), SyncError> {
    let Some(what) = options.prune else { return Ok(()) };
    let doomed = known.into_iter().filter(|(_, kind)| what.takes(*kind)).map(|(id, _)| id).collect();
    let mut held = 0;
    outcome.would_prune = match mirror {
        Some(mirror) => {
            let catalogue = mirror.catalogue()?;
            held = catalogue.count()?;
            outside_bundles(&catalogue, doomed, observer)?
        }
        None => doomed,
    };
    outcome.would_prune.sort();
    let doomed = outcome.would_prune.len() as u64;
    if !options.allow_mass_prune && doomed > 0 && is_mass(doomed, held) {
        outcome.prune_refused = doomed;
    }
    Ok(())
}

/// A consumer that counts decisions and carries none of them out.
struct Count {
    tally: Tally,
    observer: Arc<dyn SyncObserver>,
    sample: SizeSample,
    reports: Reports,
    failed: Option<SyncError>,
    cancel: CancellationToken,
}

/// The findings of a dry run.
struct Planned {
    report: PlanReport,
    sample: SizeSample,
    reports: Reports,
}

impl Count {
    fn all(mut self, opened: Opened, mut held: CatalogueView) -> Result<Planned, SyncError> {
        let Opened { wanted, mut index, closure, .. } = opened;
        let planned = plan(wanted, &mut index, &mut held, &mut |decision| self.take(&decision))?;
        self.failed.map_or(Ok(()), Err)?;
        let report = self.tally.finish(planned, closure);
        Ok(Planned { report, sample: self.sample, reports: self.reports })
    }

    fn take(&mut self, decision: &Decision) -> ControlFlow<()> {
        if self.cancel.is_cancelled() {
            return ControlFlow::Break(());
        }
        self.tally.count(decision);
        match decision {
            Decision::Existing { bytes, .. } => self.sample.held(*bytes),
            Decision::Verify { job, .. } => {
                job.held_bytes.into_iter().for_each(|bytes| self.sample.held(bytes));
            }
            Decision::Fetch(job) => {
                self.reports.add(&job.id);
                job.held_bytes.into_iter().for_each(|bytes| self.sample.held(bytes));
                if let Some(rank) = self.sample.want(&job.id, job.largest_held_bytes) {
                    match job.from.url(&job.id) {
                        Ok(url) => self.sample.candidate(rank, url),
                        Err(error) => {
                            self.failed = Some(error);
                            return ControlFlow::Break(());
                        }
                    }
                }
            }
            Decision::Fail { id, fault, .. } => {
                self.observer.event(SyncEvent::WouldFail { release: id, why: &fault.to_string() });
            }
            Decision::FailCrate { name, fault } => {
                self.observer.event(SyncEvent::WouldFailCrate { name, why: &fault.to_string() });
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Estimates the time by the rate of the last run, and not faster than the caps allow.
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

/// Asks the origin for the sizes of the releases of a sample.
async fn ask(sizes: &mut Draw, fetcher: &Fetcher, cancel: &CancellationToken) -> Result<(), SyncError> {
    let (jobs, queue) = mpsc::channel(SAMPLE_SIZE);
    let (results, mut answers) = mpsc::channel(SAMPLE_SIZE);
    for (at, release) in sizes.asked.iter().enumerate() {
        let request = FetchRequest::new(release.url.clone()).head().across_origins();
        if jobs.try_send((at, request)).is_err() {
            return Err(SyncError::Internal("the sample is larger than its queue".to_owned()));
        }
    }
    drop(jobs);
    // A size that the origin does not report stays unknown, and the estimate uses the others.
    let _ = fetcher.run(queue, results, cancel.clone()).await;
    while let Some((at, answer)) = answers.recv().await {
        sizes.asked[at].bytes = answer
            .ok()
            .and_then(|got| got.headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_bound_the_time() {
        let mut fetch = mirror_fetch::FetchOptions::default();
        fetch.max_requests_per_sec = 10;
        assert_eq!(time(100, 1, Some(1000.0), &fetch), Some(Duration::from_secs(10)));
        assert_eq!(time(100, 1, None, &mirror_fetch::FetchOptions::default()), None);
    }
}
