//! Counts of what policy holds back, and of what Cargo's own rule of age cannot judge.

use std::time::{Duration, SystemTime};

use mirror_index_line::{IndexLine, lines};
use mirror_manifest::HeldBackCount;
use mirror_repo::{Mirror, RepoError};
use mirror_types::Rule;

use crate::error::ServeError;

/// The releases that policy holds back, by rule: those that are held and not offered, and those that were not fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldBackTotals {
    /// The rules that hold something back and their numbers of releases, in the order of the rules.
    pub by_rule: Vec<(Rule, u64)>,
}

impl HeldBackTotals {
    /// Counts them. The time grows with their number; blocks.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn of(mirror: &Mirror) -> Result<Self, ServeError> {
        Ok(Self::from_counts(mirror.ask(|catalogue| Ok(catalogue.held_back_counts()?))?))
    }

    pub(crate) fn from_counts(counts: Vec<HeldBackCount>) -> Self {
        let mut by_rule: Vec<(Rule, u64)> = Vec::new();
        for HeldBackCount { rule, held, deferred } in counts {
            match by_rule.iter_mut().find(|(known, _)| *known == rule) {
                // A rule of a later version counts as another.
                Some((_, releases)) => *releases += held + deferred,
                None => by_rule.push((rule, held + deferred)),
            }
        }
        Self { by_rule }
    }

    /// Returns the number of releases that a rule holds back.
    #[must_use]
    pub fn by(&self, rule: Rule) -> u64 {
        self.by_rule.iter().find(|(known, _)| *known == rule).map_or(0, |(_, releases)| *releases)
    }

    /// Returns the number of releases that any rule holds back.
    #[must_use]
    pub fn releases(&self) -> u64 {
        self.by_rule.iter().map(|(_, releases)| releases).sum()
    }

    /// Returns a sentence without its full stop: `12 releases are held back by policy: 10 min-publish-age, 2 yanked`;
    /// `None` where nothing is held back.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let rules: Vec<String> =
            self.by_rule.iter().map(|(rule, releases)| format!("{releases} {rule}")).collect();
        (self.releases() > 0).then(|| format!("{}: {}", are_held_back(self.releases()), rules.join(", ")))
    }
}

/// Returns the words for a number of releases.
fn are_held_back(releases: u64) -> String {
    match releases {
        1 => "1 release is held back by policy".to_owned(),
        _ => format!("{releases} releases are held back by policy"),
    }
}

/// Returns the sentence of the held-back release that is due first, such as `serde 1.0.0 is held back until 2026-12-03
/// by min-publish-age`; `None` where no release has a date. Blocks.
///
/// # Errors
/// When the catalogue cannot be read.
pub fn next_due(mirror: &Mirror) -> Result<Option<String>, ServeError> {
    let first = mirror.ask(|catalogue| Ok(catalogue.first_due()?))?;
    Ok(first.map(|release| format!("{} is {}", release.id, release.decision)))
}

/// Returns the age of the newest commit of the advisory database by which the last run of a mirror decided, at the moment
/// `now`; `None` where that had no git clone of one. Blocks.
///
/// # Errors
/// When the catalogue cannot be read.
pub fn advisories_age(mirror: &Mirror, now: SystemTime) -> Result<Option<Duration>, ServeError> {
    let moment = mirror.ask(|catalogue| Ok(catalogue.advisories_of()?))?;
    Ok(moment.map(|moment| now.duration_since(moment).unwrap_or_default()))
}

/// The offered releases whose index lines have no publication time that can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WithoutPubtime {
    /// Crates with such releases.
    pub crates: u64,
    /// Such releases.
    pub releases: u64,
}

impl WithoutPubtime {
    /// Counts them. Reads every index file of the mirror, one at a time; blocks.
    ///
    /// # Errors
    /// When the index cache or the catalogue cannot be read.
    pub fn of(mirror: &Mirror) -> Result<Self, ServeError> {
        let mut found = Self::default();
        for path in mirror.index_paths()? {
            let listing = mirror.listing_with(&path, &mut |_, _| Ok::<_, RepoError>(true))?;
            let Some(listing) = listing else { continue };
            let lines = lines(&listing.text).filter_map(|(_, line)| IndexLine::skim(line).ok());
            let releases = lines.filter(|line| line.published().is_none()).count() as u64;
            found.releases += releases;
            found.crates += u64::from(releases > 0);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_counts_by_rule() {
        let count = |rule, held, deferred| HeldBackCount { rule, held, deferred };
        let said = |counts| HeldBackTotals::from_counts(counts).sentence();
        assert_eq!(said(Vec::new()), None);
        let one = vec![count(Rule::Deny, 1, 0)];
        assert_eq!(said(one).as_deref(), Some("1 release is held back by policy: 1 deny"));
        let counts = vec![count(Rule::Deny, 1, 0), count(Rule::Deny, 0, 1), count(Rule::MinPublishAge, 4, 6)];
        let totals = HeldBackTotals::from_counts(counts);
        assert_eq!((totals.by(Rule::Deny), totals.by(Rule::Yanked), totals.releases()), (2, 0, 12));
        let all = "12 releases are held back by policy: 2 deny, 10 min-publish-age";
        assert_eq!(totals.sentence().as_deref(), Some(all));
    }
}
