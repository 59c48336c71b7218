use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mirror_store::CrateStore;

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM: the certificate, and what leads to its authority.
    pub cert: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
}

/// The limits on what clients may cost.
#[derive(Debug, Clone, Copy)]
pub struct ServeLimits {
    /// Connections at a time. When one more comes, the one that has moved nothing for the longest time makes room, or
    /// the slowest of those that move less than 16 KiB a second; when all are faster, it waits for a second and is
    /// closed.
    pub connections: usize,
    /// Requests at a time on a connection of HTTP/2.
    pub streams: u32,
    /// Bytes of the head of a request.
    pub head_bytes: usize,
    /// For the head of a request, and for TLS to begin.
    pub head_time: Duration,
    /// Until an answer begins.
    pub request_time: Duration,
    /// A connection that took less than a KiB of answers in this time is closed, and so is a stream of HTTP/2 that took
    /// nothing.
    pub idle_time: Duration,
    /// For what is under way when the server stops.
    pub grace_time: Duration,
    /// Bytes of prepared index files that are kept.
    pub cache_bytes: usize,
    /// Bytes of bodies on their way that are in memory, beside those; each connection has an equal share.
    pub body_bytes: usize,
    /// Files that the process may have open; `None`: as the system says. Connections that they do not suffice for are
    /// not taken.
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
pub struct ServeOptions {
    /// Root of the mirror.
    pub mirror: PathBuf,
    /// The directory of its bundles; `None`: where the mirror says, or beside it.
    pub bundles_dir: Option<PathBuf>,
    /// Stores beside its loose tree and its bundles in which it holds something.
    pub stores: Vec<Arc<dyn CrateStore>>,
    /// Address to listen at; `:8080` means all interfaces.
    pub listen: String,
    /// `None`: no TLS.
    pub tls: Option<TlsFiles>,
    /// The address by which clients reach the server; `None`: by the name that they ask for.
    pub public_url: Option<String>,
    /// The limits on what they may cost.
    pub limits: ServeLimits,
}

impl ServeOptions {
    /// Serves the mirror at this root to this machine, at port 8080, without TLS.
    #[must_use]
    pub fn new(mirror: PathBuf) -> Self {
        Self {
            mirror,
            bundles_dir: None,
            stores: Vec::new(),
            listen: "127.0.0.1:8080".to_owned(),
            tls: None,
            public_url: None,
            limits: ServeLimits::default(),
        }
    }
}
