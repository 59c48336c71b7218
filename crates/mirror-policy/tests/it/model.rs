//! A model of the policy in the plainest terms, compared with the policy. It shares no code with it: entries, versions and
//! advisories are chosen from tables that state their meaning by hand.

use std::time::Duration;

use mirror_policy::{Advisories, Candidate, IndexRecord, Licence, Verdict};
use proptest::prelude::*;

use crate::setup::{DAY, advisories, advisory, now, policy, record};

/// The versions of the crate `a-crate`, in their order.
const VERSIONS: [&str; 5] = ["1.0.0", "1.5.0", "2.0.0-rc.1", "2.0.0", "2.1.0-beta"];
/// True for those that are pre-releases.
const IS_PRE: [bool; 5] = [false, false, true, false, true];

/// Entries of a list, and which versions they deny and allow.
const ENTRIES: &[(&str, [bool; 5], [bool; 5])] = &[
    ("a-crate", [true; 5], [true; 5]),
    ("A_CRATE", [true; 5], [true; 5]),
    ("a-*", [true; 5], [true; 5]),
    ("b*", [false; 5], [false; 5]),
    ("a-crat", [false; 5], [false; 5]),
    ("a-crate@<2", [true, true, true, false, false], [true, true, false, false, false]),
    ("a-?rate@>=2.0.0", [false, false, false, true, true], [false, false, false, true, false]),
    ("a_crate@=1.5.0", [false, true, false, false, false], [false, true, false, false, false]),
    ("a-crate@^2.0.0-rc.1", [false, false, true, true, true], [false, false, true, true, false]),
];

/// Advisories about the crate: the line of its head, the one of its versions, and which versions it affects.
const ADVISORIES: [(&str, &str, [bool; 5]); 3] = [
    (
        "categories = [\"malicious\"]",
        "patched = [\">=2.0.0\"]\nunaffected = [\"<1.5.0\"]",
        [false, true, true, false, false],
    ),
    ("", "patched = [\">=1.0.1, <1.6.0\", \">=2.1.0\"]", [true, false, true, true, true]),
    ("informational = \"unmaintained\"", "patched = []", [true; 5]),
];

const LICENCES: [Licence<'static>; 6] = [
    Licence::Unknown,
    Licence::Missing,
    Licence::Stated("MIT OR GPL-3.0"),
    Licence::Stated("MIT AND ISC"),
    Licence::Stated("nonsense("),
    Licence::Unreadable("it is not UTF-8"),
];

/// Licence rules, and their answers for each of `LICENCES`; `None` stands for a fact that is unknown.
const LICENCE_RULES: [(&str, [Option<bool>; 6]); 5] = [
    ("", [Some(true); 6]),
    ("licenses.allow = [\"MIT\"]", [None, Some(false), Some(true), Some(false), Some(false), Some(false)]),
    (
        "licenses = { allow = [\"MIT\", \"ISC\"], missing = \"offer\" }",
        [None, Some(true), Some(true), Some(true), Some(false), Some(false)],
    ),
    ("licenses.deny = [\"MIT\"]", [None, Some(true), Some(true), Some(false), Some(false), Some(false)]),
    ("licenses.missing = \"deny\"", [None, Some(false), Some(true), Some(true), Some(true), Some(false)]),
];

const ON: [&str; 3] = ["deny", "report", "ignore"];

/// The rules, in the order in which they are asked.
const RULES: [&str; 9] = [
    "deleted",
    "deny",
    "allow",
    "advisories",
    "yanked",
    "min-publish-age",
    "max-crate-size",
    "licenses",
    "newest",
];

#[derive(Debug, Clone)]
struct Rules {
    offer_deleted: bool,
    deny: Vec<usize>,
    allow: Vec<usize>,
    malicious: usize,
    vulnerable: usize,
    deny_yanked: bool,
    min_age_days: u32,
    max_size: Option<u64>,
    licences: usize,
    newest: usize,
    /// Version, rule, and days until the last day; negative ones have ended.
    waivers: Vec<(usize, usize, i32)>,
}

#[derive(Debug, Clone)]
struct Release {
    is_deleted: bool,
    is_yanked: bool,
    age_days: Option<u32>,
    size: Option<u64>,
    licence: usize,
}

fn rules() -> impl Strategy<Value = Rules> {
    let list = || prop::collection::vec(0..ENTRIES.len(), 0..3);
    let waivers = prop::collection::vec((0..VERSIONS.len(), 0..RULES.len(), -3_i32..3), 0..6);
    (
        (any::<bool>(), list(), list(), 0..ON.len(), 0..ON.len()),
        (any::<bool>(), 0_u32..5, prop::option::of(1_u64..5), 0..LICENCE_RULES.len(), 0_usize..4),
        waivers,
    )
        .prop_map(
            |(
                (offer_deleted, deny, allow, malicious, vulnerable),
                (deny_yanked, min_age_days, max_size, licences, newest),
                waivers,
            )| Rules {
                offer_deleted,
                deny,
                allow,
                malicious,
                vulnerable,
                deny_yanked,
                min_age_days,
                max_size,
                licences,
                newest,
                waivers,
            },
        )
}

fn releases() -> impl Strategy<Value = Vec<Release>> {
    let release = (
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.9, 0_u32..6),
        prop::option::weighted(0.8, 1_u64..6),
        0..LICENCES.len(),
    )
        .prop_map(|(is_deleted, is_yanked, age_days, size, licence)| Release {
            is_deleted,
            is_yanked,
            age_days,
            size,
            licence,
        });
    prop::collection::vec(release, VERSIONS.len())
}

impl Rules {
    fn text(&self) -> String {
        let list = |key: &str, entries: &[usize]| {
            let entries: Vec<String> = entries.iter().map(|at| format!("\"{}\"", ENTRIES[*at].0)).collect();
            format!("{key} = [{}]\n", entries.join(", "))
        };
        let mut text = format!(
            "offer-deleted = {}\nyanked = \"{}\"\nmin-publish-age = \"{} days\"\nnewest = {}\n\
             advisories = {{ malicious = \"{}\", vulnerable = \"{}\" }}\n{}{}{}\n",
            self.offer_deleted,
            if self.deny_yanked { "deny" } else { "offer" },
            self.min_age_days,
            self.newest,
            ON[self.malicious],
            ON[self.vulnerable],
            list("deny", &self.deny),
            list("allow", &self.allow),
            LICENCE_RULES[self.licences].0,
        );
        if let Some(size) = self.max_size {
            text.push_str(&format!("max-crate-size = {size}\n"));
        }
        for (version, rule, days) in &self.waivers {
            // All tests happen on 26 November.
            text.push_str(&format!(
                "[[waiver]]\nrelease = \"a-crate@{}\"\nrules = [\"{}\"]\nuntil = 2026-11-{}\nwho = \"w\"\nwhy = \"y\"\n",
                VERSIONS[*version],
                RULES[*rule],
                26 + days
            ));
        }
        text
    }

    /// Returns whether each rule but the last holds a release back; `None` where a fact is unknown.
    fn holds(&self, at: usize, release: &Release) -> [Option<bool>; 8] {
        let affects = |on: &str| {
            (ON[self.malicious] == on && ADVISORIES[0].2[at])
                || (ON[self.vulnerable] == on && ADVISORIES[1].2[at])
        };
        [
            Some(release.is_deleted && !self.offer_deleted),
            Some(self.deny.iter().any(|entry| ENTRIES[*entry].1[at])),
            Some(!self.allow.is_empty() && !self.allow.iter().any(|entry| ENTRIES[*entry].2[at])),
            Some(affects("deny")),
            Some(release.is_yanked && self.deny_yanked),
            Some(self.min_age_days > 0 && release.age_days.is_none_or(|age| age < self.min_age_days)),
            match (self.max_size, release.size) {
                (None, _) => Some(false),
                (Some(_), None) => None,
                (Some(most), Some(size)) => Some(size > most),
            },
            LICENCE_RULES[self.licences].1[release.licence].map(|is_allowed| !is_allowed),
        ]
    }

    fn is_waived(&self, at: usize, rule: usize) -> bool {
        self.waivers.iter().any(|(version, waived, days)| (*version, *waived) == (at, rule) && *days >= 0)
    }

    /// Returns the decision about each release: the rule that holds it back, or the facts that are missing, or `offered`.
    fn decide(&self, releases: &[Release]) -> Vec<String> {
        let first = |at: usize| -> String {
            let holds = self.holds(at, &releases[at]);
            let mut missing = Vec::new();
            for (rule, holds) in holds.iter().enumerate() {
                match holds {
                    _ if self.is_waived(at, rule) => {}
                    Some(true) => return RULES[rule].to_owned(),
                    None => missing.push(if rule == 6 { "size" } else { "licence" }),
                    Some(false) => {}
                }
            }
            if missing.is_empty() { "offered".to_owned() } else { missing.join(", ") }
        };
        let mut decisions: Vec<String> = (0..VERSIONS.len()).map(first).collect();
        if self.newest > 0 {
            let is_open = |at: &usize| !RULES.contains(&decisions[*at].as_str()) && !releases[*at].is_yanked;
            let mut open: Vec<usize> = (0..VERSIONS.len()).rev().filter(is_open).collect();
            if open.iter().any(|at| !IS_PRE[*at]) {
                open.retain(|at| !IS_PRE[*at]);
            }
            open.truncate(self.newest);
            for (at, decision) in decisions.iter_mut().enumerate() {
                let is_held = RULES.contains(&decision.as_str());
                if !is_held && !open.contains(&at) && !self.is_waived(at, 8) {
                    *decision = "newest".to_owned();
                }
            }
        }
        decisions
    }
}

fn shown(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Offered => "offered".to_owned(),
        Verdict::HeldBack(held_back) => held_back.rule.to_string(),
        Verdict::Undecided(facts) => facts.to_string(),
    }
}

fn database() -> Advisories {
    let files: Vec<_> = ADVISORIES
        .iter()
        .zip(1..)
        .map(|((head, versions, _), number)| {
            advisory(&format!("RUSTSEC-2026-000{number}"), "a-crate", head, versions)
        })
        .collect();
    advisories(&files)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_policy_decides_as_the_model(rules in rules(), releases in releases()) {
        let policy = policy(&rules.text());
        let database = database();
        let records: Vec<IndexRecord> = VERSIONS
            .iter()
            .zip(&releases)
            .map(|(version, release)| IndexRecord { yanked: release.is_yanked, ..record("A-Crate", version) })
            .collect();
        let candidates: Vec<Candidate<'_>> = records
            .iter()
            .zip(&releases)
            .map(|(record, release)| {
                let mut candidate = Candidate::new(record);
                candidate.counts_from = release.age_days.map(|days| now() - days * DAY);
                candidate.deleted = release.is_deleted.then(now);
                candidate.size_bytes = release.size;
                candidate.licence = LICENCES[release.licence];
                candidate
            })
            .collect();
        let of_crate = policy.of_crate(&records[0].id.name, &database);
        let verdicts = of_crate.verdicts(&candidates, now());
        prop_assert_eq!(verdicts.iter().map(shown).collect::<Vec<_>>(), rules.decide(&releases));

        let evaluations = of_crate.evaluate_all(&candidates, now());
        for ((at, verdict), evaluation) in verdicts.iter().enumerate().zip(&evaluations) {
            prop_assert_eq!(verdict, &evaluation.verdict);
            prop_assert_eq!(evaluation.findings.len(), RULES.len());
            if rules.newest == 0 {
                prop_assert_eq!(verdict, &of_crate.verdict(&candidates[at], now()));
                prop_assert_eq!(verdict, &policy.evaluate(&candidates[at], &database, now()).verdict);
            }
            if let Verdict::HeldBack(held_back) = verdict && held_back.rule.name() == "min-publish-age" {
                let age = Duration::from_secs(u64::from(rules.min_age_days) * DAY.as_secs());
                prop_assert_eq!(held_back.until, candidates[at].counts_from.map(|since| since + age));
            }
            let reports = evaluation.reports.len();
            let expected = usize::from(ON[rules.malicious] == "report" && ADVISORIES[0].2[at])
                + usize::from(ON[rules.vulnerable] == "report" && ADVISORIES[1].2[at]);
            prop_assert_eq!(reports, expected);
            // A waiver is reported as ended only where a rule holds the release back and none is valid.
            for (rule, _) in &evaluation.expired {
                let rule = RULES.iter().position(|name| *name == rule.name()).expect("rule");
                prop_assert!(!rules.is_waived(at, rule));
            }
        }
    }

    /// Refuses whatever a stranger or a mistake puts into a policy file, and does not panic.
    #[test]
    fn no_text_makes_the_parser_panic(text in "(format|deny|allow|waiver|licenses|advisories|until|=|\\[|\\]|\\{|\\}|\"|@|<|\\.|,|\n| |1|x|-|\\*|\\PC){0,40}") {
        let _ = mirror_policy::Policy::parse(&text);
        let _ = Advisories::from_files([("crates/a/RUSTSEC-2026-0001.md", format!("```toml\n{text}\n```\n"))]);
    }
}
