use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::metrics::{metrics, status_json};
use crate::profile;
use crate::stats::RunStats;

const MAX_CONNECTIONS: usize = 64;
const DASHBOARD: &str = include_str!("dashboard.html");
const INDEX: &str = include_str!("pprof.html");

/// Why the listener could not start.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {addr}")]
pub struct ListenError {
    addr: String,
    source: std::io::Error,
}

/// Serves the dashboard, `/metrics`, `/api/status` and `/debug/pprof/` over HTTP/1.1, read-only.
/// Bound to a loopback address it answers only requests that name this machine, so that no page
/// in a browser can read it under another name.
#[derive(Debug)]
pub struct Listener {
    addr: SocketAddr,
    stop: CancellationToken,
}

impl Listener {
    /// Listens on `addr`; `:9090` means all interfaces. Inside a runtime.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(addr: &str, stats: Arc<RunStats>) -> Result<Self, ListenError> {
        let full = if addr.starts_with(':') { format!("0.0.0.0{addr}") } else { addr.to_owned() };
        let fail = |source| ListenError { addr: addr.to_owned(), source };
        let socket = TcpListener::bind(&full).await.map_err(fail)?;
        let bound = socket.local_addr().map_err(|source| ListenError { addr: addr.to_owned(), source })?;
        let stop = CancellationToken::new();
        tokio::spawn(accept(socket, bound, stats, stop.clone()));
        Ok(Self { addr: bound, stop })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops listening and ends what is open.
    pub fn shutdown(self) {
        self.stop.cancel();
    }
}

async fn accept(socket: TcpListener, bound: SocketAddr, stats: Arc<RunStats>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (stats, stop) = (stats.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = serve(stream, bound, stats) => {}
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, bound: SocketAddr, stats: Arc<RunStats>) {
    let service = service_fn(move |request| {
        let stats = stats.clone();
        async move { Ok::<_, Infallible>(answer(&request, bound, &stats).await) }
    });
    let ended = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = ended {
        tracing::debug!("a client of the listener went away: {error}");
    }
}

/// What a request is answered with.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: StatusCode::OK, kind, body: body.into() }
    }

    /// Says no, with the reason.
    pub(crate) fn no(status: StatusCode, reason: &str) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: format!("{reason}\n").into_bytes() }
    }
}

async fn answer(request: &Request<Incoming>, bound: SocketAddr, stats: &RunStats) -> Response<Full<Bytes>> {
    let answer = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        Answer::no(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered")
    } else if !names_this_machine(request.headers(), bound) {
        Answer::no(StatusCode::FORBIDDEN, "this listener answers under the name of this machine only")
    } else {
        route(request, stats).await
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
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
        "/debug/pprof/heap" => {
            Answer::no(StatusCode::NOT_IMPLEMENTED, "heap profiles are not built into this program")
        }
        _ => Answer::no(StatusCode::NOT_FOUND, "see /, /metrics, /api/status and /debug/pprof/"),
    }
}

/// Arguments between NUL bytes, as Go's tools expect them.
fn command_line() -> Vec<u8> {
    let arguments: Vec<_> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    arguments.join("\0").into_bytes()
}

fn names_this_machine(headers: &HeaderMap, bound: SocketAddr) -> bool {
    if !bound.ip().is_loopback() {
        return true;
    }
    let Some(host) = headers.get(header::HOST) else { return true };
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
    use super::*;

    #[test]
    fn a_loopback_listener_has_no_other_name() {
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
        assert!(named("mirror.lan:9090", "0.0.0.0:9090"));
    }
}
