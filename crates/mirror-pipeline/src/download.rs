use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mirror_fetch::{FetchObserver, Fetcher, RunEnd};
use mirror_index::sparse::DlTemplate;
use mirror_index::{IndexSource, LockSet, NameSet, Selection, Shard};
use mirror_manifest::{Catalogue, LinesWriter, rfc3339};
use mirror_repo::{MirrorWriter, OpenReport, bundle_lines};
use mirror_store::Store;
use mirror_store::bundle::BundleOptions;
use mirror_telemetry::{Phase, RunStats};
use mirror_types::FailedRecord;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::commit::{Committed, Committer, write_staged};
use crate::cursor::{Cursor, Totals};
use crate::error::PipelineError;
use crate::given::{MAX_TEXT_BYTES, read_text};
use crate::gone::Gone;
use crate::held_view::CatalogueView;
use crate::list::{Checksums, read_checksums};
use crate::options::{DownloadOptions, Prune, Storage, Upstream};
use crate::outcome::Outcome;
use crate::plan::plan;
use crate::prune::Pruner;
use crate::removed::{Books, record_source};
use crate::route::Router;
use crate::source::{Downloads, Expected, Input, Opened, Surroundings, counting};
use crate::spool::StoreSpools;
use crate::sweep::{Swept, leave, sweep};
use crate::tally::{PlanReport, Tally};
use crate::threads::{join, spawn, spawn_behind};
use crate::verify::Hasher;
use crate::{bundles, gaps, packaged};

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
        Some(_) if !options.dry_run => Some(open_store(&options)?),
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
        let Some(catalogue) = Catalogue::open_read_only(&database(&store))? else {
            return Ok(packaged::Packaged::default());
        };
        let (_, dir) = MirrorWriter::rehearse(&given.mirror())?;
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

fn open_store(options: &DownloadOptions) -> Result<Store, PipelineError> {
    Ok(Store::open(&options.out, options.layout, options.layout_asked)?)
}

/// Opens the mirror whose lock is held, and says what was found.
fn open_mirror(store: Store, options: &DownloadOptions) -> Result<MirrorWriter, PipelineError> {
    let (opened, report) = MirrorWriter::open_in(store, &options.mirror())?;
    told_opened(&opened, &report);
    Ok(opened)
}

/// Says what was done to open a mirror.
pub(crate) fn told_opened(opened: &MirrorWriter, report: &OpenReport) {
    let manifest = opened.manifest.path().display();
    if report.torn_bytes_cut > 0 {
        let bytes = report.torn_bytes_cut;
        tracing::warn!(%manifest, bytes, "the manifest ended in a torn record; it was cut");
    }
    match &report.copied_from {
        Some(from) if report.was_shared => tracing::warn!(
            shared = %from.display(),
            %manifest,
            "a manifest has records of several mirrors; it was left as it is, this mirror's records were copied, and \
             its catalogue is made again"
        ),
        Some(from) => {
            tracing::info!(from = %from.display(), %manifest, "the manifest begins with a copy of the one before");
        }
        None => {}
    }
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
        let store = store.map_or_else(|| open_store(&options), Ok)?;
        let opened = open_mirror(store, &options)?;
        let MirrorWriter { store, id, mut manifest, bundles_dir } = opened;
        let mut catalogue = Catalogue::open(&database(&store))?;
        if options.verify_existing {
            catalogue.check()?;
        }
        if !catalogue.follows(manifest.path())? {
            bundles::doubt(&mut catalogue)?;
        }
        if catalogue.replay(manifest.path(), store.layout())?.anew {
            tracing::warn!(
                "the catalogue was gone, empty, or of another manifest: it was made again from the manifest"
            );
        }
        let run_id = run_id();
        let root = options.out.display().to_string();
        let gone = Gone { store: &store, root: &root, bundles_dir: &bundles_dir, run_id: &run_id };
        bundles::hold_against(&mut catalogue, &bundles_dir, true, (&gone, &mut manifest))?;
        bundles::check(&catalogue, &bundles_dir)?;
        MirrorWriter::remember_bundles(&store, &bundles_dir)?;
        let bundler = if options.storage.bundles() {
            Some(bundles::open(&options, &bundles_dir, id, &mut catalogue, &mut manifest, &run_id)?)
        } else {
            None
        };
        let (reader, swept, lines) = look_around(&store, &mut catalogue, &options, &cancel)?;
        swept.record(&store, &mut catalogue, &gone, &mut manifest)?;
        let mut known_gaps = gaps::settle(&store, &mut catalogue, options.acknowledge_gaps.as_deref())?;
        let source_bit = record_source(&mut catalogue, &self.input, &options)?;
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
            store: store.clone(),
            manifest,
            catalogue,
            lines,
            stats: stats.clone(),
            run_id: run_id.clone(),
            source: source_bit,
            gaps: known_gaps.iter().map(|gap| gap.release.clone()).collect(),
            root: root.clone(),
            cancel: cancel.clone(),
            outcome: Outcome { foreign_packages: foreign, ..Outcome::default() },
            withdrawn: 0,
            bundler,
            bundles_dir: bundles_dir.clone(),
            touched: HashSet::new(),
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
        let Committed { mut outcome, mut catalogue, mut manifest, mut lines, bundler, touched } =
            join(commit).await??;
        if let Some(bundler) = bundler {
            outcome.growing = bundler.finish(options.bundle_seal, &mut catalogue)?;
        }
        if let Some(error) = hash_error {
            return Err(error);
        }
        let manifest_path = manifest.path().to_owned();
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
            gaps::settle(&store, &mut catalogue, Some(&known_gaps))?;
        }
        let mut books =
            Books { catalogue: &mut catalogue, manifest: &mut manifest, lines: &mut lines, run_id: &run_id };
        books.hide(&removed, &deferred, options.accept_mass_removal, &mut outcome)?;
        // Refused, the run is to see it again.
        let settled = outcome.removal_refused == 0;
        let through = complete && !outcome.interrupted && !outcome.given_up;
        if let Some(what) = options.prune {
            let source = if through { index_of_run(&options, cursor.as_ref())? } else { None };
            match &source {
                Some(source) => {
                    let mut pruner = Pruner {
                        source,
                        store: &store,
                        catalogue: &mut catalogue,
                        manifest: &mut manifest,
                        gone: &gone,
                    };
                    pruner.prune(what, options.allow_mass_prune, &mut outcome)?;
                }
                None => tracing::warn!(
                    "nothing was pruned: that takes a run that went through the whole of a local index, which did not \
                     change meanwhile"
                ),
            }
        }
        // What failed stands in the ledger, and files with bad lines in the cursor.
        if let (true, Some(cursor)) = (settled && through && bad_files.len() <= MOST_BAD, cursor) {
            let totals = Totals { selected: outcome.selected, yanked_skipped: outcome.yanked_skipped };
            cursor.leave(&mut catalogue, totals, bad_files)?;
        }
        catalogue.know(&manifest_path)?;
        if !outcome.interrupted && !outcome.given_up {
            // For whoever serves the mirror: how fresh it is.
            catalogue.set_last_run(SystemTime::now())?;
        }
        lines.finish(&mut catalogue)?;
        if options.storage.bundles() {
            let changed = if settled { removed.as_slice() } else { &[] };
            bundle_lines::write(&catalogue, &store.state_dir(), &bundles_dir, changed)?;
        }
        leave(&store, &mut catalogue, touched)?;
        if began.elapsed() > LONG && !outcome.interrupted {
            // The next run need not list what this one wrote.
            let swept = sweep(&store, &catalogue, &user_cancel)?;
            swept.record(&store, &mut catalogue, &gone, &mut manifest)?;
            outcome.lost_while_running = swept.lost.len() as u64;
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

/// What is gone from the tree, and the file of index lines, which is looked through meanwhile; with a catalogue
/// for whoever reads.
fn look_around(
    store: &Store,
    catalogue: &mut Catalogue,
    options: &DownloadOptions,
    cancel: &CancellationToken,
) -> Result<(Catalogue, Swept, LinesWriter), PipelineError> {
    let reader = catalogue.another()?;
    thread::scope(|scope| {
        let sweeping = scope.spawn(move || sweep(store, &reader, cancel).map(|swept| (reader, swept)));
        let lines = open_lines(store, catalogue, options.verify_existing);
        let panicked = |_| PipelineError::Internal("a thread panicked".to_owned());
        let (reader, swept) = sweeping.join().map_err(panicked)??;
        Ok((reader, swept, lines?))
    })
}

/// The file of index lines; what it lost makes this run read the whole index.
fn open_lines(store: &Store, catalogue: &mut Catalogue, verify: bool) -> Result<LinesWriter, PipelineError> {
    let (lines, found) = LinesWriter::open(&store.state_dir(), catalogue, verify)?;
    if found.lost {
        tracing::warn!("the mirror's index lines were gone or cut; the index is read again");
    }
    if found.damaged > 0 {
        tracing::warn!(files = found.damaged, "index lines were damaged; the index is read again");
    }
    Ok(lines)
}

/// Where a mirror keeps its catalogue.
pub(crate) fn database(store: &Store) -> PathBuf {
    store.state_dir().join("catalogue.sqlite")
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

pub(crate) fn run_id() -> String {
    format!("{}-{}", rfc3339(SystemTime::now()).replace([':', '-'], ""), std::process::id())
}
