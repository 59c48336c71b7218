//! Origins that follow a test's script exactly, and the fetcher's surroundings.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mirror_fetch::{
    FetchObserver, FetchOptions, FetchRequest, Fetched, Fetcher, Spool, SpoolFactory, Verified,
};
use mirror_types::Sha256;
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use url::Url;

/// The behaviour after the bytes of a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Close,
    Stall,
    /// One byte every 50 ms, for ever.
    Drip,
}

pub(crate) type Reply = (Vec<u8>, Then);

/// An HTTP/1.1 origin: `script` gets the number of the request and its head.
pub(crate) struct Plain {
    pub(crate) base: Url,
    pub(crate) requests: Arc<AtomicUsize>,
}

impl Plain {
    pub(crate) async fn start(script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (counter, script) = (Arc::clone(&requests), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let (counter, script) = (Arc::clone(&counter), Arc::clone(&script));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    loop {
                        while !head.ends_with(b"\r\n\r\n") {
                            match tcp.read_u8().await {
                                Ok(byte) => head.push(byte),
                                Err(_) => return,
                            }
                        }
                        let n = counter.fetch_add(1, Ordering::SeqCst);
                        let (bytes, then) = script(n, &String::from_utf8_lossy(&head).to_lowercase());
                        head.clear();
                        if tcp.write_all(&bytes).await.is_err() {
                            return;
                        }
                        match then {
                            Then::Keep => {}
                            Then::Close => return,
                            Then::Stall => tokio::time::sleep(Duration::from_secs(60)).await,
                            Then::Drip => {
                                while tcp.write_all(b"x").await.is_ok() {
                                    tokio::time::sleep(Duration::from_millis(50)).await;
                                }
                            }
                        }
                    }
                });
            }
        });
        Self { base, requests }
    }

    pub(crate) fn seen(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn req(&self) -> FetchRequest {
        FetchRequest::new(self.base.join("some/file").unwrap())
    }
}

pub(crate) fn ok(body: &[u8]) -> Reply {
    (response("200 OK", "", body), Then::Keep)
}

pub(crate) fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut out =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

pub(crate) fn sum(body: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(body).into())
}

/// Spools in memory.
#[derive(Default)]
pub(crate) struct Spools {
    pub(crate) restarts: Arc<AtomicUsize>,
}

pub(crate) struct MemorySpool(pub(crate) Vec<u8>, Arc<AtomicUsize>);

impl SpoolFactory for Spools {
    fn create(&self) -> io::Result<Box<dyn Spool>> {
        Ok(Box::new(MemorySpool(Vec::new(), Arc::clone(&self.restarts))))
    }
}

impl Spool for MemorySpool {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(chunk);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.0.clear();
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Counts the fetcher's events.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) retries: AtomicUsize,
    pub(crate) bytes: AtomicU64,
    pub(crate) inflight: Mutex<i64>,
    /// For each attempt, the moment at which it began according to its duration.
    pub(crate) began: Mutex<Vec<Instant>>,
}

impl FetchObserver for Seen {
    fn attempt(&self, _: Option<u16>, _: bool, elapsed: Duration) {
        self.began.lock().unwrap().push(Instant::now() - elapsed);
    }

    fn retry(&self) {
        self.retries.fetch_add(1, Ordering::SeqCst);
    }

    fn bytes(&self, n: u64) {
        self.bytes.fetch_add(n, Ordering::SeqCst);
    }

    fn inflight(&self, delta: i64) {
        *self.inflight.lock().unwrap() += delta;
    }
}

pub(crate) fn quick() -> FetchOptions {
    let mut options = FetchOptions::default();
    options.retries = 3;
    options.retry_base = Duration::from_millis(5);
    options.retry_max = Duration::from_millis(20);
    options.idle_timeout = Duration::from_secs(5);
    options
}

/// Returns quick options with a change.
pub(crate) fn quick_with(change: impl FnOnce(&mut FetchOptions)) -> FetchOptions {
    let mut options = quick();
    change(&mut options);
    options
}

pub(crate) fn fetcher(options: FetchOptions) -> Fetcher {
    Fetcher::new(options, Arc::new(()), Arc::new(Spools::default())).unwrap()
}

/// Returns the body of an answer that must have one.
pub(crate) fn verified(got: &Fetched) -> &Verified {
    got.verified().unwrap()
}
