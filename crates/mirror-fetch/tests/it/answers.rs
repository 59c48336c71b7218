//! HEAD and redirects, with every protocol.

use std::sync::Arc;

use mirror_fetch::{Content, FailureKind, FetchOptions, FetchRequest};
use mirror_testkit::{Fault, Protocol};

use crate::kit::{BODY_BYTES, HANG, Kit};
use crate::origin::{quick, verified};

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
async fn redirects_to_another_origin_or_scheme_are_refused() {
    for protocol in PROTOCOLS {
        let (kit, other) = (Kit::speaking(protocol), Arc::new(Kit::speaking(Protocol::Http1)));
        let elsewhere = other.url("/1").to_string();
        // Another scheme at the same port is another origin as well.
        let scheme = if protocol == Protocol::Http1 { "https" } else { "http" };
        let same_port = format!("{scheme}://{}/1", kit.origin.addr());
        kit.origin.script(move |ask| match ask.path.as_str() {
            "/other" => Fault::Redirect(elsewhere.clone()),
            "/scheme" => Fault::Redirect(same_port.clone()),
            _ => Fault::None,
        });
        let (fetcher, seen) = kit.quick();
        for path in ["/other", "/scheme"] {
            let failure = fetcher.fetch(FetchRequest::new(kit.url(path))).await.unwrap_err();
            assert_eq!((failure.kind, failure.retries), (FailureKind::Redirect, 0), "{path}: {failure}");
            let downgrade = failure.message.contains("from https to http");
            assert_eq!(downgrade, protocol != Protocol::Http1, "{failure}");
            assert_eq!(kit.origin.hits(path), 1);
        }
        assert_eq!((other.origin.total(), kit.origin.total(), seen.retries()), (0, 2, 0));
        // With leave of the operator they are followed.
        let allowed = FetchOptions { allow_cross_origin_redirects: true, ..quick() };
        let (fetcher, _) = kit.fetcher(allowed);
        fetcher.fetch(FetchRequest::new(kit.url("/other"))).await.unwrap();
        assert_eq!(other.origin.total(), 1);
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
        assert_eq!((kit.origin.total(), kit.origin.connections()), (6, 1), "{protocol:?}");
    }
}
