//! Runs the example program for embedders.

use std::io::Write as _;

#[expect(dead_code, reason = "its `main` is not called")]
#[path = "../../examples/explain.rs"]
mod explain;

#[test]
fn the_example_explains_a_release() {
    let mut policy = tempfile::NamedTempFile::new().expect("file");
    policy.write_all(b"min-publish-age = \"7 days\"\ndeny = [\"left-pad@<2\"]\n").expect("write");
    let mut printed = Vec::new();
    explain::explain(policy.path(), "left-pad@1.9.0", &mut printed).expect("explanation");
    let printed = String::from_utf8(printed).expect("text");
    assert!(printed.starts_with("left-pad 1.9.0: held back by deny: matches `left-pad@<2`\n"), "{printed}");
    let line = "    min-publish-age: held back by min-publish-age: its publication time is not known\n";
    assert!(printed.contains(line), "{printed}");
    assert!(explain::explain(policy.path(), "left-pad", &mut Vec::new()).is_err());
}
