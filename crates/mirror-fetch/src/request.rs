use std::any::Any;
use std::fmt;
use std::io;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use mirror_types::Sha256;
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use crate::body::Whole;
use crate::proxy::basic;

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
///
/// A user name and a password in the address are sent to that origin as `Authorization`, and to no other; they are
/// not part of [`url`](Self::url), of messages or of `Debug`.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// An absolute `http` or `https` address, without credentials.
    pub url: Url,
    /// What the origin of `url` is shown, and nobody else.
    pub(crate) authorization: Option<HeaderValue>,
    /// Further request headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The checksum the body must have. Without one any 200 is a success, and 304 when validators were sent.
    pub expect: Option<Sha256>,
    /// Refuse loopback and link-local addresses, for addresses the operator did not name.
    pub guarded: bool,
    /// Ask for the headers only.
    pub head: bool,
    /// Follow redirects to other origins. Without this, only a request whose bytes are compared with a checksum
    /// does.
    pub across_origins: bool,
    /// Refuse a larger body. `None` leaves it at [`FetchOptions::max_body_bytes`](crate::FetchOptions).
    pub max_body_bytes: Option<u64>,
}

impl FetchRequest {
    /// A request without further headers and without a checksum.
    #[must_use]
    pub fn new(mut url: Url) -> Self {
        let authorization = take_credentials(&mut url);
        Self {
            url,
            authorization,
            headers: Vec::new(),
            expect: None,
            guarded: false,
            head: false,
            across_origins: false,
            max_body_bytes: None,
        }
    }

    /// Requires the body to have this checksum.
    #[must_use]
    pub const fn with_expect(mut self, sum: Sha256) -> Self {
        self.expect = Some(sum);
        self
    }

    /// Refuses a body of more than `bytes`, where that is less than the fetcher allows.
    #[must_use]
    pub const fn with_max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = Some(bytes);
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

    /// Follows redirects to other origins, as for answers of an index whose address the operator named.
    #[must_use]
    pub const fn across_origins(mut self) -> Self {
        self.across_origins = true;
        self
    }

    /// Refuses loopback and link-local addresses.
    #[must_use]
    pub const fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }
}

/// Takes user name and password out of an address, as the header that carries them.
fn take_credentials(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let header = basic(url.username(), url.password().unwrap_or_default());
    // They only fail for addresses without a host, which cannot be requested anyway.
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    header.filter(|_| cleared.is_ok())
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

/// A body that arrived whole and has the checksum that was expected, where one was. Only the comparison makes
/// one. Dropping it frees its share of the memory budget.
#[derive(Debug)]
pub struct Verified {
    body: Body,
    sha256: Sha256,
    size: u64,
    hold: Option<OwnedSemaphorePermit>,
}

impl Verified {
    /// Compares the checksum of a body with the expected one; a body of which nothing is known is taken as it is.
    ///
    /// # Errors
    /// The checksum and the size of a body that has another one.
    pub(crate) fn compare(whole: Whole, expect: Option<Sha256>) -> Result<Self, (Sha256, u64)> {
        let Whole { body, sha256, size, hold } = whole;
        if expect.is_some_and(|expect| expect != sha256) {
            return Err((sha256, size));
        }
        Ok(Self { body, sha256, size, hold })
    }

    /// Returns the checksum of the body.
    #[must_use]
    pub const fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// Returns the length of the body in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns where the bytes are.
    #[must_use]
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// Gives the bytes out of the hands of the memory budget.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Returns whether the body counts against the memory budget.
    #[must_use]
    pub const fn holds_memory(&self) -> bool {
        self.hold.is_some()
    }
}

/// What a successful answer brought.
#[derive(Debug)]
pub enum Content {
    /// A body.
    Body(Verified),
    /// Nothing: the caller's validators still hold (304). Only a request that carried validators and expects no
    /// checksum ends so.
    NotModified,
    /// Nothing: only the headers were asked for.
    HeadersOnly,
}

/// A successful response.
#[derive(Debug)]
pub struct Fetched {
    /// 200, or 304 with [`Content::NotModified`].
    pub status: u16,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// What came.
    pub content: Content,
    /// Whether the peer told where the body ends: by a length, a last chunk or the end of an HTTP/2 stream. Without
    /// that the body ends with the connection, and a cut one looks like a whole one.
    pub end_announced: bool,
    /// Attempts that failed before this one.
    pub retries: u32,
    /// When the first attempt began.
    pub started: SystemTime,
    /// When the last byte was verified.
    pub finished: SystemTime,
}

impl Fetched {
    /// Returns the body, where the answer has one.
    #[must_use]
    pub const fn verified(&self) -> Option<&Verified> {
        match &self.content {
            Content::Body(verified) => Some(verified),
            Content::NotModified | Content::HeadersOnly => None,
        }
    }
}
