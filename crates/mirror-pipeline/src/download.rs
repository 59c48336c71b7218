use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mirror_fetch::{FetchObserver, Fetcher};
use mirror_index::sparse::DlTemplate;
use mirror_index::{Closure, IndexLimits, IndexSource, LockSet, Selection};
use mirror_manifest::{Catalogue, ManifestWriter, rfc3339};
use mirror_store::Store;
use mirror_telemetry::{Phase, RunStats};
use mirror_types::{CrateName, IndexRecord, ReleaseId, upstream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::commit::{Committer, Problem, StoreSpools, write_staged};
use crate::error::PipelineError;
use crate::list::{read_checksums, read_list, readable};
use crate::options::{DownloadOptions, Upstream};
use crate::outcome::Outcome;
use crate::plan::{PlanReport, Planner, Sinks, hash_held};
use crate::presence::Presence;
use crate::sparse::SparseRegistry;

/// Threads that write bodies; more only wait for the disk.
const WRITERS: usize = 2;

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
    let run = Run::prepare(options, stats, cancel)?;
    let mut outcome = if run.options.dry_run { run.rehearse().await? } else { run.perform().await? };
    outcome.elapsed = began.elapsed();
    Ok(outcome)
}

struct Run {
    options: DownloadOptions,
    stats: Arc<RunStats>,
    cancel: CancellationToken,
    selection: Selection,
    foreign: u64,
}

/// Counts what the fetcher does.
struct Observer(Arc<RunStats>);

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

/// Where planned records come from, once everything that needs the network is done.
enum Records {
    Local(IndexSource),
    Sparse { registry: Box<SparseRegistry>, names: Vec<CrateName> },
    Closed(Vec<Vec<IndexRecord>>),
    List(Vec<(ReleaseId, Url)>),
}

impl Run {
    fn prepare(
        options: DownloadOptions,
        stats: Arc<RunStats>,
        cancel: CancellationToken,
    ) -> Result<Self, PipelineError> {
        let mut locks = Vec::new();
        for path in &options.cargo_locks {
            let text = std::fs::read_to_string(path).map_err(|source| PipelineError::Read {
                what: "the lockfile",
                path: path.clone(),
                source,
            })?;
            locks.push((path.display().to_string(), text));
        }
        let locked = if locks.is_empty() {
            None
        } else {
            let set = LockSet::parse(&locks, &options.lock_sources)
                .map_err(|error| PipelineError::Usage(error.to_string()))?;
            Some(set)
        };
        let foreign = locked.as_ref().map_or(0, |set| set.foreign() as u64);
        let selection = Selection {
            include: options.include.clone(),
            exclude: options.exclude.clone(),
            locked,
            latest: options.latest,
            include_yanked: options.include_yanked,
            shard: options.shard,
        };
        Ok(Self { options, stats, cancel, selection, foreign })
    }

    /// What would be done; nothing is written.
    async fn rehearse(self) -> Result<Outcome, PipelineError> {
        let store = Store::open_read_only(&self.options.out, self.options.layout)?;
        let spools = store
            .clone()
            .map_or_else(|| Arc::new(NoSpools) as Arc<_>, |store| Arc::new(StoreSpools(store)) as Arc<_>);
        let fetcher =
            Fetcher::new(self.options.fetch.clone(), Arc::new(Observer(self.stats.clone())), spools)?;
        let catalogue = match &store {
            Some(store) => Catalogue::open_read_only(&store.state_dir().join("catalogue.sqlite"))?,
            None => None,
        };
        let presence = Presence::new(store.clone(), catalogue.as_ref())?;
        let foreign = self.foreign;
        let cancel = self.cancel.clone();
        let (planner, records) = self.planner(store, fetcher, catalogue, presence, None, false).await?;
        let report = join(spawn("plan", move || plan_all(planner, records))?).await??;
        let mut outcome = Outcome { foreign_packages: foreign, ..Outcome::default() };
        let (count, bytes) = report.known_sizes;
        outcome.would_fetch_bytes = (count > 0).then(|| bytes / count * report.to_fetch);
        add_plan(&mut outcome, report);
        outcome.interrupted = cancel.is_cancelled();
        Ok(outcome)
    }

    async fn perform(self) -> Result<Outcome, PipelineError> {
        let options = self.options.clone();
        let stats = self.stats.clone();
        let user_cancel = self.cancel.clone();
        let cancel = self.cancel.child_token();
        let foreign = self.foreign;
        stats.set_phase(Phase::Index);
        let store = Store::open(&options.out, options.layout, options.layout_asked)?;
        let (manifest, opened) = ManifestWriter::open(&options.manifest)?;
        if opened.torn_bytes_cut > 0 {
            tracing::warn!(
                manifest = %options.manifest.display(),
                bytes = opened.torn_bytes_cut,
                "the manifest ended in a torn record; it was cut"
            );
        }
        let database = store.state_dir().join("catalogue.sqlite");
        let mut catalogue = Catalogue::open(&database)?;
        catalogue.replay(&options.manifest)?;
        let reader = Catalogue::open_read_only(&database)?;
        let presence = Presence::new(Some(store.clone()), reader.as_ref())?;
        let fetcher = Fetcher::new(
            options.fetch.clone(),
            Arc::new(Observer(stats.clone())),
            Arc::new(StoreSpools(store.clone())),
        )?;

        let (jobs, job_queue) = mpsc::channel(256);
        let (results, fetched) = mpsc::channel(256);
        let (hashes, hash_queue) = crossbeam_channel::bounded(256);
        let (events, event_queue) = crossbeam_channel::bounded(1024);
        let run_id = run_id();

        let sinks = Sinks { jobs: jobs.clone(), hashes, events: events.clone() };
        let layered = Run { cancel: cancel.clone(), ..self };
        let (planner, records) = layered
            .planner(Some(store.clone()), fetcher.clone(), reader, presence, Some(sinks), true)
            .await?;
        stats.set_phase(if options.verify_existing { Phase::Verify } else { Phase::Download });

        let committer = Committer {
            store: store.clone(),
            manifest,
            catalogue,
            stats: stats.clone(),
            run_id: run_id.clone(),
            root: options.out.display().to_string(),
            cancel: cancel.clone(),
            outcome: Outcome { foreign_packages: foreign, ..Outcome::default() },
        };
        let commit = spawn("commit", move || committer.run(&event_queue))?;
        let fetched = Arc::new(Mutex::new(fetched));
        let mut workers = Vec::new();
        for _ in 0..WRITERS {
            let (store, fetched, events) = (store.clone(), fetched.clone(), events.clone());
            workers.push(spawn("write", move || write_staged(&store, &fetched, &events))?);
        }
        drop(fetched);
        let mut hashers = Vec::new();
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            let (store, queue, jobs, events) =
                (store.clone(), hash_queue.clone(), jobs.clone(), events.clone());
            let (cancel, run_id) = (cancel.clone(), run_id.clone());
            hashers.push(spawn("hash", move || hash_held(&store, &queue, &jobs, &events, &cancel, &run_id))?);
        }
        drop((hash_queue, jobs, events));
        let plan = spawn("plan", move || plan_all(planner, records))?;

        fetcher.run(job_queue, results, cancel.clone()).await;
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
        let mut outcome = join(commit).await??;
        if let Some(error) = hash_error {
            return Err(error);
        }
        add_plan(&mut outcome, planned?);
        outcome.quarantined = quarantined;
        outcome.interrupted = user_cancel.is_cancelled();
        stats.set_phase(Phase::Done);
        Ok(outcome)
    }

    /// Opens the source and makes the planner for it.
    async fn planner(
        self,
        store: Option<Store>,
        fetcher: Fetcher,
        catalogue: Option<Catalogue>,
        presence: Presence,
        sinks: Option<Sinks>,
        keep: bool,
    ) -> Result<(Planner, Records), PipelineError> {
        let Self { options, stats, cancel, selection, .. } = self;
        let mut template = match &options.crates_base_url {
            Some(base) => Some(DlTemplate::from_base(base).map_err(|e| PipelineError::Usage(e.to_string()))?),
            None => None,
        };
        let mut faults = Vec::new();
        let mut unread = Vec::new();
        let mut complete = false;
        let mut guarded = false;
        let records = match &options.upstream {
            Upstream::Local(dir) => {
                let source = IndexSource::open(dir)?;
                tracing::info!(index = %dir.display(), "{}", source.describe());
                complete = options.include.is_empty()
                    && options.exclude.is_empty()
                    && selection.locked.is_none()
                    && options.limit == 0
                    && options.shard == mirror_index::Shard::default();
                Records::Local(source)
            }
            Upstream::Sparse(url) => {
                let mut registry = SparseRegistry::new(url, store, keep, options.offline, fetcher)?;
                if template.is_none() {
                    let own = registry.template().await?;
                    guarded = registry.leads_elsewhere(&own);
                    template = Some(own);
                }
                if options.closure {
                    let mut closure = Closure::new(selection.clone());
                    registry
                        .close(&mut closure, &mut |fault| faults.push(fault.to_string()), &cancel)
                        .await?;
                    unread.append(&mut registry.failed);
                    Records::Closed(closure.finish())
                } else {
                    let names = sparse_names(&selection)?;
                    registry.refresh(names.clone(), &cancel).await?;
                    unread.append(&mut registry.failed);
                    Records::Sparse { registry: Box::new(registry), names }
                }
            }
            Upstream::List(path) => Records::List(read_list(path, &mut |fault| faults.push(fault))?),
        };
        let template = match template {
            Some(template) => template,
            None => DlTemplate::from_base(&upstream::crates_base_url())
                .map_err(|error| PipelineError::Usage(error.to_string()))?,
        };
        let checksums = options.checksums.as_deref().map(read_checksums).transpose()?;
        let mut planner = Planner {
            selection,
            limits: IndexLimits::default(),
            template,
            guarded,
            checksums,
            layout: options.layout,
            limit: options.limit,
            verify_existing: options.verify_existing,
            complete,
            catalogue,
            presence,
            stats,
            cancel,
            sinks,
            seen: HashSet::new(),
            report: PlanReport::default(),
        };
        if let Records::Closed(_) = records {
            // What the closure selected is wanted, whatever began it.
            planner.selection = Selection { include_yanked: true, ..Selection::default() };
        }
        for fault in faults {
            planner.bad_line(fault);
        }
        for (name, why) in unread {
            planner.unread(&name, &why);
        }
        Ok((planner, records))
    }
}

/// Dry runs that have no mirror yet keep every body in memory.
struct NoSpools;

impl mirror_fetch::SpoolFactory for NoSpools {
    fn create(&self) -> std::io::Result<Box<dyn mirror_fetch::Spool>> {
        Err(std::io::Error::other("a dry run stores nothing"))
    }
}

/// The crates that a sparse registry is asked for: it cannot list what it has.
fn sparse_names(selection: &Selection) -> Result<Vec<CrateName>, PipelineError> {
    let named = selection.include.exact_names();
    let mut names = match (&selection.locked, named) {
        (Some(locked), _) => locked.names(),
        (None, Some(names)) if !names.is_empty() => names,
        _ => {
            return Err(PipelineError::Usage(
                "a sparse registry cannot list its crates: name them with --cargo-lock, --crates (without \
                 wildcards) or --crates-file, or use a git index with --index-dir"
                    .to_owned(),
            ));
        }
    };
    names.retain(|name| selection.wants_crate(name));
    names.sort();
    names.dedup();
    Ok(names)
}

fn plan_all(mut planner: Planner, records: Records) -> Result<PlanReport, PipelineError> {
    match records {
        Records::Local(source) => {
            let mut failed = None;
            source.scan(&mut |file| match planner.file(&file) {
                Ok(Ok(())) => ControlFlow::Continue(()),
                Ok(Err(_)) => ControlFlow::Break(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Records::Sparse { registry, names } => {
            for name in names {
                let Some(file) = registry.file(&name) else { continue };
                if planner.file(&file)?.is_err() {
                    break;
                }
            }
        }
        Records::Closed(crates) => {
            for records in crates {
                if planner.records(records)?.is_err() {
                    break;
                }
            }
        }
        Records::List(entries) => plan_list(&mut planner, entries)?,
    }
    planner.missing();
    Ok(planner.finish())
}

fn plan_list(planner: &mut Planner, entries: Vec<(ReleaseId, Url)>) -> Result<(), PipelineError> {
    let mut by_crate: BTreeMap<CrateName, Vec<(ReleaseId, Url)>> = BTreeMap::new();
    for (id, url) in entries {
        by_crate.entry(id.name.clone()).or_default().push((id, url));
    }
    for (name, entries) in by_crate {
        if !planner.selection.wants_crate(&name) {
            continue;
        }
        let held = planner.held(&name)?;
        let mut seen: HashMap<ReleaseId, ()> = HashMap::new();
        for (id, url) in entries {
            if seen.insert(id.clone(), ()).is_some() {
                continue;
            }
            if !planner.begin(&id) {
                return Ok(());
            }
            let shown = readable(url.as_str());
            let cksum = planner.checksums.as_ref().and_then(|sums| sums.get(&shown)).copied();
            if planner.place(id, cksum, url, shown, &held)?.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Planner {
    /// Reports every record that is wanted of a crate whose index file could not be read.
    fn unread(&mut self, name: &CrateName, why: &str) {
        let why = format!("its index file could not be read: {why}");
        let locked: Vec<ReleaseId> = match &self.selection.locked {
            Some(set) => set.missing(&self.seen).into_iter().filter(|id| id.name == *name).collect(),
            None => {
                "0".parse().map(|version| vec![ReleaseId { name: name.clone(), version }]).unwrap_or_default()
            }
        };
        for id in locked {
            if self.begin(&id) {
                let _ = self.fail(&id, None, Problem::planned("index", why.clone()));
            }
        }
    }

    /// Reports what the lockfiles name and the index does not have.
    fn missing(&mut self) {
        if self.cancel.is_cancelled() || self.limit > 0 {
            return;
        }
        let Some(locked) = &self.selection.locked else { return };
        for id in locked.missing(&self.seen) {
            if !self.selection.wants_crate(&id.name) {
                continue;
            }
            if self.begin(&id) {
                let why = "the lockfile names it, the index does not have it".to_owned();
                let _ = self.fail(&id, None, Problem::planned("not-in-index", why));
            }
        }
    }
}

fn add_plan(outcome: &mut Outcome, report: PlanReport) {
    outcome.selected = report.selected;
    outcome.existing = report.existing;
    outcome.would_fetch = report.to_fetch;
    outcome.yanked_skipped = report.yanked_skipped;
    outcome.bad_lines = report.bad_lines;
    outcome.first_bad_lines = report.first_bad_lines;
}

fn run_id() -> String {
    format!("{}-{}", rfc3339(SystemTime::now()).replace([':', '-'], ""), std::process::id())
}

type Answer<T> = tokio::sync::oneshot::Receiver<T>;

/// Runs `work` on a plain thread of its own.
fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Answer<T>, PipelineError> {
    let (done, answer) = tokio::sync::oneshot::channel();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _ = done.send(work());
        })
        .map_err(|error| PipelineError::Internal(format!("could not start a thread: {error}")))?;
    Ok(answer)
}

async fn join<T>(answer: Answer<T>) -> Result<T, PipelineError> {
    answer.await.map_err(|_| PipelineError::Internal("a thread ended without a result".to_owned()))
}
