//! The policy as the model knows it, written from its documentation.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use mirror_types::ReleaseId;

use super::licences::{Body, LicenceRule};
use super::{DAY, HOUR};

/// Returns year, month and day of a moment, in seconds since 1970.
fn date(at: u64) -> (u64, u64, u64) {
    let (mut days, mut year) = (at / DAY, 1970);
    loop {
        let is_leap = year % 4 == 0;
        let of_year = 365 + u64::from(is_leap);
        if days >= of_year {
            (days, year) = (days - of_year, year + 1);
            continue;
        }
        let february = 28 + u64::from(is_leap);
        let mut month = 1;
        for of_month in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if days < of_month {
                return (year, month, days + 1);
            }
            (days, month) = (days - of_month, month + 1);
        }
    }
}

pub(super) fn rfc3339(at: u64) -> String {
    let ((year, month, day), of_day) = (date(at), at % DAY);
    let (hour, minute, second) = (of_day / HOUR, of_day / 60 % 60, of_day % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A release as upstream lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) body: Body,
    pub(super) yanked: bool,
    pub(super) published: Option<u64>,
}

/// Returns the place of a version in the order of versions; the patch number is always 0.
fn order(id: &ReleaseId) -> (u64, u64, bool) {
    let version = id.version.as_str();
    let mut numbers = version.split('.').map(|number| number.parse().expect("a number"));
    let is_release = !version.contains('-');
    (numbers.next().expect("major"), numbers.next().expect("minor"), is_release)
}

fn is_prerelease(id: &ReleaseId) -> bool {
    !order(id).2
}

/// The bound of a requirement: versions before it, or from it on.
#[derive(Debug, Clone)]
pub(super) enum Range {
    All,
    Before(u64, u64),
    From(u64, u64),
}

/// An entry of a list.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) text: &'static str,
    pub(super) names: Vec<&'static str>,
    pub(super) range: Range,
}

impl Entry {
    pub(super) fn text(&self) -> String {
        match self.range {
            Range::All => format!("\"{}\"", self.text),
            Range::Before(major, minor) => format!("\"{}@<{major}.{minor}\"", self.text),
            Range::From(major, minor) => format!("\"{}@>={major}.{minor}\"", self.text),
        }
    }

    fn matches(&self, id: &ReleaseId) -> bool {
        self.names.contains(&id.name.as_str())
            && match self.range {
                Range::All => true,
                Range::Before(major, minor) => order(id) < (major, minor, true),
                Range::From(major, minor) => order(id) >= (major, minor, true),
            }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Waiver {
    pub(super) id: ReleaseId,
    pub(super) rule: &'static str,
    /// The last moment of its last day has passed.
    pub(super) ends: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Advice {
    pub(super) serial: usize,
    pub(super) name: &'static str,
    pub(super) is_malicious: bool,
    /// The first version that is not affected.
    pub(super) patched: (u64, u64),
}

/// The policy, as the test knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    pub(super) age: u64,
    pub(super) deny: Vec<Entry>,
    pub(super) allow: Vec<Entry>,
    pub(super) largest: Option<u64>,
    pub(super) newest: usize,
    pub(super) licences: Option<LicenceRule>,
    pub(super) denies_yanked: bool,
    pub(super) denies_vulnerable: bool,
    pub(super) waivers: Vec<Waiver>,
}

impl Rules {
    pub(super) fn text(&self) -> String {
        let list = |entries: &[Entry]| entries.iter().map(Entry::text).collect::<Vec<_>>().join(", ");
        let mut text = format!("min-publish-age = \"{} seconds\"\n", self.age);
        let _ = writeln!(text, "deny = [{}]\nallow = [{}]", list(&self.deny), list(&self.allow));
        let _ = writeln!(text, "newest = {}", self.newest);
        text += &self.licences.as_ref().map(LicenceRule::text).unwrap_or_default();
        if self.denies_yanked {
            text += "yanked = \"deny\"\n";
        }
        if let Some(largest) = self.largest {
            let _ = writeln!(text, "max-crate-size = \"{largest} B\"");
        }
        if self.denies_vulnerable {
            text += "[advisories]\nvulnerable = \"deny\"\n";
        }
        for Waiver { id, rule, ends } in &self.waivers {
            let (year, month, day) = date(ends - DAY);
            let _ = writeln!(
                text,
                "[[waiver]]\nrelease = \"{}@{}\"\nrules = [\"{rule}\"]\nuntil = {year}-{month:02}-{day:02}\n\
                 who = \"a\"\nwhy = \"b\"",
                id.name, id.version
            );
        }
        text
    }

    fn waives(&self, id: &ReleaseId, rule: &str, now: u64) -> bool {
        self.waivers.iter().any(|waiver| waiver.id == *id && waiver.rule == rule && now < waiver.ends)
    }

    /// Returns whether every rule that needs no other release, and not the size, admits a release. `since`: the moment
    /// at which the mirror saw its bytes replace others.
    pub(super) fn admit(
        &self,
        id: &ReleaseId,
        line: &Line,
        since: Option<u64>,
        advice: &[Advice],
        now: u64,
    ) -> bool {
        let age = || line.published.is_some_and(|at| at.max(since.unwrap_or(0)) + self.age <= now);
        let advised = |advice: &Advice| {
            advice.name == id.name.as_str()
                && (advice.is_malicious || self.denies_vulnerable)
                && order(id) < (advice.patched.0, advice.patched.1, true)
        };
        let forbids = [
            ("deny", self.deny.iter().any(|entry| entry.matches(id))),
            ("allow", !self.allow.is_empty() && !self.allow.iter().any(|entry| entry.matches(id))),
            ("advisories", advice.iter().any(advised)),
            ("yanked", line.yanked && self.denies_yanked),
            ("min-publish-age", self.age > 0 && !age()),
        ];
        forbids.iter().all(|(rule, forbids)| !forbids || self.waives(id, rule, now))
    }

    pub(super) fn admits_size(&self, id: &ReleaseId, size: usize, now: u64) -> bool {
        self.largest.is_none_or(|largest| size as u64 <= largest) || self.waives(id, "max-crate-size", now)
    }

    /// Returns whether the rule on licences asks for that of a release which no other rule holds back.
    pub(super) fn asks_licence(&self, id: &ReleaseId, now: u64) -> bool {
        self.licences.is_some() && !self.waives(id, "licenses", now)
    }

    pub(super) fn admits_licence(&self, id: &ReleaseId, body: &Body, now: u64) -> bool {
        self.licences.as_ref().is_none_or(|rule| rule.allows(body)) || self.waives(id, "licenses", now)
    }

    /// Keeps those that are not displaced by `counted`, of which each is admitted by all other rules.
    pub(super) fn keep_newest(&self, ids: &mut BTreeSet<ReleaseId>, counted: &[(ReleaseId, bool)], now: u64) {
        if self.newest == 0 {
            return;
        }
        ids.retain(|id| {
            let of_crate = || counted.iter().filter(|(other, yanked)| other.name == id.name && !yanked);
            let has_releases = of_crate().any(|(other, _)| !is_prerelease(other));
            let counts = |other: &ReleaseId| !(has_releases && is_prerelease(other));
            let newer = of_crate().filter(|(other, _)| order(other) > order(id) && counts(other));
            let is_yanked = counted.iter().any(|(other, yanked)| other == id && *yanked);
            (!is_yanked && counts(id) && newer.count() < self.newest) || self.waives(id, "newest", now)
        });
    }
}
