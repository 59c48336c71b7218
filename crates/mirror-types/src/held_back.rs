//! The decision of policy that a release is not offered, in the words that every program uses.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::text::{Printable, nearest};

/// The age of the newest commit of an advisory database above which the database is stale: RustSec's gets several commits
/// a week.
pub const ADVISORIES_STALE_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A rule of policy that can hold a release back. Rules are asked in the order of their definition, and the first that
/// holds a release back counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Upstream deleted the release.
    Deleted,
    /// The list of what is denied names it.
    Deny,
    /// The list of what is allowed does not name it.
    Allow,
    /// A security advisory is about it.
    Advisories,
    /// It is yanked.
    Yanked,
    /// It was published too recently.
    MinPublishAge,
    /// Its file is too large.
    MaxCrateSize,
    /// Its licence is not allowed.
    Licenses,
    /// It is not among the newest versions of its crate.
    Newest,
}

impl Rule {
    /// All rules, in the order in which they are asked.
    pub const ALL: [Self; 9] = [
        Self::Deleted,
        Self::Deny,
        Self::Allow,
        Self::Advisories,
        Self::Yanked,
        Self::MinPublishAge,
        Self::MaxCrateSize,
        Self::Licenses,
        Self::Newest,
    ];

    /// Returns the name of the rule, which is also its key in a policy file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Deny => "deny",
            Self::Allow => "allow",
            Self::Advisories => "advisories",
            Self::Yanked => "yanked",
            Self::MinPublishAge => "min-publish-age",
            Self::MaxCrateSize => "max-crate-size",
            Self::Licenses => "licenses",
            Self::Newest => "newest",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a rule; the nearest is {nearest}", Printable(.text))]
pub struct UnknownRule {
    text: String,
    nearest: &'static str,
}

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(text: &str) -> Result<Self, UnknownRule> {
        Self::ALL.into_iter().find(|rule| rule.name() == text).ok_or_else(|| UnknownRule {
            text: text.chars().take(80).collect(),
            nearest: nearest(text, &Self::ALL.map(Self::name)),
        })
    }
}

/// The decision that a release is held back, and the reason. Its text is the sentence that a person reads, wherever the
/// decision is shown: `held back until 2026-12-03 by min-publish-age`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    /// The rule.
    pub rule: Rule,
    /// The moment from which the rule no longer holds it back; `None` where no time changes that.
    pub until: Option<SystemTime>,
    /// The moment since which the rule holds it back, where it is known.
    pub since: Option<SystemTime>,
    /// The reason, beyond the name of the rule; may be empty.
    pub why: String,
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("held back")?;
        match (self.until, self.since) {
            (Some(until), _) => write!(f, " until {}", day(until))?,
            (None, Some(since)) => write!(f, " since {}", day(since))?,
            (None, None) => {}
        }
        write!(f, " by {}", self.rule)?;
        if self.why.is_empty() { Ok(()) } else { write!(f, ": {}", Printable(&self.why)) }
    }
}

/// Returns the date of a moment, in UTC. A moment beyond the calendar has its last date.
fn day(time: SystemTime) -> jiff::civil::Date {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX);
    time.to_zoned(jiff::tz::TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// 3 December 2026, some time of the day.
    const MOMENT: Duration = Duration::from_secs(1_796_256_000 + 4_711);

    fn held(rule: Rule, why: &str) -> HeldBack {
        HeldBack { rule, until: None, since: None, why: why.to_owned() }
    }

    #[test]
    fn the_sentence_names_rule_date_and_reason() {
        let moment = Some(UNIX_EPOCH + MOMENT);
        for (held, sentence) in [
            (
                HeldBack { until: moment, since: Some(UNIX_EPOCH), ..held(Rule::MinPublishAge, "") },
                "held back until 2026-12-03 by min-publish-age",
            ),
            (held(Rule::Deny, "matches `left-pad@<2`"), "held back by deny: matches `left-pad@<2`"),
            (
                held(Rule::Advisories, "RUSTSEC-2026-0001 (malicious)"),
                "held back by advisories: RUSTSEC-2026-0001 (malicious)",
            ),
            (
                HeldBack { since: moment, ..held(Rule::Deleted, "upstream no longer lists it") },
                "held back since 2026-12-03 by deleted: upstream no longer lists it",
            ),
            (held(Rule::Yanked, ""), "held back by yanked"),
            // A reason may quote an advisory or a licence: it must not reach a terminal as it is.
            (held(Rule::Licenses, "`\x1b[2J`"), "held back by licenses: `\\u{1b}[2J`"),
        ] {
            assert_eq!(held.to_string(), sentence);
        }
    }

    #[test]
    fn a_moment_beyond_the_calendar_has_a_date() {
        let far = UNIX_EPOCH.checked_add(Duration::from_secs(1 << 40));
        let held = HeldBack { until: far, ..held(Rule::MinPublishAge, "") };
        assert_eq!(held.to_string(), "held back until 9999-12-30 by min-publish-age");
    }

    #[test]
    fn a_rule_is_found_by_its_name() {
        for rule in Rule::ALL {
            assert_eq!(rule.name().parse(), Ok(rule));
        }
        assert!(Rule::ALL.is_sorted(), "the list has the order of the definition");
        for (text, nearest) in
            [("min-publish-ago", "min-publish-age"), ("Deny", "deny"), ("offer-deleted", "deleted")]
        {
            let error = text.parse::<Rule>().expect_err(text).to_string();
            assert_eq!(error, format!("{text} is not a rule; the nearest is {nearest}"));
        }
    }
}
