use std::time::SystemTime;

use mirror_types::CrateName;

use crate::advisories::Advisories;
use crate::crate_policy::CratePolicy;
use crate::policy::Policy;

/// A policy, and the advisories by which it decides.
#[derive(Debug, Clone)]
pub struct LoadedPolicy {
    policy: Policy,
    advisories: Advisories,
    /// The digests of both: every commit of a run asks for them.
    digests: String,
}

impl Default for LoadedPolicy {
    fn default() -> Self {
        Self::new(Policy::default(), Advisories::default())
    }
}

impl LoadedPolicy {
    /// Joins a policy and the advisories of the database that it names.
    #[must_use]
    pub fn new(policy: Policy, advisories: Advisories) -> Self {
        let digests = format!("{} {}", policy.digest(), advisories.digest());
        Self { policy, advisories, digests }
    }

    /// Returns the policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the advisories.
    #[must_use]
    pub fn advisories(&self) -> &Advisories {
        &self.advisories
    }

    /// Returns the part that is about one crate.
    #[must_use]
    pub fn of_crate(&self, name: &CrateName) -> CratePolicy<'_> {
        self.policy.of_crate(name, &self.advisories)
    }

    /// Returns whether it offers everything that upstream did not delete, as a mirror without a policy does.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.advisories.is_empty() && self.policy.digest() == Policy::default().digest()
    }

    /// Returns a text that identifies the rules, the advisories, and the waivers that are in force at the moment `now`: it
    /// changes when they may decide otherwise, but for a release that has become old enough.
    #[must_use]
    pub fn identity(&self, now: SystemTime) -> String {
        let ended = self.policy.waivers().iter().filter(|waiver| waiver.ends() <= now).count();
        format!("{} {ended}", self.digests)
    }
}
