//! Answers of a sparse registry that are cut, strange, huge or not asked for, and offline runs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use mirror_testkit::{Fault, OriginOptions, Protocol, TestRegistry};

use crate::world::{World, assert_same, run};

fn small() -> TestRegistry {
    let mut registry = TestRegistry::default();
    for (name, version) in [("foo_bar", "1.0.0"), ("foo_bar", "1.1.0"), ("other", "0.1.0")] {
        registry.add(name, version, format!("{name} {version}").as_bytes());
    }
    registry
}

/// Starts a server of the last century: the end of the connection is the end of the answer. It sends the bytes that
/// `answer` makes of a path and the validator of the request.
fn old_server(answer: impl Fn(&str, Option<&str>) -> Option<Vec<u8>> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let path = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned));
                let validator = lines
                    .take_while(|line| !line.is_empty())
                    .filter_map(|line| {
                        line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()))
                    })
                    .find(|(name, _)| name.eq_ignore_ascii_case("if-none-match"))
                    .map(|(_, value)| value);
                let head = "HTTP/1.0 200 OK\r\netag: \"e1\"\r\nconnection: close\r\n\r\n";
                let bytes = match path.and_then(|path| answer(&path, validator.as_deref())) {
                    Some(body) if body == b"304" => {
                        b"HTTP/1.0 304 Not Modified\r\netag: \"e1\"\r\n\r\n".to_vec()
                    }
                    Some(body) => [head.as_bytes(), &body].concat(),
                    None => b"HTTP/1.0 404 Not Found\r\nconnection: close\r\n\r\n".to_vec(),
                };
                let _ = (&stream).write_all(&bytes);
            });
        }
    });
    base
}

/// Checks that the next run asks in full for an answer that was cut at any place, even at the end of a line, and that
/// no known release counts as deleted.
#[test]
fn an_answer_that_ends_with_its_connection_is_never_trusted_to_be_whole() {
    let options = OriginOptions { protocol: Protocol::Http1, ..OriginOptions::default() };
    let world = World::with(small(), options);
    let file = world.registry.index_files().remove("fo/o_/foo_bar").unwrap();
    let first_line = file.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let config =
        format!("{{\"dl\":\"{}/crates/{{crate}}/{{crate}}-{{version}}.crate\"}}", world.origin.base());
    for cut_at in [first_line, file.len() - 20] {
        let cut = Arc::new(Mutex::new(true));
        let (served, is_cut, config) = (file.clone(), cut.clone(), config.clone());
        let base = old_server(move |path, validator| match path {
            "/config.json" => Some(config.clone().into_bytes()),
            "/fo/o_/foo_bar" if validator.is_some() => Some(b"304".to_vec()),
            "/fo/o_/foo_bar" if *is_cut.lock().unwrap() => Some(served[..cut_at].to_vec()),
            "/fo/o_/foo_bar" => Some(served.clone()),
            _ => None,
        });
        let out = format!("out{cut_at}");
        let url = format!("sparse+{base}/");
        let mirror = || run(world.command(&out).args(["--index-url", &url, "--crates", "foo_bar"]));
        let first = mirror();
        assert_eq!(first.count("downloaded"), 1, "{}", first.stdout);
        *cut.lock().unwrap() = false;
        let second = mirror().expect(0);
        assert_eq!((second.count("existing"), second.count("downloaded")), (1, 1));
        // Now the mirror knows the full length.
        *cut.lock().unwrap() = true;
        let third = mirror().expect(3);
        assert!(third.stdout.contains("it was cut"), "{}", third.stdout);
        assert!(!third.stdout.contains("deleted"), "{}", third.stdout);
        *cut.lock().unwrap() = false;
        assert_eq!(mirror().expect(0).count("existing"), 2);
    }
}

/// Covers everything that may come in place of an index file: the run names it, the other crates are mirrored, and the
/// next run, with a healthy origin, has all of it.
#[test]
fn strange_answers_for_an_index_file_are_no_index_file() {
    for protocol in [Protocol::Http2, Protocol::Http1] {
        let world = World::with(small(), OriginOptions { protocol, ..OriginOptions::default() });
        let url = format!("sparse+{}/index/", world.origin.base());
        let strange = [
            Fault::Html,
            Fault::Status(304),
            Fault::Status(206),
            Fault::Status(500),
            Fault::Truncate(30),
            Fault::Reset(30),
            Fault::TruncateUnannounced(30),
            Fault::Endless,
        ];
        for (n, fault) in strange.into_iter().enumerate() {
            let shown = format!("{protocol:?} {fault:?}");
            let out = format!("out{n}");
            world.origin.script(
                move |ask| {
                    if ask.path.ends_with("/foo_bar") { fault.clone() } else { Fault::None }
                },
            );
            let command = || {
                let mut command = world.command(&out);
                command.args(["--index-url", &url, "--crates", "foo_bar,other", "--retries", "1"]);
                command
            };
            for dry in [true, false] {
                let ended = run(command().args(dry.then_some("--dry-run")));
                assert_eq!(ended.code, if dry { 0 } else { 3 }, "{shown}: {}", ended.stdout);
                let told = format!("{}{}", ended.stdout, ended.stderr);
                assert!(told.contains("foo_bar"), "{shown}: {told}");
            }
            assert_eq!(world.tree(&out).len(), 1, "{shown}: the other crate");
            world.origin.script(|_| Fault::None);
            assert_eq!(run(&mut command()).expect(0).count("downloaded"), 2, "{shown}");
        }
    }
}

#[test]
fn a_configuration_that_cannot_be_used_is_not_kept() {
    let world = World::new(small());
    let url = format!("sparse+{}/index/", world.origin.base());
    let args = ["--index-url", &url, "--crates", "other", "--retries", "0"];
    for (fault, code) in
        [(Fault::Html, 2), (Fault::Status(304), 5), (Fault::Truncate(5), 5), (Fault::Endless, 5)]
    {
        let shown = format!("{fault:?}");
        world
            .origin
            .script(move |ask| if ask.path.ends_with("config.json") { fault.clone() } else { Fault::None });
        let ended = run(world.command("out").args(args)).expect(code);
        assert!(ended.stderr.contains("config.json"), "{shown}: {}", ended.stderr);
    }
    world.origin.script(|_| Fault::None);
    run(world.command("out").args(args)).expect(0);
}

/// Checks that the registry is asked again after the disk damaged a cached answer.
#[test]
fn a_damaged_cache_is_asked_for_again() {
    let world = World::new(small());
    let url = format!("sparse+{}/index/", world.origin.base());
    let mirror = || run(world.command("out").args(["--index-url", &url, "--crates", "foo-bar,other"]));
    mirror().expect(0);
    let kept = mirror_testkit::tree(&world.path("out/.mirror/sparse"));
    assert!(kept.len() >= 3, "{:?}", kept.keys());
    for (name, bytes) in kept {
        let path = world.path("out/.mirror/sparse").join(&name);
        let mut damaged = bytes.clone();
        // In the middle of the answer: in a checksum, for example.
        if let Some(last) = damaged.iter_mut().rev().nth(8) {
            *last ^= 2;
        }
        std::fs::write(&path, damaged).unwrap();
    }
    let again = mirror().expect(0);
    assert_eq!((again.count("existing"), again.count("downloaded")), (3, 0));
}

#[test]
fn an_offline_run_sends_no_request() {
    let world = World::new(small());
    let url = format!("sparse+{}/index/", world.origin.base());
    let sparse = ["--index-url", &url, "--crates", "foo-bar,other"];
    run(world.command("out").args(sparse)).expect(0);
    let asked = world.origin.total();
    let silent = |command: &mut std::process::Command, code: i32| {
        let ended = run(command.arg("--offline")).expect(code);
        assert_eq!(world.origin.total(), asked, "{}", ended.stderr);
        ended
    };
    assert_eq!(silent(world.command("out").args(sparse), 0).count("existing"), 3);
    // Held, but damaged: it cannot be fetched again at the moment.
    let held = world.path("out/o/th/other-0.1.0.crate");
    let bytes = std::fs::read(&held).unwrap();
    std::fs::write(&held, vec![b'x'; bytes.len()]).unwrap();
    let damaged = silent(world.command("out").args(sparse).arg("--verify-existing"), 4);
    assert!(damaged.stdout.contains("other 0.1.0"), "{}", damaged.stdout);
    silent(world.command("out").args(sparse).arg("--dry-run"), 0);
    std::fs::write(world.path("urls"), world.registry.url_list(&world.origin.base())).unwrap();
    let listed = silent(world.command("fresh").args(["--list", "urls"]), 3);
    assert_eq!(listed.count("failed"), 3);
    silent(&mut world.mirroring("fresh2"), 3);
    silent(world.mirroring("fresh3").arg("--dry-run"), 0);
    silent(world.mirroring("fresh4").arg("--update-index"), 2);
    run(world.command("out").args(sparse)).expect(0);
}

/// Checks `-` and `_`, upper and lower case, one by one, in a file, in a list and in lockfiles: they name one crate.
#[test]
fn every_spelling_of_a_name_is_the_crate_itself() {
    let world = World::new(small());
    let base = world.origin.base();
    let url = format!("sparse+{base}/index/");
    std::fs::write(world.path("names"), "FOO-bar\nfoo_bar\n# a comment\nFoo_Bar\n").unwrap();
    let expected = |out: &str| {
        let wanted = world.expected().into_iter().filter(|(path, _)| path.contains("foo_bar")).collect();
        assert_same(&world.tree(out), &wanted);
        let records = world.manifest(out);
        assert_eq!(records.len(), 2, "{out}: {records:?}");
    };
    let ways: [(&str, &[&str]); 4] = [
        ("one", &["--crates", "foo-bar"]),
        ("many", &["--crates", "FOO-BAR,foo_bar", "--crates", "Foo-Bar"]),
        ("file", &["--crates-file", "names"]),
        ("both", &["--crates-file", "names", "--crates", "foo-bar"]),
    ];
    for (name, args) in ways {
        run(world.command(name).args(["--index-url", &url]).args(args)).expect(0);
        expected(name);
        let local = format!("{name}-local");
        run(world.mirroring(&local).args(args)).expect(0);
        expected(&local);
    }
    run(world.mirroring("glob").args(["--crates", "FOO-*"])).expect(0);
    expected("glob");
    let lines = world.registry.url_list(&base);
    let mine: Vec<&str> = lines.lines().filter(|line| line.contains("foo_bar")).collect();
    let other = mine.iter().map(|line| line.replace("foo_bar", "FOO-BAR"));
    let list: Vec<String> =
        mine.iter().map(|line| (*line).to_owned()).chain(other).chain([mine[0].into()]).collect();
    std::fs::write(world.path("urls"), list.join("\n")).unwrap();
    run(world.command("list").args(["--list", "urls"])).expect(0);
    expected("list");
    let lock = world.registry.lockfile(&url);
    std::fs::write(world.path("a.lock"), lock.replace("foo_bar", "Foo-Bar")).unwrap();
    std::fs::write(world.path("b.lock"), &lock).unwrap();
    let locks = ["--cargo-lock", "a.lock", "--cargo-lock", "b.lock", "--exclude", "other"];
    run(world.command("lock").args(["--index-url", &url]).args(locks)).expect(0);
    expected("lock");
}

#[test]
fn what_a_lockfile_names_of_elsewhere_is_named() {
    let world = World::new(small());
    let url = format!("sparse+{}/index/", world.origin.base());
    let foreign = "\n[[package]]\nname = \"far\"\nversion = \"1.0.0\"\nsource = \"git+https://git.test/far?rev=1#1\"\n\
                   \n[[package]]\nname = \"big\"\nversion = \"1.0.0\"\nsource = \"registry+https://big.test/index\"\n\
                   \n[[package]]\nname = \"mine\"\nversion = \"1.0.0\"\n";
    let lock = |name: &str, text: String| std::fs::write(world.path(name), text).unwrap();
    lock("mixed.lock", world.registry.lockfile(&url) + foreign);
    let mixed = run(world.command("out").args(["--index-url", &url, "--cargo-lock", "mixed.lock"])).expect(0);
    world.assert_whole("out");
    assert!(mixed.value("other registries").starts_with("2 packages"), "{}", mixed.stdout);
    for source in ["git+https://git.test/far (1)", "registry+https://big.test/index (1)"] {
        assert!(mixed.stdout.contains(source), "{}", mixed.stdout);
    }
    // A lockfile of which nothing can be mirrored is a mistake, and no success.
    lock("foreign.lock", format!("version = 4\n{foreign}"));
    let nothing =
        run(world.command("none").args(["--index-url", &url, "--cargo-lock", "foreign.lock"])).expect(2);
    assert!(nothing.stderr.contains("registry+https://big.test/index"), "{}", nothing.stderr);
    assert!(!Path::new(&world.path("none")).exists());
}

#[test]
fn checksums_of_a_list_are_for_each_of_its_urls() {
    let world = World::new(small());
    let base = world.origin.base();
    let sums = world.registry.checksums(&base);
    std::fs::write(world.path("urls"), world.registry.url_list(&base)).unwrap();
    let given = |name: &str, lines: &[&str]| std::fs::write(world.path(name), lines.join("\n")).unwrap();
    let lines: Vec<&str> = sums.lines().collect();
    given("some", &lines[..1]);
    let some = run(world.command("out").args(["--list", "urls", "--checksums", "some"])).expect(3);
    assert!(some.value("without checksum").starts_with("2 URLs"), "{}", some.stdout);
    assert_eq!((some.count("downloaded"), some.count("failed")), (1, 2));
    assert_eq!(world.tree("out").len(), 1, "nothing is held that was compared with nothing");
    // With all checksums the file is complete, also when it writes the same address in another form.
    given("all", &[&sums.replace("https://", "HTTPS://")]);
    run(world.command("out").args(["--list", "urls", "--checksums", "all"])).expect(0);
    world.assert_whole("out");
    assert!(world.ledger("out").is_empty());
    let mut other: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    other["sha256"] = "ab".repeat(32).into();
    let other = other.to_string();
    given("twice", &[lines[0], &other]);
    let two = run(world.command("two").args(["--list", "urls", "--checksums", "twice"])).expect(2);
    assert!(two.stderr.contains("line 2"), "{}", two.stderr);
}
