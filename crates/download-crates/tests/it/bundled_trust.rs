//! Disagreement between bundles, their manifests, `manifest.jsonl` and the catalogue.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mirror_bundle::{BundleLimits, BundleReader, list_bundles};
use mirror_sync::Layout;
use mirror_testkit::{Fault, TestRegistry};

use crate::world::{Ended, World, assert_same, run};

/// The earlier contents of files.
type State = [(Option<Vec<u8>>, PathBuf); 4];

/// A mirror in bundles, of an index with trees: crates that have not changed are not looked at.
struct Mirror {
    world: World,
    base: String,
}

const BUNDLE: [&str; 5] = ["--bundle", "--bundle-size-gb", "0.00006", "--bundles-out", "bundles"];
/// Flags for one partial bundle.
const TO_BUNDLES: [&str; 3] = ["--bundle", "--bundles-out", "bundles"];
const ADD: [&str; 5] = ["--bundle", "--bundle-mode", "add", "--bundles-out", "bundles"];
const CATALOGUE: &str = "out/.mirror/catalogue.sqlite";
const MANIFEST: &str = "out.jsonl";

impl Mirror {
    fn new(seed: u64) -> Self {
        let world = World::new(TestRegistry::generate(seed, 120, 2_000));
        let base = format!("{}/crates", world.origin.base());
        let mirror = Self { world, base };
        mirror.publish();
        mirror
    }

    fn publish(&self) {
        self.world.publish();
        self.world.registry.commit_git(&self.world.path("checkout"));
    }

    fn add(&mut self, name: &str, body: &[u8]) {
        self.world.registry.add(name, "1.0.0", body);
        self.publish();
    }

    fn republish(&mut self, name: &str, body: &[u8]) {
        self.world.registry.republish(name, "1.0.0", body);
        self.publish();
    }

    fn go(&self, more: &[&str]) -> Ended {
        let asked = ["--index-dir", "checkout", "--crates-base-url", &self.base];
        run(self.world.command("out").args(asked).args(more))
    }

    fn rebuild(&self, more: &[&str]) -> Ended {
        run(self.world.command("out").arg("--rebuild-catalogue").args(more))
    }

    fn all(&self) -> u64 {
        self.world.expected().len() as u64
    }

    /// Returns the catalogue, with the files that SQLite keeps beside it, and `manifest.jsonl`.
    fn state(&self) -> State {
        let files = [
            CATALOGUE.to_owned(),
            format!("{CATALOGUE}-wal"),
            format!("{CATALOGUE}-shm"),
            MANIFEST.to_owned(),
        ];
        files.map(|name| self.world.path(&name)).map(|path| (std::fs::read(&path).ok(), path))
    }

    /// Restores the first files of a state.
    fn put_back(state: &[(Option<Vec<u8>>, PathBuf)]) {
        for (bytes, path) in state {
            match bytes {
                Some(bytes) => std::fs::write(path, bytes).unwrap(),
                None => drop(std::fs::remove_file(path)),
            }
        }
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.world.path(name)).unwrap();
    }

    /// Restores catalogue and `manifest.jsonl` from before `change`: as if a run was killed when only its bundle had
    /// been committed.
    fn killed_after_the_bundle(&mut self, change: impl FnOnce(&mut Self)) {
        let state = self.state();
        change(self);
        Self::put_back(&state);
    }

    /// Asserts that every selected release is held where the catalogue says, with the bytes of today's index.
    #[track_caller]
    fn assert_true(&self, bundles: &str) {
        let db = rusqlite::Connection::open(self.world.path(CATALOGUE)).unwrap();
        let mut query = db
            .prepare("SELECT crate, version, sha256, loose, bundle, frame_offset, frame_len FROM held")
            .unwrap();
        let files = list_bundles(&self.world.path(bundles)).unwrap_or_default();
        let (loose, mut held) = (self.world.tree("out"), BTreeMap::new());
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let text = |at| row.get::<_, String>(at).unwrap();
            let id =
                mirror_sync::ReleaseId { name: text(0).parse().unwrap(), version: text(1).parse().unwrap() };
            let path = Layout::Shard.path(&id);
            if row.get(3).unwrap() {
                assert_eq!(loose.get(&path), Some(&text(2)), "{id} as a file");
            }
            if let Some(number) = row.get::<_, Option<u32>>(4).unwrap() {
                let of = files.iter().find(|files| files.number == Some(number));
                let of = of.unwrap_or_else(|| panic!("{id} is said to be in bundle {number}"));
                let reader = BundleReader::open(&of.path, BundleLimits::default()).unwrap();
                let place = [5, 6].map(|at| u64::try_from(row.get::<_, i64>(at).unwrap()).unwrap());
                let read = reader.read_at(place[0], place[1], &mut |member| {
                    assert_eq!(member.path(), path);
                    assert_eq!(member.sha256()?.to_hex(), text(2), "{id} in bundle {number}");
                    Ok::<_, mirror_bundle::BundleError>(())
                });
                read.unwrap();
            }
            held.insert(path, text(2));
        }
        assert_same(&held, &self.world.expected());
    }

    /// Returns whether every release is held as a file and in a bundle.
    fn has_both(&self) -> bool {
        let db = rusqlite::Connection::open(self.world.path(CATALOGUE)).unwrap();
        let one = "SELECT count(*) FROM held WHERE NOT loose OR bundle IS NULL";
        db.query_row(one, [], |row| row.get::<_, i64>(0)).unwrap() == 0
    }

    /// Flips a bit of a member.
    fn damage(&self, name: &str) {
        let db = rusqlite::Connection::open(self.world.path(CATALOGUE)).unwrap();
        let place = "SELECT bundle, frame_offset + frame_len / 2 FROM held WHERE crate = ?1";
        let (number, at): (u32, usize) = db
            .query_row(place, [name], |row| {
                Ok((row.get(0)?, usize::try_from(row.get::<_, i64>(1)?).unwrap()))
            })
            .unwrap();
        let files = list_bundles(&self.world.path("bundles")).unwrap();
        let path = &files.iter().find(|files| files.number == Some(number)).unwrap().path;
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
}

/// The partial bundle and its manifest.
fn partial(mirror: &Mirror) -> [PathBuf; 2] {
    let files = list_bundles(&mirror.world.path("bundles")).unwrap();
    let files = files.into_iter().find(|files| !files.sealed).unwrap();
    [files.path, files.manifest.unwrap()]
}

#[test]
fn what_a_killed_run_left_does_not_hide_what_was_republished_since() {
    let mut mirror = Mirror::new(90);
    mirror.go(&TO_BUNDLES).expect(0);
    mirror.killed_after_the_bundle(|mirror| {
        mirror.add("odd-one", b"first bytes");
        mirror.go(&TO_BUNDLES).expect(0);
    });
    mirror.republish("odd-one", b"second bytes");
    assert_eq!(mirror.go(&[]).expect(0).count("downloaded"), 1);
    mirror.assert_true("bundles");
    mirror.go(&TO_BUNDLES).expect(0);
    mirror.assert_true("bundles");
}

#[test]
fn what_a_killed_run_left_does_not_hide_what_failed_since() {
    let mut mirror = Mirror::new(91);
    mirror.go(&TO_BUNDLES).expect(0);
    mirror.killed_after_the_bundle(|mirror| {
        mirror.add("odd-one", b"first bytes");
        mirror.go(&TO_BUNDLES).expect(0);
    });
    mirror.republish("odd-one", b"second bytes");
    mirror.world.origin.script(|_| Fault::Status(404));
    mirror.go(&[]).expect(3);
    mirror.world.origin.heal();
    mirror.go(&TO_BUNDLES).expect(0);
    mirror.assert_true("bundles");
    assert!(mirror.world.ledger("out").is_empty());
}

#[test]
fn a_rebuild_writes_down_what_no_record_spoke_of() {
    let mut mirror = Mirror::new(92);
    mirror.go(&TO_BUNDLES).expect(0);
    mirror.remove(MANIFEST);
    mirror.remove(CATALOGUE);
    let all = mirror.all();
    assert_eq!(mirror.rebuild(&[]).expect(0).count("unrecorded members"), all);
    mirror.add("new-one", b"body");
    assert_eq!(mirror.go(&TO_BUNDLES).expect(0).count("downloaded"), 1);
    mirror.remove(CATALOGUE);
    assert_eq!(mirror.go(&[]).expect(0).count("existing"), all + 1);
    mirror.assert_true("bundles");
}

#[test]
fn a_manifest_with_gaps_makes_nothing_of_a_bundle_be_fetched_again() {
    let mut mirror = Mirror::new(93);
    mirror.go(&TO_BUNDLES).expect(0);
    mirror.remove(MANIFEST);
    mirror.add("new-one", b"body");
    mirror.go(&TO_BUNDLES).expect(0);
    mirror.remove(CATALOGUE);
    assert_eq!(mirror.go(&TO_BUNDLES).expect(0).count("existing"), mirror.all());
    mirror.assert_true("bundles");
}

/// Removes the owner from the manifests of bundles, as in an earlier version.
fn forget_owner(dir: &std::path::Path) {
    for bundle in list_bundles(dir).unwrap() {
        let Some(manifest) = bundle.manifest else { continue };
        let mut text = String::new();
        for line in std::fs::read_to_string(&manifest).unwrap().lines() {
            let mut member: serde_json::Value = serde_json::from_str(line).unwrap();
            member.as_object_mut().unwrap().remove("mirror").expect("an owner");
            text.push_str(&format!("{member}\n"));
        }
        std::fs::write(&manifest, text).unwrap();
    }
}

#[test]
fn bundles_of_another_mirror_are_never_taken_for_ours() {
    let mirror = Mirror::new(94);
    mirror.go(&BUNDLE).expect(0);
    let other = World::new(TestRegistry::generate(95, 300, 2_000));
    run(other.mirroring("out").args(BUNDLE)).expect(0);
    let theirs = other.path("bundles").to_str().unwrap().to_owned();
    // The catalogue is gone, and everything that it recorded.
    mirror.remove(CATALOGUE);
    let asked = mirror.world.origin.total();
    let told = mirror.go(&["--bundles-out", &theirs]).expect(2);
    assert!(told.stderr.contains("belong to another mirror"), "{}", told.stderr);
    // Bundles of an earlier version do not name their mirror.
    forget_owner(&other.path("bundles"));
    let told = mirror.go(&["--bundles-out", &theirs]).expect(4);
    assert!(told.stderr.contains("not those of this mirror"), "{}", told.stderr);
    mirror.go(&[]).expect(0);
    mirror.assert_true("bundles");
    assert_eq!(mirror.world.origin.total(), asked);
}

#[test]
fn a_rebuild_believes_the_bundles_that_are_there() {
    let mirror = Mirror::new(96);
    mirror.go(&BUNDLE).expect(0);
    let other = World::new(TestRegistry::generate(97, 300, 2_000));
    run(other.mirroring("out").args(BUNDLE)).expect(0);
    let theirs = other.path("bundles").to_str().unwrap().to_owned();
    mirror.rebuild(&["--bundles-out", &theirs]).expect(2);
    forget_owner(&other.path("bundles"));
    let told = mirror.go(&["--bundles-out", &theirs]).expect(4);
    assert!(told.stderr.contains("--rebuild-catalogue"), "{}", told.stderr);
    // A later run with the bundles of another mirror must not report that everything is there.
    let rebuilt = mirror.rebuild(&["--bundles-out", &theirs]).expect(3);
    assert_eq!(
        rebuilt.stdout.lines().filter(|line| line.starts_with("lost members       120 ")).count(),
        1,
        "{}",
        rebuilt.stdout
    );
    assert_eq!(mirror.go(&[]).expect(0).count("downloaded"), mirror.all());
    mirror.world.assert_whole("out");
}

#[test]
fn a_number_that_is_used_again_brings_nothing_back() {
    let mut mirror = Mirror::new(98);
    mirror.go(&TO_BUNDLES).expect(0);
    partial(&mirror).into_iter().for_each(|path| std::fs::remove_file(path).unwrap());
    mirror.go(&TO_BUNDLES).expect(4);
    mirror.rebuild(&[]).expect(3);
    // Some releases cannot be fetched any more, so the new bundle of that number has other contents.
    mirror.world.origin.script(|ask| if ask.path.len() % 3 == 0 { Fault::Status(404) } else { Fault::None });
    mirror.go(&TO_BUNDLES).expect(3);
    mirror.world.origin.heal();
    mirror.remove(CATALOGUE);
    mirror.go(&TO_BUNDLES).expect(0);
    mirror.assert_true("bundles");
    mirror.add("new-one", b"body");
    mirror.remove(CATALOGUE);
    mirror.go(&[]).expect(0);
    mirror.assert_true("bundles");
}

#[test]
fn bundles_of_the_source_system_may_be_taken_away() {
    let mirror = Mirror::new(99);
    let other = World::new(TestRegistry::generate(100, 20, 500));
    run(other.mirroring("out").args(["--bundle", "--bundles-out", "bundles", "--bundle-seal"])).expect(0);
    let dir = mirror.world.path("bundles");
    std::fs::rename(other.path("bundles"), &dir).unwrap();
    let theirs = list_bundles(&dir).unwrap().swap_remove(0);
    let manifest = theirs.manifest.unwrap();
    let lines = std::fs::read_to_string(&manifest).unwrap();
    let plain = lines.lines().map(|line| format!("{}}}\n", line.split(",\"version\"").next().unwrap()));
    std::fs::write(&manifest, plain.collect::<String>()).unwrap();
    let ended = mirror.go(&TO_BUNDLES).expect(0);
    assert_eq!(ended.count("downloaded"), mirror.all());
    // extract-bundles has made loose files of them elsewhere.
    [theirs.path, manifest].iter().for_each(|path| std::fs::remove_file(path).unwrap());
    assert_eq!(mirror.go(&TO_BUNDLES).expect(0).count("existing"), mirror.all());
    mirror.assert_true("bundles");
}

#[test]
fn verification_repairs_a_bundle_that_still_grows() {
    let mut mirror = Mirror::new(101);
    mirror.add("odd-one", b"bytes that rot");
    mirror.add("z-last", b"something behind it");
    mirror.go(&TO_BUNDLES).expect(0);
    mirror.damage("odd-one");
    let ended = mirror.go(&[&TO_BUNDLES[..], &["--verify-existing"]].concat()).expect(0);
    assert_eq!((ended.count("downloaded"), ended.count("bundled")), (1, 1), "{}", ended.stdout);
    mirror.assert_true("bundles");
}

#[test]
fn a_lost_copy_is_made_again_whichever_run_noticed_it() {
    let mut mirror = Mirror::new(102);
    mirror.add("odd-one", b"held twice");
    mirror.add("z-last", b"something behind it");
    mirror.go(&ADD).expect(0);
    mirror.damage("odd-one");
    // A run for one crate notices, and the file is enough for it.
    let asked = mirror.world.origin.total();
    mirror.go(&["--crates", "odd-one", "--verify-existing"]).expect(0);
    assert!(mirror.world.ledger("out").is_empty());
    assert_eq!(mirror.go(&ADD).expect(0).count("bundled"), 1);
    assert_eq!(mirror.world.origin.total(), asked);
    mirror.assert_true("bundles");
}

#[test]
fn a_damaged_member_is_not_held_again_because_the_catalogue_was_lost() {
    let mut mirror = Mirror::new(103);
    mirror.add("odd-one", b"bytes that rot");
    mirror.add("odd-two", b"bytes that rot, too");
    mirror.go(&BUNDLE).expect(0);
    mirror.go(&[&BUNDLE[..], &["--bundle-seal"]].concat()).expect(0);
    mirror.damage("odd-one");
    mirror.damage("odd-two");
    mirror.world.origin.script(|_| Fault::Status(404));
    mirror.go(&["--verify-existing"]).expect(4);
    mirror.world.origin.heal();
    mirror.remove(CATALOGUE);
    // Neither a list of addresses nor the index brings it back.
    let list = format!("{}/odd-one/odd-one-1.0.0.crate\n", mirror.base);
    std::fs::write(mirror.world.path("list"), list).unwrap();
    let listed =
        run(mirror.world.command("out").args(["--list", "list", "--bundle", "--bundles-out", "bundles"]))
            .expect(0);
    assert_eq!(listed.count("downloaded"), 1, "{}", listed.stdout);
    assert_eq!(mirror.go(&BUNDLE).expect(0).count("downloaded"), 1);
    mirror.assert_true("bundles");
}

/// Changes something upstream, or a file.
#[expect(clippy::print_stderr, reason = "shown when the test fails")]
fn disturb(mirror: &mut Mirror, random: &mut fastrand::Rng, step: usize) {
    if random.u8(..3) == 0 {
        let ids: Vec<_> =
            mirror.world.registry.releases().filter(|one| !one.yanked).map(|one| one.id.clone()).collect();
        for id in random.choose_multiple(&ids, 3) {
            // There are few bodies, so that upstream goes back to earlier ones.
            let body = format!("body {} of {id}", random.u8(..2));
            mirror.world.registry.republish(id.name.as_str(), id.version.as_str(), body.as_bytes());
            eprintln!("republished: {id}");
        }
        mirror.publish();
    }
    if random.u8(..3) == 0 {
        mirror.add(&format!("new-{step}"), format!("new {step}").as_bytes());
    }
    let loose: Vec<_> = mirror.world.tree("out").into_keys().collect();
    if let (Some(path), 0) = (random.choice(&loose), random.u8(..4)) {
        eprintln!("removed: {path}");
        mirror.remove(&format!("out/{path}"));
    }
}

/// Returns flags for a run, and whether they ask for both places.
fn some_flags(random: &mut fastrand::Rng) -> (Vec<&'static str>, bool) {
    let both = random.u8(..3) == 0;
    let mut flags: Vec<&str> = match (both, random.bool()) {
        (true, _) => ADD.to_vec(),
        (false, true) => TO_BUNDLES.to_vec(),
        (false, false) => Vec::new(),
    };
    if !flags.is_empty() && random.bool() {
        flags.extend(["--bundle-size-gb", "0.000005"]);
    }
    if !flags.is_empty() && random.u8(..4) == 0 {
        flags.push("--bundle-seal");
    }
    if random.u8(..6) == 0 {
        flags.push("--verify-existing");
    }
    (flags, both)
}

#[test]
fn runs_of_every_kind_in_any_order_end_with_what_the_index_says() {
    for seed in 0..3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::new(TestRegistry::generate(200 + seed, 25, 600));
        let base = format!("{}/crates", world.origin.base());
        let mut mirror = Mirror { world, base };
        mirror.publish();
        for step in 0..25 {
            disturb(&mut mirror, &mut random, step);
            let (mut flags, both) = some_flags(&mut random);
            let name = mirror.world.registry.crates.keys().next().unwrap().clone();
            let part = random.u8(..6) == 0;
            if part {
                flags.extend(["--crates", &name]);
            }
            let end = random.u8(..10);
            eprintln!("seed {seed}: {flags:?}, end {end}");
            let state = mirror.state();
            mirror.go(&flags).expect(0);
            if !part {
                mirror.assert_true("bundles");
                assert!(!both || mirror.has_both());
            }
            match end {
                // The run was killed before it recorded anything, or before the catalogue did.
                0 => Mirror::put_back(&state),
                1 => Mirror::put_back(&state[..3]),
                2 => mirror.remove(CATALOGUE),
                3 => {
                    mirror.rebuild(&[]).expect(0);
                    if !part {
                        mirror.assert_true("bundles");
                    }
                }
                _ => {}
            }
        }
    }
}
