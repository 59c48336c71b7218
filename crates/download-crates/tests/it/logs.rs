//! Checks that a run does not depend on a reader of its log.

use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use mirror_testkit::{Fault, OriginOptions, TestRegistry};

use crate::world::World;

/// Failing releases, each with lines in a debug log: several times the capacity of a pipe.
const FAILING: usize = 3_000;

/// The time after which a test calls a run hung.
const HUNG: Duration = Duration::from_secs(120);

fn failing() -> World {
    let options = OriginOptions::default();
    let world = World::with(TestRegistry::generate(31, FAILING, 60), options);
    // Two kinds of failures: a run whose requests all fail alike is given up.
    world.origin.script(|ask| Fault::Status(if is_odd(&ask.path) { 404 } else { 410 }));
    world
}

fn is_odd(path: &str) -> bool {
    path.bytes().map(usize::from).sum::<usize>() % 2 == 1
}

/// Waits for the end, and returns the exit code.
fn end(child: &mut Child) -> Option<i32> {
    let began = Instant::now();
    while began.elapsed() < HUNG {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("it hangs");
}

#[test]
fn a_run_whose_log_is_not_read_comes_to_its_end() {
    let world = failing();
    let mut command = world.mirroring("out");
    command.args(["--log-level", "debug"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(end(&mut child), Some(3));
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.lines().any(|line| line.starts_with("unavailable")), "{text}");
    assert_eq!(world.ledger("out").len(), FAILING);
    // The part that had room consists of whole lines.
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.len() > 10_000 && log.starts_with("20"), "{} bytes: {log}", log.len());
}

#[cfg(unix)]
#[test]
fn a_run_whose_log_is_not_read_can_be_stopped() {
    let world = failing();
    // The last of them never get an answer.
    world.origin.script(|ask| {
        let last = ask.path.bytes().map(usize::from).sum::<usize>() % 20 == 0;
        match is_odd(&ask.path) {
            _ if last => Fault::Silence,
            true => Fault::Status(404),
            false => Fault::Status(410),
        }
    });
    let mut command = world.mirroring("out");
    command.args(["--concurrency", "64", "--log-level", "debug"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while world.origin.hits_below("/crates/") < 500 && began.elapsed() < HUNG {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(end(&mut child), Some(143));
}
