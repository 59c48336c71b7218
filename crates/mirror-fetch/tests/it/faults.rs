use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use mirror_fetch::{Body, Content, FailureKind, Fetcher};

use crate::origin::{Plain, Seen, Spools, Then, fetcher, ok, quick, quick_with, response, sum, verified};

#[tokio::test]
async fn a_body_arrives_verified_and_the_connection_is_used_again() {
    let origin = Plain::start(|_, head| {
        assert!(head.contains("accept-encoding: identity"), "{head}");
        assert!(head.starts_with("get /some/file http/1.1"), "{head}");
        ok(b"hello")
    })
    .await;
    let seen = Arc::new(Seen::default());
    let fetcher = Fetcher::new(quick(), Arc::clone(&seen) as _, Arc::new(Spools::default())).unwrap();
    for _ in 0..3 {
        let got = fetcher.fetch(origin.req().with_expect(sum(b"hello"))).await.unwrap();
        assert!(matches!(verified(&got).body(), Body::Memory(b) if &b[..] == b"hello"));
        assert_eq!((got.status, verified(&got).size(), got.retries), (200, 5, 0));
    }
    assert_eq!(seen.bytes.load(Ordering::SeqCst), 15);
    assert_eq!(*seen.inflight.lock().unwrap(), 0);
}

#[tokio::test]
async fn gone_is_asked_once_and_forbidden_twice() {
    for (status, times) in [("404 Not Found", 1), ("410 Gone", 1), ("451 Legal", 1), ("403 Forbidden", 2)] {
        let origin = Plain::start(move |_, _| (response(status, "", b"no"), Then::Keep)).await;
        let failure = fetcher(quick()).fetch(origin.req()).await.unwrap_err();
        assert!(failure.is_unavailable());
        assert_eq!(origin.seen(), times, "{status}");
        assert!(failure.message.contains(&status[..3]), "{failure}");
    }
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let origin = Plain::start(|n, _| match n {
        0 => (response("429 Slow", "retry-after: 1\r\n", b""), Then::Keep),
        _ => ok(b"x"),
    })
    .await;
    let began = Instant::now();
    let got = fetcher(quick()).fetch(origin.req()).await.unwrap();
    assert_eq!(got.retries, 1);
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn storms_end_within_the_budget() {
    let origin = Plain::start(|_, _| (response("503 Busy", "", b""), Then::Keep)).await;
    let failure = fetcher(quick()).fetch(origin.req()).await.unwrap_err();
    assert_eq!((failure.http_status, failure.retries, origin.seen()), (Some(503), 3, 4));
}

#[tokio::test]
async fn a_wrong_hash_is_tried_three_times_and_explained() {
    let origin =
        Plain::start(|_, _| (response("200 OK", "content-type: text/html\r\n", b"<html>"), Then::Keep)).await;
    let failure = fetcher(quick()).fetch(origin.req().with_expect(sum(b"x"))).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::WrongHash);
    assert_eq!(origin.seen(), 3);
    assert!(failure.message.contains("text/html"), "{failure}");
}

#[tokio::test]
async fn a_truncated_body_is_fetched_again() {
    let origin = Plain::start(|n, _| match n {
        0 => (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc".to_vec(), Then::Close),
        1 => (b"".to_vec(), Then::Close),
        _ => ok(b"abcdefghi"),
    })
    .await;
    let got = fetcher(quick()).fetch(origin.req()).await.unwrap();
    assert_eq!((verified(&got).size(), got.retries), (9, 2));

    let origin =
        Plain::start(|_, _| (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc".to_vec(), Then::Close)).await;
    let failure = fetcher(quick()).fetch(origin.req()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Truncated, "{failure}");
}

#[tokio::test]
async fn stalls_and_drips_hit_the_idle_limit() {
    for then in [Then::Stall, Then::Drip] {
        let origin =
            Plain::start(move |_, _| (b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\nabc".to_vec(), then))
                .await;
        let mut options = quick();
        options.retries = 0;
        options.idle_timeout = Duration::from_millis(300);
        let began = Instant::now();
        let failure = fetcher(options).fetch(origin.req()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Idle, "{failure}");
        assert!(began.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn redirects_stay_inside_the_origin() {
    let inside = Plain::start(|n, _| match n {
        0 => (response("302 Found", "location: /moved\r\n", b""), Then::Keep),
        _ => ok(b"x"),
    })
    .await;
    assert_eq!(verified(&fetcher(quick()).fetch(inside.req()).await.unwrap()).size(), 1);

    let other = Plain::start(|_, _| ok(b"other")).await;
    let location = format!("location: {}\r\n", other.base);
    let origin = Plain::start(move |_, _| (response("302 Found", &location, b""), Then::Keep)).await;
    let failure = fetcher(quick()).fetch(origin.req()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Redirect);
    assert_eq!((origin.seen(), other.seen()), (1, 0));
    let allowed = origin.req().across_origins();
    assert_eq!(verified(&fetcher(quick()).fetch(allowed).await.unwrap()).size(), 5);

    let circle = Plain::start(|_, _| (response("302 Found", "location: /a\r\n", b""), Then::Keep)).await;
    let failure = fetcher(quick()).fetch(circle.req()).await.unwrap_err();
    assert_eq!((failure.kind, circle.seen()), (FailureKind::Redirect, 11));
}

#[tokio::test]
async fn credentials_go_to_the_origin_that_was_named_alone() {
    // base64 of "us:er:p@ss"
    const SHOWN: &str = "authorization: basic dxm6zxi6cebzcw==\r\n";
    let other = Plain::start(|_, head| {
        assert!(!head.contains("authorization") && !head.contains("x-secret"), "{head}");
        assert!(head.contains("if-none-match: \"v1\""), "{head}");
        ok(b"x")
    })
    .await;
    let location = format!("location: {}\r\n", other.base.join("/x").unwrap());
    let origin = Plain::start(move |n, head| {
        assert!(head.contains(SHOWN) && !head.contains("us%3aer"), "{head}");
        match n {
            0 => (response("302 Found", "location: /here\r\n", b""), Then::Keep),
            _ => (response("302 Found", &location, b""), Then::Keep),
        }
    })
    .await;
    let named = format!(
        "http://us%3Aer:p%40ss@{}/x",
        &origin.base[url::Position::BeforeHost..url::Position::AfterPort]
    );
    let request = mirror_fetch::FetchRequest::new(named.parse().unwrap())
        .with_header(IF_NONE_MATCH, "\"v1\"".parse().unwrap())
        .with_header("x-secret".parse().unwrap(), "1".parse().unwrap())
        .across_origins();
    let told = format!("{request:?}");
    assert!(!told.contains("p%40ss") && !told.contains("dXM6") && !told.contains("us%3A"), "{told}");
    assert_eq!(verified(&fetcher(quick()).fetch(request).await.unwrap()).size(), 1);
    assert_eq!((origin.seen(), other.seen()), (2, 1));
}

#[tokio::test]
async fn a_plus_is_sent_in_the_form_that_the_origin_knows() {
    for bare in [true, false] {
        let origin = Plain::start(move |_, head| {
            let path = head.split(' ').nth(1).unwrap();
            let found = path.contains(if bare { "1.0.0+" } else { "1.0.0%2b" }) && !path.contains("gone");
            if found { ok(b"x") } else { (response("404 Not Found", "", b""), Then::Keep) }
        })
        .await;
        let fetcher = fetcher(quick());
        let ask = async |path: &str| {
            let request = mirror_fetch::FetchRequest::new(origin.base.join(path).unwrap());
            fetcher.fetch(request.with_expect(sum(b"x"))).await
        };
        assert!(ask("/gone-1.0.0%2Bx").await.unwrap_err().is_gone());
        assert_eq!(origin.seen(), 2, "asked in both forms, as nothing is known");
        ask("/a-1.0.0%2Bx").await.unwrap();
        let asked = origin.seen();
        assert_eq!(asked, if bare { 4 } else { 3 });
        ask("/b-1.0.0%2Bx").await.unwrap();
        ask("/c-1.0.0+x").await.unwrap();
        assert!(ask("/gone-1.0.0%2Bx").await.unwrap_err().is_gone());
        assert!(ask("/gone-1.0.0").await.unwrap_err().is_gone());
        assert_eq!(origin.seen() - asked, 4, "the form is remembered");
    }
}

#[tokio::test]
async fn what_an_origin_writes_into_its_headers_is_clipped_and_escaped() {
    let bad = [0xff, b'\t'].repeat(15_000);
    for (status, name) in
        [("200 OK", "content-type"), ("200 OK", "content-encoding"), ("302 Found", "location")]
    {
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: 1\r\n{name}: http://127.0.0.1:1/").into_bytes();
        let answer = [&head[..], &bad, b"\r\n\r\nx"].concat();
        let origin = Plain::start(move |_, _| (answer.clone(), Then::Keep)).await;
        let request = origin.req().with_expect(sum(b"y"));
        let failure = fetcher(quick_with(|options| options.retries = 0)).fetch(request).await.unwrap_err();
        assert!(failure.message.len() < 700 && failure.message.is_ascii(), "{failure}");
    }
    let answer =
        [&b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\netag: \""[..], &[b'x'; 30_000], b"\"\r\n\r\nx"].concat();
    let origin = Plain::start(move |_, _| (answer.clone(), Then::Keep)).await;
    let got = fetcher(quick()).fetch(origin.req()).await.unwrap();
    assert!(got.headers.values().all(|value| value.len() < 2_000), "{:?}", got.headers.keys());
}

#[tokio::test]
async fn limits_and_encodings_are_refused() {
    let big = Plain::start(|_, _| ok(&[0; 5000])).await;
    let mut options = quick();
    options.max_body_bytes = 4999;
    assert_eq!(fetcher(options).fetch(big.req()).await.unwrap_err().kind, FailureKind::TooLarge);

    let endless = Plain::start(|_, _| {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        bytes.resize(9000, b'x');
        (bytes, Then::Close)
    })
    .await;
    let mut options = quick();
    options.max_body_bytes = 4999;
    assert_eq!(fetcher(options).fetch(endless.req()).await.unwrap_err().kind, FailureKind::TooLarge);

    let packed =
        Plain::start(|_, _| (response("200 OK", "content-encoding: gzip\r\n", b"x"), Then::Keep)).await;
    assert_eq!(fetcher(quick()).fetch(packed.req()).await.unwrap_err().kind, FailureKind::Encoding);

    let flood = Plain::start(|_, _| {
        let headers = format!("x: {}\r\n", "y".repeat(1_000_000));
        (response("200 OK", &headers, b"x"), Then::Keep)
    })
    .await;
    assert!(fetcher(quick()).fetch(flood.req()).await.is_err());
    assert!(flood.seen() <= 4);
}

#[tokio::test]
async fn guarded_requests_never_reach_this_machine() {
    let origin = Plain::start(|_, _| ok(b"x")).await;
    let failure = fetcher(quick()).fetch(origin.req().guarded()).await.unwrap_err();
    assert_eq!((failure.kind, origin.seen()), (FailureKind::Address, 0));
}

#[tokio::test]
async fn not_modified_is_a_success_only_for_validators_without_a_checksum() {
    let answer = b"HTTP/1.1 304 Same\r\netag: \"kept\"\r\n\r\n";
    let origin = Plain::start(|_, _| (answer.to_vec(), Then::Keep)).await;
    let asked = |name, value: &str| origin.req().with_header(name, value.parse().unwrap());
    for conditional in [asked(IF_NONE_MATCH, "\"kept\""), asked(IF_MODIFIED_SINCE, "then")] {
        let got = fetcher(quick()).fetch(conditional.clone()).await.unwrap();
        assert!(got.status == 304 && matches!(got.content, Content::NotModified));
        // Only its bytes make a release a success, whatever headers the request had.
        let failure = fetcher(quick()).fetch(conditional.with_expect(sum(b""))).await.unwrap_err();
        assert_eq!((failure.kind, failure.http_status), (FailureKind::HttpStatus, Some(304)));
    }
    for unasked in [origin.req(), origin.req().with_expect(sum(b"")), origin.req().head()] {
        let before = origin.seen();
        let failure = fetcher(quick()).fetch(unasked).await.unwrap_err();
        assert_eq!((failure.kind, failure.http_status), (FailureKind::HttpStatus, Some(304)), "{failure}");
        assert_eq!((failure.retries, origin.seen() - before), (1, 2));
    }
}

#[tokio::test]
async fn a_status_that_carries_no_whole_body_is_never_a_success() {
    let statuses = [
        "201 Made",
        "202 Later",
        "203 Other",
        "204 Empty",
        "205 Reset",
        "206 Partial",
        "207 Many",
        "226 Used",
        "300 Many",
        "304 Same",
        "305 Proxy",
        "416 Range",
    ];
    for status in statuses {
        let bodiless = ["204", "304"].iter().any(|code| status.starts_with(code));
        let whole = move |_, _: &str| match bodiless {
            true => (format!("HTTP/1.1 {status}\r\n\r\n").into_bytes(), Then::Keep),
            false => (response(status, "content-range: bytes 0-0/1\r\n", b"x"), Then::Keep),
        };
        let origin = Plain::start(whole).await;
        let wants = [origin.req(), origin.req().head(), origin.req().with_expect(sum(b"x"))];
        for want in wants.into_iter().chain([origin.req().with_expect(sum(b""))]) {
            let failure = fetcher(quick()).fetch(want).await.unwrap_err();
            assert_eq!(failure.http_status, status[..3].parse().ok(), "{status}: {failure}");
        }
    }
}

#[tokio::test]
async fn an_empty_body_is_compared_like_any_other() {
    let origin = Plain::start(|_, _| ok(b"")).await;
    let failure = fetcher(quick()).fetch(origin.req().with_expect(sum(b"x"))).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::WrongHash);
    let got = fetcher(quick()).fetch(origin.req().with_expect(sum(b""))).await.unwrap();
    assert_eq!(verified(&got).size(), 0);
}

#[tokio::test]
async fn full_memory_spools_and_then_holds_back() {
    let origin = Plain::start(|_, _| ok(&[7; 100_000])).await;
    let fetcher = fetcher(quick_with(|options| options.memory_budget_bytes = 64 << 10));
    let got = fetcher.fetch(origin.req()).await.unwrap();
    assert!(matches!(verified(&got).body(), Body::Spooled(_)) && !verified(&got).holds_memory());

    let small = Plain::start(|_, _| ok(&[7; 16 << 10])).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(fetcher.fetch(small.req()).await.unwrap());
    }
    let wait = Duration::from_millis(200);
    assert!(tokio::time::timeout(wait, fetcher.fetch(small.req())).await.is_err());
    held.pop();
    assert_eq!(verified(&fetcher.fetch(small.req()).await.unwrap()).size(), 16 << 10);
}
