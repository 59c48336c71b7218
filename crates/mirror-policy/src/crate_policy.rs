use std::collections::HashSet;
use std::time::SystemTime;

use mirror_index::Selection;
use mirror_types::{CrateName, HeldBack, IndexRecord, ReleaseId, Rule, human_bytes};
use semver::Version;

use crate::advisories::Advisories;
use crate::advisory::{Advisory, AdvisoryKind};
use crate::candidate::{Candidate, Licence};
use crate::evaluation::{Decision, Evaluation, Finding, Verdict};
use crate::facts::Facts;
use crate::names::Entry;
use crate::policy::{OnAdvisory, Policy};
use crate::waiver::Waiver;

/// The part of a policy that is about one crate. It holds no copies, and is made anew for each crate.
#[derive(Debug, Clone)]
pub struct CratePolicy<'p> {
    policy: &'p Policy,
    deny: Vec<&'p Entry>,
    allow: Vec<&'p Entry>,
    advisories: &'p [Advisory],
    waivers: &'p [Waiver],
}

/// The answer of one rule.
enum Answer {
    Off,
    Passes,
    Holds(HeldBack),
    Unknown(Facts),
}

/// The place of a release among the versions of its crate, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Unknown,
    Newest,
    Older,
}

impl<'p> CratePolicy<'p> {
    pub(crate) fn new(policy: &'p Policy, name: &CrateName, advisories: &'p Advisories) -> Self {
        let has_advisory_rule =
            [policy.on_malicious, policy.on_vulnerable].iter().any(|on| *on != OnAdvisory::Ignore);
        Self {
            policy,
            deny: policy.deny.of(name),
            allow: policy.allow.of(name),
            advisories: if has_advisory_rule { advisories.of(name) } else { &[] },
            waivers: policy.waivers.of(name),
        }
    }

    /// Decides about a release of the crate at the moment `now`. Allocates nothing for a release that is offered, unless a
    /// rule reads its version or its licence. Where the rule `newest` is on, its answer needs all releases of the crate:
    /// the verdict is undecided, and [`CratePolicy::verdicts`] decides.
    #[must_use]
    pub fn verdict(&self, candidate: &Candidate<'_>, now: SystemTime) -> Verdict {
        self.decide(candidate, now, Place::Unknown)
    }

    /// Decides about all releases of the crate, in the order of `candidates`. The rule `newest` counts the releases that
    /// no other rule holds back, so that a release that is too young does not take the place of an older one.
    #[must_use]
    pub fn verdicts(&self, candidates: &[Candidate<'_>], now: SystemTime) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> =
            candidates.iter().map(|candidate| self.decide(candidate, now, Place::Newest)).collect();
        if self.policy.newest == 0 {
            return verdicts;
        }
        let newest = self.newest(candidates, &verdicts);
        for (verdict, candidate) in verdicts.iter_mut().zip(candidates) {
            if !matches!(verdict, Verdict::HeldBack(_)) && !newest.contains(&candidate.record.id) {
                *verdict = self.decide(candidate, now, Place::Older);
            }
        }
        verdicts
    }

    /// Decides about a release of the crate at the moment `now`, and returns the finding of every rule. The verdict is that
    /// of [`CratePolicy::verdict`].
    #[must_use]
    pub fn evaluate(&self, candidate: &Candidate<'_>, now: SystemTime) -> Evaluation<'p> {
        self.explain(candidate, now, Place::Unknown)
    }

    /// Decides about all releases of the crate, in the order of `candidates`, and returns the findings of every rule. The
    /// verdicts are those of [`CratePolicy::verdicts`].
    #[must_use]
    pub fn evaluate_all(&self, candidates: &[Candidate<'_>], now: SystemTime) -> Vec<Evaluation<'p>> {
        let others: Vec<Verdict> =
            candidates.iter().map(|candidate| self.decide(candidate, now, Place::Newest)).collect();
        let newest = self.newest(candidates, &others);
        let place = |candidate: &Candidate<'_>| {
            if newest.contains(&candidate.record.id) { Place::Newest } else { Place::Older }
        };
        candidates.iter().map(|candidate| self.explain(candidate, now, place(candidate))).collect()
    }

    /// Returns the advisories that affect a release and are to be reported.
    pub fn reports(&self, candidate: &Candidate<'_>) -> impl Iterator<Item = &'p Advisory> {
        self.affecting(candidate, OnAdvisory::Report)
    }

    /// Returns the newest releases among those that are not held back, as a selection of the newest versions chooses them.
    /// Undecided ones count, because they may be offered.
    fn newest(&self, candidates: &[Candidate<'_>], verdicts: &[Verdict]) -> HashSet<ReleaseId> {
        let open =
            candidates.iter().zip(verdicts).filter(|(_, verdict)| !matches!(verdict, Verdict::HeldBack(_)));
        let records: Vec<IndexRecord> = open.map(|(candidate, _)| candidate.record.clone()).collect();
        newest_of(Selection::default(), self.policy.newest, records)
    }

    fn decide(&self, candidate: &Candidate<'_>, now: SystemTime, place: Place) -> Verdict {
        let mut unknown = Facts::NONE;
        for rule in Rule::ALL {
            match self.answer(rule, candidate, now, place) {
                Answer::Off | Answer::Passes => {}
                Answer::Holds(_) | Answer::Unknown(_) if self.waiver(rule, candidate, now).is_some() => {}
                Answer::Holds(held_back) => return Verdict::HeldBack(held_back),
                Answer::Unknown(facts) => unknown |= facts,
            }
        }
        if unknown.is_empty() { Verdict::Offered } else { Verdict::Undecided(unknown) }
    }

    fn explain(&self, candidate: &Candidate<'_>, now: SystemTime, place: Place) -> Evaluation<'p> {
        let mut evaluation = Evaluation {
            verdict: self.decide(candidate, now, place),
            findings: Vec::with_capacity(Rule::ALL.len()),
            waived: Vec::new(),
            expired: Vec::new(),
            reports: self.reports(candidate).collect(),
        };
        for rule in Rule::ALL {
            let answer = self.answer(rule, candidate, now, place);
            let waiver = match answer {
                Answer::Off | Answer::Passes => None,
                Answer::Holds(_) | Answer::Unknown(_) => self.waiver(rule, candidate, now),
            };
            let (decision, reason, until) = match (answer, waiver) {
                (Answer::Off, _) => (Decision::Off, "not in use".to_owned(), None),
                (Answer::Passes, _) => (Decision::Passes, self.passed(rule, candidate), None),
                (Answer::Holds(_) | Answer::Unknown(_), Some(waiver)) => {
                    evaluation.waived.push((rule, waiver));
                    let reason =
                        format!("waived until {} by {}: {}", waiver.until(), waiver.who(), waiver.why());
                    (Decision::Waived, reason, Some(waiver.ends()))
                }
                (Answer::Holds(held), None) => {
                    evaluation.expired.extend(self.waivers_of(rule, candidate).map(|waiver| (rule, waiver)));
                    (Decision::HoldsBack, held.to_string(), held.until)
                }
                (Answer::Unknown(facts), None) => (Decision::Undecided, format!("not known: {facts}"), None),
            };
            evaluation.findings.push(Finding { rule, decision, reason, until });
        }
        evaluation
    }

    /// Returns the waivers of a release that name a rule.
    fn waivers_of(&self, rule: Rule, candidate: &Candidate<'_>) -> impl Iterator<Item = &'p Waiver> {
        let version = candidate.record.id.version.clone();
        let of_release = self.waivers.iter().filter(move |waiver| waiver.release().version == version);
        of_release.filter(move |waiver| waiver.rules().contains(&rule))
    }

    /// Returns the waiver that lifts a rule for a release; of several, the one that ends last.
    fn waiver(&self, rule: Rule, candidate: &Candidate<'_>, now: SystemTime) -> Option<&'p Waiver> {
        if self.waivers.is_empty() {
            return None;
        }
        let valid = self.waivers_of(rule, candidate).filter(|waiver| now < waiver.ends());
        valid.max_by_key(|waiver| waiver.ends())
    }

    fn answer(&self, rule: Rule, candidate: &Candidate<'_>, now: SystemTime, place: Place) -> Answer {
        let policy = self.policy;
        match rule {
            Rule::Deleted if policy.offer_deleted => Answer::Off,
            Rule::Deleted => match candidate.deleted {
                None => Answer::Passes,
                since => Answer::Holds(HeldBack {
                    since,
                    ..held_back(rule, "upstream no longer lists it".to_owned())
                }),
            },
            Rule::Deny if policy.deny.is_empty() => Answer::Off,
            Rule::Deny => {
                let version = candidate.record.id.version.as_str();
                match self.deny.iter().find(|entry| entry.denies(version)) {
                    None => Answer::Passes,
                    Some(entry) => holds(rule, format!("matches `{}`", entry.text)),
                }
            }
            Rule::Allow if policy.allow.is_empty() => Answer::Off,
            Rule::Allow => match self.allowed(candidate) {
                Some(_) => Answer::Passes,
                None => holds(rule, "nothing on the list matches it".to_owned()),
            },
            Rule::Advisories => self.advisories(candidate),
            Rule::Yanked if policy.offer_yanked => Answer::Off,
            Rule::Yanked if candidate.record.yanked => holds(rule, String::new()),
            Rule::Yanked => Answer::Passes,
            Rule::MinPublishAge => self.min_publish_age(candidate, now),
            Rule::MaxCrateSize => match (policy.max_size_bytes, candidate.size_bytes) {
                (None, _) => Answer::Off,
                (Some(_), None) => Answer::Unknown(Facts::SIZE),
                (Some(most), Some(bytes)) if bytes > most => {
                    holds(rule, format!("it has {bytes} bytes ({}); the limit is {most}", human_bytes(bytes)))
                }
                _ => Answer::Passes,
            },
            Rule::Licenses => self.licence(candidate),
            Rule::Newest => match (policy.newest, place) {
                (0, _) => Answer::Off,
                (_, Place::Unknown) => Answer::Unknown(Facts::RELEASES),
                (_, Place::Newest) => Answer::Passes,
                (1, Place::Older) => holds(rule, "it is not the newest version".to_owned()),
                (most, Place::Older) => holds(rule, format!("it is not among the {most} newest versions")),
            },
        }
    }

    /// Returns the entry that allows a release.
    fn allowed(&self, candidate: &Candidate<'_>) -> Option<&'p Entry> {
        let version = candidate.record.id.version.as_str();
        self.allow.iter().copied().find(|entry| entry.allows(version))
    }

    fn min_publish_age(&self, candidate: &Candidate<'_>, now: SystemTime) -> Answer {
        let age = self.policy.min_publish_age;
        if age.is_zero() {
            return Answer::Off;
        }
        let Some(since) = candidate.counts_from else {
            return holds(Rule::MinPublishAge, "its publication time is not known".to_owned());
        };
        match since.checked_add(age) {
            Some(until) if until <= now => Answer::Passes,
            until => Answer::Holds(HeldBack {
                until,
                since: Some(since),
                ..held_back(Rule::MinPublishAge, String::new())
            }),
        }
    }

    fn licence(&self, candidate: &Candidate<'_>) -> Answer {
        let licences = &self.policy.licences;
        if !licences.is_on() {
            return Answer::Off;
        }
        match candidate.licence {
            Licence::Unknown => Answer::Unknown(Facts::LICENCE),
            Licence::Missing if licences.denies_missing() => {
                holds(Rule::Licenses, "it states no licence".to_owned())
            }
            Licence::Missing => Answer::Passes,
            Licence::Unreadable(reason) => {
                holds(Rule::Licenses, format!("its Cargo.toml cannot be read: {reason}"))
            }
            Licence::Stated(text) => match licences.check(text) {
                Ok(()) => Answer::Passes,
                Err(reason) => holds(Rule::Licenses, reason),
            },
        }
    }

    fn advisories(&self, candidate: &Candidate<'_>) -> Answer {
        let (malicious, vulnerable) = (self.policy.on_malicious, self.policy.on_vulnerable);
        if malicious == OnAdvisory::Ignore && vulnerable == OnAdvisory::Ignore {
            return Answer::Off;
        }
        // Malicious ones first, then by id.
        match self.affecting(candidate, OnAdvisory::Deny).min_by_key(|advisory| advisory.kind()) {
            None => Answer::Passes,
            Some(advisory) => holds(Rule::Advisories, format!("{} ({})", advisory.id(), advisory.kind())),
        }
    }

    /// Returns the advisories that affect a release and are to be treated in one way.
    fn affecting(&self, candidate: &Candidate<'_>, on: OnAdvisory) -> impl Iterator<Item = &'p Advisory> {
        let policy = self.policy;
        let treated = move |advisory: &&Advisory| match advisory.kind() {
            AdvisoryKind::Malicious => policy.on_malicious == on,
            AdvisoryKind::Vulnerable => policy.on_vulnerable == on,
            AdvisoryKind::Informational => false,
        };
        // A text that is no version is affected by all.
        let version = (!self.advisories.is_empty())
            .then(|| Version::parse(candidate.record.id.version.as_str()).ok())
            .flatten();
        self.advisories
            .iter()
            .filter(treated)
            .filter(move |advisory| version.as_ref().is_none_or(|version| advisory.affects_version(version)))
    }

    /// Returns the reason why a rule that is in use does not hold a release back.
    fn passed(&self, rule: Rule, candidate: &Candidate<'_>) -> String {
        let text = match rule {
            Rule::Deleted => "upstream lists it",
            Rule::Deny => "nothing on the list matches it",
            Rule::Allow => {
                let entry = self.allowed(candidate).map_or("", |entry| entry.text.as_str());
                return format!("matches `{entry}`");
            }
            Rule::Advisories => "no advisory denies it",
            Rule::Yanked => "it is not yanked",
            Rule::MinPublishAge => "it is old enough",
            Rule::MaxCrateSize => "it is small enough",
            Rule::Licenses => match candidate.licence {
                Licence::Stated(_) => "its licence is allowed",
                Licence::Missing | Licence::Unknown | Licence::Unreadable(_) => "it states no licence",
            },
            Rule::Newest => "it is among the newest versions",
        };
        text.to_owned()
    }
}

/// Returns the newest `count` of the records that are not yanked; none of them when `count` is 0.
fn newest_of(mut selection: Selection, count: usize, records: Vec<IndexRecord>) -> HashSet<ReleaseId> {
    if count == 0 {
        return HashSet::new();
    }
    selection.latest = count;
    selection.select(records).records.into_iter().map(|record| record.id).collect()
}

fn held_back(rule: Rule, why: String) -> HeldBack {
    HeldBack { rule, until: None, since: None, why }
}

fn holds(rule: Rule, why: String) -> Answer {
    Answer::Holds(held_back(rule, why))
}
