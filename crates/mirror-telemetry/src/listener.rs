use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::stats::{BUCKETS_MS, RunStats};

const MAX_CONNECTIONS: usize = 64;

/// Why the listener could not start.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {addr}")]
pub struct ListenError {
    addr: String,
    source: std::io::Error,
}

/// Serves `/metrics` and `/api/status` over HTTP/1.1.
#[derive(Debug)]
pub struct Listener {
    addr: SocketAddr,
    stop: CancellationToken,
}

/// Prepares the process for metrics; they are rendered from [`RunStats`] when asked for.
pub fn install_metrics() {}

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
        tokio::spawn(serve(socket, stats, stop.clone()));
        Ok(Self { addr: bound, stop })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops listening.
    #[expect(clippy::unused_async, reason = "callers wait for the end of open answers here")]
    pub async fn shutdown(self) {
        self.stop.cancel();
    }
}

async fn serve(socket: TcpListener, stats: Arc<RunStats>, stop: CancellationToken) {
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
            let service = service_fn(move |request| {
                let response = answer(&request, &stats);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, stats: &RunStats) -> Response<Full<Bytes>> {
    let (status, kind, body) = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET is answered\n".to_owned())
    } else {
        match request.uri().path() {
            "/metrics" => (StatusCode::OK, "text/plain; version=0.0.4", metrics(stats)),
            "/api/status" => (StatusCode::OK, "application/json", status_json(stats)),
            _ => (StatusCode::NOT_FOUND, "text/plain", "see /metrics and /api/status\n".to_owned()),
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

fn status_json(stats: &RunStats) -> String {
    let now = stats.snapshot();
    serde_json::json!({
        "version": stats.version,
        "processed": now.processed,
        "ok": now.ok,
        "errors": now.errors,
        "downloaded": now.downloaded,
        "existing": now.existing,
        "verified_existing": now.verified_existing,
        "uptime_sec": now.uptime.as_secs(),
        "rate_per_sec": format!("{:.1}", now.rate_per_sec),
        "planned": now.planned,
        "unavailable": now.unavailable,
        "bytes": now.bytes,
        "inflight": now.inflight,
        "concurrency": now.concurrency,
        "eta_sec": now.eta.map(|eta| eta.as_secs()),
        "phase": now.phase.as_str(),
    })
    .to_string()
}

fn metrics(stats: &RunStats) -> String {
    let now = stats.snapshot();
    let mut text = String::new();
    let head = |text: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    let name = "crates_download_requests_total";
    head(&mut text, name, "counter", "Requests by result and HTTP status; net is a transport error.");
    for ((ok, code), count) in stats.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let status = if *ok { "ok" } else { "error" };
        let code = code.map_or_else(|| "net".to_owned(), |code| code.to_string());
        let _ = writeln!(text, "{name}{{status=\"{status}\",code=\"{code}\"}} {count}");
    }
    for (name, kind, help, value) in [
        ("crates_download_bytes_total", "counter", "Bytes of bodies received.", now.received),
        ("crates_download_retries_total", "counter", "Attempts beyond the first.", now.retries),
        ("crates_download_inflight", "gauge", "Requests under way.", now.inflight),
    ] {
        head(&mut text, name, kind, help);
        let _ = writeln!(text, "{name} {value}");
    }
    let name = "crates_download_duration_seconds";
    head(&mut text, name, "histogram", "Duration of requests.");
    let mut sum = 0;
    for (at, bucket) in stats.buckets.iter().enumerate() {
        sum += bucket.load(Relaxed);
        let bound = BUCKETS_MS.get(at).map_or_else(
            || "+Inf".to_owned(),
            |&millis| Duration::from_millis(millis).as_secs_f64().to_string(),
        );
        let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {sum}");
    }
    let seconds = Duration::from_micros(stats.duration_micros.load(Relaxed)).as_secs_f64();
    let _ = writeln!(text, "{name}_sum {seconds}\n{name}_count {sum}");
    let name = "crates_processed_total";
    head(&mut text, name, "counter", "Records by result.");
    for (result, value) in [
        ("downloaded", now.downloaded),
        ("existing", now.existing),
        ("verified_existing", now.verified_existing),
        ("unavailable", now.unavailable),
        ("error", now.errors),
    ] {
        let _ = writeln!(text, "{name}{{result=\"{result}\"}} {value}");
    }
    text
}
