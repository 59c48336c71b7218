//! Runs under a policy: what is fetched, what is held and not offered, and how that is explained.

use std::time::{Duration, SystemTime};

use mirror_repo::Mirror;
use mirror_testkit::TestRegistry;

use crate::world::{World, run};

/// Returns the time of publication of a release that is so many days old.
fn days_ago(days: u64) -> Option<String> {
    let at = SystemTime::now() - Duration::from_secs(days * 86_400);
    Some(jiff::Timestamp::try_from(at).unwrap().to_string())
}

/// Makes a registry: `old 1.0.0` and `1.1.0`, `young 1.0.0` (30 days) and `1.1.0` (one day), `evil 1.0.0`.
fn world() -> World {
    let mut registry = TestRegistry::default();
    for (name, version, days) in [
        ("old", "1.0.0", 500),
        ("old", "1.1.0", 400),
        ("young", "1.0.0", 30),
        ("young", "1.1.0", 1),
        ("evil", "1.0.0", 300),
    ] {
        registry.add(name, version, format!("{name} {version}").as_bytes()).pubtime = days_ago(days);
    }
    World::new(registry)
}

/// Returns the releases that a server of the mirror lists.
fn offered(world: &World) -> Vec<String> {
    let mirror = Mirror::open(&world.path("out"), None).unwrap();
    let mut offered = Vec::new();
    for path in mirror.index_paths().unwrap() {
        if let Some(listing) = mirror.listing_at(&path).unwrap() {
            offered.extend(listing.releases().map(|id| id.to_string()));
        }
    }
    offered.sort();
    offered
}

fn write(world: &World, name: &str, text: &str) {
    let path = world.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_policy_in_the_mirror_decides_what_is_fetched_and_offered() {
    let world = world();
    let everything = ["evil 1.0.0", "old 1.0.0", "old 1.1.0", "young 1.0.0", "young 1.1.0"];
    write(&world, "out/policy.toml", "min-publish-age = \"7 days\"\ndeny = [\"evil\"]\n");
    let first = run(&mut world.mirroring("out")).expect(0);
    assert_eq!((first.count("downloaded"), first.count("deferred")), (3, 2));
    assert!(first.stdout.contains("1 deny, 1 min-publish-age"), "{}", first.stdout);
    assert_eq!(offered(&world), &everything[1..4]);

    // What is held already stays held, and is offered no more.
    write(&world, "out/policy.toml", "deny = [\"old@<1.1\"]\n");
    let second = run(&mut world.mirroring("out")).expect(0);
    assert_eq!((second.count("downloaded"), second.count("held back")), (2, 1));
    assert_eq!(offered(&world), ["evil 1.0.0", "old 1.1.0", "young 1.0.0", "young 1.1.0"]);
    assert_eq!(mirror_testkit::tree(&world.path("out")).len(), 5 + 1, "the releases and the policy");

    // Without the file, everything is offered again.
    std::fs::remove_file(world.path("out/policy.toml")).unwrap();
    let third = run(&mut world.mirroring("out")).expect(0);
    assert!(!third.stdout.contains("held back"), "{}", third.stdout);
    assert_eq!(offered(&world), everything);
}

/// Whatever happens to the catalogue, nothing is offered that policy holds back.
#[test]
fn a_catalogue_that_is_made_anew_offers_nothing_before_it_is_judged() {
    let world = world();
    run(&mut world.mirroring("out")).expect(0);
    let elsewhere = world.path("policy.toml").display().to_string();
    write(&world, "policy.toml", "min-publish-age = \"7 days\"\ndeny = [\"evil\"]\n");
    run(world.mirroring("out").args(["--policy", &elsewhere])).expect(0);
    let admitted = ["old 1.0.0", "old 1.1.0", "young 1.0.0"];
    assert_eq!(offered(&world), admitted);
    let refusal = || {
        Mirror::open(&world.path("out"), None).unwrap().totals().map(drop).map_err(|error| error.to_string())
    };
    let rebuild = |more: &[&str]| run(world.command("out").arg("--rebuild-catalogue").args(more)).expect(0);

    // Nothing says where the policy is.
    rebuild(&[]);
    let refused = refusal().unwrap_err();
    assert!(refused.contains("nothing is offered until a run has"), "{refused}");
    // Rebuilt once more, under the policy.
    rebuild(&["--policy", &elsewhere]);
    assert_eq!(offered(&world), admitted);

    // Lost altogether: there is no mirror to serve, and the next run judges what it finds.
    let lose = || {
        for name in ["catalogue.sqlite", "catalogue.sqlite-wal", "catalogue.sqlite-shm"] {
            let _ = std::fs::remove_file(world.path("out/.mirror").join(name));
        }
    };
    lose();
    assert!(Mirror::open(&world.path("out"), None).is_err());
    run(world.mirroring("out").args(["--policy", &elsewhere])).expect(0);
    assert_eq!(offered(&world), admitted);

    // A policy in the mirror is found.
    std::fs::rename(world.path("policy.toml"), world.path("out/policy.toml")).unwrap();
    lose();
    rebuild(&[]);
    assert_eq!(offered(&world), admitted);

    // A run without a policy offers everything, and later rebuilds do.
    std::fs::remove_file(world.path("out/policy.toml")).unwrap();
    rebuild(&[]);
    assert!(refusal().is_err());
    run(&mut world.mirroring("out")).expect(0);
    assert_eq!(offered(&world).len(), 5);
    rebuild(&[]);
    assert_eq!(offered(&world).len(), 5);
}

/// Upstream replaces the bytes of a release: they are young, whatever the index says, also after a rebuild.
#[test]
fn bytes_that_replaced_others_stay_young_when_the_catalogue_is_rebuilt() {
    for loses in [false, true] {
        let mut world = world();
        run(&mut world.mirroring("out")).expect(0);
        write(&world, "out/policy.toml", "min-publish-age = \"7 days\"\n");
        run(&mut world.mirroring("out")).expect(0);
        world.registry.add("old", "1.0.0", b"other bytes").pubtime = days_ago(500);
        world.publish();
        run(&mut world.mirroring("out")).expect(0);
        let admitted = ["evil 1.0.0", "old 1.1.0", "young 1.0.0"];
        assert_eq!(offered(&world), admitted);
        if loses {
            std::fs::remove_file(world.path("out/.mirror/catalogue.sqlite")).unwrap();
        }
        run(world.command("out").arg("--rebuild-catalogue")).expect(0);
        assert_eq!(offered(&world), admitted, "{loses}");
    }
}

#[test]
fn a_malicious_release_is_offered_no_more_from_the_run_that_knows() {
    let world = world();
    run(&mut world.mirroring("out")).expect(0);
    let advisory = |id: &str, package: &str, rest: &str| {
        format!(
            "```toml\n[advisory]\nid = \"{id}\"\npackage = \"{package}\"\ndate = \"2026-08-20\"\n{rest}\n[versions]\npatched = []\n```\n\n# Removed\n"
        )
    };
    let bad = advisory("RUSTSEC-2026-0001", "evil", "categories = [\"malicious\"]");
    write(&world, "db/crates/evil/RUSTSEC-2026-0001.md", &bad);
    write(&world, "db/crates/old/RUSTSEC-2026-0002.md", &advisory("RUSTSEC-2026-0002", "old", ""));
    let known = run(world.mirroring("out").args(["--advisory-db", "db"])).expect(0);
    assert_eq!(known.count("held back"), 1);
    assert_eq!(offered(&world), ["old 1.0.0", "old 1.1.0", "young 1.0.0", "young 1.1.0"]);
    let explained =
        run(world.command("out").args(["--advisory-db", "db", "--explain", "evil@1.0.0"])).expect(0);
    assert!(
        explained.stdout.contains("by advisories: RUSTSEC-2026-0001 (malicious)"),
        "{}",
        explained.stdout
    );

    // A new mirror does not even fetch it.
    let fresh = run(world.mirroring("other").args(["--advisory-db", "db"])).expect(0);
    assert_eq!((fresh.count("downloaded"), fresh.count("deferred")), (4, 1));

    // Withdrawn: offered again.
    let withdrawn =
        advisory("RUSTSEC-2026-0001", "evil", "categories = [\"malicious\"]\nwithdrawn = \"2026-09-01\"");
    write(&world, "db/crates/evil/RUSTSEC-2026-0001.md", &withdrawn);
    run(world.mirroring("out").args(["--advisory-db", "db"])).expect(0);
    assert_eq!(offered(&world).len(), 5);
}

#[test]
fn every_rule_is_explained_in_the_words_of_the_server() {
    let world = world();
    write(
        &world,
        "p.toml",
        "min-publish-age = \"7 days\"\ndeny = [\"old@<1.1\"]\nmax-crate-size = \"1 MB\"\n",
    );
    run(world.mirroring("out").args(["--policy", "p.toml"])).expect(0);
    let explain = |release: &str| {
        run(world.command("out").args(["--policy", "p.toml", "--explain", release])).expect(0).stdout
    };
    let old = explain("old");
    let first = old.lines().next().unwrap();
    assert!(first.starts_with("old 1.0.0: held back since 20"), "{old}");
    assert!(first.ends_with(" by deny: matches `old@<1.1` (not held)"), "{old}");
    assert!(old.contains("old 1.1.0: offered (held)"), "{old}");
    let young = explain("young@1.1.0");
    let mirror = Mirror::open(&world.path("out"), None).unwrap();
    let id = mirror_sync::ReleaseId { name: "young".parse().unwrap(), version: "1.1.0".parse().unwrap() };
    let said = mirror.catalogue().unwrap().held_back(&id).unwrap().unwrap().to_string();
    assert!(said.starts_with("held back until ") && said.ends_with(" by min-publish-age"), "{said}");
    assert!(young.contains(&format!("young 1.1.0: {said} (not held)")), "{said} in {young}");
    let unknown = run(world.command("out").args(["--explain", "nothing"])).expect(2);
    assert!(unknown.stderr.contains("check how it is spelled"), "{}", unknown.stderr);
}

#[test]
fn a_dry_run_names_what_policy_would_keep_out() {
    let world = world();
    write(&world, "p.toml", "min-publish-age = \"7 days\"\nallow = [\"young\"]\n");
    let dry = run(world.mirroring("out").args(["--policy", "p.toml", "--dry-run", "--offline"])).expect(0);
    assert!(dry.stdout.contains("policy would keep 4 releases from being fetched"), "{}", dry.stdout);
    assert!(dry.stdout.contains("  young 1.1.0: held back until "), "{}", dry.stdout);
    assert!(dry.stdout.contains("  evil 1.0.0: held back by allow: "), "{}", dry.stdout);
    assert!(!world.path("out").exists());
}

/// The sample needs its database, and nothing else.
#[test]
fn the_sample_is_printed_and_is_a_policy() {
    let world = world();
    let sample = run(std::process::Command::new(crate::world::BIN).arg("--sample-policy")).expect(0).stdout;
    assert_eq!(sample, mirror_sync::SAMPLE_POLICY);
    write(&world, "p.toml", &sample);
    let flags = ["--policy", "p.toml", "--dry-run", "--offline"];
    let refused = run(world.mirroring("out").args(flags)).expect(2);
    assert!(refused.stderr.contains("there is no advisory database at advisory-db"), "{}", refused.stderr);
    write(&world, "advisory-db/crates/README.md", "");
    let dry = run(world.mirroring("out").args(flags)).expect(0);
    assert!(dry.stdout.contains("  young 1.1.0: held back until "), "{}", dry.stdout);
}

#[test]
fn a_wrong_policy_ends_a_run_before_it_begins() {
    let world = world();
    write(&world, "out/policy.toml", "min-publish-ago = \"7 days\"\n");
    let refused = run(&mut world.mirroring("out")).expect(2);
    assert!(refused.stderr.contains("min-publish-age"), "{}", refused.stderr);
    assert_eq!(world.origin.total(), 0);
    let refused = run(world.mirroring("out").args(["--policy", "none.toml"])).expect(2);
    assert!(refused.stderr.contains("none.toml"), "{}", refused.stderr);
}

#[test]
fn what_does_not_count_is_named() {
    let world = world();
    let waiver = "[[waiver]]\nrelease = \"evil@1.0.0\"\nrules = [\"deny\"]\nuntil = 2020-01-01\nwho = \"me\"\nwhy = \"x\"\n";
    write(&world, "p.toml", &format!("deny = [\"evil\"]\n{waiver}"));
    write(&world, "db/crates/evil/RUSTSEC-2026-0001.md", "no advisory");
    let flags = ["--policy", "p.toml", "--advisory-db", "db"];
    let ended = run(world.mirroring("out").args(flags)).expect(0);
    assert_eq!(ended.count("deferred"), 1);
    for warning in ["the waiver for evil 1.0.0 by me ended with 2020-01-01", "RUSTSEC-2026-0001.md"] {
        assert!(ended.stderr.contains(warning), "{}", ended.stderr);
    }
    write(&world, "p.toml", "offer-deleted = true\n");
    let refused = run(world.mirroring("out").args(flags)).expect(2);
    assert!(refused.stderr.contains("offer-deleted = true"), "{}", refused.stderr);
}

#[test]
fn the_registry_of_a_date_is_mirrored() {
    let mut world = world();
    world.registry.add("undated", "1.0.0", b"undated").pubtime = None;
    world.publish();
    let date = &days_ago(200).unwrap()[..10].to_owned();
    let then = run(world.mirroring("out").args(["--as-of", date])).expect(0);
    assert_eq!((then.count("downloaded"), then.count("undated, skipped")), (3, 1));
    assert_eq!(offered(&world), ["evil 1.0.0", "old 1.0.0", "old 1.1.0"]);
    let newest = run(world.mirroring("newest").args(["--as-of", date, "--latest", "1", "--exclude", "evil"]));
    assert_eq!(newest.expect(0).count("downloaded"), 1);
}

/// Checks that what only a line of the index forbids stays held back when the lines are lost, and a policy changes meanwhile.
#[test]
fn lost_index_lines_offer_nothing_that_they_forbid() {
    let mut world = world();
    world.registry.crates.get_mut("old").unwrap()[1].yanked = true;
    world.publish();
    let run_with = |policy: &str| {
        write(&world, "out/policy.toml", policy);
        run(world.mirroring("out").arg("--include-yanked")).expect(0);
    };
    run_with("");
    assert_eq!(offered(&world).len(), 5);
    let admitted = ["evil 1.0.0", "old 1.0.0", "young 1.0.0"];
    for lost in [false, true] {
        // The second policy differs from the first, so that everything is judged anew.
        let more = if lost { "deny = [\"nothing\"]\n" } else { "" };
        if lost {
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(world.path(&format!("out/.mirror/index.sqlite{suffix}")));
            }
        }
        run_with(&format!("{more}min-publish-age = \"7 days\"\nyanked = \"deny\"\n"));
        assert_eq!(offered(&world), admitted, "{lost}");
        let mirror = Mirror::open(&world.path("out"), None).unwrap();
        for id in ["old 1.1.0", "young 1.1.0"] {
            let (name, version) = id.split_once(' ').unwrap();
            let id =
                mirror_sync::ReleaseId { name: name.parse().unwrap(), version: version.parse().unwrap() };
            assert!(mirror.held(&id).unwrap().is_none(), "{id}, {lost}");
        }
    }
}
