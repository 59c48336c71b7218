//! Indexes from git servers that flood their clients: memory stays bounded, and the run ends with its own exit code.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use mirror_testkit::{FloodingGit, GitFlood, TestRegistry, run_measured};

use crate::world::World;

/// Limit on the memory of the program: gix takes some 100 MiB for 16 MiB of references.
const MOST_MEMORY_BYTES: u64 = 256 << 20;
/// Longer than any run takes on a loaded machine, and far shorter than a flood.
const MOST_TIME: Duration = Duration::from_secs(150);

fn world() -> World {
    World::new(TestRegistry::generate(83, 1, 10))
}

/// Makes the command that clones an index from `url`.
fn command(world: &World, url: &str) -> Command {
    let mut command = world.command("out");
    command.args(["--retries", "2", "--retry-base", "5ms", "--retry-max", "50ms"]);
    command.args(["--update-index", "--index-dir", "index", "--index-url", url]);
    command
}

/// Runs the command; asserts that the index cannot be fetched (5), and that this is reported once.
#[track_caller]
fn assert_refused(command: &mut Command, words: &str) {
    let (ended, peak_bytes) = run_measured(command, MOST_TIME);
    let ended = ended.expect(5);
    assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    assert!(ended.stderr.len() < 4_000, "{words}: {} bytes were said", ended.stderr.len());
    assert!(peak_bytes < MOST_MEMORY_BYTES, "{words}: {} MiB of memory", peak_bytes >> 20);
}

#[test]
fn a_flood_of_references_takes_bounded_memory() {
    let world = world();
    for (flood, http) in [
        (GitFlood::References, false),
        (GitFlood::OldReferences, true),
        (GitFlood::OldAdvertisedShallow, false),
        (GitFlood::Capabilities, true),
    ] {
        let server = FloodingGit::start(flood, http);
        let words = "it sent more than 16 MiB of capabilities and references before any object";
        assert_refused(&mut command(&world, &server.url()), words);
        assert!(!world.path("index").exists(), "{flood:?}");
    }
}

/// Makes a program that stands in for ssh.
fn ssh(world: &World, script: &str) -> String {
    let path = world.path("ssh");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn a_flood_through_ssh_takes_bounded_memory() {
    let world = world();
    std::fs::write(world.path("greeting"), "000eversion 2\n").unwrap();
    std::fs::write(world.path("capabilities"), "0008x=y\n".repeat(100_000)).unwrap();
    let script = "cat greeting; while cat capabilities; do :; done";
    let mut flooded = command(&world, "ssh://index.invalid/index");
    flooded.env("GIT_SSH_COMMAND", ssh(&world, script));
    assert_refused(&mut flooded, "it sent more than 16 MiB of capabilities and references");

    // The other side also controls standard error.
    let script =
        "head -c 300000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo 'the index has moved' >&2; exit 1";
    let mut noisy = command(&world, "ssh://index.invalid/index");
    noisy.env("GIT_SSH_COMMAND", ssh(&world, script));
    assert_refused(&mut noisy, "the index has moved");
    assert!(!world.path("index").exists());
}
