//! Plans under a policy that holds releases back until a date.

use std::time::{Duration, SystemTime};

use mirror_policy::{LoadedPolicy, Policy};
use mirror_types::{HeldBack, Rule};

use super::*;

/// Holds back releases that are less than 100 seconds old or have no date.
fn min_age() -> Arc<LoadedPolicy> {
    let policy = Policy::parse("min-publish-age = \"100 seconds\"").expect("a policy");
    Arc::new(LoadedPolicy::new(policy, mirror_policy::Advisories::default()))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Makes the line of a release that was published at second `published`.
fn dated(name: &str, version: &str, cksum: u8, published: u64) -> String {
    let pubtime =
        format!("1970-01-01T{:02}:{:02}:{:02}Z", published / 3600, published / 60 % 60, published % 60);
    line(name, version, cksum).replacen('}', &format!(r#","pubtime":"{pubtime}"}}"#), 1)
}

fn dated_file(name: &str, lines: &[String]) -> Item {
    let mut limits = IndexLimits::default();
    limits.reads_published = true;
    Item::File(Parsed::of(&index_path(&name.parse().expect("name")), lines.join("\n").as_bytes(), &limits))
}

fn under_policy(now: u64) -> Wanted {
    Wanted { policy: Some(min_age()), now: at(now), ..wanted() }
}

/// Makes a row of the list of deferred releases, as the policy would.
fn row(name: &str, version: &str, cksum: u8, published: u64) -> HeldBackRelease {
    let (until, since) = (Some(at(published + 100)), Some(at(1)));
    let decision = HeldBack { rule: Rule::MinPublishAge, until, since, why: String::new() };
    HeldBackRelease { id: id(name, version), cksum: sum(cksum), is_held: false, decision }
}

fn listing(rows: &[HeldBackRelease]) -> HeldInMemory {
    HeldInMemory { deferred: rows.to_vec(), ..HeldInMemory::default() }
}

#[test]
fn what_is_too_young_and_not_held_is_deferred() {
    let lines = [
        dated("a", "1.0.0", 1, 0),
        dated("a", "1.1.0", 2, 950),
        dated("a", "1.2.0", 3, 950),
        dated("a", "1.3.0", 4, 950),
        line("a", "1.4.0", 5),
        dated("a", "1.5.0", 6, 900),
        dated("a", "1.6.0", 7, 901),
    ];
    let view = HeldInMemory::default().with(&id("a", "1.2.0"), held(3)).with(&id("a", "1.3.0"), held(9));
    let (words, planned) = run(under_policy(1000), vec![dated_file("a", &lines)], view);
    let expected = [
        "fetch a 1.0.0 of 109",
        "deferred a 1.1.0 until 1050",
        "existing a 1.2.0 103",
        // Other bytes are held, and they stay. The age counts from the moment at which these were seen.
        "deferred a 1.3.0 until 1100",
        "deferred a 1.4.0 until ever, known",
        "fetch a 1.5.0 of 109",
        "deferred a 1.6.0 until 1001",
        "groups of a: min-publish-age (its publication time is not known): 1.4.0;",
    ];
    assert_eq!(words, expected);
    assert!(planned.complete);
    let (words, _) = run(wanted(), vec![dated_file("a", &lines[..2])], HeldInMemory::default());
    assert_eq!(words, ["fetch a 1.0.0 of 0", "fetch a 1.1.0 of 0"], "without a policy");
}

#[test]
fn a_yanked_release_is_known_as_such_when_it_is_due() {
    let lines = [dated("a", "1.0.0!", 1, 950)];
    let yanked = |now| {
        let mut wanted = under_policy(now);
        wanted.selection.include_yanked = true;
        wanted
    };
    let (words, _) = run(yanked(1000), vec![dated_file("a", &lines)], HeldInMemory::default());
    assert_eq!(words, ["deferred a 1.0.0 until 1050"]);
    let (words, _) = run(yanked(1050), vec![dated_file("a", &lines)], listing(&[row("a", "1.0.0", 1, 950)]));
    assert_eq!(words, ["yanked before a 1.0.0", "fetch a 1.0.0 of 0"]);
}

#[test]
fn the_list_gets_only_new_entries() {
    let lines = [dated("a", "1.0.0", 1, 950)];
    let file = || vec![dated_file("a", &lines)];
    let word = |view| run(under_policy(1000), file(), view).0;
    assert_eq!(word(listing(&[row("a", "1.0.0", 1, 950)])), ["deferred a 1.0.0 until 1050, known"]);
    let mut other_rule = row("a", "1.0.0", 1, 950);
    other_rule.decision.rule = Rule::Deny;
    for row in [row("a", "1.0.0", 2, 950), row("a", "1.0.0", 1, 951), other_rule] {
        assert_eq!(word(listing(std::slice::from_ref(&row))), ["deferred a 1.0.0 until 1050"], "{row:?}");
    }
    // It has to leave the ledger.
    let failed = listing(&[row("a", "1.0.0", 1, 950)]).failed(&id("a", "1.0.0"), false);
    assert_eq!(word(failed), ["deferred a 1.0.0 until 1050"]);
    // A release that is due stays in the list until it is held.
    let due = run(under_policy(1050), file(), listing(&[row("a", "1.0.0", 1, 950)])).0;
    assert_eq!(due, ["fetch a 1.0.0 of 0"]);
}

#[test]
fn releases_that_are_not_wanted_leave_the_list() {
    let lines = [dated("a", "1.0.0", 1, 950), dated("a", "1.1.0", 2, 950), dated("a", "1.2.0!", 3, 950)];
    let rows = [
        row("a", "1.0.0", 1, 950),
        // Held by now, with the bytes that upstream went back to.
        row("a", "1.1.0", 9, 950),
        // Yanked, so that it is not selected any more.
        row("a", "1.2.0", 3, 950),
        // Deleted.
        row("a", "1.3.0", 4, 950),
        // In a crate that is gone.
        row("gone", "1.0.0", 5, 950),
    ];
    let view = || listing(&rows).with(&id("a", "1.1.0"), held(2));
    let sorted = |wanted, items| {
        let mut words = run(wanted, items, view()).0;
        words.sort();
        words
    };
    let file = || dated_file("a", &lines);
    let kept = ["deferred a 1.0.0 until 1050, known", "existing a 1.1.0 102", "skip 1"];
    let all = ["undeferred a 1.1.0", "undeferred a 1.2.0", "undeferred a 1.3.0", "undeferred gone 1.0.0"];
    assert_eq!(sorted(under_policy(1000), vec![file()]), [&kept[..], &all[..]].concat());
    let changes = || Wanted { scope: Scope::Changes, ..under_policy(1000) };
    let here = [&kept[..], &all[..3]].concat();
    assert_eq!(sorted(changes(), vec![file()]), here, "other crates did not change");
    // A plan of a part finds what is gone, but not what other selections want.
    let part = || Wanted { scope: Scope::Part, ..under_policy(1000) };
    assert_eq!(sorted(part(), vec![file()]), [&kept[..], &[all[0], all[2]]].concat());
    for gone in [Item::CrateGone(name("gone")), Item::NoFile("go/ne/gone".to_owned())] {
        assert_eq!(sorted(changes(), vec![gone]), ["undeferred gone 1.0.0"]);
    }
    let before = Parsed::of("go/ne/gone", line("gone", "1.0.0", 5).as_bytes(), &IndexLimits::default());
    assert_eq!(sorted(changes(), vec![Item::FileGone(before)]), ["undeferred gone 1.0.0"]);
}

#[test]
fn a_crate_that_changed_its_spelling_leaves_the_list() {
    let items = || vec![dated_file("Foo", &[dated("foo", "1.0.0", 1, 0)])];
    let view = || listing(&[row("Foo", "1.0.0", 1, 950)]);
    for scope in [Scope::All, Scope::Changes] {
        let mut words = run(Wanted { scope, ..under_policy(1000) }, items(), view()).0;
        words.sort();
        assert_eq!(words, ["fetch foo 1.0.0 of 0", "undeferred Foo 1.0.0"], "{scope:?}");
    }
}

#[test]
fn bad_lines_let_no_crate_leave_the_list() {
    let items = vec![dated_file("a", &["{".to_owned()])];
    let (words, _) = run(under_policy(1000), items, listing(&[row("a", "1.0.0", 1, 950)]));
    assert_eq!(words, ["bad 1/a 1"]);
}

/// Denies `a` altogether and the versions of `b` before 2.
fn denying(scope: Scope) -> Wanted {
    let policy = Policy::parse("deny = [\"a\", \"b@<2\"]").expect("a policy");
    let policy = Arc::new(LoadedPolicy::new(policy, mirror_policy::Advisories::default()));
    Wanted { policy: Some(policy), scope, ..wanted() }
}

fn group(why: &str, versions: &[&str]) -> DeferredGroup {
    let versions = versions.iter().map(|version| version.parse().expect("version")).collect();
    DeferredGroup { rule: Rule::Deny, why: why.to_owned(), since: Some(at(1)), versions }
}

fn grouping(of: &str, groups: &[DeferredGroup]) -> HeldInMemory {
    HeldInMemory { groups: [(of.to_owned(), groups.to_vec())].into(), ..HeldInMemory::default() }
}

#[test]
fn what_no_date_changes_is_listed_by_crate_and_reason() {
    let a = || vec![file("a", &[line("a", "1.0.0", 1), line("a", "1.1.0", 2)])];
    let counted = ["deferred a 1.0.0 until ever, known", "deferred a 1.1.0 until ever, known"];
    let both = "groups of a: deny (matches `a`): 1.0.0 1.1.0;";
    let (words, _) = run(denying(Scope::All), a(), HeldInMemory::default());
    assert_eq!(words, [&counted[..], &[both]].concat());
    // A list that has them already is left alone, and one that is old is replaced.
    for (groups, is_new) in [
        (vec![group("matches `a`", &["1.0.0", "1.1.0"])], false),
        (vec![group("matches `a`", &["1.0.0"])], true),
        (vec![group("matches `a`", &["1.0.0", "1.1.0", "1.2.0"])], true),
        (vec![group("matches `?`", &["1.0.0", "1.1.0"])], true),
    ] {
        for scope in [Scope::All, Scope::Changes] {
            let (words, _) = run(denying(scope), a(), grouping("a", &groups));
            let more: &[&str] = if is_new { &[both] } else { &[] };
            assert_eq!(words, [&counted[..], more].concat(), "{groups:?}, {scope:?}");
        }
    }
}

#[test]
fn a_release_leaves_its_group_when_it_is_to_be_fetched_or_gone() {
    let b = || vec![file("b", &[line("b", "1.0.0", 1), line("b", "2.0.0", 2), line("b", "3.0.0!", 3)])];
    let before = || grouping("b", &[group("matches `b@<2`", &["1.0.0", "2.0.0", "3.0.0", "4.0.0"])]);
    let rest = ["skip 1", "deferred b 1.0.0 until ever, known", "fetch b 2.0.0 of 0"];
    let (words, _) = run(denying(Scope::Changes), b(), before());
    assert_eq!(words, [&rest[..], &["groups of b: deny (matches `b@<2`): 1.0.0;"]].concat());
    // A plan of a part does not know whether another selection wants the yanked release.
    let (words, _) = run(denying(Scope::Part), b(), before());
    assert_eq!(words, [&rest[..], &["groups of b: deny (matches `b@<2`): 1.0.0 3.0.0;"]].concat());
    for (scope, items) in [
        (Scope::All, vec![]),
        (Scope::Changes, vec![Item::NoFile("1/b".to_owned())]),
        (Scope::Changes, vec![Item::CrateGone(name("b"))]),
    ] {
        let (words, _) = run(denying(scope), items, before());
        assert_eq!(words, ["groups of b:"], "{scope:?}");
    }
}

#[test]
fn a_release_that_gets_or_loses_its_date_changes_its_list() {
    let lines = [dated("a", "1.0.0", 1, 950)];
    let dated_before = || listing(&[row("a", "1.0.0", 1, 950)]);
    let (words, _) = run(denying(Scope::All), vec![dated_file("a", &lines)], dated_before());
    let denied = [
        "undeferred a 1.0.0",
        "deferred a 1.0.0 until ever, known",
        "groups of a: deny (matches `a`): 1.0.0;",
    ];
    assert_eq!(words, denied);
    let denied_before = grouping("a", &[group("matches `a`", &["1.0.0"])]);
    let (words, _) = run(under_policy(1000), vec![dated_file("a", &lines)], denied_before);
    assert_eq!(words, ["deferred a 1.0.0 until 1050", "groups of a:"]);
}

#[test]
fn a_failed_release_that_is_denied_leaves_the_ledger() {
    let failed = HeldInMemory::default().failed(&id("a", "1.0.0"), false);
    let (words, _) = run(denying(Scope::All), vec![file("a", &[line("a", "1.0.0", 1)])], failed);
    let left =
        ["dropped a 1.0.0", "deferred a 1.0.0 until ever, known", "groups of a: deny (matches `a`): 1.0.0;"];
    assert_eq!(words, left);
}
