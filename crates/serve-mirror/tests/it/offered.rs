//! Checks that a release that upstream deleted is not offered, that a reinstated one is, and that releases in bundles
//! alone are, too.

use std::process::Command;

use mirror_extract::{ExtractOptions, ExtractTask, extract};
use mirror_sync::{Layout, NameSet, RebuildOptions, Storage, Upstream, read_gaps, rebuild_catalogue};
use mirror_testkit::Fault;

use crate::client::get;
use crate::export::{export, files};
use crate::world::{BIN, CargoHome, Serving, World, add, project, registry};

const DEPS: [(&str, &str); 4] = [("with-dash", "0.1"), ("Mixed_Case", "2"), ("abc", "0.3.0"), ("a", "1")];

/// Returns the server's answers for a release: its line, and its file at both addresses.
fn answers(base: &str, index: &str, name: &str, version: &str) -> [u16; 3] {
    let listed = get(base, &format!("/index/{index}"));
    let line = listed.status == 200 && listed.text().contains(&format!("\"vers\":\"{version}\""));
    [
        if line { 200 } else { 404 },
        get(base, &format!("/crates/{name}/{name}-{version}.crate")).status,
        get(base, &format!("/crates/{name}/{version}/download")).status,
    ]
}

/// Mirrors some crates from the sparse registry.
fn sync_sparse(world: &World, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let outcome = world.sync_with(|options| {
        options.upstream = Upstream::Sparse(format!("{}/index/", world.origin.base()).into());
        options.include = NameSet::parse(&names).unwrap();
        options.fetch.retries = 0;
    });
    assert_eq!(outcome.downloaded + outcome.existing + outcome.failed, outcome.selected);
}

/// Covers the answers by which a sparse registry reports that it has no such crate, as Cargo understands them.
#[test]
fn a_crate_that_a_sparse_registry_has_no_more_is_not_offered() {
    let world = World::new(registry());
    sync_sparse(&world, &["ab", "a"]);
    let server = world.serve(&[]);
    let held = [200; 3];
    assert_eq!(answers(&server.base, "2/ab", "ab", "1.2.0"), held);
    for status in [404, 410, 451] {
        world.origin.script(
            move |ask| {
                if ask.path == "/index/2/ab" { Fault::Status(status) } else { Fault::None }
            },
        );
        sync_sparse(&world, &["ab", "a"]);
        assert_eq!(answers(&server.base, "2/ab", "ab", "1.2.0"), [404; 3], "upstream answers {status}");
        assert_eq!(answers(&server.base, "1/a", "a", "1.0.0"), held, "upstream still has it");
        world.origin.heal();
        sync_sparse(&world, &["ab", "a"]);
        assert_eq!(answers(&server.base, "2/ab", "ab", "1.2.0"), held, "back after {status}");
    }
    // An answer that does not concern the crate removes nothing.
    for status in [403, 429, 500, 503] {
        world.origin.script(
            move |ask| {
                if ask.path == "/index/2/ab" { Fault::Status(status) } else { Fault::None }
            },
        );
        sync_sparse(&world, &["ab", "a"]);
        assert_eq!(answers(&server.base, "2/ab", "ab", "1.2.0"), held, "upstream answers {status}");
    }
}

/// For the registry `-` and `_` are one: a crate that is gone in one spelling and exists in the other is offered in the
/// spelling of upstream.
#[test]
fn a_name_that_came_back_in_another_spelling_is_offered_in_that_one() {
    let mut world = World::new(registry());
    world.sync();
    let server = world.serve(&[]);
    let dash = ("wi/th/with-dash", "with-dash", "0.1.0");
    let other = ("wi/th/with_dash", "with_dash", "0.1.2");
    let offered = |(index, name, version): (&str, &str, &str)| answers(&server.base, index, name, version);
    assert_eq!(offered(dash), [200; 3]);
    let before = world.registry.clone();
    for _ in 0..2 {
        world.registry.crates.remove("with-dash");
        add(&mut world.registry, "with_dash", "0.1.2", &[]);
        world.sync();
        assert_eq!((offered(dash), offered(other)), ([404; 3], [200; 3]));
        world.registry = before.clone();
        world.sync();
        assert_eq!((offered(dash), offered(other)), ([200; 3], [404; 3]));
    }
}

/// A person acknowledged that upstream lists a release that it cannot deliver: an export without it is complete.
#[test]
fn an_export_that_leaves_out_known_gaps_alone_is_whole() {
    let mut world = World::new(registry());
    add(&mut world.registry, "never-there", "1.0.0", &[]);
    world.origin.script(|ask| {
        let gap = ask.path.contains("never-there") && ask.path.ends_with(".crate");
        if gap { Fault::Status(403) } else { Fault::None }
    });
    let args = ["--public-url", "http://crates.example"];
    let outcome = world.sync_with(|options| options.fetch.retries = 0);
    assert_eq!(outcome.unavailable, 1);
    let told = export(&world, "web", &args, 3);
    assert!(told.contains("never-there"), "{told}");
    let gap = "[[gap]]\nrelease = \"never-there@1.0.0\"\nsince = 2019-11-26\nwho = \"us\"\nwhy = \"403 for years\"\n";
    std::fs::write(world.path("gaps.toml"), gap).unwrap();
    let outcome = world.sync_with(|options| {
        options.fetch.retries = 0;
        options.acknowledge_gaps = Some(read_gaps(&world.path("gaps.toml")).unwrap());
    });
    assert_eq!((outcome.unavailable, outcome.acknowledged), (1, 1));
    let told = export(&world, "web", &args, 0);
    assert!(!told.contains("never-there"), "{told}");
    export(&world, "local", &["--format", "local-registry"], 0);
    assert!(!files(&world.path("local")).iter().any(|file| file.contains("never-there")));
    // Another gap counts.
    let file = world.path("out").join(Layout::Shard.path(&world.registry.crates["ab"][0].id));
    std::fs::remove_file(file).unwrap();
    let told = export(&world, "web", &args, 4);
    assert!(told.contains("ab") && !told.contains("never-there"), "{told}");
}

/// Only the bundles crossed the air gap: their index lines are beside them.
#[test]
fn a_real_build_runs_from_bundles_alone() {
    let world = World::with(registry(), Layout::Shard, Storage::Bundle);
    let outcome = world.sync_with(|options| options.bundle_seal = true);
    assert_eq!((outcome.downloaded, outcome.failed), (8, 0));
    for dir in ["out", "index"] {
        std::fs::remove_dir_all(world.path(dir)).unwrap();
    }
    let there = world.path("there");
    let task = ExtractTask::Extract { out: there.clone(), overwrite: false };
    let mut options = ExtractOptions::new(world.path("bundles"), task);
    options.concurrency = 2;
    let outcome = extract(&options, &(), &Default::default(), &mut |_| {}).unwrap();
    assert_eq!(outcome.extracted, 8, "{outcome:?}");
    let outcome = rebuild_catalogue(&RebuildOptions::new(there.clone()), &(), &Default::default()).unwrap();
    assert_eq!((outcome.held, outcome.index_files), (8, 6), "{outcome:?}");
    let server = Serving::start(Command::new(BIN).arg("--mirror").arg(&there));
    for (path, text) in world.registry.index_files() {
        assert_eq!(get(&server.base, &format!("/index/{path}")).body, text, "byte for byte: {path}");
    }
    let project = project(&world.path("project"), &DEPS);
    let home = CargoHome::sparse(&world.path("home"), &server.base);
    home.run(&project, &["build"], true);
}
