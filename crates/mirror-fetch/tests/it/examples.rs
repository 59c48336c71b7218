//! Runs the example program for embedders.

use std::fmt::Write as _;
use std::future::ready;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use mirror_fetch::{Fetcher, FileSpools, MemorySpools, RunEnd, SpoolFactory};
use mirror_testkit::{Fault, Origin, OriginOptions, Protocol, TestRegistry};

use crate::kit::{HANG, Kit, until};
use crate::origin::{quick, quick_with};

#[path = "../../examples/fetch_stream.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod fetch_stream;

/// Makes a registry of 100 releases, the origin that has them, and the list of all.
fn world() -> (TestRegistry, Origin, String) {
    let registry = TestRegistry::generate(5, 100, 10_000);
    let origin = Origin::start(OriginOptions::default(), registry.site(""));
    let mut list = String::new();
    for release in registry.releases() {
        writeln!(list, "{} {}{}", release.cksum, origin.base(), release.url_path()).unwrap();
    }
    (registry, origin, list)
}

/// About half of the bodies are larger, bytes.
const SPOOL_ABOVE_BYTES: usize = 10_000;

fn fetcher(origin: &Origin, spools: Arc<dyn SpoolFactory>) -> Fetcher {
    let cacert = Some(origin.ca().to_owned());
    let mut options = quick();
    options.cacert = cacert;
    options.spool_above_bytes = SPOOL_ABOVE_BYTES as u64;
    Fetcher::new(options, Arc::new(()), spools).unwrap()
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_releases_are_fetched_and_verified() {
    let (registry, origin, list) = world();
    for in_files in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let spools: Arc<dyn SpoolFactory> = if in_files {
            Arc::new(FileSpools::new(dir.path()))
        } else {
            Arc::new(MemorySpools::new(2 << 20))
        };
        let failures = fetch_stream::fetch_all(&fetcher(&origin, spools), &list, dir.path()).await.unwrap();
        assert_eq!(failures, Vec::<String>::new());
        for release in registry.releases() {
            let name = release.id.file_name().replace('+', "%2B");
            assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), release.body);
        }
        assert_eq!(files(dir.path()), 100, "no spool is left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_with_another_checksum_is_reported_and_not_saved() {
    let (registry, origin, list) = world();
    let wrong = registry.releases().last().unwrap().url_path();
    let path = wrong.clone();
    origin.script(move |ask| if ask.path == path { Fault::WrongBytes } else { Fault::None });
    let dir = tempfile::tempdir().unwrap();
    let fetcher = fetcher(&origin, Arc::new(FileSpools::new(dir.path())));
    let failures = fetch_stream::fetch_all(&fetcher, &list, dir.path()).await.unwrap();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].contains(&wrong), "{failures:?}");
    assert_eq!(files(dir.path()), 99);
}

/// Only large bodies go into spools.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_large_bodies_the_small_ones_are_fetched() {
    let (registry, origin, list) = world();
    let dir = tempfile::tempdir().unwrap();
    let fetcher = fetcher(&origin, Arc::new(MemorySpools::new(0)));
    let failures = fetch_stream::fetch_all(&fetcher, &list, dir.path()).await.unwrap();
    let large = registry.releases().filter(|release| release.body.len() > SPOOL_ABOVE_BYTES).count();
    assert!((20..80).contains(&large));
    assert_eq!((failures.len(), files(dir.path())), (large, 100 - large));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_dropped_ends_its_requests() {
    let kit = Kit::speaking(Protocol::Http2);
    kit.origin.script(|ask| if ask.path == "/0" { Fault::None } else { Fault::Stall(10) });
    // They would continue for longer than the test waits.
    let patience = HANG * 5;
    let (fetcher, seen) = kit.fetcher(quick_with(|options| {
        options.idle_timeout = patience;
        options.total_timeout = patience;
    }));
    let inflight = || *seen.inflight.lock().unwrap();
    let mut stream = fetcher.stream((0..5).map(|n| (n, kit.req(&format!("/{n}")))).collect::<Vec<_>>());
    let (first, result) = stream.next().await.unwrap();
    assert_eq!((first, result.is_ok(), stream.end()), (0, true, None));
    until(|| inflight() == 4).await;
    drop(stream);
    until(|| inflight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_pass_through_the_combinators_of_futures() {
    let kit = Kit::speaking(Protocol::Http2);
    let (fetcher, _seen) = kit.fetcher(quick());
    let jobs: Vec<_> = (0..50).map(|n| (n, kit.req(&format!("/{n}")))).collect();
    let mut stream = fetcher.stream(jobs);
    let mut fetched: Vec<i32> =
        (&mut stream).filter_map(|(n, result)| ready(result.is_ok().then_some(n))).collect().await;
    fetched.sort_unstable();
    assert_eq!(fetched, (0..50).collect::<Vec<_>>());
    assert_eq!(stream.end(), Some(RunEnd::Done));
    assert!(stream.next().await.is_none(), "and it stays at its end");
}
