use std::sync::Arc;
use std::sync::atomic::Ordering;

use mirror_fetch::{Body, Content, Fetcher};

use crate::origin::{MemorySpool, Plain, Spools, Then, ok, quick, response, sum};

fn body() -> Vec<u8> {
    (0..50_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn half() -> (Vec<u8>, Then) {
    let head = "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: 200000\r\n\r\n";
    ([head.as_bytes(), &body()[..120_000]].concat(), Then::Close)
}

/// Returns the offset from which the request continues, when its validator is right.
fn range(head: &str) -> Option<usize> {
    assert!(head.contains("if-range: \"v1\""), "{head}");
    head.split_once("range: bytes=")?.1.split_once('-')?.0.parse().ok()
}

async fn fetch(origin: &Plain) -> (Vec<u8>, u32, usize) {
    let spools = Arc::new(Spools::default());
    let mut options = quick();
    options.spool_above_bytes = 1000;
    let fetcher = Fetcher::new(options, Arc::new(()), Arc::clone(&spools) as _).unwrap();
    let got = fetcher.fetch(origin.req().with_expect(sum(&body()))).await.unwrap();
    let Content::Body(body) = got.content else { panic!("no body") };
    let Body::Spooled(spool) = body.into_body() else { panic!("not spooled") };
    let spool = spool.into_any().downcast::<MemorySpool>().unwrap();
    (spool.0, got.retries, spools.restarts.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_broken_body_is_continued() {
    let origin = Plain::start(|n, head| {
        if n == 0 {
            return half();
        }
        let from = range(head).unwrap();
        assert!(from > 0 && from <= 120_000);
        let headers = format!("etag: \"v1\"\r\ncontent-range: bytes {from}-199999/200000\r\n");
        (response("206 Partial", &headers, &body()[from..]), Then::Keep)
    })
    .await;
    assert_eq!(fetch(&origin).await, (body(), 1, 0));
}

#[tokio::test]
async fn a_changed_body_is_restarted() {
    let origin = Plain::start(|n, _| if n == 0 { half() } else { ok(&body()) }).await;
    assert_eq!(fetch(&origin).await, (body(), 1, 1));
}

#[tokio::test]
async fn a_continuation_of_something_else_is_not_believed() {
    let origin = Plain::start(|n, head| match n {
        0 => half(),
        1 => {
            let from = range(head).unwrap();
            let headers = format!("etag: \"v2\"\r\ncontent-range: bytes {from}-199999/200000\r\n");
            (response("206 Partial", &headers, &body()[from..]), Then::Keep)
        }
        _ => {
            assert!(!head.contains("range:"), "{head}");
            ok(&body())
        }
    })
    .await;
    let (bytes, retries, _) = fetch(&origin).await;
    assert_eq!((bytes, retries, origin.seen()), (body(), 1, 3));
}

#[tokio::test]
async fn a_refused_continuation_is_asked_for_anew_and_costs_no_retry() {
    for status in ["416 Range", "412 Changed", "400 What", "501 Never"] {
        let origin = Plain::start(move |n, head| match n {
            0 => half(),
            1 => {
                range(head).unwrap();
                (response(status, "content-range: bytes */200000\r\n", b"no"), Then::Keep)
            }
            _ => {
                assert!(!head.contains("range:"), "{head}");
                ok(&body())
            }
        })
        .await;
        let (bytes, retries, _) = fetch(&origin).await;
        assert_eq!((bytes, retries, origin.seen()), (body(), 1, 3), "{status}");
    }
}

#[tokio::test]
async fn a_storm_in_between_loses_nothing_of_what_arrived() {
    let origin = Plain::start(|n, head| match n {
        0 => half(),
        1 => (response("503 Busy", "", b""), Then::Keep),
        _ => {
            let from = range(head).unwrap();
            let headers = format!("etag: \"v1\"\r\ncontent-range: bytes {from}-199999/200000\r\n");
            (response("206 Partial", &headers, &body()[from..]), Then::Keep)
        }
    })
    .await;
    assert_eq!(fetch(&origin).await, (body(), 2, 0));
}
