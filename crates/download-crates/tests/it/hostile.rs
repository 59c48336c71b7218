//! Hostile or damaged indexes, lists and configurations.

use mirror_testkit::{Fault, TestRegistry};

use crate::world::{World, run};

#[test]
fn bad_lines_are_named_counted_and_do_not_stop_the_run() {
    let mut registry = TestRegistry::generate(41, 30, 200);
    registry.add("victim", "1.0.0", b"good");
    let world = World::new(registry);
    let index = world.index();
    let victim = index.join("vi/ct/victim");
    let good = std::fs::read_to_string(&victim).unwrap();
    let sum = "a".repeat(64);
    let record = |name: &str, vers: &str, cksum: &str| {
        format!(
            "{}\n",
            serde_json::json!({"name": name, "vers": vers, "deps": [], "cksum": cksum, "features": {}, "yanked": false})
        )
    };
    let bad = [
        record("../../../etc/x", "1.0.0", &sum),
        record("a/b", "1.0.0", &sum),
        record("vic\0tim", "1.0.0", &sum),
        record("victïm", "1.0.0", &sum),
        record("victim", "1.0.0/../../x", &sum),
        record("victim", "1.0\\0", &sum),
        record("victim", "2.0.0", "abc"),
        record("victim", "2.0.0", &"g".repeat(64)),
        record("another", "1.0.0", &sum),
        "{\"name\":\"victim\",\"vers\":\n".to_owned(),
        "\u{1b}[31mnot json\u{1b}[0m\n".to_owned(),
        format!("{{\"name\":\"victim\",\"x\":\"{}\"}}\n", "y".repeat(2 << 20)),
        record("Victim", "1.0.0", &sum),
    ];
    std::fs::write(&victim, format!("{good}{}", bad.concat())).unwrap();
    let mut command = world.command("out");
    command.args(["--index-dir", "index", "--crates-base-url", &format!("{}/crates", world.origin.base())]);
    let ended = run(&mut command);
    assert_eq!(ended.count("downloaded"), 31, "{}", ended.stdout);
    assert_eq!(ended.count("bad index lines"), bad.len() as u64, "{}", ended.stdout);
    assert!(ended.stdout.contains("victim, line 2:"), "{}", ended.stdout);
    for text in [&ended.stdout, &ended.stderr] {
        assert!(!text.contains("\u{1b}[31m"), "hostile text reached the terminal");
    }
    ended.expect(3);
    world.assert_whole("out");
}

#[test]
fn releases_that_differ_in_little_do_not_take_each_others_place() {
    let mut registry = TestRegistry::default();
    for (name, version) in [
        ("twin", "1.0.0"),
        ("twin", "1.0.0+x"),
        ("twin", "1.0.0-x"),
        ("a-1", "2.0.0"),
        ("a", "1.2.0-0"),
        ("Mixed_Case", "1.0.0"),
        ("x", "0.1.0"),
    ] {
        registry.add(name, version, format!("{name} {version}").as_bytes());
    }
    let world = World::new(registry);
    run(&mut world.mirroring("out")).expect(0);
    world.assert_whole("out");
    // Again from its own state, and from a list.
    let again = run(&mut world.mirroring("out")).expect(0);
    assert_eq!(again.count("existing"), 7);
    std::fs::write(world.path("urls"), world.registry.url_list(&world.origin.base())).unwrap();
    std::fs::write(world.path("sums"), world.registry.checksums(&world.origin.base())).unwrap();
    run(world.command("list").args(["--list", "urls", "--checksums", "sums"])).expect(0);
    world.assert_whole("list");
}

#[test]
fn a_configuration_that_makes_no_sense_is_a_usage_error() {
    let world = World::new(TestRegistry::generate(42, 5, 100));
    let url = format!("sparse+{}/index/", world.origin.base());
    for dl in ["https://localhost/{unknown}", "ftp://localhost/{crate}", "file:///etc/{crate}", "nonsense"] {
        world.origin.replace_site(world.registry.site(dl));
        let ended = run(world.command("out").args(["--crates", "serde", "--index-url", &url])).expect(2);
        assert!(ended.stderr.contains("download address"), "{}", ended.stderr);
    }
}

#[test]
fn a_registry_cannot_send_the_downloads_to_this_machine() {
    let mut registry = TestRegistry::default();
    registry.add("serde", "1.0.0", b"serde");
    let world = World::new(registry);
    let port = world.origin.addr().port();
    // The operator named 127.0.0.1; the registry names another local address.
    let dl = format!("https://localhost:{port}/crates/{{crate}}/{{crate}}-{{version}}.crate");
    world.origin.replace_site(world.registry.site(&dl));
    let url = format!("sparse+{}/index/", world.origin.base());
    let ended = run(world.command("out").args(["--crates", "serde", "--index-url", &url]));
    assert_ne!(ended.code, 0);
    assert_eq!(world.origin.hits_below("/crates/"), 0);
    assert!(ended.stdout.contains("loopback"), "{}", ended.stdout);
}

#[test]
fn an_index_file_that_cannot_be_had_is_a_failure_and_not_silence() {
    let mut registry = TestRegistry::default();
    for name in ["serde", "tokio", "absent"] {
        registry.add(name, "1.0.0", name.as_bytes());
    }
    let world = World::new(registry);
    world.origin.script(|ask| match ask.path.as_str() {
        "/index/to/ki/tokio" => Fault::Status(500),
        "/index/ab/se/absent" => Fault::Status(404),
        _ => Fault::None,
    });
    let url = format!("sparse+{}/index/", world.origin.base());
    let names = ["--crates", "serde,tokio,absent", "--index-url", &url, "--retries", "1"];
    let ended = run(world.command("out").args(names)).expect(3);
    assert_eq!((ended.count("downloaded"), ended.count("failed")), (1, 2), "{}", ended.stdout);
    assert!(ended.stdout.contains("tokio") && ended.stdout.contains("absent"), "{}", ended.stdout);
    world.origin.heal();
    run(world.command("out").args(names)).expect(0);
    world.assert_whole("out");

    // The cache may be outdated when the registry cannot be asked: the run has to say so.
    world.origin.script(|ask| match ask.path.as_str() {
        "/index/to/ki/tokio" => Fault::Status(500),
        _ => Fault::None,
    });
    let ended = run(world.command("out").args(names)).expect(3);
    assert_eq!((ended.count("selected"), ended.count("existing"), ended.count("failed")), (3, 2, 1));
    world.assert_whole("out");
}

#[test]
fn an_index_that_fails_as_a_whole_is_reported_crate_by_crate() {
    let world = World::new(TestRegistry::generate(45, 900, 100));
    world.origin.script(|ask| match ask.path.strip_prefix("/index/") {
        Some(path) if path != "config.json" => Fault::Status(500),
        _ => Fault::None,
    });
    let url = format!("sparse+{}/index/", world.origin.base());
    std::fs::write(world.path("Cargo.lock"), world.registry.lockfile(&url)).unwrap();
    let names: Vec<_> = world.registry.crates.keys().cloned().collect();
    std::fs::write(world.path("names"), names.join("\n")).unwrap();
    for (out, expected, arguments) in [
        ("by-lock", 900, ["--cargo-lock", "Cargo.lock"]),
        ("by-name", names.len() as u64, ["--crates-file", "names"]),
    ] {
        let mut command = world.command(out);
        let ended = run(command.args(arguments).args(["--index-url", &url, "--retries", "0"])).expect(3);
        assert_eq!((ended.count("selected"), ended.count("failed")), (expected, expected));
    }
}

#[test]
fn lists_with_bad_lines_say_which() {
    let world = World::new(TestRegistry::generate(43, 5, 100));
    let list = format!(
        "# a comment\n\n{}https://localhost/nothing\nnot a url\nftp://localhost/a/a-1.0.0.crate\n",
        world.registry.url_list(&world.origin.base())
    );
    std::fs::write(world.path("urls"), list).unwrap();
    let ended = run(world.command("out").args(["--list", "urls"])).expect(3);
    assert_eq!((ended.count("downloaded"), ended.count("bad index lines")), (5, 3));
    assert!(ended.stdout.contains("line 8"), "{}", ended.stdout);
    world.assert_whole("out");
}

#[test]
fn names_with_colons_and_missing_files_are_usage_errors() {
    let world = World::new(TestRegistry::generate(44, 2, 100));
    for (arguments, text) in [
        (vec!["--cargo-lock", "nowhere.lock"], "nowhere.lock"),
        (vec!["--index-dir", "nowhere"], "nowhere"),
        (vec!["--list", "nowhere.txt"], "nowhere.txt"),
        (vec!["--crates", "a:b"], "a:b"),
        (vec!["--crates", "a", "--shard", "3/2"], "--shard"),
        (vec!["--crates", "a", "--layout", "flat"], "--layout"),
        (vec![], "nothing to mirror"),
    ] {
        let ended = run(world.command("out").args(arguments)).expect(2);
        assert!(ended.stderr.contains(text), "{}", ended.stderr);
    }
    assert!(!world.path("out").exists() && !world.path("out.jsonl").exists(), "usage errors touch nothing");
}
