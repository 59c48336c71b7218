//! The threads of an extraction: some read, hash and stage; one commits.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use mirror_bundle::{BundleError, BundleFault, BundleLimits, FrameBuffers, Member};
use mirror_store::{Staged, Store, StoreError};
use mirror_types::{ReleaseId, Sha256, Unexpected};
use tokio_util::sync::CancellationToken;

use crate::error::{ExtractError, Stop, is_of_bundle};
use crate::observe::{ExtractEvent, ExtractObserver};
use crate::open::Open;
use crate::options::{ExtractOptions, ExtractOutcome, ExtractTask};

/// Most files of one commit.
const BATCH_FILES: usize = 2_000;
/// Most bytes of one commit.
const BATCH_BYTES: u64 = 128 << 20;
/// Longest time that a staged file waits for its commit.
const BATCH_TIME: Duration = Duration::from_secs(1);
/// Most files and bytes that travel between threads together.
const CHUNK_FILES: usize = 64;
const CHUNK_BYTES: u64 = 1 << 20;
/// Largest member that is held in memory, bytes.
const MAX_IN_MEMORY_BYTES: u64 = 8 << 20;

/// A member of a stream, read by one thread, to be hashed and staged by another.
pub(crate) struct Loaded {
    path: String,
    id: ReleaseId,
    layout: mirror_types::Layout,
    frame_offset: u64,
    data: Vec<u8>,
}

/// A piece of work.
pub(crate) enum Task {
    /// Some frames of a bundle.
    Run(Arc<Open>, Range<usize>),
    /// A bundle of one stream; other threads may process its members.
    Stream(Arc<Open>, Sender<Task>),
    Loaded(Arc<Open>, Vec<Loaded>),
}

/// Files to be committed.
#[derive(Default)]
pub(crate) struct CommitBatch {
    staged: Vec<Staged>,
    bytes: u64,
}

/// The fate of a member.
pub(crate) enum Fate {
    Staged(Staged),
    Existing,
    Verified,
    /// The path occurred before in this run.
    Again,
    /// A file with other bytes is there.
    Differs,
    /// A link, or anything else that is no plain file or directory, is in its place.
    Blocked(StoreError),
}

/// A path to be rechecked when everything is read.
pub(crate) struct Recheck {
    pub(crate) path: String,
    pub(crate) id: ReleaseId,
    pub(crate) bundle: PathBuf,
}

pub(crate) struct Work<'a> {
    pub(crate) store: Option<Store>,
    pub(crate) overwrite: bool,
    pub(crate) limits: BundleLimits,
    pub(crate) observer: &'a dyn ExtractObserver,
    pub(crate) rechecks: Mutex<Vec<Recheck>>,
    pub(crate) outcome: Mutex<ExtractOutcome>,
    cancel: CancellationToken,
    stopped: AtomicBool,
    fatal: Mutex<Option<ExtractError>>,
    /// Hashes of the paths of this run: a path that occurs twice is rechecked.
    seen: Mutex<HashSet<u64>>,
    hasher: RandomState,
    members: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        options: &ExtractOptions,
        store: Option<Store>,
        observer: &'a dyn ExtractObserver,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            store,
            overwrite: matches!(options.task, ExtractTask::Extract { overwrite: true, .. }),
            limits: options.limits,
            observer,
            rechecks: Mutex::default(),
            outcome: Mutex::default(),
            cancel,
            stopped: AtomicBool::new(false),
            fatal: Mutex::default(),
            seen: Mutex::default(),
            hasher: RandomState::new(),
            members: AtomicU64::new(0),
        }
    }

    pub(crate) fn emit(&self, event: ExtractEvent<'_>) {
        self.observer.event(event);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    /// Ends the whole run; the first reason counts.
    pub(crate) fn stop(&self, error: ExtractError) {
        lock(&self.fatal).get_or_insert(error);
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn count_bundle(&self) {
        lock(&self.outcome).bundles += 1;
    }

    /// Handles a fault: that of a bundle ends the bundle, any other the run.
    pub(crate) fn trouble(&self, open: Option<&Open>, error: StoreError) {
        if !is_of_bundle(error.kind()) {
            self.stop(error.into());
            return;
        }
        if open.is_none_or(|open| !open.bad.swap(true, Ordering::Relaxed)) {
            let mut outcome = lock(&self.outcome);
            outcome.bad_bundles += 1;
            let name = open.map_or_else(|| "bundle".to_owned(), |open| open.files.name.clone());
            outcome.fail(name, error.to_string());
            drop(outcome);
            self.emit(ExtractEvent::BundleFailed(&error));
        }
    }

    pub(crate) fn run(&self, queue: &Receiver<Task>, commits: &Sender<CommitBatch>) {
        let mut buffers = match FrameBuffers::new() {
            Ok(buffers) => buffers,
            Err(error) => return self.stop(Unexpected::could_not("set up zstd")(error).into()),
        };
        for task in queue {
            self.one(task, &mut buffers, commits);
        }
    }

    fn one(&self, task: Task, buffers: &mut FrameBuffers, commits: &Sender<CommitBatch>) {
        let mut out = CommitBatch::default();
        let open = match task {
            Task::Run(open, run) => {
                if let Some(map) = open.map.as_ref().filter(|_| self.goes_on(&open)) {
                    let read = open.reader.read_frames(map, run, buffers, &mut |member| {
                        self.member(&open, member, &mut out, commits)
                    });
                    self.end_of_task(&open, read);
                }
                open
            }
            Task::Stream(open, tasks) => {
                let read = self.stream(&open, &tasks, &mut out, commits);
                self.end_of_task(&open, read);
                open
            }
            Task::Loaded(open, members) => {
                // These members were read before any fault that was found since: they count.
                if !self.is_stopped() {
                    let read = self.loaded(&open, members, &mut out, commits);
                    self.end_of_task(&open, read);
                }
                open
            }
        };
        self.hand_over(&mut out, commits);
        if open.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end_of(&open);
        }
    }

    fn goes_on(&self, open: &Open) -> bool {
        !self.is_stopped() && !open.bad.load(Ordering::Relaxed)
    }

    fn end_of_task(&self, open: &Open, read: Result<(), Stop>) {
        if let Err(Stop::Store(error)) = read {
            self.trouble(Some(open), error);
        }
    }

    /// Ends a bundle that was read to its end: its manifest must list nothing else.
    pub(crate) fn end_of(&self, open: &Open) {
        if self.goes_on(open)
            && let Some(missing) = open.missing()
        {
            self.trouble(Some(open), missing.into());
        }
    }

    /// Reads a bundle of one stream, and passes its members in chunks to the next free thread.
    fn stream(
        &self,
        open: &Arc<Open>,
        tasks: &Sender<Task>,
        out: &mut CommitBatch,
        commits: &Sender<CommitBatch>,
    ) -> Result<(), Stop> {
        let (mut loaded, mut bytes) = (Vec::new(), 0);
        let read = open.reader.stream(&mut |member| {
            if !self.goes_on(open) {
                return Err(Stop::Cancelled);
            }
            if member.size() > MAX_IN_MEMORY_BYTES {
                return self.member(open, member, out, commits);
            }
            bytes += member.size();
            loaded.push(Loaded {
                path: member.path().to_owned(),
                id: member.release().clone(),
                layout: member.layout(),
                frame_offset: member.frame_offset(),
                data: member.read_all()?,
            });
            if loaded.len() < CHUNK_FILES && bytes < CHUNK_BYTES {
                return Ok(());
            }
            bytes = 0;
            open.left.fetch_add(1, Ordering::AcqRel);
            match tasks.try_send(Task::Loaded(open.clone(), std::mem::take(&mut loaded))) {
                Ok(()) => Ok(()),
                // All threads are busy, so this one does the work: it might wait for itself.
                Err(TrySendError::Full(task) | TrySendError::Disconnected(task)) => {
                    open.left.fetch_sub(1, Ordering::AcqRel);
                    let Task::Loaded(_, members) = task else { return Ok(()) };
                    self.loaded(open, members, out, commits)
                }
            }
        });
        // The members read before a fault are whole, and are used.
        self.loaded(open, loaded, out, commits)?;
        match read {
            // A partial bundle may end in an incomplete frame; the next writer cuts that.
            Err(Stop::Store(StoreError::Bundle(BundleError::Damaged { fault, .. })))
                if !open.files.sealed && is_torn(&fault) =>
            {
                self.emit(ExtractEvent::PartialEnd { bundle: &open.files.name, fault: &fault });
                Ok(())
            }
            read => read.map(|_| ()),
        }
    }

    fn loaded(
        &self,
        open: &Open,
        members: Vec<Loaded>,
        out: &mut CommitBatch,
        commits: &Sender<CommitBatch>,
    ) -> Result<(), Stop> {
        for Loaded { path, id, layout, frame_offset, data } in members {
            let mut member = Member::in_memory(&open.files.path, (path, id, layout), frame_offset, &data);
            self.member(open, &mut member, out, commits)?;
        }
        Ok(())
    }

    /// Checks, stages and counts one member.
    pub(crate) fn member(
        &self,
        open: &Open,
        member: &mut Member<'_>,
        out: &mut CommitBatch,
        commits: &Sender<CommitBatch>,
    ) -> Result<(), Stop> {
        if self.is_stopped() {
            return Err(Stop::Cancelled);
        }
        self.members.fetch_add(1, Ordering::Relaxed);
        if open.listed.is_none() {
            lock(&self.outcome).unlisted += 1;
        }
        match self.fate(open, member) {
            Ok(Fate::Staged(staged)) => {
                out.bytes += member.size();
                out.staged.push(staged);
                if out.staged.len() >= CHUNK_FILES || out.bytes >= CHUNK_BYTES {
                    self.hand_over(out, commits);
                }
            }
            Ok(Fate::Existing) => {
                self.emit(ExtractEvent::Existing);
                lock(&self.outcome).existing += 1;
            }
            Ok(Fate::Verified) => {
                self.emit(ExtractEvent::Verified);
                lock(&self.outcome).verified += 1;
            }
            Ok(Fate::Again | Fate::Differs) => {
                let (path, id) = (member.path().to_owned(), member.release().clone());
                lock(&self.rechecks).push(Recheck { path, id, bundle: open.files.path.clone() });
            }
            Ok(Fate::Blocked(error)) => {
                self.emit(ExtractEvent::Blocked(&error));
                let mut outcome = lock(&self.outcome);
                outcome.failed += 1;
                outcome.fail(member.path().to_owned(), error.to_string());
            }
            Err(error) => {
                lock(&self.outcome).failed += 1;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Reads a member, compares it with the manifest, and stages it when it is to be written.
    fn fate(&self, open: &Open, member: &mut Member<'_>) -> Result<Fate, StoreError> {
        let Some(store) = &self.store else {
            let sha256 = member.sha256()?;
            open.check(member, sha256)?;
            return Ok(Fate::Verified);
        };
        if member.layout() != store.layout() {
            let (found, asked) = (store.layout(), member.layout());
            return Err(StoreError::LayoutMismatch { root: store.root().to_owned(), found, asked });
        }
        let again = !lock(&self.seen).insert(self.hasher.hash_one(member.path()));
        let (staged, sha256) = match member.bytes() {
            Some(_) => (None, member.sha256()?),
            None => {
                let (staged, sha256) = stage_large(store, member)?;
                (Some(staged), sha256)
            }
        };
        open.check(member, sha256)?;
        if again {
            return Ok(Fate::Again);
        }
        if let Some(error) = blocked(store, member.path())? {
            return Ok(Fate::Blocked(error));
        }
        if !self.overwrite
            && store.may_hold(member.path())?
            && let Some(found) = store.hash(member.path())?
        {
            let same = found == (sha256, member.size());
            return Ok(if same { Fate::Existing } else { Fate::Differs });
        }
        match (staged, member.bytes()) {
            (Some(staged), _) => Ok(Fate::Staged(staged)),
            (None, bytes) => store.stage(member.path(), bytes.unwrap_or_default()).map(Fate::Staged),
        }
    }

    pub(crate) fn hand_over(&self, out: &mut CommitBatch, commits: &Sender<CommitBatch>) {
        if !out.staged.is_empty() && commits.send(std::mem::take(out)).is_err() {
            self.stop(ExtractError::Internal("the committer ended early".to_owned()));
        }
    }

    /// Commits staged files, in batches, until all stagers are done.
    pub(crate) fn commit_all(&self, commits: &Receiver<CommitBatch>) {
        let mut batch = CommitBatch::default();
        let mut since = Instant::now();
        loop {
            let wait = BATCH_TIME.saturating_sub(since.elapsed());
            let ended = match commits.recv_timeout(if batch.staged.is_empty() { BATCH_TIME } else { wait }) {
                Ok(more) => {
                    if batch.staged.is_empty() {
                        since = Instant::now();
                    }
                    batch.staged.extend(more.staged);
                    batch.bytes += more.bytes;
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            let full = batch.staged.len() >= BATCH_FILES
                || batch.bytes >= BATCH_BYTES
                || since.elapsed() >= BATCH_TIME;
            if ended || full {
                self.commit(std::mem::take(&mut batch));
            }
            if ended {
                return;
            }
        }
    }

    fn commit(&self, batch: CommitBatch) {
        let Some(store) = self.store.as_ref().filter(|_| !batch.staged.is_empty()) else { return };
        if self.stopped.load(Ordering::Relaxed) {
            return;
        }
        let files = batch.staged.len() as u64;
        match store.commit(batch.staged) {
            Ok(()) => {
                self.emit(ExtractEvent::Extracted { files, bytes: batch.bytes });
                let mut outcome = lock(&self.outcome);
                outcome.extracted += files;
                outcome.bytes += batch.bytes;
            }
            Err(error) => self.stop(error.into()),
        }
    }

    /// Returns the outcome, or the error that ended the run.
    pub(crate) fn end(self) -> Result<ExtractOutcome, ExtractError> {
        if let Some(error) = lock(&self.fatal).take() {
            return Err(error);
        }
        let mut outcome = std::mem::take(&mut *lock(&self.outcome));
        outcome.members += self.members.load(Ordering::Relaxed);
        outcome.interrupted = self.cancel.is_cancelled();
        Ok(outcome)
    }
}

fn is_torn(fault: &BundleFault) -> bool {
    matches!(fault, BundleFault::Torn | BundleFault::Damaged(_) | BundleFault::NotAFrame)
}

/// Returns the obstacle to writing a release; it is no fault of the bundle.
pub(crate) fn blocked(store: &Store, path: &str) -> Result<Option<StoreError>, StoreError> {
    match store.check_way(path) {
        Ok(()) => Ok(None),
        Err(error @ StoreError::Strange { .. }) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Writes a large member into the stage while hashing it.
fn stage_large(store: &Store, member: &mut Member<'_>) -> Result<(Staged, Sha256), StoreError> {
    let mut writer = store.stage_file()?;
    let mut hasher = mirror_checksum::Hasher::default();
    member.read(&mut |piece| {
        hasher.update(piece);
        writer.write(piece)
    })?;
    Ok((writer.finish(member.path())?, hasher.finish()))
}
