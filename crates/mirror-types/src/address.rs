use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

/// An address, or a template of addresses, that an operator gave and that may contain a secret: a user name and a
/// password, or a token in its query. `Display` and `Debug` leave the secrets out, and so does every message, record,
/// file name and log. Only code that sends a request uses the whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Wraps an address as it was given, unchecked.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the address with its secrets, to be parsed or sent, and never to be shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the text without the secrets of this address, in whatever form they occur.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        let Some((start, end)) = user_info(&self.0) else { return text.to_owned() };
        let whole = &self.0[start..end];
        let (user, password) = whole.split_once(':').unwrap_or((whole, ""));
        let mut text = text.replace(&format!("{whole}@"), "");
        for secret in [password, if password.is_empty() { user } else { "" }] {
            let plain = percent_decode_str(secret).decode_utf8_lossy();
            for form in [secret, &*plain].into_iter().filter(|form| !form.is_empty()) {
                text = text.replace(form, HIDDEN);
            }
        }
        text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({:?})", redacted(&self.0))
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// The text that is shown in place of a secret.
const HIDDEN: &str = "***";

/// Parts of names of query parameters whose values are secrets.
const SECRET_PARAMETERS: [&str; 8] =
    ["token", "key", "secret", "sig", "pass", "auth", "credential", "session"];

/// Returns a text without the secrets of addresses in it: leaves out user name and password, and hides the values of
/// query parameters whose names suggest secrets. Other text stays as it is.
#[must_use]
pub fn redacted(text: &str) -> String {
    let bare = match user_info(text) {
        Some((start, end)) if is_http(&text[..start]) => format!("{}{}", &text[..start], &text[end + 1..]),
        // In other schemes the name alone is no secret, and is needed: ssh://git@host/.
        Some((start, end)) => match text[start..end].find(':') {
            Some(at) => format!("{}{}", &text[..start + at], &text[end..]),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    };
    let Some((before, query)) = bare.split_once('?').filter(|_| bare.contains("://")) else { return bare };
    let (query, fragment) = query.split_once('#').map_or((query, None), |(query, rest)| (query, Some(rest)));
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={HIDDEN}"),
        _ => pair.to_owned(),
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    let fragment = fragment.map_or_else(String::new, |fragment| format!("#{fragment}"));
    format!("{before}?{query}{fragment}")
}

/// Returns whether the text before a host ends in the scheme of HTTP.
fn is_http(before_host: &str) -> bool {
    let scheme = before_host.trim_end_matches(['/', '\\', ':']).to_ascii_lowercase();
    scheme.ends_with("http") || scheme.ends_with("https")
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_PARAMETERS.iter().any(|part| name.contains(part))
}

/// Returns the range of an address's user info, without its `@`.
///
/// In a malformed address, everything up to the last `@` counts: a password with a slash makes an address that cannot
/// be parsed, and must not be shown either.
fn user_info(text: &str) -> Option<(usize, usize)> {
    let scheme = text.find(':')?;
    let slashes = text[scheme + 1..].bytes().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
    if slashes == 0 {
        return None;
    }
    let start = scheme + 1 + slashes;
    let rest = &text[start..];
    // Most texts have none, which is clear without parsing.
    if !rest.contains('@') {
        return None;
    }
    let end = match Url::parse(&text.replace(['{', '}'], "x")) {
        Ok(_) => rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()),
        Err(_) => rest.len(),
    };
    rest[..end].rfind('@').map(|at| (start, start + at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_shows_itself_without_its_secrets() {
        let table = [
            ("https://h/a?b=c", "https://h/a?b=c"),
            ("https://alice:pw@h:8/a", "https://h:8/a"),
            ("https://alice@h/a", "https://h/a"),
            ("sparse+https://alice:p%40w@h/index/", "sparse+https://h/index/"),
            ("https://a:p@w@h/@scope/x", "https://h/@scope/x"),
            ("https:\\\\a:pw@h/x", "https:\\\\h/x"),
            ("http:/a:pw@h/x", "http:/h/x"),
            ("https://a:p/w@h/x", "https://h/x"),
            ("https://a:pw@{crate}.h/{version}", "https://{crate}.h/{version}"),
            ("--index-url=sparse+https://a:pw@h/", "--index-url=sparse+https://h/"),
            (
                "https://h/x?token=pw&raw=1&X-Amz-Signature=pw#f",
                "https://h/x?token=***&raw=1&X-Amz-Signature=***#f",
            ),
            ("git@h:repo.git", "git@h:repo.git"),
            ("ssh://git@h/repo.git", "ssh://git@h/repo.git"),
            ("ssh://git:pw@h/repo.git", "ssh://git@h/repo.git"),
            ("/a/path@x", "/a/path@x"),
            ("", ""),
        ];
        for (given, shown) in table {
            let address = Address::new(given);
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.reveal(), given);
            assert!(!format!("{address:?}").contains("pw"), "{address:?}");
            assert_eq!(redacted(shown), shown, "redacting twice changes nothing");
        }
    }

    #[test]
    fn texts_that_quote_an_address_are_scrubbed() {
        let address = Address::new("https://alice:s%40crt@h/x");
        for text in ["get https://alice:s%40crt@h/x: 401", "user alice, password s@crt", "Url(\"s%40crt\")"] {
            let scrubbed = address.scrub(text);
            assert!(!scrubbed.contains("s%40crt") && !scrubbed.contains("s@crt"), "{scrubbed}");
        }
        assert_eq!(Address::new("https://h/x").scrub("as it is"), "as it is");
        assert_eq!(Address::new("https://t0ken@h/x").scrub("t0ken was refused"), "*** was refused");
    }

    proptest! {
        #[test]
        fn no_user_info_is_ever_shown(user in "[a-z]{1,8}", secret in "[A-Z]{6,12}", rest in "[a-z/?#@:.]{0,20}") {
            let shown = Address::new(format!("https://{user}:{secret}@host{rest}")).to_string();
            prop_assert!(!shown.contains(&secret), "{}", shown);
        }

        #[test]
        fn any_text_is_taken_without_panic(text in "\\PC*") {
            let address = Address::new(text.clone());
            let _ = (address.to_string(), address.scrub(&text));
        }
    }
}
