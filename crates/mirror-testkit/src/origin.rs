use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::fault::{Ask, Fault};
use crate::serve::{Answer, Served, respond};
use crate::tls::CertificateFiles;
use crate::worker::{Worker, accept_each};

/// The protocol of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// TLS, HTTP/2 by ALPN.
    #[default]
    Http2,
    /// TLS, HTTP/1.1 only.
    Http1Tls,
    /// No TLS, HTTP/1.1.
    Http1,
}

/// A function that returns the contents of a path.
pub type Site = Arc<dyn Fn(&str) -> Option<Served> + Send + Sync>;

type Script = Arc<dyn Fn(&Ask) -> Fault + Send + Sync>;

/// The behaviour of an origin beside its script.
#[derive(Debug, Clone)]
pub struct OriginOptions {
    /// The protocol.
    pub protocol: Protocol,
    /// The address to listen at; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Every answer is delayed by this, as on a long line.
    pub delay: Duration,
    /// A connection gets a GOAWAY, or `Connection: close`, after this many requests.
    pub requests_per_connection: Option<u64>,
    /// Most open streams of a connection.
    pub max_streams: u32,
    /// Threads.
    pub workers: usize,
    /// Its certificate; by default an authority of its own signs one.
    pub certificate: Option<CertificateFiles>,
}

impl Default for OriginOptions {
    fn default() -> Self {
        Self {
            protocol: Protocol::default(),
            listen: ([127, 0, 0, 1], 0).into(),
            delay: Duration::ZERO,
            requests_per_connection: None,
            max_streams: 128,
            workers: 1,
            certificate: None,
        }
    }
}

struct State {
    options: OriginOptions,
    site: RwLock<Site>,
    script: RwLock<Option<Script>>,
    hits: Mutex<HashMap<String, u64>>,
    total: AtomicU64,
    connections: AtomicU64,
}

/// A server on a thread of its own, stopped when dropped.
pub struct Origin {
    state: Arc<State>,
    addr: SocketAddr,
    dir: tempfile::TempDir,
    ca: Option<PathBuf>,
    _worker: Worker,
}

impl Origin {
    /// Serves `site`.
    ///
    /// # Panics
    /// When no port is free: this is test code.
    #[must_use]
    pub fn start(options: OriginOptions, site: Site) -> Self {
        let dir = tempfile::tempdir().expect("a directory for certificates");
        let alpn: &[&[u8]] = match options.protocol {
            Protocol::Http1 => &[],
            Protocol::Http1Tls => &[b"http/1.1"],
            Protocol::Http2 => &[b"h2", b"http/1.1"],
        };
        let (acceptor, ca) = match &options.certificate {
            _ if alpn.is_empty() => (None, None),
            Some(files) => (Some(crate::tls::acceptor_of(files, alpn)), Some(files.cert.clone())),
            None => split(crate::tls::acceptor(dir.path(), alpn)),
        };
        let listener = StdListener::bind(options.listen).expect("a port to listen at");
        listener.set_nonblocking(true).expect("non-blocking");
        let addr = listener.local_addr().expect("address");
        let workers = options.workers;
        let state = Arc::new(State {
            options,
            site: RwLock::new(site),
            script: RwLock::new(None),
            hits: Mutex::default(),
            total: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        let work = async move |stop| accept(listener, acceptor, shared, stop).await;
        let worker = Worker::start_with(workers, work);
        Self { state, addr, dir, ca, _worker: worker }
    }

    /// Returns `https://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn base(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// Returns the address at which it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the path of the PEM file of the authority that signed its certificate, or of the certificate that it was
    /// given.
    ///
    /// # Panics
    /// When it has no TLS.
    #[must_use]
    pub fn ca(&self) -> &Path {
        self.ca.as_deref().expect("this origin has no TLS")
    }

    /// Returns the directory of `cert.pem` and `key.pem`.
    #[must_use]
    pub fn tls_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Misbehaves according to `script` from now on.
    pub fn script(&self, script: impl Fn(&Ask) -> Fault + Send + Sync + 'static) {
        *self.state.script.write().expect("lock") = Some(Arc::new(script));
    }

    /// Answers correctly from now on.
    pub fn heal(&self) {
        *self.state.script.write().expect("lock") = None;
    }

    /// Serves another site from now on.
    pub fn replace_site(&self, site: Site) {
        *self.state.site.write().expect("lock") = site;
    }

    /// Returns the number of requests for a path so far.
    #[must_use]
    pub fn hits(&self, path: &str) -> u64 {
        self.state.hits.lock().expect("lock").get(path).copied().unwrap_or(0)
    }

    /// Returns the number of requests whose path has this prefix.
    #[must_use]
    pub fn hits_below(&self, prefix: &str) -> u64 {
        let hits = self.state.hits.lock().expect("lock");
        hits.iter().filter(|(path, _)| path.starts_with(prefix)).map(|(_, n)| n).sum()
    }

    /// Returns the number of requests so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.state.total.load(Ordering::SeqCst)
    }

    /// Returns the number of connections so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }
}

fn split(made: (TlsAcceptor, PathBuf)) -> (Option<TlsAcceptor>, Option<PathBuf>) {
    (Some(made.0), Some(made.1))
}

async fn accept(
    listener: StdListener,
    acceptor: Option<TlsAcceptor>,
    state: Arc<State>,
    stop: CancellationToken,
) {
    accept_each(listener, &stop, |tcp| {
        let _ = tcp.set_nodelay(true);
        state.connections.fetch_add(1, Ordering::SeqCst);
        connection(tcp, acceptor.clone(), state.clone(), stop.child_token())
    })
    .await;
}

async fn connection(
    tcp: TcpStream,
    acceptor: Option<TlsAcceptor>,
    state: Arc<State>,
    close: CancellationToken,
) {
    let Some(acceptor) = acceptor else { return http1(tcp, state, close).await };
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(tls, state, close).await;
    } else {
        http1(tls, state, close).await;
    }
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static> Stream for T {}

async fn http1(stream: impl Stream, state: Arc<State>, close: CancellationToken) {
    let last = CancellationToken::new();
    let served = Arc::new(AtomicU64::new(0));
    let (token, end) = (close.clone(), last.clone());
    let service =
        service_fn(move |request| answer(request, state.clone(), token.clone(), end.clone(), served.clone()));
    let conn = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    drive(conn, hyper::server::conn::http1::Connection::graceful_shutdown, &close, &last).await;
}

async fn http2(stream: impl Stream, state: Arc<State>, close: CancellationToken) {
    let last = CancellationToken::new();
    let served = Arc::new(AtomicU64::new(0));
    let (token, end) = (close.clone(), last.clone());
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_concurrent_streams(state.options.max_streams);
    let service =
        service_fn(move |request| answer(request, state.clone(), token.clone(), end.clone(), served.clone()));
    let conn = builder.serve_connection(TokioIo::new(stream), service);
    drive(conn, hyper::server::conn::http2::Connection::graceful_shutdown, &close, &last).await;
}

/// Serves until the client closes the connection, `close` cuts it, or `last` ends it in good order.
async fn drive<C: Future>(
    conn: C,
    end: impl FnOnce(std::pin::Pin<&mut C>),
    close: &CancellationToken,
    last: &CancellationToken,
) {
    let mut conn = std::pin::pin!(conn);
    tokio::select! {
        () = close.cancelled() => return,
        _ = conn.as_mut() => return,
        () = last.cancelled() => end(conn.as_mut()),
    }
    tokio::select! {
        () = close.cancelled() => {}
        _ = conn => {}
    }
}

async fn answer(
    request: http::Request<Incoming>,
    state: Arc<State>,
    close: CancellationToken,
    last: CancellationToken,
    served: Arc<AtomicU64>,
) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let nth = {
        let mut hits = state.hits.lock().expect("lock");
        let hits = hits.entry(path.clone()).or_default();
        *hits += 1;
        *hits - 1
    };
    let header = |name| request.headers().get(name)?.to_str().ok().map(str::to_owned);
    let ask = Ask {
        path,
        nth,
        total: state.total.fetch_add(1, Ordering::SeqCst),
        range: header("range"),
        authorization: header("authorization"),
        proxy_authorization: header("proxy-authorization"),
    };
    let script = state.script.read().expect("lock").clone();
    let fault = script.map_or(Fault::None, |script| script(&ask));
    let wait = match fault {
        Fault::Late(more) => state.options.delay + more,
        _ => state.options.delay,
    };
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    if fault == Fault::Silence {
        std::future::pending::<()>().await;
    }
    let site = state.site.read().expect("lock").clone();
    let found = site(&ask.path);
    let count = served.fetch_add(1, Ordering::SeqCst) + 1;
    if state.options.requests_per_connection.is_some_and(|most| count >= most) {
        last.cancel();
    }
    Ok(respond(fault, found.as_ref(), request.headers(), &close))
}
