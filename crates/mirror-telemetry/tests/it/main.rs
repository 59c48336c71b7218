//! Tests the listener as a browser, Prometheus and Go's tools use it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(unix)]
mod profiles;
mod samples;

use std::sync::Arc;
use std::time::Duration;

use mirror_telemetry::{
    CountedGauges, DiskSpace, Ended, ListenOptions, Listener, MirrorViews, Phase, RunStats,
};
use mirror_testkit::check_metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

async fn send(listener: &Listener, request: &str) -> Got {
    let mut stream = TcpStream::connect(listener.local_addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Got { status, head, body: bytes[end + 4..].to_vec() }
}

async fn get(listener: &Listener, path: &str) -> Got {
    send(listener, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
}

async fn start() -> (Listener, Arc<RunStats>) {
    let stats = RunStats::new("1.2.3");
    (Listener::start("127.0.0.1:0", stats.clone()).await.unwrap(), stats)
}

#[tokio::test]
async fn status_has_the_fields_of_the_source_system_and_more() {
    let (listener, stats) = start().await;
    stats.set_phase(Phase::Download);
    stats.planned(7);
    stats.downloaded(100);
    stats.existing(1);
    stats.error();
    let got = get(&listener, "/api/status").await;
    assert!(got.head.contains("content-type: application/json"), "{}", got.head);
    let json: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    for (key, value) in [("processed", 3), ("ok", 2), ("errors", 1), ("downloaded", 1), ("existing", 1)] {
        assert_eq!(json[key], value, "{key}");
    }
    assert_eq!(
        (&json["version"], &json["planned"], &json["bytes"]),
        (&"1.2.3".into(), &7.into(), &100.into())
    );
    // The total is known before the plan is finished, and so is the time left.
    assert!(json["eta_sec"].is_null());
    stats.expect(70);
    let json: serde_json::Value = serde_json::from_slice(&get(&listener, "/api/status").await.body).unwrap();
    assert_eq!(json["planned"], 70);
    assert!(json["eta_sec"].is_u64(), "{json}");
    stats.plan_finished();
    let json: serde_json::Value = serde_json::from_slice(&get(&listener, "/api/status").await.body).unwrap();
    assert_eq!(json["planned"], 7, "the final plan replaces the expected total");
    let rate = json["rate_per_sec"].as_str().unwrap();
    assert!(rate.split_once('.').is_some_and(|(_, decimals)| decimals.len() == 1), "{rate}");
    assert_eq!(json["rate"].as_f64(), rate.parse().ok(), "the same as a number");
}

#[tokio::test]
async fn deferred_records_are_done_and_shown_once_there_are_some() {
    let (listener, stats) = start().await;
    let deferred = "crates_processed_total{result=\"deferred\"} 2";
    assert!(!get(&listener, "/metrics").await.text().contains("deferred"));
    stats.planned(3);
    stats.existing(1);
    stats.deferred(2);
    let now = stats.snapshot();
    assert_eq!((now.processed, now.ok, now.deferred, now.planned), (3, 1, 2, 3));
    let got = get(&listener, "/metrics").await;
    let text = got.text();
    assert!(text.lines().any(|line| line == deferred), "{text}");
}

#[tokio::test]
async fn the_effect_of_a_policy_is_shown_once_it_was_judged() {
    use mirror_types::Rule;

    let (listener, stats) = start().await;
    let gauges = ["held_back_releases", "advisory_releases", "advisories_age_seconds"];
    let before = get(&listener, "/metrics").await;
    assert!(gauges.iter().all(|gauge| !before.text().contains(gauge)), "{}", before.text());
    stats.change_offer(|offer| offer.advisories_age = Some(Duration::from_secs(90_000)));
    stats.change_offer(|offer| {
        offer.held_back = [(Rule::MinPublishAge, 10), (Rule::Deny, 2)].into();
        offer.reported = Some(3);
    });
    let got = get(&listener, "/metrics").await;
    let has = |text: &str, line: &str| text.lines().any(|found| found == line);
    for line in [
        "crates_download_held_back_releases{rule=\"min-publish-age\"} 10",
        "crates_download_held_back_releases{rule=\"deny\"} 2",
        "crates_download_held_back_releases{rule=\"yanked\"} 0",
        "crates_download_advisory_releases 3",
        "crates_download_advisories_age_seconds 90000",
    ] {
        assert!(has(got.text(), line), "{line} is not in\n{}", got.text());
    }
    check_metrics(got.text());
    // A rule that holds nothing back any more does not keep its number.
    stats.change_offer(|offer| offer.held_back.clear());
    let later = get(&listener, "/metrics").await;
    assert!(has(later.text(), "crates_download_held_back_releases{rule=\"deny\"} 0"), "{}", later.text());
}

#[tokio::test]
async fn prometheus_accepts_the_metrics() {
    let (listener, stats) = start().await;
    for millis in [1, 30, 700, 99_000] {
        stats.request(Some(200), true, Duration::from_millis(millis));
    }
    stats.request(None, false, Duration::from_millis(3));
    stats.downloaded(5);
    let got = get(&listener, "/metrics").await;
    assert!(got.head.contains("version=0.0.4"), "{}", got.head);
    let text = got.text();
    for line in [
        "crates_download_requests_total{status=\"ok\",code=\"200\"} 4",
        "crates_download_requests_total{status=\"error\",code=\"net\"} 1",
        "crates_download_duration_seconds_bucket{le=\"+Inf\"} 5",
        "crates_download_duration_seconds_count 5",
        "crates_processed_total{result=\"downloaded\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let buckets: Vec<u64> = text
        .lines()
        .filter(|line| line.contains("_bucket{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(buckets.is_sorted() && buckets.len() > 5, "{buckets:?}");

    // The bounds are in order, the last is infinite, and each bucket includes those before it.
    let bounds: Vec<&str> =
        text.lines().filter_map(|line| line.split("_bucket{le=\"").nth(1)?.split('"').next()).collect();
    let (last, finite) = bounds.split_last().unwrap();
    assert_eq!(*last, "+Inf");
    assert!(finite.iter().map(|bound| bound.parse::<f64>().unwrap()).is_sorted(), "{bounds:?}");
    assert_eq!(buckets, [2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5]);
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!((value("crates_download_duration_seconds_sum") - 99.734).abs() < 1e-6, "{text}");

    let (idle, _stats) = start().await;
    let nothing_yet = get(&idle, "/metrics").await;
    for text in [text, nothing_yet.text()] {
        check_metrics(text);
    }
}

#[tokio::test]
async fn only_reading_is_allowed_and_only_under_this_machines_name() {
    let (listener, _stats) = start().await;
    let get_as = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert_eq!(send(&listener, &get_as("attacker.test")).await.status, 403);
    assert_eq!(send(&listener, &get_as(&listener.local_addr().to_string())).await.status, 200);
    let post = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let refused = send(&listener, post).await;
    assert_eq!(refused.status, 405);
    assert!(refused.head.contains("allow: get, head"), "{}", refused.head);
    let nameless = send(&listener, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert_eq!(nameless.status, 403);
    assert_eq!(get(&listener, "/../etc/passwd").await.status, 404);
    let head = send(&listener, "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn the_console_is_one_page_with_a_strict_policy() {
    let (listener, _stats) = start().await;
    let got = get(&listener, "/").await;
    let policy = got.head.lines().find(|line| line.starts_with("content-security-policy:")).unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(got.head.contains("x-content-type-options: nosniff"), "{}", got.head);
    assert!(got.head.contains("cross-origin-resource-policy: same-origin"), "{}", got.head);
    assert_eq!(got.text(), mirror_console::page());
    let status = get(&listener, "/api/status").await;
    assert!(status.head.contains("cache-control: no-store"), "{}", status.head);
    assert!(get(&listener, "/debug/pprof/").await.text().contains("flamegraph"));
    let command = get(&listener, "/debug/pprof/cmdline").await;
    let arguments: Vec<String> = std::env::args().collect();
    assert_eq!(command.text().split('\0').collect::<Vec<_>>(), arguments);
    assert_eq!(get(&listener, "/debug/pprof/heap").await.status, 501);
    for (name, words) in
        [("trace", "goroutine shows where"), ("mutex", "goroutine"), ("allocs", "heap shows")]
    {
        let answer = get(&listener, &format!("/debug/pprof/{name}")).await;
        assert_eq!(answer.status, 501, "{name}");
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    assert_eq!(get(&listener, "/debug/pprof/nothing").await.status, 404);
    assert_eq!(get(&listener, "/nowhere").await.status, 404);
}

#[tokio::test]
async fn every_path_of_the_console_is_guarded() {
    let (listener, _stats) = start().await;
    let paths = ["/", "/api/status", "/api/events", "/api/history", "/api/failures", "/api/verification"];
    for path in paths.into_iter().chain(["/api/preflight", "/metrics", "/debug/pprof/"]) {
        let line = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
        let refused = send(&listener, &format!("{line}Host: attacker.test\r\n\r\n")).await;
        assert_eq!(refused.status, 403, "{path}");
        assert!(
            refused.text().starts_with("attacker.test is not a name of this server"),
            "{}",
            refused.text()
        );
        let foreign = format!("{line}Host: localhost\r\nOrigin: http://attacker.test\r\n\r\n");
        assert_eq!(send(&listener, &foreign).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn a_listener_for_others_gives_metrics_under_any_name_and_the_rest_under_allowed_ones() {
    let mut options = ListenOptions::default();
    options.names = vec!["mirror.lan".to_owned()];
    let listener = Listener::start_with("0.0.0.0:0", RunStats::new("1"), options).await.unwrap();
    let port = listener.local_addr().port();
    let status = async |path: &str, host: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text[9..12].to_owned()
    };
    assert_eq!(status("/metrics", "any.test").await, "200");
    assert_eq!(status("/api/status", "any.test").await, "403");
    assert_eq!(status("/api/status", &format!("mirror.lan:{port}")).await, "200");
    assert_eq!(status("/", "10.1.2.3").await, "200");
}

/// Reads from an event stream until its text contains `what`.
async fn read_until(stream: &mut TcpStream, what: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(what) {
        assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "{}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn events_bring_the_status_until_the_run_has_ended() {
    let (listener, stats) = start().await;
    let mut stream = TcpStream::connect(listener.local_addr()).await.unwrap();
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let head = read_until(&mut stream, "event: status\ndata: {").await;
    assert!(head.to_lowercase().contains("content-type: text/event-stream"), "{head}");
    stats.downloaded(7);
    read_until(&mut stream, "\"downloaded\":1").await;
    let mut ended = Ended::default();
    ended.summary = "that was it".to_owned();
    stats.end(ended, 0);
    let (text, ()) = tokio::join!(read_until(&mut stream, "\"phase\":\"done\""), listener.finish());
    assert!(text.contains("that was it"), "{text}");
}

#[tokio::test]
async fn a_reader_that_stops_reading_holds_up_neither_the_run_nor_its_end() {
    let (listener, stats) = start().await;
    let mut stuck = TcpStream::connect(listener.local_addr()).await.unwrap();
    stuck.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    read_until(&mut stuck, "event: status").await;
    stats.downloaded(1);
    let begun = std::time::Instant::now();
    listener.finish().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// A mirror that counts the looks at it.
#[derive(Default)]
struct Shown(std::sync::atomic::AtomicU64);

impl MirrorViews for Shown {
    fn storage(&self) -> Result<String, String> {
        Ok(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string())
    }
    fn runs(&self) -> Result<String, String> {
        Err("the catalogue is damaged".to_owned())
    }
    fn disk(&self) -> Option<DiskSpace> {
        Some(DiskSpace::new(100, 1, None))
    }
    fn counted(&self) -> Option<CountedGauges> {
        let mut counted = CountedGauges::default();
        counted.loose_bytes = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 100;
        (counted.bundle_bytes, counted.partial_bundles) = (9, 1);
        counted.last_success_ms = Some(1_700_000_000_123);
        Some(counted)
    }
}

#[tokio::test]
async fn metrics_show_the_disk_and_what_was_counted_in_the_mirror() {
    let mut options = ListenOptions::default();
    options.mirror = Some(Arc::new(Shown::default()));
    let listener = Listener::start_with("127.0.0.1:0", RunStats::new("1"), options).await.unwrap();
    let has = |text: &str, line: &str| text.lines().any(|found| found == line);
    let got = loop {
        let got = get(&listener, "/metrics").await;
        if got.text().contains("crates_mirror_stored_bytes") {
            break got;
        }
    };
    for line in [
        "crates_mirror_disk_size_bytes 100",
        "crates_mirror_disk_free_bytes 1",
        "crates_mirror_stored_bytes{place=\"loose\"} 100",
        "crates_mirror_stored_bytes{place=\"bundles\"} 9",
        "crates_mirror_bundles{state=\"sealed\"} 0",
        "crates_mirror_bundles{state=\"partial\"} 1",
        "crates_mirror_last_success_timestamp_seconds 1700000000",
    ] {
        assert!(has(got.text(), line), "{line} is not in\n{}", got.text());
    }
    assert!(!got.text().contains("last_run") && !got.text().contains("free_files"), "{}", got.text());
    check_metrics(got.text());
    // Scrapes in a row count once.
    let (one, other) = tokio::join!(get(&listener, "/metrics"), get(&listener, "/metrics"));
    for got in [one, other] {
        assert!(has(got.text(), "crates_mirror_stored_bytes{place=\"loose\"} 100"), "{}", got.text());
    }
    // A run without a mirror shows none.
    let (bare, _stats) = start().await;
    assert!(!get(&bare, "/metrics").await.text().contains("crates_mirror_"));
}

#[tokio::test]
async fn the_mirror_is_looked_at_once_for_many_who_ask() {
    let mut options = ListenOptions::default();
    options.mirror = Some(Arc::new(Shown::default()));
    let stats = RunStats::new("1");
    let listener = Listener::start_with("127.0.0.1:0", stats.clone(), options).await.unwrap();
    let (one, other) = tokio::join!(get(&listener, "/api/storage"), get(&listener, "/api/storage"));
    assert_eq!((one.text(), other.text()), ("0", "0"));
    let failed = get(&listener, "/api/runs").await;
    assert_eq!((failed.status, failed.text()), (503, "the catalogue is damaged\n"));
    loop {
        let json: serde_json::Value =
            serde_json::from_slice(&get(&listener, "/api/status").await.body).unwrap();
        if json["verdict"]["headline"] == "The disk is nearly full" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
