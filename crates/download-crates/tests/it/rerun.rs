//! The second run, and later ones.

use std::process::{Child, Stdio};

use mirror_sync::Layout;
use mirror_testkit::{Fault, TestRegistry};

use crate::world::{World, run};

fn first_path(world: &World) -> String {
    Layout::Shard.path(&world.registry.releases().next().unwrap().id)
}

#[test]
fn a_second_run_fetches_nothing_and_a_deleted_file_comes_back() {
    let world = World::new(TestRegistry::generate(21, 200, 300));
    run(&mut world.mirroring("out")).expect(0);
    let asked = world.origin.total();
    let again = run(&mut world.mirroring("out")).expect(0);
    assert_eq!((again.count("existing"), again.count("downloaded")), (200, 0));
    assert_eq!(world.origin.total(), asked);
    assert_eq!(world.manifest("out").len(), 200, "what is merely still held is not recorded again");

    let victim = world.path("out").join(first_path(&world));
    std::fs::remove_file(&victim).unwrap();
    let rerun = run(&mut world.mirroring("out")).expect(0);
    assert_eq!((rerun.count("existing"), rerun.count("downloaded")), (199, 1));
    world.assert_whole("out");
}

/// Checks that the cursor names a tree, not a commit, since upstream squashes its history, and that bad lines hold it
/// back.
#[test]
fn the_cursor_moves_when_a_run_went_through_the_whole_index() {
    let mut world = World::new(TestRegistry::generate(31, 30, 200));
    let base = format!("{}/crates", world.origin.base());
    let unchanged = "the index has not changed";
    let go = |world: &World, more: &[&str]| {
        run(world.command("out").args(["--index-dir", "checkout", "--crates-base-url", &base]).args(more))
    };
    let checkout = world.path("checkout");
    world.registry.commit_git(&checkout);
    let part = go(&world, &["--limit", "5"]).expect(0);
    assert!(!part.stderr.contains(unchanged));
    let all = go(&world, &[]).expect(0);
    assert!(!all.stderr.contains(unchanged), "a part is not the whole: {}", all.stderr);
    assert!(go(&world, &[]).expect(0).stderr.contains(unchanged));

    // Squashed: another commit without parents, the same tree.
    std::fs::remove_dir_all(checkout.join(".git")).unwrap();
    world.registry.commit_git(&checkout);
    assert!(go(&world, &[]).expect(0).stderr.contains(unchanged));

    world.registry.add("newcomer", "1.0.0", b"new");
    world.publish();
    world.registry.commit_git(&checkout);
    let grown = go(&world, &[]).expect(0);
    assert_eq!((grown.count("downloaded"), grown.stderr.contains(unchanged)), (1, false));
    assert!(!go(&world, &["--include-yanked"]).expect(0).stderr.contains(unchanged));
}

#[test]
fn a_flipped_byte_is_found_and_repaired_by_verification() {
    let world = World::new(TestRegistry::generate(22, 100, 300));
    run(&mut world.mirroring("out")).expect(0);
    let victim = world.path("out").join(first_path(&world));
    let mut bytes = std::fs::read(&victim).unwrap();
    bytes[0] ^= 0x40;
    std::fs::write(&victim, &bytes).unwrap();
    let repaired = run(world.mirroring("out").arg("--verify-existing")).expect(0);
    assert_eq!((repaired.count("verified existing"), repaired.count("downloaded")), (99, 1));
    assert!(repaired.stdout.contains("quarantine"), "{}", repaired.stdout);
    world.assert_whole("out");

    // The origin does not have it any more: the mirror reports that it is incomplete.
    std::fs::write(&victim, &bytes).unwrap();
    world.origin.script(|_| Fault::Status(404));
    run(world.mirroring("out").arg("--verify-existing")).expect(4);
    assert!(!victim.exists(), "a wrong file does not keep its name");
}

#[test]
fn a_republished_release_is_noticed_without_hashing() {
    let mut world = World::new(TestRegistry::generate(23, 100, 300));
    run(&mut world.mirroring("out")).expect(0);
    let before = world.expected();
    let ids: Vec<_> = world.registry.releases().step_by(10).map(|release| release.id.clone()).collect();
    for id in &ids {
        world.registry.republish(id.name.as_str(), id.version.as_str(), format!("new {id}").as_bytes());
    }
    world.publish();
    let ended = run(&mut world.mirroring("out")).expect(0);
    assert_eq!(ended.count("downloaded"), ids.len() as u64);
    assert!(ended.stdout.contains("replaced upstream"), "{}", ended.stdout);
    world.assert_whole("out");
    // The old bytes are kept, at their paths below another directory.
    let kept = crate::world::tree(&world.path("out/.mirror/replaced"));
    assert_eq!(kept.len(), ids.len());
    for (path, sum) in kept {
        let (path, _run) = path.split_once(".crate.").unwrap();
        assert_eq!(before[&format!("{path}.crate")], sum);
    }
}

#[test]
fn releases_that_vanish_upstream_stay_held() {
    let mut world = World::new(TestRegistry::generate(24, 100, 300));
    run(&mut world.mirroring("out")).expect(0);
    let held = world.tree("out");
    let half = world.registry.crates.len() / 2;
    world.registry.crates = std::mem::take(&mut world.registry.crates).into_iter().take(half).collect();
    run(&mut world.mirroring("out")).expect(0);
    assert_eq!(world.tree("out"), held);
}

#[test]
fn a_deleted_catalogue_is_rebuilt_and_a_deleted_manifest_costs_one_hashing() {
    let world = World::new(TestRegistry::generate(25, 100, 300));
    run(&mut world.mirroring("out")).expect(0);
    let asked = world.origin.total();
    for entry in std::fs::read_dir(world.path("out/.mirror")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("catalogue.sqlite") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let rebuilt = run(&mut world.mirroring("out")).expect(0);
    assert_eq!((rebuilt.count("existing"), rebuilt.count("downloaded")), (100, 0));
    std::fs::remove_file(world.path("out.jsonl")).unwrap();
    std::fs::remove_dir_all(world.path("out/.mirror")).unwrap();
    let adopted = run(&mut world.mirroring("out")).expect(0);
    assert_eq!(adopted.count("verified existing"), 100);
    let after = run(&mut world.mirroring("out")).expect(0);
    assert_eq!(after.count("existing"), 100);
    assert_eq!(world.origin.total(), asked, "nothing was fetched again");
}

/// The source system leaves a wrong crate under its final name and calls it existing.
#[test]
fn a_tree_of_the_source_system_is_adopted_by_hashing_it_once() {
    let world = World::new(TestRegistry::generate(26, 100, 300));
    let mut manifest = String::new();
    for (n, release) in world.registry.releases().enumerate() {
        let rel = Layout::Shard.path(&release.id);
        let path = world.path("out").join(&rel);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let torn = &release.body[..release.body.len() / 2];
        std::fs::write(path, if n < 5 { torn } else { &release.body }).unwrap();
        manifest.push_str(&format!(
            "{{\"schema_version\":1,\"url\":\"u\",\"path\":\"out/{rel}\",\"storage\":\"filesystem\",\"size\":1,\
             \"started_at\":\"2025-01-01T00:00:00Z\",\"finished_at\":\"2025-01-01T00:00:00Z\",\"ok\":true,\
             \"retries\":0,\"status\":\"existing\"}}\n"
        ));
    }
    std::fs::write(world.path("out.jsonl"), &manifest).unwrap();
    let ended = run(&mut world.mirroring("out")).expect(0);
    assert_eq!((ended.count("verified existing"), ended.count("downloaded")), (95, 5));
    world.assert_whole("out");
    let now = std::fs::read_to_string(world.path("out.jsonl")).unwrap();
    assert!(now.starts_with(&manifest), "what was recorded before stays");
}

#[test]
fn a_torn_manifest_is_cut_at_its_end_and_refused_in_its_middle() {
    let world = World::new(TestRegistry::generate(27, 50, 300));
    run(&mut world.mirroring("out")).expect(0);
    let whole = std::fs::read_to_string(world.path("out.jsonl")).unwrap();
    std::fs::write(world.path("out.jsonl"), format!("{whole}{{\"schema_version\":2,\"ur")).unwrap();
    let ended = run(&mut world.mirroring("out")).expect(0);
    assert!(ended.stderr.contains("torn"), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(world.path("out.jsonl")).unwrap(), whole);

    let (first, rest) = whole.split_at(whole.find('\n').unwrap() / 2);
    std::fs::write(world.path("out.jsonl"), format!("{first}\n{rest}")).unwrap();
    for entry in std::fs::read_dir(world.path("out/.mirror")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("catalogue.sqlite") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let refused = run(&mut world.mirroring("out")).expect(4);
    assert!(refused.stderr.contains("byte 0"), "{}", refused.stderr);
}

#[test]
fn only_one_of_many_starts_wins() {
    let world = World::new(TestRegistry::generate(28, 20, 300));
    // The winner is held back until all others have ended.
    let (gate, open) = std::sync::mpsc::channel::<()>();
    let open = std::sync::Mutex::new(open);
    world.origin.script(move |_| {
        let _ = open.lock().unwrap().recv();
        Fault::None
    });
    let base = format!("{}/crates", world.origin.base());
    let start = || -> Child {
        let mut command = world.command("out");
        command.args(["--index-dir", "index", "--crates-base-url", &base]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    world.index();
    let mut running: Vec<Child> = (0..40).map(|_| start()).collect();
    let mut codes = Vec::new();
    while running.len() > 1 {
        running.retain_mut(|child| match child.try_wait().unwrap() {
            Some(status) => {
                codes.push(status.code().unwrap());
                false
            }
            None => true,
        });
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(codes, vec![7; 39]);
    drop(gate);
    assert_eq!(running.remove(0).wait().unwrap().code(), Some(0));
    world.assert_whole("out");
}

#[cfg(unix)]
#[test]
fn a_link_inside_the_output_is_refused() {
    let world = World::new(TestRegistry::generate(29, 20, 300));
    let outside = world.path("outside");
    std::fs::create_dir(&outside).unwrap();
    let rel = first_path(&world);
    let top = rel.split('/').next().unwrap();
    std::fs::create_dir(world.path("out")).unwrap();
    std::os::unix::fs::symlink(&outside, world.path("out").join(top)).unwrap();
    let ended = run(&mut world.mirroring("out")).expect(4);
    assert!(ended.stderr.contains("links"), "{}", ended.stderr);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn what_the_lockfile_and_the_index_disagree_on_is_not_fetched() {
    let mut world = World::new(TestRegistry::generate(30, 20, 300));
    let url = format!("sparse+{}/index/", world.origin.base());
    std::fs::write(world.path("Cargo.lock"), world.registry.lockfile(&url)).unwrap();
    let id = world.registry.releases().next().unwrap().id.clone();
    world.registry.republish(id.name.as_str(), id.version.as_str(), b"other bytes");
    let last = world.registry.crates.pop_last().unwrap();
    world.publish();
    let ended = run(world.command("out").args(["--cargo-lock", "Cargo.lock", "--index-url", &url])).expect(3);
    assert_eq!(ended.count("selected"), 20);
    assert_eq!(ended.count("failed"), 1 + last.1.len() as u64);
    assert!(ended.stdout.contains(id.name.as_str()), "{}", ended.stdout);
    assert_eq!(ended.count("downloaded"), 19 - last.1.len() as u64);
}
