//! Runs with `--bundle`: the contents of bundles over many runs, however these end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use mirror_bundle::{BundleLimits, BundleReader, list_bundles, read_index, read_manifest};
use mirror_testkit::{Fault, OriginOptions, TestRegistry};

use crate::world::{Ended, World, assert_same, has, hex, run, tree};

/// 64 KB: many bundles.
const SMALL: [&str; 5] = ["--bundle", "--bundle-size-gb", "0.00006", "--bundles-out", "bundles"];

fn bundling(world: &World, more: &[&str]) -> Ended {
    run(world.mirroring("out").args(SMALL).args(more))
}

/// Returns every member of every bundle by its path, read from the first byte to the last; the last bundle counts.
/// Asserts that a member is in one bundle only, unless `twice` names it.
#[track_caller]
pub(crate) fn members(dir: &Path, twice: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for files in list_bundles(dir).unwrap() {
        let reader = BundleReader::open(&files.path, BundleLimits::default()).unwrap();
        let streamed = reader.stream(&mut |member| {
            let path = member.path().to_owned();
            let sum = member.sha256()?.to_hex();
            let before = found.insert(path.clone(), sum);
            assert!(before.is_none() || twice.contains(&path), "{path} stands in two bundles");
            Ok::<_, mirror_bundle::BundleError>(())
        });
        streamed.unwrap();
    }
    found
}

/// Release, checksum, bundle, offset, length.
type Row = (String, String, u32, u64, u64);

/// Asserts that bundles, their manifests, `bundles.index.jsonl` and the catalogue agree.
#[track_caller]
fn assert_agree(world: &World, dir: &Path) {
    let (mut listed, mut sealed) = (BTreeMap::new(), Vec::new());
    for files in list_bundles(dir).unwrap() {
        let mut sizes = (0, 0);
        let reader = BundleReader::open(&files.path, BundleLimits::default()).unwrap();
        read_manifest(files.manifest.as_ref().unwrap(), &mut |line| {
            assert!(line.bundle_path.ends_with(&files.name), "{} in {}", line.bundle_path, files.name);
            let (offset, len) = (line.frame_offset.unwrap(), line.frame_len.unwrap());
            reader.read_at(offset, len, &mut |member| {
                assert_eq!((member.path(), member.size()), (line.bundle_member.as_str(), line.size));
                assert_eq!(member.sha256()?, line.sha256);
                Ok::<_, mirror_bundle::BundleError>(())
            })?;
            let release = format!("{} {}", line.crate_name, line.version.unwrap());
            let row = (release.clone(), line.sha256.to_hex(), files.number.unwrap(), offset, len);
            listed.insert(release, row);
            sizes = (sizes.0 + 1, sizes.1 + line.size);
            Ok(())
        })
        .unwrap();
        if files.sealed {
            let bytes = std::fs::read(&files.path).unwrap();
            sealed.push((files.name, sizes.0, sizes.1, Some(hex(&bytes)), Some(bytes.len() as u64)));
        }
    }
    let index: Vec<_> = read_index(dir)
        .unwrap()
        .into_iter()
        .map(|line| {
            let name = line.bundle_path.rsplit('/').next().unwrap().to_owned();
            let sum = line.sha256.as_ref().map(ToString::to_string);
            (name, line.entries, line.size_bytes, sum, line.compressed_bytes)
        })
        .collect();
    assert_eq!(index, sealed);
    assert_eq!(catalogue(world), listed.into_values().collect::<Vec<Row>>());
}

fn catalogue(world: &World) -> Vec<Row> {
    let db = rusqlite::Connection::open(world.path("out/.mirror/catalogue.sqlite")).unwrap();
    let mut query = db
        .prepare(
            "SELECT crate || ' ' || version, sha256, bundle, frame_offset, frame_len FROM held
             WHERE bundle IS NOT NULL ORDER BY 1",
        )
        .unwrap();
    let rows = query.query_map([], |row| {
        let number = |at| row.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap());
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, number(3)?, number(4)?))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

fn sealed(dir: &Path) -> BTreeMap<PathBuf, String> {
    let sealed = list_bundles(dir).unwrap().into_iter().filter(|files| files.sealed);
    sealed.map(|files| (files.path.clone(), hex(&std::fs::read(&files.path).unwrap()))).collect()
}

#[test]
fn bundles_alone_hold_what_a_loose_run_would() {
    let mut registry = TestRegistry::generate(70, 300, 2_000);
    registry.add("large-one", "1.0.0", &vec![7; 9 << 20]);
    let world = World::new(registry);
    let first = bundling(&world, &["--bundle-seal"]).expect(0);
    let all = world.expected().len() as u64;
    assert_eq!((first.count("downloaded"), first.count("bundled")), (all, all));
    assert!(tree(&world.path("out")).is_empty(), "no loose file");
    let dir = world.path("bundles");
    assert!(list_bundles(&dir).unwrap().iter().all(|files| files.sealed));
    assert!(list_bundles(&dir).unwrap().len() > 4);
    assert_same(&members(&dir, &BTreeSet::new()), &world.expected());
    assert_agree(&world, &dir);
    for record in world.manifest("out") {
        assert_eq!((&record["storage"], &record["status"]), (&"bundle".into(), &"downloaded".into()));
        let bundle = record["bundle_path"].as_str().unwrap();
        assert!(world.path(bundle).is_file(), "{bundle}");
        assert_eq!(record["path"], format!("out/{}", record["bundle_member"].as_str().unwrap()));
    }
    let (asked, before) = (world.origin.total(), sealed(&dir));
    let again = bundling(&world, &["--verify-existing"]).expect(0);
    assert_eq!((again.count("verified existing"), again.count("bundled")), (all, 0));
    // A run without --bundle uses them, too.
    let loose = run(&mut world.mirroring("out")).expect(0);
    assert_eq!((loose.count("existing"), world.origin.total()), (all, asked));
    assert_eq!(sealed(&dir), before);
}

#[test]
fn three_runs_over_a_growing_index_write_no_bundle_and_no_crate_twice() {
    let mut world = World::new(TestRegistry::generate(71, 200, 2_000));
    let dir = world.path("bundles");
    bundling(&world, &[]).expect(0);
    assert_agree(&world, &dir);
    for run in 0..2 {
        let before = sealed(&dir);
        let asked = world.origin.total();
        for n in 0..60 {
            let body = vec![u8::try_from(n).unwrap(); 3_000 + n];
            world.registry.add(&format!("new-{run}-{n}"), "1.0.0", &body);
        }
        world.publish();
        let ended = bundling(&world, &[]).expect(0);
        assert_eq!((ended.count("downloaded"), ended.count("bundled")), (60, 60));
        assert_eq!(world.origin.total(), asked + 60);
        let after = sealed(&dir);
        assert!(before.iter().all(|(path, sum)| after.get(path) == Some(sum)), "a sealed bundle changed");
        assert_same(&members(&dir, &BTreeSet::new()), &world.expected());
        assert_agree(&world, &dir);
    }
    // Ordinary tools unpack them to what a loose run would have made.
    bundling(&world, &["--bundle-seal"]).expect(0);
    let script = "mkdir gnu && for b in bundles/*.tar.zst; do tar --zstd -xf $b -C gnu || exit 1; done";
    run(std::process::Command::new("sh").args(["-c", script]).current_dir(world.dir.path())).expect(0);
    world.assert_whole("gnu");
    let numbers: Vec<_> = list_bundles(&dir).unwrap().iter().map(|files| files.number.unwrap()).collect();
    assert_eq!(numbers, (0..u32::try_from(numbers.len()).unwrap()).collect::<Vec<_>>());
}

#[test]
fn both_places_are_made_of_what_is_held_without_fetching() {
    let mut registry = TestRegistry::generate(72, 200, 2_000);
    registry.add("large-one", "1.0.0", &vec![7; 9 << 20]);
    let world = World::new(registry);
    run(&mut world.mirroring("out")).expect(0);
    let (asked, all) = (world.origin.total(), world.expected().len() as u64);
    let add = ["--bundle-mode", "add"];
    let added = bundling(&world, &add).expect(0);
    assert_eq!((added.count("bundled"), added.count("downloaded")), (all, 0));
    world.assert_whole("out");
    let dir = world.path("bundles");
    assert_same(&members(&dir, &BTreeSet::new()), &world.expected());
    assert_agree(&world, &dir);
    // The loose files are gone: the bundles have the releases.
    for path in world.expected().keys().step_by(3) {
        std::fs::remove_file(world.path("out").join(path)).unwrap();
    }
    let restored = bundling(&world, &add).expect(0);
    assert_eq!((restored.count("bundled"), restored.count("downloaded")), (0, 0));
    world.assert_whole("out");
    assert_eq!(world.origin.total(), asked);
    assert!(world.ledger("out").is_empty());
    let quiet = bundling(&world, &add).expect(0);
    assert_eq!(quiet.count("existing"), all);
    assert_agree(&world, &dir);
}

#[test]
fn new_releases_go_to_both_places() {
    let world = World::new(TestRegistry::generate(73, 150, 2_000));
    let ended = bundling(&world, &["--bundle-mode", "add"]).expect(0);
    assert_eq!(ended.count("downloaded"), ended.count("bundled"));
    world.assert_whole("out");
    assert_same(&members(&world.path("bundles"), &BTreeSet::new()), &world.expected());
    assert!(world.manifest("out").iter().all(|record| record["storage"] == "filesystem+bundle"));
    assert_agree(&world, &world.path("bundles"));
}

/// Returns the catalogue's row of a release, and the path of its bundle.
fn placed(world: &World, at: usize) -> (Row, PathBuf) {
    let row = catalogue(world).swap_remove(at);
    let files = list_bundles(&world.path("bundles")).unwrap();
    let path = files.into_iter().find(|files| files.number == Some(row.2)).unwrap().path;
    (row, path)
}

fn path_of(world: &World, release: &str) -> String {
    let release = world.registry.releases().find(|one| one.id.to_string() == release).unwrap();
    mirror_sync::Layout::Shard.path(&release.id)
}

#[test]
fn a_damaged_member_is_found_by_verification_and_fetched_again() {
    let world = World::new(TestRegistry::generate(74, 200, 2_000));
    bundling(&world, &["--bundle-seal"]).expect(0);
    let (row, bundle) = placed(&world, 50);
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[usize::try_from(row.3 + row.4 / 2).unwrap()] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let asked = world.origin.total();
    let ended = bundling(&world, &["--verify-existing"]).expect(0);
    assert_eq!((ended.count("downloaded"), world.origin.total()), (1, asked + 1));
    assert!(ended.stderr.contains("is damaged"), "{}", ended.stderr);
    let (now, _) = placed(&world, 50);
    assert_eq!(now.0, row.0);
    assert!(now.2 > row.2, "it stands in a later bundle");
    bundling(&world, &["--verify-existing"]).expect(0);
    // Damage that cannot be repaired is an integrity fault.
    let (row, bundle) = placed(&world, 90);
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[usize::try_from(row.3 + row.4 / 2).unwrap()] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    world.origin.script(|_| Fault::Status(404));
    bundling(&world, &["--verify-existing"]).expect(4);
    assert_eq!(world.ledger("out"), BTreeSet::from([row.0]));
    world.origin.heal();
    assert_eq!(bundling(&world, &[]).expect(0).count("downloaded"), 1);
}

#[test]
fn a_missing_bundle_is_an_integrity_fault_until_the_catalogue_is_rebuilt() {
    let world = World::new(TestRegistry::generate(75, 200, 2_000));
    bundling(&world, &[]).expect(0);
    let dir = world.path("bundles");
    let (asked, all) = (world.origin.total(), world.expected().len() as u64);
    let lost = catalogue(&world).iter().filter(|row| row.2 == 1).count() as u64;
    std::fs::rename(dir.join("bundle-0001.tar.zst"), world.path("away")).unwrap();
    let ended = bundling(&world, &[]).expect(4);
    assert!(ended.stderr.contains("bundle-0001.tar.zst; put them back"), "{}", ended.stderr);
    run(&mut world.mirroring("out")).expect(4);
    run(world.mirroring("out").args(["--dry-run", "--offline"])).expect(4);
    let elsewhere = bundling(&world, &["--bundles-out", "elsewhere"]).expect(4);
    assert!(elsewhere.stderr.contains("elsewhere"), "{}", elsewhere.stderr);
    assert!(!world.path("elsewhere").exists(), "nothing was begun there");
    // Once it is back, it counts.
    std::fs::rename(world.path("away"), dir.join("bundle-0001.tar.zst")).unwrap();
    assert_eq!(bundling(&world, &[]).expect(0).count("existing"), all);
    // A whole directory may move, and is recognized at its new place.
    std::fs::rename(&dir, world.path("moved")).unwrap();
    assert_eq!(bundling(&world, &["--bundles-out", "moved"]).expect(0).count("existing"), all);
    let remembered = || run(world.mirroring("out").args(&SMALL[..3]));
    assert_eq!(remembered().expect(0).count("existing"), all);
    // Bundles of another mirror do not count.
    let other = World::new(TestRegistry::generate(76, 400, 2_000));
    bundling(&other, &[]).expect(0);
    let ended = bundling(&world, &["--bundles-out", other.path("bundles").to_str().unwrap()]).expect(2);
    assert!(ended.stderr.contains("belong to another mirror"), "{}", ended.stderr);
    // Gone for good.
    std::fs::remove_file(world.path("moved/bundle-0001.tar.zst")).unwrap();
    let rebuilt = run(world.command("out").arg("--rebuild-catalogue")).expect(3);
    assert!(rebuilt.stdout.contains("bundle-0001.tar.zst is not there any more"), "{}", rebuilt.stdout);
    assert_eq!(rebuilt.count("held"), all - lost);
    assert_eq!(remembered().expect(0).count("downloaded"), lost);
    assert_eq!(world.origin.total(), asked + lost);
    assert_same(&members(&world.path("moved"), &BTreeSet::new()), &world.expected());
}

#[test]
fn catalogue_and_manifest_are_rebuilt_from_bundles_and_files() {
    let mut world = World::new(TestRegistry::generate(77, 200, 2_000));
    bundling(&world, &[]).expect(0);
    let bundled = world.expected().len() as u64;
    for n in 0..20 {
        world.registry.add(&format!("loose-{n}"), "1.0.0", format!("body {n}").as_bytes());
    }
    world.publish();
    run(&mut world.mirroring("out")).expect(0);
    let (asked, all) = (world.origin.total(), bundled + 20);
    let before = catalogue(&world);
    let remove = |world: &World, names: &[&str]| {
        for name in names {
            std::fs::remove_file(world.path(name)).unwrap();
        }
    };
    // The catalogue alone, by the next run.
    remove(&world, &["out/.mirror/catalogue.sqlite"]);
    assert_eq!(bundling(&world, &[]).expect(0).count("existing"), all);
    assert_eq!(catalogue(&world), before);
    // Both, by a rebuild.
    remove(&world, &["out/.mirror/catalogue.sqlite", "out.jsonl"]);
    let rebuilt = run(world.command("out").arg("--rebuild-catalogue")).expect(0);
    let figures = ["held", "adopted files", "unrecorded members"].map(|name| rebuilt.count(name));
    assert_eq!(figures, [all, 20, bundled]);
    assert_eq!(catalogue(&world), before);
    assert_eq!(run(&mut world.mirroring("out")).expect(0).count("existing"), all);
    assert_eq!(world.origin.total(), asked);
    // A damaged catalogue does not prevent that, and a truncated or missing file is reported.
    std::fs::write(world.path("out/.mirror/catalogue.sqlite"), "no database at all, as anybody can see")
        .unwrap();
    let paths = [path_of(&world, "loose-3 1.0.0"), path_of(&world, "loose-4 1.0.0")];
    std::fs::write(world.path("out").join(&paths[0]), "short").unwrap();
    std::fs::remove_file(world.path("out").join(&paths[1])).unwrap();
    let rebuilt = run(world.command("out").arg("--rebuild-catalogue")).expect(3);
    assert_eq!(rebuilt.count("lost files"), 2, "{}", rebuilt.stdout);
    assert!(rebuilt.stdout.contains("loose-4 1.0.0 has no file"), "{}", rebuilt.stdout);
    run(&mut world.mirroring("out")).expect(0);
    let mut held = members(&world.path("bundles"), &BTreeSet::new());
    held.extend(world.tree("out"));
    assert_same(&held, &world.expected());
}

#[test]
fn a_republished_release_goes_into_a_later_bundle() {
    let mut world = World::new(TestRegistry::generate(78, 200, 2_000));
    bundling(&world, &[]).expect(0);
    let ids: Vec<_> =
        world.registry.releases().filter(|one| !one.yanked).step_by(40).map(|one| one.id.clone()).collect();
    for id in &ids {
        world.registry.republish(id.name.as_str(), id.version.as_str(), b"other bytes");
    }
    world.publish();
    let ended = bundling(&world, &[]).expect(0);
    assert_eq!(ended.count("downloaded"), ids.len() as u64);
    assert!(ended.stdout.contains("replaced upstream"), "{}", ended.stdout);
    let twice = ids.iter().map(|id| mirror_sync::Layout::Shard.path(id)).collect();
    assert_same(&members(&world.path("bundles"), &twice), &world.expected());
    assert_eq!(bundling(&world, &["--verify-existing"]).expect(0).count("bundled"), 0);
}

fn slow_world(seed: u64, releases: usize) -> World {
    let options = OriginOptions { delay: Duration::from_millis(2), ..OriginOptions::default() };
    let world = World::with(TestRegistry::generate(seed, releases, 700), options);
    world.index();
    world
}

fn start(world: &World) -> Child {
    let mut command = world.command("out");
    command.args(["--index-dir", "index", "--concurrency", "8"]).args(SMALL);
    command.arg("--crates-base-url").arg(format!("{}/crates", world.origin.base()));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Asserts that every release that the manifest calls downloaded is whole in a bundle.
#[track_caller]
fn assert_honest(world: &World) {
    let dir = world.path("bundles");
    let mut listed = BTreeSet::new();
    let bundles = if dir.is_dir() { list_bundles(&dir).unwrap() } else { Vec::new() };
    for files in bundles {
        let reader = BundleReader::open(&files.path, BundleLimits::default()).unwrap();
        let Some(manifest) = &files.manifest else { continue };
        // The last line may be torn.
        let text = std::fs::read_to_string(manifest).unwrap();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let place = ["frame_offset", "frame_len"].map(|name| line[name].as_u64().unwrap());
            let read = reader.read_at(place[0], place[1], &mut |member| {
                assert_eq!(member.sha256()?.to_hex(), line["sha256"].as_str().unwrap());
                Ok::<_, mirror_bundle::BundleError>(())
            });
            read.unwrap();
            assert!(
                listed.insert(line["bundle_member"].as_str().unwrap().to_owned()),
                "{line} stands there twice"
            );
        }
    }
    let text = std::fs::read_to_string(world.path("out.jsonl")).unwrap_or_default();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let member = record["bundle_member"].as_str().unwrap();
        assert!(listed.contains(member), "the manifest calls {member} downloaded");
    }
}

#[test]
fn two_hundred_kills_of_bundled_runs_lose_nothing_that_was_committed() {
    let world = slow_world(79, 1_200);
    let mut random = fastrand::Rng::with_seed(79);
    let mut finished = 0;
    for _ in 0..200 {
        let mut child = start(&world);
        std::thread::sleep(Duration::from_micros(random.u64(0..220_000)));
        child.kill().unwrap();
        if child.wait().unwrap().code() == Some(0) {
            finished += 1;
            assert_agree(&world, &world.path("bundles"));
            for name in ["out", "bundles"] {
                std::fs::remove_dir_all(world.path(name)).unwrap();
            }
            std::fs::remove_file(world.path("out.jsonl")).unwrap();
        } else {
            assert_honest(&world);
        }
    }
    assert!(finished < 100, "most runs were killed at work, not {finished} of 200 after it");
    bundling(&world, &[]).expect(0);
    assert_same(&members(&world.path("bundles"), &BTreeSet::new()), &world.expected());
    assert_agree(&world, &world.path("bundles"));
}

/// Checks that the commands in `docs/manifest.md` do what they promise.
#[test]
fn the_documented_lists_check_what_is_held() {
    if !["jq", "sqlite3", "sha256sum"].iter().all(|tool| has(tool, &["--version"])) {
        return;
    }
    let mut world = World::new(TestRegistry::generate(80, 120, 500));
    let go = |world: &World, more: &[&str]| run(world.mirroring("mirror").args(more));
    go(&world, &[]).expect(0);
    let id = world.registry.releases().find(|one| !one.yanked).unwrap().id.clone();
    world.registry.republish(id.name.as_str(), id.version.as_str(), b"other bytes");
    for n in 0..30 {
        world.registry.add(&format!("later-{n}"), "1.0.0+b", &vec![7; 3_000]);
    }
    world.publish();
    go(
        &world,
        &["--bundle", "--bundle-size-gb", "0.00001", "--bundles-out", "mirror/bundles", "--bundle-seal"],
    )
    .expect(0);
    world.registry.add("not-there", "1.0.0", b"not there");
    world.publish();
    world.origin.script(|ask| if ask.path.contains("not-there") { Fault::Status(404) } else { Fault::None });
    go(&world, &[]).expect(3);

    std::fs::rename(world.path("mirror.jsonl"), world.path("mirror/manifest.jsonl")).unwrap();
    let doc = include_str!("../../../../docs/manifest.md");
    let blocks = doc.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    // `cargo xtask docs` runs our own programs.
    let script = blocks.filter(|block| !block.starts_with("download-crates ")).collect::<String>();
    let lists = include_str!("../../../../docs/airgap.md").lines().filter(|line| line.starts_with("jq "));
    assert_eq!(lists.filter(|line| script.contains(line)).count(), 2, "docs/airgap.md has the same lists");
    assert!(script.lines().count() > 6, "{script}");
    let script = format!(
        "set -e\n{script}\nsha256sum --check --quiet SHA256SUMS\n(cd mirror/bundles && sha256sum --check --quiet SHA256SUMS)"
    );
    run(std::process::Command::new("sh").args(["-c", &script]).current_dir(world.dir.path())).expect(0);

    let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    let sums: BTreeMap<String, String> = read("checksums.jsonl")
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            (line["url"].as_str().unwrap().to_owned(), line["sha256"].as_str().unwrap().to_owned())
        })
        .collect();
    let base = format!("{}/crates", world.origin.base());
    let expected: BTreeMap<String, String> = world
        .registry
        .releases()
        .filter(|one| !one.yanked && one.id.name.as_str() != "not-there")
        .map(|one| (one.id.readable_url(&base), one.cksum.to_hex()))
        .collect();
    assert_same(&sums, &expected);
    assert!(read("failures.txt").starts_with("not-there 1.0.0: "), "{}", read("failures.txt"));
    // The republished release is in a bundle now, and its old file is gone.
    let mut loose = tree(&world.path("mirror"));
    loose.retain(|path, _| path.ends_with(".crate"));
    assert_eq!(read("SHA256SUMS").lines().count(), loose.len());
}
