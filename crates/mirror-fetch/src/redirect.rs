//! Which redirects are followed, and which addresses are local.

use std::net::{IpAddr, Ipv6Addr};

use url::{Host, Url};

use crate::failure::{FailureKind, Fault};

/// Most hops of one attempt.
pub(crate) const MAX_HOPS: u32 = 5;

/// Loopback, link-local and unspecified addresses, also when mapped into IPv6.
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

/// Whether the host itself says it is local, without a lookup.
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

/// Where a redirect leads, when it may be followed. `first` is the address the caller asked for.
pub(crate) fn follow(
    first: &Url,
    here: &Url,
    location: Option<&[u8]>,
    cross_origin: bool,
) -> Result<Url, Fault> {
    let refuse = |why: &str| Fault::new(FailureKind::Redirect, why);
    let location = location
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .ok_or_else(|| refuse("a redirect without a usable Location"))?;
    let mut next = here.join(location).map_err(|_| refuse("a redirect to an address that makes no sense"))?;
    next.set_fragment(None);
    let refuse = |why: &str| {
        Fault::new(FailureKind::Redirect, format_args!("redirect to {} refused: {why}", next.as_str()))
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
    if next.origin() != first.origin() && !cross_origin {
        let downgrade = first.scheme() == "https" && next.scheme() == "http";
        return Err(refuse(if downgrade { "from https to http" } else { "another origin" }));
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
            ("https://a.test/x", "http://a.test/y", false, false),
            ("https://a.test/x", "https://127.0.0.1/y", true, false),
            ("https://a.test/x", "https://[::ffff:169.254.169.254]/y", true, false),
            ("https://a.test/x", "https://localhost/y", true, false),
            ("http://127.0.0.1:1/x", "http://127.0.0.1:2/y", true, true),
            ("https://a.test/x", "file:///etc/passwd", true, false),
            ("https://a.test/x", "https://u:p@a.test/", true, false),
        ];
        for (first, location, cross, ok) in table {
            let first = Url::parse(first).unwrap();
            let got = follow(&first, &first, Some(location.as_bytes()), cross);
            assert_eq!(got.is_ok(), ok, "{first} -> {location}: {got:?}");
        }
    }
}
