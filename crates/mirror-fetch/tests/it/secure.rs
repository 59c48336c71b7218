//! A minimal HTTP/2 origin over TLS, also known as `origin.test`.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
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

use crate::origin::{quick, sum};

pub(crate) struct Secure {
    pub(crate) base: Url,
    cacert: NamedTempFile,
    pub(crate) conns: Arc<AtomicUsize>,
    /// Headers of every request.
    pub(crate) heads: Arc<Mutex<Vec<HeaderMap>>>,
}

/// Starts an origin that answers each path with itself after `delay(n)`, and sends GOAWAY after `per_conn` requests.
pub(crate) async fn secure(
    per_conn: usize,
    delay: impl Fn(usize) -> Duration + Send + Sync + Copy + 'static,
) -> Secure {
    let made =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "origin.test".to_owned()]).unwrap();
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
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let (acceptor, requests) = (acceptor.clone(), Arc::clone(&requests));
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let (served, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
                let tell = Arc::clone(&enough);
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    if served.fetch_add(1, Ordering::SeqCst) + 1 == per_conn {
                        tell.notify_one();
                    }
                    kept.lock().unwrap().push(request.headers().clone());
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
    Secure { base, cacert, conns, heads }
}

impl Secure {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.base.socket_addrs(|| None).unwrap()[0]
    }

    pub(crate) fn options(&self) -> FetchOptions {
        let mut options = quick();
        options.cacert = Some(self.cacert.path().to_owned());
        options
    }

    pub(crate) fn req(&self, n: usize) -> FetchRequest {
        let path = format!("/file/{n}");
        FetchRequest::new(self.base.join(&path).unwrap()).with_expect(sum(path.as_bytes()))
    }

    /// Runs `count` jobs through the driver.
    pub(crate) async fn run(&self, fetcher: &Fetcher, count: usize) -> Vec<usize> {
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
        assert_eq!(driver.await.unwrap(), mirror_fetch::RunEnd::Done);
        all.sort_unstable();
        all
    }
}
