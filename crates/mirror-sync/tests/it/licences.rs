//! Runs under a policy about licences, with releases that are real packages.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use mirror_manifest::{Catalogue, Change, HeldBackRelease};
use mirror_repo::Mirror;
use mirror_sync::{
    Advisories, DownloadOptions, Explained, LoadedPolicy, Outcome, Policy, RebuildOptions, Storage, Upstream,
    Verdict, explain, rebuild_catalogue,
};
use mirror_tar::{EntryType, Header, MODE, padding};
use mirror_testkit::TestRegistry;
use mirror_types::{HeldBack, ReleaseId, Rule};
use tokio_util::sync::CancellationToken;

use crate::World;

const ONLY_MIT: &str = "licenses = { allow = [\"MIT\"] }";

/// Packs a release with this `Cargo.toml`, as Cargo does.
fn package(name: &str, version: &str, manifest: Option<&str>) -> Vec<u8> {
    pack(name, version, manifest, "A crate.\n")
}

/// Packs a release with these files.
pub(crate) fn pack(name: &str, version: &str, manifest: Option<&str>, readme: &str) -> Vec<u8> {
    let root = format!("{name}-{version}");
    let mut files = vec![(format!("{root}/README.md"), readme)];
    files.extend(manifest.map(|text| (format!("{root}/Cargo.toml"), text)));
    files.push((format!("{root}/src/lib.rs"), ""));
    let mut tar = Vec::new();
    for (name, text) in &files {
        let header = Header {
            name: Cow::Borrowed(name.as_bytes()),
            target: Cow::Borrowed(b""),
            size_bytes: text.len() as u64,
            modified_s: 0,
            mode: MODE,
            kind: EntryType::Regular,
        };
        header.encode_into(&mut tar, |name| [b"PaxHeaders/", name].concat());
        tar.extend(text.as_bytes());
        tar.resize(tar.len() + padding(text.len() as u64), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&tar).expect("written");
    encoder.finish().expect("packed")
}

fn manifest(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\n{rest}\n")
}

/// Makes a registry with one release for each answer of the rule.
fn world() -> World {
    let world = World::new(0);
    let mut registry = TestRegistry::default();
    for (name, rest) in [
        ("either", "license = \"MIT OR GPL-3.0-only\""),
        ("file", "license-file = \"LICENSE\""),
        ("gpl", "license = \"GPL-3.0-only\""),
        ("mit", "license = \"MIT\""),
    ] {
        registry.add(name, "1.0.0", &package(name, "1.0.0", Some(&manifest(name, rest))));
    }
    registry.add("empty", "1.0.0", &package("empty", "1.0.0", None));
    registry.add("text", "1.0.0", b"no package at all");
    offer(World { registry, ..world })
}

/// Publishes the registry as it is now.
fn offer(world: World) -> World {
    world.origin.replace_site(world.registry.site(""));
    let _ = std::fs::remove_dir_all(world.path("index"));
    world.registry.write_index(&world.path("index"));
    world
}

fn policy(text: &str) -> Arc<LoadedPolicy> {
    Arc::new(LoadedPolicy::new(Policy::parse(text).expect("a policy"), Advisories::default()))
}

fn run(world: &World, storage: Storage, text: &str, change: impl FnOnce(&mut DownloadOptions)) -> Outcome {
    let (outcome, _) = world.run(world.options_with(|options| {
        options.storage = storage;
        options.policy = Some(policy(text));
        change(options);
    }));
    assert_eq!(outcome.failed, 0);
    outcome
}

fn catalogue(world: &World) -> Catalogue {
    let path = world.path("out").join(".mirror/catalogue.sqlite");
    Catalogue::open_read_only(&path).expect("open").expect("a catalogue")
}

/// Returns the reasons for which releases are held back, by name.
fn held_back(world: &World) -> BTreeMap<String, String> {
    let (mut found, catalogue) = (BTreeMap::new(), catalogue(world));
    let names: BTreeSet<_> = world.registry.releases().map(|release| release.id.name.clone()).collect();
    for release in names.iter().flat_map(|name| catalogue.held_back_of(name).expect("held back")) {
        assert!(release.is_held);
        assert_eq!(release.decision.rule, Rule::Licenses, "{release:?}");
        found.insert(release.id.name.to_string(), release.decision.why);
    }
    found
}

/// Checks what is held back once everything was read.
fn assert_judged(world: &World) {
    let found = held_back(world);
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["empty", "file", "gpl", "text"], "{found:?}");
    assert!(found["gpl"].contains("GPL-3.0-only"), "{found:?}");
    assert_eq!(found["file"], "it states no licence");
    assert_eq!(found["empty"], "its Cargo.toml cannot be read: the release has none");
    assert!(found["text"].starts_with("its Cargo.toml cannot be read: the release cannot be unpacked"));
}

/// Returns the number of licences that the catalogue has.
fn known(world: &World) -> usize {
    let catalogue = catalogue(world);
    let of = |id: &ReleaseId| catalogue.licences_of(&id.name).expect("licences").len();
    world.registry.releases().map(|release| of(&release.id)).sum()
}

fn explained(world: &World, name: &str) -> Explained {
    let name = name.parse().expect("name");
    let now = std::time::SystemTime::now();
    explain(&world.path("out"), &policy(ONLY_MIT), &name, None, now).expect("explained").remove(0)
}

const STORAGES: [Storage; 3] = [Storage::Loose, Storage::Bundle, Storage::Both];

#[test]
fn what_a_run_fetches_is_judged_by_its_licence() {
    for storage in STORAGES {
        let world = world();
        let outcome = run(&world, storage, ONLY_MIT, |_| {});
        assert_eq!((outcome.downloaded, outcome.held_back[&Rule::Licenses]), (6, 4), "{storage:?}");
        assert_judged(&world);
        assert_eq!(known(&world), 6);
        assert!(matches!(explained(&world, "mit").verdict, Verdict::Offered));
        for name in ["gpl", "text"] {
            let Explained { verdict, in_force, .. } = explained(&world, name);
            let Verdict::HeldBack(decision) = verdict else { panic!("{verdict:?}") };
            assert_eq!(in_force.expect("in force").why, decision.why);
        }
        // What was read counts for another policy, without reading again.
        let outcome = run(&world, storage, "licenses = { allow = [\"GPL-3.0-only\"] }", |_| {});
        assert_eq!(outcome.held_back[&Rule::Licenses], 4);
        assert_eq!(held_back(&world).keys().collect::<Vec<_>>(), ["empty", "file", "mit", "text"]);
    }
}

#[test]
fn what_was_held_before_is_read_when_it_is_verified() {
    for storage in STORAGES {
        let world = world();
        run(&world, storage, "", |_| {});
        assert_eq!((held_back(&world).len(), known(&world)), (0, 0), "no rule asks");
        run(&world, storage, ONLY_MIT, |_| {});
        let found = held_back(&world);
        assert_eq!(found.len(), 6, "{storage:?}");
        assert!(found.values().all(|why| why == "its licence is not known yet"), "{found:?}");
        assert!(matches!(explained(&world, "mit").verdict, Verdict::Undecided(facts) if facts.licence));
        let outcome = run(&world, storage, ONLY_MIT, |options| options.verify_existing = true);
        assert_eq!((outcome.downloaded, outcome.held_back[&Rule::Licenses]), (0, 4), "{storage:?}");
        assert_judged(&world);
    }
}

#[test]
fn what_another_rule_holds_back_is_not_read() {
    let world = world();
    // The size is known in time for no other rule to ask.
    run(&world, Storage::Loose, "licenses = { allow = [\"MIT\"] }\nmax-crate-size = \"20 B\"", |_| {});
    let rows = catalogue(&world).licences_of(&"text".parse().expect("name")).expect("licences");
    assert_eq!((rows.len(), known(&world)), (1, 1), "only the smallest passes the other rule");
}

#[test]
fn replaced_bytes_are_judged_by_their_own_licence() {
    let mut world = world();
    run(&world, Storage::Loose, ONLY_MIT, |_| {});
    world.registry.crates.remove("mit");
    let body = package("mit", "1.0.0", Some(&manifest("mit", "license = \"ISC\"")));
    world.registry.add("mit", "1.0.0", &body);
    let world = offer(world);
    let outcome = run(&world, Storage::Loose, ONLY_MIT, |_| {});
    assert_eq!(outcome.replaced, 1);
    assert!(held_back(&world)["mit"].contains("ISC"));
    assert_eq!(known(&world), 6);
}

/// Covers a run that was killed between the commit of a release and the judgement about it.
#[test]
fn what_was_committed_and_not_judged_is_judged_by_the_next_run() {
    let world = world();
    run(&world, Storage::Loose, "", |_| {});
    let unjudged = world.registry.releases().map(|release| {
        let decision = HeldBack {
            rule: Rule::MaxCrateSize,
            until: None,
            since: None,
            why: "it is not judged yet".into(),
        };
        Change::HeldBack(HeldBackRelease {
            id: release.id.clone(),
            cksum: release.cksum,
            is_held: true,
            decision,
        })
    });
    let unjudged: Vec<_> = unjudged.collect();
    let path = world.path("out").join(".mirror/catalogue.sqlite");
    Catalogue::open(&path).expect("open").apply(&unjudged).expect("apply");
    assert_eq!(catalogue(&world).held_back_counts().expect("counts")[0].held, 6);
    run(&world, Storage::Loose, ONLY_MIT, |_| {});
    assert_judged(&world);
}

/// The bytes of a release do not change when its catalogue is made anew.
#[test]
fn a_rebuilt_catalogue_knows_the_licences_that_were_read() {
    for storage in STORAGES {
        let world = world();
        run(&world, storage, ONLY_MIT, |_| {});
        let mut options = RebuildOptions::new(world.path("out"));
        options.policy = Some(policy(ONLY_MIT));
        rebuild_catalogue(&options, &(), &CancellationToken::new()).expect("rebuilt");
        assert_judged(&world);
        assert_eq!(known(&world), 6);
        run(&world, storage, ONLY_MIT, |_| {});
        assert_judged(&world);
    }
}

/// Makes a registry with one crate whose newest version is not allowed.
fn with_two_versions() -> World {
    let mut world = World::new(0);
    world.registry = TestRegistry::default();
    for (version, licence) in [("1.0.0", "MIT"), ("1.1.0", "GPL-3.0-only")] {
        let body = package("a", version, Some(&manifest("a", &format!("license = \"{licence}\""))));
        world.registry.add("a", version, &body);
    }
    world.origin.replace_site(world.registry.site(""));
    world.registry.commit_git(&world.path("git"));
    world
}

/// Runs over the git index of a registry; returns what was downloaded.
fn newest(world: &World, text: &str, verifies: bool) -> u64 {
    let outcome = run(world, Storage::Loose, text, |options| {
        options.upstream = Upstream::Local(world.path("git"));
        options.verify_existing = verifies;
    });
    outcome.downloaded
}

const NEWEST_ANY: &str = "newest = 1\nlicenses = { allow = [\"MIT\", \"GPL-3.0-only\"] }";
const NEWEST_MIT: &str = "newest = 1\nlicenses = { allow = [\"MIT\"] }";

#[test]
fn a_licence_that_is_not_allowed_makes_room_in_the_next_run() {
    let world = with_two_versions();
    assert_eq!(newest(&world, NEWEST_MIT, false), 1);
    assert_eq!(newest(&world, NEWEST_MIT, false), 1);
    assert_eq!(held_back(&world).keys().collect::<Vec<_>>(), ["a"]);
    let id = |version: &str| ReleaseId {
        name: "a".parse().expect("name"),
        version: version.parse().expect("version"),
    };
    let mirror = Mirror::open(&world.path("out"), None).expect("open");
    let is_offered = |version| mirror.held(&id(version)).expect("held").is_some();
    assert_eq!((is_offered("1.0.0"), is_offered("1.1.0")), (true, false));
}

/// What a run finds out while it verifies counts, too.
#[test]
fn a_licence_that_is_read_later_makes_room_in_the_next_run() {
    let world = with_two_versions();
    assert_eq!(newest(&world, "newest = 1", false), 1);
    assert_eq!(newest(&world, NEWEST_MIT, false), 0, "it is not known");
    assert_eq!(newest(&world, NEWEST_MIT, true), 0);
    assert_eq!(newest(&world, NEWEST_MIT, false), 1);
}

/// A held version that takes the place of a newer one is read in the same run.
#[test]
fn one_verification_reads_all_that_decides() {
    let world = with_two_versions();
    assert_eq!(newest(&world, "", false), 2);
    newest(&world, NEWEST_MIT, true);
    let found = catalogue(&world).held_back_of(&"a".parse().expect("name")).expect("held back");
    let versions: Vec<_> = found.iter().map(|row| row.id.version.as_str()).collect();
    assert_eq!(versions, ["1.1.0"], "{found:?}");
}

/// What upstream deleted is hidden at the end of a run, after what is held was verified.
#[test]
fn a_version_that_takes_the_place_of_a_deleted_one_is_read() {
    let mut world = with_two_versions();
    assert_eq!(newest(&world, "", false), 2);
    let releases = world.registry.crates.get_mut("a").expect("a crate");
    releases.retain(|release| release.id.version.as_str() == "1.0.0");
    world.registry.commit_git(&world.path("git"));
    newest(&world, NEWEST_ANY, true);
    let found = catalogue(&world).held_back_of(&"a".parse().expect("name")).expect("held back");
    assert!(found.iter().all(|row| row.id.version.as_str() != "1.0.0"), "{found:?}");
}
