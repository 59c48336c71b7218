//! The parts of which the tests build their cases.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mirror_policy::{Advisories, Candidate, IndexRecord, Licence, Policy, Sha256};
use mirror_types::ReleaseId;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The moment of all tests: 2026-11-26, 12:00 UTC.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_694_400)
}

pub(crate) fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|fault| panic!("{fault} in\n{text}"))
}

/// A release that was published a year ago.
pub(crate) fn record(name: &str, version: &str) -> IndexRecord {
    IndexRecord {
        id: ReleaseId { name: name.parse().expect(name), version: version.parse().expect(version) },
        cksum: Sha256::from_bytes([7; 32]),
        yanked: false,
        published: Some(now() - 365 * DAY),
    }
}

/// A release of which every fact is known, and none is suspicious.
pub(crate) fn candidate(record: &IndexRecord) -> Candidate<'_> {
    let mut candidate = Candidate::new(record);
    candidate.size_bytes = Some(100);
    candidate.licence = Licence::Stated("MIT");
    candidate
}

/// The Markdown of an advisory. `more` is further lines of its head.
pub(crate) fn advisory(id: &str, package: &str, more: &str, versions: &str) -> (String, String) {
    let text = format!(
        "```toml\n[advisory]\nid = \"{id}\"\npackage = \"{package}\"\ndate = \"2026-11-01\"\n{more}\n\n[versions]\n\
         {versions}\n```\n\n# The title of {id}\n\nA text.\n"
    );
    (format!("crates/{package}/{id}.md"), text)
}

pub(crate) fn advisories(files: &[(String, String)]) -> Advisories {
    let advisories = Advisories::from_files(files.iter().map(|(path, text)| (path, text)));
    assert_eq!(advisories.faults(), [], "the files of a test are good");
    advisories
}
