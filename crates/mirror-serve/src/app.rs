//! The state that all connections share.

use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use mirror_console::Guard;
use mirror_listen::EventPlaces;
use mirror_manifest::Held;
use mirror_repo::{Mirror, OpenBundles};
use mirror_types::{ReleaseId, Sha256, Unexpected};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::console::Known;
use crate::error::ServeError;
use crate::files::Files;
use crate::metrics::Counters;
use crate::options::ServeOptions;
use crate::page::Totals;
use crate::seats::Seat;

/// Most searches at a time: each looks at every name.
const SEARCHES: usize = 2;
/// Most bytes of unpacked members of bundles that are kept for later pieces of them.
const CHUNK_CACHE_BYTES: usize = 32 << 20;
/// Most members of bundles that are unpacked as their clients read them. Each has a window in memory.
const OPEN_MEMBERS: usize = 16;

/// An index file, prepared.
pub(crate) struct Prepared {
    pub(crate) generation: u64,
    pub(crate) tag: String,
    pub(crate) since: SystemTime,
    pub(crate) plain: Bytes,
    pub(crate) gzip: Option<Bytes>,
}

/// The state that all connections share.
pub(crate) struct App {
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) counters: Counters,
    /// Places for releases that stay open between two pieces.
    pub(crate) kept: Arc<Semaphore>,
    /// Places for releases that other threads open and read.
    pub(crate) opening: Arc<Semaphore>,
    /// Unpacked parts of members of bundles, by the hash of the release and their number.
    pub(crate) chunks: Cache<(Sha256, u64), Bytes>,
    /// Places for unpacking them.
    pub(crate) unpacking: Semaphore,
    /// Places for members that stay open between two pieces.
    pub(crate) open_members: Arc<Semaphore>,
    pub(crate) public_url: Option<String>,
    pub(crate) prepared: Cache<String, Prepared>,
    pub(crate) held: Cache<ReleaseId, (u64, Held)>,
    pub(crate) totals: Mutex<Option<(u64, Instant, Arc<Totals>)>>,
    pub(crate) counting: Semaphore,
    /// Answers of the console. Locked while one is made.
    pub(crate) views: tokio::sync::Mutex<Known>,
    /// Decides who may read the console.
    pub(crate) guard: Guard,
    /// Places for the event streams of the console.
    pub(crate) event_places: EventPlaces,
    pub(crate) searches: Semaphore,
    /// Places for preparing index files: as many as there are processors. More threads would not be faster, and each
    /// would keep memory allocated.
    pub(crate) preparing: Semaphore,
}

/// The client of a request.
pub(crate) struct Asker {
    pub(crate) tls: bool,
    pub(crate) seat: Arc<Seat>,
    /// Cancelled when the server stops: what has no end of its own ends then.
    pub(crate) stop: CancellationToken,
}

impl App {
    pub(crate) fn new(mirror: Mirror, options: &ServeOptions, files: Files, guard: Guard) -> Self {
        let cache = options.limits.cache_bytes;
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            mirror: Arc::new(mirror),
            counters: Counters::new(),
            kept: Arc::new(Semaphore::new(files.kept)),
            opening: Arc::new(Semaphore::new(files.opening)),
            chunks: Cache::new(CHUNK_CACHE_BYTES),
            unpacking: Semaphore::new(OpenBundles::LARGE_AT_ONCE),
            open_members: Arc::new(Semaphore::new(OPEN_MEMBERS)),
            public_url: options.public_url.clone(),
            prepared: Cache::new(cache / 8 * 7),
            held: Cache::new(cache / 8),
            totals: Mutex::default(),
            counting: Semaphore::new(1),
            views: tokio::sync::Mutex::default(),
            guard,
            event_places: EventPlaces::new(EventPlaces::CONSOLE),
            searches: Semaphore::new(SEARCHES),
            preparing: Semaphore::new(processors),
        }
    }
}

/// Runs blocking code on a thread where it blocks no connection.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServeError> + Send + 'static,
) -> Result<T, ServeError> {
    tokio::task::spawn_blocking(work).await.map_err(Unexpected::could_not("end the work on a request"))?
}
