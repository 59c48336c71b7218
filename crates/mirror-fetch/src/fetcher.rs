use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use http::header::{ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::answer::Fetched;
use crate::body::permits_for;
use crate::failure::{Failure, FetchSetupError};
use crate::limit::{Bucket, Limiter};
use crate::options::{FetchObserver, FetchOptions};
use crate::pool::{NO_SLOT, Pool};
use crate::request::FetchRequest;
use crate::run::RunEnd;
use crate::shared::{Core, RESERVE_BYTES};
use crate::silence::Silence;
use crate::spool::SpoolFactory;
use crate::stream::FetchStream;

/// Fetches files. Clones share connections, limits and memory.
#[derive(Clone)]
pub struct Fetcher {
    core: Arc<Core>,
}

impl Fetcher {
    /// Reads the trusted roots and the proxy settings. Opens no connection.
    ///
    /// # Errors
    /// When the roots or the user agent cannot be used.
    pub fn new(
        options: FetchOptions,
        observer: Arc<dyn FetchObserver>,
        spools: Arc<dyn SpoolFactory>,
    ) -> Result<Self, FetchSetupError> {
        let mut headers = HeaderMap::new();
        let agent = HeaderValue::from_str(&options.user_agent).map_err(|_| FetchSetupError::UserAgent)?;
        headers.insert(USER_AGENT, agent);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let budget = permits_for(options.memory_budget_bytes.max(4 * RESERVE_BYTES)) as usize;
        let core = Core {
            pool: Pool::new(&options)?,
            limiter: Limiter::new(options.concurrency),
            silence: Silence::new(&options),
            large: Arc::new(Semaphore::new(options.large_at_once.clamp(1, Semaphore::MAX_PERMITS))),
            budget: Arc::new(Semaphore::new(budget.min(Semaphore::MAX_PERMITS))),
            request_rate: Bucket::new(options.max_requests_per_sec.into()),
            byte_rate: Bucket::new(options.max_bytes_per_sec),
            headers,
            options,
            observer,
            spools,
        };
        core.observer.concurrency(core.limiter.current());
        Ok(Self { core: Arc::new(core) })
    }

    /// Fetches one address, with retries. Waits for a connection but not for the adaptive limit.
    ///
    /// # Errors
    /// When the last attempt failed.
    pub async fn fetch(&self, req: FetchRequest) -> Result<Fetched, Failure> {
        crate::retry::fetch(&self.core, &req, &AtomicUsize::new(NO_SLOT), false, None).await
    }

    /// Fetches all jobs within the adaptive limit; sends results in order of completion. Returns when the jobs are
    /// closed and all results are sent, when `cancel` fires (requests in flight are dropped), when the receiver of
    /// results is closed, or when no origin answers any more (requests in flight are dropped, too: see
    /// [`RunEnd::Silent`]).
    pub async fn run<T: Send + 'static>(
        &self,
        jobs: mpsc::Receiver<(T, FetchRequest)>,
        results: mpsc::Sender<(T, Result<Fetched, Failure>)>,
        cancel: CancellationToken,
    ) -> RunEnd {
        crate::run::run(&self.core, jobs, results, cancel).await
    }

    /// Fetches every job as [`Fetcher::run`] does, on the current runtime, while results are taken. `jobs` is read a
    /// few jobs ahead, on a thread of the runtime: it must not block.
    ///
    /// # Panics
    /// When there is no current Tokio runtime.
    pub fn stream<T, J>(&self, jobs: J) -> FetchStream<T>
    where
        T: Send + 'static,
        J: IntoIterator<Item = (T, FetchRequest)>,
        J::IntoIter: Send + 'static,
    {
        FetchStream::start(self, jobs)
    }
}
