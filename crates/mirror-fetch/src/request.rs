use http::{HeaderName, HeaderValue};
use mirror_types::Sha256;
use url::Url;

use crate::proxy::basic;

/// One thing to fetch with GET.
///
/// A user name and a password in the address are sent to that origin as `Authorization`, and to no other; they are not
/// part of [`url`](Self::url), of messages or of `Debug`.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// An absolute `http` or `https` address, without credentials.
    pub url: Url,
    /// The credentials for the origin of `url` alone.
    pub(crate) authorization: Option<HeaderValue>,
    /// Further request headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The checksum that the body must have. Without one any 200 is a success, and so is 304 when validators were sent.
    pub expect: Option<Sha256>,
    /// Refuse loopback and link-local addresses: for addresses that the operator did not name.
    pub guarded: bool,
    /// Request only the headers.
    pub head: bool,
    /// Follow redirects to other origins. Without this, only a request with an expected checksum does.
    pub across_origins: bool,
    /// Refuse a larger body. `None` takes [`FetchOptions::max_body_bytes`](crate::FetchOptions).
    pub max_body_bytes: Option<u64>,
}

impl FetchRequest {
    /// Makes a request without further headers and without a checksum.
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

    /// Follows redirects to other origins, for answers of an index whose address the operator named.
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

/// Takes user name and password out of an address, and returns the header for them.
fn take_credentials(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let header = basic(url.username(), url.password().unwrap_or_default());
    // Both only fail for addresses without a host, which cannot be requested anyway.
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    header.filter(|_| cleared.is_ok())
}
