//! The sparse protocol without I/O: the requests, the meaning of answers, the cache entries.

use mirror_types::{
    Address, CLIPPED_MESSAGE_BYTES, CLIPPED_VALUE_BYTES, CrateName, ReleaseId, Sha256, clipped, index_path,
    index_prefix, redacted,
};
use serde::Deserialize;

use crate::record::{IndexLimits, parse_file};

mod address;

pub use address::{cache_dir_of, root};
pub use url::Url;

/// The reason why a registry's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is not the expected JSON.
    #[error("the registry's config.json cannot be read: {0}")]
    Json(String),
    /// It is larger than any real one.
    #[error("the registry's config.json has {bytes} bytes, more than {CONFIG_MAX_BYTES}")]
    Size {
        /// Its size.
        bytes: u64,
    },
    /// A marker that Cargo does not know.
    #[error("the download address {template} has the unknown marker {marker}")]
    Marker {
        /// The template, printable.
        template: String,
        /// The marker.
        marker: String,
    },
    /// The address of a registry is no URL.
    #[error("the address of the registry, {address}, is not an http or https URL")]
    Root {
        /// The address, printable, without its secret.
        address: String,
    },
    /// The template is not http or https, or no URL at all.
    #[error("the download address {template} is not an http or https URL")]
    Url {
        /// The template, printable.
        template: String,
    },
}

/// A registry's `config.json`.
#[derive(Clone, Deserialize)]
pub struct RegistryConfig {
    dl: String,
}

impl std::fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RegistryConfig({})", redacted(&self.dl))
    }
}

impl RegistryConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// When it is not the expected JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        serde_json::from_slice(bytes)
            .map_err(|error| ConfigError::Json(clipped(error.to_string(), CLIPPED_MESSAGE_BYTES)))
    }

    /// Returns the template of download addresses.
    #[must_use]
    pub fn dl(&self) -> &str {
        &self.dl
    }
}

/// Largest `config.json` of a local index, bytes. Real ones have a hundred.
pub const CONFIG_MAX_BYTES: u64 = 1 << 20;

const MARKERS: [(&str, Part); 5] = [
    ("{crate}", Part::Crate),
    ("{version}", Part::Version),
    ("{prefix}", Part::Prefix),
    ("{lowerprefix}", Part::LowerPrefix),
    ("{sha256-checksum}", Part::Checksum),
];

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Crate,
    Version,
    Prefix,
    LowerPrefix,
    Checksum,
}

/// A template of download addresses, with Cargo's five markers. Credentials in it are sent with requests, and never
/// shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DlTemplate {
    text: Address,
    parts: Vec<Part>,
    /// The parts without credentials.
    shown: Vec<Part>,
}

impl std::fmt::Debug for DlTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DlTemplate({})", self.text)
    }
}

impl DlTemplate {
    /// Parses the `dl` of a registry; without a marker, `/{crate}/{version}/download` is added, as in Cargo.
    ///
    /// # Errors
    /// When a marker or the scheme is unknown.
    pub fn parse(dl: &str) -> Result<Self, ConfigError> {
        let mut template = dl.to_owned();
        if !MARKERS.iter().any(|(marker, _)| dl.contains(marker)) {
            template = format!("{}/{{crate}}/{{version}}/download", dl.trim_end_matches('/'));
        }
        Self::checked(template)
    }

    /// Makes the template `{base}/{name}/{name}-{version}.crate`.
    ///
    /// # Errors
    /// When the base is no http or https URL.
    pub fn from_base(base: &str) -> Result<Self, ConfigError> {
        Self::checked(format!("{}/{{crate}}/{{crate}}-{{version}}.crate", base.trim_end_matches('/')))
    }

    fn checked(template: String) -> Result<Self, ConfigError> {
        let text = Address::new(template);
        let (parts, bare) = split(text.reveal()).map_err(|marker| ConfigError::Marker {
            template: shown(&text),
            marker: clipped(marker, CLIPPED_VALUE_BYTES),
        })?;
        let usable =
            Url::parse(&bare).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        match split(&text.to_string()) {
            Ok((shown, _)) if usable => Ok(Self { parts, shown, text }),
            _ => Err(ConfigError::Url { template: shown(&text) }),
        }
    }

    /// Returns the host of the downloads; `None` when a marker is part of it.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        Url::parse(self.text.reveal()).ok()?.host_str().map(str::to_owned)
    }

    /// Returns the download URL of a release, with `+` as `%2B`.
    ///
    /// # Errors
    /// When the filled template is no URL.
    pub fn url(&self, id: &ReleaseId, cksum: &Sha256) -> Result<Url, ConfigError> {
        let text = fill(&self.parts, &id.version.as_str().replace('+', "%2B"), id, cksum);
        Url::parse(&text).map_err(|_| ConfigError::Url { template: shown(&self.text) })
    }

    /// Returns that URL for people and records: `+` stays readable, and there are no credentials.
    #[must_use]
    pub fn readable(&self, id: &ReleaseId, cksum: &Sha256) -> String {
        fill(&self.shown, id.version.as_str(), id, cksum)
    }
}

fn shown(template: &Address) -> String {
    clipped(template.to_string(), CLIPPED_VALUE_BYTES)
}

/// Splits a template at its markers, and returns it with a letter in the place of each; an unknown marker is the error.
fn split(template: &str) -> Result<(Vec<Part>, String), &str> {
    let mut parts = Vec::new();
    let mut bare = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        let Some((marker, part)) = MARKERS.iter().find(|(marker, _)| from.starts_with(marker)) else {
            return Err(from.split_inclusive('}').next().unwrap_or_default());
        };
        bare.push_str(before);
        bare.push('x');
        parts.extend([Part::Text(before.to_owned()), part.clone()]);
        rest = &from[marker.len()..];
    }
    bare.push_str(rest);
    parts.push(Part::Text(rest.to_owned()));
    Ok((parts, bare))
}

fn fill(parts: &[Part], version: &str, id: &ReleaseId, cksum: &Sha256) -> String {
    let name = id.name.as_str();
    let mut text = String::with_capacity(64 + 2 * name.len() + version.len());
    for part in parts {
        match part {
            Part::Text(piece) => text.push_str(piece),
            Part::Crate => text.push_str(name),
            Part::Version => text.push_str(version),
            Part::Prefix => text.push_str(&index_prefix(name)),
            Part::LowerPrefix => text.push_str(&index_prefix(name).to_ascii_lowercase()),
            Part::Checksum => cksum.push_hex(&mut text),
        }
    }
    text
}

/// The state of a crate's index file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheState {
    /// Its bytes.
    Present(Vec<u8>),
    /// 404, 410 or 451.
    Gone,
}

/// The cached part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// `ETag`
    pub etag: Option<String>,
    /// `Last-Modified`
    pub last_modified: Option<String>,
    /// The file.
    pub state: CacheState,
}

/// A cache entry that cannot be used; ask again without conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cache entry is torn or of another version")]
pub struct BadCacheEntry;

const MAGIC: &str = "mirror-sparse-cache 2";
/// The first line of the format without a checksum.
const OLD_MAGIC: &str = "mirror-sparse-cache 1";

/// Returns a checksum against damage on disk, not against malice: 64-bit FNV-1a detects a change of any single byte.
fn check_sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl CacheEntry {
    /// Encodes the entry for the disk: lines with the version, `etag`, `last-modified`, `check` and `length`, an empty
    /// line, the bytes. A `length` of `gone` stands for a missing crate.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let line = |name: &str, value: &Option<String>| match value {
            Some(value) if !value.contains(['\n', '\r']) => format!("{name}: {value}\n"),
            _ => String::new(),
        };
        let (length, body): (String, &[u8]) = match &self.state {
            CacheState::Present(bytes) => (bytes.len().to_string(), bytes),
            CacheState::Gone => ("gone".to_owned(), &[]),
        };
        let head = format!(
            "{MAGIC}\n{}{}check: {:016x}\nlength: {length}\n\n",
            line("etag", &self.etag),
            line("last-modified", &self.last_modified),
            check_sum(body)
        );
        [head.as_bytes(), body].concat()
    }

    /// Decodes an entry.
    ///
    /// # Errors
    /// When it is torn or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadCacheEntry> {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").ok_or(BadCacheEntry)?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| BadCacheEntry)?;
        let body = &bytes[end + 2..];
        let mut lines = head.split('\n');
        let checked = match lines.next() {
            Some(MAGIC) => true,
            Some(OLD_MAGIC) => false,
            _ => return Err(BadCacheEntry),
        };
        let (mut etag, mut last_modified, mut length, mut check) = (None, None, None, None);
        for line in lines {
            match line.split_once(": ") {
                Some(("etag", value)) => etag = Some(value.to_owned()),
                Some(("last-modified", value)) => last_modified = Some(value.to_owned()),
                Some(("check", value)) => check = u64::from_str_radix(value, 16).ok(),
                Some(("length", value)) => length = Some(value),
                _ => return Err(BadCacheEntry),
            }
        }
        if checked && check != Some(check_sum(body)) {
            return Err(BadCacheEntry);
        }
        let state = match length {
            Some("gone") if body.is_empty() => CacheState::Gone,
            Some(text) if text.parse() == Ok(body.len()) => CacheState::Present(body.to_vec()),
            _ => return Err(BadCacheEntry),
        };
        Ok(Self { etag, last_modified, state })
    }
}

/// Returns the URL of a crate's index file.
#[must_use]
pub fn index_url(root: &Url, name: &CrateName) -> Url {
    child(root, &index_path(name))
}

/// Returns a URL that caches on the way do not know: with the time, in seconds since 1970, as a query. Servers of files
/// ignore it.
#[must_use]
pub fn past_caches(mut url: Url, seconds: u64) -> Url {
    url.query_pairs_mut().append_pair("cache-buster", &seconds.to_string());
    url
}

/// Returns the URL of the registry's configuration.
#[must_use]
pub fn config_url(root: &Url) -> Url {
    child(root, "config.json")
}

fn child(root: &Url, path: &str) -> Url {
    let mut url = root.clone();
    url.set_path(&format!("{}/{path}", root.path().trim_end_matches('/')));
    url
}

/// Returns the headers that make a request conditional on the cached entry.
#[must_use]
pub fn conditional_headers(entry: Option<&CacheEntry>) -> Vec<(&'static str, String)> {
    match entry {
        Some(CacheEntry { etag: Some(etag), state: CacheState::Present(_), .. }) => {
            vec![("if-none-match", etag.clone())]
        }
        Some(CacheEntry { last_modified: Some(date), state: CacheState::Present(_), .. }) => {
            vec![("if-modified-since", date.clone())]
        }
        _ => Vec::new(),
    }
}

/// The meaning of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The cached entry is still current.
    Unchanged,
    /// The file changed; store this entry.
    Updated(CacheEntry),
    /// The crate does not exist (any more); store this entry.
    Gone(CacheEntry),
    /// The answer has no meaning for the cache.
    Failed,
}

/// Interprets an answer.
#[must_use]
pub fn interpret(status: u16, etag: Option<&str>, last_modified: Option<&str>, body: Vec<u8>) -> Answer {
    let entry = |state| CacheEntry {
        etag: etag.map(str::to_owned),
        last_modified: last_modified.map(str::to_owned),
        state,
    };
    match status {
        200 => Answer::Updated(entry(CacheState::Present(body))),
        304 => Answer::Unchanged,
        404 | 410 | 451 => Answer::Gone(entry(CacheState::Gone)),
        _ => Answer::Failed,
    }
}

/// Limits on the answers of a sparse registry, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnswerLimits {
    /// Largest index file. The largest known ones have some 5 MiB.
    pub max_index_file_bytes: u64,
    /// Largest `config.json`.
    pub max_config_bytes: u64,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self { max_index_file_bytes: 32 << 20, max_config_bytes: 1 << 20 }
    }
}

/// An answer for an index file that cannot be used; the cached file stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadAnswer {
    /// Not one of its lines is a record.
    #[error("the answer is no index file; it begins with {start}")]
    NotAnIndexFile {
        /// Its first characters, printable.
        start: String,
    },
    /// It ends where the connection ended, before the end of the cached file.
    #[error(
        "the answer ends with the connection, after {found_bytes} of the {known_bytes} bytes that are known: it was cut"
    )]
    Cut {
        /// Its length.
        found_bytes: usize,
        /// The length of the cached file.
        known_bytes: usize,
    },
}

/// Decides whether an answer for the index file at `path` is used. Removes the validators of one that may be
/// incomplete, so that the next run fetches it in full. `end_announced`: the peer announced where it ends; `before` is
/// the cached file.
///
/// # Errors
/// The reason why the answer is not used.
pub fn check_index_file(
    path: &str,
    entry: &mut CacheEntry,
    end_announced: bool,
    before: Option<&CacheEntry>,
    limits: &IndexLimits,
) -> Result<(), BadAnswer> {
    let CacheState::Present(data) = &entry.state else { return Ok(()) };
    if !end_announced
        && let Some(CacheEntry { state: CacheState::Present(known), .. }) = before
        && data.len() < known.len()
        && known.starts_with(data)
    {
        return Err(BadAnswer::Cut { found_bytes: data.len(), known_bytes: known.len() });
    }
    let mut bad_lines = 0;
    let records = parse_file(path, data, limits, &mut |_| bad_lines += 1);
    if records.is_empty() && bad_lines > 0 {
        let start = clipped(data.trim_ascii_start(), CLIPPED_VALUE_BYTES);
        return Err(BadAnswer::NotAnIndexFile { start });
    }
    if !end_announced || bad_lines > 0 {
        (entry.etag, entry.last_modified) = (None, None);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> ReleaseId {
        ReleaseId { name: "Ab-cd".parse().expect("name"), version: "1.0.0+x".parse().expect("version") }
    }

    #[test]
    fn templates_are_filled_as_cargo_does() {
        let sum = Sha256::from_bytes([0xab; 32]);
        for (dl, url) in [
            ("https://h/dl", "https://h/dl/Ab-cd/1.0.0%2Bx/download".to_owned()),
            ("https://h/{prefix}/{lowerprefix}/{crate}", "https://h/Ab/-c/ab/-c/Ab-cd".to_owned()),
            ("https://h/{sha256-checksum}", format!("https://h/{}", "ab".repeat(32))),
        ] {
            assert_eq!(DlTemplate::parse(dl).expect(dl).url(&id(), &sum).expect(dl).as_str(), url);
        }
        for bad in ["ftp://h/{crate}", "https://h/{name}", "nonsense", "file:///x"] {
            assert!(DlTemplate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn text_of_a_registry_is_clipped_in_messages() {
        let long = "x".repeat(100_000);
        for config in [format!("\"{long}\""), format!("{{\"dl\":[\"{long}\"]}}"), format!("{{\"dl\":{long}")]
        {
            assert!(RegistryConfig::parse(config.as_bytes()).unwrap_err().to_string().len() < 1_000);
        }
        for dl in
            [format!("https://h/{{{long}}}"), format!("ftp://h/{long}"), format!("https://h/\u{1b}{{{long}")]
        {
            assert!(DlTemplate::parse(&dl).unwrap_err().to_string().len() < 1_000);
        }
    }

    #[test]
    fn credentials_are_asked_with_and_never_shown() {
        let sum = Sha256::from_bytes([0xab; 32]);
        let based = DlTemplate::from_base("https://alice:s3cret@h/crates").expect("base");
        let own = DlTemplate::parse("https://alice:s3cret@h/{crate}?token=s3cret").expect("dl");
        for template in [based, own] {
            let url = template.url(&id(), &sum).expect("url");
            assert_eq!((url.username(), url.password()), ("alice", Some("s3cret")));
            let shown = format!("{} {template:?}", template.readable(&id(), &sum));
            assert!(shown.contains("https://h/") && !shown.contains("s3cret"), "{shown}");
        }
        for bad in ["ftp://alice:s3cret@h/x", "https://alice:s3cret@h/{x}", "https://alice:s3/cret@h/x"] {
            let error = DlTemplate::parse(bad).expect_err(bad);
            assert!(!format!("{error} {error:?}").contains("cret"), "{error:?}");
        }
    }

    #[test]
    fn urls_of_an_index_are_lower_case() {
        let root = Url::parse("https://h/index/").expect("url");
        assert_eq!(index_url(&root, &id().name).as_str(), "https://h/index/ab/-c/ab-cd");
        assert_eq!(config_url(&root).as_str(), "https://h/index/config.json");
    }

    fn answer(data: &str) -> CacheEntry {
        let (etag, last_modified) = (Some("\"e\"".to_owned()), Some("yesterday".to_owned()));
        CacheEntry { etag, last_modified, state: CacheState::Present(data.into()) }
    }

    /// Checks an answer for `fo/ob/foobar`; returns whether its validators are kept.
    fn check(data: &str, end_announced: bool, before: Option<&str>) -> Result<bool, BadAnswer> {
        let (mut entry, before) = (answer(data), before.map(answer));
        let limits = IndexLimits::default();
        check_index_file("fo/ob/foobar", &mut entry, end_announced, before.as_ref(), &limits)?;
        assert_eq!(entry.etag.is_some(), entry.last_modified.is_some());
        Ok(entry.etag.is_some())
    }

    #[test]
    fn an_answer_that_may_be_cut_is_asked_for_in_full_again() {
        let line = |version: &str| {
            let sum = "ab".repeat(32);
            format!("{{\"name\":\"foobar\",\"vers\":\"{version}\",\"cksum\":\"{sum}\"}}")
        };
        let (one, two) = (line("1.0.0"), line("1.1.0"));
        let whole = format!("{one}\n{two}\n");
        assert_eq!(check(&whole, true, None), Ok(true));
        assert_eq!(check(whole.trim_end(), true, None), Ok(true), "the last line needs no newline");
        assert_eq!(check(&whole, false, None), Ok(false), "nobody said where it ends");
        assert_eq!(check(&whole[..whole.len() - 20], true, None), Ok(false), "its last line is torn");
        assert_eq!(check("", true, Some(&whole)), Ok(true), "the registry has emptied it");
        let cut = |found_bytes| Err(BadAnswer::Cut { found_bytes, known_bytes: whole.len() });
        for at in [0, 20, one.len(), one.len() + 1, whole.len() - 1] {
            assert_eq!(check(&whole[..at], false, Some(&whole)), cut(at));
        }
        assert_eq!(check(&format!("{two}\n"), false, Some(&whole)), Ok(false), "a line was taken out");
        for strange in ["<html>\x1b[2J</html>", "{}", "null\n\n", "{\"name\":\"foobar\",\"vers\":\"1.0"] {
            let error = check(strange, true, Some(&whole)).expect_err("no index file").to_string();
            assert!(error.contains("no index file") && !error.contains('\x1b'), "{error}");
        }
    }

    #[test]
    fn entries_of_the_first_version_are_read() {
        let old = b"mirror-sparse-cache 1\netag: \"e\"\nlength: 2\n\nhi";
        let entry = CacheEntry::decode(old).expect("an entry");
        assert_eq!(
            (entry.etag.as_deref(), entry.state),
            (Some("\"e\""), CacheState::Present(b"hi".to_vec()))
        );
    }

    proptest! {
        #[test]
        fn cache_entries_round_trip_and_torn_ones_are_noticed(
            etag in proptest::option::of("[!-~]{0,20}"),
            body: Vec<u8>,
            cut in 0_usize..300,
        ) {
            let entry = CacheEntry { etag, last_modified: None, state: CacheState::Present(body) };
            let bytes = entry.encode();
            prop_assert_eq!(CacheEntry::decode(&bytes), Ok(entry.clone()));
            if cut < bytes.len() {
                prop_assert_eq!(CacheEntry::decode(&bytes[..cut]), Err(BadCacheEntry));
            }
            // A damaged body is detected, too.
            if let CacheState::Present(body) = &entry.state
                && !body.is_empty()
            {
                let mut damaged = bytes.clone();
                let at = bytes.len() - 1 - cut % body.len();
                damaged[at] ^= 1;
                prop_assert_eq!(CacheEntry::decode(&damaged), Err(BadCacheEntry));
            }
        }

        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let _ = CacheEntry::decode(&bytes);
            let _ = RegistryConfig::parse(&bytes);
        }
    }
}
