//! The end of the flow: writer threads stage verified bytes, one committer makes batches durable
//! and only then speaks of them in manifest and catalogue.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use mirror_fetch::{Body, Content, Failure, FailureKind, Fetched, Verified};
use mirror_manifest::{
    Catalogue, Change, HeldRelease, LinesWriter, ManifestRecord, ManifestWriter, PackedLines, REINSTATED,
    Withdrawal, rfc3339, storage_name,
};
use mirror_store::bundle::{MemberBody, NewMember};
use mirror_store::{Staged, Store};
use mirror_telemetry::RunStats;
use mirror_types::{CrateName, Location, Locations, Printable, ReleaseId, Sha256, StoreId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bundles::{self, Bundler, location_of, path_in};
use crate::error::PipelineError;
use crate::event::{Arrival, Event, Good, Problem, Tag, Was};
use crate::gone::{Gone, Lost};
use crate::options::Storage;
use crate::outcome::Outcome;
use crate::removed::removal_record;
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

/// The one thread that commits: publishes staged files, then records them.
pub(crate) struct Committer {
    pub(crate) store: Store,
    pub(crate) manifest: ManifestWriter,
    pub(crate) catalogue: Catalogue,
    pub(crate) lines: LinesWriter,
    pub(crate) stats: Arc<RunStats>,
    pub(crate) run_id: String,
    /// The bit of the source of this run; 0 when it has none.
    pub(crate) source: u64,
    /// Gaps that a person acknowledged.
    pub(crate) gaps: HashSet<ReleaseId>,
    pub(crate) root: String,
    pub(crate) cancel: CancellationToken,
    pub(crate) outcome: Outcome,
    /// Held releases that upstream withdrew, seen by this run.
    pub(crate) withdrawn: u64,
    /// With bundles.
    pub(crate) bundler: Option<Bundler>,
    /// Directory of the bundles, as records have it.
    pub(crate) bundles_dir: PathBuf,
    /// Directories in which this run put files.
    pub(crate) touched: HashSet<String>,
}

/// What is left when everything is committed.
pub(crate) struct Committed {
    pub(crate) outcome: Outcome,
    pub(crate) catalogue: Catalogue,
    pub(crate) manifest: ManifestWriter,
    pub(crate) lines: LinesWriter,
    pub(crate) bundler: Option<Bundler>,
    pub(crate) touched: HashSet<String>,
}

/// A member that was handed to the bundles; where it is becomes known when it is durable.
struct Waiting {
    tag: Tag,
    good: Good,
    new: bool,
    /// Where else it is held then.
    beside: Locations,
}

#[derive(Default)]
struct Batch {
    /// In the order in which they were handed over.
    members: Vec<Waiting>,
    staged: Vec<Staged>,
    /// Held files that upstream has replaced.
    replaced: Vec<String>,
    records: Vec<ManifestRecord>,
    /// In the order in which they came.
    changes: Vec<Change>,
    lines: Vec<PackedLines>,
    /// Sizes of the downloaded files, counted once they are durable.
    downloaded: Vec<u64>,
    bytes: u64,
    began: Option<Instant>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.began.is_none()
    }
    fn is_full(&self) -> bool {
        self.records.len() + self.members.len() >= BATCH_FILES
            || self.bytes >= BATCH_BYTES
            || self.began.is_some_and(|began| began.elapsed() >= BATCH_AGE)
    }
}

fn withdrawn(id: ReleaseId, kind: Withdrawal) -> Change {
    Change::Withdrawn { id, kind, seen: rfc3339(SystemTime::now()) }
}

impl Committer {
    /// Takes events until all senders are gone; gives the counters, and the catalogue back. Blocks.
    pub(crate) fn run(mut self, events: &Receiver<Event>) -> Result<Committed, PipelineError> {
        let done = self.take_all(events);
        if done.is_err() {
            self.cancel.cancel();
        }
        done.map(|()| Committed {
            outcome: self.outcome,
            catalogue: self.catalogue,
            manifest: self.manifest,
            lines: self.lines,
            bundler: self.bundler,
            touched: self.touched,
        })
    }

    fn take_all(&mut self, events: &Receiver<Event>) -> Result<(), PipelineError> {
        let began = Instant::now();
        let mut batch = Batch::default();
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
                self.commit(std::mem::take(&mut batch))?;
            }
        }
        if !batch.is_empty() {
            self.commit(batch)?;
        }
        let seconds = began.elapsed().as_secs_f64();
        if self.outcome.downloaded >= TELLING {
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            let rate = self.outcome.downloaded as f64 / seconds.max(0.001);
            self.catalogue.set_download_rate(rate)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event, batch: &mut Batch) -> Result<(), PipelineError> {
        batch.began.get_or_insert_with(Instant::now);
        match event {
            Event::Arrived(arrival) => self.arrived(arrival, batch)?,
            Event::Failed { tag, problem } => self.failed(*tag, *problem, batch),
            Event::CrateFailed { name, problem } => self.crate_failed(name, *problem, batch),
            Event::CrateRead(name) => batch.changes.push(Change::CrateResolved(name)),
            Event::Lost(id) => {
                self.gone().lost(&self.catalogue, &id, Lost::File, &mut batch.records)?;
                batch.changes.push(Change::Lost { id, store: StoreId::LOOSE });
            }
            Event::LostMember(id) => {
                self.gone().lost(&self.catalogue, &id, Lost::Member, &mut batch.records)?;
                batch.changes.push(Change::Lost { id, store: StoreId::BUNDLES });
            }
            // Be it in one of two places: whoever wants both has to look at it.
            Event::Settled(id) => batch.changes.extend([Change::CursorOutdated, Change::Resolved(id)]),
            Event::Unwanted(id) => batch.changes.push(Change::Dropped(id)),
            Event::Withdrawn(id, kind) => {
                self.told_withdrawn(&id, kind);
                batch.changes.push(withdrawn(id, kind));
            }
            Event::YankedBefore(id) => batch.changes.push(withdrawn(id, Withdrawal::Yanked)),
            Event::Returned(id) => batch.changes.push(Change::Reinstated(id)),
            Event::Reinstated(id) => {
                tracing::info!(release = %id, "is upstream again; it is offered again");
                batch.records.push(removal_record(&id, REINSTATED, &self.run_id));
                batch.changes.push(Change::Reinstated(id));
            }
            Event::Seen(id) => batch.changes.push(Change::Seen { id, source: self.source }),
            Event::Lines(lines) => {
                batch.bytes += lines.packed_bytes();
                batch.lines.push(*lines);
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

    fn gone(&self) -> Gone<'_> {
        Gone { store: &self.store, root: &self.root, bundles_dir: &self.bundles_dir, run_id: &self.run_id }
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
        if tag.replaces {
            batch.changes.push(Change::CursorOutdated);
            batch.replaced.push(tag.path.clone());
        }
        let new = was.at.is_empty();
        if new {
            batch.downloaded.push(good.size);
        } else {
            self.stats.verified_existing();
            self.outcome.verified_existing += 1;
        }
        if staged.is_some() || member.is_some() {
            batch.bytes += good.size;
        }
        let (mut at, recorded) = (was.at, was.recorded && staged.is_none());
        if staged.is_some() {
            at.add(Location::LOOSE);
        }
        batch.staged.extend(staged);
        let Some(body) = member else {
            self.held(*tag, &good, new, at, recorded, batch);
            return Ok(());
        };
        let Some(bundler) = &mut self.bundler else {
            return Err(PipelineError::Internal("a member for a bundle in a run without bundles".to_owned()));
        };
        bundler.writer.append(NewMember {
            id: tag.id.clone(),
            path: tag.path.clone(),
            url: tag.url.clone(),
            sha256: good.sha256,
            body,
        })?;
        batch.members.push(Waiting { tag: *tag, good, new, beside: at });
        Ok(())
    }

    fn record(&self, tag: &Tag) -> ManifestRecord {
        let store = if self.bundler.is_some() { StoreId::BUNDLES } else { StoreId::LOOSE };
        ManifestRecord {
            schema_version: 2,
            url: tag.url.clone(),
            path: format!("{}/{}", self.root, tag.path),
            storage: storage_name(store).to_owned(),
            crate_name: Some(tag.id.name.to_string()),
            version: Some(tag.id.version.to_string()),
            cksum: tag.cksum.map(Sha256::to_hex),
            run_id: Some(self.run_id.clone()),
            ..ManifestRecord::default()
        }
    }

    /// `recorded`: the catalogue says so already.
    fn held(&mut self, tag: Tag, good: &Good, new: bool, at: Locations, recorded: bool, batch: &mut Batch) {
        let started_at = rfc3339(good.started);
        let moment = good.finished.duration_since(good.started).is_ok_and(|took| took.as_micros() < 500);
        let mut record = ManifestRecord {
            size: good.size,
            sha256: Some(good.sha256.to_hex()),
            finished_at: if moment { started_at.clone() } else { rfc3339(good.finished) },
            started_at,
            ok: true,
            retries: good.retries,
            http_status: good.http_status,
            status: if new { "downloaded" } else { "verified_existing" }.to_owned(),
            ..self.record(&tag)
        };
        let bundle = |number| path_in(&self.bundles_dir, &bundles::name(number));
        record.set_locations(&at, &bundle, &tag.path);
        batch.records.push(record);
        if recorded {
            return;
        }
        if at.is_loose()
            && let Some((dir, _)) = tag.path.rsplit_once('/')
            && self.touched.insert(dir.to_owned())
        {
            batch.changes.push(Change::DirWritten(dir.to_owned()));
        }
        if self.gaps.remove(&tag.id) {
            tracing::info!(release = %tag.id, "was a known gap, and could be had: it is none any more");
            self.outcome.healed_gaps.push(tag.id.clone());
        }
        batch.changes.push(Change::Resolved(tag.id.clone()));
        let release = HeldRelease { id: tag.id, sha256: good.sha256, size: good.size, locations: at };
        batch.changes.push(Change::Held { release, source: self.source });
    }

    /// Makes the members of a batch durable, and speaks of them.
    fn commit_members(&mut self, batch: &mut Batch) -> Result<(), PipelineError> {
        let members = std::mem::take(&mut batch.members);
        let Some(bundler) = self.bundler.as_mut().filter(|_| !members.is_empty()) else { return Ok(()) };
        let placed = bundler.writer.commit()?;
        if placed.len() != members.len() {
            return Err(PipelineError::Internal(format!(
                "{} members were handed to the bundles, {} came back",
                members.len(),
                placed.len()
            )));
        }
        for (Waiting { tag, good, new, beside }, member) in members.into_iter().zip(placed) {
            let Some(at) = location_of(&member).filter(|_| member.bundle_member == tag.path) else {
                return Err(PipelineError::Internal(format!("{} came back as another member", tag.path)));
            };
            self.outcome.bundled += 1;
            let mut all = beside;
            all.add(at.into());
            self.held(tag, &good, new, all, false, batch);
        }
        Ok(())
    }

    fn failed(&mut self, tag: Tag, problem: Problem, batch: &mut Batch) {
        let status = if problem.unavailable { "unavailable" } else { "error" };
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
        batch.records.push(ManifestRecord {
            started_at: rfc3339(problem.started),
            finished_at: rfc3339(problem.finished),
            ok: false,
            error: Some(problem.message.clone()),
            retries: problem.retries,
            http_status: problem.http_status,
            status: status.to_owned(),
            ..self.record(&tag)
        });
        let row = problem.ledger_row(tag.id.name, Some(tag.id.version), tag.cksum, tag.url);
        batch.changes.push(Change::Failed(row));
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
        batch.records.push(ManifestRecord {
            schema_version: 2,
            started_at: rfc3339(problem.started),
            finished_at: rfc3339(problem.finished),
            error: Some(problem.message.clone()),
            status: "error".to_owned(),
            crate_name: Some(name.to_string()),
            run_id: Some(self.run_id.clone()),
            ..ManifestRecord::default()
        });
        batch.changes.push(Change::Failed(problem.ledger_row(name, None, None, String::new())));
    }

    /// Data first, then the records that speak of it, then the catalogue.
    fn commit(&mut self, mut batch: Batch) -> Result<(), PipelineError> {
        // A crash in between leaves the name free: the next run notices and fetches again.
        for path in std::mem::take(&mut batch.replaced) {
            self.store.set_aside(&path, "replaced", &self.run_id)?;
            self.outcome.replaced += 1;
        }
        if !batch.staged.is_empty() {
            self.store.commit(std::mem::take(&mut batch.staged))?;
        }
        self.commit_members(&mut batch)?;
        if !batch.records.is_empty() {
            let len = self.manifest.append(&batch.records)?;
            self.manifest.sync()?;
            batch.changes.push(Change::ManifestLen(len));
        }
        if !batch.lines.is_empty() {
            batch.changes.extend(self.lines.append(&batch.lines)?.into_iter().map(Change::IndexFile));
        }
        self.catalogue.apply(&batch.changes)?;
        for size in batch.downloaded {
            self.stats.downloaded(size);
            self.outcome.downloaded += 1;
            self.outcome.bytes += size;
        }
        Ok(())
    }
}
