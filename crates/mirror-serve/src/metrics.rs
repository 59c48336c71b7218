//! The counters of the server.

use metrics::{
    Counter, Gauge, counter, describe_counter, describe_gauge, gauge, set_default_local_recorder,
    with_local_recorder,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use mirror_console::{CountedGauges, MirrorGauges};
use mirror_repo::{DiskReport, MirrorNumbers};
use mirror_types::Rule;

use crate::page::Totals;

/// The subject of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Index,
    Crate,
    Search,
    Other,
}

/// As labels, in the order of [`Kind`].
const KINDS: [&str; 4] = ["index", "crate", "search", "other"];
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

const REQUESTS: &str = "crates_serve_requests_total";
const BYTES: &str = "crates_serve_bytes_total";
const CONNECTIONS: &str = "crates_serve_connections_total";
const OPEN: &str = "crates_serve_connections";
const REFUSED: &str = "crates_serve_connections_refused_total";
const CUT: &str = "crates_serve_connections_cut_total";
const MADE_ROOM: &str = "crates_serve_connections_made_room_total";
const PREPARED: &str = "crates_serve_index_files_prepared_total";
const GENERATION: &str = "crates_serve_generation";
const HELD_CRATES: &str = "crates_serve_held_crates";
const HELD_RELEASES: &str = "crates_serve_held_releases";
const HELD_BYTES: &str = "crates_serve_held_bytes";
const HELD_BACK: &str = "crates_serve_held_back_releases";
const BUILD_INFO: &str = "crates_serve_build_info";
const CREATED: &str = "crates_serve_snapshot_created_timestamp_seconds";
const EXPIRES: &str = "crates_serve_snapshot_expires_timestamp_seconds";

/// Counters of a server, in a recorder of its own: a process may have several servers, and an embedding program may
/// have installed another recorder for the process. There is no histogram, so the recorder keeps no samples and needs
/// no upkeep.
#[derive(Debug)]
pub(crate) struct Counters {
    recorder: PrometheusRecorder,
    /// By kind and class of status.
    requests: [[Counter; 4]; 4],
    bytes: Counter,
    pub(crate) connections: Counter,
    pub(crate) open: Gauge,
    pub(crate) turned_away: Counter,
    pub(crate) cut_off: Counter,
    pub(crate) made_room: Counter,
    pub(crate) prepared: Counter,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let current = set_default_local_recorder(&recorder);
        describe();
        let requests =
            KINDS.map(|kind| CLASSES.map(|class| counter!(REQUESTS, "kind" => kind, "status" => class)));
        let (bytes, connections, open) = (counter!(BYTES), counter!(CONNECTIONS), gauge!(OPEN));
        let (turned_away, cut_off, made_room) = (counter!(REFUSED), counter!(CUT), counter!(MADE_ROOM));
        let prepared = counter!(PREPARED);
        drop(current);
        Self { recorder, requests, bytes, connections, open, turned_away, cut_off, made_room, prepared }
    }

    pub(crate) fn answered(&self, kind: Kind, status: u16, bytes: u64) {
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        self.requests[kind as usize][class].increment(1);
        self.bytes.increment(bytes);
    }

    /// Renders Prometheus' text format, version 0.0.4.
    pub(crate) fn render(
        &self,
        generation: u64,
        disk: Option<DiskReport>,
        totals: Option<&Totals>,
    ) -> String {
        with_local_recorder(&self.recorder, || {
            for gauge in mirror_gauges(disk, totals.map(|totals| totals.numbers)).list() {
                set_labelled(&gauge);
            }
            set_gauge(&gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")), 1);
            set(GENERATION, generation);
            if let Some(Totals { held, held_back, snapshot, .. }) = totals {
                set(HELD_CRATES, held.crates);
                set(HELD_RELEASES, held.releases);
                set(HELD_BYTES, held.bytes);
                if let Some(snapshot) = snapshot {
                    set(CREATED, timestamp(snapshot.created));
                    set(EXPIRES, timestamp(snapshot.expires));
                }
                // A rule that holds nothing back any more must not keep its old number.
                for rule in Rule::ALL {
                    set_gauge(&gauge!(HELD_BACK, "rule" => rule.name()), held_back.by(rule));
                }
            }
        });
        self.recorder.handle().render()
    }
}

fn describe() {
    describe_counter!(REQUESTS, "Requests by what was asked for and class of status.");
    describe_counter!(BYTES, "Bytes of bodies that were answered with.");
    describe_counter!(CONNECTIONS, "Connections that were taken.");
    describe_gauge!(OPEN, "Connections that are open.");
    describe_counter!(REFUSED, "Connections beyond the limit.");
    describe_counter!(CUT, "Connections closed for moving nothing.");
    describe_counter!(MADE_ROOM, "Connections closed for moving nothing while others wanted their place.");
    describe_counter!(PREPARED, "Index files prepared.");
    describe_gauge!(GENERATION, "States of the mirror that were seen.");
    describe_gauge!(HELD_CRATES, "Crates of which something is held.");
    describe_gauge!(HELD_RELEASES, "Releases that are held.");
    describe_gauge!(HELD_BYTES, "Bytes of releases that are held.");
    describe_gauge!(HELD_BACK, "Releases that policy holds back, held or not, by rule.");
    describe_gauge!(BUILD_INFO, "Always 1; the label is the version of the server.");
    describe_gauge!(CREATED, "Time at which the snapshot that is served, or the newest one, was made.");
    describe_gauge!(EXPIRES, "Time at which the snapshot that is served, or the newest one, is too old.");
}

/// Returns what metrics show of the mirror.
fn mirror_gauges(disk: Option<DiskReport>, numbers: Option<MirrorNumbers>) -> MirrorGauges {
    let mut gauges = MirrorGauges::default();
    gauges.disk_bytes = disk.map(|disk| disk.total);
    gauges.disk_free_bytes = disk.map(|disk| disk.free);
    gauges.disk_free_files = disk.and_then(|disk| disk.inodes_free);
    gauges.counted = numbers.map(|numbers| {
        let mut counted = CountedGauges::default();
        (counted.loose_bytes, counted.bundle_bytes) = (numbers.loose_bytes, numbers.bundle_bytes);
        (counted.sealed_bundles, counted.partial_bundles) = (numbers.sealed_bundles, numbers.partial_bundles);
        (counted.last_run_ms, counted.last_success_ms) = (numbers.last_run_ms, numbers.last_success_ms);
        counted
    });
    gauges
}

fn set_labelled(gauge: &mirror_console::Gauge) {
    describe_gauge!(gauge.name, gauge.help);
    let set = gauge.label.map_or_else(|| gauge!(gauge.name), |(key, value)| gauge!(gauge.name, key => value));
    set_gauge(&set, gauge.value);
}

/// Returns seconds since 1970.
fn timestamp(time: std::time::SystemTime) -> u64 {
    time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn set(name: &'static str, value: u64) {
    set_gauge(&gauge!(name), value);
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn set_gauge(gauge: &Gauge, value: u64) {
    gauge.set(value as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_request_has_its_label() {
        let counters = Counters::new();
        for (kind, times) in [(Kind::Index, 1), (Kind::Crate, 2), (Kind::Search, 3), (Kind::Other, 4)] {
            for _ in 0..times {
                counters.answered(kind, 404, 10);
            }
        }
        counters.answered(Kind::Crate, 206, 1);
        counters.answered(Kind::Other, 101, 0);
        let text = counters.render(7, None, None);
        for line in [
            "crates_serve_requests_total{kind=\"index\",status=\"4xx\"} 1",
            "crates_serve_requests_total{kind=\"crate\",status=\"4xx\"} 2",
            "crates_serve_requests_total{kind=\"search\",status=\"4xx\"} 3",
            "crates_serve_requests_total{kind=\"other\",status=\"4xx\"} 4",
            "crates_serve_requests_total{kind=\"crate\",status=\"2xx\"} 1",
            "crates_serve_requests_total{kind=\"index\",status=\"5xx\"} 0",
            "crates_serve_bytes_total 101",
            "crates_serve_generation 7",
            concat!("crates_serve_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("held"), "what was not counted is not shown as nothing: {text}");
    }

    #[test]
    fn bytes_are_exact_and_in_digits() {
        let mut totals = Totals::default();
        (totals.held.crates, totals.held.bytes) = (250_000, 9_007_199_254_740_991);
        let text = Counters::new().render(1, None, Some(&totals));
        for line in ["crates_serve_held_crates 250000", "crates_serve_held_bytes 9007199254740991"] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        mirror_testkit::check_metrics(&text);
    }

    #[test]
    fn what_is_held_back_is_counted_by_rule_and_forgotten() {
        let mut totals = Totals::default();
        totals.held_back.by_rule = vec![(Rule::Deny, 2), (Rule::MinPublishAge, 10)];
        let counters = Counters::new();
        let text = counters.render(1, None, Some(&totals));
        mirror_testkit::check_metrics(&text);
        let has = |text: &str, rule: &str, releases: u64| {
            let line = format!("crates_serve_held_back_releases{{rule=\"{rule}\"}} {releases}");
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        };
        for (rule, releases) in [("deny", 2), ("min-publish-age", 10), ("yanked", 0)] {
            has(&text, rule, releases);
        }
        has(&counters.render(2, None, Some(&Totals::default())), "deny", 0);
    }

    #[test]
    fn servers_of_one_process_count_apart() {
        let (one, other) = (Counters::new(), Counters::new());
        one.connections.increment(1);
        assert!(one.render(0, None, None).contains("crates_serve_connections_total 1\n"));
        assert!(other.render(0, None, None).contains("crates_serve_connections_total 0\n"));
    }
}
