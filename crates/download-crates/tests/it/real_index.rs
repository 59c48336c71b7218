//! A part of a registry's own index: the short form of `cargo xtask proof real-index`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use mirror_testkit::{
    EmbodiedIndex, Ended, Origin, OriginOptions, POLICY_CASES, Protocol, WELL_KNOWN, cargo_lock,
    check_policy, count_index, date_index, git, has, held_files,
};

use crate::world::{BIN, run};

/// The part, with bodies, in three forms, and an origin that serves it.
struct World {
    dir: tempfile::TempDir,
    index: Arc<EmbodiedIndex>,
    origin: Origin,
}

fn part() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/real-index/index")
}

impl World {
    fn new() -> Self {
        let index = Arc::new(EmbodiedIndex::read(&part()));
        let how = OriginOptions { protocol: Protocol::Http1, ..OriginOptions::default() };
        let origin = Origin::start(how, index.site(None));
        let world = Self { dir: tempfile::tempdir().unwrap(), index, origin };
        let checkout = world.dir.path().join("checkout");
        world.index.write(&checkout);
        git(&checkout, &["init", "--quiet", "--initial-branch=master"]);
        git(&checkout, &["add", "--all"]);
        git(&checkout, &["commit", "--quiet", "--message", "index"]);
        git(world.dir.path(), &["clone", "--quiet", "--bare", "checkout", "bare.git"]);
        world.index.write(&world.dir.path().join("plain"));
        world
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(BIN);
        command.current_dir(self.dir.path()).args(["--listen", "", "--crates-base-url"]);
        command.arg(format!("{}/crates", self.origin.base())).args(arguments);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name);
        }
        run(&mut command)
    }
}

#[test]
fn every_form_of_a_real_index_has_what_others_count() {
    if !has("python3", &["--version"]) {
        return;
    }
    let world = World::new();
    let facts = count_index(&part()).unwrap();
    assert_eq!(
        (facts.crates, facts.lines, facts.duplicates),
        (492, 883, 5),
        "the part is as its README says"
    );
    for index in ["plain", "checkout", "bare.git"] {
        let counted = if index == "bare.git" { world.dir.path().join(index) } else { part() };
        assert_eq!(count_index(&counted).unwrap(), facts, "{index}");
        let dry = ["--dry-run", "--index-dir", index, "--out", "none"];
        let ended = world.run(&dry).expect(0);
        assert_eq!(ended.count("selected"), facts.releases - facts.yanked, "{index}");
        assert_eq!(ended.count("yanked, skipped"), facts.yanked, "{index}");
        let ended = world.run(&[&dry[..], &["--include-yanked"]].concat()).expect(0);
        assert_eq!(ended.count("would fetch"), facts.releases, "{index}");
    }
    for out in ["first", "second"] {
        let all = ["--index-dir", "bare.git", "--include-yanked", "--out", "all"];
        let ended = world.run(&all).expect(0);
        let name = if out == "first" { "downloaded" } else { "existing" };
        assert_eq!(ended.count(name), facts.releases);
    }
}

/// Checks that the real Cargo resolves over exactly what a closure selects, with the same result as over the whole
/// index.
#[test]
fn cargo_resolves_over_closures_of_well_known_crates() {
    let world = World::new();
    let sparse = format!("sparse+{}/index/", world.origin.base());
    let take = |out: &str, names: &str| {
        let closure = ["--crates", names, "--closure", "--latest", "1", "--out"];
        world.run(&[&["--index-dir", "bare.git"], &closure[..], &[out]].concat()).expect(0);
        let taken = held_files(&world.dir.path().join(out));
        let other = format!("{out}-sparse");
        world.run(&[&["--index-url", &sparse], &closure[..], &[&other]].concat()).expect(0);
        assert_eq!(held_files(&world.dir.path().join(other)), taken, "{names}: both forms close alike");
        taken
    };
    let how = OriginOptions { protocol: Protocol::Http1, ..OriginOptions::default() };
    let only = Origin::start(how, Arc::new(|_| None));
    let same = |dependencies: &str| {
        let [part, whole] = [&only, &world.origin]
            .map(|origin| cargo_lock(&format!("{}/index/", origin.base()), dependencies));
        let part = part.unwrap_or_else(|said| panic!("{dependencies}: {said}"));
        assert_eq!(part, whole.unwrap(), "{dependencies}");
        part.len()
    };
    for name in ["rand", "clap", "tokio"] {
        only.replace_site(world.index.site(Some(take(name, name))));
        same(&format!("{name} = \"*\"\n"));
        let features = world.index.features(name);
        assert!(!features.is_empty(), "{name}");
        same(&format!("{name} = {{ version = \"*\", features = {features:?} }}\n"));
    }
    let taken = take("all", &WELL_KNOWN.join(","));
    only.replace_site(world.index.site(Some(taken.clone())));
    let all: String = WELL_KNOWN.iter().map(|name| format!("{name} = \"*\"\n")).collect();
    let locked = same(&all);
    assert!(locked > 200 && taken.len() >= locked, "{locked} of {}", taken.len());
}

/// The index of 2019 has no publication times, so a copy has times that follow from names and versions.
#[test]
fn under_a_policy_a_real_index_has_what_others_count() {
    if !has("python3", &["--version"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dated = dir.path().join("dated");
    let lines = date_index(&part(), &dated).unwrap();
    assert!((800..883).contains(&lines), "{lines} of 883 lines have a time");
    for (index, is_dated) in [(part(), false), (dated, true)] {
        for case in &POLICY_CASES {
            let mut dry_run = |flags: &[String]| {
                let mut command = Command::new(BIN);
                command.current_dir(dir.path()).args([
                    "--dry-run",
                    "--offline",
                    "--listen",
                    "",
                    "--out",
                    "none",
                ]);
                command.arg("--index-dir").arg(&index).args(flags);
                Ok(run(&mut command).expect(0))
            };
            let counts = check_policy(case, &index, &dir.path().join("policy.toml"), &mut dry_run).unwrap();
            if is_dated {
                assert_eq!(counts.deferred.len(), case.rules.len(), "{}: {counts:?}", case.name);
                assert!(
                    case.rules.iter().all(|rule| counts.deferred[*rule] > 0),
                    "{}: {counts:?}",
                    case.name
                );
                assert!(counts.would_fetch > 0, "{}: {counts:?}", case.name);
            }
        }
    }
}
