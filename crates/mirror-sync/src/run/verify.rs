//! Hashes what is held: files and members of bundles. Where both places are wanted and one is missing, it
//! is made from the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender};
use mirror_repo::{OpenBundles, VerifiedBytes};
use mirror_store::bundle::MemberBody;
use mirror_store::{Staged, Store, StoreError};
use mirror_types::{MemberLocation, ReleaseId, Sha256, StoreId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver};
use crate::options::Storage;
use crate::run::message::{Arrival, FetchJob, HashJob, Message, PriorState, Tag, fetch_job};

/// Files that are read into memory on their way into a bundle, bytes; larger ones are read twice. So much of them
/// travels together: many such handfuls may wait for the dispatcher.
const SMALL: u64 = 1 << 20;

/// A job, and what its file was found to be when it was hashed with others.
struct Hashed {
    job: HashJob,
    file: Option<Result<Option<(Sha256, u64)>, StoreError>>,
    started: SystemTime,
}

/// One of the threads that hash.
pub(crate) struct Hasher {
    pub(crate) store: Store,
    pub(crate) bundles: Arc<OpenBundles>,
    pub(crate) storage: Storage,
    pub(crate) jobs: mpsc::Sender<FetchJob>,
    pub(crate) messages: Sender<Message>,
    pub(crate) cancel: CancellationToken,
    pub(crate) observer: Arc<dyn SyncObserver>,
    pub(crate) run_id: String,
    /// Files and members that were wrong.
    pub(crate) wrong: u64,
}

impl Hasher {
    /// Hashes what is held until the planner ends; what is wrong is moved aside and fetched again.
    /// Runs on a thread of its own; blocks. Gives the number of files and members that were wrong.
    pub(crate) fn run(mut self, work: &Receiver<Vec<HashJob>>) -> Result<u64, SyncError> {
        for jobs_at_once in work {
            let mut made = Vec::with_capacity(jobs_at_once.len());
            let mut bytes = 0;
            let mut ahead = VecDeque::new();
            let mut left = jobs_at_once.into_iter();
            loop {
                if ahead.is_empty() {
                    self.hash_ahead(&mut left, &mut ahead);
                }
                let Some(one) = ahead.pop_front() else { break };
                if self.cancel.is_cancelled() {
                    break;
                }
                let fetch = self.look(one, &mut made)?;
                bytes += made.last().map_or(0, in_memory);
                if fetch.is_none() && bytes < SMALL {
                    continue;
                }
                bytes = 0;
                // In this order: what is fetched must not be forgotten afterwards.
                let told = self.messages.send(Message::Many(std::mem::take(&mut made))).is_ok();
                if !told || fetch.is_some_and(|fetch| self.jobs.blocking_send(fetch).is_err()) {
                    return Ok(self.wrong);
                }
            }
            if self.messages.send(Message::Many(made)).is_err() {
                break;
            }
        }
        Ok(self.wrong)
    }

    /// Hashes the files of the next few releases together: those that are not read into memory for a bundle.
    fn hash_ahead(&self, left: &mut std::vec::IntoIter<HashJob>, ahead: &mut VecDeque<Hashed>) {
        let started = SystemTime::now();
        let jobs: Vec<HashJob> = left.take(Store::HASHED_TOGETHER).collect();
        let wanted = |job: &HashJob| job.prior.at.is_loose() && !self.goes_into_bundle(&job.prior);
        let paths: Vec<&str> =
            jobs.iter().filter(|job| wanted(job)).map(|job| job.tag.release.path.as_str()).collect();
        let mut found = self.store.hash_each(&paths).into_iter();
        ahead.extend(jobs.into_iter().map(|job| {
            let file = if wanted(&job) { found.next() } else { None };
            Hashed { job, file, started }
        }));
    }

    /// Whether the bytes of a file are needed for more than their checksum.
    fn goes_into_bundle(&self, prior: &PriorState) -> bool {
        self.storage == Storage::Both && prior.at.member().is_none()
    }

    /// Looks at one release; gives the job for the fetcher when it is in no place any more.
    fn look(&mut self, one: Hashed, made: &mut Vec<Message>) -> Result<Option<FetchJob>, SyncError> {
        let Hashed { job: HashJob { mut tag, from, mut prior }, file, started } = one;
        let before = prior.at.clone();
        let (mut size, mut body) = (0, None);
        if prior.at.is_loose() {
            let found = match file {
                Some(found) => found?,
                None => self.read(&tag.release.path, &mut body)?,
            };
            match found {
                Some((sha256, bytes)) if tag.release.cksum == Some(sha256) => size = bytes,
                found => {
                    prior.at.remove(StoreId::LOOSE);
                    self.lost_file(&mut tag, found, made)?;
                }
            }
        }
        if let Some(at) = prior.at.member() {
            match self.bundles.hash(at, &tag.release.id)? {
                Some((sha256, bytes)) if tag.release.cksum == Some(sha256) => size = bytes,
                _ => {
                    let event = SyncEvent::MemberDamaged { release: &tag.release.id, bundle: at.bundle };
                    self.observer.event(event);
                    self.wrong += 1;
                    tag.was_wrong = true;
                    prior.at.remove(StoreId::BUNDLES);
                    made.push(Message::LostMember(tag.release.id.clone()));
                }
            }
        }
        let (Some(sha256), true) = (tag.release.cksum, !prior.at.is_empty()) else {
            let url = from.url(&tag.release.id)?;
            return Ok(Some(fetch_job(tag, url)));
        };
        if prior.at != before {
            // Lost in one place, and held in the other.
            made.push(Message::Resolved(tag.release.id.clone()));
        }
        let (mut staged, mut member) = (None, None);
        if self.storage == Storage::Both {
            if let (false, Some(at)) = (prior.at.is_loose(), prior.at.member()) {
                staged = Some(self.unbundle(&tag.release.id, at, sha256, &tag.release.path)?);
            } else if prior.at.member().is_none() {
                member = match body {
                    Some(body) => Some(body),
                    None => Some(self.body(&tag.release.path, sha256)?),
                };
            }
        }
        let finished = SystemTime::now();
        let bytes = VerifiedBytes { size, sha256, retries: 0, http_status: None, started, finished };
        made.push(Message::Arrived(Arrival { tag, bytes, prior, staged, member }));
        Ok(None)
    }

    fn lost_file(
        &mut self,
        tag: &mut Tag,
        found: Option<(Sha256, u64)>,
        made: &mut Vec<Message>,
    ) -> Result<(), SyncError> {
        if let Some((sha256, _)) = found {
            self.observer.event(SyncEvent::FileWrong { release: &tag.release.id, sha256 });
            self.store.set_aside(&tag.release.path, "quarantine", &self.run_id)?;
            self.wrong += 1;
            tag.was_wrong = true;
        }
        made.push(Message::Lost(tag.release.id.clone()));
        Ok(())
    }

    /// Hashes a file that is to go into a bundle, and keeps what was read when that is little.
    fn read(&self, path: &str, body: &mut Option<MemberBody>) -> Result<Option<(Sha256, u64)>, SyncError> {
        if self.store.size(path)?.is_none_or(|size| size > SMALL) {
            return Ok(self.store.hash(path)?);
        }
        let bytes = self.store.read(path)?;
        let found = (mirror_checksum::Hasher::of(&bytes), bytes.len() as u64);
        *body = Some(MemberBody::Memory(Box::new(bytes)));
        Ok(Some(found))
    }

    /// The data of a file for a bundle.
    fn body(&self, path: &str, sha256: Sha256) -> Result<MemberBody, SyncError> {
        let mut body = None;
        match self.read(path, &mut body)? {
            Some((found, size)) if found == sha256 => match body {
                Some(body) => Ok(body),
                None => Ok(MemberBody::File { file: self.store.open_file(path)?, size }),
            },
            _ => Err(changed(path)),
        }
    }

    /// Makes the loose file of a member.
    fn unbundle(
        &mut self,
        id: &ReleaseId,
        at: MemberLocation,
        sha256: Sha256,
        path: &str,
    ) -> Result<Staged, SyncError> {
        let mut writer = self.store.stage_file()?;
        let mut hasher = mirror_checksum::Hasher::default();
        self.bundles.visit_if_whole(at, id, &mut |member| {
            member.read(&mut |piece| {
                hasher.update(piece);
                writer.write(piece)
            })
        })?;
        if hasher.finish() != sha256 {
            return Err(changed(path));
        }
        Ok(writer.finish(path)?)
    }
}

/// Returns the bytes in memory that a message carries.
fn in_memory(message: &Message) -> u64 {
    match message {
        Message::Arrived(Arrival { member: Some(MemberBody::Memory(bytes)), .. }) => {
            (**bytes).as_ref().len() as u64
        }
        _ => 0,
    }
}

fn changed(path: &str) -> SyncError {
    SyncError::Internal(format!("{path} changed while it was read"))
}
