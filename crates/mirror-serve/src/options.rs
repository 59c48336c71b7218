use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mirror_store::CrateStore;

/// A certificate and its key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TlsFiles {
    /// PEM: the certificate, and its chain up to the authority.
    pub cert: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Names both files.
    #[must_use]
    pub const fn new(cert: PathBuf, key: PathBuf) -> Self {
        Self { cert, key }
    }
}

/// Limits on the cost of clients.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ServeLimits {
    /// Most connections at a time. For one more, the one that has moved nothing for the longest time makes room, or the
    /// slowest of those that move less than 16 KiB a second; when all are faster, the new one waits for a second and is
    /// closed.
    pub connections: usize,
    /// Most requests at a time on a connection of HTTP/2.
    pub streams: u32,
    /// Most bytes of the head of a request.
    pub head_bytes: usize,
    /// Time for the head of a request, and for the TLS handshake.
    pub head_time: Duration,
    /// Time until an answer begins.
    pub request_time: Duration,
    /// A connection that took less than a KiB of answers in this time is closed, and so is a stream of HTTP/2 that took
    /// nothing.
    pub idle_time: Duration,
    /// Time for requests in progress when the server stops.
    pub grace_time: Duration,
    /// Bytes of prepared index files in the cache.
    pub cache_bytes: usize,
    /// Bytes of bodies in progress that are in memory, beside the cache; each connection has an equal share.
    pub body_bytes: usize,
    /// Files that the process may have open; `None` takes the limit of the system. Connections beyond that are not
    /// accepted.
    pub open_files: Option<usize>,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 512,
            streams: 128,
            head_bytes: 16 << 10,
            head_time: Duration::from_secs(10),
            request_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(60),
            grace_time: Duration::from_secs(10),
            cache_bytes: 16 << 20,
            body_bytes: 128 << 20,
            open_files: None,
        }
    }
}

/// The settings of the server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Root of the mirror.
    pub mirror: PathBuf,
    /// The directory of its bundles; `None` takes the one that the mirror records, or the one beside it.
    pub bundles_dir: Option<PathBuf>,
    /// The serial of the snapshot whose state is served; `None` serves what is offered now.
    pub snapshot: Option<u64>,
    /// Stores beside its loose tree and its bundles that hold something.
    pub stores: Vec<Arc<dyn CrateStore>>,
    /// The address to listen at; `:8080` means all interfaces.
    pub listen: String,
    /// `None` means no TLS.
    pub tls: Option<TlsFiles>,
    /// The address at which clients reach the server; `None` takes the name in each request.
    pub public_url: Option<String>,
    /// Names under which the console may be reached, beside addresses, `localhost` and the host of `public_url`. The
    /// registry is there under every name.
    pub allowed_hosts: Vec<String>,
    /// The limits on the cost of clients.
    pub limits: ServeLimits,
}

impl ServeOptions {
    /// Serves the mirror at this root to this machine, on port 8080, without TLS.
    #[must_use]
    pub fn new(mirror: PathBuf) -> Self {
        Self {
            mirror,
            bundles_dir: None,
            snapshot: None,
            stores: Vec::new(),
            listen: "127.0.0.1:8080".to_owned(),
            tls: None,
            public_url: None,
            allowed_hosts: Vec::new(),
            limits: ServeLimits::default(),
        }
    }
}
