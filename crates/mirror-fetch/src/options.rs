use std::path::PathBuf;
use std::time::Duration;

/// The settings of a [`Fetcher`](crate::Fetcher). Every limit is the caller's; the defaults suit one mirror run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FetchOptions {
    /// Most requests in flight; the adaptive limit stays at or below it. Default 128.
    pub concurrency: usize,
    /// Most retries after the first attempt. Default 6.
    pub retries: u32,
    /// First step of the exponential backoff. Default 500 ms.
    pub retry_base: Duration,
    /// Longest backoff step. Default 30 s.
    pub retry_max: Duration,
    /// Longest time one attempt may take, once it has a connection. Waiting for `max_bytes_per_sec` does not
    /// count. Default 300 s.
    pub total_timeout: Duration,
    /// Longest time without real progress (1 KiB of body, or the response head). Default 30 s.
    pub idle_timeout: Duration,
    /// Longest time for name lookup, TCP, proxy and TLS together. Default 10 s.
    pub connect_timeout: Duration,
    /// The `User-Agent` sent.
    pub user_agent: String,
    /// A PEM file with further trusted roots.
    pub cacert: Option<PathBuf>,
    /// Requests started per second; 0 for no limit.
    pub max_requests_per_sec: u32,
    /// Body bytes received per second; 0 for no limit.
    pub max_bytes_per_sec: u64,
    /// Bytes of bodies held in memory until handed over. Default 48 MiB.
    pub memory_budget_bytes: u64,
    /// Bodies larger than this are spooled. Default 8 MiB.
    pub spool_above_bytes: u64,
    /// Of bodies that grow beyond this, only [`large_at_once`](Self::large_at_once) are received at a time: that bounds
    /// how much of the disk peers can fill with bodies that never end. Default 32 MiB, which hardly any release has.
    pub large_above_bytes: u64,
    /// Large bodies at a time. Default 8.
    pub large_at_once: usize,
    /// Bodies larger than this are refused. Default 512 MiB.
    pub max_body_bytes: u64,
    /// Send nothing: every request fails at once as [`FailureKind::Offline`](crate::FailureKind).
    pub offline: bool,
    /// Connections per origin; 0 chooses from `concurrency`.
    pub max_conns_per_host: usize,
    /// Most connections per origin that this machine can bear, whatever the other settings; 0 for no bound.
    pub conns_bound: usize,
    /// The source of the proxy settings. Default: the environment.
    pub proxies: ProxySettings,
}

/// The source of the proxy variables (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProxySettings {
    /// The environment of the process.
    #[default]
    Environment,
    /// Only these names and values, read by the same rules. An empty list means no proxy.
    Variables(Vec<(String, String)>),
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            concurrency: 128,
            retries: 6,
            retry_base: Duration::from_millis(500),
            retry_max: Duration::from_secs(30),
            total_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            user_agent: concat!("mirror-fetch/", env!("CARGO_PKG_VERSION")).to_owned(),
            cacert: None,
            max_requests_per_sec: 0,
            max_bytes_per_sec: 0,
            memory_budget_bytes: 48 << 20,
            spool_above_bytes: 8 << 20,
            large_above_bytes: 32 << 20,
            large_at_once: 8,
            max_body_bytes: 512 << 20,
            offline: false,
            max_conns_per_host: 0,
            conns_bound: 0,
            proxies: ProxySettings::Environment,
        }
    }
}

/// Why a request makes its caller wait.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Wait<'a> {
    /// No origin has answered yet, and this one has not for as long as `after`.
    Silent {
        /// The host that was asked.
        host: &'a str,
        /// Host and port of the proxy in between.
        proxy: Option<&'a str>,
        /// The time since the request began.
        after: Duration,
    },
    /// An attempt failed, and the next one begins after `wait`.
    Retry {
        /// The address, without its query.
        url: &'a str,
        /// The failure, in one line.
        why: &'a str,
        /// The time until then.
        wait: Duration,
    },
}

/// Receives events, for counters. Called on hot paths: must not block.
#[expect(unused_variables, reason = "default bodies are empty, the names document the arguments")]
pub trait FetchObserver: Send + Sync {
    /// Takes note that one attempt ended. `status` is `None` when no response arrived. `elapsed` is without the waits
    /// for limits on rate and memory, and for the end of a pause that the origin asked for.
    fn attempt(&self, status: Option<u16>, ok: bool, elapsed: Duration) {}
    /// Takes note that `n` bytes of body arrived.
    fn bytes(&self, n: u64) {}
    /// Takes note that a request will be tried again.
    fn retry(&self) {}
    /// Takes note that a request makes the run wait.
    fn waits(&self, wait: &Wait<'_>) {}
    /// Takes note that the number of requests in flight changed by `delta`.
    fn inflight(&self, delta: i64) {}
    /// Takes note that the adaptive limit is now `limit`.
    fn concurrency(&self, limit: usize) {}
}

impl FetchObserver for () {}
