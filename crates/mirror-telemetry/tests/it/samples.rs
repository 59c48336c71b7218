//! Checks that no sample of the duration histogram is lost, and that samples do not pile up.

use std::process::Command;

use mirror_testkit::run_measured;

use super::*;

/// Set in a process that only records: in this one, other tests allocate more than the samples take.
const ALONE: &str = "MIRROR_TEST_ALONE";
const THREADS: u64 = 2;
/// Enough to show: kept one by one, samples take 16 bytes each.
const SAMPLES: u64 = 8_000_000;
/// A third of what [`SAMPLES`] would take, and several times what the process takes without them.
const MAX_BYTES: u64 = 40 << 20;

/// Records this many samples on several threads; returns when they have ended.
async fn record(stats: &Arc<RunStats>, samples: u64) {
    let threads = (0..THREADS).map(|_| {
        let stats = stats.clone();
        tokio::task::spawn_blocking(move || {
            for n in 0..samples / THREADS {
                stats.request(Some(200), true, Duration::from_millis(n % 100));
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.await.unwrap();
    }
}

/// Returns the number of requests in this text, as the counter and as the histogram have it.
fn counted(text: &str) -> [u64; 2] {
    ["crates_download_requests_total{status=\"ok\",code=\"200\"} ", "crates_download_duration_seconds_count "]
        .map(|name| text.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |n| n.parse().unwrap()))
}

#[tokio::test]
async fn samples_do_not_pile_up_when_nothing_scrapes() {
    if std::env::var_os(ALONE).is_some() {
        let (listener, stats) = start().await;
        record(&stats, SAMPLES).await;
        assert_eq!(counted(get(&listener, "/metrics").await.text()), [SAMPLES; 2]);
        return;
    }
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", "samples::samples_do_not_pile_up_when_nothing_scrapes"]).env(ALONE, "1");
    let (ended, peak_bytes) = run_measured(&mut alone, Duration::from_secs(300));
    let ended = ended.expect(0);
    assert!(ended.stdout.contains("1 passed"), "{}", ended.stdout);
    assert!(peak_bytes < MAX_BYTES, "{peak_bytes} bytes for {SAMPLES} samples");
}

#[tokio::test]
async fn no_sample_is_lost_to_a_scrape() {
    const SOME: u64 = 500_000;
    let (listener, stats) = start().await;
    let recording = tokio::spawn(async move { record(&stats, SOME).await });
    while !recording.is_finished() {
        let [requests, durations] = counted(get(&listener, "/metrics").await.text());
        assert_eq!(requests, durations);
    }
    recording.await.unwrap();
    assert_eq!(counted(get(&listener, "/metrics").await.text()), [SOME; 2]);
}
