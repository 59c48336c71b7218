//! Checks that no answer without the right bytes becomes a release, whatever its status and the source of the request.

use mirror_testkit::{Ended, Fault, TestRegistry};

use crate::world::{World, run};

const ASKED: usize = 40;

/// Returns answers without a release that a client might take for one.
fn answers() -> Vec<(&'static str, Fault)> {
    let statuses = [204, 205, 206, 304].map(|status| ("status", Fault::Status(status)));
    statuses.into_iter().chain([("empty", Fault::TruncateUnannounced(0))]).collect()
}

fn world(seed: u64) -> World {
    let world = World::new(TestRegistry::generate(seed, ASKED, 300));
    let base = world.origin.base();
    std::fs::write(world.path("urls"), world.registry.url_list(&base)).unwrap();
    std::fs::write(world.path("sums"), world.registry.checksums(&base)).unwrap();
    world
}

/// Asserts that nothing is held, and every release is reported missing.
fn nothing(world: &World, out: &str, ended: &Ended, what: &str) {
    assert!(world.tree(out).is_empty(), "{what}: {:?}", world.tree(out));
    assert_eq!(ended.count("downloaded"), 0, "{what}");
    assert_eq!(ended.count("failed") + ended.count("unavailable"), ended.count("selected"), "{what}");
    let records = world.manifest(out);
    assert!(!records.is_empty() && records.iter().all(|record| record["ok"] == false), "{what}");
}

#[test]
fn a_release_is_its_bytes_and_no_status() {
    let world = world(301);
    let ways: [(&str, &[&str]); 4] = [
        ("loose", &[]),
        ("bundled", &["--bundle", "--bundles-out", "b", "--bundle-seal"]),
        ("listed", &["--list", "urls"]),
        ("summed", &["--list", "urls", "--checksums", "sums"]),
    ];
    for (nth, (what, fault)) in answers().into_iter().enumerate() {
        world.origin.script(move |_| fault.clone());
        for (way, flags) in ways {
            let out = format!("{way}{nth}");
            let listed = flags.contains(&"--list");
            let mut command = if listed { world.command(&out) } else { world.mirroring(&out) };
            let ended = run(command.args(flags).args(["--retries", "0"])).expect(3);
            nothing(&world, &out, &ended, &format!("{what} {nth}, {way}"));
        }
    }
}

#[test]
fn a_repair_that_brings_no_bytes_leaves_no_file() {
    let world = world(302);
    for (nth, (what, fault)) in answers().into_iter().enumerate() {
        world.origin.heal();
        let out = format!("out{nth}");
        run(&mut world.mirroring(&out)).expect(0);
        let wrong = world.expected().into_keys().next().unwrap();
        std::fs::write(world.path(&out).join(&wrong), b"other").unwrap();
        world.origin.script(move |_| fault.clone());
        let ended = run(world.mirroring(&out).args(["--verify-existing", "--retries", "0"])).expect(4);
        assert_eq!(ended.count("failed") + ended.count("unavailable"), 1, "{what} {nth}");
        let mut rest = world.expected();
        rest.remove(&wrong);
        crate::world::assert_same(&world.tree(&out), &rest);
        world.origin.heal();
        run(&mut world.mirroring(&out)).expect(0);
        world.assert_whole(&out);
    }
}
