//! Checks that every source of records leads to the same tree.

use mirror_testkit::{OriginOptions, Protocol, TestRegistry, git};

use crate::world::{World, assert_same, run};

#[test]
fn directory_checkout_bare_clone_list_and_lockfile_give_the_same_tree() {
    let world = World::new(TestRegistry::generate(1, 120, 400));
    let base = format!("{}/crates", world.origin.base());
    run(&mut world.mirroring("dir")).expect(0);
    world.assert_whole("dir");

    let checkout = world.path("checkout");
    world.registry.commit_git(&checkout);
    git(world.dir.path(), &["clone", "--quiet", "--bare", "checkout", "bare.git"]);
    // Only HEAD's tree counts, never the work tree.
    for entry in std::fs::read_dir(&checkout).unwrap().flatten() {
        if entry.path().is_dir() && entry.file_name() != ".git" {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    for index in ["checkout", "bare.git"] {
        let out = format!("from-{index}");
        let mut command = world.command(&out);
        run(command.args(["--index-dir", index, "--crates-base-url", &base])).expect(0);
        world.assert_whole(&out);
    }

    std::fs::write(world.path("urls"), world.registry.url_list(&world.origin.base())).unwrap();
    std::fs::write(world.path("sums"), world.registry.checksums(&world.origin.base())).unwrap();
    run(world.command("list").args(["--list", "urls", "--checksums", "sums"])).expect(0);
    world.assert_whole("list");

    let url = format!("sparse+{}/index/", world.origin.base());
    std::fs::write(world.path("Cargo.lock"), world.registry.lockfile(&url)).unwrap();
    run(world.command("lock").args(["--cargo-lock", "Cargo.lock", "--index-url", &url])).expect(0);
    world.assert_whole("lock");
}

/// SSL_CERT_FILE and SSL_CERT_DIR name the roots, as for every program on the system.
#[cfg(target_os = "linux")]
#[test]
fn the_systems_way_to_name_roots_is_honoured() {
    let world = World::new(TestRegistry::generate(6, 5, 100));
    let ca = world.origin.ca().to_owned();
    let roots = |name: &str, value: &std::path::Path| {
        let mut command = world.mirroring(name);
        let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
        let at = arguments.iter().position(|word| word == "--cacert").unwrap();
        let kept =
            arguments.iter().enumerate().filter(|(n, _)| *n != at && *n != at + 1).map(|(_, word)| word);
        command = std::process::Command::new(crate::world::BIN);
        command.current_dir(world.dir.path()).args(kept).env_remove("SSL_CERT_FILE").env(name, value);
        run(command.arg("--retries").arg("0"))
    };
    roots("SSL_CERT_FILE", &ca).expect(0);
    world.assert_whole("SSL_CERT_FILE");
    let strange = roots("NOT_A_VARIABLE", &ca).expect(5);
    assert!(strange.stdout.contains("certificate"), "{}", strange.stdout);
}

#[test]
fn plain_http_and_tls_without_h2_work_too() {
    for protocol in [Protocol::Http1, Protocol::Http1Tls] {
        let options = OriginOptions { protocol, ..OriginOptions::default() };
        let world = World::with(TestRegistry::generate(2, 60, 300), options);
        let ended = run(&mut world.mirroring("out")).expect(0);
        assert_eq!(ended.count("downloaded"), 60);
        world.assert_whole("out");
        // Connections are reused.
        assert!(world.origin.connections() <= 60, "{}", world.origin.connections());
    }
}

#[test]
fn a_sparse_registry_is_asked_conditionally_and_its_cache_serves_offline() {
    let world = World::new(TestRegistry::generate(3, 40, 300));
    let url = format!("sparse+{}/index/", world.origin.base());
    std::fs::write(world.path("Cargo.lock"), world.registry.lockfile(&url)).unwrap();
    let lock = ["--cargo-lock", "Cargo.lock", "--index-url", &url];
    run(world.command("out").args(lock)).expect(0);
    world.assert_whole("out");
    let crates = world.origin.hits_below("/crates/");

    let again = run(world.command("out").args(lock)).expect(0);
    assert_eq!((again.count("existing"), again.count("downloaded")), (40, 0));
    assert_eq!(world.origin.hits_below("/crates/"), crates, "nothing is fetched twice");

    let before = world.origin.total();
    let offline = run(world.command("out").args(lock).arg("--offline")).expect(0);
    assert_eq!(offline.count("existing"), 40);
    assert_eq!(world.origin.total(), before, "an offline run sends no requests");

    let never = run(world.command("fresh").args(lock).arg("--offline")).expect(5);
    assert!(never.stderr.contains("--offline"), "{}", never.stderr);
}

#[test]
fn closure_takes_everything_that_a_build_could_need() {
    let mut registry = TestRegistry::default();
    let dep = |name: &str, req: &str, kind: &str| (name.to_owned(), req.to_owned(), kind.to_owned());
    registry.add("top", "1.0.0", b"top").deps =
        vec![dep("middle", "^1", "normal"), dep("tool", "1", "build"), dep("only-for-tests", "1", "dev")];
    registry.add("middle", "1.0.0", b"m1").deps = vec![dep("leaf", "=2.0.0", "normal")];
    registry.add("middle", "1.5.0", b"m15");
    registry.add("middle", "2.0.0", b"m2");
    registry.add("leaf", "2.0.0", b"l2");
    registry.add("leaf", "2.0.1", b"l201");
    registry.add("tool", "1.0.0", b"t");
    registry.add("only-for-tests", "1.0.0", b"o");
    registry.add("unrelated", "1.0.0", b"u");
    let world = World::new(registry);
    let url = format!("sparse+{}/index/", world.origin.base());
    run(world.command("out").args(["--crates", "top", "--closure", "--index-url", &url])).expect(0);
    let files = |out: &str| {
        let tree = world.tree(out).into_keys();
        let mut files: Vec<_> = tree.map(|path| path.rsplit('/').next().unwrap().to_owned()).collect();
        files.sort();
        files
    };
    assert_eq!(
        files("out"),
        [
            "leaf-2.0.0.crate",
            "middle-1.0.0.crate",
            "middle-1.5.0.crate",
            "tool-1.0.0.crate",
            "top-1.0.0.crate"
        ]
    );
    let newest = ["--crates", "top", "--closure", "--latest", "1", "--index-url", &url];
    run(world.command("newest").args(newest)).expect(0);
    // Dependencies of older versions of `middle` alone are not wanted.
    assert_eq!(files("newest"), ["middle-1.5.0.crate", "tool-1.0.0.crate", "top-1.0.0.crate"]);
}

#[test]
fn selections_narrow_what_is_mirrored() {
    let mut registry = TestRegistry::default();
    for (name, version) in [
        ("serde", "1.0.0"),
        ("serde", "1.0.1"),
        ("serde", "1.0.2"),
        ("serde_json", "1.0.0"),
        ("tokio", "1.0.0"),
    ] {
        registry.add(name, version, format!("{name}{version}").as_bytes());
    }
    registry.crates.get_mut("serde").unwrap()[2].yanked = true;
    let world = World::new(registry);
    let names = |out: &str, more: &[&str]| {
        let ended = run(world.mirroring(out).args(more)).expect(0);
        let mut files: Vec<_> = world
            .tree(out)
            .into_keys()
            .map(|path| path.rsplit('/').next().unwrap().replace(".crate", ""))
            .collect();
        files.sort();
        (files.join(" "), ended)
    };
    let (all, ended) = names("a", &[]);
    assert_eq!(all, "serde-1.0.0 serde-1.0.1 serde_json-1.0.0 tokio-1.0.0");
    assert!(ended.stdout.contains("--include-yanked"), "{}", ended.stdout);
    assert_eq!(names("b", &["--latest", "1"]).0, "serde-1.0.1 serde_json-1.0.0 tokio-1.0.0");
    assert_eq!(names("c", &["--crates", "serde*", "--exclude", "serde-json"]).0, "serde-1.0.0 serde-1.0.1");
    assert_eq!(
        names("d", &["--include-yanked", "--crates", "Serde"]).0,
        "serde-1.0.0 serde-1.0.1 serde-1.0.2"
    );
    assert_eq!(names("e", &["--limit", "2"]).1.count("selected"), 2);
    let (one, two) = (names("f", &["--shard", "1/2"]).0, names("g", &["--shard", "2/2"]).0);
    let mut both: Vec<_> = one.split(' ').chain(two.split(' ')).filter(|name| !name.is_empty()).collect();
    both.sort_unstable();
    assert_eq!(both.join(" "), all);
}

#[test]
fn both_layouts_hold_the_same_files_and_do_not_mix() {
    let world = World::new(TestRegistry::generate(4, 30, 200));
    run(world.mirroring("out").args(["--layout", "cargo"])).expect(0);
    let expected = world
        .registry
        .releases()
        .map(|release| (mirror_sync::Layout::Cargo.path(&release.id), release.cksum.to_hex()))
        .collect();
    assert_same(&world.tree("out"), &expected);
    // A mirror remembers its layout: it need not be named again.
    let again = run(&mut world.mirroring("out")).expect(0);
    assert_eq!((again.count("existing"), again.count("downloaded")), (30, 0));
    let mixed = run(world.mirroring("out").args(["--layout", "shard"])).expect(2);
    assert!(mixed.stderr.contains("cannot be mixed"), "{}", mixed.stderr);
}

#[test]
fn a_dry_run_touches_nothing_and_estimates() {
    let world = World::new(TestRegistry::generate(5, 50, 1000));
    let ended = run(world.mirroring("out").arg("--dry-run")).expect(0);
    assert_eq!((ended.count("selected"), ended.count("would fetch")), (50, 50));
    let bytes: usize = world.registry.releases().map(|release| release.body.len()).sum();
    let known = format!("{} (by the sizes of all 50 releases)", mirror_sync::human_bytes(bytes as u64));
    assert_eq!(ended.value("bytes"), known);
    assert!(!world.path("out").exists() && !world.path("out.jsonl").exists());
    assert!(world.origin.hits_below("/crates/") <= 50);
}

/// Of a part of a registry over HTTP, a dry run needs no index first, and keeps none.
#[test]
fn a_dry_run_of_a_part_works_on_a_fresh_machine() {
    let world = World::new(TestRegistry::generate(6, 50, 1000));
    let url = format!("sparse+{}/index/", world.origin.base());
    let name = world.registry.crates.keys().next().unwrap().clone();
    let ended =
        run(world.command("out").args(["--index-url", &url, "--crates", &name, "--dry-run"])).expect(0);
    assert!(ended.count("would fetch") > 0, "{}", ended.stdout);
    assert!(std::fs::read_dir(world.dir.path()).unwrap().next().is_none(), "nothing is written");
}

/// Asks about the same releases in both runs: the estimate does not jump.
#[test]
fn two_dry_runs_estimate_the_same() {
    let world = World::new(TestRegistry::generate(7, 300, 1000));
    let estimate = || {
        let ended = run(world.mirroring("out").arg("--dry-run")).expect(0);
        ended.value("bytes").to_owned()
    };
    let first = estimate();
    assert!(first.contains("between") && first.contains("by the sizes of 100 releases"), "{first}");
    assert_eq!(estimate(), first);
    assert!(world.origin.hits_below("/crates/") <= 200, "few are asked for");
}

/// Asks about a crate of which a large version is held, although its hash does not put it among those that a dry run
/// into an empty mirror asks about.
#[test]
fn a_dry_run_asks_for_what_is_probably_large() {
    let mut registry = TestRegistry::default();
    for number in 0..250 {
        registry.add(&format!("small-{number}"), "1.0.0", &vec![b's'; 200 + number]);
    }
    registry.add("large", "1.0.0", &vec![b'l'; 2_000_000]);
    let mut world = World::new(registry);
    run(&mut world.mirroring("out")).expect(0);
    for number in 0..250 {
        world.registry.add(&format!("small-{number}"), "2.0.0", &vec![b'S'; 300 + number]);
    }
    world.registry.add("large", "2.0.0", &vec![b'L'; 3_000_000]);
    world.publish();
    let large = "/crates/large/large-2.0.0.crate";
    let dry = |out: &str| {
        let ended = run(world.mirroring(out).args(["--latest", "1", "--dry-run"])).expect(0);
        assert_eq!(ended.count("would fetch"), 251);
        assert!(ended.value("bytes").contains("by the sizes of 100 releases"), "{}", ended.value("bytes"));
        (ended.value("bytes").to_owned(), world.origin.hits(large))
    };
    let (without, hits) = dry("empty");
    assert!(hits == 0 && !without.contains("MiB"), "nothing tells the large one from the others: {without}");
    let (with, hits) = dry("out");
    assert_eq!(hits, 1, "{with}");
    // The small ones add up to 104 KiB, and differ little.
    assert!(with.starts_with("about 3.0 MiB, between 3.0 MiB and 3.0 MiB"), "{with}");
}

/// Takes the download address from the `config.json` of a directory, a checkout and a bare repository. A clone from
/// another host does not lead the run to this machine, unless the operator names the address.
#[test]
fn a_local_index_says_where_its_releases_are() {
    let world = World::new(TestRegistry::generate(7, 12, 100));
    let dl = format!(r#"{{"dl":"{}/crates/{{crate}}/{{crate}}-{{version}}.crate"}}"#, world.origin.base());
    let plain = world.index();
    std::fs::write(plain.join("config.json"), &dl).unwrap();
    world.registry.commit_git(&world.path("checkout"));
    std::fs::write(world.path("checkout/config.json"), &dl).unwrap();
    git(&world.path("checkout"), &["commit", "--quiet", "--all", "--message", "dl"]);
    git(world.dir.path(), &["clone", "--quiet", "--bare", "checkout", "bare.git"]);
    for index in ["index", "checkout", "bare.git"] {
        let out = format!("from-{index}");
        run(world.command(&out).args(["--index-dir", index])).expect(0);
        world.assert_whole(&out);
    }

    // A repository of another host does not lead the run to this machine, unless the operator does.
    git(&world.path("bare.git"), &["config", "remote.origin.url", "https://index.invalid/index"]);
    let asked = world.origin.hits_below("/crates/");
    let led = run(world.command("led").args(["--index-dir", "bare.git", "--retries", "0"]));
    assert_ne!(led.code, 0);
    assert_eq!(world.origin.hits_below("/crates/"), asked);
    assert!(led.stdout.contains("loopback"), "{}", led.stdout);
    let base = format!("{}/crates", world.origin.base());
    run(world.command("named").args(["--index-dir", "bare.git", "--crates-base-url", &base])).expect(0);
    world.assert_whole("named");
}

#[cfg(unix)]
#[test]
fn a_config_of_a_local_index_that_cannot_be_used_ends_the_run_before_it_begins() {
    let world = World::new(TestRegistry::generate(8, 2, 100));
    let config = world.index().join("config.json");
    let refused = |word: &str| {
        let ended = run(world.command("out").args(["--index-dir", "index"])).expect(2);
        assert!(ended.stderr.contains("config.json") && ended.stderr.contains(word), "{}", ended.stderr);
    };
    std::fs::write(&config, r#"{"dl":"ftp://localhost/{crate}"}"#).unwrap();
    refused("download address");
    std::fs::File::create(&config).unwrap().set_len(3 << 30).unwrap();
    refused("3221225472 bytes");
    std::fs::remove_file(&config).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&config).status().unwrap().success());
    refused("not a regular file");
    assert!(!world.path("out").exists() && world.origin.hits_below("/") == 0);
}

/// Ends with one diagnosis, in the second run as in the first, where only web pages, JSON of another kind or files of
/// Cargo's own cache stand at the paths of an index. With one good file among them it is an index with bad lines.
#[test]
fn files_of_another_kind_at_the_paths_of_an_index_are_no_index() {
    let world = World::new(TestRegistry::generate(8, 200, 50));
    let cached =
        |line: &str| format!("\x03\x02\0\0\0etag: \"x\"\x001.0.0\0{}\0", line.replace('\n', "\x001.0.0\0"));
    let page = |_: &str| "<!DOCTYPE html>\n<html>\n<body>Sign in</body>\n</html>\n".to_owned();
    let errors = |_: &str| "{\"errors\":[{\"detail\":\"not found\"}]}\n".to_owned();
    let forms = [
        ("cached", cached as fn(&str) -> String, "Cargo's own cache"),
        ("pages", page, "a web page"),
        ("errors", errors, "JSON of another kind"),
    ];
    for (name, form, what) in forms {
        let dir = world.path(name);
        for (path, text) in world.registry.index_files() {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, form(&String::from_utf8(text).unwrap())).unwrap();
        }
        let bare = format!("{name}.git");
        git(world.dir.path(), &["init", "--quiet", "--initial-branch=master", name]);
        git(&dir, &["add", "--all"]);
        git(&dir, &["commit", "--quiet", "--message", "index"]);
        git(world.dir.path(), &["clone", "--quiet", "--bare", name, &bare]);
        std::fs::remove_dir_all(dir.join(".git")).unwrap();
        for index in [name, &bare] {
            for _ in 0..2 {
                let mut command = world.command("out");
                command.args(["--index-dir", index, "--crates-base-url", world.origin.base().as_str()]);
                let ended = run(&mut command).expect(2);
                assert!(ended.stderr.contains(what), "{index}: {}", ended.stderr);
                assert!(ended.stderr.lines().count() <= 3, "{index}: one diagnosis: {}", ended.stderr);
            }
        }
        // One good file makes it an index; the others are its bad lines.
        let (path, text) = world.registry.index_files().pop_first().unwrap();
        std::fs::write(dir.join(path), text).unwrap();
        let mut command = world.command(&format!("out-{name}"));
        command.args(["--index-dir", name, "--crates-base-url", &format!("{}/crates", world.origin.base())]);
        let ended = run(&mut command).expect(3);
        assert!(ended.count("downloaded") > 0 && ended.count("bad index lines") > 0, "{}", ended.stdout);
    }
}
