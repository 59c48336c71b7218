//! Renders `/metrics` from [`RunStats`].

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::{
    Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    with_local_recorder,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

use mirror_console::{Gauge, MirrorGauges};
use mirror_types::Rule;

use crate::stats::{Offer, Phase, RunStats, Snapshot};

const REQUESTS: &str = "crates_download_requests_total";
const BYTES: &str = "crates_download_bytes_total";
const RETRIES: &str = "crates_download_retries_total";
const INFLIGHT: &str = "crates_download_inflight";
const DURATION: &str = "crates_download_duration_seconds";
const PROCESSED: &str = "crates_processed_total";
const BUILD_INFO: &str = "crates_download_build_info";
const PLANNED: &str = "crates_download_planned_releases";
const PHASE: &str = "crates_download_phase";
const FAILURES: &str = "crates_download_failures_total";
const HELD_BACK: &str = "crates_download_held_back_releases";
const REPORTED: &str = "crates_download_advisory_releases";
const ADVISORIES_AGE: &str = "crates_download_advisories_age_seconds";

/// Upper bounds of the duration histogram, in seconds: Prometheus' standard buckets.
const BUCKETS_S: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Samples between two upkeeps of the recorder, 16 bytes each.
const UPKEEP_AFTER: u64 = 4096;

/// Renders the counters in Prometheus' text format, version 0.0.4.
pub(crate) fn metrics(stats: &RunStats) -> String {
    let now = stats.snapshot();
    let failures = stats.failures();
    let (offer, gauges) = (stats.offer(), stats.gauges());
    stats.requests().render(&stats.version, &now, &failures, offer.as_ref(), &gauges)
}

/// The requests that ended. One lock guards all of them, because the recorder of `metrics-exporter-prometheus` loses
/// samples that are recorded while it adds up earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// By success and HTTP status.
    counts: BTreeMap<(bool, Option<u16>), u64>,
    exporter: Option<Exporter>,
}

impl Requests {
    /// Counts a request that ended; `None` is a transport error.
    pub(crate) fn count(&mut self, status: Option<u16>, ok: bool, elapsed: Duration) {
        *self.counts.entry((ok, status)).or_default() += 1;
        if let Some(exporter) = &mut self.exporter {
            exporter.record(elapsed);
        }
    }

    /// Records durations from now on.
    pub(crate) fn record_durations(&mut self) {
        self.exporter.get_or_insert_with(Exporter::new);
    }

    fn render(
        &mut self,
        version: &str,
        now: &Snapshot,
        failures: &BTreeMap<String, u64>,
        offer: Option<&Offer>,
        gauges: &MirrorGauges,
    ) -> String {
        let exporter = self.exporter.get_or_insert_with(Exporter::new);
        exporter.set_run(version, failures);
        exporter.set_mirror(gauges);
        exporter.render(&self.counts, now, offer)
    }
}

/// Exports the counters of a run to Prometheus. The recorder belongs to the run: an embedding program may have
/// installed another one for the process.
#[derive(Debug)]
struct Exporter {
    recorder: PrometheusRecorder,
    durations: Histogram,
    samples: u64,
}

impl Exporter {
    fn new() -> Self {
        let buckets =
            PrometheusBuilder::new().set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), &BUCKETS_S);
        // Only an empty list of buckets is an error.
        let recorder = buckets.unwrap_or_default().build_recorder();
        let durations = with_local_recorder(&recorder, || {
            describe_counter!(REQUESTS, "Requests by result and HTTP status; net is a transport error.");
            describe_counter!(BYTES, "Bytes of bodies received.");
            describe_counter!(RETRIES, "Attempts beyond the first.");
            describe_gauge!(INFLIGHT, "Requests under way.");
            describe_histogram!(
                DURATION,
                "Duration of requests, without waits for limits of the run itself."
            );
            describe_counter!(PROCESSED, "Records by result.");
            describe_gauge!(BUILD_INFO, "Always 1; the label is the version of the program.");
            describe_gauge!(PLANNED, "Releases that the run wants, as far as their number is known.");
            describe_gauge!(PHASE, "1 for the phase that the run is in, 0 for the others.");
            describe_counter!(FAILURES, "Releases and index files that failed or are unavailable, by kind.");
            describe_gauge!(HELD_BACK, "Releases that policy holds back, held or not, by rule.");
            describe_gauge!(REPORTED, "Offered releases with an advisory that is only reported.");
            describe_gauge!(ADVISORIES_AGE, "Age of the newest commit of the advisory database.");
            histogram!(DURATION)
        });
        Self { recorder, durations, samples: 0 }
    }

    /// Records a duration. The recorder keeps every sample until its upkeep adds them up, so their number triggers it:
    /// memory is bounded at any rate, scraped or not.
    fn record(&mut self, elapsed: Duration) {
        self.durations.record(elapsed);
        self.samples += 1;
        if self.samples.is_multiple_of(UPKEEP_AFTER) {
            self.recorder.handle().run_upkeep();
        }
    }

    /// Sets what has labels of the run.
    fn set_run(&self, version: &str, failures: &BTreeMap<String, u64>) {
        with_local_recorder(&self.recorder, || {
            gauge!(BUILD_INFO, "version" => version.to_owned()).set(1.0);
            for (kind, count) in failures {
                counter!(FAILURES, "kind" => kind.clone()).absolute(*count);
            }
        });
    }

    /// Sets what is known of the mirror.
    fn set_mirror(&self, gauges: &MirrorGauges) {
        with_local_recorder(&self.recorder, || gauges.list().iter().for_each(set_gauge));
    }

    /// Sets counters and gauges to their current values, and renders them with the histogram.
    fn render(
        &mut self,
        counts: &BTreeMap<(bool, Option<u16>), u64>,
        now: &Snapshot,
        offer: Option<&Offer>,
    ) -> String {
        with_local_recorder(&self.recorder, || {
            for ((ok, code), count) in counts {
                let status = if *ok { "ok" } else { "error" };
                let code = code.map_or_else(|| "net".to_owned(), |code| code.to_string());
                counter!(REQUESTS, "status" => status, "code" => code).absolute(*count);
            }
            set(now);
            if let Some(offer) = offer {
                set_offer(offer);
            }
        });
        self.recorder.handle().render()
    }
}

/// Sets a gauge of the current recorder.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn set_gauge(&Gauge { name, help, label, value, .. }: &Gauge) {
    describe_gauge!(name, help);
    let set = label.map_or_else(|| gauge!(name), |(key, value)| gauge!(name, key => value));
    set.set(value as f64);
}

/// Sets the metrics of the current recorder.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn set(now: &Snapshot) {
    counter!(BYTES).absolute(now.received);
    counter!(RETRIES).absolute(now.retries);
    gauge!(INFLIGHT).set(now.inflight as f64);
    gauge!(PLANNED).set(now.planned as f64);
    for phase in Phase::ALL {
        gauge!(PHASE, "phase" => phase.as_str()).set(if phase == now.phase { 1.0 } else { 0.0 });
    }
    for (result, value) in [
        ("downloaded", now.downloaded),
        ("existing", now.existing),
        ("verified_existing", now.verified_existing),
        ("unavailable", now.unavailable),
        ("error", now.errors),
    ] {
        counter!(PROCESSED, "result" => result).absolute(value);
    }
    if now.deferred > 0 {
        counter!(PROCESSED, "result" => "deferred").absolute(now.deferred);
    }
}

/// Sets the gauges of the current recorder that show what policy does.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn set_offer(offer: &Offer) {
    // A rule that holds nothing back any more must not keep its old number.
    for rule in Rule::ALL {
        let releases = offer.held_back.get(&rule).copied().unwrap_or_default();
        gauge!(HELD_BACK, "rule" => rule.name()).set(releases as f64);
    }
    if let Some(releases) = offer.reported {
        gauge!(REPORTED).set(releases as f64);
    }
    if let Some(age) = offer.advisories_age {
        gauge!(ADVISORIES_AGE).set(age.as_secs() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_listener_no_sample_is_kept() {
        let stats = RunStats::new("0");
        stats.request(Some(200), true, Duration::from_millis(1));
        assert!(stats.requests().exporter.is_none());
    }

    #[test]
    fn the_run_shows_its_version_phase_plan_and_failures() {
        let stats = RunStats::new("1.2.3");
        stats.set_phase(Phase::Download);
        stats.planned(7);
        for kind in ["not-found", "checksum", "not-found"] {
            stats.failed(kind);
        }
        let text = metrics(&stats);
        for line in [
            "crates_download_build_info{version=\"1.2.3\"} 1",
            "crates_download_planned_releases 7",
            "crates_download_phase{phase=\"download\"} 1",
            "crates_download_phase{phase=\"verify\"} 0",
            "crates_download_failures_total{kind=\"not-found\"} 2",
            "crates_download_failures_total{kind=\"checksum\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        stats.set_phase(Phase::Done);
        assert!(metrics(&stats).contains("crates_download_phase{phase=\"download\"} 0\n"));
        mirror_testkit::check_metrics(&metrics(&stats));
    }

    #[test]
    fn a_recorder_of_the_embedding_program_sees_nothing() {
        let embedder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&embedder, || {
            let stats = RunStats::new("0");
            stats.requests().record_durations();
            stats.request(Some(200), true, Duration::from_millis(1));
            assert!(metrics(&stats).contains("crates_download_duration_seconds_count 1\n"));
        });
        assert_eq!(embedder.handle().render(), "");
    }
}
