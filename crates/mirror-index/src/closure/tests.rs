use super::*;
use crate::selection::NameSet;

fn line(name: &str, vers: &str, yanked: bool, deps: &str, features: &str) -> String {
    let sum = "ab".repeat(32);
    format!(
        "{{\"name\":\"{name}\",\"vers\":\"{vers}\",\"deps\":[{deps}],\"cksum\":\"{sum}\",\"features\":{{{features}}},\
         \"yanked\":{yanked}}}\n"
    )
}

fn dep(name: &str, req: &str, kind: &str, more: &str) -> String {
    format!("{{\"name\":\"{name}\",\"req\":\"{req}\",\"kind\":\"{kind}\"{more}}}")
}

type Index = HashMap<&'static str, String>;

/// Computes a closure of `top` over an index; returns the crates asked for, the chosen releases, and the report.
fn close(
    index: &Index,
    change: impl FnOnce(&mut Selection, &mut ClosureOptions),
) -> (Vec<String>, Vec<String>, ClosureReport) {
    let include = NameSet::parse(&["top".into()]).expect("names");
    let roots = include.names().to_vec();
    let mut selection = Selection { include, ..Selection::default() };
    let mut options = ClosureOptions::default();
    change(&mut selection, &mut options);
    let mut closure = Closure::new(selection, roots, options);
    let mut asked = Vec::new();
    loop {
        let names = closure.next_needed();
        if names.is_empty() {
            break;
        }
        for name in names {
            let key = name.as_str().to_ascii_lowercase();
            let path = mirror_types::index_path(&name);
            let data = index.get(key.as_str()).map(|text| text.clone().into_bytes());
            asked.push(key);
            let file = data.map(|data| IndexFile { path, data });
            closure.provide(&name, file, &IndexLimits::default(), &mut |fault| panic!("{fault}"));
        }
    }
    asked.sort();
    let (chosen, report) = closure.finish();
    let ids = chosen.into_iter().flatten().map(|record| record.id.to_string()).collect();
    (asked, ids, report)
}

fn sample() -> Index {
    let top = [
        dep("renamed", "^1", "normal", ",\"package\":\"Leaf\",\"optional\":true"),
        dep("tests", "*", "dev", ""),
        dep("far", "*", "normal", ",\"registry\":\"https://other/\""),
        dep("helper", "1", "build", ""),
        dep("win", "1", "normal", ",\"target\":\"cfg(windows)\""),
        dep("gone", "^9", "normal", ""),
    ]
    .join(",");
    HashMap::from([
        ("top", line("top", "1.0.0", false, &top, "") + &line("top", "2.0.0", true, "", "")),
        (
            "leaf",
            line("Leaf", "1.0.0", false, "", "")
                + &line("Leaf", "1.5.0", false, "", "")
                + &line("Leaf", "1.6.0", true, "", "")
                + &line("Leaf", "2.0.0", false, "", ""),
        ),
        (
            "helper",
            line("helper", "1.1.0", false, &dep("top", "1", "normal", ""), "")
                + &line("helper", "1.2.0-rc.1", false, "", ""),
        ),
        ("win", line("win", "1.0.0", false, &dep("renamed", "1", "normal", ",\"optional\":true"), "")),
    ])
}

#[test]
fn everything_that_could_satisfy_is_chosen() {
    let (asked, ids, report) = close(&sample(), |_, _| {});
    assert_eq!(asked, ["gone", "helper", "leaf", "top", "win"]);
    assert_eq!(ids, ["Leaf 1.0.0", "Leaf 1.5.0", "helper 1.1.0", "top 1.0.0", "win 1.0.0"]);
    assert_eq!(report.elsewhere, BTreeMap::from([("https://other/".to_owned(), 1)]));
    assert_eq!((report.unsatisfied, report.first_unsatisfied), (1, vec!["gone ^9".to_owned()]));
    assert!(report.beyond.is_empty());
}

#[test]
fn what_was_asked_for_and_is_not_there_is_no_unsatisfied_dependency() {
    let (_, ids, report) = close(&sample(), |selection, _| {
        let texts = ["TOP@1.0.0".to_owned(), "top@^99".to_owned()];
        selection.include = NameSet::parse_with_versions(&texts).expect("names");
    });
    assert!(ids.contains(&"top 1.0.0".to_owned()), "{ids:?}");
    assert_eq!(report.unmatched, [("top".parse().expect("name"), "^99".to_owned())]);
    assert_eq!(report.first_unsatisfied, ["gone ^9"]);
}

#[test]
fn the_newest_of_each_requirement_is_chosen_and_the_scope_is_narrowed() {
    let newest = |change: fn(&mut ClosureOptions)| {
        close(&sample(), |selection, options| {
            selection.latest = 1;
            change(options);
        })
        .1
    };
    assert_eq!(newest(|_| {}), ["Leaf 1.5.0", "helper 1.1.0", "top 1.0.0", "win 1.0.0"]);
    assert_eq!(newest(|options| options.no_optional = true), ["helper 1.1.0", "top 1.0.0", "win 1.0.0"]);
    let linux = newest(|options| options.targets = vec!["x86_64-unknown-linux-gnu".parse().expect("target")]);
    assert_eq!(linux, ["Leaf 1.5.0", "helper 1.1.0", "top 1.0.0"]);
}

#[test]
fn dependencies_for_tests_are_followed_from_the_first_crates_alone() {
    let mut index = sample();
    let nested = dep("deeper", "1", "dev", "");
    index.insert("tests", line("tests", "0.3.0", false, &nested, "") + &line("tests", "0.4.0", true, "", ""));
    index.insert("deeper", line("deeper", "1.0.0", false, "", ""));
    let (_, without, before) = close(&index, |_, _| {});
    let (asked, with, after) = close(&index, |_, options| options.dev = true);
    assert!(!asked.contains(&"deeper".to_owned()), "{asked:?}");
    assert_eq!(with.iter().filter(|id| !without.contains(id)).collect::<Vec<_>>(), ["tests 0.3.0"]);
    let counted = |roots, releases, optional, other_targets, dev| ClosureCounts {
        roots,
        releases,
        optional,
        other_targets,
        dev,
    };
    // The optional dependency of `win` is not turned on.
    assert_eq!(before.counts, counted(1, 5, 1, 0, 1));
    assert_eq!(after.counts, counted(1, 6, 1, 0, 0));
    let (_, _, linux) = close(&index, |_, options| {
        options.targets = vec!["x86_64-unknown-linux-gnu".parse().expect("target")];
        options.no_optional = true;
    });
    assert_eq!(linux.counts, counted(1, 2, 1, 1, 1));
}

#[test]
fn requirements_and_features_decide_which_version_is_the_newest() {
    let top = [
        dep("leaf", "^1", "normal", ""),
        dep("middle", "1", "normal", ",\"features\":[\"more\"]"),
        dep("early", "2.0.0-alpha", "normal", ""),
    ]
    .join(",");
    let middle =
        [dep("leaf", "=1.2.0", "normal", ",\"optional\":true"), dep("leaf", ">=1, <3", "normal", "")];
    let index = HashMap::from([
        ("top", line("top", "1.0.0", false, &top, "")),
        (
            "middle",
            // The newest release lacks the requested feature.
            line("middle", "1.0.0", false, &middle.join(","), "\"more\":[\"leaf\"]")
                + &line("middle", "1.1.0", false, "", ""),
        ),
        (
            "leaf",
            ["1.2.0", "1.9.0", "2.1.0", "3.0.0"].map(|version| line("leaf", version, false, "", "")).concat(),
        ),
        (
            "early",
            ["2.0.0-alpha", "2.0.0-beta"].map(|version| line("early", version, false, "", "")).concat(),
        ),
    ]);
    let (_, ids, report) = close(&index, |selection, _| selection.latest = 1);
    assert_eq!(
        ids,
        ["early 2.0.0-beta", "leaf 1.2.0", "leaf 1.9.0", "leaf 2.1.0", "middle 1.0.0", "top 1.0.0"]
    );
    assert_eq!(report.unsatisfied, 0);
}

#[test]
fn an_index_file_that_lacks_what_is_required_is_asked_for_once_more() {
    let needs = [("leaf", "^1"), ("leaf", "^1.1"), ("late", "^1"), ("none", "^1")]
        .map(|(name, req)| dep(name, req, "normal", ""));
    let top = line("top", "1.0.0", false, &needs.join(","), "");
    let leaf = |versions: &[&str]| -> String {
        versions.iter().map(|version| line("leaf", version, false, "", "")).collect()
    };
    let older = HashMap::from([("top", top), ("leaf", leaf(&["1.0.0"]))]);
    let needed = dep("leaf", "=1.0.0", "normal", "");
    let newer = HashMap::from([
        ("leaf", leaf(&["1.0.0", "1.1.0"])),
        ("late", line("late", "1.0.0", false, &needed, "")),
    ]);
    let include = NameSet::parse(&["top".into()]).expect("names");
    let roots = include.names().to_vec();
    let selection = Selection { include, latest: 1, ..Selection::default() };
    let mut closure = Closure::new(selection, roots, ClosureOptions::default()).with_doubts();
    let mut again = Vec::new();
    loop {
        let (mut names, mut index) = (closure.next_needed(), &older);
        if names.is_empty() {
            (names, index) = (closure.next_doubted(), &newer);
            again.extend(names.iter().map(|name| name.as_str().to_owned()));
        }
        if names.is_empty() {
            break;
        }
        for name in names {
            let path = mirror_types::index_path(&name);
            let data = index.get(name.as_str()).map(|text| text.clone().into_bytes());
            let file = data.map(|data| IndexFile { path, data });
            closure.provide(&name, file, &IndexLimits::default(), &mut |fault| panic!("{fault}"));
        }
    }
    again.sort();
    assert_eq!(again, ["late", "leaf", "none"]);
    let (chosen, report) = closure.finish();
    let ids: Vec<_> = chosen.into_iter().flatten().map(|record| record.id.to_string()).collect();
    assert_eq!(ids, ["late 1.0.0", "leaf 1.0.0", "leaf 1.1.0", "top 1.0.0"]);
    assert_eq!((report.unsatisfied, report.first_unsatisfied), (1, vec!["none ^1".to_owned()]));
}

#[test]
fn a_registry_without_end_is_bounded() {
    let mut closure = {
        let include = NameSet::parse(&["c0".into()]).expect("names");
        let roots = include.names().to_vec();
        let limits = ClosureLimits { max_crates: 10, max_bytes: usize::MAX };
        let options = ClosureOptions { limits, ..ClosureOptions::default() };
        Closure::new(Selection { include, ..Selection::default() }, roots, options)
    };
    let mut asked = 0;
    while let Some(name) = closure.next_needed().pop() {
        asked += 1;
        let next = dep(&format!("c{asked}"), "*", "normal", "");
        let data = line(name.as_str(), "1.0.0", false, &next, "").into_bytes();
        let file = IndexFile { path: mirror_types::index_path(&name), data };
        closure.provide(&name, Some(file), &IndexLimits::default(), &mut |fault| panic!("{fault}"));
    }
    assert_eq!(asked, 11);
    assert_eq!(closure.finish().1.beyond.len(), 1, "what was left out is named");
    let (_, ids, report) = close(&sample(), |_, options| options.limits.max_bytes = 3_000);
    assert!(!ids.is_empty() && !report.beyond.is_empty(), "{ids:?} {:?}", report.beyond);
}
