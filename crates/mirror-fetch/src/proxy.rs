//! Proxies from the environment, as curl and others read them.
//!
//! A proxy is looked at when a request is to go through it, and not before: desktops name proxies of every kind for
//! hosts that a mirror never asks.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use mirror_types::Address;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::failure::{FailureKind, Fault};
use crate::options::ProxySettings;
use crate::route::uri;

/// The port of a SOCKS proxy that names none.
const SOCKS_PORT: u16 = 1080;

/// Longest user name, password and host name of SOCKS 5, bytes: each has its length in one byte (RFC 1928, RFC 1929).
const MAX_SOCKS_TEXT_BYTES: usize = 255;

/// A proxy that can be used.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// Its own address; `https` when it wants TLS.
    pub(crate) uri: Uri,
    /// Without brackets.
    pub(crate) host: String,
    /// The credentials for an HTTP proxy.
    pub(crate) authorization: Option<HeaderValue>,
    /// Set for a SOCKS proxy.
    pub(crate) socks: Option<Socks>,
}

impl Proxy {
    /// Returns host and port, for messages; no credentials.
    pub(crate) fn place(&self) -> String {
        match self.uri.port_u16() {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

/// The ways of a SOCKS proxy, version 5. Shows no credentials.
#[derive(Clone)]
pub(crate) struct Socks {
    /// This machine looks names up, and not the proxy.
    pub(crate) looks_up_here: bool,
    pub(crate) login: Option<(String, String)>,
}

impl fmt::Debug for Socks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socks").field("looks_up_here", &self.looks_up_here).finish_non_exhaustive()
    }
}

/// A proxy as it is named; nothing is known of whether it can be used.
#[derive(Debug, Clone)]
struct Named {
    variable: &'static str,
    address: Address,
}

/// Which proxy serves which address. Shows no credentials.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Named>,
    https: Option<Named>,
    /// Hosts, domains and subnets that are asked directly.
    exempt: Vec<String>,
}

/// An address that cannot be reached through its proxy. Correct the variable, or exempt the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} names the proxy {proxy} for {host}, {reason}, or exempt the host with no_proxy")]
#[non_exhaustive]
pub struct UnusableProxy {
    /// The environment variable.
    pub variable: &'static str,
    /// Its value, without credentials.
    pub proxy: String,
    /// The host that is to be reached.
    pub host: String,
    /// The fault of the proxy.
    pub reason: ProxyFault,
}

/// The fault of a proxy that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyFault {
    /// The address is not one of a proxy of a known kind.
    Kind,
    /// The user name or the password of a SOCKS proxy is not UTF-8.
    NotUtf8,
    /// The user name of a SOCKS proxy is longer than 255 bytes, the limit of RFC 1929.
    LongUser,
    /// The password of a SOCKS proxy is longer than 255 bytes, the limit of RFC 1929.
    LongPassword,
    /// The host that a SOCKS proxy would look up has a name longer than 255 bytes, the limit of RFC 1928.
    LongHost,
}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, advice) = match self {
            Self::Kind => {
                return f.write_str(
                    "and only http://, https://, socks5h:// and socks5:// proxies can be used; name such a one",
                );
            }
            Self::NotUtf8 => {
                return f.write_str("whose user name or password is not UTF-8; choose others");
            }
            Self::LongUser => ("whose user name", "choose a shorter one"),
            Self::LongPassword => ("whose password", "choose a shorter one"),
            Self::LongHost => ("whose name", "use a socks5:// proxy"),
        };
        write!(f, "{part} is longer than the {MAX_SOCKS_TEXT_BYTES} bytes that SOCKS 5 allows; {advice}")
    }
}

impl From<UnusableProxy> for Fault {
    fn from(error: UnusableProxy) -> Self {
        Self::new(FailureKind::Proxy, error)
    }
}

impl Proxies {
    /// Reads the names of proxies; whether they can be used is seen when they are needed.
    #[must_use]
    pub fn new(settings: &ProxySettings) -> Self {
        match settings {
            ProxySettings::Environment => Self::from_lookup(|name| std::env::var(name).ok()),
            ProxySettings::Variables(all) => {
                Self::from_lookup(|name| all.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()))
            }
        }
    }

    fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Self {
        let find = |names: &[&'static str]| {
            names.iter().find_map(|&name| get(name).filter(|v| !v.trim().is_empty()).map(|v| (name, v)))
        };
        let proxy = |names: &[&'static str]| {
            find(names).map(|(variable, text)| Named { variable, address: Address::new(text.trim()) })
        };
        // Upper-case HTTP_PROXY is not read under CGI, where a client's header could set it.
        let http_names: &[&str] =
            if get("REQUEST_METHOD").is_some() { &["http_proxy"] } else { &["http_proxy", "HTTP_PROXY"] };
        let all = proxy(&["all_proxy", "ALL_PROXY"]);
        let exempt = find(&["no_proxy", "NO_PROXY"]).map(|(_, text)| text).unwrap_or_default();
        Self {
            http: proxy(http_names).or_else(|| all.clone()),
            https: proxy(&["https_proxy", "HTTPS_PROXY"]).or(all),
            exempt: exempt
                .split([',', ' '])
                .map(|entry| match entry.trim() {
                    "*" => "*",
                    entry => entry.trim_start_matches('*'),
                })
                .filter(|entry| !entry.is_empty())
                .map(str::to_lowercase)
                .collect(),
        }
    }

    /// Returns the proxy through which an address is reached, with its credentials; `None` when it is asked directly.
    ///
    /// # Errors
    /// When the proxy cannot be used.
    pub fn of_url(&self, url: &str) -> Result<Option<Address>, UnusableProxy> {
        let Some(url) = Url::parse(url).ok().filter(Url::has_host) else { return Ok(None) };
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let Some(named) = self.named(url.scheme() == "https", host, port) else { return Ok(None) };
        let usable = named.url().ok_or(ProxyFault::Kind).and_then(|url| {
            Proxy::new(&url, host)?;
            Ok(Some(Address::new(url)))
        });
        usable.map_err(|reason| named.unusable(host, reason))
    }

    pub(crate) fn of(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>, UnusableProxy> {
        let Some(named) = self.named(https, host, port) else { return Ok(None) };
        let proxy = named.url().ok_or(ProxyFault::Kind).and_then(|url| Proxy::new(&url, host));
        proxy.map(Some).map_err(|reason| named.unusable(host, reason))
    }

    fn named(&self, https: bool, host: &str, port: u16) -> Option<&Named> {
        let named = if https { &self.https } else { &self.http };
        named.as_ref().filter(|_| !self.is_exempt(host, port))
    }

    fn is_exempt(&self, host: &str, port: u16) -> bool {
        let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_lowercase();
        let address = host.parse::<IpAddr>().ok();
        // Loopback is never proxied: the proxy's loopback is another machine.
        if host == "localhost" || host.ends_with(".localhost") || address.is_some_and(|ip| ip.is_loopback()) {
            return true;
        }
        if self.exempt.iter().any(|entry| entry == "*") {
            return true;
        }
        // What is left of the list without the ports that do not fit, as the library knows it.
        let list: Vec<&str> = self.exempt.iter().filter_map(|entry| at_port(entry, port)).collect();
        let matcher = Matcher::builder().all("http://proxy.invalid").no(list.join(",")).build();
        let shown = if address.is_some_and(|ip| ip.is_ipv6()) { format!("[{host}]") } else { host };
        let uri = format!("http://{shown}/").parse::<Uri>();
        uri.is_ok_and(|uri| matcher.intercept(&uri).is_none())
    }
}

/// Returns the host of an entry, which may name a port; `None` when that is another one.
fn at_port(entry: &str, port: u16) -> Option<&str> {
    let host = match entry.rsplit_once(':') {
        Some((host, named)) if !host.contains(':') || host.ends_with(']') => {
            if named.parse() != Ok(port) {
                return None;
            }
            host
        }
        _ => entry,
    };
    Some(host.trim_matches(['[', ']']))
}

impl Named {
    /// Returns its address with the port that it has when none is named.
    fn url(&self) -> Option<Url> {
        let text = self.address.reveal();
        let mut url =
            if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) }
                .ok()?;
        if url.scheme().starts_with("socks5") && url.port().is_none() {
            url.set_port(Some(SOCKS_PORT)).ok()?;
        }
        Some(url)
    }

    fn unusable(&self, host: &str, reason: ProxyFault) -> UnusableProxy {
        let proxy = self.address.to_string();
        UnusableProxy { variable: self.variable, proxy, host: host.to_owned(), reason }
    }
}

impl Proxy {
    /// Reads the address of a proxy that is to reach `target`.
    fn new(url: &Url, target: &str) -> Result<Self, ProxyFault> {
        let host = match url.host().ok_or(ProxyFault::Kind)? {
            Host::Ipv6(address) => address.to_string(),
            host => host.to_string(),
        };
        let port = url.port_or_known_default().ok_or(ProxyFault::Kind)?;
        let scheme = if url.scheme() == "https" { Scheme::HTTPS } else { Scheme::HTTP };
        let uri = uri(&scheme, &host, port).map_err(|_| ProxyFault::Kind)?;
        let mut proxy = Self { uri, host, authorization: None, socks: None };
        let (user, password) = (url.username(), url.password().unwrap_or(""));
        match url.scheme() {
            "http" | "https" if user.is_empty() => {}
            "http" | "https" => proxy.authorization = basic(user, password),
            "socks5" | "socks5h" => {
                let looks_up_here = url.scheme() == "socks5";
                if !looks_up_here {
                    socks_text(target, ProxyFault::LongHost)?;
                }
                let login = if user.is_empty() {
                    None
                } else {
                    let (user, password) = (decoded(user)?, decoded(password)?);
                    socks_text(&user, ProxyFault::LongUser)?;
                    socks_text(&password, ProxyFault::LongPassword)?;
                    Some((user, password))
                };
                proxy.socks = Some(Socks { looks_up_here, login });
            }
            _ => return Err(ProxyFault::Kind),
        }
        Ok(proxy)
    }
}

/// Decodes a user name or a password for a SOCKS proxy.
fn decoded(text: &str) -> Result<String, ProxyFault> {
    percent_decode_str(text).decode_utf8().map(Cow::into_owned).map_err(|_| ProxyFault::NotUtf8)
}

/// Checks that SOCKS 5 can express the length of a text.
fn socks_text(text: &str, fault: ProxyFault) -> Result<(), ProxyFault> {
    if text.len() > MAX_SOCKS_TEXT_BYTES { Err(fault) } else { Ok(()) }
}

/// Returns the `Basic` header of a user name and a password as an address has them. It shows itself nowhere.
pub(crate) fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    let mut plain: Vec<u8> = percent_decode_str(user).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    let text = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain));
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)]) -> Proxies {
        Proxies::from_lookup(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn scheme_and_bypass() {
        let proxies = of(&[
            ("HTTPS_PROXY", "http://us%3aer:pw@proxy.test:3128"),
            ("ALL_PROXY", "other.test"),
            ("NO_PROXY", "localhost, .inner.test,host.test:8443"),
        ]);
        let https = proxies.of(true, "a.test", 443).unwrap().unwrap();
        assert_eq!(https.uri, "http://proxy.test:3128/");
        assert_eq!(https.authorization.unwrap(), "Basic dXM6ZXI6cHc=");
        assert_eq!(proxies.of(false, "a.test", 80).unwrap().unwrap().host, "other.test");
        let told = format!("{proxies:?}");
        assert!(told.contains("proxy.test") && !told.contains("pw"), "{told}");
    }

    #[test]
    fn every_kind_of_proxy_is_read() {
        let table = [
            ("p.test", "http://p.test:80/", "http://p.test/", None),
            ("https://u:pw@p.test", "https://p.test:443/", "https://u:pw@p.test/", None),
            ("https://[::1]:8443", "https://[::1]:8443/", "https://[::1]:8443/", None),
            ("socks5://p.test:99", "http://p.test:99/", "socks5://p.test:99", Some((true, None))),
            (
                "socks5h://us%3aer:p%40w@10.0.0.1",
                "http://10.0.0.1:1080/",
                "socks5h://us%3aer:p%40w@10.0.0.1:1080",
                Some((false, Some(("us:er", "p@w")))),
            ),
        ];
        for (named, uri, address, socks) in table {
            let proxies = of(&[("all_proxy", named)]);
            let proxy = proxies.of(true, "a.test", 443).unwrap().unwrap();
            assert_eq!(proxy.uri, uri, "{named}");
            let read = proxy.socks.map(|socks| (socks.looks_up_here, socks.login));
            let socks = socks.map(|(here, login)| {
                (here, login.map(|(user, password): (&str, &str)| (user.to_owned(), password.to_owned())))
            });
            assert_eq!(read, socks, "{named}");
            // For those who open connections of their own.
            assert_eq!(proxies.of_url("https://a.test/x").unwrap().unwrap().reveal(), address);
        }
    }

    #[test]
    fn no_proxy_shows_its_credentials() {
        for named in ["http://us3r:s3cret@p.test", "socks5h://us3r:s3cret@p.test"] {
            let proxies = of(&[("all_proxy", named)]);
            let proxy = proxies.of(true, "a.test", 443).unwrap().unwrap();
            let told = format!("{proxies:?} {proxy:?}");
            assert!(told.contains("p.test") && !told.contains("s3cret"), "{told}");
        }
    }

    #[test]
    fn who_is_exempt_is_asked_directly() {
        let table = [
            ("", "a.test", 80, false),
            ("", "localhost", 80, true),
            ("", "x.localhost", 80, true),
            ("", "127.8.8.8", 80, true),
            ("", "::1", 80, true),
            ("*", "a.test", 80, true),
            ("*", "10.1.2.3", 80, true),
            ("x, *", "fd00::1", 80, true),
            ("a.test", "A.Test", 80, true),
            ("a.test", "a.test.", 80, true),
            ("a.test", "b.a.test", 80, true),
            ("a.test", "ba.test", 80, false),
            (".a.test", "b.a.test", 80, true),
            ("*.a.test", "b.a.test", 80, true),
            ("*.a.test", "ba.test", 80, false),
            ("x b.test", "b.test", 80, true),
            ("a.test:8443", "a.test", 8443, true),
            ("a.test:8443", "a.test", 443, false),
            ("10.0.0.0/8", "10.200.0.1", 80, true),
            ("10.0.0.0/8", "11.0.0.1", 80, false),
            ("10.0.0.0/8", "a.test", 80, false),
            ("192.0.2.7", "192.0.2.7", 80, true),
            ("192.0.2.7:81", "192.0.2.7", 80, false),
            ("2001:db8::/32", "2001:db8::7", 80, true),
            ("[2001:db8::7]", "2001:db8::7", 80, true),
            ("[2001:db8::7]:81", "2001:db8::7", 81, true),
            ("[2001:db8::7]:81", "2001:db8::7", 80, false),
            ("127.0.0.0/8", "192.0.2.7", 80, false),
        ];
        for (exempt, host, port, direct) in table {
            let proxies = of(&[("all_proxy", "http://proxy.test"), ("no_proxy", exempt)]);
            assert_eq!(proxies.of(true, host, port).unwrap().is_none(), direct, "{exempt:?} {host}:{port}");
            let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            let by_url = proxies.of_url(&format!("https://{shown}:{port}/x")).unwrap();
            assert_eq!(by_url.is_none(), direct, "{exempt:?} {host}:{port} by its address");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_where_it_is_needed() {
        for named in [
            "socks4://u:s3cret@p.test:1080",
            "socks://p.test",
            "ftp://p.test",
            "socks5://",
            "http://",
            "http://[::1",
        ] {
            let proxies = of(&[("ALL_PROXY", named), ("no_proxy", "inner.test")]);
            assert!(proxies.of(true, "inner.test", 443).unwrap().is_none());
            let error = proxies.of(true, "a.test", 443).unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(
                told.contains("ALL_PROXY") && told.contains("a.test") && !told.contains("s3cret"),
                "{told}"
            );
            assert!(proxies.of_url("http://a.test/").is_err());
        }
    }

    #[test]
    fn texts_that_socks_cannot_express_are_refused() {
        let (long, secret) = (|bytes| "x".repeat(bytes), |bytes| "s".repeat(bytes));
        let host = |bytes: usize| format!("{}.test", "a".repeat(bytes - 5));
        let reason = |named: &str, host: &str| {
            let proxies = of(&[("ALL_PROXY", named)]);
            let by_url = proxies.of_url(&format!("https://{host}/")).err();
            let error = proxies.of(true, host, 443).err();
            assert_eq!(by_url, error, "{named}");
            if let Some(error) = &error {
                let text = error.to_string();
                assert!(text.contains("ALL_PROXY names the proxy ") && !text.contains("sss"), "{text}");
                assert!(error.reason == ProxyFault::NotUtf8 || text.contains("the 255 bytes"), "{text}");
            }
            error.map(|error| error.reason)
        };
        for scheme in ["socks5", "socks5h"] {
            let named = |user: &str, password: &str| format!("{scheme}://{user}:{password}@p.test");
            assert_eq!(reason(&named(&long(255), &secret(255)), "a.test"), None);
            assert_eq!(reason(&named(&long(256), "y"), "a.test"), Some(ProxyFault::LongUser));
            assert_eq!(reason(&named("y", &secret(256)), "a.test"), Some(ProxyFault::LongPassword));
            // A letter of two bytes, each of which is three characters in the address.
            assert_eq!(reason(&named(&"%C3%A9".repeat(127), "y"), "a.test"), None);
            assert_eq!(reason(&named(&"%C3%A9".repeat(128), "y"), "a.test"), Some(ProxyFault::LongUser));
            assert_eq!(reason(&named("%FF", "y"), "a.test"), Some(ProxyFault::NotUtf8));
        }
        assert_eq!(reason("socks5h://p.test", &host(255)), None);
        assert_eq!(reason("socks5h://p.test", &host(256)), Some(ProxyFault::LongHost));
        assert_eq!(reason("socks5://p.test", &host(256)), None);
        assert_eq!(reason(&format!("http://{}:y@p.test", long(256)), &host(256)), None);
    }
}
