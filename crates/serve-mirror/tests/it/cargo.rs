//! The real Cargo, of the toolchain that runs this test.

use mirror_sync::{Layout, NameSet, Storage};

use crate::world::{CargoHome, World, add, project, registry};

const DEPS: [(&str, &str); 4] = [("with-dash", "0.1"), ("Mixed_Case", "2"), ("abc", "0.3.0"), ("a", "1")];

#[test]
fn cargo_builds_by_source_replacement_from_everything_that_holds_a_mirror() {
    for (at, (layout, storage)) in
        [(Layout::Shard, Storage::Loose), (Layout::Cargo, Storage::Loose), (Layout::Shard, Storage::Bundle)]
            .into_iter()
            .enumerate()
    {
        let world = World::with(registry(), layout, storage);
        world.sync();
        let server = world.serve(&[]);
        let project = project(&world.path("project"), &DEPS);
        let home = CargoHome::sparse(&world.path("home"), &server.base);
        home.run(&project, &["generate-lockfile"], true);
        let lock = std::fs::read_to_string(project.join("Cargo.lock")).unwrap();
        assert!(lock.contains("0.3.0+build.7") && lock.contains("\"0.1.1\""), "{lock}");
        home.run(&project, &["fetch", "--locked"], true);
        if at == 0 {
            home.run(&project, &["build", "--locked"], true);
        }
        server.stop();
        home.run(&project, &["build", "--locked", "--offline"], true);
    }
}

#[test]
fn cargo_speaks_tls_to_it() {
    let world = World::new(registry());
    world.sync();
    let args = world.tls_args();
    let server = world.serve(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let project = project(&world.path("project"), &DEPS);
    let home = CargoHome::sparse(&world.path("home"), &server.base);
    let output =
        home.command(&project).args(["fetch"]).env("CARGO_HTTP_CAINFO", world.origin.ca()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn search_info_and_add_work() {
    let world = World::new(registry());
    world.sync();
    let server = world.serve(&[]);
    let project = project(&world.path("project"), &[]);
    let home = CargoHome::sparse(&world.path("home"), &server.base);
    let found = home.run(&project, &["search", "--registry", "mirror", "with"], true);
    assert!(found.contains("with-dash = \"0.1.1\""), "{found}");
    let info = home.run(&project, &["info", "--registry", "mirror", "with-dash"], true);
    assert!(info.contains("version: 0.1.1"), "{info}");
    // By source replacement alone, as the page recommends; the query command has to be given the address.
    let index = format!("sparse+{}/index/", server.base);
    let found = home.run(&project, &["search", "--index", &index, "with"], true);
    assert!(found.contains("with-dash = \"0.1.1\""), "{found}");
    let info = home.run(&project, &["info", "--index", &index, "with-dash"], true);
    assert!(info.contains("version: 0.1.1"), "{info}");
    home.run(&project, &["add", "with-dash", "abc@0.3"], true);
    home.run(&project, &["add", "--registry", "mirror", "mixed-case"], true);
    let manifest = std::fs::read_to_string(project.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("with-dash = \"0.1.1\"") && manifest.contains("Mixed_Case"), "{manifest}");
    home.run(&project, &["build"], true);
    let missing = home.run(&project, &["add", "no-such-crate"], false);
    assert!(missing.contains("no-such-crate") && missing.contains("could not be found"), "{missing}");
}

/// Checks that the resolver does not find releases that a partial mirror lacks.
#[test]
fn a_partial_mirror_fails_when_cargo_resolves() {
    let mut registry = registry();
    add(&mut registry, "needs-much", "1.0.0", &[("left-out", "1")]);
    add(&mut registry, "left-out", "1.0.0", &[]);
    let world = World::new(registry);
    world.sync_with(|options| options.exclude = NameSet::parse(&["left-out".to_owned()]).unwrap());
    let server = world.serve(&[]);
    let project = project(&world.path("project"), &[("needs-much", "1")]);
    let home = CargoHome::sparse(&world.path("home"), &server.base);
    let said = home.run(&project, &["fetch"], false);
    assert!(said.contains("no matching package named `left-out` found"), "{said}");
}
