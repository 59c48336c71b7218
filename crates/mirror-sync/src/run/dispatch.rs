//! The end of the pipeline, and the only loop that changes the mirror: it collects what the threads of a run produce
//! and commits it in batches.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use mirror_manifest::{HeldBackRelease, ReplacedRelease, UpstreamRemoval};
use mirror_repo::{MirrorWriter, NewRelease, Transaction};
use mirror_types::{CrateName, HeldBack, ReleaseId};
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver};
use crate::offer::{Judgement, mark_unjudged};
use crate::outcome::Outcome;
use crate::plan::HeldRow;
use crate::run::diagnosis::SameFailures;
use crate::run::message::{JobContext, Message, RecordFailure, VerifiedRelease};
use crate::tally::PlanProgress;

/// Refused requests, without a single delivery, after which the run is given up.
const DEAD_ORIGIN: u64 = 20;
/// The same limit for a mirror that holds something: the releases it lacks may be those that its origin never delivers.
const DEAD_ORIGIN_OF_OLD: u64 = 1_000;
/// Fewest downloads from which the rate of later ones is estimated.
const MIN_RATE_SAMPLE: u64 = 100;
const BATCH_FILES: usize = 2_000;
const BATCH_BYTES: u64 = 128 << 20;
const BATCH_AGE: Duration = Duration::from_secs(1);

/// The dispatcher of a run.
pub(crate) struct Dispatcher {
    pub(crate) mirror: MirrorWriter,
    pub(crate) observer: Arc<dyn SyncObserver>,
    pub(crate) progress: Arc<PlanProgress>,
    /// Gaps that a person acknowledged.
    pub(crate) gaps: HashSet<ReleaseId>,
    pub(crate) judgement: Judgement,
    /// Licences that were read, to judge what was committed.
    pub(crate) licences_read: u64,
    pub(crate) cancel: CancellationToken,
    pub(crate) outcome: Outcome,
    pub(crate) same: SameFailures,
    /// True if the mirror held nothing when the run began.
    pub(crate) was_empty: bool,
    /// Denied requests for releases that an earlier run was refused as well.
    pub(crate) denied_before: u64,
}

/// The rest of a run when everything is committed.
pub(crate) struct Finished {
    pub(crate) outcome: Outcome,
    pub(crate) mirror: MirrorWriter,
    pub(crate) licences_read: u64,
}

struct Batch {
    tx: Transaction,
    /// Sizes of the downloaded files, counted once they are durable.
    downloaded: Vec<u64>,
    bytes: u64,
    /// Crates of which policy has to judge the held releases.
    unjudged: HashSet<CrateName>,
    began: Option<Instant>,
}

impl Batch {
    fn of(mirror: &MirrorWriter) -> Self {
        let (downloaded, unjudged) = (Vec::new(), HashSet::new());
        Self { tx: mirror.begin(), downloaded, bytes: 0, unjudged, began: None }
    }
    fn is_empty(&self) -> bool {
        self.began.is_none()
    }
    fn is_full(&self) -> bool {
        self.tx.len() >= BATCH_FILES
            || self.bytes >= BATCH_BYTES
            || self.began.is_some_and(|began| began.elapsed() >= BATCH_AGE)
    }
}

impl Dispatcher {
    /// Takes messages until all senders are gone; returns the counters and the mirror. Blocks.
    pub(crate) fn run(mut self, messages: &Receiver<Message>) -> Result<Finished, SyncError> {
        let done = self.take_all(messages);
        if done.is_err() {
            self.cancel.cancel();
        }
        done.map(|()| Finished {
            outcome: self.outcome,
            mirror: self.mirror,
            licences_read: self.licences_read,
        })
    }

    fn take_all(&mut self, messages: &Receiver<Message>) -> Result<(), SyncError> {
        let began = Instant::now();
        let mut batch = Batch::of(&self.mirror);
        loop {
            let message = match messages.recv_timeout(BATCH_AGE) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Some(message) = message {
                self.take(message, &mut batch)?;
            }
            if batch.is_full() {
                let full = std::mem::replace(&mut batch, Batch::of(&self.mirror));
                self.commit(full)?;
            }
        }
        if !batch.is_empty() {
            self.commit(batch)?;
        }
        if self.outcome.downloaded == 0 && self.is_new() && !self.cancel.is_cancelled() {
            self.outcome.diagnosis = self.same.diagnosis_of_all();
        }
        let seconds = began.elapsed().as_secs_f64();
        if self.outcome.downloaded >= MIN_RATE_SAMPLE {
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            let rate = self.outcome.downloaded as f64 / seconds.max(0.001);
            self.mirror.set_download_rate(rate)?;
        }
        Ok(())
    }

    fn take(&mut self, message: Message, batch: &mut Batch) -> Result<(), SyncError> {
        batch.began.get_or_insert_with(Instant::now);
        match message {
            Message::Verified(verified) => self.verified(verified, batch)?,
            Message::Audited(releases) => {
                for (release, HeldRow { sha256, bytes, locations, .. }) in &releases {
                    batch.tx.audit(release, (*sha256, *bytes), locations);
                }
            }
            Message::Failed { context, failure } => self.failed(*context, *failure, batch)?,
            Message::CrateFailed { name, failure } => self.crate_failed(name, *failure, batch),
            Message::CrateRead(name) => batch.tx.crate_read(name),
            Message::Lost(id, store) => batch.tx.lost(&self.mirror, id, store)?,
            Message::Resolved(id) => batch.tx.resolved(id),
            Message::Dropped(id) => batch.tx.dropped(id),
            Message::Deferred(release) => {
                // Only bytes that replace others count from another moment than their publication.
                if let HeldBackRelease { id, cksum, decision: HeldBack { since: Some(seen), .. }, .. } =
                    &*release
                {
                    batch.tx.replaced(ReplacedRelease { id: id.clone(), cksum: *cksum, seen: *seen });
                    batch.unjudged.insert(id.name.clone());
                }
                batch.tx.defer(*release);
            }
            Message::DeferredGroups { name, groups } => batch.tx.defer_groups(name, groups),
            Message::Undeferred(id) => batch.tx.undefer(id),
            Message::RemovedUpstream(id, kind) => {
                self.emit(SyncEvent::RemovedUpstream { release: &id, kind });
                batch.tx.removed_upstream(id, kind);
            }
            Message::YankedBefore(id) => batch.tx.removed_upstream(id, UpstreamRemoval::Yanked),
            Message::Unyanked(id) => batch.tx.unyanked(id),
            Message::Reinstated(id) => {
                self.emit(SyncEvent::Reinstated(&id));
                let unjudged = self.judgement.reinstated(&self.mirror, &id, &mut batch.unjudged)?;
                batch.tx.reinstated(id);
                unjudged.into_iter().for_each(|unjudged| batch.tx.hold_back(unjudged));
            }
            Message::Seen(id) => batch.tx.seen(id),
            Message::IndexFile(lines) => {
                batch.bytes += lines.packed_bytes();
                let file = lines.path.rsplit('/').next().unwrap_or_default();
                self.judgement.line_changed(&self.mirror, file, &mut batch.unjudged)?;
                batch.tx.index_file(*lines);
            }
            Message::Broken(error) => return Err(error),
            Message::Many(messages) => {
                for message in messages {
                    self.take(message, batch)?;
                }
            }
        }
        Ok(())
    }

    fn emit(&self, event: SyncEvent<'_>) {
        self.observer.event(event);
    }

    fn verified(&mut self, verified: VerifiedRelease, batch: &mut Batch) -> Result<(), SyncError> {
        if let Err(why) = verified.fits() {
            // Whatever is staged is dropped with the release.
            let mut failure = RecordFailure::planned("wrong_hash", why);
            failure.attempt.retries = verified.bytes.retries;
            return self.failed(*verified.context, failure, batch);
        }
        let VerifiedRelease { context, bytes, prior, staged } = verified;
        let JobContext { release, replaces, .. } = *context;
        if prior.at.is_empty() {
            batch.downloaded.push(bytes.size);
        } else {
            self.emit(SyncEvent::Verified);
            self.outcome.verified_existing += 1;
        }
        let writes = !staged.is_empty();
        if writes {
            batch.bytes += bytes.size;
        }
        if (writes || !prior.recorded) && self.gaps.remove(&release.id) {
            self.emit(SyncEvent::GapFilled(&release.id));
            self.outcome.resolved_gaps.push(release.id.clone());
        }
        let (held_at, recorded) = (prior.at, prior.recorded);
        let judged = (writes || !recorded)
            .then(|| self.judgement.begin(&release.id, bytes.sha256, &mut batch.unjudged))
            .flatten();
        let replaced = match replaces {
            true => {
                Some(self.judgement.replaced(&self.mirror, &release.id, bytes.sha256, &mut batch.unjudged)?)
            }
            false => None,
        };
        let new = NewRelease { release, bytes, held_at, recorded, replaces, staged };
        batch.tx.hold(&mut self.mirror, new)?;
        replaced.into_iter().for_each(|replaced| batch.tx.replaced(replaced));
        judged.into_iter().for_each(|unjudged| batch.tx.hold_back(unjudged));
        Ok(())
    }

    fn failed(
        &mut self,
        context: JobContext,
        failure: RecordFailure,
        batch: &mut Batch,
    ) -> Result<(), SyncError> {
        let JobContext { release, was_wrong, .. } = context;
        let acknowledged = failure.attempt.unavailable && self.gaps.contains(&release.id);
        if !acknowledged && self.outcome.downloaded == 0 {
            if self.was_refused_before(&release.id, &failure)? {
                self.denied_before += u64::from(failure.denied);
            } else {
                self.same.add(&release.id.name, &failure);
            }
        }
        let RecordFailure { attempt, unreached, denied, .. } = failure;
        let outcome = &mut self.outcome;
        *if attempt.unavailable { &mut outcome.unavailable } else { &mut outcome.failed } += 1;
        outcome.acknowledged += u64::from(acknowledged);
        outcome.unreached += u64::from(unreached);
        outcome.denied += u64::from(denied && !acknowledged);
        outcome.unrepaired += u64::from(was_wrong);
        *outcome.failures_by_kind.entry(attempt.kind).or_default() += 1;
        if batch.downloaded.is_empty() && self.is_hopeless() {
            self.outcome.given_up = true;
            self.cancel.cancel();
        }
        self.emit(SyncEvent::Failed {
            release: &release.id,
            kind: attempt.kind,
            why: &attempt.message,
            unavailable: attempt.unavailable,
            acknowledged,
        });
        if !acknowledged {
            self.outcome.fail(release.id.to_string(), attempt.message.clone());
        }
        batch.tx.fail(release, attempt);
        Ok(())
    }

    /// Returns whether an earlier run was refused the release as well. That its origin never delivers it says nothing
    /// about the others; in a mirror that holds nothing, it may have been the same wrong address.
    fn was_refused_before(&self, id: &ReleaseId, failure: &RecordFailure) -> Result<bool, SyncError> {
        if self.was_empty || !failure.attempt.unavailable {
            return Ok(false);
        }
        let known = self.mirror.catalogue().ledger_of(&id.name)?;
        Ok(known
            .iter()
            .any(|(version, kind)| *version == id.version.as_str() && kind == failure.attempt.kind))
    }

    /// Returns whether the mirror holds nothing of what is selected, as far as that is known.
    fn is_new(&self) -> bool {
        self.progress.existing() + self.outcome.verified_existing == 0
    }

    /// Returns whether it is pointless to continue, because the origin refuses everything. Some origins answer 403 or
    /// 500 for a missing file: that does not count once they delivered one, unless a great many requests all end so.
    /// The fetcher detects silence.
    fn is_hopeless(&mut self) -> bool {
        // What is selected and held may be planned last.
        let stranger = self.was_empty && self.is_new();
        if self.outcome.downloaded == 0 && self.outcome.diagnosis.is_none() {
            self.outcome.diagnosis = self.same.diagnosis(stranger);
        }
        let outcome = &self.outcome;
        let (unreached, denied) = (outcome.unreached, outcome.denied);
        let answered = outcome.failed + outcome.unavailable - unreached - denied;
        let most = if stranger { DEAD_ORIGIN } else { DEAD_ORIGIN_OF_OLD };
        let refused = unreached + denied - self.denied_before;
        outcome.diagnosis.is_some() || (outcome.downloaded + answered == 0 && refused >= most)
    }

    fn crate_failed(&mut self, name: CrateName, failure: RecordFailure, batch: &mut Batch) {
        let attempt = failure.attempt;
        self.outcome.failed += 1;
        *self.outcome.failures_by_kind.entry(attempt.kind).or_default() += 1;
        self.emit(SyncEvent::CrateFailed { name: &name, kind: attempt.kind, why: &attempt.message });
        self.outcome.fail(name.to_string(), attempt.message.clone());
        batch.tx.fail_crate(name, attempt);
    }

    fn commit(&mut self, mut batch: Batch) -> Result<(), SyncError> {
        if !batch.unjudged.is_empty() {
            mark_unjudged(&mut batch.tx);
        }
        let done = self.mirror.commit(batch.tx)?;
        self.outcome.replaced += done.replaced;
        self.outcome.bundled += done.bundled;
        for size in batch.downloaded {
            self.emit(SyncEvent::Downloaded { bytes: size });
            self.outcome.downloaded += 1;
            self.outcome.bytes += size;
        }
        let unjudged: Vec<CrateName> = batch.unjudged.into_iter().collect();
        self.licences_read += self.judgement.finish(&mut self.mirror, &unjudged)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
