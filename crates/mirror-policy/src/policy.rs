use std::time::{Duration, SystemTime};

use crate::advisories::Advisories;
use crate::candidate::Candidate;
use crate::crate_policy::CratePolicy;
use crate::evaluation::Evaluation;
use crate::facts::Facts;
use crate::licences::Licences;
use crate::names::{ByName, List};
use crate::waiver::Waiver;
use mirror_types::CrateName;

/// A policy file that names every key, with comments. It is a policy itself.
pub const SAMPLE: &str = include_str!("policy.sample.toml");

/// The treatment of releases that an advisory is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnAdvisory {
    /// They are held back.
    Deny,
    /// They are offered, and the evaluation lists the advisory.
    Report,
    /// The advisory does not count.
    Ignore,
}

impl OnAdvisory {
    /// Returns its name in a policy file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Report => "report",
            Self::Ignore => "ignore",
        }
    }
}

/// The rules by which a mirror decides which releases it offers. [`Policy::parse`] and [`Policy::load`] make one of a
/// file; the default is the policy of an empty file.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) min_publish_age: Duration,
    pub(crate) offer_deleted: bool,
    pub(crate) offer_yanked: bool,
    pub(crate) newest: usize,
    pub(crate) allow: List,
    pub(crate) deny: List,
    pub(crate) max_size_bytes: Option<u64>,
    pub(crate) licences: Licences,
    pub(crate) database: Option<String>,
    pub(crate) on_malicious: OnAdvisory,
    pub(crate) on_vulnerable: OnAdvisory,
    pub(crate) waivers: ByName<Waiver>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_publish_age: Duration::ZERO,
            offer_deleted: false,
            offer_yanked: true,
            newest: 0,
            allow: List::default(),
            deny: List::default(),
            max_size_bytes: None,
            licences: Licences::default(),
            database: None,
            on_malicious: OnAdvisory::Deny,
            on_vulnerable: OnAdvisory::Report,
            waivers: ByName::default(),
        }
    }
}

impl Policy {
    /// Returns the age that a release must reach; zero when the rule is off.
    #[must_use]
    pub fn min_publish_age(&self) -> Duration {
        self.min_publish_age
    }

    /// Returns whether releases are offered that upstream deleted.
    #[must_use]
    pub fn offers_deleted(&self) -> bool {
        self.offer_deleted
    }

    /// Decides whether releases are offered that upstream deleted, in place of what the file says.
    pub fn offer_deleted(&mut self, offer: bool) {
        self.offer_deleted = offer;
    }

    /// Returns the number of versions of a crate that are offered at most; 0 means all.
    #[must_use]
    pub fn newest(&self) -> usize {
        self.newest
    }

    /// Returns the path of the advisory database as in the file. One that is not absolute is meant from the directory of
    /// the policy file.
    #[must_use]
    pub fn advisory_database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// Returns the treatment of releases that were made to do harm.
    #[must_use]
    pub fn on_malicious(&self) -> OnAdvisory {
        self.on_malicious
    }

    /// Returns the treatment of releases with a vulnerability.
    #[must_use]
    pub fn on_vulnerable(&self) -> OnAdvisory {
        self.on_vulnerable
    }

    /// Returns the waivers, ordered by release.
    #[must_use]
    pub fn waivers(&self) -> Vec<&Waiver> {
        let mut all: Vec<&Waiver> = self.waivers.values().collect();
        all.sort_by(|one, other| one.release().cmp(other.release()).then(one.ends().cmp(&other.ends())));
        all
    }

    /// Returns the facts that evaluation needs beside index records, so that callers find out no others. A rule that a
    /// waiver lifts may still need its fact for other releases.
    #[must_use]
    pub fn needs(&self) -> Facts {
        Facts::PUBLICATION_TIME.when(!self.min_publish_age.is_zero())
            | Facts::SIZE.when(self.max_size_bytes.is_some())
            | Facts::LICENCE.when(self.licences.is_on())
            | Facts::RELEASES.when(self.newest > 0)
    }

    /// Returns the part of the policy that is about one crate. Ask it about all releases of the crate: the lists and the
    /// advisories are searched only here. Pass empty advisories where no database is configured.
    #[must_use]
    pub fn of_crate<'p>(&'p self, name: &CrateName, advisories: &'p Advisories) -> CratePolicy<'p> {
        CratePolicy::new(self, name, advisories)
    }

    /// Decides about one release at the moment `now`, and returns the finding of every rule. The rule `newest` needs the
    /// other releases of the crate; [`CratePolicy::evaluate_all`] takes them.
    #[must_use]
    pub fn evaluate<'p>(
        &'p self,
        candidate: &Candidate<'_>,
        advisories: &'p Advisories,
        now: SystemTime,
    ) -> Evaluation<'p> {
        self.of_crate(&candidate.record.id.name, advisories).evaluate(candidate, now)
    }
}
