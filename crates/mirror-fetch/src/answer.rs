//! The result of a fetch.

use std::fmt;
use std::io::{self, Cursor, Read};
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use mirror_types::Sha256;
use tokio::sync::OwnedSemaphorePermit;

use crate::spool::Spool;

/// The bytes of a response.
pub enum Body {
    /// In memory.
    Memory(Bytes),
    /// In the caller's spool, all of them.
    Spooled(Box<dyn Spool>),
}

impl Body {
    /// Returns a reader of the bytes, from the first. The bytes of a spooled body are read from its spool, which
    /// blocks.
    ///
    /// # Errors
    /// As [`Spool::into_reader`].
    pub fn into_reader(self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Memory(bytes) => Ok(Box::new(Cursor::new(bytes))),
            Self::Spooled(spool) => spool.into_reader(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "Memory({} bytes)", bytes.len()),
            Self::Spooled(_) => f.write_str("Spooled"),
        }
    }
}

/// A body that arrived and was hashed, but not compared with anything yet.
pub(crate) struct Whole {
    pub(crate) body: Body,
    pub(crate) sha256: Sha256,
    pub(crate) size: u64,
    pub(crate) hold: Option<OwnedSemaphorePermit>,
}

/// A body that arrived whole and has the expected checksum, if there was one. Only the comparison makes this type.
/// Dropping it frees its share of the memory budget.
#[derive(Debug)]
pub struct Verified {
    body: Body,
    sha256: Sha256,
    size: u64,
    hold: Option<OwnedSemaphorePermit>,
}

impl Verified {
    /// Compares the checksum of a body with the expected one; a body without an expectation passes.
    ///
    /// # Errors
    /// The checksum and the size of a body with another checksum.
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

    /// Returns the bytes.
    #[must_use]
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// Takes the bytes out, which count against the memory budget no more.
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

/// The content of a successful answer.
#[derive(Debug)]
pub enum Content {
    /// A body.
    Body(Verified),
    /// Nothing: the caller's validators are still valid (304). Only a request with validators and without an expected
    /// checksum can end like this.
    NotModified,
    /// Nothing: only the headers were requested.
    HeadersOnly,
}

/// A successful response.
#[derive(Debug)]
pub struct Fetched {
    /// 200, or 304 with [`Content::NotModified`].
    pub status: u16,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// The content.
    pub content: Content,
    /// True if the peer announced where the body ends: by a length, a last chunk or the end of an HTTP/2 stream.
    /// Otherwise the body ends with the connection, and a cut one looks like a whole one.
    pub end_announced: bool,
    /// Attempts that failed before this one.
    pub retries: u32,
    /// The time at which the first attempt began.
    pub started: SystemTime,
    /// The time at which the last byte was verified.
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

    /// Takes the body out, where the answer has one.
    #[must_use]
    pub fn into_verified(self) -> Option<Verified> {
        match self.content {
            Content::Body(verified) => Some(verified),
            Content::NotModified | Content::HeadersOnly => None,
        }
    }
}
