//! Passes the decisions of a plan to the threads that carry them out.

use std::ops::ControlFlow;

use crossbeam_channel::Sender;
use mirror_manifest::UpstreamRemoval;
use mirror_repo::WantedRelease;
use mirror_types::{Layout, ReleaseId, Sha256};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;
use crate::plan::{Audited, Decision, Job};
use crate::run::message::{FetchJob, HashJob, JobContext, Message, PriorState, RecordFailure, fetch_job};
use crate::tally::Tally;

/// Held files that one thread takes and hashes together.
const HASH_AT_ONCE: usize = 32;
/// Held releases that the dispatcher takes and records together.
const AUDITED_AT_ONCE: usize = 256;

/// Passes decisions to the fetcher, the hash threads or the dispatcher. Blocks while they are busy.
pub(crate) struct Router {
    pub(crate) tally: Tally,
    pub(crate) jobs: mpsc::Sender<FetchJob>,
    pub(crate) hashes: Sender<Vec<HashJob>>,
    pub(crate) messages: Sender<Message>,
    pub(crate) layout: Layout,
    /// True if the downloads lead to a host that the operator did not name.
    pub(crate) guarded: bool,
    /// True if the source of the run is recorded, so that listings in it are worth noting.
    pub(crate) notes_seen: bool,
    /// True if the lines of crates that lost releases wait until it is known whether these are a mass.
    pub(crate) withholds: bool,
    pub(crate) cancel: CancellationToken,
    /// Called when the downloads first hold planning back.
    pub(crate) on_full: Option<Box<dyn FnOnce() + Send>>,
    /// Held files that wait until they fill a batch to be hashed.
    pub(crate) to_hash: Vec<HashJob>,
    /// Held releases that wait until they fill a batch to be recorded.
    pub(crate) to_audit: Vec<Audited>,
    /// Why a decision could not be carried out.
    pub(crate) failed: Option<SyncError>,
}

impl Router {
    /// Takes a decision; breaks when the run is stopped, or no thread takes the decision.
    pub(crate) fn take(&mut self, decision: Decision) -> ControlFlow<()> {
        if self.cancel.is_cancelled() {
            return ControlFlow::Break(());
        }
        self.tally.count(&decision);
        let sent = match decision {
            Decision::Existing { audit: Some(audited), .. } => {
                self.to_audit.push(*audited);
                self.to_audit.len() < AUDITED_AT_ONCE || self.audit()
            }
            Decision::Existing { audit: None, .. }
            | Decision::Unchanged(_)
            | Decision::YankedSkipped(_)
            | Decision::Undated(_)
            | Decision::Removed(_)
            | Decision::BadFile { .. }
            | Decision::BadLine(_) => true,
            Decision::Verify { job, held } => {
                let prior = PriorState { at: held.locations, recorded: held.recorded };
                let (context, job) = self.context(*job);
                self.to_hash.push(HashJob { context, from: job, prior });
                self.to_hash.len() < HASH_AT_ONCE
                    || self.hashes.send(std::mem::take(&mut self.to_hash)).is_ok()
            }
            Decision::Fetch(job) => self.fetch(*job),
            Decision::Fail { id, cksum, url, fault } => {
                let failure = Box::new(RecordFailure::planned(fault.kind(), fault.to_string()));
                self.send(Message::Failed { context: self.context_of(id, cksum, url, false), failure })
            }
            Decision::FailCrate { name, fault } => {
                let failure = Box::new(RecordFailure::planned(fault.kind(), fault.to_string()));
                self.send(Message::CrateFailed { name, failure })
            }
            Decision::CrateRead(name) => self.send(Message::CrateRead(name)),
            Decision::Resolved(id) => self.send(Message::Resolved(id)),
            Decision::Dropped(id) => self.send(Message::Dropped(id)),
            Decision::Deferred { release, known } => known || self.send(Message::Deferred(release)),
            Decision::DeferredGroups { name, groups } => self.send(Message::DeferredGroups { name, groups }),
            Decision::Undeferred(id) => self.send(Message::Undeferred(id)),
            Decision::Seen(id) => !self.notes_seen || self.send(Message::Seen(id)),
            Decision::Yanked(id) => self.send(Message::RemovedUpstream(id, UpstreamRemoval::Yanked)),
            Decision::YankedBefore(id) => self.send(Message::YankedBefore(id)),
            Decision::Unyanked(id) => self.send(Message::Unyanked(id)),
            Decision::Reinstated(id) => self.send(Message::Reinstated(id)),
            Decision::IndexFile { lines, removes } if removes && self.withholds => {
                self.tally.withhold(*lines);
                true
            }
            Decision::IndexFile { lines, .. } => self.send(Message::IndexFile(lines)),
        };
        if sent { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Has a batch of held releases recorded.
    fn audit(&mut self) -> bool {
        let audited = std::mem::take(&mut self.to_audit).into_iter();
        let layout = self.layout;
        let audited = audited.map(|Audited { id, cksum, url, held }| {
            let release = WantedRelease { path: layout.path(&id), id, url, cksum };
            (release, held)
        });
        self.send(Message::Audited(audited.collect()))
    }

    fn send(&self, message: Message) -> bool {
        self.messages.send(message).is_ok()
    }

    fn context_of(
        &self,
        id: ReleaseId,
        cksum: Option<Sha256>,
        url: String,
        replaces: bool,
    ) -> Box<JobContext> {
        let path = self.layout.path(&id);
        let release = WantedRelease { id, path, url, cksum };
        Box::new(JobContext { release, guarded: self.guarded, was_wrong: false, replaces })
    }

    fn context(&self, job: Job) -> (Box<JobContext>, crate::plan::DownloadAddress) {
        let url = job.from.readable(&job.id);
        (self.context_of(job.id, job.cksum, url, job.replaces.is_some()), job.from)
    }

    fn fetch(&mut self, job: Job) -> bool {
        let (context, from) = self.context(job);
        let url = match from.url(&context.release.id) {
            Ok(url) => url,
            Err(error) => {
                self.failed = Some(error);
                return false;
            }
        };
        match self.jobs.try_send(fetch_job(context, url)) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(job)) => {
                if let Some(call) = self.on_full.take() {
                    call();
                }
                self.jobs.blocking_send(job).is_ok()
            }
        }
    }

    /// Sends the last batches, and returns the counts.
    pub(crate) fn finish(mut self) -> Result<Tally, SyncError> {
        if !self.to_audit.is_empty() {
            // If the dispatcher is gone, it reports why.
            let _ = self.audit();
        }
        if !self.to_hash.is_empty() {
            // If none of the hash threads is left, they report why.
            let _ = self.hashes.send(self.to_hash);
        }
        self.failed.map_or(Ok(self.tally), Err)
    }
}
