//! Hashes held releases in every store that has them. Where several copies are wanted and one is missing, it is made
//! from another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender};
use mirror_repo::{Stores, VerifiedBytes};
use mirror_store::{Aside, CrateBody, Hashed, NewCrate, OpenCrate, StagedCrate, Store, StoreError};
use mirror_types::{FaultKind, Location, Locations, ReleaseId, Sha256, StoreId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver};
use crate::run::message::{FetchJob, HashJob, JobContext, Message, PriorState, VerifiedRelease, fetch_job};

/// Largest release that is read into memory to be copied, bytes; larger ones are read twice. It also limits a batch of
/// them, since many batches may wait for the dispatcher.
const MAX_COPIED_BYTES: u64 = 1 << 20;

/// A job, and what the stores with the release returned when it was hashed with others.
struct Looked {
    job: HashJob,
    found: Vec<(StoreId, Result<Hashed, StoreError>)>,
    started: SystemTime,
}

/// The right bytes of a release, to be copied.
enum Copyable {
    Memory(Arc<Vec<u8>>),
    Open(Arc<OpenCrate>),
}

impl Copyable {
    fn body(&self) -> CrateBody {
        match self {
            Self::Memory(bytes) => CrateBody::Memory(Box::new(SharedBytes(Arc::clone(bytes)))),
            Self::Open(open) => CrateBody::Reader(Box::new(Arc::clone(open))),
        }
    }
}

struct SharedBytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// One of the hash threads.
pub(crate) struct Hasher {
    pub(crate) stores: Stores,
    /// The stores each of which is to hold every release; none when one copy anywhere will do.
    pub(crate) copies: Vec<StoreId>,
    pub(crate) jobs: mpsc::Sender<FetchJob>,
    pub(crate) messages: Sender<Message>,
    pub(crate) cancel: CancellationToken,
    pub(crate) observer: Arc<dyn SyncObserver>,
    pub(crate) run_id: String,
    /// Copies that were wrong.
    pub(crate) wrong: u64,
}

impl Hasher {
    /// Hashes held releases until the planner ends; moves wrong ones aside, to be fetched again. Runs on a thread of
    /// its own; blocks. Returns the number of copies that were wrong.
    pub(crate) fn run(mut self, work: &Receiver<Vec<HashJob>>) -> Result<u64, SyncError> {
        for jobs_at_once in work {
            let mut made = Vec::with_capacity(jobs_at_once.len());
            let mut bytes = 0;
            let mut ahead = VecDeque::new();
            let mut left = jobs_at_once.into_iter();
            loop {
                if ahead.is_empty() {
                    self.hash_ahead(&mut left, &mut ahead)?;
                }
                let Some(one) = ahead.pop_front() else { break };
                if self.cancel.is_cancelled() {
                    break;
                }
                let fetch = self.look(one, &mut made)?;
                bytes += made.last().map_or(0, in_memory);
                if fetch.is_none() && bytes < MAX_COPIED_BYTES {
                    continue;
                }
                bytes = 0;
                // In this order: a loss that is committed after the fetched release would remove it from the catalogue
                // again.
                let sent = self.messages.send(Message::Many(std::mem::take(&mut made))).is_ok();
                if !sent || fetch.is_some_and(|fetch| self.jobs.blocking_send(fetch).is_err()) {
                    return Ok(self.wrong);
                }
            }
            if self.messages.send(Message::Many(made)).is_err() {
                break;
            }
        }
        Ok(self.wrong)
    }

    /// Hashes the next few releases together: those that need no copy.
    fn hash_ahead(
        &self,
        left: &mut std::vec::IntoIter<HashJob>,
        ahead: &mut VecDeque<Looked>,
    ) -> Result<(), SyncError> {
        let started = SystemTime::now();
        let base = ahead.len();
        let looked = |job| Looked { job, found: Vec::new(), started };
        ahead.extend(left.take(Store::HASHED_TOGETHER).map(looked));
        for store in self.stores.iter() {
            let (mut which, mut held) = (Vec::new(), Vec::new());
            for (n, Looked { job, .. }) in ahead.iter().enumerate().skip(base) {
                if let Some(at) = job.prior.at.get(store.id())
                    && !self.lacks_a_copy(&job.prior.at)
                {
                    which.push(n);
                    held.push((&job.context.release.id, at));
                }
            }
            if held.is_empty() {
                continue;
            }
            let hashed = store.hash_each(&held);
            for (n, hashed) in which.into_iter().zip(hashed) {
                ahead[n].found.push((store.id(), hashed));
            }
        }
        Ok(())
    }

    /// Returns whether the bytes of a release are needed for more than their checksum: to make a copy.
    fn lacks_a_copy(&self, at: &Locations) -> bool {
        self.copies.iter().any(|store| at.get(*store).is_none())
    }

    /// Verifies one release; returns the job for the fetcher when no store holds it any more.
    fn look(&mut self, one: Looked, made: &mut Vec<Message>) -> Result<Option<FetchJob>, SyncError> {
        let Looked { job: HashJob { mut context, from, mut prior }, found, started } = one;
        let before = prior.at.clone();
        let mut size = 0;
        let mut copyable = None;
        if self.lacks_a_copy(&prior.at) {
            for at in before.iter() {
                let (hashed, source) = self.read(&context.release.id, at)?;
                if let Some(bytes) = self.judge(&mut context, &mut prior, at.store(), hashed, made)? {
                    size = bytes;
                    copyable = copyable.or(source);
                }
            }
        }
        for (store, hashed) in found {
            if let Some(bytes) = self.judge(&mut context, &mut prior, store, hashed?, made)? {
                size = bytes;
            }
        }
        let (Some(sha256), true) = (context.release.cksum, !prior.at.is_empty()) else {
            let url = from.url(&context.release.id)?;
            return Ok(Some(fetch_job(context, url)));
        };
        if prior.at != before {
            // Lost in one store, and held in another.
            made.push(Message::Resolved(context.release.id.clone()));
        }
        let finished = SystemTime::now();
        let bytes = VerifiedBytes { size, sha256, retries: 0, http_status: None, started, finished };
        let staged = self.copy(&context, &bytes, &prior.at, copyable)?;
        made.push(Message::Verified(VerifiedRelease { context, bytes, prior, staged }));
        Ok(None)
    }

    /// Compares the bytes in a store with the index; returns their size when they are right. Sets wrong bytes aside,
    /// and the release is not held there any more.
    fn judge(
        &mut self,
        context: &mut JobContext,
        prior: &mut PriorState,
        store: StoreId,
        hashed: Hashed,
        made: &mut Vec<Message>,
    ) -> Result<Option<u64>, SyncError> {
        let id = &context.release.id;
        let found = match hashed {
            Hashed::Bytes { sha256, size } if context.release.cksum == Some(sha256) => return Ok(Some(size)),
            Hashed::Bytes { sha256, .. } => Some(Some(sha256)),
            Hashed::Damaged => Some(None),
            Hashed::Missing => None,
        };
        let at = prior.at.remove(store);
        if let (Some(sha256), Some(at)) = (found, at) {
            self.observer.event(SyncEvent::Wrong { release: id, at: &at, sha256 });
            self.stores.get(store)?.set_aside(id, &at, Aside::Quarantine, &self.run_id)?;
            self.wrong += 1;
            context.was_wrong = true;
        }
        made.push(Message::Lost(context.release.id.clone(), store));
        Ok(None)
    }

    /// Makes the copies that are missing.
    fn copy(
        &self,
        context: &JobContext,
        bytes: &VerifiedBytes,
        held: &Locations,
        copyable: Option<Copyable>,
    ) -> Result<Vec<StagedCrate>, SyncError> {
        let release = &context.release;
        let missing: Vec<_> = self.copies.iter().filter(|store| held.get(**store).is_none()).collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let source = match copyable {
            Some(source) => source,
            None => self.read_again(&release.id, bytes.sha256, held)?,
        };
        let stage = |store: &StoreId| {
            let (id, url, body) = (&release.id, release.url.as_str(), source.body());
            let new = NewCrate { id, sha256: bytes.sha256, size: bytes.size, url, body };
            Ok(self.stores.get(*store)?.stage(new)?)
        };
        missing.into_iter().map(stage).collect()
    }

    /// Hashes a release in its store, and keeps the bytes of a small one.
    fn read(&self, id: &ReleaseId, at: &Location) -> Result<(Hashed, Option<Copyable>), SyncError> {
        let open = match self.stores.get(at.store())?.open(id, at) {
            Ok(Some(open)) => open,
            // Only damage removes a member of a sealed bundle.
            Ok(None) if matches!(at, Location::Member(_)) => return Ok((Hashed::Damaged, None)),
            Ok(None) => return Ok((Hashed::Missing, None)),
            Err(error) if error.kind() == FaultKind::Integrity => return Ok((Hashed::Damaged, None)),
            Err(error) => return Err(error.into()),
        };
        let size = open.len();
        let read = if size <= MAX_COPIED_BYTES {
            open.read().map(|bytes| (mirror_checksum::Hasher::of(&bytes), Copyable::Memory(Arc::new(bytes))))
        } else {
            open.hash().map(|sha256| (sha256, Copyable::Open(Arc::new(open))))
        };
        match read {
            Ok((sha256, source)) => Ok((Hashed::Bytes { sha256, size }, Some(source))),
            Err(error) if OpenCrate::is_damage(&error) => Ok((Hashed::Damaged, None)),
            Err(source) => Err(StoreError::Io { doing: "read", path: id.file_name().into(), source }.into()),
        }
    }

    /// Reads a release, hashed before, once more to be copied.
    fn read_again(&self, id: &ReleaseId, sha256: Sha256, held: &Locations) -> Result<Copyable, SyncError> {
        let changed = || SyncError::Internal(format!("{id} changed while it was read"));
        let at = held.iter().next().ok_or_else(changed)?;
        match self.read(id, at)? {
            (Hashed::Bytes { sha256: found, .. }, Some(source)) if found == sha256 => Ok(source),
            _ => Err(changed()),
        }
    }
}

/// Returns the bytes in memory that a message carries.
fn in_memory(message: &Message) -> u64 {
    match message {
        Message::Verified(verified) => verified.staged.iter().map(StagedCrate::memory_bytes).sum(),
        _ => 0,
    }
}
