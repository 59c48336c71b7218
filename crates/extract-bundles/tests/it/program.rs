//! The program with good bundles, and with obstacles.

use std::fs;
#[cfg(unix)]
use std::time::{Duration, Instant};

use mirror_bundle::BundleWriter;
use mirror_types::Layout;

use super::world::{World, new_member, run, sealed_at, small, tree};

#[test]
fn a_mirror_comes_out_as_a_loose_run_would_make_it() {
    for layout in [Layout::Shard, Layout::Cargo] {
        let world = World::new(600, 3_000);
        world.bundle_in(sealed_at(300_000), true, layout);
        let ended = world.run(&["-out", "out"]).expect(0);
        let count = world.registry.len() as u64;
        assert_eq!((ended.count("extracted"), ended.count("members")), (count, count));
        assert!(ended.count("bundles") > 3);
        assert_eq!(tree(&world.path("out")), world.expected(layout));
        let record = fs::read_to_string(world.path("out/.mirror/mirror.json")).unwrap();
        assert!(record.contains(layout.as_str()), "{record}");
        assert_eq!(fs::read_dir(world.path("out/.mirror/stage")).unwrap().count(), 0);
        // Again: everything is there.
        let again = world.run(&["--out", "out"]).expect(0);
        assert_eq!((again.count("extracted"), again.count("existing")), (0, count));
        let verified = world.run(&["--verify"]).expect(0);
        assert_eq!(verified.count("verified"), count);
    }
}

#[test]
fn a_partial_bundle_is_read_as_far_as_its_manifest_goes() {
    let world = World::new(100, 2_000);
    world.bundle(small(), false);
    let path = world.bundles().join("bundle-0000.tar.zst.partial");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"\x28\xb5\x2f\xfd what was being written");
    fs::write(&path, bytes).unwrap();
    world.run(&["--out", "out"]).expect(0);
    assert_eq!(tree(&world.path("out")), world.expected(Layout::Shard));
    assert_eq!(world.run(&["--verify"]).expect(0).count("verified"), world.registry.len() as u64);
    // Without its manifest, the bundle is used as far as it is whole.
    fs::remove_file(world.bundles().join("bundle-0000.manifest.jsonl.partial")).unwrap();
    let ended = world.run(&["--out", "out2"]);
    assert_eq!(tree(&world.path("out2")), world.expected(Layout::Shard), "{ended:?}");
}

#[test]
fn one_crate_and_one_release() {
    let world = World::new(300, 2_000);
    world.bundle(sealed_at(100_000), true);
    let ended = world.run(&["--out", "out", "--crate", "a-foo@0.1.0+build.1"]).expect(0);
    assert_eq!(ended.count("extracted"), 1);
    let found = tree(&world.path("out"));
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [("a-/fo/a-foo-0.1.0+build.1.crate".to_owned(), b"plus".to_vec())]
    );
    let name = world.registry.releases().next().unwrap().id.name.clone();
    let expected: Vec<_> = world.registry.releases().filter(|one| one.id.name == name).collect();
    let ended = world.run(&["--out", "out", "--crate", name.as_str()]).expect(0);
    assert_eq!(ended.count("extracted"), expected.len() as u64);
    let ended = world.run(&["--verify", "--crate", name.as_str()]).expect(0);
    assert_eq!(ended.count("verified"), expected.len() as u64);
    let missing = world.run(&["--out", "none", "--crate", "no-such-crate"]).expect(3);
    assert!(missing.stdout.contains("no-such-crate is in none"), "{}", missing.stdout);
    assert!(!world.path("none").exists());
}

#[test]
fn a_listing_is_for_pipes() {
    let world = World::new(50, 500);
    world.bundle(small(), true);
    let lines = world.run(&["--list"]).expect(0).stdout;
    assert_eq!(lines.lines().count(), world.registry.len());
    for release in world.registry.releases() {
        let (size, sum, path) = (release.body.len(), release.cksum, Layout::Shard.path(&release.id));
        assert!(lines.contains(&format!("bundle-0000.tar.zst\t{size}\t{sum}\t{path}\n")), "{path}");
    }
    for entry in fs::read_dir(world.bundles()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().ends_with(".manifest.jsonl") {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(world.run(&["--list"]).expect(0).stdout.lines().count(), world.registry.len());
    assert_eq!(world.run(&["--list", "--crate", "empty"]).expect(0).stdout.lines().count(), 1);
}

/// An incomplete listing is an error; a reader that stops early is not.
#[cfg(target_os = "linux")]
#[test]
fn a_listing_onto_a_full_disk_is_an_error() {
    use std::process::Stdio;

    let world = World::new(50, 500);
    world.bundle(small(), true);
    for args in [&["--list"][..], &["--list", "--crate", "empty"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = world.command(args);
        let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{args:?}: {said}");
        assert!(said.contains("listing"), "{args:?}: {said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = world.command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn existing_files_are_kept_and_reported_when_they_differ() {
    let world = World::new(60, 1_000);
    world.bundle(small(), true);
    world.run(&["--out", "out"]).expect(0);
    let path = world.path("out/a-/fo/a-foo-0.1.0+build.1.crate");
    fs::write(&path, "mine").unwrap();
    let ended = world.run(&["--out", "out"]).expect(4);
    assert_eq!(ended.count("failed"), 1);
    assert!(ended.stdout.contains("a-foo-0.1.0+build.1.crate: the file that is there"), "{}", ended.stdout);
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    world.run(&["--out", "out", "--crate", "a-foo"]).expect(4);
    // Also where its directory was the only one.
    let path = world.path("new/a-/fo/a-foo-0.1.0+build.1.crate");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "mine").unwrap();
    assert_eq!(world.run(&["--out", "new"]).expect(4).count("failed"), 1);
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    world.run(&["--out", "out", "-overwrite"]).expect(0);
    assert_eq!(tree(&world.path("out")), world.expected(Layout::Shard));
}

/// Upstream replaced a release: a later bundle has its new bytes.
#[test]
fn the_last_bundle_counts() {
    let mut world = World::new(40, 1_000);
    world.bundle(small(), true);
    world.registry.republish("a-foo", "0.1.0+build.1", b"other bytes");
    let (mut writer, _) = BundleWriter::open(&world.bundles(), small()).unwrap();
    let release = world.registry.releases().find(|one| one.id.name.as_str() == "a-foo").unwrap();
    writer.append(new_member(release, Layout::Shard)).unwrap();
    writer.seal().unwrap();
    for args in [&["--out", "out"][..], &["--out", "out"], &["--out", "out", "--overwrite"]] {
        world.run(args).expect(0);
        assert_eq!(tree(&world.path("out")), world.expected(Layout::Shard), "{args:?}");
    }
    // Into an existing output.
    fs::write(world.path("out/a-/fo/a-foo-0.1.0+build.1.crate"), b"plus").unwrap();
    world.run(&["--out", "out"]).expect(0);
    assert_eq!(tree(&world.path("out")), world.expected(Layout::Shard));
    world.run(&["--out", "one", "--crate", "a-foo"]).expect(0);
    assert_eq!(fs::read(world.path("one/a-/fo/a-foo-0.1.0+build.1.crate")).unwrap(), b"other bytes");
}

#[test]
fn what_a_manifest_says_is_held_against_the_bundle() {
    let world = World::new(60, 1_000);
    let placed = world.bundle(small(), true);
    let manifest = fs::read_dir(world.bundles())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().ends_with(".manifest.jsonl"))
        .unwrap();
    let good = fs::read_to_string(&manifest).unwrap();
    let line = |at: usize| good.lines().nth(at).unwrap().to_owned();
    let other = placed[7].sha256.to_string();
    let changed = [
        (good.replace(&placed[3].sha256.to_string(), &other), "checksum"),
        (good.replace(&line(5), &line(5).replace("\"size\":", "\"size\":1")), "says"),
        (good.replace(&format!("{}\n", line(9)), ""), "is not in the bundle's manifest"),
        (
            good.clone() + &line(2).replace(&placed[2].bundle_member, "n/ot/nothere-1.0.0.crate") + "\n",
            "does not have it",
        ),
        (good.clone() + &line(2) + "\n", "twice"),
        (good.replacen("{\"url\"", "{\"url", 1), "is no record"),
        (good.replace("\"frame_offset\":0,", "\"frame_offset\":1,"), "is not where"),
    ];
    for (text, words) in changed {
        fs::write(&manifest, &text).unwrap();
        let ended = world.run(&["--verify"]).expect(4);
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
}

#[test]
fn usage_locks_and_storage_have_their_codes() {
    let world = World::new(20, 500);
    world.bundle(small(), true);
    let ended = world.run(&["--out", "out", "--pattern", "nothing*"]).expect(2);
    assert!(ended.stderr.contains("\nhint: look at --bundles-dir and --pattern"), "{}", ended.stderr);
    let ended = world.run(&["--out", "out", "--pattern", "[x"]).expect(2);
    assert!(ended.stderr.contains("\nhint: --pattern takes a glob"), "{}", ended.stderr);
    run(world.command(&["--out", "out"]).args(["--crate", "../x"])).expect(2);
    world.run(&[]).expect(2);
    // Another run holds the output: a run of the same mirror has the lock.
    world.run(&["--out", "out"]).expect(0);
    let lock = fs::File::options().write(true).open(world.path("out/.mirror/lock")).unwrap();
    lock.lock().unwrap();
    let ended = world.run(&["--out", "out"]).expect(7);
    assert!(ended.stderr.contains("locked by another run"), "{}", ended.stderr);
    assert!(ended.stderr.contains("\nhint: --out names another directory"), "{}", ended.stderr);
    drop(lock);
    fs::write(world.path("file"), "").unwrap();
    world.run(&["--out", "file"]).expect(6);
    // A mirror with the other layout.
    let other = World::new(5, 100);
    other.bundle_in(small(), true, Layout::Cargo);
    let ended = run(other.command(&["--out"]).arg(world.path("out"))).expect(2);
    assert!(ended.stderr.contains("layouts cannot be mixed"), "{}", ended.stderr);
}

#[cfg(unix)]
#[test]
fn links_in_the_output_are_not_followed() {
    let world = World::new(20, 500);
    world.bundle(small(), true);
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(world.path("out")).unwrap();
    std::os::unix::fs::symlink(outside.path(), world.path("out/a-")).unwrap();
    world.run(&["--out", "out"]).expect(4);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

/// Stops runs with signals at random moments: every file is whole, and the next run continues.
#[cfg(unix)]
#[test]
fn signals_and_kills_leave_whole_files_only() {
    let world = World::new(4_000, 3_000);
    world.bundle(sealed_at(1 << 20), true);
    let expected = world.expected(Layout::Shard);
    let mut rng = fastrand::Rng::with_seed(8);
    let mut stopped = 0;
    for round in 0..24 {
        let out = format!("out-{}", round / 6);
        let signal = ["INT", "TERM", "KILL"][round % 3];
        let mut child = world.command(&["--out", &out]).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(rng.u64(1..400)));
        let killed = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        let begun = Instant::now();
        let status = child.wait().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10), "SIG{signal}");
        if killed.success() {
            use std::os::unix::process::ExitStatusExt as _;
            match (status.code(), status.signal()) {
                (Some(130), None) if signal == "INT" => stopped += 1,
                (Some(143), None) if signal == "TERM" => stopped += 1,
                (None, Some(_)) => stopped += 1,
                (code, by) => assert_eq!((code, by), (Some(0), None), "SIG{signal}"),
            }
        }
        for (path, data) in tree(&world.path(&out)) {
            assert!(expected.get(&path) == Some(&data), "{path} after SIG{signal}");
        }
    }
    assert!(stopped > 5, "only {stopped} runs were stopped");
    for round in 0..4 {
        let out = format!("out-{round}");
        world.run(&["--out", &out]).expect(0);
        assert!(tree(&world.path(&out)) == expected);
    }
}
