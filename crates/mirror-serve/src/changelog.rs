//! The log of changes in a static index: `index/changelog`, which the proposal of sparse registries describes as an
//! addition (RFC 2789, "Incremental changelog"). A client that has the file as it was at some time asks for what follows,
//! and then only for the index files of the crates that are named there.

use std::fmt::Write as _;
use std::time::SystemTime;

use mirror_checksum::Hasher;
use mirror_manifest::rfc3339;
use mirror_store::{Staged, Store, StoreError};

/// The file of the log. No crate has its index file there.
pub(crate) const CHANGELOG: &str = "index/changelog";
/// The size in bytes from which the log begins anew.
const MOST_BYTES: usize = 1 << 20;

/// The lines of one export that are not in the log yet.
#[derive(Debug)]
pub(crate) struct Changelog {
    time: String,
    /// The names of crates whose index files change, each with the SHA-256 of the new file, or `-` when it goes.
    changed: Vec<(String, String)>,
}

impl Changelog {
    /// Begins the lines of an export, which all have its time.
    pub(crate) fn at(time: SystemTime) -> Self {
        Self { time: rfc3339(time), changed: Vec::new() }
    }

    /// Adds a crate whose index file changes.
    pub(crate) fn changes(&mut self, name: &str, text: &[u8]) {
        self.changed.push((name.to_owned(), Hasher::of(text).to_string()));
    }

    /// Adds a crate whose index file is removed.
    pub(crate) fn goes(&mut self, name: &str) {
        self.changed.push((name.to_owned(), "-".to_owned()));
    }

    /// Stages the log with the added lines, which count as written; returns `None` when there are none. The log must be
    /// durable before the index files change: a line too many makes clients ask once more, one too few would hide a
    /// change.
    pub(crate) fn stage(&mut self, store: &Store) -> Result<Option<Staged>, StoreError> {
        if self.changed.is_empty() {
            return Ok(None);
        }
        let old = if store.has(CHANGELOG)? { store.read(CHANGELOG)? } else { Vec::new() };
        let text = self.text_after(&String::from_utf8_lossy(&old));
        store.stage(CHANGELOG, text.as_bytes()).map(Some)
    }

    fn text_after(&mut self, old: &str) -> String {
        // An epoch that cannot be read is no reason to use one that clients may know.
        let epoch =
            old.lines().next_back().map_or(Some(1), |line| line.split(' ').next()?.parse::<u64>().ok());
        let is_whole = old.is_empty() || old.ends_with('\n');
        let (epoch, mut text) = match epoch {
            Some(epoch) if is_whole && old.len() < MOST_BYTES => (epoch, old.to_owned()),
            Some(epoch) => (epoch.saturating_add(1), String::new()),
            None => (seconds(SystemTime::now()), String::new()),
        };
        for (name, sha256) in self.changed.drain(..) {
            let _ = writeln!(text, "{epoch} {} {name} {sha256}", self.time);
        }
        text
    }
}

/// Returns the seconds since 1970, which no log reaches by counting.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Changelog {
        let mut log = Changelog::at(SystemTime::UNIX_EPOCH);
        log.changes("serde", b"");
        log.goes("evil");
        log
    }

    const LINES: &str =
        "1970-01-01T00:00:00.000Z serde e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";

    #[test]
    fn lines_are_added_at_the_end() {
        let first = log().text_after("");
        assert_eq!(first, format!("1 {LINES}1 1970-01-01T00:00:00.000Z evil -\n"));
        let second = log().text_after(&first);
        assert_eq!(second.strip_prefix(&first), Some(first.as_str()));
    }

    #[test]
    fn a_long_log_begins_anew_with_the_next_epoch() {
        let old = format!("7 {LINES}").repeat(MOST_BYTES / 90);
        assert!(old.len() >= MOST_BYTES);
        assert!(log().text_after(&old).starts_with(&format!("8 {LINES}8 ")));
    }

    #[test]
    fn a_damaged_log_begins_anew_with_an_epoch_that_nobody_knows() {
        assert!(log().text_after("3 torn").starts_with(&format!("4 {LINES}")));
        let anew = log().text_after("garbage\n");
        let (epoch, _) = anew.split_once(' ').expect("an epoch");
        assert!(epoch.parse::<u64>().expect("a number") > 1_000_000_000, "{anew}");
    }
}
