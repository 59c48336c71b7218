//! Runs that are killed, or stopped by a signal.
#![cfg(unix)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::{World, assert_same};

/// Starts the program, with its output discarded.
fn start(world: &World, arguments: &[&str]) -> Child {
    let mut command = world.command(arguments);
    command.args(["--log-level", "error"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Measures the time of an undisturbed run.
fn usual(world: &World, arguments: &[&str]) -> u64 {
    let began = Instant::now();
    start(world, arguments).wait().unwrap();
    u64::try_from(began.elapsed().as_micros()).unwrap()
}

/// Asserts that every file with its final name is whole.
#[track_caller]
fn assert_honest(world: &World, expected: &crate::world::Sidecars) {
    for (path, value) in world.files("out") {
        assert_eq!(expected.get(&path), Some(&value), "{path}");
    }
}

const FILES: [&str; 3] = ["--index-dir", "index", "--include-yanked"];
const JSONL: [&str; 7] =
    ["--index-dir", "index", "--include-yanked", "--output-mode", "jsonl", "--jsonl-out", "s.jsonl"];

const TAR: [&str; 7] =
    ["--index-dir", "index", "--include-yanked", "--output-mode", "tar.zst", "--tar-out", "s.tar.zst"];

#[test]
fn killed_at_any_moment_nothing_is_torn() {
    let world = World::new(21, 2_000);
    world.commit();
    let expected = world.expected(true);
    let long = usual(&world, &FILES);
    std::fs::remove_dir_all(world.path("out")).unwrap();
    let mut random = fastrand::Rng::with_seed(21);
    let mut at_work = 0;
    for _ in 0..40 {
        let mut child = start(&world, &FILES);
        std::thread::sleep(Duration::from_micros(random.u64(0..long)));
        child.kill().unwrap();
        if child.wait().unwrap().code() == Some(0) {
            assert_same(&world.files("out"), &expected);
            std::fs::remove_dir_all(world.path("out")).unwrap();
        } else {
            at_work += 1;
            assert_honest(&world, &expected);
        }
    }
    assert!(at_work > 10, "only {at_work} were killed at work");
    world.run(&FILES).expect(0);
    assert_same(&world.files("out"), &expected);
    assert_eq!(std::fs::read_dir(world.path("out/.mirror/stage")).unwrap().count(), 0);
}

#[test]
fn one_file_is_the_old_one_or_the_new_one() {
    let world = World::new(22, 4_000);
    world.commit();
    let mut random = fastrand::Rng::with_seed(22);
    for (arguments, name) in [(&JSONL, "s.jsonl"), (&TAR, "s.tar.zst")] {
        let long = usual(&world, arguments);
        let new = std::fs::read(world.path(name)).unwrap();
        let old = b"{\"old\":true}\n";
        for _ in 0..20 {
            std::fs::write(world.path(name), old).unwrap();
            let mut child = start(&world, arguments);
            std::thread::sleep(Duration::from_micros(random.u64(0..long)));
            child.kill().unwrap();
            let whole = child.wait().unwrap().code() == Some(0);
            let found = std::fs::read(world.path(name)).unwrap();
            assert!(found == new || (found == old && !whole), "{name}");
        }
        world.run(arguments).expect(0);
        assert!(std::fs::read(world.path(name)).unwrap() == new, "{name}");
    }
    let mut names: Vec<_> =
        std::fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["index", "s.jsonl", "s.tar.zst"]);
}

#[test]
fn signals_stop_cleanly() {
    let world = World::new(23, 1_500);
    world.commit();
    let expected = world.expected(true);
    let long = usual(&world, &FILES);
    let mut random = fastrand::Rng::with_seed(23);
    for round in 0..20 {
        let _ = std::fs::remove_dir_all(world.path("out"));
        let arguments = [&JSONL[..], &FILES, &TAR][round % 3];
        let child = start(&world, arguments);
        std::thread::sleep(Duration::from_micros(random.u64(0..long)));
        let (name, code) = if round % 2 == 0 { ("INT", 130) } else { ("TERM", 143) };
        let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
        let ended = child.wait_with_output().unwrap().status;
        // Before the handler is installed, the signal itself ends the program.
        assert!(
            !sent.success() || matches!(ended.code(), None | Some(0)) || ended.code() == Some(code),
            "{ended:?}"
        );
        assert_honest(&world, &expected);
        for left in ["s.jsonl.partial", "s.tar.zst.partial", "s.tar.zst.frames.partial"] {
            assert!(ended.code().is_none() || !world.path(left).exists(), "{left}");
        }
    }
    world.run(&FILES).expect(0);
    assert_same(&world.files("out"), &expected);
}
