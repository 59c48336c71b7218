//! Limits on sizes and rates, and the pauses that an origin requests with 429.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mirror_fetch::{FailureKind, Fetcher, Spool, SpoolFactory};
use mirror_testkit::{Fault, Protocol, Served};

use crate::kit::{BODY_BYTES, HANG, Kit, until};
use crate::origin::{quick, quick_with, verified};

const PROTOCOLS: [Protocol; 3] = [Protocol::Http2, Protocol::Http1Tls, Protocol::Http1];

/// The time of the free burst of a bucket.
const BURST: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_body_ends_at_the_cap_and_is_not_asked_for_again() {
    const CAP: u64 = 3 << 20;
    for protocol in PROTOCOLS {
        let kit = Kit::speaking(protocol);
        kit.origin.script(|ask| if ask.path == "/endless" { Fault::Endless } else { Fault::None });
        let mut options = quick();
        options.max_body_bytes = CAP;
        options.spool_above_bytes = 1 << 20;
        let (fetcher, seen) = kit.fetcher(options);
        let endless = mirror_fetch::FetchRequest::new(kit.url("/endless"));
        let failure = tokio::time::timeout(HANG, fetcher.fetch(endless)).await.unwrap().unwrap_err();
        assert_eq!((failure.kind, failure.retries), (FailureKind::TooLarge, 0), "{protocol:?}: {failure}");
        // One frame may cross the cap.
        assert!((CAP..=CAP + (1 << 20)).contains(&seen.bytes()), "{protocol:?}: {}", seen.bytes());
        assert_eq!((kit.origin.hits("/endless"), seen.retries()), (1, 0), "{protocol:?}");
        // The window that the dropped body had filled is free again.
        let windows = if protocol == Protocol::Http2 { 5 } else { 1 };
        for _ in 0..windows {
            let endless = mirror_fetch::FetchRequest::new(kit.url("/endless"));
            assert_eq!(fetcher.fetch(endless).await.unwrap_err().kind, FailureKind::TooLarge);
        }
        assert_eq!(fetcher.fetch(kit.req("/1")).await.unwrap().retries, 0, "{protocol:?}");
        if protocol == Protocol::Http2 {
            assert_eq!(kit.origin.connections(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_chunks_for_ever_are_no_progress() {
    join_all(PROTOCOLS.map(|protocol| async move {
        let kit = Kit::speaking(protocol);
        kit.origin.script(|_| Fault::EmptyChunks);
        let mut options = quick();
        options.retries = 0;
        options.idle_timeout = Duration::from_secs(1);
        let (fetcher, seen) = kit.fetcher(options);
        let failure = tokio::time::timeout(HANG, fetcher.fetch(kit.req("/1"))).await.unwrap().unwrap_err();
        // The h2 library counts empty frames itself and may end the connection first, which is forgiven twice.
        let calm = protocol == Protocol::Http2 && failure.kind == FailureKind::Reset;
        assert!(calm || failure.kind == FailureKind::Idle, "{protocol:?}: {failure}");
        assert!((1..=3).contains(&seen.bytes()), "{}", seen.bytes());
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_no_faster_than_allowed() {
    const COUNT: u32 = 25;
    for protocol in [Protocol::Http2, Protocol::Http1] {
        let kit = Kit::speaking(protocol);
        let (fetcher, _) = kit.fetcher(quick_with(|options| options.max_requests_per_sec = 50));
        let began = Instant::now();
        for outcome in kit.run(&fetcher, COUNT as usize).await {
            outcome.unwrap();
        }
        let least = Duration::from_secs(1) * (COUNT - 1) / 50 - BURST;
        assert!(began.elapsed() >= least, "{protocol:?}: {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_duration_of_a_request_begins_when_the_limits_let_it_through() {
    const COUNT: u32 = 10;
    const PER_SEC: u32 = 20;
    for protocol in [Protocol::Http2, Protocol::Http1] {
        let kit = Kit::speaking(protocol);
        let (fetcher, seen) = kit.fetcher(quick_with(|options| options.max_requests_per_sec = PER_SEC));
        let first = Instant::now();
        for outcome in kit.at_once(&fetcher, COUNT as usize).await {
            outcome.unwrap();
        }
        let mut began = seen.began.lock().unwrap().clone();
        began.sort_unstable();
        assert_eq!(began.len(), COUNT as usize);
        // All were asked for at once. However long the machine takes, none can have begun before its turn.
        for (n, began) in (0..).zip(began) {
            let turn = (Duration::from_secs(1) * n / PER_SEC).saturating_sub(BURST);
            assert!(began >= first + turn, "{protocol:?}: {n} began {:?} after the first", began - first);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_the_origin_asks_for_is_no_part_of_a_duration() {
    for protocol in [Protocol::Http2, Protocol::Http1] {
        let kit = Kit::speaking(protocol);
        kit.origin.script(|ask| if ask.total == 0 { Fault::RetryAfter(429, 1) } else { Fault::None });
        let (fetcher, seen) = kit.fetcher(quick());
        let refused = tokio::spawn({
            let (fetcher, req) = (fetcher.clone(), kit.req("/0"));
            async move { fetcher.fetch(req).await }
        });
        until(|| seen.retries() == 1).await;
        fetcher.fetch(kit.req("/1")).await.unwrap();
        refused.await.unwrap().unwrap();
        let mut began = seen.began.lock().unwrap().clone();
        began.sort_unstable();
        assert_eq!(began.len(), 3);
        assert!(began[1] >= began[0] + Duration::from_secs(1), "{protocol:?}: {:?}", began[1] - began[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_and_redirects_count_as_requests() {
    let kit = Kit::speaking(Protocol::Http2);
    kit.origin.script(|ask| match (ask.path.as_str(), ask.nth) {
        ("/1", 0..=2) => Fault::Status(503),
        ("/1", _) => Fault::Redirect("/2".to_owned()),
        _ => Fault::None,
    });
    let (fetcher, _) = kit.fetcher(quick_with(|options| options.max_requests_per_sec = 10));
    let began = Instant::now();
    let got = fetcher.fetch(mirror_fetch::FetchRequest::new(kit.url("/1"))).await.unwrap();
    assert_eq!((got.retries, kit.origin.total()), (3, 5));
    assert!(began.elapsed() >= Duration::from_millis(400) - BURST, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_no_faster_than_allowed() {
    const COUNT: usize = 40;
    for protocol in [Protocol::Http2, Protocol::Http1] {
        let kit = Kit::speaking(protocol);
        let (fetcher, seen) = kit.fetcher(quick_with(|options| options.max_bytes_per_sec = 200_000));
        let began = Instant::now();
        for outcome in kit.run(&fetcher, COUNT).await {
            outcome.unwrap();
        }
        assert_eq!(seen.bytes(), (COUNT * BODY_BYTES) as u64);
        // The last bytes need not be earned before the end.
        let least = Duration::from_secs_f64(((COUNT - 1) * BODY_BYTES) as f64 / 200_000.0) - BURST;
        assert!(began.elapsed() >= least, "{protocol:?}: {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_the_byte_limit_is_no_fault_of_the_origin() {
    let slow = |protocol| async move {
        let kit = Kit::speaking(protocol);
        let body = bytes::Bytes::from(vec![1; 3 << 20]);
        kit.origin.replace_site(Arc::new(move |_| Some(Served::new(body.clone()))));
        // Half of the time that the limit enforces.
        let total_timeout = Duration::from_millis(1500);
        let mut options = quick();
        options.retries = 0;
        options.total_timeout = total_timeout;
        options.max_bytes_per_sec = 1 << 20;
        let (fetcher, _) = kit.fetcher(options);
        let got = fetcher.fetch(mirror_fetch::FetchRequest::new(kit.url("/1"))).await.unwrap();
        assert_eq!(verified(&got).size(), 3 << 20);
    };
    tokio::join!(slow(Protocol::Http2), slow(Protocol::Http1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_429_silences_every_request_to_its_origin_and_no_other() {
    for protocol in PROTOCOLS {
        let (busy, other) = (Kit::speaking(protocol), Kit::speaking(Protocol::Http1));
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&arrivals);
        busy.origin.script(move |ask| {
            kept.lock().unwrap().push(Instant::now());
            if ask.total == 0 { Fault::RetryAfter(429, 1) } else { Fault::None }
        });
        // One request at a time: the others wait for their turn when the 429 arrives.
        let (fetcher, _) = busy.fetcher(quick_with(|options| {
            options.concurrency = 1;
            options.max_conns_per_host = 1;
        }));
        let paths: Vec<_> = (0..20).map(|n| format!("/{n}")).collect();
        let all = join_all(paths.iter().map(|path| fetcher.fetch(busy.req(path))));
        let elsewhere = async {
            until(|| busy.origin.total() > 0).await;
            fetcher.fetch(other.req("/1")).await.unwrap();
        };
        let (all, ()) = tokio::join!(all, elsewhere);
        assert_eq!(all.into_iter().map(|got| got.unwrap().retries).sum::<u32>(), 1);
        let arrivals = arrivals.lock().unwrap().clone();
        assert_eq!(arrivals.len(), 21);
        // A request or two may be sent while the 429 is on its way or being read, which takes long on a busy machine.
        let on_its_way = 2;
        for arrival in &arrivals[1 + on_its_way..] {
            let after = *arrival - arrivals[0];
            assert!(after >= Duration::from_secs(1), "{protocol:?}: {after:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_origin_does_not_hold_up_another() {
    let (busy, other) = (Kit::speaking(Protocol::Http2), Kit::speaking(Protocol::Http1));
    busy.origin.script(|_| Fault::RetryAfter(429, 120));
    // Memory for only four requests.
    let (fetcher, seen) = busy.fetcher(quick_with(|options| options.memory_budget_bytes = 0));
    let first = tokio::spawn({
        let (fetcher, req) = (fetcher.clone(), busy.req("/0"));
        async move { fetcher.fetch(req).await }
    });
    until(|| seen.retries() == 1).await;
    let paths: Vec<_> = (1..20).map(|n| format!("/{n}")).collect();
    let held = join_all(paths.iter().map(|path| fetcher.fetch(busy.req(path))));
    let elsewhere = async {
        for n in 0..20 {
            fetcher.fetch(other.req(&format!("/{n}"))).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        outcome = held => panic!("{} requests did not wait", outcome.len()),
        outcome = tokio::time::timeout(HANG, elsewhere) => outcome.unwrap(),
    }
    assert_eq!(busy.origin.total(), 1);
    first.abort();
}

/// Spools that count the bytes in all of them together.
#[derive(Clone, Default)]
struct Disk {
    held_bytes: Arc<AtomicU64>,
    peak_bytes: Arc<AtomicU64>,
}

struct Counted(Disk, u64);

impl SpoolFactory for Disk {
    fn create(&self) -> std::io::Result<Box<dyn Spool>> {
        Ok(Box::new(Counted(self.clone(), 0)))
    }
}

impl Spool for Counted {
    fn write(&mut self, chunk: &[u8]) -> std::io::Result<()> {
        self.1 += chunk.len() as u64;
        let held_bytes =
            self.0.held_bytes.fetch_add(chunk.len() as u64, Ordering::SeqCst) + chunk.len() as u64;
        self.0.peak_bytes.fetch_max(held_bytes, Ordering::SeqCst);
        Ok(())
    }
    fn restart(&mut self) -> std::io::Result<()> {
        self.0.held_bytes.fetch_sub(self.1, Ordering::SeqCst);
        self.1 = 0;
        Ok(())
    }
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.held_bytes.fetch_sub(self.1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_large_bodies_fill_the_disk_at_a_time_and_all_arrive() {
    const BODIES: u64 = 12;
    const LARGE_ABOVE_BYTES: u64 = 64 << 10;
    const BYTES: usize = 1 << 20;
    for protocol in PROTOCOLS {
        let kit = Kit::speaking(protocol);
        let body = bytes::Bytes::from(vec![1; BYTES]);
        kit.origin.replace_site(Arc::new(move |_| Some(Served::new(body.clone()))));
        let disk = Disk::default();
        let options = kit.options(quick_with(|options| {
            options.spool_above_bytes = 16 << 10;
            options.large_above_bytes = LARGE_ABOVE_BYTES;
            options.large_at_once = 2;
        }));
        let fetcher = Fetcher::new(options, Arc::new(()), Arc::new(disk.clone())).unwrap();
        let one = async |n: u64| {
            let request = mirror_fetch::FetchRequest::new(kit.url(&format!("/{n}")));
            assert_eq!(verified(&fetcher.fetch(request).await.unwrap()).size(), BYTES as u64);
        };
        tokio::time::timeout(HANG, join_all((0..BODIES).map(one))).await.unwrap();
        let peak_bytes = disk.peak_bytes.load(Ordering::SeqCst);
        let most = BODIES * LARGE_ABOVE_BYTES + 2 * BYTES as u64;
        assert!(peak_bytes <= most, "{protocol:?}: {peak_bytes} of at most {most}");
        assert_eq!(disk.held_bytes.load(Ordering::SeqCst), 0);
    }
}
