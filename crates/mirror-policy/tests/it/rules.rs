//! Every rule alone, and every pair of rules.

use mirror_policy::{Advisories, Candidate, Decision, Facts, IndexRecord, Licence, Policy, Rule, Verdict};

use crate::setup::{DAY, advisories, advisory, candidate, now, policy, record};

/// One rule, and how a release comes to violate it.
struct Case {
    rule: Rule,
    /// The line of the policy.
    line: &'static str,
    violate_record: fn(&mut IndexRecord),
    violate: fn(&mut Candidate<'_>),
    sentence: &'static str,
}

const CASE: Case =
    Case { rule: Rule::Deleted, line: "", violate_record: |_| {}, violate: |_| {}, sentence: "" };

/// The cases in the order of the rules. A sibling, 2.0.0, violates none of them.
const CASES: &[Case] = &[
    Case {
        rule: Rule::Deleted,
        violate: |candidate| candidate.deleted = Some(now() - 3 * DAY),
        sentence: "held back since 2026-11-23 by deleted: upstream no longer lists it",
        ..CASE
    },
    Case {
        rule: Rule::Deny,
        line: "deny = [\"other\", \"A_Crate@<2\"]",
        sentence: "held back by deny: matches `A_Crate@<2`",
        ..CASE
    },
    Case {
        rule: Rule::Allow,
        line: "allow = [\"other\", \"a-crate@2\"]",
        sentence: "held back by allow: nothing on the list matches it",
        ..CASE
    },
    Case {
        rule: Rule::Advisories,
        line: "advisories = { vulnerable = \"deny\" }",
        sentence: "held back by advisories: RUSTSEC-2026-0002 (vulnerable)",
        ..CASE
    },
    Case {
        rule: Rule::Yanked,
        line: "yanked = \"deny\"",
        violate_record: |record| record.yanked = true,
        sentence: "held back by yanked",
        ..CASE
    },
    Case {
        rule: Rule::MinPublishAge,
        line: "min-publish-age = \"7 days\"",
        violate: |candidate| candidate.counts_from = Some(now() - DAY),
        sentence: "held back until 2026-12-02 by min-publish-age",
        ..CASE
    },
    Case {
        rule: Rule::MaxCrateSize,
        line: "max-crate-size = \"2 KiB\"",
        violate: |candidate| candidate.size_bytes = Some(2_049),
        sentence: "held back by max-crate-size: it has 2049 bytes (2.0 KiB); the limit is 2048",
        ..CASE
    },
    Case {
        rule: Rule::Licenses,
        line: "licenses = { allow = [\"MIT\"] }",
        violate: |candidate| candidate.licence = Licence::Stated("MIT AND GPL-3.0-only"),
        sentence: "held back by licenses: `MIT AND GPL-3.0-only` is not allowed",
        ..CASE
    },
    Case {
        rule: Rule::Newest,
        line: "newest = 1",
        sentence: "held back by newest: it is not the newest version",
        ..CASE
    },
];

fn database() -> Advisories {
    advisories(&[advisory("RUSTSEC-2026-0002", "a-crate", "", "patched = [\">=2.0.0\"]")])
}

/// Decides about 1.5.0, which violates the rules of `cases`, beside 2.0.0, which violates none.
fn decide(policy: &Policy, cases: &[&Case]) -> Verdict {
    let (mut violating, sibling) = (record("a-crate", "1.5.0"), record("a-crate", "2.0.0"));
    for case in cases {
        (case.violate_record)(&mut violating);
    }
    let mut candidates = [candidate(&violating), candidate(&sibling)];
    for case in cases {
        (case.violate)(&mut candidates[0]);
    }
    let database = database();
    let of_crate = policy.of_crate(&violating.id.name, &database);
    let mut verdicts = of_crate.verdicts(&candidates, now());
    let evaluations = of_crate.evaluate_all(&candidates, now());
    assert_eq!(evaluations.iter().map(|one| one.verdict.clone()).collect::<Vec<_>>(), verdicts);
    assert_eq!(verdicts[1], Verdict::Offered, "the sibling violates nothing");
    verdicts.swap_remove(0)
}

fn sentence(verdict: &Verdict) -> String {
    match verdict {
        Verdict::HeldBack(held_back) => held_back.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn there_is_a_case_for_every_rule() {
    assert_eq!(CASES.iter().map(|case| case.rule).collect::<Vec<_>>(), Rule::ALL);
}

#[test]
fn every_rule_alone_holds_back_what_violates_it() {
    for case in CASES {
        let verdict = decide(&policy(case.line), &[case]);
        assert_eq!(sentence(&verdict), case.sentence);
        let Verdict::HeldBack(held_back) = verdict else { panic!("{verdict:?}") };
        assert_eq!(held_back.rule, case.rule);
    }
}

#[test]
fn a_rule_that_is_not_in_use_holds_nothing_back() {
    for case in CASES.iter().filter(|case| case.rule != Rule::Deleted) {
        assert_eq!(decide(&Policy::default(), &[case]), Verdict::Offered, "{}", case.rule);
    }
    let deleted = &CASES[0];
    assert_eq!(decide(&policy("offer-deleted = true"), &[deleted]), Verdict::Offered);
}

#[test]
fn what_violates_nothing_is_offered_under_every_rule() {
    for case in CASES.iter().filter(|case| {
        // These are about the version, and the release has that in any case.
        !matches!(case.rule, Rule::Deny | Rule::Allow | Rule::Advisories | Rule::Newest)
    }) {
        assert_eq!(decide(&policy(case.line), &[]), Verdict::Offered, "{}", case.rule);
    }
}

#[test]
fn of_two_rules_the_first_counts_in_whatever_order_they_are_written() {
    for (at, first) in CASES.iter().enumerate() {
        for second in &CASES[at + 1..] {
            for lines in [[first.line, second.line], [second.line, first.line]] {
                let both = lines.join("\n");
                let verdict = decide(&policy(&both), &[first, second]);
                assert_eq!(sentence(&verdict), first.sentence, "{both}");
                // With a waiver of the first rule, the second counts.
                let waived = format!(
                    "{both}\n[[waiver]]\nrelease = \"a-crate@1.5.0\"\nrules = [\"{}\"]\nuntil = 2026-11-26\n\
                     who = \"me\"\nwhy = \"so\"\n",
                    first.rule
                );
                let verdict = decide(&policy(&waived), &[first, second]);
                assert_eq!(sentence(&verdict), second.sentence, "{waived}");
            }
        }
    }
}

#[test]
fn a_malicious_release_is_denied_without_being_asked() {
    let database = advisories(&[
        advisory("RUSTSEC-2026-0001", "a-crate", "", "patched = []"),
        advisory("RUSTSEC-2026-0002", "a-crate", "categories = [\"malicious\"]", "patched = [\">=2\"]"),
        advisory("RUSTSEC-2026-0003", "a-crate", "informational = \"unmaintained\"", "patched = []"),
    ]);
    let (record, patched) = (record("a-crate", "1.0.0"), record("a-crate", "2.0.0"));
    let default = Policy::default();
    let evaluation = default.evaluate(&candidate(&record), &database, now());
    let malicious = "held back by advisories: RUSTSEC-2026-0002 (malicious)";
    assert_eq!(sentence(&evaluation.verdict), malicious);
    let strict = policy("advisories.vulnerable = \"deny\"");
    let verdict = strict.evaluate(&candidate(&record), &database, now()).verdict;
    assert_eq!(sentence(&verdict), malicious, "it is named before one with a lower id");
    let reported: Vec<&str> = evaluation.reports.iter().map(|advisory| advisory.id()).collect();
    assert_eq!(reported, ["RUSTSEC-2026-0001"], "one that informs is not reported");
    assert!(default.evaluate(&candidate(&patched), &database, now()).verdict.is_offered());
    for (line, is_offered, reports) in [
        ("malicious = \"report\"", true, 2),
        ("malicious = \"ignore\"", true, 1),
        ("malicious = \"ignore\", vulnerable = \"ignore\"", true, 0),
        ("malicious = \"ignore\", vulnerable = \"deny\"", false, 0),
    ] {
        let policy = policy(&format!("advisories = {{ {line} }}"));
        let evaluation = policy.evaluate(&candidate(&record), &database, now());
        assert_eq!(
            (evaluation.verdict.is_offered(), evaluation.reports.len()),
            (is_offered, reports),
            "{line}"
        );
    }
}

#[test]
fn the_age_counts_to_the_second_and_from_the_replacement() {
    let policy = policy("min-publish-age = \"7 days\"");
    let record = record("a-crate", "1.0.0");
    let none = Advisories::default();
    let mut young = candidate(&record);
    let second = DAY / (24 * 60 * 60);
    for (age, is_offered) in [(7 * DAY - second, false), (7 * DAY, true), (8 * DAY, true)] {
        young.counts_from = Some(now() - age);
        assert_eq!(policy.evaluate(&young, &none, now()).verdict.is_offered(), is_offered, "{age:?}");
    }
    // The record is a year old, and the mirror saw other bytes yesterday.
    young.counts_from = Some(now() - DAY);
    let Verdict::HeldBack(held_back) = policy.evaluate(&young, &none, now()).verdict else { panic!() };
    assert_eq!((held_back.since, held_back.until), (Some(now() - DAY), Some(now() + 6 * DAY)));
    // A clock that is behind.
    young.counts_from = Some(now() + DAY);
    let verdict = policy.evaluate(&young, &none, now()).verdict;
    assert_eq!(sentence(&verdict), "held back until 2026-12-04 by min-publish-age");
    young.counts_from = None;
    let verdict = policy.evaluate(&young, &none, now()).verdict;
    assert_eq!(sentence(&verdict), "held back by min-publish-age: its publication time is not known");
}

#[test]
fn an_age_beyond_all_time_holds_back_for_good() {
    let policy = policy("min-publish-age = \"18446744073709551615 seconds\"");
    let record = record("a-crate", "1.0.0");
    let verdict = policy.evaluate(&candidate(&record), &Advisories::default(), now()).verdict;
    assert!(matches!(verdict, Verdict::HeldBack(held) if held.until.is_none()));
}

#[test]
fn an_unknown_fact_is_asked_for_only_when_nothing_else_holds_back() {
    let all =
        "max-crate-size = 1000\nlicenses = { allow = [\"MIT\"] }\nnewest = 1\nmin-publish-age = \"7 days\"\n";
    let policy = policy(all);
    let record = record("a-crate", "1.0.0");
    let none = Advisories::default();
    let mut unknown = Candidate::new(&record);
    let Verdict::Undecided(facts) = policy.evaluate(&unknown, &none, now()).verdict else { panic!() };
    assert_eq!(facts.to_string(), "size, licence, other releases of the crate");
    assert_eq!(policy.needs().to_string(), "publication time, size, licence, other releases of the crate");
    assert_eq!(Policy::default().needs(), Facts::NONE);

    let of_crate = policy.of_crate(&record.id.name, &none);
    let Verdict::Undecided(facts) = of_crate.verdicts(&[unknown], now()).remove(0) else { panic!() };
    assert_eq!(facts.to_string(), "size, licence");
    unknown.size_bytes = Some(1_001);
    let verdict = of_crate.verdict(&unknown, now());
    assert!(matches!(verdict, Verdict::HeldBack(held) if held.rule == Rule::MaxCrateSize));
    unknown.size_bytes = Some(1_000);
    unknown.counts_from = Some(now());
    let verdict = of_crate.verdict(&unknown, now());
    assert!(matches!(verdict, Verdict::HeldBack(held) if held.rule == Rule::MinPublishAge));

    let evaluation = of_crate.evaluate(&Candidate::new(&record), now());
    let undecided: Vec<(Rule, &str)> = evaluation
        .findings
        .iter()
        .filter(|finding| finding.decision == Decision::Undecided)
        .map(|finding| (finding.rule, finding.reason.as_str()))
        .collect();
    let expected = [
        (Rule::MaxCrateSize, "not known: size"),
        (Rule::Licenses, "not known: licence"),
        (Rule::Newest, "not known: other releases of the crate"),
    ];
    assert_eq!(undecided, expected);
}

#[test]
fn the_newest_are_counted_among_what_is_offered_otherwise() {
    let versions = ["1.0.0", "1.1.0", "2.0.0", "3.0.0-rc.1"];
    let mut records = versions.map(|version| record("a-crate", version));
    records[2].published = Some(now() - DAY);
    let candidates = records.each_ref().map(candidate);
    let none = Advisories::default();
    let offered = |text: &str| {
        let policy = policy(text);
        let verdicts = policy.of_crate(&records[0].id.name, &none).verdicts(&candidates, now());
        let offered = versions.iter().zip(verdicts).filter(|(_, verdict)| verdict.is_offered());
        offered.map(|(version, _)| *version).collect::<Vec<_>>()
    };
    assert_eq!(offered("newest = 1"), ["2.0.0"]);
    assert_eq!(offered("newest = 2"), ["1.1.0", "2.0.0"]);
    assert_eq!(offered("newest = 1\nmin-publish-age = \"7 days\""), ["1.1.0"], "2.0.0 is too young to count");
    assert_eq!(offered("newest = 1\ndeny = [\"a-crate@<=2\"]"), ["3.0.0-rc.1"], "nothing else is left");
    assert_eq!(offered("newest = 0"), versions);
}

#[test]
fn every_finding_has_a_reason() {
    let text: String = CASES.iter().map(|case| format!("{}\n", case.line)).collect();
    let policy = policy(&text);
    let record = record("a-crate", "2.0.0");
    let database = database();
    let of_crate = policy.of_crate(&record.id.name, &database);
    let reasons = |evaluation: &mirror_policy::Evaluation<'_>| {
        let findings = evaluation.findings.iter();
        findings.map(|finding| format!("{}: {}", finding.rule, finding.reason)).collect::<Vec<_>>()
    };
    assert_eq!(
        reasons(&of_crate.evaluate_all(&[candidate(&record)], now())[0]),
        [
            "deleted: upstream lists it",
            "deny: nothing on the list matches it",
            "allow: matches `a-crate@2`",
            "advisories: no advisory denies it",
            "yanked: it is not yanked",
            "min-publish-age: it is old enough",
            "max-crate-size: it is small enough",
            "licenses: its licence is allowed",
            "newest: it is among the newest versions",
        ]
    );
    let default = Policy::default();
    let evaluation = default.evaluate(&candidate(&record), &database, now());
    let off = evaluation.findings.iter().filter(|finding| finding.decision == Decision::Off);
    assert_eq!(off.count(), Rule::ALL.len() - 2, "without a file, two rules hold: deleted and advisories");
}
