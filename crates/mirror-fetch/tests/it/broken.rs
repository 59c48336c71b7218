//! Broken connections, and missing answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use mirror_fetch::{FailureKind, FetchRequest};
use mirror_testkit::{Fault, OriginOptions, Protocol};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::kit::{HANG, Kit, until};
use crate::origin::{fetcher, quick, quick_with};

/// Accepts connections and closes them at once, or keeps them and sends nothing.
async fn mute(keeps: bool) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let conns = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&conns);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((tcp, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            if keeps {
                kept.push(tcp);
            }
        }
    });
    (port, conns)
}

fn req(scheme: &str, port: u16) -> FetchRequest {
    FetchRequest::new(Url::parse(&format!("{scheme}://127.0.0.1:{port}/x")).unwrap())
}

#[tokio::test]
async fn a_connection_closed_at_once_is_a_reset() {
    for scheme in ["http", "https"] {
        let (port, conns) = mute(false).await;
        let outcome = tokio::time::timeout(HANG, fetcher(quick()).fetch(req(scheme, port))).await.unwrap();
        let failure = outcome.unwrap_err();
        assert_eq!((failure.kind, failure.retries), (FailureKind::Reset, 3), "{scheme}: {failure}");
        assert_eq!(conns.load(Ordering::SeqCst), 4, "{scheme}");
    }
}

#[tokio::test]
async fn a_port_without_a_listener_is_a_failed_connection() {
    // No other test can get that port.
    let failure = fetcher(quick()).fetch(req("https", 1)).await.unwrap_err();
    assert_eq!((failure.kind, failure.retries), (FailureKind::Connect, 3), "{failure}");
}

#[tokio::test]
async fn a_handshake_that_never_ends_meets_the_connect_timeout() {
    let (port, conns) = mute(true).await;
    let mut options = quick();
    options.connect_timeout = Duration::from_millis(200);
    options.retries = 1;
    let fetcher = fetcher(options);
    let all = join_all((0..100).map(|_| fetcher.fetch(req("https", port))));
    for outcome in tokio::time::timeout(HANG, all).await.unwrap() {
        let failure = outcome.unwrap_err();
        assert_eq!((failure.kind, failure.retries), (FailureKind::Timeout, 1), "{failure}");
    }
    // All share the two slots' attempts instead of waiting in line for one of their own.
    assert!(conns.load(Ordering::SeqCst) <= 8, "{conns:?}");
}

#[tokio::test]
async fn plain_http_where_tls_is_spoken_and_the_reverse() {
    let plain = Kit::speaking(Protocol::Http1);
    let port = plain.origin.addr().port();
    let failure = fetcher(quick()).fetch(req("https", port)).await.unwrap_err();
    assert_eq!((failure.kind, failure.retries), (FailureKind::Tls, 1), "{failure}");

    // The client does not trust the origin's authority.
    let secure = Kit::speaking(Protocol::Http2);
    let failure = fetcher(quick()).fetch(req("https", secure.origin.addr().port())).await.unwrap_err();
    assert_eq!((failure.kind, failure.retries), (FailureKind::Tls, 1), "{failure}");
    assert_eq!(secure.origin.total(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_stream_is_asked_again_on_the_same_connection() {
    let kit = Kit::speaking(Protocol::Http2);
    kit.origin.script(|ask| if ask.nth == 0 { Fault::Reset(1000) } else { Fault::None });
    let (fetcher, seen) = kit.quick();
    let all = kit.at_once(&fetcher, 200).await;
    assert!(all.into_iter().all(|outcome| outcome.unwrap().retries == 1));
    assert_eq!((seen.retries(), kit.origin.total()), (200, 400));
    assert!(kit.origin.connections() <= 2, "{}", kit.origin.connections());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_always_reset_fails_alone() {
    for protocol in [Protocol::Http2, Protocol::Http1] {
        let kit = Kit::speaking(protocol);
        kit.origin.script(|ask| if ask.path == "/7" { Fault::Reset(1000) } else { Fault::None });
        let (fetcher, _) = kit.quick();
        let all = kit.at_once(&fetcher, 50).await;
        for (n, outcome) in all.into_iter().enumerate() {
            match outcome {
                Ok(got) => assert_eq!((n == 7, got.retries), (false, 0)),
                Err(failure) => {
                    assert_eq!((n, failure.retries), (7, 3), "{failure}");
                    assert!(matches!(failure.kind, FailureKind::Reset | FailureKind::Truncated), "{failure}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_dropped_under_many_requests_lose_none() {
    for protocol in [Protocol::Http2, Protocol::Http1Tls, Protocol::Http1] {
        let kit = Kit::speaking(protocol);
        // Every 60th request breaks its connection, in the middle of the body.
        kit.origin.script(|ask| if ask.total % 60 == 30 { Fault::Drop(1000) } else { Fault::None });
        let (fetcher, _) = kit.fetcher(quick_with(|options| options.retries = 6));
        let all = tokio::time::timeout(HANG, kit.run(&fetcher, 400)).await.unwrap();
        for outcome in all {
            outcome.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_that_kills_its_connection_fails_alone() {
    let kit = Kit::speaking(Protocol::Http2);
    kit.origin.script(|ask| if ask.path == "/7" { Fault::Drop(1000) } else { Fault::None });
    let (fetcher, _) = kit.quick();
    let all = kit.at_once(&fetcher, 200).await;
    let failed: Vec<_> = all.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).collect();
    assert!(matches!(failed.as_slice(), [(7, _)]), "{failed:?}");
    // Twice beside others, then on connections of its own.
    assert_eq!(kit.origin.hits("/7"), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goaway_with_a_thousand_requests_in_flight_loses_none() {
    let options = OriginOptions {
        requests_per_connection: Some(50),
        delay: Duration::from_millis(20),
        ..OriginOptions::default()
    };
    let kit = Kit::start(options);
    let (fetcher, seen) = kit.fetcher(quick_with(|options| options.concurrency = 1000));
    // The driver begins with a few requests and works up to many; here all are in flight from the start.
    let paths: Vec<_> = (0..1000).map(|n| format!("/at-once/{n}")).collect();
    let all = join_all(paths.iter().map(|path| fetcher.fetch(kit.req(path))));
    for outcome in tokio::time::timeout(HANG, all).await.unwrap() {
        outcome.unwrap();
    }
    for outcome in tokio::time::timeout(HANG, kit.run(&fetcher, 3000)).await.unwrap() {
        outcome.unwrap();
    }
    assert!(seen.retries() <= 40, "{} retries", seen.retries());
    assert!(kit.origin.connections() >= 16, "{} connections", kit.origin.connections());
    assert_eq!(*seen.inflight.lock().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_does_not_wait_for_hanging_requests() {
    for protocol in [Protocol::Http2, Protocol::Http1] {
        let kit = Kit::speaking(protocol);
        kit.origin.script(|ask| match ask.total {
            0..1000 => Fault::None,
            n if n % 2 == 0 => Fault::Silence,
            _ => Fault::Stall(500),
        });
        // No deadline of a request can end it.
        let (far, mut options) = (Duration::from_secs(3600), quick());
        options.concurrency = 400;
        options.total_timeout = far;
        options.idle_timeout = far;
        let (fetcher, seen) = kit.fetcher(options);
        let (job, jobs) = mpsc::channel(2000);
        let (result, results) = mpsc::channel(2000);
        for n in 0..2000 {
            job.send((n, kit.req(&format!("/{n}")))).await.unwrap();
        }
        let cancel = CancellationToken::new();
        let (driver, token) = (fetcher.clone(), cancel.clone());
        let driver = tokio::spawn(async move { driver.run(jobs, result, token).await });
        let most = if protocol == Protocol::Http2 { 100 } else { 30 };
        // Answered requests return; the rest hangs.
        until(|| kit.origin.total() >= 1000 + most && results.len() >= 1000).await;
        cancel.cancel();
        let end = tokio::time::timeout(HANG, driver).await.unwrap().unwrap();
        assert_eq!(end, mirror_fetch::RunEnd::Done);
        assert_eq!(*seen.inflight.lock().unwrap(), 0);
        // The cancelled requests do not block the next ones.
        kit.origin.heal();
        tokio::time::timeout(HANG, fetcher.fetch(kit.req("/again"))).await.unwrap().unwrap();
    }
}
