//! The end of the flow: writer threads stage verified bytes, one committer makes batches durable
//! and only then speaks of them in manifest and catalogue.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use mirror_fetch::{Body, Content, Failure, FailureKind, Fetched, Verified};
use mirror_manifest::Withdrawal;
use mirror_repo::{FailedAttempt, MirrorWriter, NewRelease, Transaction, VerifiedBytes, WantedRelease};
use mirror_store::bundle::MemberBody;
use mirror_store::{Staged, Store};
use mirror_telemetry::RunStats;
use mirror_types::{CrateName, Printable, ReleaseId, StoreId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;
use crate::event::{Arrival, Event, Good, Problem, Tag, Was};
use crate::options::Storage;
use crate::outcome::Outcome;
use crate::spool::{Counted, writer_of};

/// Results of the fetcher, shared by the writer threads.
pub(crate) type Results = Arc<Mutex<mpsc::Receiver<(Box<Tag>, Result<Fetched, Failure>)>>>;

/// Bodies that a writer takes at once.
const TAKE: usize = 32;

/// Stages what the fetcher yields until it ends. Runs on a thread of its own; blocks.
pub(crate) fn write_staged(store: &Store, storage: Storage, results: &Results, events: &Sender<Event>) {
    let mut taken = Vec::with_capacity(TAKE);
    loop {
        let got = match results.lock() {
            Ok(mut receiver) => receiver.blocking_recv_many(&mut taken, TAKE),
            Err(_) => 0,
        };
        if got == 0 {
            return;
        }
        let made = taken.drain(..).filter_map(|(tag, result)| match result {
            Ok(fetched) => Some(stage(store, storage, tag, fetched).unwrap_or_else(Event::Broken)),
            Err(failure) if failure.kind == FailureKind::Cancelled => None,
            // It is so for every address of this host, and the operator's to mend.
            Err(failure) if failure.kind == FailureKind::Proxy => {
                Some(Event::Broken(PipelineError::Usage(failure.message)))
            }
            Err(failure) if failure.kind == FailureKind::Spool => {
                Some(Event::Broken(PipelineError::Spool(failure.message)))
            }
            Err(failure) => Some(Event::Failed { problem: Box::new(Problem::fetched(&failure)), tag }),
        });
        if events.send(Event::Many(made.collect())).is_err() {
            return;
        }
    }
}

/// Writes a body into the stage, or hands it to the bundles. An answer without a body is no release, whatever its
/// status.
fn stage(store: &Store, storage: Storage, tag: Box<Tag>, fetched: Fetched) -> Result<Event, PipelineError> {
    let Fetched { status, content, retries, started, finished, .. } = fetched;
    let body = match content {
        // What nothing is known of is at least not empty: no archive is.
        Content::Body(body) if body.size() > 0 || tag.cksum.is_some() => body,
        Content::Body(_) | Content::NotModified | Content::HeadersOnly => {
            let problem = Problem {
                http_status: Some(status),
                retries,
                started,
                finished,
                ..Problem::planned("truncated", "the origin answered without a body".to_owned())
            };
            return Ok(Event::Failed { tag, problem: Box::new(problem) });
        }
    };
    let good = Good {
        size: body.size(),
        sha256: body.sha256(),
        retries,
        http_status: Some(status),
        started,
        finished,
    };
    let loose = storage != Storage::Bundle;
    let (staged, member) = match body.body() {
        Body::Memory(bytes) => (
            if loose { Some(store.stage(&tag.path, bytes)?) } else { None },
            storage.bundles().then(|| MemberBody::Memory(Box::new(Counted(body)))),
        ),
        Body::Spooled(_) => stage_spooled(storage, &tag.path, body)?,
    };
    Ok(Event::Arrived(Arrival { tag, good, was: Was::default(), staged, member }))
}

fn stage_spooled(
    storage: Storage,
    path: &str,
    body: Verified,
) -> Result<(Option<Staged>, Option<MemberBody>), PipelineError> {
    let Body::Spooled(spool) = body.into_body() else {
        return Err(PipelineError::Internal("a body in memory was taken for a spooled one".to_owned()));
    };
    let mut writer = writer_of(spool)?;
    let member = if storage.bundles() {
        // Open, it outlives its name.
        let (file, size) = writer.reader()?;
        Some(MemberBody::File { file, size })
    } else {
        None
    };
    let staged = if storage == Storage::Bundle { None } else { Some(writer.finish(path)?) };
    Ok((staged, member))
}

/// Withdrawn releases that are told one by one.
const WITHDRAWN_TOLD: u64 = 20;
/// Requests that may be refused, with none ever answered, before the run is given up.
const DEAD_ORIGIN: u64 = 20;
/// The same in a mirror that holds something: what it lacks may be what its origin never gives.
const DEAD_ORIGIN_OF_OLD: u64 = 1_000;
/// Downloads that say something about the rate of later ones.
const TELLING: u64 = 100;
const BATCH_FILES: usize = 2_000;
const BATCH_BYTES: u64 = 128 << 20;
const BATCH_AGE: Duration = Duration::from_secs(1);

/// The one thread that commits: gathers what the others made, and has the mirror make it durable.
pub(crate) struct Committer {
    pub(crate) mirror: MirrorWriter,
    pub(crate) stats: Arc<RunStats>,
    /// Gaps that a person acknowledged.
    pub(crate) gaps: HashSet<ReleaseId>,
    pub(crate) cancel: CancellationToken,
    pub(crate) outcome: Outcome,
    /// Held releases that upstream withdrew, seen by this run.
    pub(crate) withdrawn: u64,
}

/// What is left when everything is committed.
pub(crate) struct Finished {
    pub(crate) outcome: Outcome,
    pub(crate) mirror: MirrorWriter,
}

struct Batch {
    tx: Transaction,
    /// Sizes of the downloaded files, counted once they are durable.
    downloaded: Vec<u64>,
    bytes: u64,
    began: Option<Instant>,
}

impl Batch {
    fn of(mirror: &MirrorWriter) -> Self {
        Self { tx: mirror.begin(), downloaded: Vec::new(), bytes: 0, began: None }
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

impl From<Tag> for WantedRelease {
    fn from(tag: Tag) -> Self {
        Self { id: tag.id, path: tag.path, url: tag.url, cksum: tag.cksum }
    }
}

impl From<Problem> for FailedAttempt {
    fn from(problem: Problem) -> Self {
        Self {
            kind: problem.kind,
            message: problem.message,
            unavailable: problem.unavailable,
            http_status: problem.http_status,
            retries: problem.retries,
            started: problem.started,
            finished: problem.finished,
        }
    }
}

impl Committer {
    /// Takes events until all senders are gone; gives the counters, and the mirror back. Blocks.
    pub(crate) fn run(mut self, events: &Receiver<Event>) -> Result<Finished, PipelineError> {
        let done = self.take_all(events);
        if done.is_err() {
            self.cancel.cancel();
        }
        done.map(|()| Finished { outcome: self.outcome, mirror: self.mirror })
    }

    fn take_all(&mut self, events: &Receiver<Event>) -> Result<(), PipelineError> {
        let began = Instant::now();
        let mut batch = Batch::of(&self.mirror);
        loop {
            let event = match events.recv_timeout(BATCH_AGE) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Some(event) = event {
                self.take(event, &mut batch)?;
            }
            if batch.is_full() {
                let full = std::mem::replace(&mut batch, Batch::of(&self.mirror));
                self.commit(full)?;
            }
        }
        if !batch.is_empty() {
            self.commit(batch)?;
        }
        let seconds = began.elapsed().as_secs_f64();
        if self.outcome.downloaded >= TELLING {
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            let rate = self.outcome.downloaded as f64 / seconds.max(0.001);
            self.mirror.set_download_rate(rate)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event, batch: &mut Batch) -> Result<(), PipelineError> {
        batch.began.get_or_insert_with(Instant::now);
        match event {
            Event::Arrived(arrival) => self.arrived(arrival, batch)?,
            Event::Failed { tag, problem } => self.failed(*tag, *problem, batch),
            Event::CrateFailed { name, problem } => self.crate_failed(name, *problem, batch),
            Event::CrateRead(name) => batch.tx.crate_read(name),
            Event::Lost(id) => batch.tx.lost(&self.mirror, id, StoreId::LOOSE)?,
            Event::LostMember(id) => batch.tx.lost(&self.mirror, id, StoreId::BUNDLES)?,
            Event::Settled(id) => batch.tx.resolved(id),
            Event::Unwanted(id) => batch.tx.dropped(id),
            Event::Withdrawn(id, kind) => {
                self.told_withdrawn(&id, kind);
                batch.tx.withdrawn(id, kind);
            }
            Event::YankedBefore(id) => batch.tx.withdrawn(id, Withdrawal::Yanked),
            Event::Returned(id) => batch.tx.unyanked(id),
            Event::Reinstated(id) => {
                tracing::info!(release = %id, "is upstream again; it is offered again");
                batch.tx.reinstated(id);
            }
            Event::Seen(id) => batch.tx.seen(id),
            Event::Lines(lines) => {
                batch.bytes += lines.packed_bytes();
                batch.tx.index_file(*lines);
            }
            Event::Broken(error) => return Err(error),
            Event::Many(events) => {
                for event in events {
                    self.take(event, batch)?;
                }
            }
        }
        Ok(())
    }

    fn told_withdrawn(&mut self, id: &ReleaseId, kind: Withdrawal) {
        self.withdrawn += 1;
        match self.withdrawn {
            ..WITHDRAWN_TOLD => {
                tracing::warn!(release = %id, "was {} upstream; it stays held", kind.as_str());
            }
            WITHDRAWN_TOLD => tracing::warn!("more was withdrawn upstream; the table withdrawn names it all"),
            _ => {}
        }
    }

    fn arrived(&mut self, arrival: Arrival, batch: &mut Batch) -> Result<(), PipelineError> {
        if let Err(why) = arrival.fits() {
            // Whatever is staged goes with the arrival.
            let problem = Problem { retries: arrival.good.retries, ..Problem::planned("wrong_hash", why) };
            self.failed(*arrival.tag, problem, batch);
            return Ok(());
        }
        let Arrival { tag, good, was, staged, member } = arrival;
        if was.at.is_empty() {
            batch.downloaded.push(good.size);
        } else {
            self.stats.verified_existing();
            self.outcome.verified_existing += 1;
        }
        let writes = staged.is_some() || member.is_some();
        if writes {
            batch.bytes += good.size;
        }
        if (writes || !was.recorded) && self.gaps.remove(&tag.id) {
            tracing::info!(release = %tag.id, "was a known gap, and could be had: it is none any more");
            self.outcome.healed_gaps.push(tag.id.clone());
        }
        let Good { size, sha256, retries, http_status, started, finished } = good;
        let new = NewRelease {
            replaces: tag.replaces,
            release: (*tag).into(),
            bytes: VerifiedBytes { sha256, size, retries, http_status, started, finished },
            held_at: was.at,
            recorded: was.recorded,
            staged,
            member,
        };
        Ok(batch.tx.hold(&mut self.mirror, new)?)
    }

    fn failed(&mut self, tag: Tag, problem: Problem, batch: &mut Batch) {
        if problem.unavailable {
            self.stats.unavailable();
            self.outcome.unavailable += 1;
        } else {
            self.stats.error();
            self.outcome.failed += 1;
        }
        let known = problem.unavailable && self.gaps.contains(&tag.id);
        self.outcome.acknowledged += u64::from(known);
        self.outcome.unreached += u64::from(problem.unreached);
        self.outcome.denied += u64::from(problem.denied && !known);
        self.outcome.unrepaired += u64::from(tag.was_wrong);
        if batch.downloaded.is_empty() && self.is_hopeless() {
            self.outcome.given_up = true;
            self.cancel.cancel();
        }
        if known {
            tracing::info!(release = %tag.id, kind = problem.kind, "a known gap: {}", Printable(&problem.message));
        } else {
            tracing::warn!(release = %tag.id, kind = problem.kind, "{}", Printable(&problem.message));
            self.outcome.fail(tag.id.to_string(), problem.message.clone());
        }
        batch.tx.fail(tag.into(), problem.into());
    }

    /// Returns whether to go on would only mean to knock at a closed door. Some origins answer 403 or 500 for a file
    /// that is not there: that says nothing once they ever gave one, unless all of very many are so. Silence is
    /// noticed by the fetcher.
    fn is_hopeless(&self) -> bool {
        let outcome = &self.outcome;
        let (unreached, denied) = (outcome.unreached, outcome.denied);
        let answered = outcome.failed + outcome.unavailable - unreached - denied;
        let stranger = || self.stats.snapshot().existing + outcome.verified_existing == 0;
        let most = if stranger() { DEAD_ORIGIN } else { DEAD_ORIGIN_OF_OLD };
        outcome.downloaded + answered == 0 && unreached + denied >= most
    }

    fn crate_failed(&mut self, name: CrateName, problem: Problem, batch: &mut Batch) {
        self.stats.error();
        self.outcome.failed += 1;
        tracing::warn!(crate_name = %name, kind = problem.kind, "{}", Printable(&problem.message));
        self.outcome.fail(name.to_string(), problem.message.clone());
        batch.tx.fail_crate(name, problem.into());
    }

    fn commit(&mut self, batch: Batch) -> Result<(), PipelineError> {
        let done = self.mirror.commit(batch.tx)?;
        self.outcome.replaced += done.replaced;
        self.outcome.bundled += done.bundled;
        for size in batch.downloaded {
            self.stats.downloaded(size);
            self.outcome.downloaded += 1;
            self.outcome.bytes += size;
        }
        Ok(())
    }
}
