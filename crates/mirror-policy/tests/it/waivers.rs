//! Waivers lift the rules that they name, for one release, until the end of a day.

use mirror_policy::{Advisories, Decision, Policy, Rule, Verdict};

use crate::setup::{DAY, candidate, now, policy, record};

fn with_waiver(release: &str, rules: &str, until: &str) -> Policy {
    policy(&format!(
        "deny = [\"a-crate\"]\nyanked = \"deny\"\n[[waiver]]\nrelease = \"{release}\"\nrules = [{rules}]\n\
         until = {until}\nwho = \"platform team\"\nwhy = \"fixes our outage\"\n"
    ))
}

#[test]
fn a_waiver_counts_for_its_release_and_rules_alone() {
    let none = Advisories::default();
    for (release, rules, is_offered) in [
        ("a-crate@1.0.0", "\"deny\"", true),
        ("A_Crate@1.0.0", "\"yanked\", \"deny\"", true),
        ("a-crate@1.0.1", "\"deny\"", false),
        ("b-crate@1.0.0", "\"deny\"", false),
        ("a-crate@1.0.0", "\"yanked\"", false),
    ] {
        let policy = with_waiver(release, rules, "2026-12-31");
        let record = record("a-crate", "1.0.0");
        let verdict = policy.evaluate(&candidate(&record), &none, now()).verdict;
        assert_eq!(verdict.is_offered(), is_offered, "{release} {rules}: {verdict:?}");
    }
}

#[test]
fn a_waiver_counts_to_the_end_of_its_last_day() {
    let none = Advisories::default();
    let policy = with_waiver("a-crate@1.0.0", "\"deny\"", "2026-11-26");
    let record = record("a-crate", "1.0.0");
    let midnight = now() + DAY / 2;
    let last_second = midnight - DAY / (24 * 60 * 60);

    let evaluation = policy.evaluate(&candidate(&record), &none, last_second);
    assert_eq!(evaluation.verdict, Verdict::Offered);
    let finding = evaluation.findings.iter().find(|finding| finding.rule == Rule::Deny).expect("finding");
    assert_eq!((finding.decision, finding.until), (Decision::Waived, Some(midnight)));
    assert_eq!(finding.reason, "waived until 2026-11-26 by platform team: fixes our outage");
    let [(Rule::Deny, waiver)] = evaluation.waived[..] else { panic!("{:?}", evaluation.waived) };
    assert_eq!((waiver.who(), waiver.until().as_str()), ("platform team", "2026-11-26"));
    assert!(evaluation.expired.is_empty());

    let evaluation = policy.evaluate(&candidate(&record), &none, midnight);
    assert!(matches!(evaluation.verdict, Verdict::HeldBack(held) if held.rule == Rule::Deny));
    assert!(evaluation.waived.is_empty());
    let [(Rule::Deny, waiver)] = evaluation.expired[..] else { panic!("{:?}", evaluation.expired) };
    assert_eq!(waiver.ends(), midnight);
}

#[test]
fn an_expired_waiver_of_a_rule_that_passes_is_not_reported() {
    let policy = with_waiver("b-crate@1.0.0", "\"deny\"", "2020-01-01");
    let record = record("b-crate", "1.0.0");
    let none = Advisories::default();
    let evaluation = policy.evaluate(&candidate(&record), &none, now());
    assert!(evaluation.verdict.is_offered() && evaluation.expired.is_empty() && evaluation.waived.is_empty());
}

#[test]
fn of_two_waivers_the_later_one_counts() {
    let waiver = |until: &str| {
        format!(
            "[[waiver]]\nrelease = \"a-crate@1.0.0\"\nrules = [\"deny\"]\nuntil = \"{until}\"\nwho = \"me\"\n\
             why = \"so\"\n"
        )
    };
    let policy = policy(&format!(
        "deny = [\"a-*\"]\n{}{}{}",
        waiver("2020-01-01"),
        waiver("2027-01-01"),
        waiver("2026-12-01")
    ));
    let record = record("a-crate", "1.0.0");
    let none = Advisories::default();
    let evaluation = policy.evaluate(&candidate(&record), &none, now());
    assert!(evaluation.verdict.is_offered() && evaluation.expired.is_empty());
    assert_eq!(
        evaluation.waived.iter().map(|(_, waiver)| waiver.until()).collect::<Vec<_>>(),
        ["2027-01-01"]
    );
    let all: Vec<String> = policy.waivers().iter().map(|waiver| waiver.until()).collect();
    assert_eq!(all, ["2020-01-01", "2026-12-01", "2027-01-01"]);
}

#[test]
fn what_a_waiver_lifts_needs_no_fact() {
    let policy = policy(
        "licenses = { allow = [\"MIT\"] }\n[[waiver]]\nrelease = \"a-crate@1.0.0\"\nrules = [\"licenses\"]\n\
         until = 2026-12-31\nwho = \"legal\"\nwhy = \"read by hand\"\n",
    );
    let none = Advisories::default();
    for (version, is_offered) in [("1.0.0", true), ("1.0.1", false)] {
        let record = record("a-crate", version);
        let verdict = policy.evaluate(&mirror_policy::Candidate::new(&record), &none, now()).verdict;
        assert_eq!(verdict.is_offered(), is_offered, "{verdict:?}");
    }
}
