use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mirror_listen::{Connections, accept};
use mirror_types::redacted;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::metrics::{metrics, status_json};
use crate::profile;
use crate::stats::RunStats;

/// The limits on clients.
#[derive(Debug, Clone, Copy)]
struct Limits {
    connections: usize,
    /// For the head of a request, and between requests.
    head: Duration,
    /// After this time a connection takes no more requests, and after twice this time it is closed,
    /// whether or not the client has read its answer.
    lifetime: Duration,
}

const LIMITS: Limits = Limits {
    connections: 64,
    head: Duration::from_secs(10),
    lifetime: Duration::from_secs(profile::LONGEST_S + 60),
};
const DASHBOARD: &str = include_str!("dashboard.html");
const INDEX: &str = include_str!("pprof.html");

/// An error while starting the listener.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {addr}")]
pub struct ListenError {
    addr: String,
    source: std::io::Error,
}

/// Serves the dashboard, `/metrics`, `/api/status` and `/debug/pprof/` over HTTP/1.1, read-only.
/// Bound to a loopback address, it answers only requests that name this machine, so that no page in
/// a browser can read it under another name.
#[derive(Debug)]
pub struct Listener {
    addr: SocketAddr,
    stop: CancellationToken,
}

impl Listener {
    /// Listens on `addr`; `:9090` means all interfaces. Needs a Tokio runtime.
    ///
    /// # Errors
    /// Fails when the address cannot be bound.
    pub async fn start(addr: &str, stats: Arc<RunStats>) -> Result<Self, ListenError> {
        let full = if addr.starts_with(':') { format!("0.0.0.0{addr}") } else { addr.to_owned() };
        let fail = |source| ListenError { addr: addr.to_owned(), source };
        let socket = TcpListener::bind(&full).await.map_err(fail)?;
        let bound = socket.local_addr().map_err(fail)?;
        Ok(Self::on(socket, bound, stats, LIMITS))
    }

    fn on(socket: TcpListener, addr: SocketAddr, stats: Arc<RunStats>, limits: Limits) -> Self {
        stats.requests().record_durations();
        let stop = CancellationToken::new();
        let places = Arc::new(Semaphore::new(limits.connections));
        let clients = Clients { places, bound: addr, stats, limits, stop: stop.clone() };
        tokio::spawn({
            let stop = stop.clone();
            // Every connection ends with the listener.
            async move { accept(socket, &clients, &stop, Duration::ZERO).await }
        });
        Self { addr, stop }
    }

    /// Returns the address on which it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops listening and closes all connections.
    pub fn shutdown(self) {
        self.stop.cancel();
    }
}

/// The clients of a listener.
struct Clients {
    places: Arc<Semaphore>,
    bound: SocketAddr,
    stats: Arc<RunStats>,
    limits: Limits,
    stop: CancellationToken,
}

impl Connections for Clients {
    type Stream = TcpStream;
    type Place = OwnedSemaphorePermit;

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    fn serve(
        &self,
        stream: TcpStream,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> + 'static {
        let (stats, stop) = (self.stats.clone(), self.stop.clone());
        let (bound, limits) = (self.bound, self.limits);
        async move {
            stop.run_until_cancelled(serve(stream, bound, stats, limits)).await;
            drop(place);
        }
    }
}

async fn serve(stream: TcpStream, bound: SocketAddr, stats: Arc<RunStats>, limits: Limits) {
    let service = service_fn(move |request| {
        let stats = stats.clone();
        async move { Ok::<_, Infallible>(answer(&request, bound, &stats).await) }
    });
    // A time before 1970 cannot be a date in headers.
    let has_date = std::time::SystemTime::now() >= std::time::UNIX_EPOCH;
    let connection = hyper::server::conn::http1::Builder::new()
        .auto_date_header(has_date)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = tokio::time::sleep(limits.lifetime) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.lifetime, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a client of the listener went away: {error}");
    }
}

/// An answer to a request.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: StatusCode::OK, kind, body: body.into() }
    }

    /// Refuses, with the reason.
    pub(crate) fn no(status: StatusCode, reason: &str) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: format!("{reason}\n").into_bytes() }
    }
}

async fn answer(request: &Request<Incoming>, bound: SocketAddr, stats: &RunStats) -> Response<Full<Bytes>> {
    let answer = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        Answer::no(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered")
    } else if !names_this_machine(request.headers(), bound) {
        Answer::no(StatusCode::FORBIDDEN, "this listener answers only requests that name this machine")
    } else {
        route(request, stats).await
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    for (name, value) in [
        (header::CONTENT_TYPE, answer.kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
             frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn route(request: &Request<Incoming>, stats: &RunStats) -> Answer {
    const HTML: &str = "text/html; charset=utf-8";
    let query = request.uri().query().unwrap_or_default();
    match request.uri().path() {
        "/" => Answer::new(HTML, DASHBOARD),
        "/metrics" => Answer::new("text/plain; version=0.0.4; charset=utf-8", metrics(stats)),
        "/api/status" => Answer::new("application/json", status_json(stats)),
        "/debug/pprof" | "/debug/pprof/" => Answer::new(HTML, INDEX),
        "/debug/pprof/cmdline" => Answer::new("text/plain; charset=utf-8", command_line()),
        "/debug/pprof/profile" => profile::protobuf(query).await,
        "/debug/pprof/flamegraph" => profile::flame_graph(query).await,
        "/debug/pprof/heap" => profile::heap().await,
        _ => Answer::no(StatusCode::NOT_FOUND, "see /, /metrics, /api/status and /debug/pprof/"),
    }
}

/// Returns the command line: arguments separated by NUL bytes, as Go's tools expect them, addresses without secrets.
fn command_line() -> Vec<u8> {
    let arguments: Vec<_> = std::env::args_os().map(|word| redacted(&word.to_string_lossy())).collect();
    arguments.join("\0").into_bytes()
}

fn names_this_machine(headers: &HeaderMap, bound: SocketAddr) -> bool {
    if !bound.ip().to_canonical().is_loopback() {
        return true;
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let host = host.to_str().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn a_loopback_listener_refuses_other_names() {
        let named = |host: &str, bound: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("header"));
            names_this_machine(&headers, bound.parse().expect("address"))
        };
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "[::1]:9090", "[::1]", "127.0.0.2"] {
            assert!(named(host, "127.0.0.1:9090"), "{host}");
        }
        for host in ["attacker.test", "attacker.test:9090", "localhost.attacker.test", "10.0.0.1:9090", ""] {
            assert!(!named(host, "127.0.0.1:9090"), "{host}");
        }
        assert!(!named("attacker.test", "[::ffff:127.0.0.1]:9090"));
        assert!(named("mirror.lan:9090", "0.0.0.0:9090"));

        let mut headers = HeaderMap::new();
        let bound = "127.0.0.1:9090".parse().expect("address");
        assert!(!names_this_machine(&headers, bound), "no name at all");
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("attacker.test"));
        assert!(!names_this_machine(&headers, bound), "two names");
    }

    async fn limited(change: impl FnOnce(&mut Limits)) -> Listener {
        let mut limits = LIMITS;
        change(&mut limits);
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = socket.local_addr().expect("address");
        Listener::on(socket, addr, RunStats::new("0"), limits)
    }

    async fn connected(listener: &Listener) -> TcpStream {
        TcpStream::connect(listener.local_addr()).await.expect("connect")
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

    /// Returns whether an answer begins to arrive. On a closed connection, none does.
    async fn answered(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        stream.write_all(GET).await.is_ok() && stream.read(&mut byte).await.is_ok_and(|n| n == 1)
    }

    #[tokio::test]
    async fn a_client_that_never_ends_its_request_is_cut_off() {
        let listener = limited(|limits| limits.head = Duration::from_millis(50)).await;
        let mut stream = connected(&listener).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.expect("write");
        let mut got = Vec::new();
        // This must end, with a reset or without.
        let _ = stream.read_to_end(&mut got).await;
        assert!(!got.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&got));
    }

    #[tokio::test]
    async fn a_client_that_never_reads_is_cut_off() {
        let listener = limited(|limits| limits.lifetime = Duration::from_millis(50)).await;
        let mut stream = connected(&listener).await;
        // Answers fill the buffers of both sides, then the server can neither write nor read.
        while stream.write_all(GET).await.is_ok() {}
    }

    #[tokio::test]
    async fn connections_are_limited_and_their_places_reused() {
        let listener = limited(|limits| {
            limits.connections = 2;
            limits.head = Duration::from_secs(3600);
        })
        .await;
        let (mut one, mut other) = (connected(&listener).await, connected(&listener).await);
        assert!(answered(&mut one).await && answered(&mut other).await);
        assert!(!answered(&mut connected(&listener).await).await);
        drop(one);
        // The server may notice late that the client is gone.
        while !answered(&mut connected(&listener).await).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
