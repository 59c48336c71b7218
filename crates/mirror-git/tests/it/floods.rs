//! Remotes that send endless references and messages instead of objects.

use std::fmt::Write as _;
use std::time::Duration;

use mirror_git::UpdateError;
use mirror_testkit::{FloodingGit, GitFlood, git, git_says};
use mirror_types::{Advice, FaultKind, chain};

use crate::fixture::{Upstream, assert_at, options, update};

/// A busy machine may take long for a flood; time is not what ends it.
const NEVER: Duration = Duration::from_secs(24 * 3600);
const MIB: u64 = 1 << 20;
/// The memory of sockets on both sides, in addition to the bytes that were read.
const SOCKETS_MIB: u64 = 32;

/// Returns the mebibytes that are read, and their name in the error.
fn bound(flood: GitFlood) -> (u64, &'static str) {
    match flood {
        GitFlood::Announcements
        | GitFlood::Capabilities
        | GitFlood::References
        | GitFlood::OldReferences
        | GitFlood::OldAdvertisedShallow => (16, "capabilities and references before any object"),
        GitFlood::Acknowledgements | GitFlood::Shallow | GitFlood::OldShallow | GitFlood::OldNaks => {
            (1, "shallow commits and acknowledgements before any object")
        }
        GitFlood::Progress | GitFlood::Errors | GitFlood::EmptyPieces => (1, "messages in a row"),
    }
}

#[track_caller]
fn assert_heard_out(refused: &UpdateError, (mebibytes, words): (u64, &str)) {
    assert_eq!(refused.kind(), FaultKind::Origin);
    let text = chain(refused);
    assert!(text.contains(&format!("it sent more than {mebibytes} MiB of {words}")), "{text}");
    assert!(text.contains("check the network and the address") && !text.contains("attempts"), "{text}");
    assert_eq!(refused.advice(), Some(Advice::AnotherRemoteOrNoUpdate));
}

fn each_flood_ends_an_update(floods: &[GitFlood], http: bool) {
    let dir = tempfile::tempdir().unwrap();
    let clone = dir.path().join("clone");
    for flood in floods {
        let server = FloodingGit::start(*flood, http);
        let mut options = options(&server.url());
        options.retries = 3;
        options.idle_timeout = NEVER;
        let refused = update(&clone, &options).unwrap_err();
        let bound = bound(*flood);
        assert_heard_out(&refused, bound);
        assert!(refused.to_string().contains(&server.url()), "{refused}");
        let sent = server.sent() / MIB;
        assert!((bound.0..bound.0 + SOCKETS_MIB).contains(&sent), "{flood:?}: {sent} MiB were sent");
        let talks = server.connections();
        assert!(talks <= if http { 3 } else { 1 }, "{flood:?}: {talks} connections");
        assert!(!clone.exists(), "{flood:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn each_flood_ends_an_update_from_a_daemon() {
    let floods: Vec<_> =
        GitFlood::ALL.into_iter().filter(|flood| *flood != GitFlood::Announcements).collect();
    each_flood_ends_an_update(&floods, false);
}

#[test]
fn each_flood_ends_an_update_over_http() {
    each_flood_ends_an_update(&GitFlood::ALL, true);
}

/// Covers the real git, over the pipe of a program, with references of its protocols before version 2.
#[test]
fn a_repository_on_this_machine_with_too_many_references_leaves_the_index_as_it_is() {
    let mut upstream = Upstream::new(10);
    let mut options = options(&format!("file://{}", upstream.remote().display()));
    options.retries = 3;
    let dir = upstream.path("clone");
    update(&dir, &options).unwrap();
    let old = upstream.tip();
    let new = upstream.publish();
    let mut references = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
    for number in 0..300_000 {
        writeln!(references, "{new} refs/snapshots/{number:06}").unwrap();
    }
    let packed = upstream.remote().join(".git/packed-refs");
    assert_eq!(git_says(&upstream.remote(), &["rev-parse", "--abbrev-ref", "HEAD"]), "master");
    std::fs::write(&packed, references).unwrap();
    git(&dir, &["config", "protocol.version", "0"]);
    assert_heard_out(&update(&dir, &options).unwrap_err(), bound(GitFlood::OldReferences));
    assert_at(&dir, &old);
    // Version 2 asks only for HEAD, and some thousands do no harm in either.
    git(&dir, &["config", "protocol.version", "2"]);
    update(&dir, &options).unwrap();
    assert_at(&dir, &new);
    let some: String = std::fs::read_to_string(&packed).unwrap().split_inclusive('\n').take(5_000).collect();
    std::fs::write(&packed, some).unwrap();
    let newest = upstream.publish();
    git(&dir, &["config", "protocol.version", "0"]);
    update(&dir, &options).unwrap();
    assert_at(&dir, &newest);
}
