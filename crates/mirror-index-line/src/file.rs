use mirror_types::{CrateName, IndexRecord};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::line::IndexLine;

/// Yields the lines of an index file with their numbers, from 1; leaves out blank ones.
pub fn lines(data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = data;
    let mut number = 0;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let end = memchr::memchr(b'\n', rest);
            let line = &rest[..end.unwrap_or(rest.len())];
            rest = end.map_or(&[], |end| &rest[end + 1..]);
            number += 1;
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some((number, line));
            }
        }
    })
}

/// Yields the records of an index file, with their lines without line ends: those that are JSON to their last byte and
/// have a release that can be mirrored. Any other line is ignored, and hides no earlier one. The last line of a release
/// counts: see [`mirror_types::last_of_each`].
pub fn records(data: &[u8]) -> impl Iterator<Item = (IndexRecord, &[u8])> {
    lines(data).filter_map(|(_, line)| Some((IndexLine::parse(line).ok()?.record()?, line)))
}

/// Returns the crate of an index file, by the first line that names one.
#[must_use]
pub fn crate_of(data: &[u8]) -> Option<CrateName> {
    #[derive(Deserialize)]
    struct Line {
        name: String,
    }
    let mut names = lines(data).filter_map(|(_, line)| serde_json::from_slice::<Line>(line).ok());
    names.next()?.name.parse().ok()
}

/// Returns whether a text looks like a line of an index, however bad: it has one of the fields that every line has.
/// `None` when it is no JSON object.
#[must_use]
pub fn is_like_a_line(text: &[u8]) -> Option<bool> {
    #[derive(Deserialize)]
    struct Keys {
        name: Option<IgnoredAny>,
        vers: Option<IgnoredAny>,
        cksum: Option<IgnoredAny>,
    }
    // Most lines of other files are no objects either.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let keys: Keys = serde_json::from_slice(text).ok()?;
    Some(keys.name.is_some() || keys.vers.is_some() || keys.cksum.is_some())
}
