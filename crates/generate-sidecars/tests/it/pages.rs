//! Man pages and completions.

#[test]
fn man_pages_and_completions_are_what_their_readers_accept() {
    mirror_testkit::check_pages(env!("CARGO_BIN_EXE_generate-sidecars"), "--jsonl-out");
}
