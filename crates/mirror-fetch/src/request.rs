use std::any::Any;
use std::fmt;
use std::io;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use mirror_types::Sha256;
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

/// Makes the places large bodies are written to.
pub trait SpoolFactory: Send + Sync {
    /// Opens a new, empty spool.
    ///
    /// # Errors
    /// When the place cannot be made; the request then fails with [`FailureKind::Spool`](crate::FailureKind).
    fn create(&self) -> io::Result<Box<dyn Spool>>;
}

/// A place one large body is written to. Calls block for as long as the write takes.
pub trait Spool: Send {
    /// Appends a chunk.
    ///
    /// # Errors
    /// When the bytes cannot be kept.
    fn write(&mut self, chunk: &[u8]) -> io::Result<()>;

    /// Forgets everything written so far.
    ///
    /// # Errors
    /// When the place cannot be emptied.
    fn restart(&mut self) -> io::Result<()>;

    /// Gives the concrete spool back to whoever made it.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

/// One thing to fetch with GET.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// An absolute `http` or `https` address.
    pub url: Url,
    /// Further request headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The checksum the body must have. Without one any 200 or 304 is a success.
    pub expect: Option<Sha256>,
    /// Refuse loopback and link-local addresses, for addresses the operator did not name.
    pub guarded: bool,
    /// Ask for the headers only.
    pub head: bool,
}

impl FetchRequest {
    /// A request without further headers and without a checksum.
    #[must_use]
    pub const fn new(url: Url) -> Self {
        Self { url, headers: Vec::new(), expect: None, guarded: false, head: false }
    }

    /// Requires the body to have this checksum.
    #[must_use]
    pub const fn with_expect(mut self, sum: Sha256) -> Self {
        self.expect = Some(sum);
        self
    }

    /// Adds a request header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Asks for the headers only; the body of the answer is empty.
    #[must_use]
    pub const fn head(mut self) -> Self {
        self.head = true;
        self
    }

    /// Refuses loopback and link-local addresses.
    #[must_use]
    pub const fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }
}

/// Where the bytes of a response are.
pub enum Body {
    /// In memory.
    Memory(Bytes),
    /// In the caller's spool, complete.
    Spooled(Box<dyn Spool>),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "Memory({} bytes)", bytes.len()),
            Self::Spooled(_) => f.write_str("Spooled"),
        }
    }
}

/// A response, whole and verified. Dropping it frees its share of the memory budget.
#[derive(Debug)]
pub struct Fetched {
    /// 200 or 304.
    pub status: u16,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// The body; empty for 304.
    pub body: Body,
    /// Checksum of the body.
    pub sha256: Sha256,
    /// Length of the body in bytes.
    pub size: u64,
    /// Attempts that failed before this one.
    pub retries: u32,
    /// When the first attempt began.
    pub started: SystemTime,
    /// When the last byte was verified.
    pub finished: SystemTime,
    pub(crate) hold: Option<OwnedSemaphorePermit>,
}

impl Fetched {
    /// Whether the body counts against the memory budget.
    #[must_use]
    pub const fn holds_memory(&self) -> bool {
        self.hold.is_some()
    }
}
