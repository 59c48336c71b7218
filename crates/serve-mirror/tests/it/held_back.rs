//! Releases that policy holds back: refused with the reason.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mirror_sync::{Advisories, LoadedPolicy, Outcome, Policy};

use crate::client::{ask, get};
use crate::export::{export, files};
use crate::world::{BIN, CargoHome, MOST, World, add, project, registry};

/// 27 November 2026: a day after the young releases were published.
const NOW: Duration = Duration::from_secs(1_795_737_600);
const AGE: &str = "min-publish-age = \"7 days\"\n";

/// Makes the registry, with `with-dash` 0.1.1 and `Mixed_Case` published on 26 November 2026, and all else long before.
fn aged() -> mirror_testkit::TestRegistry {
    let mut registry = registry();
    for release in registry.crates.values_mut().flatten() {
        let young = ["with-dash 0.1.1", "Mixed_Case 2.0.0"].contains(&release.id.to_string().as_str());
        let time = if young { "2026-11-26T00:00:00Z" } else { "2020-01-01T00:00:00Z" };
        release.pubtime = Some(time.to_owned());
    }
    registry
}

/// Mirrors under a policy.
fn sync(world: &World, policy: &str) -> Outcome {
    let outcome = world.sync_with(|options| {
        let policy = Policy::parse(policy).unwrap();
        options.policy = Some(Arc::new(LoadedPolicy::new(policy, Advisories::default())));
        options.now = Some(SystemTime::UNIX_EPOCH + NOW);
    });
    assert_eq!(outcome.failed, 0);
    outcome
}

/// A server whose mirror gets a catalogue that is not judged answers with the reason, until a run has judged it.
#[test]
fn nothing_is_served_while_a_new_catalogue_is_not_judged() {
    let world = World::new(aged());
    sync(&world, AGE);
    let server = world.serve(&[]);
    let paths =
        ["/index/wi/th/with-dash", "/crates/with-dash/with-dash-0.1.0.crate", "/api/v1/crates?q=dash"];
    // A server looks for another catalogue from time to time.
    let answers = |status: u16| {
        let began = Instant::now();
        while paths.map(|path| get(&server.base, path).status) != [status; 3] {
            assert!(began.elapsed() < MOST, "the server never answers {status}");
        }
    };
    answers(200);

    let options = mirror_sync::RebuildOptions::new(world.path("out"));
    let cancel = tokio_util::sync::CancellationToken::new();
    mirror_sync::rebuild_catalogue(&options, &(), &cancel).unwrap();
    answers(503);
    let said = get(&server.base, paths[0]).text();
    assert!(said.contains("has not judged its new catalogue yet"), "{said}");
    export(&world, "exported", &["--public-url", "https://crates.test"], 8);

    sync(&world, AGE);
    answers(200);
}

#[test]
fn refusals_name_the_rule_for_what_is_held_and_for_what_is_deferred() {
    let young = "with-dash 0.1.1 is held back until 2026-12-03 by min-publish-age";
    for is_held in [true, false] {
        let world = World::new(aged());
        if is_held {
            world.sync();
        }
        sync(&world, AGE);
        let held = world
            .path("out")
            .join(mirror_sync::Layout::Shard.path(&world.registry.crates["Mixed_Case"][0].id));
        assert_eq!(held.exists(), is_held);
        let server = world.serve(&[]);
        for path in ["/crates/with-dash/with-dash-0.1.1.crate", "/crates/with-dash/0.1.1/download"] {
            let got = get(&server.base, path);
            assert_eq!((got.status, got.text()), (404, format!("{young}\n")), "{path}");
        }
        let got = ask(&server.base, None, "GET", "/api/v1/crates/with-dash/0.1.1/download", &[]);
        let said: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!((got.status, said), (404, serde_json::json!({"errors": [{"detail": young}]})));
        let listed = get(&server.base, "/index/wi/th/with-dash").text();
        assert!(listed.contains("0.1.0") && !listed.contains("0.1.1"), "{listed}");
        // Nothing is left of this index file.
        let got = get(&server.base, "/index/mi/xe/mixed_case");
        let why = "Mixed_Case 2.0.0 is held back until 2026-12-03 by min-publish-age\n".to_owned();
        assert_eq!((got.status, got.text()), (404, why));
        // Others are refused as before.
        for path in ["/index/no/su/nosuch", "/crates/with-dash/with-dash-9.0.0.crate"] {
            let got = get(&server.base, path);
            assert_eq!((got.status, got.text().contains("held back")), (404, false), "{path}");
        }
        // The running server offers them when the policy no longer holds them back.
        sync(&world, "");
        assert_eq!(get(&server.base, "/index/mi/xe/mixed_case").status, 200);
        assert_eq!(get(&server.base, "/crates/with-dash/with-dash-0.1.1.crate").status, 200);
    }
}

#[test]
fn cargo_takes_the_older_version_and_says_why_a_locked_one_is_refused() {
    let mut registry = aged();
    registry.crates.retain(|name, _| name != "with-dash");
    for (version, day) in [("1.0.0", "2020-01-01"), ("1.1.0", "2026-11-26")] {
        add(&mut registry, "steady", version, &[]);
        registry.crates.get_mut("steady").unwrap().last_mut().unwrap().pubtime =
            Some(format!("{day}T00:00:00Z"));
    }
    let world = World::new(registry);
    world.sync();
    let server = world.serve(&[]);
    // This lockfile names the newer version; Cargo has read the index and has not fetched the release.
    let locked = project(&world.path("locked"), &[("steady", "1")]);
    let home = CargoHome::sparse(&world.path("home"), &server.base);
    home.run(&locked, &["generate-lockfile"], true);
    let lock = || std::fs::read_to_string(locked.join("Cargo.lock")).unwrap();
    assert!(lock().contains("version = \"1.1.0\""), "{}", lock());
    sync(&world, AGE);
    let said = home.run(&locked, &["fetch", "--locked"], false);
    assert!(said.contains("steady 1.1.0 is held back until 2026-12-03 by min-publish-age"), "{said}");
    // A Cargo that reads the index only now does not find that version, and asks the server for nothing else.
    let other = CargoHome::sparse(&world.path("other"), &server.base);
    let said = other.run(&locked, &["fetch", "--locked"], false);
    assert!(said.contains("steady") && !said.contains("held back"), "{said}");
    let project = project(&world.path("project"), &[("steady", "1")]);
    other.run(&project, &["build"], true);
    let lock = std::fs::read_to_string(project.join("Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"steady\"\nversion = \"1.0.0\""), "{lock}");
}

/// Lists the files of an export without its log of changes, which a first one does not have.
fn unlogged(dir: &Path) -> BTreeSet<String> {
    let mut files = files(dir);
    files.remove("index/changelog");
    files
}

#[test]
fn an_export_leaves_out_and_counts_what_is_held_back_and_removes_it_from_an_older_one() {
    let world = World::new(aged());
    world.sync();
    let forms: [(&str, &[&str]); 2] =
        [("web", &["--public-url", "http://crates.example"]), ("local", &["--format", "local-registry"])];
    let whole: Vec<_> = forms
        .iter()
        .map(|(dir, args)| {
            let told = export(&world, dir, args, 0);
            assert!(!told.contains("held back"), "{told}");
            files(&world.path(dir))
        })
        .collect();
    sync(&world, &format!("{AGE}deny = [\"ab\"]\n"));
    for ((dir, args), whole) in forms.iter().zip(&whole) {
        let told = export(&world, dir, args, 0);
        let all = "3 releases are held back by policy: 1 deny, 2 min-publish-age\n";
        assert!(told.contains(all), "{told}");
        let gone: Vec<_> = whole.difference(&files(&world.path(dir))).cloned().collect();
        for part in
            ["ab-1.2.0.crate", "Mixed_Case-2.0.0.crate", "with-dash-0.1.1.crate", "index/2/ab", "index/mi/xe"]
        {
            assert!(gone.iter().any(|file| file.contains(part)), "{part} in {gone:?}");
        }
        assert!(!gone.iter().any(|file| file.contains("with-dash-0.1.0")), "{gone:?}");
        let index = std::fs::read_to_string(world.path(dir).join("index/wi/th/with-dash")).unwrap();
        assert!(index.contains("\"0.1.0\"") && !index.contains("\"0.1.1\""), "{index}");
        // A first export leaves out the same.
        let fresh = format!("{dir}-fresh");
        assert!(export(&world, &fresh, args, 0).contains(all));
        assert_eq!(files(&world.path(&fresh)), unlogged(&world.path(dir)));
    }
    sync(&world, "");
    for ((dir, args), whole) in forms.iter().zip(&whole) {
        export(&world, dir, args, 0);
        assert_eq!(&unlogged(&world.path(dir)), whole, "offered again");
    }
}

#[test]
fn the_page_the_metrics_and_the_doctor_count_what_is_held_back() {
    let world = World::new(aged());
    world.sync();
    sync(&world, &format!("{AGE}deny = [\"ab\"]\n"));
    let server = world.serve(&[]);
    let page = get(&server.base, "/setup").text();
    assert!(page.contains("3 releases are held back by policy."), "{page}");
    let metrics = get(&server.base, "/metrics").text();
    for (rule, releases) in [("deny", 1), ("min-publish-age", 2), ("yanked", 0)] {
        let line = format!("crates_serve_held_back_releases{{rule=\"{rule}\"}} {releases}");
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    mirror_testkit::check_metrics(&metrics);
    let table = doctor(&world);
    assert!(table.contains("3 releases are held back by policy: 1 deny, 2 min-publish-age"), "{table}");
    assert!(
        table.contains("next: ") && table.contains("is held back until 2026-12-03 by min-publish-age"),
        "{table}"
    );
    assert!(table.contains("every index line that is offered has one"), "{table}");
    assert!(!table.contains("warns"), "{table}");
}

#[test]
fn the_doctor_warns_of_offered_lines_without_a_publication_time() {
    let mut registry = aged();
    for name in ["a", "ab", "yanked"] {
        registry.crates.get_mut(name).unwrap()[0].pubtime = None;
    }
    let world = World::new(registry);
    world.sync();
    // What is not offered does not count.
    sync(&world, "deny = [\"ab\"]\n");
    let table = doctor(&world);
    let line = table.lines().find(|line| line.starts_with("publication times")).unwrap();
    assert!(line.contains("warns") && line.contains("2 offered releases of 2 crates"), "{table}");
    assert!(line.contains("global-min-publish-age"), "{table}");
}

#[test]
fn the_doctor_says_how_old_the_advisories_are() {
    let world = World::new(aged());
    let database = world.path("database");
    std::fs::create_dir_all(database.join("crates/ab")).unwrap();
    mirror_testkit::git(&database, &["init", "--quiet"]);
    let commit = |days: u64| {
        std::fs::write(database.join("crates/ab/notes.txt"), days.to_string()).unwrap();
        mirror_testkit::git(&database, &["add", "--all"]);
        let at = SystemTime::now() - Duration::from_secs(days * 86_400 + 60);
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let committed = std::process::Command::new("git")
            .current_dir(&database)
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@localhost",
                "commit",
                "--quiet",
                "--message",
                "m",
            ])
            .env("GIT_COMMITTER_DATE", format!("{at} +0000"))
            .status();
        assert!(committed.unwrap().success());
    };
    for (days, verdict) in [(1, "works"), (31, "warns")] {
        commit(days);
        world.sync_with(|options| options.advisory_db = Some(database.clone()));
        let table = doctor(&world);
        let line = table.lines().find(|line| line.starts_with("advisories")).unwrap();
        let age = format!("is {days} day{} old", if days == 1 { "" } else { "s" });
        assert!(line.contains(verdict) && line.contains(&age), "{table}");
    }
    // Without a database, there is nothing to say.
    world.sync();
    let table = doctor(&world);
    assert!(!table.contains("advisories"), "{table}");
}

/// Runs the doctor, which must find no fault; returns its table.
fn doctor(world: &World) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = std::process::Command::new(BIN);
    command.args(["doctor", "--mirror", "out", "--cargo", &cargo]).current_dir(world.dir.path());
    let output = command.output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}");
    table
}

#[test]
fn the_console_says_what_is_held_and_why_a_release_is_not_offered() {
    let world = World::new(aged());
    world.sync();
    sync(&world, &format!("{AGE}deny = [\"ab\"]\n"));
    let server = world.serve(&[]);
    let json =
        |path: &str| -> serde_json::Value { serde_json::from_slice(&get(&server.base, path).body).unwrap() };
    let status = json("/api/status");
    assert_eq!(
        (&status["kind"], &status["verdict"]["level"]),
        (&"mirror".into(), &"good".into()),
        "{status}"
    );
    assert_eq!(status["held_back"][0], serde_json::json!({"rule": "deny", "releases": 1}), "{status}");
    let denied = json("/api/crate?name=ab");
    let version = &denied["versions"][0];
    assert_eq!((&version["state"], &version["place"]), (&"held back".into(), &"a file".into()), "{denied}");
    // In the words of the server's 404.
    let refused = get(&server.base, "/crates/ab/ab-1.2.0.crate").text();
    assert_eq!(format!("ab 1.2.0 is {}\n", version["why"].as_str().unwrap()), refused);
    let dated = json("/api/crate?name=with-dash");
    let states: Vec<_> =
        dated["versions"].as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["yanked", "held back", "offered"], "newest first: {dated}");
    let found = json("/api/browse?q=DASH");
    assert_eq!(found["names"], serde_json::json!(["with-dash"]), "{found}");
    let runs = json("/api/runs");
    let run = &runs["runs"][0];
    assert_eq!(run["state"], "complete", "{runs}");
    assert!(
        run["ended_ms"].as_u64() >= run["began_ms"].as_u64() && run["began_ms"].as_u64() > Some(0),
        "{runs}"
    );
    let first = runs["runs"].as_array().unwrap().last().unwrap();
    assert!(first["downloaded"].as_u64() > Some(3), "{runs}");
    let storage = json("/api/storage");
    assert!(
        storage["loose"] == storage["releases"] && storage["bundles"] == serde_json::json!([]),
        "{storage}"
    );
    assert_eq!(json("/api/failures")["total"], 0);
    assert_eq!(get(&server.base, "/api/crate?name=..%2f").status, 400);
    assert_eq!(json("/api/crate?name=nosuch")["versions"], serde_json::json!([]));
}
