//! A server, exports and the doctor at a snapshot, whatever came later; and a snapshot past its date.

use std::time::{Duration, Instant, SystemTime};

use mirror_sync::snapshot::SnapshotOptions;

use crate::client::get;
use crate::export::{export, files};
use crate::world::{BIN, CargoHome, MOST, World, add, package, project, registry};

/// Mirrors a registry, and again after changes of every kind, under a policy.
fn changed() -> World {
    let mut world = World::new(registry());
    world.sync();
    // Published, yanked, not yanked any more, deleted, replaced.
    add(&mut world.registry, "a", "1.1.0", &[]);
    let crates = &mut world.registry.crates;
    crates.get_mut("ab").unwrap()[0].yanked = true;
    crates.get_mut("with-dash").unwrap()[2].yanked = false;
    crates.remove("yanked");
    world.registry.republish("Mixed_Case", "2.0.0", &package("Mixed_Case", "2.0.0", &[("a", "1")]));
    let held = world.sync_with(|options| {
        options.accept_mass_removal = true;
        let policy = mirror_sync::Policy::parse("deny = [\"abc\"]\n").unwrap();
        let loaded = mirror_sync::LoadedPolicy::new(policy, mirror_sync::Advisories::default());
        options.policy = Some(std::sync::Arc::new(loaded));
    });
    assert_eq!(held.failed, 0);
    world
}

/// Returns the version and the flag of each line of an index file.
fn lines(base: &str, path: &str) -> Vec<(String, bool)> {
    let got = get(base, path);
    assert!([200, 404].contains(&got.status), "{}", got.text());
    let text = if got.status == 200 { got.text() } else { String::new() };
    let line = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (line["vers"].as_str().unwrap().to_owned(), line["yanked"].as_bool().unwrap())
    };
    text.lines().map(line).collect()
}

#[test]
fn exactly_the_state_of_a_snapshot_is_offered() {
    let world = changed();
    let (now, then) = (world.serve(&[]), world.serve(&["--snapshot", "1"]));
    let line = |version: &str, yanked| (version.to_owned(), yanked);
    let path = "/index/1/a";
    assert_eq!(lines(&now.base, path), [line("1.0.0", false), line("1.1.0", false)]);
    assert_eq!(lines(&then.base, path), [line("1.0.0", false)]);
    // Yanks are as they were.
    assert_eq!(lines(&now.base, "/index/2/ab"), [line("1.2.0", true)]);
    assert_eq!(lines(&then.base, "/index/2/ab"), [line("1.2.0", false)]);
    assert_eq!(lines(&now.base, "/index/wi/th/with-dash")[2], line("0.2.0", false));
    assert_eq!(lines(&then.base, "/index/wi/th/with-dash")[2], line("0.2.0", true));
    // What policy holds back today was offered.
    assert_eq!(lines(&now.base, "/index/3/a/abc"), []);
    assert_eq!(lines(&then.base, "/index/3/a/abc"), [line("0.3.0+build.7", false)]);
    assert_eq!(get(&then.base, "/crates/abc/abc-0.3.0+build.7.crate").status, 200);
    // What upstream deleted or replaced since is not.
    for (path, why) in [
        ("/crates/yanked/yanked-1.0.0.crate", "yanked 1.0.0 was deleted upstream"),
        ("/crates/Mixed_Case/Mixed_Case-2.0.0.crate", "Mixed_Case 2.0.0 is not in snapshot 1"),
        ("/crates/a/a-1.1.0.crate", "a 1.1.0 is not in snapshot 1"),
    ] {
        let got = get(&then.base, path);
        assert_eq!(got.status, 404, "{path}");
        assert!(got.text().contains(why), "{} for {path}", got.text());
    }
    assert_eq!(lines(&then.base, "/index/mi/xe/mixed_case"), []);
    let found = |base: &str| get(base, "/api/v1/crates?q=a&per_page=100").text();
    let names = |text: &str| {
        let answer: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut names: Vec<_> =
            answer["crates"].as_array().unwrap().iter().map(|one| one["name"].to_string()).collect();
        assert_eq!(answer["meta"]["total"], names.len());
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&found(&now.base)), "\"Mixed_Case\" \"a\" \"ab\" \"with-dash\"");
    assert_eq!(names(&found(&then.base)), "\"a\" \"ab\" \"abc\" \"with-dash\"");
    let page = get(&then.base, "/setup").text();
    assert!(page.contains("Exactly snapshot 1 of ") && !page.contains("held back"), "{page}");
    let metrics = get(&then.base, "/metrics").text();
    assert!(metrics.contains("crates_serve_held_releases 6\n"), "{metrics}");
    mirror_testkit::check_metrics(&metrics);
    let (_, log) = then.stop();
    assert!(log.contains("exactly snapshot 1 of"), "{log}");

    // One that is not known is refused before anything is served.
    let output = std::process::Command::new(BIN)
        .args(["--mirror", "out", "--snapshot", "7", "--listen", "127.0.0.1:0"])
        .current_dir(world.dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("does not know what snapshot 7 offered"), "{said}");
}

#[test]
fn cargo_builds_from_a_snapshot_and_exports_and_the_doctor_are_of_the_same_state() {
    let world = changed();
    let server = world.serve(&["--snapshot", "1"]);
    let home = CargoHome::sparse(&world.path("home"), &server.base);
    let project = project(&world.path("project"), &[("a", "1"), ("ab", "1")]);
    home.run(&project, &["build"], true);
    let lock = std::fs::read_to_string(project.join("Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"a\"\nversion = \"1.0.0\""), "{lock}");

    export(&world, "local", &["--format", "local-registry", "--snapshot", "1"], 0);
    let files = files(&world.path("local"));
    assert!(files.contains("abc-0.3.0+build.7.crate") && !files.contains("a-1.1.0.crate"), "{files:?}");
    let index = std::fs::read_to_string(world.path("local/index/2/ab")).unwrap();
    assert!(index.contains("\"yanked\":false"), "{index}");
    let output = std::process::Command::new(BIN)
        .args(["doctor", "--mirror", "out", "--snapshot", "1"])
        .current_dir(world.dir.path())
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        table.contains("exactly snapshot 1 of ") && table.contains("2 of its 8 releases are not served"),
        "{table}"
    );
    assert!(table.contains("held back by the policy of today"), "{table}");
}

/// A run that forgets the snapshot ends what is offered; nothing of another state is.
#[test]
fn a_snapshot_that_is_forgotten_is_not_replaced_by_another_state() {
    let mut world = changed();
    let server = world.serve(&["--snapshot", "1"]);
    assert_eq!(get(&server.base, "/index/1/a").status, 200);
    add(&mut world.registry, "late", "1.0.0", &[]);
    world.sync_with(|options| {
        options.accept_mass_removal = true;
        options.snapshots.as_mut().unwrap().keep = 1;
    });
    let began = Instant::now();
    while get(&server.base, "/index/1/a").status != 503 {
        assert!(began.elapsed() < MOST, "the server still answers");
    }
    assert_eq!(get(&server.base, "/crates/a/a-1.0.0.crate").status, 503);
}

#[test]
fn a_mirror_whose_newest_snapshot_is_past_its_date_is_told_of() {
    let world = World::new(registry());
    let long_ago = SystemTime::now() - Duration::from_secs(100 * 86_400);
    world.sync_with(|options| {
        options.now = Some(long_ago);
        options.snapshots = Some(SnapshotOptions::default());
    });
    let server = world.serve(&[]);
    let page = get(&server.base, "/setup").text();
    assert!(page.contains("The newest snapshot, 1 of ") && page.contains("was good until"), "{page}");
    let expires = long_ago.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 90 * 86_400;
    let created = expires - 90 * 86_400;
    let metrics = get(&server.base, "/metrics").text();
    for line in [
        format!("crates_serve_snapshot_expires_timestamp_seconds {expires}"),
        format!("crates_serve_snapshot_created_timestamp_seconds {created}"),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    let (_, log) = server.stop();
    assert!(log.contains("WARN") && log.contains("the newest snapshot, 1 of "), "{log}");

    // A run brings a fresh one, although nothing else is new.
    world.sync();
    let server = world.serve(&[]);
    let page = get(&server.base, "/setup").text();
    assert!(page.contains("Snapshot 2 of ") && page.contains("is good until"), "{page}");
}
