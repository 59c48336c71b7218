//! Faults and obstacles.
#![cfg(unix)]

use std::process::Command;

use crate::world::{World, ended};

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_touched() {
    let world = World::new(11, 5);
    world.commit();
    for (arguments, hint) in [
        (&["--index-dir", "nowhere"][..], "nowhere"),
        (&["--index-dir", "index", "--output-mode", "jsonl"], "--jsonl-out"),
        (&["--index-dir", "index", "--jsonl-out", "s"], "--output-mode jsonl"),
        (&["--index-dir", "index", "--output-mode", "tar.zst"], "--tar-out FILE"),
        (&["--index-dir", "index", "--tar-out", "s"], "--output-mode tar.zst"),
        (
            &["--index-dir", "index", "--output-mode", "tar.zst", "--tar-out", "s", "--jsonl-out", "t"],
            "--output-mode jsonl",
        ),
        (&["--index-dir", "index", "--concurrency", "0"], "--concurrency"),
        (&[], "\nhint: --index-dir"),
        (&["--index-url", "http://h/"], "sparse+URL"),
        (&["--nonsense"], "--nonsense"),
    ] {
        let run = world.run(arguments).expect(2);
        assert!(run.stderr.contains(hint), "{arguments:?}: {}", run.stderr);
        assert!(!world.path("out").exists(), "{arguments:?}");
    }
    ended(&mut world.with_base(&["--index-dir", "index"], "not a url")).expect(2);
    assert!(!world.path("out").exists());
}

#[test]
fn links_and_directories_in_the_way_end_the_run() {
    let world = World::new(12, 30);
    world.commit();
    let elsewhere = world.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let (path, _) = world.expected(false).into_iter().next().unwrap();
    std::fs::create_dir(world.path("out")).unwrap();
    let top = path.split('/').next().unwrap();
    std::os::unix::fs::symlink(&elsewhere, world.path("out").join(top)).unwrap();
    let run = world.run(&["--index-dir", "index"]).expect(4);
    assert!(run.stderr.contains(top), "{}", run.stderr);
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);

    std::fs::remove_dir_all(world.path("out")).unwrap();
    std::fs::create_dir_all(world.path("out").join(&path)).unwrap();
    world.run(&["--index-dir", "index"]).expect(4);
    let jsonl = ["--index-dir", "index", "--output-mode", "jsonl", "--jsonl-out", "elsewhere"];
    world.run(&jsonl).expect(4);
    world.run(&["--index-dir", "index", "--output-mode", "tar.zst", "--tar-out", "elsewhere"]).expect(4);
}

#[test]
fn links_in_the_place_of_the_state_and_of_what_grows_are_not_followed() {
    let world = World::new(16, 30);
    world.commit();
    for (rel, jsonl) in [
        ("out/.mirror", false),
        ("out/.mirror/lock", false),
        ("out/.mirror/sidecars.json", false),
        ("s.jsonl.partial", true),
        ("s.jsonl", true),
    ] {
        for there in [true, false] {
            let _ = std::fs::remove_dir_all(world.path("out"));
            let _ = std::fs::remove_file(world.path("victim"));
            if there {
                std::fs::write(world.path("victim"), "precious").unwrap();
            }
            let link = world.path(rel);
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(world.path("victim"), &link).unwrap();
            let more: &[&str] =
                if jsonl { &["--output-mode", "jsonl", "--jsonl-out", "s.jsonl"] } else { &[] };
            let run = world.run(&[&["--index-dir", "index"], more].concat()).expect(4);
            assert!(run.stderr.contains(rel), "{rel}: {}", run.stderr);
            let victim = std::fs::read(world.path("victim")).ok();
            assert_eq!(victim, there.then(|| b"precious".to_vec()), "{rel}");
            let _ = std::fs::remove_file(link);
        }
    }
}

#[test]
fn a_refusal_of_the_disk_is_reported() {
    let world = World::new(13, 300);
    world.commit();
    let refused = |arguments: &str| {
        // Files may not grow beyond 8 KiB.
        let script = format!(
            "trap '' XFSZ; ulimit -f 16; exec {} {arguments}",
            env!("CARGO_BIN_EXE_generate-sidecars")
        );
        ended(Command::new("bash").current_dir(world.dir.path()).args(["-c", &script]))
    };
    std::fs::write(world.path("s.jsonl"), "as it was\n").unwrap();
    let run = refused("--index-dir index --output-mode jsonl --jsonl-out s.jsonl").expect(6);
    assert!(run.stderr.contains("s.jsonl.partial"), "{}", run.stderr);
    assert_eq!(std::fs::read_to_string(world.path("s.jsonl")).unwrap(), "as it was\n");
    assert!(!world.path("s.jsonl.partial").exists());
    world.run(&["--index-dir", "index", "--out", "/proc/nowhere"]).expect(6);
}

#[test]
fn one_writer_at_a_time() {
    let world = World::new(14, 5);
    world.commit();
    world.run(&["--index-dir", "index"]).expect(0);
    let lock = std::fs::File::open(world.path("out/.mirror/lock")).unwrap();
    lock.lock().unwrap();
    world.run(&["--index-dir", "index"]).expect(7);
    let partial = std::fs::File::create(world.path("s.jsonl.partial")).unwrap();
    partial.lock().unwrap();
    world.run(&["--index-dir", "index", "--output-mode", "jsonl", "--jsonl-out", "s.jsonl"]).expect(7);
    drop((lock, partial));
    world.run(&["--index-dir", "index", "--output-mode", "jsonl", "--jsonl-out", "s.jsonl"]).expect(0);
}

#[test]
fn a_mirror_keeps_its_layout() {
    let mut world = World::new(15, 0);
    world.registry.add("serde", "1.0.0", b"x");
    world.commit();
    std::fs::create_dir_all(world.path("out/.mirror")).unwrap();
    std::fs::write(world.path("out/.mirror/mirror.json"), r#"{"format_version":1,"layout":"cargo"}"#)
        .unwrap();
    world.run(&["--index-dir", "index"]).expect(0);
    let file = "se/rd/serde/serde-1.0.0.crate";
    assert_eq!(world.files("out")[&format!("{file}.json")]["crate_path"], file);
    world.run(&["--index-dir", "index", "--output-mode", "jsonl", "--jsonl-out", "s.jsonl"]).expect(0);
    assert_eq!(world.lines("s.jsonl")[0]["crate_path"], file);
}

#[test]
fn web_pages_at_the_paths_of_an_index_are_no_index() {
    let world = World::new(16, 40);
    for path in world.registry.index_files().into_keys() {
        let path = world.path("pages").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "<html>\n<body>\nSign in\n</body>\n</html>\n").unwrap();
    }
    for more in [&[][..], &["--output-mode", "jsonl", "--jsonl-out", "s.jsonl"]] {
        let run = world.run(&[&["--index-dir", "pages"], more].concat()).expect(2);
        assert!(run.stderr.contains("is a web page"), "{}", run.stderr);
        assert!(!world.path("out").exists() && !world.path("s.jsonl").exists());
    }
}
