use std::time::Duration;

/// A request, as a script sees it.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Path of the URL, escapes as they were sent.
    pub path: String,
    /// The number of earlier requests for this path.
    pub nth: u64,
    /// The number of earlier requests for any path.
    pub total: u64,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `Proxy-Authorization` header.
    pub proxy_authorization: Option<String>,
}

/// The faulty behaviour of an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the right answer.
    None,
    /// This status, with a short text.
    Status(u16),
    /// This status with `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// The right status and headers, then an error inside the body after this many bytes: `RST_STREAM`, or a closed
    /// HTTP/1.1 connection.
    Reset(usize),
    /// The TCP connection is closed after this many bytes, with every other stream on it.
    Drop(usize),
    /// The body ends after this many bytes as if it were whole; the length was announced.
    Truncate(usize),
    /// The same without a length: only a checksum can show the fault.
    TruncateUnannounced(usize),
    /// One byte is changed.
    WrongBytes,
    /// The status 200 with a page for people.
    Html,
    /// Nothing more after this many bytes.
    Stall(usize),
    /// No answer.
    Silence,
    /// One byte at a time, with this pause between.
    Drip(Duration),
    /// A body that never ends.
    Endless,
    /// Empty chunks for ever.
    EmptyChunks,
    /// 302 to this address.
    Redirect(String),
    /// A range is answered with 206 and another range.
    WrongRange,
    /// A range is answered with 206, the right range, and another ETag.
    OtherVersion,
    /// A content encoding that was not requested.
    Encoding(&'static str),
    /// Megabytes of headers.
    HeaderFlood,
    /// The right answer, this much later.
    Late(Duration),
}
