//! The effect of a request's headers on an answer: whole, a part, or nothing new (RFC 9110). Pure.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, header};

/// The part to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// These bytes.
    Range(Range<u64>),
    /// Nothing: the client has it.
    NotModified,
    /// The requested range is not within it.
    Unsatisfiable,
}

impl Part {
    /// Returns the range of bytes to send of `len`, if any.
    pub(crate) fn range(&self, len: u64) -> Option<Range<u64>> {
        match self {
            Self::Whole => Some(0..len),
            Self::Range(range) => Some(range.clone()),
            Self::NotModified | Self::Unsatisfiable => None,
        }
    }
}

/// The entity that a request is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entity<'a> {
    /// The tag, without quotes and without the suffix of an encoding.
    pub(crate) tag: &'a str,
    pub(crate) modified: Option<SystemTime>,
    pub(crate) len: u64,
}

/// Decides which part is sent. `asked` are the headers of the request.
pub(crate) fn part(asked: &HeaderMap, entity: Entity<'_>) -> Part {
    if is_known(asked, entity) {
        return Part::NotModified;
    }
    let Some(range) = single(asked, header::RANGE) else { return Part::Whole };
    if !is_same(asked, entity) {
        return Part::Whole;
    }
    range_of(range, entity.len)
}

/// Returns the one value of a header; `None` when it occurs twice, or is not text.
fn single(asked: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = asked.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Returns whether the client has the current entity.
fn is_known(asked: &HeaderMap, entity: Entity<'_>) -> bool {
    let mut tags = asked.get_all(header::IF_NONE_MATCH).iter().peekable();
    if tags.peek().is_some() {
        // If the header is there, dates do not count.
        return tags
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|tag| tag.trim() == "*" || is_tag(tag.trim().trim_start_matches("W/"), entity.tag));
    }
    let since =
        single(asked, header::IF_MODIFIED_SINCE).and_then(|date| httpdate::parse_http_date(date).ok());
    match (since, entity.modified) {
        (Some(since), Some(modified)) => seconds(modified) <= seconds(since),
        _ => false,
    }
}

/// Returns whether `quoted` is the tag, in any encoding.
fn is_tag(quoted: &str, tag: &str) -> bool {
    let Some(text) = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return false };
    text == tag || text.strip_suffix(GZIP_SUFFIX) == Some(tag)
}

/// The suffix of the tag of a gzip encoding.
pub(crate) const GZIP_SUFFIX: &str = "-gzip";

/// Returns whether the file of which the client has a part is unchanged.
fn is_same(asked: &HeaderMap, entity: Entity<'_>) -> bool {
    match single(asked, header::IF_RANGE) {
        None => !asked.contains_key(header::IF_RANGE),
        Some(text) if text.starts_with('"') => text.trim_matches('"') == entity.tag,
        Some(text) => match (httpdate::parse_http_date(text), entity.modified) {
            (Ok(date), Some(modified)) => seconds(date) == seconds(modified),
            _ => false,
        },
    }
}

/// Dates of HTTP have whole seconds.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since: Duration| since.as_secs())
}

/// Parses one range of bytes. Several ranges, or malformed ones, are ignored.
fn range_of(text: &str, len: u64) -> Part {
    let number = |text: &str| -> Option<u64> {
        if text.is_empty() || text.len() > 19 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse().ok()
    };
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|spec| spec.trim().split_once('-')) else {
        return Part::Whole;
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(len),
        (Some(first), None) if last.is_empty() => first..len,
        (None, Some(last)) if first.is_empty() => len.saturating_sub(last)..len,
        _ => return Part::Whole,
    };
    if range.is_empty() { Part::Unsatisfiable } else { Part::Range(range) }
}

/// Returns whether to send gzip: the client accepts it, and does not prefer the plain text (RFC 9110, 12.5.3).
pub(crate) fn takes_gzip(asked: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    let values = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for item in values.flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = weight.map_or(Some(1_000), thousandths);
        match name.as_str() {
            "gzip" | "x-gzip" => gzip = gzip.max(weight),
            "identity" => identity = identity.max(weight),
            "*" => any = any.max(weight),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// Parses a weight of a header, 0 to 1 with at most three decimals; `None` for anything else.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let weight: u16 = format!("{whole}{rest:0<3}").parse().ok()?;
    (weight <= 1_000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().expect("header"));
        }
        map
    }

    fn decide(headers: &[(HeaderName, &str)]) -> Part {
        let modified = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_250));
        part(&asked(headers), Entity { tag: "abc", modified, len: 1_000 })
    }

    const THAT_SECOND: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    #[test]
    fn a_client_that_has_the_entity_gets_nothing() {
        use header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE};
        for known in ["\"abc\"", "W/\"abc\"", "\"abc-gzip\"", "\"x\", W/\"abc\"", "*"] {
            assert_eq!(decide(&[(IF_NONE_MATCH, known)]), Part::NotModified, "{known}");
        }
        for unknown in ["\"x\"", "abc", "\"\"", "\"abc-gzip-gzip\"", "\u{e9}"] {
            assert_eq!(decide(&[(IF_NONE_MATCH, unknown)]), Part::Whole, "{unknown}");
        }
        assert_eq!(decide(&[(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "\"abc\"")]), Part::NotModified);
        assert_eq!(decide(&[(IF_MODIFIED_SINCE, THAT_SECOND)]), Part::NotModified);
        assert_eq!(decide(&[(IF_MODIFIED_SINCE, BEFORE)]), Part::Whole);
        assert_eq!(decide(&[(IF_MODIFIED_SINCE, "yesterday")]), Part::Whole);
        assert_eq!(decide(&[(IF_MODIFIED_SINCE, THAT_SECOND), (IF_NONE_MATCH, "\"x\"")]), Part::Whole);
        assert_eq!(decide(&[(IF_NONE_MATCH, "\"abc\""), (RANGE, "bytes=0-1")]), Part::NotModified);
    }

    #[test]
    fn ranges_and_what_only_looks_like_one() {
        use header::{IF_RANGE, RANGE};
        for (text, part) in [
            ("bytes=0-0", Part::Range(0..1)),
            ("bytes=10-19", Part::Range(10..20)),
            ("bytes=990-5000", Part::Range(990..1_000)),
            ("bytes=990-", Part::Range(990..1_000)),
            ("bytes=-10", Part::Range(990..1_000)),
            ("bytes=-5000", Part::Range(0..1_000)),
            ("bytes=1000-", Part::Unsatisfiable),
            ("bytes=1000-2000", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=20-10", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=--1", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=0x1-2", Part::Whole),
            ("bytes=0-18446744073709551616", Part::Whole),
            ("bytes=99999999999999999999-", Part::Whole),
            ("bytes=9223372036854775807-9223372036854775807", Part::Unsatisfiable),
            ("lines=0-1", Part::Whole),
            ("bytes", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(decide(&[(RANGE, text)]), part, "{text}");
        }
        assert_eq!(decide(&[(RANGE, "bytes=0-1"), (RANGE, "bytes=2-3")]), Part::Whole);
        let part = Part::Range(0..2);
        for (condition, expected) in [
            ("\"abc\"", &part),
            (THAT_SECOND, &part),
            ("\"x\"", &Part::Whole),
            ("W/\"abc\"", &Part::Whole),
            (BEFORE, &Part::Whole),
        ] {
            assert_eq!(&decide(&[(RANGE, "bytes=0-1"), (IF_RANGE, condition)]), expected, "{condition}");
        }
    }

    #[test]
    fn gzip_is_sent_to_clients_that_accept_it() {
        for (text, takes) in [
            ("gzip", true),
            ("GZIP", true),
            ("x-gzip", true),
            ("deflate, gzip;q=0.5, br", true),
            ("gzip ; q=0.001", true),
            ("gzip;q=1.000", true),
            ("*", true),
            ("*;q=0.1", true),
            ("br, *", true),
            ("gzip, *;q=0", true),
            ("gzip, identity;q=0.5", true),
            ("gzip;q=1.0, identity", true),
            ("identity;q=0, gzip;q=0.1", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("gzip;q=0.000", false),
            ("gzip;q=0, *", false),
            ("*, gzip;q=0", false),
            ("*;q=0", false),
            ("gzip;q=0.5, identity", false),
            ("*;q=0.1, identity", false),
            ("gzip;q=2", false),
            ("gzip;q=nan", false),
            ("gzip;q=-1", false),
            ("br", false),
            ("", false),
            ("identity", false),
            ("notgzip", false),
        ] {
            assert_eq!(takes_gzip(&asked(&[(header::ACCEPT_ENCODING, text)])), takes, "{text}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
        let two = asked(&[(header::ACCEPT_ENCODING, "gzip;q=0"), (header::ACCEPT_ENCODING, "*")]);
        assert!(!takes_gzip(&two));
    }
}
