//! Proxies from the environment, as curl and others read them.

use std::net::IpAddr;

use base64::Engine as _;
use http::HeaderValue;
use url::{Host, Url};

use crate::failure::FetchSetupError;
use crate::options::ProxySettings;

/// One proxy spoken to over plain TCP.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authorization: Option<HeaderValue>,
}

/// Which proxy serves which address.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    bypass: Vec<String>,
}

impl Proxies {
    pub(crate) fn new(settings: &ProxySettings) -> Result<Self, FetchSetupError> {
        match settings {
            ProxySettings::Environment => Self::from_lookup(|name| std::env::var(name).ok()),
            ProxySettings::Variables(all) => {
                Self::from_lookup(|name| all.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()))
            }
        }
    }

    fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Result<Self, FetchSetupError> {
        let find = |names: &[&'static str]| {
            names.iter().find_map(|&name| get(name).filter(|v| !v.trim().is_empty()).map(|v| (name, v)))
        };
        let proxy = |names: &[&'static str]| find(names).map(|(name, text)| parse(name, &text)).transpose();
        // Upper-case HTTP_PROXY is not read under CGI, where a client's header could set it.
        let http_names: &[&str] =
            if get("REQUEST_METHOD").is_some() { &["http_proxy"] } else { &["http_proxy", "HTTP_PROXY"] };
        let all = proxy(&["all_proxy", "ALL_PROXY"])?;
        let bypass = find(&["no_proxy", "NO_PROXY"]).map(|(_, text)| text).unwrap_or_default();
        Ok(Self {
            http: proxy(http_names)?.or_else(|| all.clone()),
            https: proxy(&["https_proxy", "HTTPS_PROXY"])?.or(all),
            bypass: bypass
                .split([',', ' '])
                .map(|entry| entry.trim().trim_start_matches("*.").trim_start_matches('.').to_lowercase())
                .filter(|entry| !entry.is_empty())
                .collect(),
        })
    }

    pub(crate) fn of(&self, https: bool, host: &str, port: u16) -> Option<Proxy> {
        let proxy = if https { &self.https } else { &self.http };
        let host = host.trim_matches(['[', ']']).to_lowercase();
        // Loopback is never proxied: the proxy's loopback is another machine.
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let bypassed = self.bypass.iter().any(|entry| {
            let entry = match entry.rsplit_once(':') {
                Some((name, p)) if !name.contains(':') && p.parse() == Ok(port) => name,
                _ => entry.as_str(),
            };
            let entry = entry.trim_matches(['[', ']']);
            entry == "*" || host == entry || host.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.'))
        });
        proxy.clone().filter(|_| !bypassed && !loopback)
    }
}

fn parse(variable: &'static str, text: &str) -> Result<Proxy, FetchSetupError> {
    let refused = || FetchSetupError::Proxy { variable };
    let text = text.trim();
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&full).map_err(|_| refused())?;
    if url.scheme() != "http" {
        return Err(refused());
    }
    let host = match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(host) => host.to_string(),
        None => return Err(refused()),
    };
    let authorization =
        if url.username().is_empty() { None } else { basic(url.username(), url.password().unwrap_or("")) };
    Ok(Proxy { host, port: url.port_or_known_default().unwrap_or(80), authorization })
}

/// Returns the `Basic` header of a user name and a password as they stand in an address. It shows itself nowhere.
pub(crate) fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    let plain = [unescape(user), b":".to_vec(), unescape(password)].concat();
    let text = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain));
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Undoes percent escapes.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match hex_pair(bytes.clone()) {
            Some(value) if byte == b'%' => {
                out.push(value);
                bytes.nth(1);
            }
            _ => out.push(byte),
        }
    }
    out
}

/// The value of the two hexadecimal digits that come next.
fn hex_pair(mut ahead: std::str::Bytes<'_>) -> Option<u8> {
    let high = char::from(ahead.next()?).to_digit(16)?;
    let low = char::from(ahead.next()?).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vars: &'static [(&str, &str)]) -> Proxies {
        Proxies::from_lookup(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
            .unwrap()
    }

    #[test]
    fn scheme_and_bypass() {
        let proxies = of(&[
            ("HTTPS_PROXY", "http://us%3aer:pw@proxy.test:3128"),
            ("ALL_PROXY", "other.test"),
            ("NO_PROXY", "localhost, .inner.test,host.test:8443"),
        ]);
        let https = proxies.of(true, "a.test", 443).unwrap();
        assert_eq!((https.host.as_str(), https.port), ("proxy.test", 3128));
        assert_eq!(https.authorization.unwrap(), "Basic dXM6ZXI6cHc=");
        assert_eq!(proxies.of(false, "a.test", 80).unwrap().host, "other.test");
        assert!(proxies.of(true, "localhost", 443).is_none());
        assert!(proxies.of(true, "x.inner.test", 443).is_none());
        assert!(proxies.of(true, "xinner.test", 443).is_some());
        assert!(proxies.of(true, "host.test", 8443).is_none());
        assert!(proxies.of(true, "host.test", 443).is_some());
    }

    #[test]
    fn socks_is_refused() {
        let set = |name: &str| (name == "ALL_PROXY").then(|| "socks5://p.test:1080".to_owned());
        assert!(Proxies::from_lookup(set).is_err());
    }
}
