use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::Semaphore;

use crate::limit::{Bucket, Limiter};
use crate::options::{FetchObserver, FetchOptions};
use crate::pool::Pool;
use crate::silence::Silence;
use crate::spool::SpoolFactory;

/// Memory reserved before a request is sent, so that full memory holds requests back.
pub(crate) const RESERVE_BYTES: u64 = 16 << 10;

/// The state that all requests of a fetcher share.
pub(crate) struct Core {
    pub(crate) options: FetchOptions,
    pub(crate) observer: Arc<dyn FetchObserver>,
    pub(crate) spools: Arc<dyn SpoolFactory>,
    pub(crate) pool: Pool,
    pub(crate) limiter: Limiter,
    pub(crate) silence: Silence,
    pub(crate) budget: Arc<Semaphore>,
    /// Permits for receiving large bodies.
    pub(crate) large: Arc<Semaphore>,
    pub(crate) request_rate: Option<Bucket>,
    pub(crate) byte_rate: Option<Bucket>,
    pub(crate) headers: HeaderMap,
}
