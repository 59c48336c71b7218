//! Serves a mirror while runs are in progress.

use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mirror_sync::{Layout, Storage};
use mirror_testkit::TestRegistry;

use crate::client::get;
use crate::world::{BIN, World};

/// Checks that every listed name has its file, with the listed checksum, whatever is committed meanwhile, and that what
/// a run has committed is served when it ends.
fn readers_see_whole_states(storage: Storage, runs: usize) {
    let mut world = World::with(TestRegistry::generate(70, 40, 300), Layout::Shard, storage);
    world.sync();
    let server = world.serve(&[]);
    let (done, looked) = (AtomicBool::new(false), AtomicU64::new(0));
    let names: Vec<String> = world.registry.index_files().into_keys().collect();
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (base, names, done, looked) = (&server.base, &names, &done, &looked);
            scope.spawn(move || {
                let mut before: HashMap<&str, usize> = HashMap::new();
                for name in names.iter().cycle().skip(reader * 7) {
                    if done.load(Ordering::SeqCst) {
                        return;
                    }
                    let listed = get(base, &format!("/index/{name}"));
                    assert_eq!(listed.status, 200, "{name}");
                    let text = listed.text();
                    let count = text.lines().count();
                    assert!(before.insert(name, count).unwrap_or(0) <= count, "{name} lost releases");
                    let line = text.lines().last().unwrap();
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    let (krate, version) = (line["name"].as_str().unwrap(), line["vers"].as_str().unwrap());
                    let got = get(base, &format!("/crates/{krate}/{krate}-{version}.crate"));
                    assert_eq!(got.status, 200, "{krate} {version} is listed");
                    let sum = <sha2::Sha256 as sha2::Digest>::digest(&got.body);
                    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
                    assert_eq!(sum, line["cksum"], "{krate} {version}");
                    looked.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for run in 0..runs {
            let crates: Vec<String> = world.registry.crates.keys().cloned().collect();
            for (at, name) in crates.iter().enumerate().filter(|(at, _)| at % 3 == run % 3) {
                world.registry.add(name, &format!("1.{run}.0"), format!("{name} {run} {at}").as_bytes());
            }
            world.sync();
            let name = &crates[run % 3];
            let path = world.registry.crates[name].first().map(|first| first.id.name.clone()).unwrap();
            let path = world
                .registry
                .index_files()
                .into_keys()
                .find(|file| file.rsplit('/').next() == Some(&path.as_str().to_ascii_lowercase()));
            let listed = get(&server.base, &format!("/{}", path.unwrap())).text();
            assert!(listed.contains(&format!("\"1.{run}.0\"")), "at once: {listed}");
        }
        done.store(true, Ordering::SeqCst);
    });
    for (path, text) in world.registry.index_files() {
        assert_eq!(get(&server.base, &format!("/{path}")).body, text, "{path}");
    }
    assert!(looked.into_inner() > runs as u64);
}

#[test]
fn a_loose_mirror_is_served_while_runs_go_on() {
    readers_see_whole_states(Storage::Loose, 10);
}

#[test]
fn a_bundled_mirror_is_served_while_runs_go_on() {
    readers_see_whole_states(Storage::Bundle, 10);
}

/// Checks that a rebuilt catalogue and a rebuilt index cache are noticed.
#[test]
fn what_is_replaced_is_opened_again() {
    let world = World::new(TestRegistry::generate(71, 40, 300));
    world.sync();
    let server = world.serve(&[]);
    let (path, text) = world.registry.index_files().pop_first().unwrap();
    assert_eq!(get(&server.base, &format!("/{path}")).body, text);
    for entry in std::fs::read_dir(world.path("out/.mirror")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("catalogue.sqlite") || name.starts_with("index.sqlite") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    world.sync();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    for (path, text) in world.registry.index_files() {
        assert_eq!(get(&server.base, &format!("/{path}")).body, text, "{path}");
    }
}

/// The mirror would appear to hold nothing.
#[test]
fn a_mirror_that_keeps_its_lines_as_the_version_before_is_not_served() {
    let world = World::new(TestRegistry::generate(72, 10, 300));
    world.sync();
    let state = world.path("out/.mirror");
    std::fs::remove_file(state.join("index.sqlite")).unwrap();
    std::fs::write(state.join("index.1.lines"), "mirror-index-lines 1\n").unwrap();
    let export = world.path("export");
    let mut serving = Command::new(BIN);
    serving.args(["--listen", "127.0.0.1:0"]);
    let mut exporting = Command::new(BIN);
    exporting.arg("export").arg(&export).args(["--public-url", "http://host/"]);
    for mut command in [serving, exporting] {
        let ended = command.arg("--mirror").arg(world.path("out")).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(4), "{said}");
        assert!(said.contains("index.1.lines") && said.contains("convert them"), "{said}");
    }
    // The next run converts them.
    world.sync();
    let server = world.serve(&[]);
    for (path, text) in world.registry.index_files() {
        assert_eq!(get(&server.base, &format!("/index/{path}")).body, text, "{path}");
    }
}
