//! Runs against origins from which nothing can come end soon, in few words, with a diagnosis.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use mirror_testkit::{Fault, OriginOptions, TestRegistry};

use crate::world::{World, run};

/// Releases of the registry: far more than fail before a run is given up.
const RELEASES: usize = 700;

fn failing(fault: Fault) -> World {
    let world = World::with(TestRegistry::generate(77, RELEASES, 60), OriginOptions::default());
    world.origin.script(move |_| fault.clone());
    world
}

#[test]
fn the_same_failure_for_every_release_is_diagnosed_in_few_lines() {
    for (fault, words, advice) in [
        (Fault::WrongBytes, "another checksum than the index lists", "--crates-base-url"),
        (Fault::Html, "a web page instead of a release", "https_proxy"),
        (Fault::Status(404), "answers every request with 404", "--crates-base-url"),
    ] {
        let world = failing(fault);
        let ended = run(world.mirroring("out").args(["--retry-base", "1ms"])).expect(5);
        let (log, summary) = (&ended.stderr, &ended.stdout);
        assert!(log.lines().count() < 60, "{} lines:\n{log}", log.lines().count());
        assert!(summary.contains("the run was given up: ") && summary.contains(words), "{summary}");
        assert!(summary.contains(advice), "{summary}");
        let asked = ended.count("failed") + ended.count("unavailable");
        assert!((100..RELEASES as u64).contains(&asked), "{asked} of {RELEASES} were tried");
        // What was tried is in the ledger, and the next run goes on from there.
        assert_eq!(world.ledger("out").len() as u64, asked);
        world.origin.script(|_| Fault::None);
        run(&mut world.mirroring("out")).expect(0);
        world.assert_whole("out");
    }
}

#[test]
fn a_small_part_of_which_nothing_is_there_is_tried_to_its_end_and_diagnosed() {
    let world = World::new(TestRegistry::generate(78, 30, 60));
    world.origin.script(|_| Fault::Status(404));
    let ended = run(&mut world.mirroring("out")).expect(3);
    assert_eq!(ended.count("unavailable"), 30);
    let words = "nothing could be downloaded: the origin answers every request with 404";
    assert!(
        ended.stdout.contains(words) && ended.stdout.contains("unless upstream removed"),
        "{}",
        ended.stdout
    );
    assert!(
        !ended.stdout.contains("given up") && ended.stdout.contains("--crates-base-url"),
        "{}",
        ended.stdout
    );
    // Once something came, the base address is right.
    world.origin.script(|ask| if ask.total % 2 == 0 { Fault::Status(404) } else { Fault::None });
    let some = run(&mut world.mirroring("out")).expect(3);
    assert!(some.count("downloaded") > 0 && !some.stdout.contains("nothing could be"), "{}", some.stdout);
}

#[test]
fn an_offline_run_names_everything_that_is_missing() {
    let world = failing(Fault::None);
    let ended = run(world.mirroring("out").arg("--offline")).expect(3);
    assert_eq!(ended.count("failed"), RELEASES as u64, "{}", ended.stdout);
    assert_eq!(world.ledger("out").len(), RELEASES);
    assert!(
        !ended.stdout.contains("given up") && !ended.stdout.contains("--crates-base-url"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_list_whose_first_hundreds_were_removed_upstream_is_mirrored_to_its_end() {
    const REMOVED: u64 = 300;
    let world = World::new(TestRegistry::generate(79, 500, 60));
    let names: Vec<&str> = world.registry.crates.keys().map(String::as_str).collect();
    std::fs::write(world.path("names"), names.join("\n")).unwrap();
    world.origin.script(|ask| if ask.total < REMOVED { Fault::Status(404) } else { Fault::None });
    let ended = run(world.mirroring("out").args(["--crates-file", "names"])).expect(3);
    // A few releases are asked for in two forms.
    let (unavailable, downloaded) = (ended.count("unavailable"), ended.count("downloaded"));
    assert_eq!(unavailable + downloaded, 500, "{}", ended.stdout);
    assert!((200..=REMOVED).contains(&unavailable), "{}", ended.stdout);
}

#[test]
fn a_crate_with_hundreds_of_releases_that_upstream_removed_does_not_end_the_run() {
    let mut registry = TestRegistry::generate(80, 40, 60);
    (0..150).for_each(|n| _ = registry.add("a", &format!("1.0.{n}"), b"gone"));
    let world = World::new(registry);
    world.origin.script(|ask| if ask.path.contains("/a/a-1.0.") { Fault::Status(404) } else { Fault::None });
    let ended = run(world.mirroring("out").args(["--concurrency", "1"])).expect(3);
    assert_eq!((ended.count("unavailable"), ended.count("downloaded")), (150, 40), "{}", ended.stdout);
}

#[test]
fn a_million_failures_would_be_a_short_log() {
    let world = failing(Fault::None);
    // Two kinds of failures, so that there is no diagnosis.
    world.origin.script(|ask| {
        let odd = ask.path.bytes().map(usize::from).sum::<usize>() % 2 == 1;
        Fault::Status(if odd { 404 } else { 451 })
    });
    let ended = run(&mut world.mirroring("out")).expect(3);
    assert_eq!(ended.count("unavailable"), RELEASES as u64);
    assert!(ended.stderr.lines().count() < 40, "{}", ended.stderr);
    assert!(ended.stderr.contains("failures of the kind http_status so far"), "{}", ended.stderr);
}

#[test]
fn an_origin_that_does_not_answer_is_named_within_seconds() {
    let world = failing(Fault::Silence);
    let began = Instant::now();
    let mut child = world.mirroring("out").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let named = log.lines().map_while(Result::ok).find(|line| line.contains("has not answered for 2 s"));
    let after = began.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(named.is_some_and(|line| line.contains("127.0.0.1") || line.contains("localhost")));
    assert!(after < Duration::from_secs(20), "named after {after:?}");
}
