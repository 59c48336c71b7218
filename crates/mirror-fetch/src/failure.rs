use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use mirror_types::{CLIPPED_MESSAGE_BYTES, FaultKind, clipped};

/// The kind of a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// No TCP connection, or the proxy refused.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The name does not resolve.
    Dns,
    /// The attempt took longer than allowed.
    Timeout,
    /// There was no progress for too long.
    Idle,
    /// The connection or the stream was reset.
    Reset,
    /// The body ended early.
    Truncated,
    /// The checksum of the body differs.
    WrongHash,
    /// The body is larger than allowed.
    TooLarge,
    /// The status is not 200, or 304 without a condition in the request.
    HttpStatus,
    /// A redirect that is not followed.
    Redirect,
    /// The peer violates HTTP.
    Protocol,
    /// A content encoding that was not requested.
    Encoding,
    /// The spool failed.
    Spool,
    /// The caller cancelled the request.
    Cancelled,
    /// The address cannot be requested.
    Address,
    /// The proxy for the address is of an unsupported kind.
    Proxy,
    /// The fetcher is offline and sends no requests.
    Offline,
}

/// The rule for repeating a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryKind {
    /// Never.
    Never,
    /// At most this often, within the budget.
    AtMost(u32),
    /// As often as the budget allows.
    Budget,
}

impl FailureKind {
    /// Returns a stable name for ledgers and counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Dns => "dns",
            Self::Timeout => "timeout",
            Self::Idle => "idle",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::WrongHash => "wrong_hash",
            Self::TooLarge => "too_large",
            Self::HttpStatus => "http_status",
            Self::Redirect => "redirect",
            Self::Protocol => "protocol",
            Self::Encoding => "encoding",
            Self::Spool => "spool",
            Self::Cancelled => "cancelled",
            Self::Address => "address",
            Self::Proxy => "proxy",
            Self::Offline => "offline",
        }
    }

    /// Returns whether no complete answer arrived: the origin was unreachable, sent nothing, or broke off in the
    /// middle.
    #[must_use]
    pub const fn is_unanswered(self) -> bool {
        match self {
            Self::Connect
            | Self::Tls
            | Self::Dns
            | Self::Timeout
            | Self::Idle
            | Self::Reset
            | Self::Truncated
            | Self::Protocol => true,
            Self::WrongHash
            | Self::TooLarge
            | Self::HttpStatus
            | Self::Redirect
            | Self::Encoding
            | Self::Spool
            | Self::Cancelled
            | Self::Address
            | Self::Proxy
            | Self::Offline => false,
        }
    }

    /// Returns the entry of the retry table. `http_status` matters only for [`FailureKind::HttpStatus`].
    #[must_use]
    pub const fn retry_kind(self, http_status: Option<u16>) -> RetryKind {
        match self {
            Self::Connect | Self::Dns | Self::Timeout | Self::Idle | Self::Reset | Self::Truncated => {
                RetryKind::Budget
            }
            Self::WrongHash | Self::Protocol => RetryKind::AtMost(2),
            Self::Tls | Self::Encoding => RetryKind::AtMost(1),
            Self::HttpStatus => match http_status {
                Some(408 | 425 | 429 | 500 | 502..=504 | 507..=599) => RetryKind::Budget,
                Some(304 | 403) => RetryKind::AtMost(1),
                _ => RetryKind::Never,
            },
            Self::TooLarge
            | Self::Redirect
            | Self::Spool
            | Self::Cancelled
            | Self::Address
            | Self::Proxy
            | Self::Offline => RetryKind::Never,
        }
    }
}

/// A request that failed for good.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The last failure.
    pub kind: FailureKind,
    /// The status, where a response arrived.
    pub http_status: Option<u16>,
    /// Attempts that failed before the last.
    pub retries: u32,
    /// One printable line.
    pub message: String,
    /// The time at which the first attempt began.
    pub started: SystemTime,
    /// The time at which the request was given up.
    pub finished: SystemTime,
    /// True if the body had another checksum and was announced as HTML: a page, not a release.
    pub is_page: bool,
    /// True if the body had another checksum because there was none.
    pub is_empty: bool,
}

impl Failure {
    /// Returns whether the origin answered that it will not or cannot serve this: 403, 404, 410 or 451.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self.kind, FailureKind::HttpStatus)
            && matches!(self.http_status, Some(403 | 404 | 410 | 451))
    }

    /// Returns whether the origin answered that this does not exist: 404, 410 or 451.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self.kind, FailureKind::HttpStatus) && matches!(self.http_status, Some(404 | 410 | 451))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

/// The reason why the fetcher could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchSetupError {
    /// The extra roots cannot be read.
    #[error("cannot read certificates from {path}", path = .path.display())]
    CaCert {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The extra roots have no usable certificate.
    #[error("no usable certificate in {path}", path = .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The TLS library refuses the configuration.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The user agent is not a valid header value.
    #[error("the user agent is not a valid header value")]
    UserAgent,
}

impl FetchSetupError {
    /// Returns what kind of fault this is: each comes from an option.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::CaCert { .. } | Self::NoCertificate { .. } | Self::Tls(_) | Self::UserAgent => {
                FaultKind::Usage
            }
        }
    }
}

/// One failed attempt.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: FailureKind,
    pub(crate) status: Option<u16>,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    /// True if the peer never acted on the request: sending it again costs no retry.
    pub(crate) unsent: bool,
    /// True if the connection broke under many requests at once: one of them may be the cause, most are not.
    pub(crate) shared: bool,
    /// True if the origin, the path or this machine is overloaded: send less.
    pub(crate) congested: bool,
    /// True if the origin has never answered any request. That does not show how much load it bears, and sending less,
    /// to others as well, would not help.
    pub(crate) mute: bool,
    /// True if the body was announced as HTML.
    pub(crate) is_page: bool,
    /// True if the body was empty.
    pub(crate) is_empty: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The connectors of libraries carry it through their layers.
impl Error for Fault {}

impl Fault {
    pub(crate) fn new(kind: FailureKind, message: impl fmt::Display) -> Self {
        let congested = matches!(kind, FailureKind::Reset | FailureKind::Timeout | FailureKind::Idle);
        Self {
            kind,
            status: None,
            message: clipped(message.to_string(), CLIPPED_MESSAGE_BYTES),
            retry_after: None,
            unsent: false,
            shared: false,
            congested,
            mute: false,
            is_page: false,
            is_empty: false,
        }
    }

    /// Puts the subject of the fault in front of its message.
    pub(crate) fn about(mut self, what: impl fmt::Display) -> Self {
        self.message = clipped(format!("{what}: {}", self.message), CLIPPED_MESSAGE_BYTES);
        self
    }

    pub(crate) fn unsent(mut self) -> Self {
        self.unsent = true;
        self.congested = false;
        self
    }

    /// Classifies an error of the HTTP layer, while sending or while reading a body.
    pub(crate) fn of_hyper(error: &hyper::Error, doing: &str) -> Self {
        let mut text = String::new();
        let mut kind = None;
        let mut unsent = false;
        let mut shared = false;
        let mut source: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(cause) = source {
            text = cause.to_string();
            if let Some(h2) = cause.downcast_ref::<h2::Error>() {
                unsent = (h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR))
                    || h2.reason() == Some(h2::Reason::REFUSED_STREAM);
                shared = h2.is_go_away() || h2.is_io();
                kind = kind.or_else(|| h2_kind(h2));
            }
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                kind = Some(io_kind(io));
            }
            source = cause.source();
        }
        let kind = kind.unwrap_or(if error.is_incomplete_message() || error.is_body_write_aborted() {
            FailureKind::Truncated
        } else if error.is_parse() {
            FailureKind::Protocol
        } else {
            FailureKind::Reset
        });
        let mut fault = Self::new(kind, format_args!("{doing}: {text}"));
        fault.shared = shared;
        if unsent || error.is_canceled() { fault.unsent() } else { fault }
    }
}

fn h2_kind(error: &h2::Error) -> Option<FailureKind> {
    if error.is_io() {
        return error.get_io().map(io_kind);
    }
    Some(match error.reason() {
        Some(h2::Reason::PROTOCOL_ERROR) if error.is_library() => FailureKind::Protocol,
        Some(h2::Reason::FRAME_SIZE_ERROR | h2::Reason::COMPRESSION_ERROR) => FailureKind::Protocol,
        _ => FailureKind::Reset,
    })
}

fn io_kind(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => FailureKind::Truncated,
        io::ErrorKind::TimedOut => FailureKind::Timeout,
        io::ErrorKind::InvalidData => FailureKind::Protocol,
        _ => FailureKind::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetcher_that_cannot_be_set_up_has_wrong_options() {
        for error in [
            FetchSetupError::CaCert { path: "ca".into(), source: io::ErrorKind::NotFound.into() },
            FetchSetupError::NoCertificate { path: "ca".into() },
            FetchSetupError::Tls(rustls::Error::NoCertificatesPresented),
            FetchSetupError::UserAgent,
        ] {
            assert_eq!(error.kind(), FaultKind::Usage, "{error:?}");
        }
    }

    #[test]
    fn the_retry_table() {
        use FailureKind as K;
        use RetryKind::{AtMost, Budget, Never};
        let table = [
            (K::Connect, None, Budget),
            (K::Dns, None, Budget),
            (K::Tls, None, AtMost(1)),
            (K::Timeout, None, Budget),
            (K::Idle, None, Budget),
            (K::Reset, None, Budget),
            (K::Truncated, Some(200), Budget),
            (K::WrongHash, Some(200), AtMost(2)),
            (K::TooLarge, Some(200), Never),
            (K::HttpStatus, Some(304), AtMost(1)),
            (K::HttpStatus, Some(403), AtMost(1)),
            (K::HttpStatus, Some(404), Never),
            (K::HttpStatus, Some(410), Never),
            (K::HttpStatus, Some(451), Never),
            (K::HttpStatus, Some(400), Never),
            (K::HttpStatus, Some(408), Budget),
            (K::HttpStatus, Some(429), Budget),
            (K::HttpStatus, Some(500), Budget),
            (K::HttpStatus, Some(501), Never),
            (K::HttpStatus, Some(502), Budget),
            (K::HttpStatus, Some(503), Budget),
            (K::HttpStatus, Some(504), Budget),
            (K::HttpStatus, Some(505), Never),
            (K::Redirect, Some(302), Never),
            (K::Protocol, None, AtMost(2)),
            (K::Encoding, Some(200), AtMost(1)),
            (K::Spool, None, Never),
            (K::Cancelled, None, Never),
            (K::Address, None, Never),
            (K::Proxy, None, Never),
            (K::Offline, None, Never),
        ];
        for (kind, status, want) in table {
            assert_eq!(kind.retry_kind(status), want, "{} {status:?}", kind.as_str());
        }
    }
}
