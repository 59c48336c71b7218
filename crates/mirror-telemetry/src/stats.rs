use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mirror_types::Rule;

#[cfg(feature = "listener")]
use crate::console::ConsoleState;
#[cfg(feature = "listener")]
use crate::metrics::Requests;

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not yet begun.
    Starting,
    /// Cloning or updating the index.
    UpdateIndex,
    /// Reading the index.
    Index,
    /// Fetching.
    Download,
    /// Verifying held releases.
    Verify,
    /// Committing the rest.
    Finishing,
    /// Ended.
    Done,
}

impl Phase {
    pub(crate) const ALL: [Self; 7] = [
        Self::Starting,
        Self::UpdateIndex,
        Self::Index,
        Self::Download,
        Self::Verify,
        Self::Finishing,
        Self::Done,
    ];

    /// Returns its name, as shown in `/api/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::UpdateIndex => "update-index",
            Self::Index => "index",
            Self::Download => "download",
            Self::Verify => "verify",
            Self::Finishing => "finishing",
            Self::Done => "done",
        }
    }
}

/// Work that is not counted in records, shown instead of them while it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Its name and its progress, in a few words.
    pub text: String,
    /// Steps done.
    pub done: u64,
    /// All steps, if their number is known.
    pub total: Option<u64>,
}

/// Counters of one run, shared by all its threads.
#[derive(Debug)]
pub struct RunStats {
    #[cfg_attr(not(feature = "listener"), expect(dead_code, reason = "only the listener shows it"))]
    pub(crate) version: String,
    begun: Instant,
    /// The time that the run took, once it is over.
    took: OnceLock<Duration>,
    phase: AtomicU8,
    planned: AtomicU64,
    plan_finished: AtomicU8,
    expected: AtomicU64,
    downloaded: AtomicU64,
    existing: AtomicU64,
    verified_existing: AtomicU64,
    deferred: AtomicU64,
    unavailable: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
    received: AtomicU64,
    retries: AtomicU64,
    inflight: AtomicI64,
    concurrency: AtomicU64,
    activity: Mutex<Option<Activity>>,
    offer: Mutex<Option<Offer>>,
    failures: Mutex<BTreeMap<String, u64>>,
    #[cfg(feature = "listener")]
    requests: Mutex<Requests>,
    #[cfg(feature = "listener")]
    console: Mutex<ConsoleState>,
}

/// The effect of a policy on a mirror, as it was judged last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// Releases that policy holds back, held or not, by rule.
    pub held_back: BTreeMap<Rule, u64>,
    /// Offered releases with an advisory that is only reported; `None` where there are no advisories.
    pub reported: Option<u64>,
    /// Age of the newest commit of the advisory database, if it is a git clone.
    pub advisories_age: Option<Duration>,
}

/// The counters at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The phase of the run.
    pub phase: Phase,
    /// Wanted records, as far as their number is known.
    pub planned: u64,
    /// True if `planned` is the final number.
    pub plan_finished: bool,
    /// Records that are done.
    pub processed: u64,
    /// Of those, held.
    pub ok: u64,
    /// Of those, failed.
    pub errors: u64,
    /// Fetched and durable.
    pub downloaded: u64,
    /// Held already.
    pub existing: u64,
    /// Held already and verified.
    pub verified_existing: u64,
    /// Not fetched yet, because policy holds them back.
    pub deferred: u64,
    /// Not available upstream.
    pub unavailable: u64,
    /// Bytes of downloaded files.
    pub bytes: u64,
    /// Bytes of bodies received, failed attempts included.
    pub received: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Requests under way.
    pub inflight: u64,
    /// The limit of requests under way.
    pub concurrency: u64,
    /// Time since the start.
    pub uptime: Duration,
    /// Records a second since the start.
    pub rate_per_sec: f64,
    /// The estimated time left, when there is an estimate.
    pub eta: Option<Duration>,
}

impl RunStats {
    /// Makes the counters of a run that begins now.
    #[must_use]
    pub fn new(version: &str) -> Arc<Self> {
        Arc::new(Self {
            version: version.to_owned(),
            begun: Instant::now(),
            took: OnceLock::new(),
            phase: AtomicU8::new(0),
            planned: AtomicU64::new(0),
            plan_finished: AtomicU8::new(0),
            expected: AtomicU64::new(0),
            downloaded: AtomicU64::new(0),
            existing: AtomicU64::new(0),
            verified_existing: AtomicU64::new(0),
            deferred: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            received: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            inflight: AtomicI64::new(0),
            concurrency: AtomicU64::new(0),
            activity: Mutex::default(),
            offer: Mutex::default(),
            failures: Mutex::default(),
            #[cfg(feature = "listener")]
            requests: Mutex::default(),
            #[cfg(feature = "listener")]
            console: Mutex::default(),
        })
    }

    /// Sets the phase of the run.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }
    /// Sets work other than records; `None` ends it.
    pub fn set_activity(&self, activity: Option<Activity>) {
        *self.activity.lock().unwrap_or_else(PoisonError::into_inner) = activity;
    }
    /// Returns the activity that was set last.
    #[must_use]
    pub fn activity(&self) -> Option<Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Changes the effect of the policy. Metrics show it from the first time on.
    pub fn change_offer(&self, change: impl FnOnce(&mut Offer)) {
        change(self.offer.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default());
    }
    /// Returns the effect of the policy; `None` before it was judged.
    #[must_use]
    pub fn offer(&self) -> Option<Offer> {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Counts `n` more records that are wanted.
    pub fn planned(&self, n: u64) {
        self.planned.fetch_add(n, Relaxed);
    }
    /// Sets the expected number of wanted records. Planning waits for downloads, but progress needs a total early.
    pub fn expect(&self, n: u64) {
        self.expected.store(n, Relaxed);
    }
    /// Notes that no more records will be planned.
    pub fn plan_finished(&self) {
        self.plan_finished.store(1, Relaxed);
    }
    /// Returns whether all records are planned.
    #[must_use]
    pub fn is_planned(&self) -> bool {
        self.plan_finished.load(Relaxed) != 0
    }
    /// Counts a file of `bytes` that became durable.
    pub fn downloaded(&self, bytes: u64) {
        self.downloaded.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
    /// Counts `n` records that were written, of `bytes` bytes in all.
    pub fn wrote(&self, n: u64, bytes: u64) {
        self.downloaded.fetch_add(n, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
    /// Counts `files` of `bytes` in all that were extracted from bundles and became durable.
    pub fn extracted(&self, files: u64, bytes: u64) {
        self.downloaded.fetch_add(files, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.received.fetch_add(bytes, Relaxed);
    }
    /// Counts `n` records that are held already.
    pub fn existing(&self, n: u64) {
        self.existing.fetch_add(n, Relaxed);
    }
    /// Counts a held record that was verified.
    pub fn verified_existing(&self) {
        self.verified_existing.fetch_add(1, Relaxed);
    }
    /// Counts `n` records that are not fetched yet because policy holds them back.
    pub fn deferred(&self, n: u64) {
        self.deferred.fetch_add(n, Relaxed);
    }
    /// Counts a record that upstream cannot deliver.
    pub fn unavailable(&self) {
        self.unavailable.fetch_add(1, Relaxed);
    }
    /// Counts a record that failed.
    pub fn error(&self) {
        self.errors.fetch_add(1, Relaxed);
    }
    /// Counts the kind of a failure; [`error`](Self::error) and [`unavailable`](Self::unavailable) count the record.
    pub fn failed(&self, kind: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get_mut(kind) {
            Some(count) => *count += 1,
            None => _ = failures.insert(kind.to_owned(), 1),
        }
    }
    /// Returns the failures by kind.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<String, u64> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Counts a request that ended; `None` is a transport error. Records its duration once a listener has started.
    /// Does nothing without the feature `listener`, because nothing else shows requests.
    pub fn request(&self, status: Option<u16>, ok: bool, elapsed: Duration) {
        #[cfg(feature = "listener")]
        self.requests().count(status, ok, elapsed);
        #[cfg(not(feature = "listener"))]
        let _ = (status, ok, elapsed);
    }
    /// Counts received bytes of a body.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Relaxed);
    }
    /// Counts an attempt beyond the first.
    pub fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }
    /// Adds `delta` to the number of requests under way.
    pub fn inflight(&self, delta: i64) {
        self.inflight.fetch_add(delta, Relaxed);
    }
    /// Sets the limit of requests under way.
    pub fn concurrency(&self, limit: u64) {
        self.concurrency.store(limit, Relaxed);
    }

    #[cfg(feature = "listener")]
    pub(crate) fn requests(&self) -> std::sync::MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "listener")]
    pub(crate) fn console(&self) -> std::sync::MutexGuard<'_, ConsoleState> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time since the start of the run, until its end.
    pub(crate) fn uptime(&self) -> Duration {
        self.took.get().copied().unwrap_or_else(|| self.begun.elapsed())
    }

    /// Ends the time of the run: what is shown afterwards does not change any more.
    #[cfg(feature = "listener")]
    pub(crate) fn stop_clock(&self) {
        let _ = self.took.set(self.begun.elapsed());
    }

    /// Returns the current counters.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let [downloaded, existing, verified_existing, deferred, unavailable, errors, planned] = [
            &self.downloaded,
            &self.existing,
            &self.verified_existing,
            &self.deferred,
            &self.unavailable,
            &self.errors,
            &self.planned,
        ]
        .map(|counter| counter.load(Relaxed));
        let ok = downloaded + existing + verified_existing;
        let processed = ok + deferred + unavailable + errors;
        let expected = self.expected.load(Relaxed);
        let plan_finished = self.plan_finished.load(Relaxed) != 0;
        let planned = if plan_finished { planned } else { planned.max(expected) };
        let plan_finished = plan_finished || expected > 0;
        let uptime = self.uptime();
        #[expect(clippy::cast_precision_loss, reason = "rates for people")]
        let (rate, left) =
            (processed as f64 / uptime.as_secs_f64().max(1e-3), planned.saturating_sub(processed) as f64);
        let eta =
            (plan_finished && rate > 0.0).then(|| Duration::try_from_secs_f64(left / rate).ok()).flatten();
        Snapshot {
            phase: Phase::ALL[usize::from(self.phase.load(Relaxed))],
            planned,
            plan_finished,
            processed,
            ok,
            errors,
            downloaded,
            existing,
            verified_existing,
            deferred,
            unavailable,
            bytes: self.bytes.load(Relaxed),
            received: self.received.load(Relaxed),
            retries: self.retries.load(Relaxed),
            inflight: u64::try_from(self.inflight.load(Relaxed)).unwrap_or(0),
            concurrency: self.concurrency.load(Relaxed),
            uptime,
            rate_per_sec: rate,
            eta,
        }
    }
}
