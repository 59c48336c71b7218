//! `/metrics` and `/api/status`, out of [`RunStats`].

use std::fmt::Write as _;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::stats::{BUCKETS_MS, RunStats};

/// Renders the counters as JSON: the fields of the source system, and more.
pub(crate) fn status_json(stats: &RunStats) -> String {
    let now = stats.snapshot();
    serde_json::json!({
        "version": stats.version,
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
    })
    .to_string()
}

/// Renders the counters in Prometheus' text format, version 0.0.4.
pub(crate) fn metrics(stats: &RunStats) -> String {
    let now = stats.snapshot();
    let mut text = String::new();
    let head = |text: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    let name = "crates_download_requests_total";
    head(&mut text, name, "counter", "Requests by result and HTTP status; net is a transport error.");
    for ((ok, code), count) in stats.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let status = if *ok { "ok" } else { "error" };
        let code = code.map_or_else(|| "net".to_owned(), |code| code.to_string());
        let _ = writeln!(text, "{name}{{status=\"{status}\",code=\"{code}\"}} {count}");
    }
    for (name, kind, help, value) in [
        ("crates_download_bytes_total", "counter", "Bytes of bodies received.", now.received),
        ("crates_download_retries_total", "counter", "Attempts beyond the first.", now.retries),
        ("crates_download_inflight", "gauge", "Requests under way.", now.inflight),
    ] {
        head(&mut text, name, kind, help);
        let _ = writeln!(text, "{name} {value}");
    }
    let name = "crates_download_duration_seconds";
    head(&mut text, name, "histogram", "Duration of requests.");
    let mut sum = 0;
    for (at, bucket) in stats.buckets.iter().enumerate() {
        sum += bucket.load(Relaxed);
        let bound = BUCKETS_MS.get(at).map_or_else(
            || "+Inf".to_owned(),
            |&millis| Duration::from_millis(millis).as_secs_f64().to_string(),
        );
        let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {sum}");
    }
    let seconds = Duration::from_micros(stats.duration_micros.load(Relaxed)).as_secs_f64();
    let _ = writeln!(text, "{name}_sum {seconds}\n{name}_count {sum}");
    let name = "crates_processed_total";
    head(&mut text, name, "counter", "Records by result.");
    for (result, value) in [
        ("downloaded", now.downloaded),
        ("existing", now.existing),
        ("verified_existing", now.verified_existing),
        ("unavailable", now.unavailable),
        ("error", now.errors),
    ] {
        let _ = writeln!(text, "{name}{{result=\"{result}\"}} {value}");
    }
    if now.deferred > 0 {
        let _ = writeln!(text, "{name}{{result=\"deferred\"}} {}", now.deferred);
    }
    text
}
