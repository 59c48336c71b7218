//! HTTP/2 over TLS, and the driver.

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mirror_fetch::{FetchOptions, FetchRequest, Fetcher};
use rustls_pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::origin::{Seen, Spools, quick, sum};

struct Secure {
    base: Url,
    cacert: NamedTempFile,
    conns: Arc<AtomicUsize>,
}

/// Answers each path with itself after `delay(n)`; says GOAWAY after `per_conn` requests.
async fn secure(per_conn: usize, delay: impl Fn(usize) -> Duration + Send + Sync + Copy + 'static) -> Secure {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let mut cacert = NamedTempFile::new().unwrap();
    cacert.write_all(made.cert.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("https://{}/", listener.local_addr().unwrap())).unwrap();
    let conns = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&conns);
    let requests = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let (acceptor, requests) = (acceptor.clone(), Arc::clone(&requests));
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let (served, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
                let tell = Arc::clone(&enough);
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    if served.fetch_add(1, Ordering::SeqCst) + 1 == per_conn {
                        tell.notify_one();
                    }
                    let n = requests.fetch_add(1, Ordering::SeqCst);
                    async move {
                        tokio::time::sleep(delay(n)).await;
                        let body = Bytes::from(request.uri().path().to_owned());
                        Ok::<_, Infallible>(http::Response::new(Full::new(body)))
                    }
                });
                let conn =
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), service);
                let mut conn = pin!(conn);
                tokio::select! {
                    _ = conn.as_mut() => return,
                    () = enough.notified() => conn.as_mut().graceful_shutdown(),
                }
                conn.await.ok();
            });
        }
    });
    Secure { base, cacert, conns }
}

impl Secure {
    fn options(&self) -> FetchOptions {
        FetchOptions { cacert: Some(self.cacert.path().to_owned()), ..quick() }
    }

    fn req(&self, n: usize) -> FetchRequest {
        let path = format!("/file/{n}");
        FetchRequest::new(self.base.join(&path).unwrap()).with_expect(sum(path.as_bytes()))
    }

    /// Runs `count` jobs through the driver.
    async fn run(&self, fetcher: &Fetcher, count: usize) -> Vec<usize> {
        let (job, jobs) = mpsc::channel(64);
        let (result, mut results) = mpsc::channel(64);
        let driver = fetcher.clone();
        let driver = tokio::spawn(async move { driver.run(jobs, result, CancellationToken::new()).await });
        let reqs: Vec<_> = (0..count).map(|n| (n, self.req(n))).collect();
        tokio::spawn(async move {
            for req in reqs {
                job.send(req).await.unwrap();
            }
        });
        let mut all = Vec::new();
        while let Some((n, outcome)) = results.recv().await {
            outcome.unwrap();
            all.push(n);
        }
        driver.await.unwrap();
        all.sort_unstable();
        all
    }
}

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
    let options = FetchOptions { idle_timeout: Duration::from_secs(30), ..origin.options() };
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
    tokio::time::timeout(Duration::from_secs(3), async { tokio::join!(driver, stop) }).await.unwrap();
}

/// A measure, not a test: `cargo test --release -p mirror-fetch -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measure"]
async fn small_requests_per_second() {
    let origin = secure(usize::MAX, |_| Duration::ZERO).await;
    let fetcher = Fetcher::new(origin.options(), Arc::new(()), Arc::new(Spools::default())).unwrap();
    origin.run(&fetcher, 2000).await;
    let began = Instant::now();
    origin.run(&fetcher, 50_000).await;
    println!("{:.0} requests/s, origin included", 50_000.0 / began.elapsed().as_secs_f64());
}
