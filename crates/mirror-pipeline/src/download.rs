use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mirror_fetch::{FetchObserver, Fetcher, RunEnd};
use mirror_index::sparse::DlTemplate;
use mirror_index::{IndexSource, LockSet, NameSet, Selection, Shard};
use mirror_manifest::Catalogue;
use mirror_repo::{LockedMirror, catalogue_in};
use mirror_store::Store;
use mirror_store::bundle::BundleOptions;
use mirror_telemetry::{Phase, RunStats};
use mirror_types::FailedRecord;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::commit::{Committer, Finished, write_staged};
use crate::cursor::{Cursor, Totals};
use crate::error::PipelineError;
use crate::given::{MAX_TEXT_BYTES, read_text};
use crate::held_view::CatalogueView;
use crate::list::{Checksums, read_checksums};
use crate::opened::{lock, open, tell_lost};
use crate::options::{DownloadOptions, Prune, Storage, Upstream};
use crate::outcome::Outcome;
use crate::plan::plan;
use crate::prune::prune;
use crate::removed::{hide, record_source};
use crate::route::Router;
use crate::source::{Downloads, Expected, Input, Opened, Surroundings, counting};
use crate::spool::StoreSpools;
use crate::tally::{PlanReport, Tally};
use crate::threads::{join, spawn, spawn_behind};
use crate::verify::Hasher;
use crate::{bundles, packaged};

/// Threads that write bodies; more only wait for the disk.
const WRITERS: usize = 2;

/// Files with bad lines that the cursor names; with more of them every run reads everything.
const MOST_BAD: usize = 1_000;
/// A run that takes longer ends with a look at all that it wrote.
const LONG: Duration = Duration::from_secs(30);

/// Mirrors what `options` select. Streams: memory does not grow with the registry. Stops cleanly
/// when `cancel` fires; what was committed stays.
///
/// # Errors
/// When the run could not begin or could not go on. Records that fail are no error; they are in
/// the [`Outcome`].
pub async fn download(
    options: DownloadOptions,
    stats: Arc<RunStats>,
    cancel: CancellationToken,
) -> Result<Outcome, PipelineError> {
    let began = Instant::now();
    // An index that is updated belongs to this run alone: the lock comes first.
    let store = match &options.update {
        Some(_) if !options.dry_run => Some(lock(&options)?),
        _ => None,
    };
    let again = options.with_lockfiles.then(|| (options.clone(), stats.clone(), cancel.clone()));
    let run = match Run::prepare(options, None, stats, cancel).await {
        // Stopped like a run that has begun: nothing is wrong.
        Err(PipelineError::Update(mirror_index::UpdateError::Stopped)) => {
            return Ok(Outcome { interrupted: true, elapsed: began.elapsed(), ..Outcome::default() });
        }
        prepared => prepared?,
    };
    let mut outcome = if run.options.dry_run { run.dry_run().await? } else { run.perform(store).await? };
    if let Some((options, stats, cancel)) = again.filter(|(options, ..)| !options.dry_run) {
        with_lockfiles(&mut outcome, options, stats, cancel).await?;
    }
    outcome.elapsed = began.elapsed();
    Ok(outcome)
}

/// Mirrors what the lockfiles name that the selected binary crates carry: a second pass, when those are held.
async fn with_lockfiles(
    outcome: &mut Outcome,
    options: DownloadOptions,
    stats: Arc<RunStats>,
    cancel: CancellationToken,
) -> Result<(), PipelineError> {
    let roots = std::mem::take(&mut outcome.roots);
    if outcome.interrupted || outcome.given_up || roots.is_empty() {
        return Ok(());
    }
    let (given, stop) = (options.clone(), cancel.clone());
    let read = move || {
        let Some(store) = Store::open_read_only(&given.out, given.layout)? else {
            return Ok(packaged::Packaged::default());
        };
        let Some(catalogue) = Catalogue::open_read_only(&catalogue_in(&store.state_dir()))? else {
            return Ok(packaged::Packaged::default());
        };
        let (_, dir) = LockedMirror::rehearse(&given.mirror())?;
        let mut shelf = bundles::Shelf::new(dir);
        packaged::read(&store, &catalogue, &mut shelf, &roots, &given.lock_sources, &stop)
    };
    let found = join(spawn("lockfiles", read)?).await??;
    outcome.lockfiles_read = found.read;
    outcome.lockfiles_unusable = found
        .unusable
        .into_iter()
        .map(|(id, why)| FailedRecord { what: format!("Cargo.lock of {id}"), why })
        .collect();
    if found.set.is_empty() || cancel.is_cancelled() {
        return Ok(());
    }
    // Whatever narrowed the first pass, this one wants what is named.
    let options = DownloadOptions {
        update: None,
        cargo_locks: Vec::new(),
        include: NameSet::default(),
        latest: 0,
        shard: Shard::default(),
        closure: None,
        with_lockfiles: false,
        limit: 0,
        verify_existing: false,
        prune: None,
        acknowledge_gaps: None,
        ..options
    };
    let more = Run::prepare(options, Some(found.set), stats, cancel).await?.perform(None).await?;
    outcome.absorb(more);
    Ok(())
}

pub(crate) struct Run {
    pub(crate) options: DownloadOptions,
    pub(crate) stats: Arc<RunStats>,
    pub(crate) cancel: CancellationToken,
    pub(crate) selection: Selection,
    pub(crate) input: Input,
    /// Where downloads come from, when no registry has to be asked for it.
    pub(crate) base: Option<Downloads>,
    pub(crate) checksums: Option<Checksums>,
    /// Packages of other sources in the lockfiles, by source.
    pub(crate) foreign: BTreeMap<String, usize>,
}

/// Counts what the fetcher does.
pub(crate) struct Observer(pub(crate) Arc<RunStats>);

impl FetchObserver for Observer {
    fn attempt(&self, status: Option<u16>, ok: bool, elapsed: Duration) {
        self.0.request(status, ok, elapsed);
    }
    fn bytes(&self, n: u64) {
        self.0.received(n);
    }
    fn retry(&self) {
        self.0.retry();
    }
    fn inflight(&self, delta: i64) {
        self.0.inflight(delta);
    }
    fn concurrency(&self, limit: usize) {
        self.0.concurrency(u64::try_from(limit).unwrap_or(u64::MAX));
    }
}

impl Run {
    /// `packaged` is what lockfiles inside of releases name.
    async fn prepare(
        options: DownloadOptions,
        packaged: Option<LockSet>,
        stats: Arc<RunStats>,
        cancel: CancellationToken,
    ) -> Result<Self, PipelineError> {
        if options.include_yanked && options.prune == Some(Prune::Yanked) {
            return Err(PipelineError::Usage(
                "--include-yanked wants yanked releases, and --prune=yanked removes them; give one of the two".to_owned(),
            ));
        }
        let mut locks = Vec::new();
        for path in &options.cargo_locks {
            let text = read_text("the lockfile", path, MAX_TEXT_BYTES)?;
            locks.push((path.display().to_string(), text));
        }
        let locked = if locks.is_empty() {
            packaged
        } else {
            let set = LockSet::parse(&locks, &options.lock_sources)
                .map_err(|error| PipelineError::Usage(error.to_string()))?;
            Some(set)
        };
        let foreign = locked.as_ref().map(|set| set.foreign().clone()).unwrap_or_default();
        if locked.as_ref().is_some_and(LockSet::is_empty) && !foreign.is_empty() {
            let named: Vec<_> = foreign.iter().map(|(source, n)| format!("{source} ({n})")).collect();
            return Err(PipelineError::Usage(format!(
                "the lockfiles name no package of the registry that is mirrored, only of others: {}; name theirs with \
                 --index-url",
                named.join(", ")
            )));
        }
        let selection = Selection {
            include: options.include.clone(),
            exclude: options.exclude.clone(),
            locked,
            latest: options.latest,
            include_prerelease: options.include_prerelease,
            include_yanked: options.include_yanked,
            shard: options.shard,
        };
        let checksums = options.checksums.as_deref().map(read_checksums).transpose()?;
        let named =
            options.crates_base_url.as_ref().map(|base| DlTemplate::from_base(base.reveal())).transpose()?;
        crate::update::update(&options, &stats, &cancel).await?;
        let input = Input::open(&options, &selection)?;
        let base = Downloads::of(named, &input)?;
        Ok(Self { options, stats, cancel, selection, input, base, checksums, foreign })
    }

    async fn perform(self, store: Option<Store>) -> Result<Outcome, PipelineError> {
        let began = Instant::now();
        let options = self.options.clone();
        let stats = self.stats.clone();
        let user_cancel = self.cancel.clone();
        let cancel = self.cancel.child_token();
        let foreign = self.foreign.clone();
        stats.set_phase(Phase::Index);
        let locked = store.map_or_else(|| lock(&options), Ok)?;
        let mut mirror = open(locked, &options, &cancel)?;
        let mut known_gaps = mirror.settle_gaps(options.acknowledge_gaps.as_deref())?;
        let source_bit = record_source(&mut mirror, &self.input, &options)?;
        let (store, run_id) = (mirror.store().clone(), mirror.run_id().to_owned());
        let (reader, bundles_dir) = (mirror.catalogue().another()?, mirror.bundles_dir().to_owned());
        let cursor = Cursor::of(&self.input, &options, self.selection.is_open());
        let mut fetch = options.fetch.clone();
        if options.storage.bundles() {
            // Bodies that wait for their bundle are counted, too.
            fetch.memory_budget_bytes += BundleOptions::default().queue_bytes;
        }
        let fetcher =
            Fetcher::new(fetch, Arc::new(Observer(stats.clone())), Arc::new(StoreSpools(store.clone())))?;

        // Long enough that the network goes on while the others wait for a processor. Bodies in them count
        // against the memory of the fetcher.
        let (jobs, job_queue) = mpsc::channel(1024);
        let (results, fetched) = mpsc::channel(1024);
        let (hashes, hash_queue) = crossbeam_channel::bounded(16);
        // What is read to be bundled travels in events, and counts nowhere else.
        let handfuls = if options.storage == Storage::Both { 64 } else { 256 };
        let (events, event_queue) = crossbeam_channel::bounded(handfuls);

        let rooted = options.with_lockfiles.then(|| self.selection.clone());
        let (layered_selection, layered_cancel) = (self.selection.clone(), cancel.clone());
        let layered = Run { cancel: cancel.clone(), ..self };
        let around = Surroundings {
            store: Some(store.clone()),
            fetcher: fetcher.clone(),
            catalogue: Some(&reader),
            lost: &[],
            cursor: cursor.as_ref(),
            keeps: true,
        };
        let opened = layered.open_index(around).await?;
        let mut router = Router {
            tally: Tally::new(rooted, stats.clone()),
            jobs: jobs.clone(),
            hashes,
            events: events.clone(),
            layout: store.layout(),
            guarded: opened.guarded,
            notes_seen: source_bit != 0,
            defers: !options.accept_mass_removal,
            cancel: cancel.clone(),
            on_full: None,
            to_hash: Vec::new(),
            failed: None,
        };
        match opened.expected {
            Expected::Releases(releases) => stats.expect(releases),
            Expected::Uncounted => {
                let count = counting(&options.upstream, &layered_selection, &stats, &layered_cancel);
                router.on_full = Some(count);
            }
            Expected::Unknown => {}
        }
        let held = CatalogueView::new(Some(reader), Some(store.clone()), store.layout(), source_bit, &[]);
        stats.set_phase(if options.verify_existing { Phase::Verify } else { Phase::Download });

        let committer = Committer {
            mirror,
            stats: stats.clone(),
            gaps: known_gaps.iter().map(|gap| gap.release.clone()).collect(),
            cancel: cancel.clone(),
            outcome: Outcome { foreign_packages: foreign, ..Outcome::default() },
            withdrawn: 0,
        };
        let commit = spawn_behind("commit", move || committer.run(&event_queue))?;
        let fetched = Arc::new(Mutex::new(fetched));
        let mut workers = Vec::new();
        for _ in 0..WRITERS {
            let (store, fetched, events) = (store.clone(), fetched.clone(), events.clone());
            let storage = options.storage;
            workers.push(spawn_behind("write", move || write_staged(&store, storage, &fetched, &events))?);
        }
        drop(fetched);
        let mut hashers = Vec::new();
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            let queue = hash_queue.clone();
            let hasher = Hasher {
                store: store.clone(),
                shelf: bundles::Shelf::new(bundles_dir.clone()),
                storage: options.storage,
                jobs: jobs.clone(),
                events: events.clone(),
                cancel: cancel.clone(),
                run_id: run_id.clone(),
                wrong: 0,
            };
            hashers.push(spawn("hash", move || hasher.run(&queue))?);
        }
        drop((hash_queue, jobs, events));
        let plan = spawn_behind("plan", move || carry_out(opened, held, router))?;

        // A task of the runtime: the thread that blocks on this future would have to be woken for
        // every chunk.
        let fetching = tokio::spawn(async move {
            let end = fetcher.run(job_queue, results, cancel.clone()).await;
            if end == RunEnd::Silent {
                // Whoever plans, hashes or waits need not go on either.
                cancel.cancel();
            }
            end
        });
        let end = fetching.await.map_err(|error| PipelineError::Internal(error.to_string()))?;
        let planned = join(plan).await?;
        let mut quarantined = 0;
        let mut hash_error = None;
        for hasher in hashers {
            match join(hasher).await? {
                Ok(count) => quarantined += count,
                Err(error) => hash_error = Some(error),
            }
        }
        for worker in workers {
            join(worker).await?;
        }
        stats.set_phase(Phase::Finishing);
        let Finished { mut outcome, mut mirror } = join(commit).await??;
        outcome.growing = mirror.finish_bundles(options.bundle_seal)?;
        if let Some(error) = hash_error {
            return Err(error);
        }
        let mut report = planned?;
        let complete = report.complete;
        let bad_files = std::mem::take(&mut report.bad_files);
        let removed = std::mem::take(&mut report.removed);
        let deferred = std::mem::take(&mut report.deferred);
        add_plan(&mut outcome, report);
        outcome.quarantined = quarantined;
        outcome.interrupted = user_cancel.is_cancelled();
        outcome.given_up |= end == RunEnd::Silent;
        outcome.check()?;
        if !outcome.healed_gaps.is_empty() {
            known_gaps.retain(|gap| !outcome.healed_gaps.contains(&gap.release));
            mirror.settle_gaps(Some(&known_gaps))?;
        }
        hide(&mut mirror, &removed, deferred, options.accept_mass_removal, &mut outcome)?;
        // Refused, the run is to see it again.
        let settled = outcome.removal_refused == 0;
        let through = complete && !outcome.interrupted && !outcome.given_up;
        if let Some(what) = options.prune {
            let source = if through { index_of_run(&options, cursor.as_ref())? } else { None };
            match &source {
                Some(source) => prune(&mut mirror, source, what, options.allow_mass_prune, &mut outcome)?,
                None => tracing::warn!(
                    "nothing was pruned: that takes a run that went through the whole of a local index, which did not \
                     change meanwhile"
                ),
            }
        }
        // What failed stands in the ledger, and files with bad lines in the cursor.
        if let (true, Some(cursor)) = (settled && through && bad_files.len() <= MOST_BAD, cursor) {
            let totals = Totals { selected: outcome.selected, yanked_skipped: outcome.yanked_skipped };
            cursor.leave(&mut mirror, totals, bad_files)?;
        }
        let changed = if settled { removed.as_slice() } else { &[] };
        mirror.finish(changed, !outcome.interrupted && !outcome.given_up)?;
        if began.elapsed() > LONG && !outcome.interrupted {
            // The next run need not list what this one wrote.
            let lost = mirror.rescan(&|| user_cancel.is_cancelled())?;
            lost.iter().for_each(tell_lost);
            outcome.lost_while_running = lost.len() as u64;
        }
        stats.set_phase(Phase::Done);
        Ok(outcome)
    }
}

/// Plans an index, and hands each decision to whoever carries it out. Blocks.
fn carry_out(
    opened: Opened,
    mut held: CatalogueView,
    mut router: Router,
) -> Result<PlanReport, PipelineError> {
    let Opened { wanted, mut index, closure, .. } = opened;
    let planned = plan(wanted, &mut index, &mut held, &mut |decision| router.take(decision));
    let tally = router.finish()?;
    Ok(tally.finish(planned?, closure))
}

/// The local index again, if it is still the one that the run went through.
fn index_of_run(
    options: &DownloadOptions,
    cursor: Option<&Cursor>,
) -> Result<Option<IndexSource>, PipelineError> {
    let Upstream::Local(dir) = &options.upstream else { return Ok(None) };
    let source = IndexSource::open(dir)?;
    let same = cursor.map_or(source.tree_id().is_none(), |cursor| cursor.is_at(&source));
    Ok(same.then_some(source))
}

pub(crate) fn add_plan(outcome: &mut Outcome, report: PlanReport) {
    outcome.selected = report.selected;
    outcome.existing = report.existing;
    outcome.would_fetch = report.to_fetch;
    outcome.yanked_skipped = report.yanked_skipped;
    outcome.without_checksum = report.without_checksum;
    outcome.roots = report.roots;
    outcome.elsewhere = report.elsewhere;
    outcome.unsatisfied = report.unsatisfied;
    outcome.first_unsatisfied = report.first_unsatisfied;
    outcome.bad_lines = report.bad_lines;
    outcome.first_bad_lines = report.first_bad_lines;
    outcome.withdrawn = report.withdrawn;
    outcome.reinstated = report.reinstated;
}
