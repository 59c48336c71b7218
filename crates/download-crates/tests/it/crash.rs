//! Runs that are killed, interrupted and continued.
#![cfg(unix)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mirror_testkit::{Fault, OriginOptions, TestRegistry};

use crate::world::{World, assert_same, hex, run};

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Asserts that no file with a final name is wrong, and that everything the manifest calls downloaded is there.
#[track_caller]
fn assert_honest(world: &World) {
    let (tree, expected) = (world.tree("out"), world.expected());
    for (path, sum) in &tree {
        assert_eq!(Some(sum), expected.get(path), "{path} has its final name and is wrong");
    }
    let text = std::fs::read_to_string(world.path("out.jsonl")).unwrap_or_default();
    for line in text.split_inclusive('\n') {
        // Only the last line may be torn.
        let Ok(record) = serde_json::from_str::<serde_json::Value>(line) else {
            assert!(text.ends_with(line) && !line.ends_with('\n'), "{line}");
            continue;
        };
        if record["status"] == "downloaded" {
            let path = record["path"].as_str().unwrap().strip_prefix("out/").unwrap();
            assert!(tree.contains_key(path), "the manifest calls {path} downloaded");
        }
    }
}

fn slow_world(seed: u64, releases: usize) -> World {
    let options = OriginOptions { delay: Duration::from_millis(2), ..OriginOptions::default() };
    let world = World::with(TestRegistry::generate(seed, releases, 500), options);
    world.origin.script(|ask| match hex(ask.path.as_bytes()).as_bytes()[0] {
        b'0' if ask.nth == 0 => Fault::Status(503),
        b'1' if ask.nth == 0 => Fault::Truncate(9),
        b'2' if ask.nth == 0 => Fault::WrongBytes,
        _ => Fault::None,
    });
    world.index();
    world
}

/// Starts the program on the existing index, with a few requests at a time.
fn start(world: &World) -> Child {
    let mut command = world.command("out");
    command.args(["--index-dir", "index", "--concurrency", "8"]);
    command.arg("--crates-base-url").arg(format!("{}/crates", world.origin.base()));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn two_hundred_kills_leave_nothing_wrong() {
    let world = slow_world(51, 1_500);
    let mut random = fastrand::Rng::with_seed(51);
    let mut finished = 0;
    for _ in 0..200 {
        let mut child = start(&world);
        std::thread::sleep(Duration::from_micros(random.u64(0..220_000)));
        child.kill().unwrap();
        if child.wait().unwrap().code() == Some(0) {
            // The mirror is whole already: begin again, so that every kill meets a run at work.
            world.assert_whole("out");
            finished += 1;
            std::fs::remove_dir_all(world.path("out")).unwrap();
            std::fs::remove_file(world.path("out.jsonl")).unwrap();
        } else {
            assert_honest(&world);
        }
    }
    assert!(finished < 100, "most runs were killed at work, not {finished} of 200 after it");
    run(&mut world.mirroring("out")).expect(0);
    assert_same(&world.tree("out"), &world.expected());
    let stage = world.path("out/.mirror/stage");
    assert_eq!(std::fs::read_dir(stage).unwrap().count(), 0);
}

#[test]
fn signals_stop_cleanly_and_the_next_run_goes_on() {
    let world = slow_world(52, 600);
    let mut random = fastrand::Rng::with_seed(52);
    for round in 0..30 {
        let child = start(&world);
        std::thread::sleep(Duration::from_millis(random.u64(30..150)));
        let (name, code) = if round % 2 == 0 { ("INT", 130) } else { ("TERM", 143) };
        let began = Instant::now();
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert!(began.elapsed() < Duration::from_secs(10));
        match output.status.code() {
            Some(0) => {
                world.assert_whole("out");
                std::fs::remove_dir_all(world.path("out")).unwrap();
                std::fs::remove_file(world.path("out.jsonl")).unwrap();
            }
            // Before the handler is installed, the signal itself ends the program.
            None => assert_honest(&world),
            ended => {
                assert_eq!(ended, Some(code));
                assert_honest(&world);
            }
        }
    }
    run(&mut world.mirroring("out")).expect(0);
    world.assert_whole("out");
}

#[test]
fn a_second_signal_ends_at_once_and_is_safe() {
    let world = slow_world(53, 200);
    world.origin.script(|ask| if ask.nth == 0 { Fault::Silence } else { Fault::None });
    let mut child = start(&world);
    while world.origin.hits_below("/crates/") == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(&child, "TERM");
    let first = child.try_wait().unwrap();
    if first.is_none() {
        signal(&child, "TERM");
    }
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_honest(&world);
}

/// The short form of `cargo xtask proof kills`.
#[test]
fn what_kills_leave_is_right_for_an_independent_check() {
    use mirror_testkit::{KillKind, KillOptions, has, kill};
    let tools = [("python3", "--version"), ("zstd", "--version"), ("tar", "--version")];
    if !tools.iter().all(|(tool, flag)| has(tool, &[flag])) {
        return;
    }
    for kind in [KillKind::Loose, KillKind::Bundled, KillKind::Mixed, KillKind::Prune] {
        let program = crate::world::BIN.into();
        let report = kill(kind, &KillOptions { program, before: None, kills: 10, seed: 3 }).unwrap();
        assert!(report.kills >= 10 && report.whole > 0, "{kind:?}: {report:?}");
    }
}
