//! The real `git http-backend` behind HTTP, plain or over TLS.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::tls::CertificateFiles;
use crate::worker::{Worker, accept_each};

const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Serves the repositories below a directory over smart HTTP. Stopped when dropped.
pub struct GitHttp {
    addr: SocketAddr,
    dir: tempfile::TempDir,
    tls: bool,
    state: Arc<State>,
    _worker: Worker,
}

struct State {
    root: PathBuf,
    /// Requests that are still to be answered with an error, and its status.
    refuse: AtomicU64,
    status: AtomicU64,
    requests: AtomicU64,
    sent: AtomicU64,
}

impl GitHttp {
    /// Serves the repositories below `root`.
    ///
    /// # Panics
    /// When no port is free: this is test code.
    #[must_use]
    pub fn start(root: &Path, tls: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory for certificates");
        let acceptor = tls.then(|| crate::tls::acceptor(dir.path(), ALPN).0);
        Self::start_at(root, dir, acceptor)
    }

    /// Serves what is below `root` over TLS with this certificate.
    ///
    /// # Panics
    /// When no port is free, or the files are no certificate and its key: this is test code.
    #[must_use]
    pub fn with_certificate(root: &Path, files: &CertificateFiles) -> Self {
        let dir = tempfile::tempdir().expect("a directory for certificates");
        Self::start_at(root, dir, Some(crate::tls::acceptor_of(files, ALPN)))
    }

    fn start_at(root: &Path, dir: tempfile::TempDir, acceptor: Option<TlsAcceptor>) -> Self {
        let tls = acceptor.is_some();
        let listener = StdListener::bind("127.0.0.1:0").expect("a port to listen at");
        listener.set_nonblocking(true).expect("non-blocking");
        let addr = listener.local_addr().expect("address");
        let state = Arc::new(State {
            root: root.to_owned(),
            refuse: AtomicU64::new(0),
            status: AtomicU64::new(503),
            requests: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        let work = async move |stop| accept(listener, acceptor, shared, stop).await;
        let worker = Worker::start_with(1, work);
        Self { addr, dir, tls, state, _worker: worker }
    }

    /// Returns the address of a repository below the root.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("{}://{}/{name}", if self.tls { "https" } else { "http" }, self.addr)
    }

    /// Returns the address on which it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the path of the PEM file of the authority that signed its certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Answers the next `requests` requests with `status`.
    pub fn refuse(&self, status: u16, requests: u64) {
        self.state.status.store(status.into(), SeqCst);
        self.state.refuse.store(requests, SeqCst);
    }

    /// Returns the number of requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state.requests.load(SeqCst)
    }

    /// Returns the bytes of bodies sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.state.sent.load(SeqCst)
    }
}

async fn accept(
    listener: StdListener,
    acceptor: Option<TlsAcceptor>,
    state: Arc<State>,
    stop: CancellationToken,
) {
    accept_each(listener, &stop, |tcp| connection(tcp, acceptor.clone(), state.clone())).await;
}

async fn connection(tcp: TcpStream, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    let service = service_fn(move |request| answer(request, state.clone()));
    let builder = Builder::new(TokioExecutor::new());
    match acceptor {
        None => drop(builder.serve_connection(TokioIo::new(tcp), service).await),
        Some(acceptor) => {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            drop(builder.serve_connection(TokioIo::new(tls), service).await);
        }
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Full<Bytes>>, Infallible> {
    state.requests.fetch_add(1, SeqCst);
    if state.refuse.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
        let status = u16::try_from(state.status.load(SeqCst)).unwrap_or(503);
        let mut response = Response::new(Full::new(Bytes::from_static(b"scripted\n")));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        return Ok(response);
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let root = state.root.clone();
    let said = tokio::task::spawn_blocking(move || {
        backend(&root, &head.method, head.uri.path(), head.uri.query().unwrap_or(""), &head.headers, &body)
    });
    let said = said.await.expect("the backend's thread");
    let response = parse(&said);
    state.sent.fetch_add(response.1, SeqCst);
    Ok(response.0)
}

/// Answers one request by CGI.
fn backend(
    root: &Path,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Vec<u8> {
    let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let mut child = Command::new("git")
        .args(["-c", "safe.directory=*", "http-backend"])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", of("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", of("content-encoding"))
        .env("GIT_PROTOCOL", of("git-protocol"))
        .env("HTTP_GIT_PROTOCOL", of("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git runs");
    let (mut stdin, body) = (child.stdin.take().expect("piped"), body.to_vec());
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&body);
    });
    let output = child.wait_with_output().expect("git ends");
    let _ = writer.join();
    output.stdout
}

/// Turns a CGI answer into one of HTTP, and returns it with the length of its body.
fn parse(said: &[u8]) -> (Response<Full<Bytes>>, u64) {
    let end = said.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(said.len());
    let body = Bytes::copy_from_slice(said.get(end + 4..).unwrap_or_default());
    let len = body.len() as u64;
    let mut response = Response::new(Full::new(body));
    if end == said.len() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    for line in String::from_utf8_lossy(&said[..end]).lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            *response.status_mut() =
                code.and_then(|code: u16| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::BAD_GATEWAY);
        } else if let (Ok(name), Ok(value)) =
            (header::HeaderName::try_from(name), header::HeaderValue::try_from(value))
        {
            response.headers_mut().insert(name, value);
        }
    }
    (response, len)
}
