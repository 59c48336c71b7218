//! Faults of origins, and their proper consequences.

use std::collections::BTreeSet;
use std::time::Duration;

use mirror_testkit::{Fault, OriginOptions, TestRegistry};

use crate::world::{World, assert_same, run};

/// Returns a stable number for a path.
fn number(path: &str) -> u64 {
    path.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
        >> 8
}

/// Returns faults that are over after a try or two.
fn passing(path: &str, nth: u64) -> Fault {
    if nth >= 2 {
        return Fault::None;
    }
    match number(path) % 80 {
        0 => Fault::Status(500),
        1 => Fault::Status(502),
        2 => Fault::RetryAfter(503, 0),
        3 if nth == 0 && number(path) % 800 == 3 => Fault::RetryAfter(429, 1),
        4 => Fault::Reset(10),
        5 if nth == 0 => Fault::Drop(20),
        6 => Fault::Truncate(30),
        7 => Fault::TruncateUnannounced(30),
        8 => Fault::WrongBytes,
        9 => Fault::Html,
        10 if nth == 0 && number(path) % 800 == 10 => Fault::Stall(5),
        11 if nth == 0 && number(path) % 800 == 11 => Fault::Silence,
        12 => Fault::Late(Duration::from_millis(20)),
        _ => Fault::None,
    }
}

#[test]
fn five_thousand_crates_from_a_bad_origin_are_all_held_in_the_end() {
    let options = OriginOptions { requests_per_connection: Some(50), ..OriginOptions::default() };
    let world = World::with(TestRegistry::generate(11, 5_000, 600), options);
    let never: BTreeSet<String> =
        world.registry.releases().step_by(97).map(mirror_testkit::TestRelease::url_path).collect();
    let broken = never.clone();
    world.origin.script(move |ask| match number(&ask.path) % 4 {
        _ if !broken.contains(&ask.path) => passing(&ask.path, ask.nth),
        0 => Fault::Status(500),
        1 => Fault::WrongBytes,
        2 => Fault::Status(404),
        _ => Fault::Reset(3),
    });
    let mut command = world.mirroring("out");
    let ended = run(command.args(["--idle-timeout", "2s"])).expect(3);
    let failed = never.len() as u64;
    assert_eq!(ended.count("selected"), 5_000);
    assert_eq!(ended.count("downloaded"), 5_000 - failed);
    assert_eq!(ended.count("failed") + ended.count("unavailable"), failed);
    assert!(world.origin.connections() >= 100, "GOAWAY after 50 requests: {}", world.origin.connections());

    // Index, disk, manifest and ledger add up exactly.
    let mut expected = world.expected();
    let lost: BTreeSet<String> = world
        .registry
        .releases()
        .filter(|release| never.contains(&release.url_path()))
        .map(|release| release.id.to_string())
        .collect();
    for release in world.registry.releases().filter(|release| never.contains(&release.url_path())) {
        expected.remove(&mirror_sync::Layout::Shard.path(&release.id));
    }
    assert_same(&world.tree("out"), &expected);
    let records = world.manifest("out");
    assert_eq!(records.len(), 5_000);
    let named = |ok: bool| -> BTreeSet<String> {
        let chosen = records.iter().filter(|record| record["ok"] == ok);
        chosen
            .map(|r| format!("{} {}", r["crate"].as_str().unwrap(), r["version"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(named(false), lost);
    assert_eq!(named(true).len(), expected.len());
    assert_eq!(world.ledger("out"), lost);

    world.origin.heal();
    let before = world.origin.hits_below("/crates/");
    let rerun = run(&mut world.mirroring("out")).expect(0);
    assert_eq!((rerun.count("downloaded"), rerun.count("existing")), (failed, 5_000 - failed));
    assert_eq!(world.origin.hits_below("/crates/") - before, failed, "only what failed is asked for again");
    world.assert_whole("out");
    assert!(world.ledger("out").is_empty());
}

/// Assigns each fault to one crate, for ever: that crate fails, with its reason, and every other one is held.
#[test]
fn every_fault_fails_its_own_record_and_no_other() {
    let second = Duration::from_secs(1);
    let faults: Vec<(&str, Fault, &str, &str)> = vec![
        ("wrong-bytes", Fault::WrongBytes, "error", "SHA-256"),
        ("truncate", Fault::Truncate(40), "error", ""),
        ("truncate-unannounced", Fault::TruncateUnannounced(40), "error", "SHA-256"),
        ("empty", Fault::TruncateUnannounced(0), "error", "SHA-256"),
        ("html", Fault::Html, "error", "text/html"),
        ("forbidden", Fault::Status(403), "unavailable", "403"),
        ("missing", Fault::Status(404), "unavailable", "404"),
        ("gone", Fault::Status(410), "unavailable", "410"),
        ("legal", Fault::Status(451), "unavailable", "451"),
        ("teapot", Fault::Status(418), "error", "418"),
        ("slow-down", Fault::RetryAfter(429, 0), "error", "429"),
        ("busy", Fault::RetryAfter(503, 0), "error", "503"),
        ("storm", Fault::Status(500), "error", "500"),
        ("reset", Fault::Reset(40), "error", ""),
        ("stall", Fault::Stall(40), "error", "no progress"),
        ("silence", Fault::Silence, "error", "no progress"),
        ("drip", Fault::Drip(second / 20), "error", "no progress"),
        ("encoding", Fault::Encoding("gzip"), "error", "gzip"),
        ("redirect-elsewhere", Fault::Redirect("https://localhost:1/x".to_owned()), "error", "localhost"),
        (
            "redirect-downgrade",
            Fault::Redirect("http://localhost:1/x".to_owned()),
            "error",
            "from https to http",
        ),
        ("redirect-file", Fault::Redirect("file:///etc/passwd".to_owned()), "error", "redirect"),
        ("redirect-nowhere", Fault::Redirect(String::new()), "error", "redirect"),
        ("redirect-hostile", Fault::Redirect("http://[::1".to_owned()), "error", "redirect"),
    ];
    let mut registry = TestRegistry::generate(12, 200, 400);
    for (name, ..) in &faults {
        registry.add(&format!("fault-{name}"), "1.0.0", name.repeat(100).as_bytes());
    }
    let total = registry.len() as u64;
    let world = World::new(registry);
    let base = world.origin.base();
    let table = faults.clone();
    world.origin.script(move |ask| {
        let found = table.iter().find(|(name, ..)| ask.path.contains(&format!("/fault-{name}/")));
        match found {
            Some((name, ..)) if *name == "redirect-nowhere" => Fault::Redirect(format!("{base}{}", ask.path)),
            Some((_, fault, ..)) => fault.clone(),
            None => Fault::None,
        }
    });
    let mut command = world.mirroring("out");
    let ended = run(command.args(["--idle-timeout", "1s", "--timeout", "10", "--retries", "1"])).expect(3);
    let strangers: Vec<_> = world
        .manifest("out")
        .into_iter()
        .filter(|r| r["ok"] == false && !r["crate"].as_str().unwrap().starts_with("fault-"))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    assert_eq!(ended.count("downloaded"), total - faults.len() as u64);
    assert_eq!(ended.count("unavailable"), 4);
    for (name, _, status, text) in &faults {
        let crate_name = format!("fault-{name}");
        let record = world.manifest("out").into_iter().find(|r| r["crate"] == crate_name.as_str()).unwrap();
        assert_eq!(record["status"], *status, "{record}");
        let error = record["error"].as_str().unwrap().to_lowercase();
        assert!(error.contains(&text.to_lowercase()), "{crate_name}: {error}");
    }
    let quarantine = world.path("out/.mirror/stage");
    assert_eq!(std::fs::read_dir(quarantine).unwrap().count(), 0, "nothing is left in the stage");
    world.origin.heal();
    run(&mut world.mirroring("out")).expect(0);
    world.assert_whole("out");
}

/// A flood of headers makes the client close the connection, and with it every other request on it.
#[test]
fn an_answer_that_breaks_its_connection_does_not_use_up_the_tries_of_others() {
    let mut registry = TestRegistry::generate(15, 400, 400);
    registry.add("flood", "1.0.0", b"flood");
    registry.add("empty-chunks", "1.0.0", b"empty chunks");
    let world = World::new(registry);
    world.origin.script(|ask| match ask.path.as_str() {
        "/crates/flood/flood-1.0.0.crate" => Fault::HeaderFlood,
        "/crates/empty-chunks/empty-chunks-1.0.0.crate" => Fault::EmptyChunks,
        _ => Fault::Late(Duration::from_millis(5)),
    });
    let ended = run(world.mirroring("out").args(["--retries", "2"])).expect(3);
    assert_eq!((ended.count("downloaded"), ended.count("failed")), (400, 2));
}

#[test]
fn a_large_body_that_breaks_off_is_resumed_and_never_mixed() {
    let mut registry = TestRegistry::default();
    let mut random = fastrand::Rng::with_seed(5);
    let large: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(10 << 20).collect();
    for name in ["resumed", "other-range", "other-version", "restarted"] {
        registry.add(name, "1.0.0", &[name.as_bytes(), &large].concat());
    }
    let world = World::new(registry);
    world.origin.script(|ask| match (ask.nth, &ask.range) {
        (0, _) => Fault::Truncate(9 << 20),
        (1, Some(_)) if ask.path.contains("other-range") => Fault::WrongRange,
        (1, Some(_)) if ask.path.contains("other-version") => Fault::OtherVersion,
        (1, Some(_)) if ask.path.contains("restarted") => Fault::Status(500),
        (_, None) if ask.path.contains("/resumed/") => Fault::Status(500),
        _ => Fault::None,
    });
    run(&mut world.mirroring("out")).expect(0);
    world.assert_whole("out");
}

#[test]
fn an_origin_that_never_answers_ends_the_run() {
    let world = World::new(TestRegistry::generate(13, 400, 100));
    // No program listens there, and no other test can get that port.
    let dead = "127.0.0.1:1";
    let mut command = world.command("out");
    command.arg("--index-dir").arg(world.index());
    let ended =
        run(command.args(["--crates-base-url", &format!("http://{dead}/"), "--retries", "1"])).expect(5);
    assert!(ended.count("failed") < 400, "it does not try every release of a dead origin: {}", ended.stdout);
    assert!(ended.stdout.contains("never answered"), "{}", ended.stdout);
    run(&mut world.mirroring("out")).expect(0);
    world.assert_whole("out");
}

#[test]
fn the_last_stragglers_are_hedged() {
    let world = World::new(TestRegistry::generate(14, 300, 300));
    let slow: BTreeSet<String> =
        world.registry.releases().skip(290).map(mirror_testkit::TestRelease::url_path).collect();
    world.origin.script(move |ask| match ask.nth {
        0 if slow.contains(&ask.path) => Fault::Silence,
        _ => Fault::None,
    });
    // Without hedging, each of them would wait for the idle limit.
    let ended = run(world.mirroring("out").args(["--idle-timeout", "10m", "--timeout", "600"])).expect(0);
    assert_eq!(ended.count("downloaded"), 300);
    world.assert_whole("out");
}
