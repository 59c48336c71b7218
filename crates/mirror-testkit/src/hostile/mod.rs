//! Origins and clients that break HTTP itself, below the level that an HTTP library can be scripted at: raw bytes over
//! TCP, TLS and frames of HTTP/2.

mod client;
mod git;
mod http1;
mod http2;
mod stream;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::worker::{Worker, accept_each};

use crate::origin::Protocol;

pub use client::{ClientFault, HostileClients};
pub use git::{FloodingGit, GitFlood};
pub use http1::Http1Fault;
pub use http2::Http2Fault;

use stream::{Stream, endless};

/// The behaviour of a hostile origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hostility {
    /// Closes at once.
    Hangup,
    /// Accepts the connection and sends nothing, not even TLS.
    Mute,
    /// Sends bytes that are neither TLS nor HTTP, and never stops.
    Noise,
    /// Breaks HTTP/1.1, over TLS as well.
    Http1(Http1Fault),
    /// Breaks HTTP/2 over TLS.
    Http2(Http2Fault),
}

impl Hostility {
    /// Returns every fault with every protocol in which it is possible.
    #[must_use]
    pub fn matrix() -> Vec<(Self, Protocol)> {
        let connections = [Self::Hangup, Self::Mute, Self::Noise];
        let of_http1 = connections.into_iter().chain(Http1Fault::ALL.map(Self::Http1));
        let of_http1 = of_http1.flat_map(|fault| [(fault, Protocol::Http1), (fault, Protocol::Http1Tls)]);
        let of_http2 = Http2Fault::ALL.map(|fault| (Self::Http2(fault), Protocol::Http2));
        of_http1.chain(of_http2).collect()
    }
}

/// A hostile origin on a thread of its own, stopped when dropped.
pub struct HostileOrigin {
    addr: SocketAddr,
    ca: Option<PathBuf>,
    connections: Arc<AtomicU64>,
    _worker: Worker,
    _dir: tempfile::TempDir,
}

impl HostileOrigin {
    /// Listens at a free port.
    ///
    /// # Panics
    /// When no port is free: this is test code.
    #[must_use]
    pub fn start(fault: Hostility, protocol: Protocol) -> Self {
        let dir = tempfile::tempdir().expect("a directory for certificates");
        let (acceptor, ca) = match protocol {
            Protocol::Http1 => (None, None),
            Protocol::Http1Tls => split(crate::tls::acceptor(dir.path(), &[b"http/1.1"])),
            Protocol::Http2 => split(crate::tls::acceptor(dir.path(), &[b"h2"])),
        };
        let listener = StdListener::bind(("127.0.0.1", 0)).expect("a port to listen at");
        listener.set_nonblocking(true).expect("non-blocking");
        let addr = listener.local_addr().expect("address");
        let connections = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&connections);
        let worker = Worker::start(async move |stop| accept(listener, acceptor, fault, &stop, &count).await);
        Self { addr, ca, connections, _worker: worker, _dir: dir }
    }

    /// Returns `https://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn base(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// Returns the path of the PEM file of the authority that signed its certificate, when it has TLS.
    #[must_use]
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// Returns the number of connections so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

fn split(made: (TlsAcceptor, PathBuf)) -> (Option<TlsAcceptor>, Option<PathBuf>) {
    (Some(made.0), Some(made.1))
}

async fn accept(
    listener: StdListener,
    acceptor: Option<TlsAcceptor>,
    fault: Hostility,
    stop: &CancellationToken,
    count: &AtomicU64,
) {
    accept_each(listener, stop, |tcp| {
        count.fetch_add(1, Ordering::SeqCst);
        connection(tcp, acceptor.clone(), fault)
    })
    .await;
}

async fn connection(mut tcp: TcpStream, acceptor: Option<TlsAcceptor>, fault: Hostility) {
    match fault {
        Hostility::Hangup => return,
        Hostility::Mute => std::future::pending().await,
        Hostility::Noise => return endless(&mut tcp, &[0x7f; 16 << 10]).await,
        Hostility::Http1(_) | Hostility::Http2(_) => {}
    }
    match acceptor {
        None => hostile(tcp, fault).await,
        Some(acceptor) => {
            if let Ok(tls) = acceptor.accept(tcp).await {
                hostile(tls, fault).await;
            }
        }
    }
}

async fn hostile<S: Stream>(stream: S, fault: Hostility) {
    // A client that cuts the server off has done its part.
    let _ = match fault {
        Hostility::Http1(fault) => http1::serve(stream, fault).await,
        Hostility::Http2(fault) => http2::serve(stream, fault).await,
        Hostility::Hangup | Hostility::Mute | Hostility::Noise => Ok(()),
    };
}
