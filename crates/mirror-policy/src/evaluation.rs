use std::time::SystemTime;

use mirror_types::{HeldBack, Rule};

use crate::advisory::Advisory;
use crate::facts::Facts;
use crate::waiver::Waiver;

/// The decision of a policy about one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No rule holds it back.
    Offered,
    /// A rule holds it back: the first of [`Rule::ALL`] that does.
    HeldBack(HeldBack),
    /// No rule holds it back by what is known, and these facts are needed to decide. The caller finds them out and asks
    /// again.
    Undecided(Facts),
}

impl Verdict {
    /// Returns whether the release is offered.
    #[must_use]
    pub const fn is_offered(&self) -> bool {
        matches!(self, Self::Offered)
    }
}

/// The decision of one rule about a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The policy does not use the rule.
    Off,
    /// The rule does not hold the release back.
    Passes,
    /// The rule would hold the release back, and a waiver lifts it.
    Waived,
    /// The rule holds the release back.
    HoldsBack,
    /// The rule needs a fact that is unknown.
    Undecided,
}

/// The finding of one rule about a release.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// Its decision.
    pub decision: Decision,
    /// The reason, in a few words.
    pub reason: String,
    /// The moment at which the decision changes by itself: a release becomes old enough, or a waiver ends.
    pub until: Option<SystemTime>,
}

/// The decision of a policy about one release, and what led to it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Evaluation<'p> {
    /// The decision.
    pub verdict: Verdict,
    /// The finding of every rule, in the order of [`Rule::ALL`].
    pub findings: Vec<Finding>,
    /// The waivers that lift a rule.
    pub waived: Vec<(Rule, &'p Waiver)>,
    /// The waivers that would lift a rule, had they not ended.
    pub expired: Vec<(Rule, &'p Waiver)>,
    /// The advisories that affect the release and are to be reported.
    pub reports: Vec<&'p Advisory>,
}
