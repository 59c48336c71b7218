//! HTTP/2 over TLS, and the driver.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mirror_fetch::Fetcher;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::origin::{Seen, Spools};
use crate::secure::secure;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goaway_loses_nothing_and_costs_no_retry() {
    let origin = secure(40, |_| Duration::from_millis(2)).await;
    let seen = Arc::new(Seen::default());
    let fetcher =
        Fetcher::new(origin.options(), Arc::clone(&seen) as _, Arc::new(Spools::default())).unwrap();
    let all = origin.run(&fetcher, 1500).await;
    assert!(all.into_iter().eq(0..1500));
    assert_eq!(seen.retries.load(Ordering::SeqCst), 0);
    assert!(origin.conns.load(Ordering::SeqCst) >= 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_share_few_connections() {
    let origin = secure(usize::MAX, |_| Duration::ZERO).await;
    let fetcher = Fetcher::new(origin.options(), Arc::new(()), Arc::new(Spools::default())).unwrap();
    assert_eq!(origin.run(&fetcher, 3000).await.len(), 3000);
    assert_eq!(origin.conns.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_straggler_is_hedged() {
    let origin = secure(usize::MAX, |n| Duration::from_secs(if n == 5 { 30 } else { 0 })).await;
    let mut options = origin.options();
    options.idle_timeout = Duration::from_secs(30);
    let fetcher = Fetcher::new(options, Arc::new(()), Arc::new(Spools::default())).unwrap();
    let began = Instant::now();
    assert_eq!(origin.run(&fetcher, 20).await.len(), 20);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn cancelling_returns_at_once() {
    let origin = secure(usize::MAX, |_| Duration::from_secs(30)).await;
    let fetcher = Fetcher::new(origin.options(), Arc::new(()), Arc::new(Spools::default())).unwrap();
    let (job, jobs) = mpsc::channel(4);
    let (result, _results) = mpsc::channel(4);
    job.send(((), origin.req(0))).await.unwrap();
    let cancel = CancellationToken::new();
    let driver = fetcher.run(jobs, result, cancel.clone());
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel();
    };
    let (end, ()) =
        tokio::time::timeout(Duration::from_secs(3), async { tokio::join!(driver, stop) }).await.unwrap();
    assert_eq!(end, mirror_fetch::RunEnd::Done);
}
