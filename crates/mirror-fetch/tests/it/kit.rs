//! The testkit's origin in the form for this crate's tests: paths are numbers, bodies are known.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use mirror_fetch::{Failure, FetchOptions, FetchRequest, Fetched, Fetcher};
use mirror_testkit::{Origin, OriginOptions, Protocol, Served};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::origin::{Seen, Spools, quick, sum};

/// A time limit far beyond that of any test: a test that hangs fails.
pub(crate) const HANG: Duration = Duration::from_secs(60);

pub(crate) const BODY_BYTES: usize = 3000;

fn body(path: &str) -> Bytes {
    let mut bytes = path.as_bytes().to_vec();
    bytes.resize(BODY_BYTES, b'.');
    bytes.into()
}

/// An origin whose files are `BODY_BYTES` long and begin with their own path.
pub(crate) struct Kit {
    pub(crate) origin: Origin,
    tls: bool,
}

impl Kit {
    pub(crate) fn start(options: OriginOptions) -> Self {
        let tls = options.protocol != Protocol::Http1;
        Self { origin: Origin::start(options, Arc::new(|path| Some(Served::new(body(path))))), tls }
    }

    pub(crate) fn speaking(protocol: Protocol) -> Self {
        Self::start(OriginOptions { protocol, ..OriginOptions::default() })
    }

    /// Returns `base` with trust in this origin.
    pub(crate) fn options(&self, mut base: FetchOptions) -> FetchOptions {
        let cacert: Option<PathBuf> = self.tls.then(|| self.origin.ca().to_owned());
        base.cacert = cacert;
        base
    }

    /// Returns a fetcher with quick retries, and its counters.
    pub(crate) fn fetcher(&self, base: FetchOptions) -> (Fetcher, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        let options = self.options(base);
        (Fetcher::new(options, Arc::clone(&seen) as _, Arc::new(Spools::default())).unwrap(), seen)
    }

    /// Returns the authority of its certificate.
    pub(crate) fn ca(&self) -> Option<&std::path::Path> {
        self.tls.then(|| self.origin.ca())
    }

    /// Returns a fetcher with exactly these options.
    #[expect(clippy::unused_self, reason = "reads as the others do")]
    pub(crate) fn trusting(&self, options: FetchOptions) -> Fetcher {
        Fetcher::new(options, Arc::new(()), Arc::new(Spools::default())).unwrap()
    }

    pub(crate) fn quick(&self) -> (Fetcher, Arc<Seen>) {
        self.fetcher(quick())
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("{}{path}", self.origin.base())).unwrap()
    }

    /// Returns a request that expects the right bytes.
    pub(crate) fn req(&self, path: &str) -> FetchRequest {
        FetchRequest::new(self.url(path)).with_expect(sum(&body(path)))
    }

    /// Fetches `/0` to `/{count - 1}` all at once, without the driver and its hedges.
    pub(crate) async fn at_once(&self, fetcher: &Fetcher, count: usize) -> Vec<Result<Fetched, Failure>> {
        let reqs = (0..count).map(|n| fetcher.fetch(self.req(&format!("/{n}"))));
        tokio::time::timeout(HANG, join_all(reqs)).await.unwrap()
    }

    /// Runs `/0` to `/{count - 1}` through the driver; returns the outcomes by number.
    pub(crate) async fn run(&self, fetcher: &Fetcher, count: usize) -> Vec<Result<Fetched, Failure>> {
        let (job, jobs) = mpsc::channel(64);
        let (result, mut results) = mpsc::channel(64);
        let driver = fetcher.clone();
        let driver = tokio::spawn(async move { driver.run(jobs, result, CancellationToken::new()).await });
        let reqs: Vec<_> = (0..count).map(|n| (n, self.req(&format!("/{n}")))).collect();
        tokio::spawn(async move {
            for req in reqs {
                job.send(req).await.unwrap();
            }
        });
        let mut all = Vec::new();
        while let Some(one) = results.recv().await {
            all.push(one);
        }
        assert_eq!(driver.await.unwrap(), mirror_fetch::RunEnd::Done);
        all.sort_by_key(|(n, _)| *n);
        assert!(all.iter().map(|(n, _)| *n).eq(0..count), "every job gives one result");
        all.into_iter().map(|(_, outcome)| outcome).collect()
    }
}

impl Seen {
    pub(crate) fn retries(&self) -> usize {
        self.retries.load(Ordering::SeqCst)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(HANG, wait).await.expect("the condition never came true");
}
