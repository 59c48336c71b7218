//! Checks that the example store for authors of stores fulfils the contract.

#[path = "../../examples/flat_store.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod flat_store;

#[test]
fn the_flat_store_keeps_the_contract() {
    let scratch = tempfile::tempdir().expect("dir");
    flat_store::check(scratch.path());
    assert!(scratch.path().join("committed").is_dir(), "the suite has used it");
}
