//! The sparse protocol without I/O: what to ask, how to read the answer, how to keep it.

use mirror_types::{
    Address, CLIPPED_MESSAGE_BYTES, CLIPPED_VALUE_BYTES, CrateName, ReleaseId, Sha256, clipped, index_path,
    index_prefix, redacted,
};
use serde::Deserialize;
use url::Url;

/// Why a registry's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not the expected JSON.
    #[error("the registry's config.json cannot be read: {0}")]
    Json(String),
    /// A marker that Cargo does not know.
    #[error("the download address {template} has the unknown marker {marker}")]
    Marker {
        /// The template, printable.
        template: String,
        /// The marker.
        marker: String,
    },
    /// Not http or https, or no URL at all.
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

    /// The template of download addresses.
    #[must_use]
    pub fn dl(&self) -> &str {
        &self.dl
    }
}

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

/// A template of download addresses, with Cargo's five markers. Credentials in it are part of the addresses that are
/// asked for, and of nothing that is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DlTemplate {
    text: Address,
    parts: Vec<Part>,
    /// The parts of what is shown.
    shown: Vec<Part>,
}

impl std::fmt::Debug for DlTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DlTemplate({})", self.text)
    }
}

impl DlTemplate {
    /// Takes the `dl` of a registry; without a marker `/{crate}/{version}/download` is added, as
    /// Cargo does.
    ///
    /// # Errors
    /// When a marker or the scheme is not known.
    pub fn parse(dl: &str) -> Result<Self, ConfigError> {
        let mut template = dl.to_owned();
        if !MARKERS.iter().any(|(marker, _)| dl.contains(marker)) {
            template = format!("{}/{{crate}}/{{version}}/download", dl.trim_end_matches('/'));
        }
        Self::checked(template)
    }

    /// `{base}/{name}/{name}-{version}.crate`.
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

    /// The host that downloads go to; `None` when a marker is part of it.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        Url::parse(self.text.reveal()).ok()?.host_str().map(str::to_owned)
    }

    /// The download URL of a release, `+` sent as `%2B`.
    ///
    /// # Errors
    /// When the filled template is no URL.
    pub fn url(&self, id: &ReleaseId, cksum: &Sha256) -> Result<Url, ConfigError> {
        let text = fill(&self.parts, &id.version.as_str().replace('+', "%2B"), id, cksum);
        Url::parse(&text).map_err(|_| ConfigError::Url { template: shown(&self.text) })
    }

    /// The same for people and records: `+` stays readable, and there are no credentials.
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

/// Whether a crate's index file is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheState {
    /// Its bytes.
    Present(Vec<u8>),
    /// 404, 410 or 451.
    Gone,
}

/// What is kept of an answer.
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

const MAGIC: &str = "mirror-sparse-cache 1";

impl CacheEntry {
    /// The entry as kept on disk: a line with the version, `etag`, `last-modified` and `length`
    /// lines, an empty line, the bytes. A `length` of `gone` stands for a crate that is not there.
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
            "{MAGIC}\n{}{}length: {length}\n\n",
            line("etag", &self.etag),
            line("last-modified", &self.last_modified)
        );
        [head.as_bytes(), body].concat()
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// When it is torn or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadCacheEntry> {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").ok_or(BadCacheEntry)?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| BadCacheEntry)?;
        let body = &bytes[end + 2..];
        let mut lines = head.split('\n');
        if lines.next() != Some(MAGIC) {
            return Err(BadCacheEntry);
        }
        let (mut etag, mut last_modified, mut length) = (None, None, None);
        for line in lines {
            match line.split_once(": ") {
                Some(("etag", value)) => etag = Some(value.to_owned()),
                Some(("last-modified", value)) => last_modified = Some(value.to_owned()),
                Some(("length", value)) => length = Some(value),
                _ => return Err(BadCacheEntry),
            }
        }
        let state = match length {
            Some("gone") if body.is_empty() => CacheState::Gone,
            Some(text) if text.parse() == Ok(body.len()) => CacheState::Present(body.to_vec()),
            _ => return Err(BadCacheEntry),
        };
        Ok(Self { etag, last_modified, state })
    }
}

/// Where a crate's index file is.
#[must_use]
pub fn index_url(root: &Url, name: &CrateName) -> Url {
    child(root, &index_path(name))
}

/// Where the registry's configuration is.
#[must_use]
pub fn config_url(root: &Url) -> Url {
    child(root, "config.json")
}

fn child(root: &Url, path: &str) -> Url {
    let mut url = root.clone();
    url.set_path(&format!("{}/{path}", root.path().trim_end_matches('/')));
    url
}

/// Headers that make a request conditional on what is kept.
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

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What is kept is still right.
    Unchanged,
    /// Keep this instead.
    Updated(CacheEntry),
    /// The crate is not there (any more); keep this.
    Gone(CacheEntry),
    /// No answer that means anything.
    Failed,
}

/// Reads an answer.
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
    fn what_a_registry_says_is_told_clipped() {
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

    proptest! {
        #[test]
        fn cache_entries_round_trip_and_torn_ones_are_noticed(
            etag in proptest::option::of("[!-~]{0,20}"),
            body: Vec<u8>,
            cut in 0_usize..300,
        ) {
            let entry = CacheEntry { etag, last_modified: None, state: CacheState::Present(body) };
            let bytes = entry.encode();
            prop_assert_eq!(CacheEntry::decode(&bytes), Ok(entry));
            if cut < bytes.len() {
                prop_assert_eq!(CacheEntry::decode(&bytes[..cut]), Err(BadCacheEntry));
            }
        }

        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let _ = CacheEntry::decode(&bytes);
            let _ = RegistryConfig::parse(&bytes);
        }
    }
}
