use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mirror_console::{CountedGauges, Guard};
use mirror_listen::{Connections, accept};
use mirror_types::redacted;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::console::DiskSpace;
use crate::profile;
use crate::site::{Site, keep_current};
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

/// An error while starting the listener.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {addr}")]
pub struct ListenError {
    addr: String,
    source: std::io::Error,
}

/// Answers questions about the mirror of a run, for its console.
pub trait MirrorViews: Send + Sync + 'static {
    /// Returns what the mirror holds, and where, as JSON. Blocks.
    ///
    /// # Errors
    /// The reason why that cannot be read, in one line.
    fn storage(&self) -> Result<String, String>;
    /// Returns its runs and snapshots as JSON. Blocks.
    ///
    /// # Errors
    /// The reason why that cannot be read, in one line.
    fn runs(&self) -> Result<String, String>;
    /// Returns the room on its disk; `None` where that is not known. Blocks.
    fn disk(&self) -> Option<DiskSpace>;
    /// Counts what metrics show; `None` where there is no mirror yet, or it cannot be read. Blocks.
    fn counted(&self) -> Option<CountedGauges> {
        None
    }
}

/// The options of a listener.
#[derive(Default, Clone)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Names under which it answers, beside its addresses and `localhost`.
    pub names: Vec<String>,
    /// The mirror of the run.
    pub mirror: Option<Arc<dyn MirrorViews>>,
}

impl std::fmt::Debug for ListenOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListenOptions").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Serves the console, `/metrics`, `/api/` and `/debug/pprof/` over HTTP/1.1, read-only. It answers only requests that
/// name one of its addresses or an allowed name, so that no page of another site can read it through a browser. Only
/// `/metrics` is there under any name, unless the listener is bound to a loopback address.
#[derive(Debug)]
pub struct Listener {
    addr: SocketAddr,
    stop: CancellationToken,
    site: Arc<Site>,
}

impl Listener {
    /// Listens on `addr`; `:9090` means all interfaces. Needs a Tokio runtime.
    ///
    /// # Errors
    /// Fails when the address cannot be bound.
    pub async fn start(addr: &str, stats: Arc<RunStats>) -> Result<Self, ListenError> {
        Self::start_with(addr, stats, ListenOptions::default()).await
    }

    /// Listens on `addr` as [`Listener::start`] does, with options.
    ///
    /// # Errors
    /// Fails when the address cannot be bound.
    pub async fn start_with(
        addr: &str,
        stats: Arc<RunStats>,
        options: ListenOptions,
    ) -> Result<Self, ListenError> {
        let full = if addr.starts_with(':') { format!("0.0.0.0{addr}") } else { addr.to_owned() };
        let fail = |source| ListenError { addr: addr.to_owned(), source };
        let socket = TcpListener::bind(&full).await.map_err(fail)?;
        let bound = socket.local_addr().map_err(fail)?;
        Ok(Self::on(socket, bound, stats, options, LIMITS))
    }

    fn on(
        socket: TcpListener,
        addr: SocketAddr,
        stats: Arc<RunStats>,
        options: ListenOptions,
        limits: Limits,
    ) -> Self {
        stats.requests().record_durations();
        let stop = CancellationToken::new();
        let guard = Guard::new(addr, &options.names);
        let site = Arc::new(Site::new(stats, guard, options.mirror));
        tokio::spawn(stop.clone().run_until_cancelled_owned(keep_current(Arc::clone(&site))));
        let places = Arc::new(Semaphore::new(limits.connections));
        let clients = Clients { places, site: Arc::clone(&site), limits, stop: stop.clone() };
        tokio::spawn({
            let stop = stop.clone();
            // Every connection ends with the listener.
            async move { accept(socket, &clients, &stop, Duration::ZERO).await }
        });
        Self { addr, stop, site }
    }

    /// Returns the address on which it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops listening and closes all connections, once open pages have the last status, but within a second.
    pub async fn finish(self) {
        let last = self.site.status();
        self.site.close_events(&last).await;
        self.stop.cancel();
    }

    /// Stops listening and closes all connections.
    pub fn shutdown(self) {
        self.stop.cancel();
    }
}

/// The clients of a listener.
struct Clients {
    places: Arc<Semaphore>,
    site: Arc<Site>,
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
        let (site, stop, limits) = (Arc::clone(&self.site), self.stop.clone(), self.limits);
        async move {
            stop.run_until_cancelled(serve(stream, site, limits)).await;
            drop(place);
        }
    }
}

async fn serve(stream: TcpStream, site: Arc<Site>, limits: Limits) {
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.answer(&request).await) }
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

/// Returns the words of the command line, addresses without their secrets.
#[must_use]
pub fn command_line() -> Vec<String> {
    std::env::args_os().map(|word| redacted(&word.to_string_lossy())).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn limited(change: impl FnOnce(&mut Limits)) -> Listener {
        let mut limits = LIMITS;
        change(&mut limits);
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = socket.local_addr().expect("address");
        Listener::on(socket, addr, RunStats::new("0"), ListenOptions::default(), limits)
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
