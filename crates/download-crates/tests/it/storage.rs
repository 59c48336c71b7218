//! Disks that are full, out of inodes, or read-only; processes that may open only a few files.
//!
//! A small file system is mounted in a namespace of its own, which needs no privileges where user namespaces are
//! allowed. Elsewhere, these tests report that and pass: the tests of `mirror-store` inject the same faults into every
//! step of a commit.
#![cfg(target_os = "linux")]

use std::process::Command;

use mirror_testkit::{OriginOptions, Protocol, TestRegistry};

use crate::world::{BIN, Ended, World, run};

fn may_mount() -> bool {
    let probe = "d=$(mktemp -d) && mount -t tmpfs none $d";
    let mounts = Command::new("unshare").args(["-Urm", "sh", "-c", probe]).output();
    let may = mounts.is_ok_and(|output| output.status.success());
    if !may {
        #[expect(clippy::print_stderr, reason = "who reads the log of a test run wants to know")]
        {
            eprintln!("skipped: this machine does not let a test mount a file system");
        }
    }
    may
}

/// Runs a shell script in which `RUN` is the program and `disk` a fresh folder to mount on.
fn script(world: &World, text: &str) -> Ended {
    let index = world.index();
    std::fs::create_dir_all(world.path("disk")).unwrap();
    let line = format!(
        "{BIN} --index-dir {} --crates-base-url {}/crates --cacert {} --listen= --out disk/out --manifest disk/m.jsonl",
        index.display(),
        world.origin.base(),
        world.origin.ca().display()
    );
    let text = format!("set -e\nRUN() {{ {line} \"$@\"; }}\n{text}");
    run(Command::new("unshare").args(["-Urm", "sh", "-c", &text]).current_dir(world.dir.path()))
}

/// Checks that a run on a file system mounted with `short` ends with 6, and the next one, with `enough`, with 0; copies
/// its mirror to `out`.
fn short_then_enough(world: &World, short: &str, enough: &str) -> Ended {
    let text = format!(
        "mount -t tmpfs -o {short} none disk\n\
         code=0; RUN || code=$?\n\
         [ $code = 6 ] || {{ echo first run: $code; exit 99; }}\n\
         mount -o remount,{enough} disk\n\
         RUN\n\
         cp -r disk/out disk/m.jsonl ."
    );
    script(world, &text).expect(0)
}

#[test]
fn a_full_disk_ends_the_run_and_the_next_one_goes_on() {
    if !may_mount() {
        return;
    }
    let world = World::new(TestRegistry::generate(61, 400, 20_000));
    let ended = short_then_enough(&world, "size=4m", "size=64m");
    assert!(ended.stderr.contains("disk is full") || ended.stderr.contains("disk I/O"), "{}", ended.stderr);
    world.assert_whole("out");
}

#[test]
fn a_disk_that_fills_up_under_a_large_body_ends_the_run_too() {
    if !may_mount() {
        return;
    }
    let mut registry = TestRegistry::default();
    registry.add("large", "1.0.0", &vec![7; 12 << 20]);
    let world = World::new(registry);
    let ended = short_then_enough(&world, "size=6m", "size=64m");
    assert!(ended.stderr.contains("disk is full"), "{}", ended.stderr);
    world.assert_whole("out");
}

#[test]
fn a_disk_that_fills_up_under_a_bundle_loses_nothing_that_was_committed() {
    if !may_mount() {
        return;
    }
    let mut registry = TestRegistry::generate(65, 5_000, 1_000);
    registry.add("large", "1.0.0", &vec![7; 12 << 20]);
    let world = World::new(registry);
    let text = "mount -t tmpfs -o size=5m none disk\n\
         B=\"--bundle --bundle-size-gb 0.001 --bundles-out disk/b --concurrency 4\"\n\
         for size in 5m 8m 12m; do\n\
           mount -o remount,size=$size disk\n\
           code=0; RUN $B >disk.out 2>disk.err || code=$?\n\
           [ $code = 6 ] || { echo with $size: $code; cat disk.err; exit 99; }\n\
           grep -q -e 'disk is full' -e 'disk I/O' disk.err || { cat disk.err; exit 98; }\n\
           grep -c '\"downloaded\".*}$' disk/m.jsonl || true\n\
         done\n\
         mount -o remount,size=96m disk\n\
         RUN $B --bundle-seal >disk.out\n\
         grep downloaded disk.out\n\
         cp -r disk/b disk/m.jsonl .";
    let ended = script(&world, text).expect(0);
    let counted: Vec<u64> =
        ended.stdout.lines().filter_map(|line| line.split_whitespace().last()?.parse().ok()).collect();
    let all = world.expected().len() as u64;
    assert_eq!(counted.len(), 4, "{}", ended.stdout);
    assert!(counted[2] > 0 && counted[..3].is_sorted(), "{counted:?}");
    // The last run did not fetch again what an interrupted one had committed.
    assert!(counted[2] + counted[3] <= all, "{counted:?} of {all}");
    let held = crate::bundled::members(&world.path("b"), &std::collections::BTreeSet::new());
    crate::world::assert_same(&held, &world.expected());
}

#[test]
fn a_file_system_without_inodes_ends_the_run() {
    if !may_mount() {
        return;
    }
    let world = World::new(TestRegistry::generate(62, 400, 200));
    short_then_enough(&world, "size=64m,nr_inodes=150", "nr_inodes=5000");
    world.assert_whole("out");
}

#[test]
fn a_read_only_file_system_is_named() {
    if !may_mount() {
        return;
    }
    let world = World::new(TestRegistry::generate(63, 10, 200));
    let ended = script(
        &world,
        "mount -t tmpfs -o size=4m none disk\n\
         mount -o remount,ro disk\n\
         RUN",
    )
    .expect(6);
    assert!(ended.stderr.contains("read-only"), "{}", ended.stderr);
}

#[test]
fn few_open_files_mean_fewer_connections_and_no_failure() {
    let options = OriginOptions { protocol: Protocol::Http1Tls, ..OriginOptions::default() };
    let world = World::with(TestRegistry::generate(64, 300, 2_000), options);
    let text = format!("ulimit -n 48; exec {BIN} \"$@\"");
    let mut limited = Command::new("sh");
    limited.args(["-c", &text, "sh"]).args(world.mirroring("out").get_args());
    let ended = run(limited.current_dir(world.dir.path())).expect(0);
    assert_eq!(ended.count("downloaded"), 300);
    world.assert_whole("out");
}

#[test]
fn an_index_that_does_not_fit_leaves_nothing_and_is_cloned_when_it_does() {
    if !may_mount() {
        return;
    }
    let world = World::new(TestRegistry::generate(64, 4_000, 10));
    world.registry.commit_git(&world.path("remote"));
    let daemon = mirror_testkit::GitDaemon::start(world.dir.path());
    std::fs::create_dir(world.path("disk")).unwrap();
    let text = format!(
        "set -e\n\
         RUN() {{ {BIN} --index-dir disk/index --update-index --index-url {} --crates-base-url {}/crates \
         --cacert {} --listen= --limit 1; }}\n\
         mount -t tmpfs -o size=512k none disk\n\
         code=0; RUN || code=$?\n\
         [ $code = 6 ] || {{ echo first run: $code; exit 99; }}\n\
         [ -z \"$(ls -A disk)\" ] || {{ ls -A disk; exit 98; }}\n\
         mount -o remount,size=64m disk\n\
         RUN\n\
         git -C disk/index fsck --full",
        daemon.url("remote/.git"),
        world.origin.base(),
        world.origin.ca().display()
    );
    let ended = run(Command::new("unshare").args(["-Urm", "sh", "-c", &text]).current_dir(world.dir.path()));
    let ended = ended.expect(0);
    assert!(ended.stderr.contains("could not store the index"), "{}", ended.stderr);
}
