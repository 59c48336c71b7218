use std::collections::HashMap;
use std::path::Path;

use mirror_types::{
    CLIPPED_VALUE_BYTES, Cause, CrateName, ReleaseId, Sha256, VersionText, clipped, redacted,
};
use serde::Deserialize;
use url::Url;

use crate::error::SyncError;
use crate::given::{MAX_LIST_BYTES, read_text};

/// Reads a newline-delimited list of URLs. Ignores blank lines and `#` comments; passes lines that name no release to
/// `fault`.
pub(crate) fn read_list(
    path: &Path,
    fault: &mut dyn FnMut(String),
) -> Result<Vec<(ReleaseId, Url)>, SyncError> {
    let text = read_text("the list of URLs", path, MAX_LIST_BYTES)?;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match Url::parse(line).ok().and_then(|url| Some((release_of(&url)?, url))) {
            Some(entry) => found.push(entry),
            None => fault(format!(
                "{}, line {}: {} does not end in {{name}}-{{version}}.crate",
                path.display(),
                at + 1,
                clipped(redacted(line), CLIPPED_VALUE_BYTES)
            )),
        }
    }
    Ok(found)
}

/// Returns the release that a download URL names: by `/{crate}/{version}/download`, or by the file name.
fn release_of(url: &Url) -> Option<ReleaseId> {
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    let parts: Vec<String> =
        url.path_segments()?.map(|part| part.replace("%2B", "+").replace("%2b", "+")).collect();
    if let [.., name, version, last] = parts.as_slice()
        && last == "download"
    {
        return Some(ReleaseId {
            name: CrateName::new(name).ok()?,
            version: VersionText::new(version).ok()?,
        });
    }
    ReleaseId::of_file(parts.last()?)
}

/// Checksums by URL (readable form: `+` not escaped).
pub(crate) type Checksums = HashMap<String, Sha256>;

#[derive(Deserialize)]
struct ChecksumLine {
    url: String,
    sha256: Sha256,
}

/// Reads a JSONL file of `{url, sha256}`.
pub(crate) fn read_checksums(path: &Path) -> Result<Checksums, SyncError> {
    let text = read_text("the checksums", path, MAX_LIST_BYTES)?;
    let mut sums = Checksums::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let entry: ChecksumLine = serde_json::from_str(line).map_err(|error| SyncError::Checksums {
            path: path.to_owned(),
            line: at + 1,
            source: Cause::new(error),
        })?;
        let sum = entry.sha256;
        if let Some(other) = sums.insert(normal(&entry.url), sum).filter(|other| *other != sum) {
            return Err(SyncError::Usage(format!(
                "checksums {}, line {}: {} has the checksum {sum} here and {other} before; one of them is wrong",
                path.display(),
                at + 1,
                clipped(&entry.url, CLIPPED_VALUE_BYTES)
            )));
        }
    }
    Ok(sums)
}

/// Returns a URL in the form in which those of a list are looked up: as its parser writes it, and readable.
fn normal(url: &str) -> String {
    Url::parse(url.trim()).map_or_else(|_| readable(url), |url| readable(url.as_str()))
}

/// Returns a URL with `%2B` shown as `+`, and without credentials.
pub(crate) fn readable(url: &str) -> String {
    redacted(url).replace("%2B", "+").replace("%2b", "+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_releases() {
        for (url, id) in [
            ("https://h/crates/a-1/a-1-2.0.0.crate", "a-1 2.0.0"),
            ("https://h/crates/a-1-2.0.0.crate", "a-1 2.0.0"),
            ("https://h/crates/b/b-1.0.0%2Bx.crate", "b 1.0.0+x"),
            ("https://h/api/v1/crates/serde/1.0.0/download", "serde 1.0.0"),
        ] {
            let release = release_of(&Url::parse(url).expect(url)).expect(url);
            assert_eq!(release.to_string(), id);
        }
        for bad in
            ["ftp://h/a/a-1.0.0.crate", "https://h/", "https://h/a/a.crate", "https://h/%2e%2e/..-1.crate"]
        {
            assert!(release_of(&Url::parse(bad).expect(bad)).is_none(), "{bad}");
        }
    }
}
