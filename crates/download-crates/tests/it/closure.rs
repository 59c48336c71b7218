//! Compares `--closure` with the real Cargo: it selects what a lockfile needs.

use std::collections::BTreeMap;
use std::process::Command;

use mirror_testkit::{Origin, OriginOptions, Protocol, TestRegistry, cargo_lock};
use serde_json::json;

use crate::world::{World, run};

/// Crates of a generated registry; each may depend on later ones.
const CRATES: usize = 24;
/// The crates that a project uses.
const ROOTS: [&str; 3] = ["c0", "c1", "c2"];

/// Makes a registry in which everything can be resolved: lower bounds of requirements are those of their bucket, so
/// that any two on one crate overlap. `bounded`: some have an upper bound inside a bucket; Cargo then chooses older
/// releases.
fn registry(seed: u64, bounded: bool) -> TestRegistry {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut registry = TestRegistry::default();
    for n in 0..CRATES {
        let name = format!("c{n}");
        for major in 1..=random.u32(1..=2) {
            for minor in 0..random.u32(1..=4) {
                let version = format!("{major}.{minor}.{}", random.u32(0..3));
                let release = registry.add(&name, &version, format!("{name} {version}").as_bytes());
                release.yanked = minor > 0 && random.u32(..4) == 0;
                for other in n + 1..CRATES {
                    if random.usize(..CRATES) < 3 {
                        let dep = dependency(&mut random, other, bounded);
                        if dep["optional"] == json!(true) {
                            let feature = if random.bool() { "default" } else { "extra" };
                            let turned_on = dep["name"].as_str().unwrap().to_owned();
                            release.features.entry(feature.into()).or_default().push(turned_on);
                        }
                        release.more_deps.push(dep);
                    }
                }
                release.features.entry("extra".into()).or_default();
            }
        }
        let pre = registry.add(&name, "3.0.0-rc.1", name.as_bytes());
        pre.features.insert("extra".into(), Vec::new());
    }
    registry
}

fn dependency(random: &mut fastrand::Rng, other: usize, bounded: bool) -> serde_json::Value {
    let upper = random.u32(1..4);
    let req = match random.u32(..4) {
        0 => "^1".to_owned(),
        1 if bounded => format!(">=1.0.0, <1.{upper}.0"),
        2 => "*".to_owned(),
        _ => ">=1, <3".to_owned(),
    };
    let features: &[&str] = if random.u32(..4) == 0 { &["extra"] } else { &[] };
    let target = (random.u32(..5) == 0).then_some("cfg(windows)");
    let renamed = random.u32(..5) == 0;
    let name = if renamed { format!("renamed{other}") } else { format!("c{other}") };
    json!({
        "name": name, "package": renamed.then(|| format!("c{other}")), "req": req, "features": features,
        "optional": random.u32(..3) == 0, "default_features": random.bool(), "target": target,
        "kind": if random.u32(..5) == 0 { "build" } else { "normal" },
    })
}

/// Returns the releases that the real Cargo locks for a project that uses the roots, from a registry of exactly these
/// releases.
fn locked(registry: &TestRegistry, with: &str) -> Result<Vec<String>, String> {
    let options = OriginOptions { protocol: Protocol::Http1, ..OriginOptions::default() };
    let origin = Origin::start(options, registry.site("http://localhost/{crate}-{version}"));
    let deps: String = ROOTS.iter().map(|name| format!("{name} = {{ version = \"*\"{with} }}\n")).collect();
    cargo_lock(&format!("{}/index/", origin.base()), &deps)
}

/// Returns the registry with only the releases whose files are listed.
fn only(registry: &TestRegistry, files: &[String]) -> TestRegistry {
    let mut part = registry.clone();
    part.crates.values_mut().for_each(|releases| {
        releases.retain(|release| files.contains(&release.id.file_name()));
    });
    part
}

#[test]
fn cargo_resolves_over_exactly_what_a_closure_takes() {
    let has_cargo =
        Command::new("cargo").arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(has_cargo, "this test needs cargo");
    let names = ROOTS.join(",");
    let mut sizes = BTreeMap::new();
    for seed in 1..=6 {
        let bounded = seed % 2 == 0;
        let world = World::new(registry(seed, bounded));
        let url = format!("sparse+{}/index/", world.origin.base());
        let files = |out: &str| -> Vec<String> {
            let tree = world.tree(out).into_keys();
            tree.map(|path| path.rsplit('/').next().unwrap().to_owned()).collect()
        };
        let narrow = ["--crates", &names, "--closure", "--latest", "1"];
        run(world.command("sparse").args(["--index-url", &url]).args(narrow)).expect(0);
        let taken = files("sparse");
        let local = run(world.mirroring("local").args(narrow)).expect(0);
        assert_eq!(files("local"), taken, "a directory closes as the sparse registry does");
        assert_eq!(local.count("downloaded"), taken.len() as u64);
        let dry = run(world.command("dry").args(["--index-url", &url, "--dry-run"]).args(narrow)).expect(0);
        assert_eq!(dry.count("would fetch"), taken.len() as u64);

        let part = only(&world.registry, &taken);
        for with in ["", ", features = [\"extra\"]", ", default-features = false"] {
            let whole = locked(&world.registry, with).expect("everything can be resolved");
            let of_part =
                locked(&part, with).unwrap_or_else(|why| panic!("seed {seed}{with}: {why}\n{taken:?}"));
            if !bounded {
                assert_eq!(of_part, whole, "seed {seed}{with}: Cargo chooses the same");
            }
            sizes.insert((seed, with), (whole.len(), taken.len()));
        }
        // With only the default features, and for one target: fewer releases, and still enough.
        run(world.command("less").args(["--index-url", &url, "--no-optional"]).args(narrow)).expect(0);
        let less = files("less");
        assert!(less.iter().all(|file| taken.contains(file)), "{less:?}");
        locked(&only(&world.registry, &less), "")
            .unwrap_or_else(|why| panic!("seed {seed}: {why}\n{less:?}"));
        let linux = ["--target", "x86_64-unknown-linux-gnu"];
        run(world.command("linux").args(["--index-url", &url]).args(linux).args(narrow)).expect(0);
        assert!(files("linux").iter().all(|file| taken.contains(file)));
    }
    let (locked, taken) = sizes.values().fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
    assert!(taken <= 3 * locked, "{taken} releases are taken where {locked} are locked");
}

#[test]
fn a_closure_reports_what_it_leaves_out() {
    let mut registry = TestRegistry::default();
    let dep = |name: &str, more: serde_json::Value| {
        let mut dep = json!({"name": name, "req": "^1", "features": [], "optional": false, "default_features": true,
            "target": null, "kind": "normal"});
        dep.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        dep
    };
    registry.add("top", "1.0.0", b"top").more_deps = vec![
        dep("far", json!({"registry": "https://far.test/index"})),
        dep("missing", json!({})),
        dep("tests", json!({"kind": "dev"})),
    ];
    registry.add("far", "1.0.0", b"far");
    registry.add("tests", "1.0.0", b"tests");
    registry.add("missing", "2.0.0", b"missing");
    registry.add("gone", "1.0.0", b"gone").yanked = true;
    let world = World::new(registry);
    let ended = run(world.mirroring("out").args(["--crates", "t?p,gone", "--closure"])).expect(0);
    assert_eq!(world.tree("out").len(), 1, "{}", ended.stdout);
    assert!(ended.value("needed elsewhere").contains("https://far.test/index (1)"), "{}", ended.stdout);
    assert!(ended.value("unsatisfied").contains("missing ^1"), "{}", ended.stdout);
    assert_eq!(ended.value("closure"), "1 asked for, 0 more that these need");
    assert_eq!(ended.value("not followed"), "dependencies: 1 for tests (--dev follows them)");
    let dev = ["--crates", "t?p,gone", "--closure", "--dev"];
    let dry = run(world.mirroring("dev").args(dev).arg("--dry-run")).expect(0);
    assert_eq!(dry.value("closure"), "1 asked for, 1 more that these need");
    assert!(!dry.stdout.contains("not followed"), "{}", dry.stdout);
    let ended = run(world.mirroring("dev").args(dev).args(["--summary", "json"])).expect(0);
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        summary["closure"],
        json!({"roots": 1, "releases": 2, "optional": 0, "other_targets": 0, "dev": 0}),
        "{summary}"
    );
    assert!(world.tree("dev").into_keys().any(|path| path.ends_with("tests-1.0.0.crate")));
    for wrong in [
        &["--closure"][..],
        &["--crates", "top", "--target", "x86_64-unknown-linux-gnu"],
        &["--no-optional"],
        &["--crates", "top", "--dev"],
    ] {
        run(world.mirroring("wrong").args(wrong)).expect(2);
    }
}

/// Checks that an offline closure goes as far as the cache, and that a crate missing there is not called an unsatisfied
/// requirement.
#[test]
fn a_closure_that_is_offline_names_what_was_never_asked() {
    let mut registry = TestRegistry::default();
    registry.add("top", "1.0.0", b"top").deps = vec![("leaf".into(), "1".into(), "normal".into())];
    registry.add("leaf", "1.0.0", b"leaf");
    let world = World::new(registry);
    let url = format!("sparse+{}/index/", world.origin.base());
    let top = ["--index-url", &url, "--crates", "top"];
    run(world.command("out").args(top)).expect(0);
    let offline = run(world.command("out").args(top).args(["--closure", "--offline"])).expect(3);
    assert!(
        offline.stdout.contains("leaf") && offline.stdout.contains("never fetched"),
        "{}",
        offline.stdout
    );
    run(world.command("out").args(top).arg("--closure")).expect(0);
    let offline = run(world.command("out").args(top).args(["--closure", "--offline"])).expect(0);
    assert_eq!(offline.count("existing"), 2);
    // A crate that is known not to exist is another case.
    run(world.command("out").args(["--index-url", &url, "--crates", "no-such"])).expect(3);
    let never =
        run(world.command("out").args(["--index-url", &url, "--crates", "no-such", "--offline"])).expect(3);
    assert!(!never.stdout.contains("never fetched"), "{}", never.stdout);
}

/// Packs a release of these files.
fn packed(name: &str, version: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let root = format!("{name}-{version}");
    for (path, text) in files {
        let path = dir.path().join(&root).join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let output = Command::new("tar").current_dir(dir.path()).args(["-czf", "-", &root]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Checks that `cargo install --locked` can build a binary crate with the releases that its own lockfile names.
#[test]
fn a_binary_is_installed_as_it_was_locked() {
    let manifest = |name: &str, version: &str, deps: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\n[dependencies]\n{deps}"
        )
    };
    let mut registry = TestRegistry::default();
    for version in ["1.0.0", "1.5.0"] {
        let text = format!("pub fn version() -> &'static str {{ \"{version}\" }}");
        let files = [("Cargo.toml", &*manifest("leaf", version, "")), ("src/lib.rs", &*text)];
        registry.add("leaf", version, &packed("leaf", version, &files));
    }
    let sum = registry.crates["leaf"][0].cksum;
    // Lockfiles name the registry itself, also behind a mirror.
    let source = mirror_sync::upstream::lock_sources().swap_remove(0);
    let lock = format!(
        "version = 3\n\n[[package]]\nname = \"leaf\"\nversion = \"1.0.0\"\nsource = \"{source}\"\nchecksum = \"{sum}\"\n\n\
         [[package]]\nname = \"tool\"\nversion = \"1.0.0\"\ndependencies = [\n \"leaf\",\n]\n"
    );
    let main = "fn main() { println!(\"{}\", leaf::version()) }";
    let toml = manifest("tool", "1.0.0", "leaf = \"1\"\n");
    let files = [("Cargo.toml", &*toml), ("Cargo.lock", &*lock), ("src/main.rs", main)];
    registry.add("tool", "1.0.0", &packed("tool", "1.0.0", &files)).deps =
        vec![("leaf".into(), "^1".into(), "normal".into())];
    let broken = [("Cargo.lock", "[[nonsense"), ("src/main.rs", main)];
    registry.add("broken", "1.0.0", &packed("broken", "1.0.0", &broken));
    registry.add("garbage", "1.0.0", b"no archive at all");
    let world = World::new(registry);
    let url = format!("sparse+{}/index/", world.origin.base());
    let narrow = ["--crates", "tool,garbage", "--closure", "--latest", "1"];
    let names = |records: Vec<serde_json::Value>| {
        let mut names: Vec<_> =
            records.iter().map(|record| format!("{} {}", record["crate"], record["version"])).collect();
        names.sort();
        names.join(", ").replace('"', "")
    };
    run(world.command("without").args(["--index-url", &url]).args(narrow)).expect(0);
    assert_eq!(names(world.manifest("without")), "garbage 1.0.0, leaf 1.5.0, tool 1.0.0");
    let all = "garbage 1.0.0, leaf 1.0.0, leaf 1.5.0, tool 1.0.0";
    let ended =
        run(world.command("out").args(["--index-url", &url, "--with-lockfiles"]).args(narrow)).expect(0);
    assert_eq!(names(world.manifest("out")), all, "{}", ended.stdout);
    assert_eq!((ended.count("lockfiles inside"), ended.count("downloaded")), (1, 4));
    let again =
        run(world.command("out").args(["--index-url", &url, "--with-lockfiles"]).args(narrow)).expect(0);
    assert_eq!(again.count("downloaded"), 0);
    let bundle = ["--with-lockfiles", "--bundle", "--bundles-out", "bundles"];
    run(world.mirroring("bundled").args(bundle).args(narrow)).expect(0);
    assert_eq!(names(world.manifest("bundled")), all);
    let broken = ["--crates", "broken,tool", "--with-lockfiles"];
    let told = run(world.mirroring("broken").args(broken)).expect(3);
    assert!(told.stdout.contains("Cargo.lock of broken 1.0.0"), "{}", told.stdout);
    run(world.mirroring("all").arg("--with-lockfiles")).expect(2);

    for (out, works) in [("out", true), ("without", false)] {
        let tree = world.tree(out).into_keys();
        let held: Vec<_> = tree.map(|path| path.rsplit('/').next().unwrap().to_owned()).collect();
        let options = OriginOptions { protocol: Protocol::Http1, ..OriginOptions::default() };
        let part = only(&world.registry, &held);
        let origin = Origin::start(options, std::sync::Arc::new(|_| None));
        origin.replace_site(
            part.site(&format!("{}/crates/{{crate}}/{{crate}}-{{version}}.crate", origin.base())),
        );
        let home = tempfile::tempdir().unwrap();
        let config = format!(
            "[source.crates-io]\nreplace-with = \"made\"\n[source.made]\nregistry = \"sparse+{}/index/\"\n[net]\nretry = 0\n",
            origin.base()
        );
        std::fs::write(home.path().join("config.toml"), config).unwrap();
        let root = home.path().join("installed");
        let mut cargo = Command::new("cargo");
        cargo.current_dir(home.path()).args(["install", "--locked", "--debug", "tool", "--root"]).arg(&root);
        cargo.env("CARGO_HOME", home.path()).env("CARGO_TARGET_DIR", home.path().join("target"));
        for name in
            ["CARGO", "RUSTFLAGS", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
        {
            cargo.env_remove(name);
        }
        let output = cargo.output().unwrap();
        assert_eq!(output.status.success(), works, "{out}: {}", String::from_utf8_lossy(&output.stderr));
        if works {
            let tool = Command::new(root.join("bin/tool")).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&tool.stdout), "1.0.0\n", "as it was locked");
        }
    }
}
