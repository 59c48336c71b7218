//! Carries a plan out: the threads of a run, and how they end.

pub(crate) mod diagnosis;
mod dispatch;
mod finish;
mod message;
pub(crate) mod opened;
mod route;
mod stage;
mod verify;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use mirror_bundle::BundleOptions;
use mirror_fetch::{FetchObserver, Fetcher, RunEnd};
use mirror_repo::{Gap, MirrorWriter};
use mirror_store::{CrateStore, Store};
use mirror_types::{ReleaseId, StoreId, Unexpected};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cursor::Cursor;
use crate::error::SyncError;
use crate::held_view::CatalogueView;
use crate::observe::{SyncEvent, SyncObserver, SyncPhase};
use crate::offer::{self, Judgement};
use crate::options::DownloadOptions;
use crate::outcome::Outcome;
use crate::plan::plan;
use crate::removed::record_source;
use crate::reported::survey;
use crate::run::diagnosis::SameFailures;
use crate::run::dispatch::{Dispatcher, Finished};
use crate::run::finish::{Carried, finish};
use crate::run::message::{FetchJob, HashJob, Message};
use crate::run::opened::{lock, open};
use crate::run::route::Router;
use crate::run::stage::{FetchResult, write_staged};
use crate::run::verify::Hasher;
use crate::snapshot::{RunState, index_state};
use crate::source::{Expected, Input, OpenContext, Opened, Run, counting};
use crate::spool::StoreSpools;
use crate::tally::{PlanReport, Tally};
use crate::threads::{Answer, join, spawn, spawn_behind};

/// Threads that write bodies; further ones would only wait for the disk.
const WRITERS: usize = 2;
/// Capacity of the queues of jobs and results of the fetcher. It keeps the network busy while the other threads wait
/// for a processor. Bodies in the queues count against the memory of the fetcher.
const QUEUED_JOBS: usize = 1024;
/// Capacity of the queue of held files to be hashed, in batches.
const QUEUED_HASHES: usize = 16;
/// Capacity of the queue to the dispatcher. Bytes that are read to be bundled are in it, and count nowhere else.
const QUEUED_MESSAGES: usize = 256;
const QUEUED_MESSAGES_WITH_BODIES: usize = 64;

/// An open mirror and an open index, and the parts of the run.
pub(crate) struct Prepared {
    pub(crate) mirror: MirrorWriter,
    pub(crate) index: Opened,
    pub(crate) held: CatalogueView,
    pub(crate) fetcher: Fetcher,
    pub(crate) cursor: Option<Cursor>,
    /// Gaps that a person acknowledged.
    pub(crate) gaps: Vec<Gap>,
    /// Index and policy, for the snapshot.
    pub(crate) state: RunState,
    /// True if a person chose the releases, instead of taking all.
    is_part: bool,
    /// The counters. They also collect crates when the lockfiles inside them are wanted.
    tally: Tally,
    /// Called when the downloads first hold planning back.
    on_full: Option<Box<dyn FnOnce() + Send>>,
}

/// Opens mirror and index, carries the plan out, and ends the run. `store` is the lock, when the caller holds it
/// already.
pub(crate) async fn perform(run: Run, store: Option<Store>) -> Result<Outcome, SyncError> {
    let began = Instant::now();
    let options = run.options.clone();
    let (observer, user_cancel) = (Arc::clone(&run.observer), run.cancel.clone());
    let cancel = run.cancel.child_token();
    let outcome = Outcome { foreign_packages: run.foreign.clone(), ..Outcome::default() };
    let mut prepared = open_all(Run { cancel: cancel.clone(), ..run }, store).await?;
    let (cursor, gaps) = (prepared.cursor.take(), std::mem::take(&mut prepared.gaps));
    let state = std::mem::take(&mut prepared.state);
    let surveyed = survey_beside(&prepared.mirror, &options, &observer)?;
    let verifies = options.verify_existing;
    observer.event(SyncEvent::Phase(if verifies { SyncPhase::Verify } else { SyncPhase::Download }));
    let known = gaps.iter().map(|gap| gap.release.clone()).collect();
    let mut carried = carry_out(prepared, known, outcome, &options, &observer, cancel).await?;
    // Its event must not come after that of the end.
    if let Some(surveyed) = surveyed {
        join(surveyed).await??;
    }
    carried.outcome.interrupted = user_cancel.is_cancelled();
    if verifies && !carried.outcome.interrupted && !carried.outcome.given_up {
        let policy = options.policy.clone().unwrap_or_default();
        carried.licences_read +=
            offer::read_licences(&mut carried.mirror, &policy, options.moment(), &user_cancel)?;
        carried.outcome.interrupted = user_cancel.is_cancelled();
    }
    let outcome = finish(carried, (cursor, state), gaps, &options, &*observer, (began, &user_cancel))?;
    observer.event(SyncEvent::Phase(SyncPhase::Done));
    Ok(outcome)
}

/// Counts what policy does when a run begins, on a thread of its own: a list that keeps a whole registry out makes that
/// take a third of a second. Returns `None` without a policy.
fn survey_beside(
    mirror: &MirrorWriter,
    options: &DownloadOptions,
    observer: &Arc<dyn SyncObserver>,
) -> Result<Option<Answer<Result<(), SyncError>>>, SyncError> {
    if options.policy.is_none() {
        return Ok(None);
    }
    let (reader, options) = (mirror.catalogue().another()?, options.clone());
    let observer = Arc::clone(observer);
    spawn_behind("survey", move || survey(&reader, &options, &*observer).map(drop)).map(Some)
}

async fn open_all(run: Run, store: Option<Store>) -> Result<Prepared, SyncError> {
    let options = run.options.clone();
    let observer = Arc::clone(&run.observer);
    observer.event(SyncEvent::Phase(SyncPhase::Open));
    let locked = store.map_or_else(|| lock(&options), Ok)?;
    let mut mirror = open(locked, &options, &*observer, &run.cancel)?;
    let gaps = mirror.resolve_gaps(options.acknowledge_gaps.as_deref())?;
    let policy = options.policy.clone().unwrap_or_default();
    offer::begin(&mut mirror, &policy, options.moment())?;
    let source_bit = record_source(&mut mirror, &run.input, &options)?;
    let (store, reader) = (mirror.store().clone(), mirror.catalogue().another()?);
    let cache = mirror.index_cache_reader()?;
    let cursor = run.cursor();
    let state = RunState {
        index: if let Input::Local(source) = &run.input { Some(index_state(source)) } else { None },
        policy: options.policy.as_ref().map(|policy| policy.policy().digest()),
    };
    let fetcher = fetcher(&options, &observer, &store)?;
    let tally = Tally::new(options.with_lockfiles.then(|| run.selection.clone()), Arc::clone(&observer));
    let (selection, cancel) = (run.selection.clone(), run.cancel.clone());
    let is_part = !selection.is_open() || matches!(run.input, Input::List { .. });
    let index = run
        .open_index(OpenContext {
            store: Some(store.clone()),
            fetcher: fetcher.clone(),
            catalogue: Some(&reader),
            cache: Some(&cache),
            lost: &[],
            cursor: cursor.as_ref(),
            keeps: true,
        })
        .await?;
    let mut on_full = None;
    match index.expected {
        Expected::Releases(releases) => observer.event(SyncEvent::Expected(releases)),
        Expected::Uncounted => {
            on_full = Some(counting(&options.upstream, &selection, &observer, tally.progress(), &cancel));
        }
        Expected::Unknown => {}
    }
    let layout = store.layout();
    let held = CatalogueView::new(Some(reader), Some(store), layout, source_bit, &[]);
    Ok(Prepared { mirror, index, held, fetcher, cursor, gaps, state, is_part, tally, on_full })
}

fn fetcher(
    options: &DownloadOptions,
    observer: &Arc<dyn SyncObserver>,
    store: &Store,
) -> Result<Fetcher, SyncError> {
    let mut fetch = options.fetch.clone();
    if options.targets().contains(&StoreId::BUNDLES) {
        // Bodies that wait for their bundle count, too.
        fetch.memory_budget_bytes += BundleOptions::default().queue_bytes;
    }
    let observer = Arc::clone(observer) as Arc<dyn FetchObserver>;
    Ok(Fetcher::new(fetch, observer, Arc::new(StoreSpools(store.clone())))?)
}

/// Both ends of the queues between the threads.
struct Queues {
    jobs: mpsc::Sender<FetchJob>,
    job_queue: mpsc::Receiver<FetchJob>,
    results: mpsc::Sender<FetchResult>,
    fetched: mpsc::Receiver<FetchResult>,
    hashes: crossbeam_channel::Sender<Vec<HashJob>>,
    hash_queue: crossbeam_channel::Receiver<Vec<HashJob>>,
    messages: crossbeam_channel::Sender<Message>,
    message_queue: crossbeam_channel::Receiver<Message>,
}

impl Queues {
    /// Makes the queues. `copies`: held releases are read to be copied.
    fn new(copies: bool) -> Self {
        let (jobs, job_queue) = mpsc::channel(QUEUED_JOBS);
        let (results, fetched) = mpsc::channel(QUEUED_JOBS);
        let (hashes, hash_queue) = crossbeam_channel::bounded(QUEUED_HASHES);
        let waiting = if copies { QUEUED_MESSAGES_WITH_BODIES } else { QUEUED_MESSAGES };
        let (messages, message_queue) = crossbeam_channel::bounded(waiting);
        Self { jobs, job_queue, results, fetched, hashes, hash_queue, messages, message_queue }
    }
}

/// Plans, fetches, hashes, stages and commits until everything is done or the run is stopped, each on threads of its
/// own. Only the dispatcher's thread changes the mirror.
async fn carry_out(
    prepared: Prepared,
    gaps: HashSet<ReleaseId>,
    outcome: Outcome,
    options: &DownloadOptions,
    observer: &Arc<dyn SyncObserver>,
    cancel: CancellationToken,
) -> Result<Carried, SyncError> {
    let Prepared { mirror, index, held, fetcher, is_part, tally, on_full, .. } = prepared;
    let copies = options.copies();
    let queues = Queues::new(!copies.is_empty());
    let hashers = hashers(&mirror, &queues, &copies, observer, &cancel)?;
    let writers = writers(&mirror, options.targets(), queues.fetched, &queues.messages)?;
    let router = Router {
        jobs: queues.jobs,
        hashes: queues.hashes,
        messages: queues.messages,
        layout: mirror.store().layout(),
        guarded: index.guarded,
        notes_seen: mirror.source() != 0,
        withholds: !options.accept_mass_removal,
        cancel: cancel.clone(),
        on_full,
        to_hash: Vec::new(),
        to_audit: Vec::new(),
        failed: None,
        tally,
    };
    let progress = router.tally.progress();
    let (stop, watcher) = (cancel.clone(), Arc::clone(observer));
    let judgement = Judgement::new(options.policy.clone().unwrap_or_default(), options.moment());
    let was_empty = mirror.catalogue().is_empty()?;
    let dispatcher = Dispatcher {
        mirror,
        observer: watcher,
        progress,
        gaps,
        judgement,
        licences_read: 0,
        cancel: stop,
        outcome,
        same: SameFailures::new(is_part),
        was_empty,
        denied_before: 0,
    };
    let message_queue = queues.message_queue;
    drop(queues.hash_queue);
    let commit = spawn_behind("commit", move || dispatcher.run(&message_queue))?;
    let plan = spawn_behind("plan", move || plan_and_route(index, held, router))?;
    let end = fetch(fetcher, queues.job_queue, queues.results, cancel).await?;

    let planned = join(plan).await?;
    let mut quarantined = 0;
    let mut hash_error = None;
    for hasher in hashers {
        match join(hasher).await? {
            Ok(count) => quarantined += count,
            Err(error) => hash_error = Some(error),
        }
    }
    for writer in writers {
        join(writer).await?;
    }
    observer.event(SyncEvent::Phase(SyncPhase::Finish));
    let Finished { mut outcome, mut mirror, licences_read } = join(commit).await??;
    outcome.partial_bundle = mirror.finish_bundles(options.bundle_seal)?;
    if let Some(error) = hash_error {
        return Err(error);
    }
    outcome.quarantined = quarantined;
    outcome.given_up |= end == RunEnd::Silent;
    Ok(Carried { mirror, outcome, report: planned?, licences_read })
}

/// Plans an index, and passes each decision to the thread that carries it out. Blocks.
fn plan_and_route(
    index: Opened,
    mut held: CatalogueView,
    mut router: Router,
) -> Result<PlanReport, SyncError> {
    let Opened { wanted, mut index, closure, .. } = index;
    let planned = plan(wanted, &mut index, &mut held, &mut |decision| router.take(decision));
    let tally = router.finish()?;
    Ok(tally.finish(planned?, closure))
}

fn writers(
    mirror: &MirrorWriter,
    mut targets: Vec<StoreId>,
    fetched: mpsc::Receiver<FetchResult>,
    messages: &crossbeam_channel::Sender<Message>,
) -> Result<Vec<Answer<()>>, SyncError> {
    // The loose tree comes last: it can take over the file of a large body.
    targets.sort_by(|one, other| other.cmp(one));
    let store = |id: &StoreId| Ok(Arc::clone(mirror.stores().get(*id)?));
    let targets: Vec<Arc<dyn CrateStore>> = targets.iter().map(store).collect::<Result<_, SyncError>>()?;
    let fetched = Arc::new(Mutex::new(fetched));
    let writer = |_| {
        let (targets, fetched, messages) = (targets.clone(), Arc::clone(&fetched), messages.clone());
        spawn_behind("write", move || write_staged(&targets, &fetched, &messages))
    };
    (0..WRITERS).map(writer).collect()
}

fn hashers(
    mirror: &MirrorWriter,
    queues: &Queues,
    copies: &[StoreId],
    observer: &Arc<dyn SyncObserver>,
    cancel: &CancellationToken,
) -> Result<Vec<Answer<Result<u64, SyncError>>>, SyncError> {
    let hasher = |_| {
        let queue = queues.hash_queue.clone();
        let hasher = Hasher {
            stores: mirror.stores().clone(),
            copies: copies.to_vec(),
            jobs: queues.jobs.clone(),
            messages: queues.messages.clone(),
            observer: Arc::clone(observer),
            cancel: cancel.clone(),
            run_id: mirror.run_id().to_owned(),
            wrong: 0,
        };
        spawn("hash", move || hasher.run(&queue))
    };
    (0..thread::available_parallelism().map_or(2, usize::from)).map(hasher).collect()
}

/// Fetches until there are no more jobs. A task of the runtime: the thread that blocks on this future would have to be
/// woken for every chunk.
async fn fetch(
    fetcher: Fetcher,
    jobs: mpsc::Receiver<FetchJob>,
    results: mpsc::Sender<FetchResult>,
    cancel: CancellationToken,
) -> Result<RunEnd, SyncError> {
    let fetching = tokio::spawn(async move {
        let end = fetcher.run(jobs, results, cancel.clone()).await;
        if end == RunEnd::Silent {
            // The threads that plan, hash or wait need not continue either.
            cancel.cancel();
        }
        end
    });
    Ok(fetching.await.map_err(Unexpected::could_not("fetch to the end"))?)
}
