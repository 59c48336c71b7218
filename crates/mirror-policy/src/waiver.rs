use std::time::SystemTime;

use jiff::civil::Date;
use mirror_types::{ReleaseId, Rule};

/// An exception that a person made: until a date, the named rules do not hold one release back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    release: ReleaseId,
    rules: Vec<Rule>,
    until: Date,
    ends: SystemTime,
    who: String,
    why: String,
}

impl Waiver {
    /// Makes a waiver; `None` when no day follows its date.
    pub(crate) fn new(
        release: ReleaseId,
        mut rules: Vec<Rule>,
        until: Date,
        who: String,
        why: String,
    ) -> Option<Self> {
        let next_day = until.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        rules.sort_unstable();
        rules.dedup();
        Some(Self { release, rules, until, ends: next_day.timestamp().into(), who, why })
    }

    /// Returns the release.
    #[must_use]
    pub fn release(&self) -> &ReleaseId {
        &self.release
    }

    /// Returns the rules that it lifts.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns its last day, as in `2026-12-31`.
    #[must_use]
    pub fn until(&self) -> String {
        self.until.to_string()
    }

    /// Returns the moment at which it ends: the first of the day after its last, in UTC.
    #[must_use]
    pub fn ends(&self) -> SystemTime {
        self.ends
    }

    /// Returns who made it.
    #[must_use]
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Returns why it was made.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}
