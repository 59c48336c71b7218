//! Checks which requests may read the console. A page of another site can make a browser ask this server: under the name
//! of that site, once it points to this machine (DNS rebinding), or from that site. Pure.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use mirror_types::Printable;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The names and addresses under which a server answers.
#[derive(Debug, Clone)]
pub struct Guard {
    bound: IpAddr,
    names: Vec<String>,
}

/// A reason to refuse a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It names no host, or more than one.
    NoHost,
    /// It names a host that is neither an address of this server nor a name that its operator allows.
    Host(String),
    /// A page of another site sent it.
    Origin(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHost => f.write_str("the request must name exactly one host"),
            Self::Host(host) => write!(
                f,
                "{} is not a name of this server: it answers to its address, to localhost on its own machine, and to the \
                 names that its operator allows",
                Printable(host)
            ),
            Self::Origin(origin) => {
                write!(f, "a page of another site ({}) may not read this server", Printable(origin))
            }
        }
    }
}

impl Guard {
    /// Allows loopback names, the address `bound`, and `names`. A server bound to all interfaces has many addresses: it
    /// allows every address, but no name that is not in `names`, because only a name can be pointed elsewhere.
    #[must_use]
    pub fn new(bound: SocketAddr, names: &[String]) -> Self {
        let names = names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect();
        Self { bound: bound.ip().to_canonical(), names }
    }

    /// Returns whether the server can be reached from this machine only.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.bound.is_loopback()
    }

    /// Checks a request by its headers. `authority` is the host of a request that has it in its target, as in HTTP/2.
    ///
    /// # Errors
    /// The reason to refuse it.
    pub fn check(&self, authority: Option<&str>, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next(), authority) {
            (Some(host), None, _) => host.to_str().map_err(|_| Refusal::NoHost)?,
            (None, None, Some(authority)) => authority,
            _ => return Err(Refusal::NoHost),
        };
        if host.is_empty() {
            return Err(Refusal::NoHost);
        }
        if !self.is_allowed(host) {
            return Err(Refusal::Host(host.to_owned()));
        }
        foreign(host, headers).map_or(Ok(()), |origin| Err(Refusal::Origin(origin)))
    }

    fn is_allowed(&self, host: &str) -> bool {
        let name = name_of(host);
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        match address.parse::<IpAddr>() {
            Ok(address) => {
                let address = address.to_canonical();
                let is_own = address == self.bound || self.bound.is_unspecified();
                is_own || (address.is_loopback() && self.bound.is_loopback())
            }
            Err(_) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                name == "localhost" || self.names.contains(&name)
            }
        }
    }
}

/// Returns the host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// Returns the site from which a request comes, if that is another one than `host`. Following a link is no reading.
fn foreign(host: &str, headers: &HeaderMap) -> Option<String> {
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
        let own = origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host));
        return (!own).then_some(origin);
    }
    let says = |name: &HeaderName, value: &str| headers.get(name).is_some_and(|found| found == value);
    let is_foreign = says(&FETCH_SITE, "cross-site") || says(&FETCH_SITE, "same-site");
    (is_foreign && !says(&FETCH_MODE, "navigate")).then(|| "it does not say which".to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn guard(bound: &str, names: &[&str]) -> Guard {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        Guard::new(bound.parse().expect("address"), &names)
    }

    fn named(guard: &Guard, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("header"));
        guard.check(None, &headers).is_ok()
    }

    #[test]
    fn a_loopback_listener_refuses_other_names() {
        let local = guard("127.0.0.1:9090", &[]);
        assert!(local.is_local());
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "[::1]:9090", "[::1]", "127.0.0.2"] {
            assert!(named(&local, host), "{host}");
        }
        for host in ["attacker.test", "attacker.test:9090", "localhost.attacker.test", "10.0.0.1:9090"] {
            assert!(!named(&local, host), "{host}");
        }
        assert!(!named(&guard("[::ffff:127.0.0.1]:9090", &[]), "attacker.test"));
    }

    #[test]
    fn a_listener_for_others_answers_to_addresses_and_to_allowed_names() {
        let all = guard("0.0.0.0:9090", &["Mirror.lan."]);
        for host in ["10.0.0.1:9090", "[fe80::1]:9090", "localhost:9090", "mirror.lan:9090", "MIRROR.LAN."] {
            assert!(named(&all, host), "{host}");
        }
        for host in
            ["attacker.test:9090", "x.mirror.lan", "mirror.lan.attacker.test", "10.0.0.1.attacker.test"]
        {
            assert!(!named(&all, host), "{host}");
        }
        let one = guard("10.0.0.1:9090", &[]);
        assert!(named(&one, "10.0.0.1:9090") && !one.is_local());
        assert!(!named(&one, "10.0.0.2:9090") && !named(&one, "127.0.0.1"));
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        let local = guard("127.0.0.1:9090", &[]);
        let mut headers = HeaderMap::new();
        assert_eq!(local.check(None, &headers), Err(Refusal::NoHost));
        assert_eq!(local.check(Some("localhost:1"), &headers), Ok(()));
        assert!(matches!(local.check(Some("attacker.test"), &headers), Err(Refusal::Host(_))));
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("attacker.test"));
        assert_eq!(local.check(None, &headers), Err(Refusal::NoHost));
        for strange in [&b"\xff"[..], b""] {
            let mut headers = HeaderMap::new();
            headers.append(header::HOST, HeaderValue::from_bytes(strange).expect("value"));
            assert_eq!(local.check(None, &headers), Err(Refusal::NoHost));
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused_and_links_are_followed() {
        let local = guard("127.0.0.1:9090", &[]);
        let check = |more: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:9090"));
            for (name, value) in more {
                headers.insert(name, value.parse().expect("value"));
            }
            local.check(None, &headers).is_ok()
        };
        assert!(check(&[(header::ORIGIN, "http://localhost:9090")]));
        assert!(check(&[(FETCH_SITE, "same-origin"), (FETCH_MODE, "cors")]));
        assert!(check(&[(FETCH_SITE, "none"), (FETCH_MODE, "navigate")]));
        assert!(check(&[(FETCH_SITE, "cross-site"), (FETCH_MODE, "navigate")]), "a link");
        for origin in ["http://attacker.test", "null", "http://localhost:8080", "http://127.0.0.1:9090"] {
            assert!(!check(&[(header::ORIGIN, origin)]), "{origin}");
        }
        assert!(!check(&[(FETCH_SITE, "cross-site"), (FETCH_MODE, "no-cors")]));
        assert!(!check(&[(FETCH_SITE, "same-site"), (FETCH_MODE, "cors")]));
    }

    #[test]
    fn a_reason_is_one_printable_line() {
        let text = Refusal::Host("a\u{1b}[31m\nb".to_owned()).to_string();
        assert!(!text.contains('\u{1b}') && !text.contains('\n'), "{text}");
    }
}
