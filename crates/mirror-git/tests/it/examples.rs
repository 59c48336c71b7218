//! Runs the example programs for embedders.

use std::collections::BTreeMap;

use mirror_testkit::{TestRegistry, git};

#[path = "../../examples/dependencies.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod dependencies;

fn listed(index: &std::path::Path) -> String {
    let mut out = Vec::new();
    dependencies::list(index, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn dependencies_are_listed_out_of_a_bare_repository() {
    let dir = tempfile::tempdir().unwrap();
    let (checkout, bare) = (dir.path().join("checkout"), dir.path().join("bare.git"));
    let mut registry = TestRegistry::default();
    let dep = |name: &str, kind: &str| (name.to_owned(), "^1".to_owned(), kind.to_owned());
    registry.add("app", "1.0.0", b"1").deps = vec![dep("log", "normal"), dep("tempfile", "dev")];
    let app = registry.add("app", "1.1.0", b"2");
    app.yanked = true;
    app.more_deps = vec![serde_json::json!({ "name": "renamed", "package": "log", "req": "=1.2.3" })];
    registry.add("log", "1.2.3", b"3");
    registry.commit_git(&checkout);
    git(dir.path(), &["clone", "--quiet", "--bare", "checkout", "bare.git"]);
    // Crates come in the order of their paths: `3/a/app`, `3/l/log`.
    let expected = "app 1.0.0\n    log ^1 (normal)\n    tempfile ^1 (dev)\n\
                    app 1.1.0 (yanked)\n    log =1.2.3 (normal)\n\
                    log 1.2.3\n";
    assert_eq!(listed(&bare), expected);
}

#[test]
fn a_line_that_is_no_record_hides_no_release() {
    let dir = tempfile::tempdir().unwrap();
    let registry = TestRegistry::generate(3, 40, 10);
    registry.write_index(dir.path());
    let damaged = dir.path().join(registry.index_files().keys().next().unwrap());
    let text = std::fs::read(&damaged).unwrap();
    std::fs::write(&damaged, [b"nonsense\n".as_slice(), &text].concat()).unwrap();
    let listed = listed(dir.path());
    let mut found = BTreeMap::<&str, usize>::new();
    listed
        .lines()
        .filter(|line| !line.starts_with(' '))
        .for_each(|line| *found.entry(line).or_default() += 1);
    let wanted: BTreeMap<String, usize> =
        registry.releases().map(|release| (release.id.to_string(), 1)).collect();
    assert!(found.iter().map(|(id, n)| (id.to_string(), *n)).eq(wanted));
}
