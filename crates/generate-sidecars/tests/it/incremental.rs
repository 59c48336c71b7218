//! One run after another, over an index that changes.

use crate::world::{World, assert_same, ended};

fn files(world: &World, more: &[&str]) -> crate::world::Ended {
    world.run(&[&["--index-dir", "index"], more].concat()).expect(0)
}

/// Returns a release that is not yanked, as crate and position.
fn some_release(world: &World, nth: usize) -> (String, usize) {
    let mut all = world.registry.crates.iter().flat_map(|(name, releases)| {
        releases
            .iter()
            .enumerate()
            .filter(|(_, release)| !release.yanked)
            .map(move |(at, _)| (name.clone(), at))
    });
    all.nth(nth).unwrap()
}

#[test]
fn only_what_changed_is_looked_at() {
    let mut world = World::new(6, 400);
    world.commit();
    let all = world.expected(false);
    let run = files(&world, &[]);
    assert_eq!(run.count("written"), all.len() as u64);
    assert_same(&world.files("out"), &all);

    let run = files(&world, &[]);
    assert_eq!((run.count("looked at"), run.count("existing")), (0, all.len() as u64));

    world.registry.add("fresh-crate", "1.0.0", b"new");
    let (name, at) = some_release(&world, 50);
    world.registry.add(&name, "99.0.0", b"more");
    world.commit();
    let run = files(&world, &[]);
    assert_eq!((run.count("looked at"), run.count("written")), (2, 2));
    assert_eq!(run.count("selected"), all.len() as u64 + 2);
    assert_same(&world.files("out"), &world.expected(false));

    // A deletion upstream removes nothing here.
    let gone = world.registry.crates.get_mut(&name).unwrap().remove(at);
    world.commit();
    let run = files(&world, &["--refresh"]);
    assert_eq!((run.count("written"), run.count("refreshed")), (0, 0));
    assert_eq!(run.count("selected"), all.len() as u64 + 1);
    let (path, value) = World::sidecar(&gone);
    assert_eq!(world.files("out")[&path], value);
}

#[test]
fn a_yank_is_seen_with_refresh_however_late() {
    for include in ["--include-yanked=true", "--include-yanked=false"] {
        let mut world = World::new(7, 200);
        world.commit();
        files(&world, &[include]);
        let before = world.files("out");
        let (name, at) = some_release(&world, 30);
        world.registry.crates.get_mut(&name).unwrap()[at].yanked = true;
        world.commit();
        let (path, value) = World::sidecar(&world.registry.crates[&name][at]);

        // As in the source system: existing files stay as they are.
        files(&world, &[include]);
        assert_same(&world.files("out"), &before);
        world.registry.add("later", "1.0.0", b"x");
        world.commit();
        files(&world, &[include]);
        assert_ne!(world.files("out")[&path], value);

        let run = files(&world, &[include, "--refresh"]);
        assert_eq!((run.count("refreshed"), run.count("looked at")), (1, 2), "{}", run.stdout);
        assert_eq!(world.files("out")[&path], value);
        assert_eq!(files(&world, &[include, "--refresh"]).count("refreshed"), 0);
    }
}

#[test]
fn other_settings_look_at_everything() {
    let world = World::new(8, 150);
    world.commit();
    files(&world, &[]);
    let yanked = world.expected(true).len() - world.expected(false).len();
    assert_eq!(files(&world, &["--include-yanked"]).count("written"), yanked as u64);
    assert_same(&world.files("out"), &world.expected(true));
    // Only --refresh rewrites existing files for other settings.
    let other = ["--index-dir", "index", "--include-yanked"];
    let run = ended(&mut world.with_base(&other, "http://other/")).expect(0);
    assert_eq!(run.count("written"), 0);
    assert_same(&world.files("out"), &world.expected(true));
    let other = [&other[..], &["--refresh"]].concat();
    let run = ended(&mut world.with_base(&other, "http://other/")).expect(0);
    assert_eq!(run.count("refreshed"), world.expected(true).len() as u64);
    for (path, value) in world.files("out") {
        assert!(value["crate_url"].as_str().unwrap().starts_with("http://other/"), "{path}");
    }
    assert_eq!(files(&world, &["--include-yanked", "--refresh"]).count("refreshed"), run.count("refreshed"));
    assert_same(&world.files("out"), &world.expected(true));
}

#[test]
fn sidecars_of_before_stay_until_refreshed() {
    let world = World::new(9, 100);
    world.commit();
    let mut all = world.expected(false);
    let (path, value) = all.iter().nth(10).map(|(path, value)| (path.clone(), value.clone())).unwrap();
    let file = world.path("out").join(&path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "{\"by\":\"hand\"}").unwrap();
    let run = files(&world, &[]);
    assert_eq!((run.count("existing"), run.count("written")), (1, all.len() as u64 - 1));
    all.insert(path.clone(), serde_json::json!({"by": "hand"}));
    assert_same(&world.files("out"), &all);
    let run = files(&world, &["--refresh"]);
    assert_eq!((run.count("refreshed"), run.count("existing")), (1, all.len() as u64 - 1));
    all.insert(path, value);
    assert_same(&world.files("out"), &all);
}

#[test]
fn bad_lines_are_reported_in_every_run() {
    let world = World::new(10, 60);
    world.commit();
    let bad = world.path("index/ba/dl/badlines");
    std::fs::create_dir_all(bad.parent().unwrap()).unwrap();
    std::fs::write(&bad, "nonsense\n").unwrap();
    mirror_testkit::git(&world.path("index"), &["add", "--all"]);
    mirror_testkit::git(&world.path("index"), &["commit", "--quiet", "--message", "bad"]);
    let all = world.expected(false).len() as u64;
    for looked_at in [None, Some(1)] {
        let run = world.run(&["--index-dir", "index"]).expect(3);
        assert_eq!((run.count("bad index lines"), run.count("selected")), (1, all));
        if let Some(files) = looked_at {
            assert_eq!(run.count("looked at"), files);
        }
    }
}

/// Earlier versions wrote the path into `crate_file`, and a state of format 1.
#[test]
fn sidecars_of_the_version_before_are_corrected_once() {
    for plain in [false, true] {
        let mut world = World::new(11, 80);
        world.commit();
        world.registry.write_index(&world.path("plain"));
        let index = ["--index-dir", if plain { "plain" } else { "index" }];
        world.run(&index).expect(0);
        let all = world.files("out");
        for (path, value) in &all {
            let file = world.path("out").join(path);
            let text = std::fs::read_to_string(&file).unwrap();
            let (name, path) = (value["crate_file"].as_str().unwrap(), value["crate_path"].as_str().unwrap());
            let old = text
                .replace(&format!("\"crate_file\": \"{name}\""), &format!("\"crate_file\": \"{path}\""))
                .replace(&format!("  \"crate_path\": \"{path}\",\n"), "");
            assert_ne!(text, old);
            std::fs::write(file, old).unwrap();
        }
        let state = world.path("out/.mirror/sidecars.json");
        let text = std::fs::read_to_string(&state).unwrap();
        std::fs::write(&state, text.replace("\"format_version\": 2", "\"format_version\": 1")).unwrap();
        // A sidecar of the source system has no path and stays as it is.
        let (path, value) = all.iter().next().map(|(path, value)| (path.clone(), value.clone())).unwrap();
        let mut foreign = value.as_object().unwrap().clone();
        foreign.remove("crate_path");
        let foreign = serde_json::to_string_pretty(&foreign).unwrap();
        std::fs::write(world.path("out").join(&path), &foreign).unwrap();

        let (name, at) = some_release(&world, 20);
        world.registry.crates.get_mut(&name).unwrap()[at].yanked = true;
        world.commit();
        world.registry.write_index(&world.path("plain"));
        let run = world.run(&index).expect(0);
        assert_eq!(
            (run.count("refreshed"), run.count("existing")),
            (all.len() as u64 - 1, 1),
            "{}",
            run.stdout
        );
        assert_eq!(std::fs::read_to_string(world.path("out").join(&path)).unwrap(), foreign);
        let mut expected = all.clone();
        expected.insert(path.clone(), serde_json::from_str(&foreign).unwrap());
        // The yank is left to --refresh, the name is corrected.
        assert_same(&world.files("out"), &expected);
        let again = world.run(&index).expect(0);
        assert!(!again.stdout.contains("refreshed"), "{}", again.stdout);
    }
}

/// Earlier versions remembered foreign files as index files with bad lines; this version skips them.
#[test]
fn a_foreign_file_that_is_remembered_as_bad_is_forgotten() {
    let world = World::new(20, 60);
    world.commit();
    std::fs::write(world.path("index/LICENSE"), "MIT License\n").unwrap();
    mirror_testkit::git(&world.path("index"), &["add", "--all"]);
    mirror_testkit::git(&world.path("index"), &["commit", "--quiet", "--message", "a licence"]);
    let all = files(&world, &[]).count("written");
    let path = world.path("out/.mirror/sidecars.json");
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    state["bad_files"] = serde_json::json!(["LICENSE"]);
    std::fs::write(&path, state.to_string()).unwrap();
    let run = files(&world, &[]);
    assert_eq!((run.count("existing"), run.count("selected")), (all, all), "{}", run.stdout);
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(state["bad_files"], serde_json::json!([]));
}
