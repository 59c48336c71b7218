//! Decides which redirects are followed, and which addresses are local.

use std::net::{IpAddr, Ipv6Addr};

use mirror_types::{CLIPPED_VALUE_BYTES, clipped};
use url::{Host, Position, Url};

use crate::failure::{FailureKind, Fault};

/// Most hops of one attempt.
pub(crate) const MAX_HOPS: u32 = 10;
/// Longest `Location` that is followed: signed addresses of object stores have some 2 KiB.
const MAX_LOCATION_BYTES: usize = 8 << 10;

/// Returns whether an address is loopback, link-local or unspecified, also when mapped into IPv6.
pub(crate) fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_local(IpAddr::V4(v4)),
            None => v6.is_loopback() || v6.is_unspecified() || is_v6_link_local(v6),
        },
    }
}

const fn is_v6_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

/// Returns whether a host is local by its name alone, without a lookup.
pub(crate) fn is_local_host(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(v4)) => is_local(IpAddr::V4(v4)),
        Some(Host::Ipv6(v6)) => is_local(IpAddr::V6(v6)),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    }
}

/// Returns the target of a redirect, when it may be followed. `first` is the address of the caller's request.
///
/// Never follows from https to http, never to this machine or its links unless the caller named such an address, never
/// with credentials that the origin chose; to another origin only when the caller allows that.
pub(crate) fn follow(
    first: &Url,
    here: &Url,
    location: Option<&[u8]>,
    across_origins: bool,
) -> Result<Url, Fault> {
    let refuse = |why: &str| Fault::new(FailureKind::Redirect, why);
    let location = location
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .filter(|location| location.len() <= MAX_LOCATION_BYTES)
        .ok_or_else(|| refuse("a redirect without a usable Location"))?;
    let mut next = here.join(location).map_err(|_| refuse("a redirect to an address that makes no sense"))?;
    next.set_fragment(None);
    let refuse = |why: &str| {
        // Without the query and the user info: either may contain a secret.
        let place = &next[Position::BeforeHost..Position::AfterPath];
        let place = clipped(format!("{}://{place}", next.scheme()), CLIPPED_VALUE_BYTES);
        Fault::new(FailureKind::Redirect, format_args!("redirect to {place} refused: {why}"))
    };
    if !matches!(next.scheme(), "http" | "https") {
        return Err(refuse("not http or https"));
    }
    if !next.username().is_empty() || next.password().is_some() {
        return Err(refuse("it carries credentials"));
    }
    if is_local_host(&next) && !is_local_host(first) {
        return Err(refuse("a local address"));
    }
    if here.scheme() == "https" && next.scheme() == "http" {
        return Err(refuse("from https to http"));
    }
    if next.origin() != first.origin() && !across_origins {
        return Err(refuse("another origin, and there is no checksum to compare its bytes with"));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_followed() {
        let table = [
            ("https://a.test/x", "/y", false, true),
            ("https://a.test/x", "https://a.test:443/y", false, true),
            ("https://a.test/x", "https://b.test/y", false, false),
            ("https://a.test/x", "https://b.test/y", true, true),
            ("https://a.test/x", "//b.test/y", true, true),
            ("http://a.test/x", "https://a.test/y", true, true),
            ("https://a.test/x", "http://a.test/y", false, false),
            ("https://a.test/x", "http://b.test/y", true, false),
            ("https://a.test/x", "https://127.0.0.1/y", true, false),
            ("https://a.test/x", "https://0x7f.1/y", true, false),
            ("https://a.test/x", "https://0.0.0.0/y", true, false),
            ("https://a.test/x", "https://[::1]/y", true, false),
            ("https://a.test/x", "https://[fe80::1]/y", true, false),
            ("https://a.test/x", "https://[::ffff:169.254.169.254]/y", true, false),
            ("https://a.test/x", "https://localhost/y", true, false),
            ("https://a.test/x", "https://x.localhost./y", true, false),
            ("http://127.0.0.1:1/x", "http://127.0.0.1:2/y", true, true),
            ("https://a.test/x", "file:///etc/passwd", true, false),
            ("https://a.test/x", "https://u:p@a.test/", true, false),
            ("https://a.test/x", "https://u@b.test/", true, false),
        ];
        for (first, location, across, ok) in table {
            let first = Url::parse(first).unwrap();
            let got = follow(&first, &first, Some(location.as_bytes()), across);
            assert_eq!(got.is_ok(), ok, "{first} -> {location}: {got:?}");
        }
    }

    #[test]
    fn a_hop_over_http_does_not_lead_back_to_it_from_https() {
        let url = |text| Url::parse(text).unwrap();
        let (first, here) = (url("http://a.test/"), url("https://b.test/"));
        assert!(follow(&first, &here, Some(b"http://c.test/"), true).is_err());
    }

    #[test]
    fn refusals_are_short_and_contain_no_secrets() {
        let first = Url::parse("https://a.test/x").unwrap();
        for location in ["https://us3r:s3cret@b.test/?sig=s3cret", "ftp://us3r:s3cret@b.test/s?s3cret"] {
            let message = follow(&first, &first, Some(location.as_bytes()), true).unwrap_err().message;
            assert!(
                message.contains("b.test") && !message.contains("s3cret") && !message.contains("us3r"),
                "{message}"
            );
        }
        let long = format!("https://b.test/{}", "x".repeat(5_000));
        let message = follow(&first, &first, Some(long.as_bytes()), false).unwrap_err().message;
        assert!(message.len() < 400, "{message}");
        let longer = "x".repeat(MAX_LOCATION_BYTES + 1);
        assert!(follow(&first, &first, Some(longer.as_bytes()), true).is_err());
    }
}
