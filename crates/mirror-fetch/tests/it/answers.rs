//! HEAD and redirects, with every protocol.

use std::io::Write as _;

use mirror_fetch::{Content, FailureKind, FetchRequest};
use mirror_testkit::{Fault, Protocol};

use crate::kit::{BODY_BYTES, HANG, Kit};
use crate::origin::{quick, verified};

/// Returns a file with the authorities of both, where they have any.
fn two_authorities(one: &Kit, other: &Kit) -> Option<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for kit in [one, other] {
        file.write_all(&std::fs::read(kit.ca()?).unwrap()).unwrap();
    }
    Some(file)
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Http2, Protocol::Http1Tls, Protocol::Http1];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_gives_headers_and_keeps_the_connection() {
    for protocol in PROTOCOLS {
        let kit = Kit::speaking(protocol);
        kit.origin.script(|ask| match ask.path.as_str() {
            "/gone" => Fault::Status(404),
            "/moved" => Fault::Redirect("/1".to_owned()),
            _ => Fault::None,
        });
        let (fetcher, seen) = kit.quick();
        let head = |path: &str| fetcher.fetch(FetchRequest::new(kit.url(path)).head());
        let rounds = async {
            for n in 0..150 {
                let got = head(if n % 2 == 0 { "/1" } else { "/moved" }).await.unwrap();
                assert_eq!((got.status, got.retries), (200, 0), "{protocol:?}");
                assert!(matches!(&got.content, Content::HeadersOnly));
                assert_eq!(got.headers["content-length"], BODY_BYTES.to_string().as_str());
                assert!(got.headers.contains_key("etag"));
                let failure = head("/gone").await.unwrap_err();
                assert_eq!((failure.http_status, failure.retries), (Some(404), 0), "{failure}");
            }
        };
        tokio::time::timeout(HANG, rounds).await.unwrap();
        assert_eq!((seen.bytes(), seen.retries()), (0, 0));
        assert_eq!(verified(&fetcher.fetch(kit.req("/2")).await.unwrap()).size(), BODY_BYTES as u64);
        assert_eq!(kit.origin.connections(), 1, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_within_the_origin_are_followed() {
    for protocol in PROTOCOLS {
        let kit = Kit::speaking(protocol);
        let absolute = kit.url("/d").to_string();
        kit.origin.script(move |ask| match ask.path.as_str() {
            "/a/b" => Fault::Redirect("c".to_owned()),
            "/a/c" => Fault::Redirect("/c?x=1#y".to_owned()),
            "/c" => Fault::Redirect(absolute.clone()),
            _ => Fault::None,
        });
        let (fetcher, _) = kit.quick();
        let mut req = kit.req("/d");
        req.url = kit.url("/a/b");
        let got = fetcher.fetch(req).await.unwrap();
        assert_eq!((got.retries, kit.origin.total(), kit.origin.connections()), (0, 4, 1), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_to_another_origin_are_followed_where_the_bytes_are_compared() {
    for protocol in PROTOCOLS {
        let (kit, other) = (Kit::speaking(protocol), Kit::speaking(protocol));
        let elsewhere = other.url("/1").to_string();
        kit.origin.script(move |_| Fault::Redirect(elsewhere.clone()));
        let ca = two_authorities(&kit, &other);
        let (fetcher, seen) = kit.fetcher(quick());
        let mut options = quick();
        options.cacert = ca.as_ref().map(|ca| ca.path().to_owned());
        let fetcher = if ca.is_some() { kit.trusting(options) } else { fetcher };
        let asked = || FetchRequest::new(kit.url("/1"));
        let failure = fetcher.fetch(asked()).await.unwrap_err();
        assert_eq!((failure.kind, failure.retries), (FailureKind::Redirect, 0), "{failure}");
        assert!(failure.message.contains("another origin"), "{failure}");
        assert_eq!((other.origin.total(), seen.retries()), (0, 0));
        let sum_of = |path: &str| kit.req(path).expect.unwrap();
        let followed = [asked().with_expect(sum_of("/1")), asked().across_origins()];
        for request in followed {
            assert_eq!(verified(&fetcher.fetch(request).await.unwrap()).size(), BODY_BYTES as u64);
        }
        let wrong = asked().with_expect(sum_of("/2"));
        assert_eq!(fetcher.fetch(wrong).await.unwrap_err().kind, FailureKind::WrongHash);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_from_https_to_http_are_refused_even_then() {
    for protocol in [Protocol::Http2, Protocol::Http1Tls] {
        let (kit, other) = (Kit::speaking(protocol), Kit::speaking(Protocol::Http1));
        let elsewhere = other.url("/1").to_string();
        kit.origin.script(move |_| Fault::Redirect(elsewhere.clone()));
        let (fetcher, _) = kit.quick();
        for request in [kit.req("/1"), kit.req("/1").across_origins(), kit.req("/1").head()] {
            let failure = fetcher.fetch(request).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Redirect);
            assert!(failure.message.contains("from https to http"), "{failure}");
        }
        assert_eq!(other.origin.total(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_in_a_circle_end() {
    for protocol in PROTOCOLS {
        let kit = Kit::speaking(protocol);
        kit.origin.script(|ask| Fault::Redirect(if ask.path == "/a" { "/b" } else { "/a" }.to_owned()));
        let (fetcher, _) = kit.quick();
        let circle = fetcher.fetch(FetchRequest::new(kit.url("/a")));
        let failure = tokio::time::timeout(HANG, circle).await.unwrap().unwrap_err();
        assert_eq!((failure.kind, failure.retries), (FailureKind::Redirect, 0), "{failure}");
        assert_eq!((kit.origin.total(), kit.origin.connections()), (11, 1), "{protocol:?}");
    }
}
