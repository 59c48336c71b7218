//! The state of a run that the console shows beside the counters.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mirror_console::{
    CountedGauges, DamageLog, Ended, Facts, FailureLog, History, MirrorGauges, RunIdentity, Sample, verdict,
};
use serde_json::{Value, json};

use crate::stats::{Phase, RunStats, Snapshot};

/// The room on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskSpace {
    /// Bytes of the file system.
    pub total: u64,
    /// Bytes that this program may still write.
    pub free: u64,
    /// Files that still fit; `None` where the file system sets no limit.
    pub inodes_free: Option<u64>,
}

impl DiskSpace {
    /// Names the room on a disk.
    #[must_use]
    pub const fn new(total: u64, free: u64, inodes_free: Option<u64>) -> Self {
        Self { total, free, inodes_free }
    }

    pub(crate) fn json(self) -> Value {
        json!({"total": self.total, "free": self.free, "inodes_free": self.inodes_free})
    }
}

/// The result of a dry run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preflight {
    /// Releases that are selected.
    pub selected: u64,
    /// Of these, held already.
    pub held: u64,
    /// Of these, to be fetched.
    pub would_fetch: u64,
    /// Releases that could not be fetched.
    pub would_fail: u64,
    /// Bytes of what is to be fetched: the estimate and its bounds.
    pub bytes: Option<[u64; 3]>,
    /// The most bytes that it needs on the disk, in all stores and with what the ends of files leave unused; `None` when
    /// nothing is known of the sizes.
    pub need_bytes: Option<u64>,
    /// The most files that it makes.
    pub need_files: u64,
    /// The time that it would take, seconds.
    pub time_sec: Option<u64>,
}

/// The state of a run beside its counters.
#[derive(Debug)]
pub(crate) struct ConsoleState {
    run: RunIdentity,
    failures: FailureLog,
    damage: DamageLog,
    history: History,
    preflight: Option<Preflight>,
    disk: Option<DiskSpace>,
    counted: Option<CountedGauges>,
    ended: Option<Ended>,
    /// The last progress that was seen: records, bytes, steps of other work, and when.
    moved: (u64, u64, u64, Instant),
}

impl Default for ConsoleState {
    fn default() -> Self {
        Self {
            run: RunIdentity::default(),
            failures: FailureLog::default(),
            damage: DamageLog::default(),
            history: History::default(),
            preflight: None,
            disk: None,
            counted: None,
            ended: None,
            moved: (0, 0, 0, Instant::now()),
        }
    }
}

/// Returns the milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl RunStats {
    /// Names the run on its console. The time of its start and the process are filled in.
    pub fn identify(&self, mut run: RunIdentity) {
        run.pid = std::process::id();
        run.started_ms = now_ms().saturating_sub(u64::try_from(self.uptime().as_millis()).unwrap_or(0));
        self.console().run = run;
    }
    /// Keeps a failure for the console: of a release or a crate, with its kind as in the failure ledger, and its message.
    /// `is_known`: a person has acknowledged it.
    pub fn failure(&self, what: &str, kind: &str, message: &str, is_known: bool) {
        let mut console = self.console();
        console.failures.push(what, kind, message, is_known, now_ms());
        console.damage.failed(what);
    }
    /// Keeps a damaged release for the console, and where it is held.
    pub fn damaged(&self, release: &str, place: &str) {
        self.console().damage.push(release, place);
    }
    /// Keeps the result of a dry run for the console.
    pub fn preflight(&self, preflight: Preflight) {
        self.console().preflight = Some(preflight);
    }
    /// Ends the run on its console. `lost` are damaged releases that could not be repaired.
    pub fn end(&self, mut ended: Ended, lost: u64) {
        self.set_phase(Phase::Done);
        self.stop_clock();
        ended.ended_ms = now_ms();
        let is_whole = !ended.is_interrupted && !ended.is_given_up && ended.error.is_empty();
        let mut console = self.console();
        console.damage.end(lost, is_whole);
        console.ended = Some(ended);
    }

    /// Sets the room on the disk of the mirror.
    pub(crate) fn set_disk(&self, disk: Option<DiskSpace>) {
        self.console().disk = disk;
    }

    /// Sets what was counted in the mirror, for metrics.
    pub(crate) fn set_counted(&self, counted: Option<CountedGauges>) {
        self.console().counted = counted;
    }

    /// Returns what metrics show of the mirror.
    pub(crate) fn gauges(&self) -> MirrorGauges {
        let console = self.console();
        let mut gauges = MirrorGauges::default();
        gauges.disk_bytes = console.disk.map(|disk| disk.total);
        gauges.disk_free_bytes = console.disk.map(|disk| disk.free);
        gauges.disk_free_files = console.disk.and_then(|disk| disk.inodes_free);
        gauges.counted = console.counted;
        gauges
    }

    /// Takes a sample for the history, and notes whether anything has moved since the last.
    pub(crate) fn sample(&self) {
        let now = self.snapshot();
        let steps = self.activity().map_or(0, |activity| activity.done);
        let mut console = self.console();
        if console.ended.is_some() {
            return;
        }
        let (processed, received, other, _) = console.moved;
        if (processed, received, other) != (now.processed, now.received, steps) {
            console.moved = (now.processed, now.received, steps, Instant::now());
        }
        console.history.push(Sample {
            time_ms: now_ms(),
            processed: now.processed,
            received: now.received,
            failed: now.errors + now.unavailable,
            retries: now.retries,
            inflight: now.inflight,
            concurrency: now.concurrency,
        });
    }

    /// Renders `/api/status`: the fields of the source system, and more.
    pub(crate) fn status_json(&self, has_mirror: bool) -> String {
        let now = self.snapshot();
        let activity = self.activity();
        let console = self.console();
        let mut status = json!({
            "version": self.version,
            "processed": now.processed,
            "ok": now.ok,
            "errors": now.errors,
            "downloaded": now.downloaded,
            "existing": now.existing,
            "verified_existing": now.verified_existing,
            "uptime_sec": now.uptime.as_secs(),
            "rate_per_sec": format!("{:.1}", now.rate_per_sec),
            "planned": now.planned,
            "unavailable": now.unavailable,
            "bytes": now.bytes,
            "inflight": now.inflight,
            "concurrency": now.concurrency,
            "eta_sec": now.eta.map(|eta| eta.as_secs()),
            "phase": now.phase.as_str(),
            "kind": "run",
            "time_ms": now_ms(),
            "plan_finished": now.plan_finished,
            "rate": (now.rate_per_sec * 10.0).round() / 10.0,
            "received": now.received,
            "retries": now.retries,
            "deferred": now.deferred,
            "activity": activity.map(|activity| {
                json!({"text": activity.text, "done": activity.done, "total": activity.total})
            }),
        });
        console.add_to(&mut status, &now, has_mirror);
        status.to_string()
    }

    pub(crate) fn history_json(&self) -> String {
        self.console().history.json().to_string()
    }
    pub(crate) fn failures_json(&self) -> String {
        self.console().failures.json().to_string()
    }
    pub(crate) fn verification_json(&self) -> String {
        self.console().damage.json().to_string()
    }
    pub(crate) fn preflight_json(&self) -> String {
        let now = self.snapshot();
        self.console().preflight_json(&now).to_string()
    }
}

impl ConsoleState {
    /// Adds what the console shows beside the counters.
    fn add_to(&self, status: &mut Value, now: &Snapshot, has_mirror: bool) {
        let damage = &self.damage;
        status["views"] = self.views(has_mirror);
        status["run"] = json!(self.run);
        status["verdict"] = json!(verdict(&self.facts(now)));
        status["failures"] = json!(self.failures.total());
        status["damage"] =
            json!({"found": damage.found(), "repaired": damage.repaired(), "lost": damage.lost()});
        status["disk"] = self.disk.map_or(Value::Null, DiskSpace::json);
        status["ended"] = json!(self.ended);
    }

    fn views(&self, has_mirror: bool) -> Value {
        let mut views = vec!["overview", "failures", "storage", "runs", "verification", "preflight"];
        if self.run.is_dry_run {
            views.rotate_right(1);
        }
        views.retain(|view| has_mirror || !matches!(*view, "storage" | "runs"));
        json!(views)
    }

    fn facts(&self, now: &Snapshot) -> Facts {
        let mut facts = Facts::default();
        facts.phase = now.phase.as_str();
        facts.is_dry_run = self.run.is_dry_run;
        facts.is_planning = !now.plan_finished;
        (facts.processed, facts.planned, facts.downloaded) = (now.processed, now.planned, now.downloaded);
        (facts.failed, facts.unavailable, facts.deferred) = (now.errors, now.unavailable, now.deferred);
        facts.most_frequent = self.failures.most_frequent().map(|(kind, count)| (kind.to_owned(), count));
        (facts.damaged, facts.lost) = (self.damage.found(), self.damage.lost());
        facts.quiet_for = if now.inflight > 0 { self.moved.3.elapsed() } else { Duration::ZERO };
        facts.disk_free = self.disk.map(|disk| disk.free);
        facts.disk_total = self.disk.map_or(0, |disk| disk.total);
        if let Some(ended) = &self.ended {
            facts.is_interrupted = ended.is_interrupted;
            (facts.is_given_up, facts.acknowledged) = (ended.is_given_up, ended.acknowledged);
            facts.ended = Some((ended.exit_code, ended.error.clone(), ended.advice.clone()));
        }
        facts
    }

    /// Returns the result of a dry run, or what a run has planned so far.
    fn preflight_json(&self, now: &Snapshot) -> Value {
        let held = now.existing + now.verified_existing;
        let planned = Preflight {
            selected: now.planned,
            held,
            would_fetch: now.planned.saturating_sub(held + now.deferred),
            ..Preflight::default()
        };
        let known = self.preflight.unwrap_or(planned);
        json!({
            "is_dry_run": self.run.is_dry_run,
            "is_done": self.preflight.is_some(),
            "selected": known.selected,
            "held": known.held,
            "would_fetch": known.would_fetch,
            "would_fail": known.would_fail,
            "bytes": known.bytes.map(|[bytes, ..]| bytes),
            "bytes_least": known.bytes.map(|[_, least, _]| least),
            "bytes_most": known.bytes.map(|[.., most]| most),
            "need_bytes": known.need_bytes,
            "need_files": known.need_files,
            "time_sec": known.time_sec,
            "disk": self.disk.map_or(Value::Null, DiskSpace::json),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(stats: &RunStats) -> Value {
        serde_json::from_str(&stats.status_json(false)).expect("json")
    }

    #[test]
    fn the_end_of_a_run_is_part_of_its_status() {
        let stats = RunStats::new("1");
        let mut run = RunIdentity::default();
        run.mirror = "out".to_owned();
        stats.identify(run);
        let before = status(&stats);
        assert_eq!((&before["run"]["mirror"], before["ended"].is_null()), (&"out".into(), true));
        assert_eq!(before["run"]["pid"], std::process::id());
        stats.damaged("a 1.0.0", "its file");
        let mut ended = Ended::default();
        ended.summary = "all is well".to_owned();
        stats.end(ended, 0);
        let after = status(&stats);
        assert_eq!((&after["phase"], &after["ended"]["summary"]), (&"done".into(), &"all is well".into()));
        assert_eq!((&after["damage"]["repaired"], &after["verdict"]["level"]), (&1.into(), &"good".into()));
    }

    #[test]
    fn a_run_that_gave_up_repaired_nothing_for_sure_and_its_time_stands_still() {
        let stats = RunStats::new("1");
        stats.damaged("a 1.0.0", "its file");
        let mut ended = Ended::default();
        (ended.exit_code, ended.is_given_up) = (5, true);
        ended.error = "the origin is silent".to_owned();
        stats.end(ended, 0);
        let after = status(&stats);
        assert_eq!(
            (&after["damage"]["repaired"], &after["verdict"]["headline"]),
            (&0.into(), &"Given up".into())
        );
        let took = stats.uptime();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(stats.uptime(), took);
    }

    #[test]
    fn a_failure_reaches_the_verdict_and_the_list() {
        let stats = RunStats::new("1");
        stats.set_phase(Phase::Download);
        stats.planned(100);
        for n in 0..20 {
            stats.error();
            stats.failure(&format!("a 1.0.{n}"), "wrong_hash", "other bytes", false);
        }
        assert_eq!(status(&stats)["verdict"]["headline"], "Every download fails");
        let failures: Value = serde_json::from_str(&stats.failures_json()).expect("json");
        assert_eq!(failures["groups"][0]["count"], 20);
    }

    #[test]
    fn a_dry_run_shows_its_result_and_a_run_its_plan() {
        let stats = RunStats::new("1");
        stats.planned(10);
        stats.existing(4);
        let shown = |stats: &RunStats| serde_json::from_str::<Value>(&stats.preflight_json()).expect("json");
        let plan = shown(&stats);
        assert_eq!((&plan["would_fetch"], &plan["is_done"]), (&6.into(), &false.into()));
        let mut result = Preflight::default();
        (result.would_fetch, result.bytes) = (5, Some([100, 90, 110]));
        stats.preflight(result);
        stats.set_disk(Some(DiskSpace::new(1_000, 500, None)));
        let done = shown(&stats);
        assert_eq!(
            (&done["would_fetch"], &done["bytes_most"], &done["disk"]["free"]),
            (&5.into(), &110.into(), &500.into())
        );
    }
}
