//! The findings and messages of `verify`.

use crate::world::World;

#[test]
fn everything_that_differs_is_listed() {
    let world = World::small();
    world.create(&[]).expect(0);
    world.write("a", b"First");
    world.write("d/b", b"longer than before");
    world.write("new\n", b"");
    std::fs::remove_file(world.path("t/d/e/c")).unwrap();
    std::fs::remove_dir(world.path("t/d/e")).unwrap();
    std::fs::remove_file(world.path("t/link")).unwrap();
    std::os::unix::fs::symlink("a", world.path("t/link")).unwrap();
    std::fs::remove_file(world.path("t/z")).unwrap();
    std::fs::create_dir(world.path("t/z")).unwrap();
    let ended = world.verify(&["--dir", "t"]).expect(4);
    let findings: Vec<&str> =
        ended.stdout.lines().take_while(|line| !line.starts_with("signature")).collect();
    assert_eq!(
        findings,
        [
            "changed    a (contents)",
            "changed    d/b (size)",
            "missing    d/e",
            "missing    d/e/c",
            "changed    link (target)",
            r"extra      new\n",
            "changed    z (kind)",
        ]
    );
    assert_eq!((ended.value("changed"), ended.value("missing"), ended.value("extra")), ("4", "2", "1"));
    assert!(ended.value("result").starts_with("DIFFERS"));
    // The packed files are unchanged.
    world.verify(&["--tar", "out/t.tar"]).expect(0);
}

#[test]
fn another_modification_time_is_no_change() {
    let world = World::small();
    world.create(&[]).expect(0);
    let file = std::fs::File::options().write(true).open(world.path("t/a")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    world.verify(&["--dir", "t", "--hashes", "all"]).expect(0);
}

#[test]
fn verify_writes_nothing() {
    let world = World::small();
    world.create(&[]).expect(0);
    let before = world.outputs();
    world.verify(&["--dir", "t"]).expect(0);
    world.verify(&["--tar", "out/t.tar"]).expect(0);
    assert_eq!(world.outputs(), before);
}

#[test]
fn a_changed_member_is_named() {
    let world = World::small();
    world.create(&[]).expect(0);
    let path = world.path("out/t.tar");
    let whole = std::fs::read(&path).unwrap();
    let flipped = |text: &[u8]| {
        let at = whole.windows(text.len()).position(|window| window == text).unwrap();
        let mut tar = whole.clone();
        tar[at] ^= 1;
        std::fs::write(&path, tar).unwrap();
        world.verify(&["--tar", "out/t.tar"]).expect(4).stdout
    };
    assert!(flipped(b"second").starts_with("changed    d/b (contents)\ntar        it is not the tar"));
    assert!(flipped(b"schemaVersion").starts_with("changed    t.toml (contents)\n"));
    assert!(flipped(b"d/e/c\0").starts_with("tar        a header with a wrong checksum, at byte "));
}

#[test]
fn extra_and_missing_members_are_listed() {
    let world = World::small();
    world.create(&["--out-prefix", "t"]).expect(0);
    let smaller = std::fs::read(world.path("out/t.tar")).unwrap();
    world.write("more", b"more");
    std::fs::remove_file(world.path("t/a")).unwrap();
    world.create(&[]).expect(0);
    std::fs::write(world.path("other.tar"), smaller).unwrap();
    let text = world.verify(&["--tar", "other.tar"]).expect(4).stdout;
    let (extra, missing) = (text.contains("extra      a\n"), text.contains("missing    more\n"));
    assert!(extra && missing && text.contains("changed    t.toml (contents)\n"), "{text}");
}

#[test]
fn a_tar_that_was_cut_or_extended_is_refused() {
    let world = World::small();
    world.create(&[]).expect(0);
    let path = world.path("out/t.tar");
    let whole = std::fs::read(&path).unwrap();
    let mut cuts: Vec<usize> = (0..whole.len()).step_by(512).collect();
    cuts.extend([1, 511, 513, whole.len() - 1]);
    for len in cuts {
        std::fs::write(&path, &whole[..len]).unwrap();
        world.verify(&["--tar", "out/t.tar"]).expect(4);
    }
    for more in [&b"\0"[..], &[0; 512], b"x"] {
        std::fs::write(&path, [&*whole, more].concat()).unwrap();
        world.verify(&["--tar", "out/t.tar"]).expect(4);
    }
}

#[test]
fn impossible_checks_are_usage_errors() {
    let world = World::small();
    world.create(&["--no-tar"]).expect(0);
    std::fs::write(world.path("some.tar"), b"").unwrap();
    let ended = world.verify(&["--tar", "some.tar"]).expect(2);
    assert!(ended.stderr.contains("without a tar"), "{}", ended.stderr);
    world.verify(&["--dir", "nowhere"]).expect(2);
    world.verify(&["--dir", "out/t.yaml"]).expect(2);
    world.verify(&["--public-key", "out/t.yaml"]).expect(2);
    std::fs::remove_file(world.path("out/t.yaml")).unwrap();
    world.verify(&[]).expect(2);
    std::fs::write(world.path("out/t.yaml"), "files: {}\n").unwrap();
    let ended = world.verify(&[]).expect(4);
    assert!(ended.stderr.contains("line 1: expected \"# Generated on:\""), "{}", ended.stderr);
}

/// Covers archives that try to write outside the directory, or to fill memory.
#[test]
fn hostile_tars_are_refused() {
    let world = World::small();
    world.create(&[]).expect(0);
    let whole = std::fs::read(world.path("out/t.tar")).unwrap();
    let header = |change: &dyn Fn(&mut [u8])| {
        let mut tar = whole.clone();
        change(&mut tar[..512]);
        let sum: u32 =
            tar[..148].iter().chain(&tar[156..512]).map(|byte| u32::from(*byte)).sum::<u32>() + 256;
        tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        std::fs::write(world.path("hostile.tar"), tar).unwrap();
        world.verify(&["--tar", "hostile.tar"]).expect(4).stdout
    };
    assert!(header(&|header| header[..5].copy_from_slice(b"../ax")).contains("of an unsupported form"));
    assert!(header(&|header| header[..2].copy_from_slice(b"/a")).contains("of an unsupported form"));
    assert!(header(&|header| header[156] = b'1').contains("of an unsupported kind"));
    assert!(header(&|header| header[156] = b'S').contains("of an unsupported kind"));
    let huge = header(&|header| {
        header[156] = b'x';
        header[124..135].copy_from_slice(b"77777777777");
    });
    assert!(huge.contains("PAX records of an unsupported size"), "{huge}");
}

#[test]
fn an_unpacked_tar_verifies_with_all_digests() {
    let world = World::small();
    world.create(&[]).expect(0);
    std::fs::create_dir(world.path("got")).unwrap();
    mirror_testkit::run(
        std::process::Command::new("tar").args(["-xf", "out/t.tar", "-C", "got"]).current_dir(world.0.path()),
    )
    .expect(0);
    let ended = world.verify(&["--dir", "got", "--hashes", "all"]).expect(0);
    assert_eq!(ended.value("changed"), "0");
    // Modes and times depend on the person who unpacks.
    #[cfg(unix)]
    std::fs::set_permissions(world.path("got/a"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    world.verify(&["--dir", "got"]).expect(0);
    // The metadata is compared as well; only its name marks it as metadata.
    std::fs::write(world.path("got/t.toml"), "other").unwrap();
    let ended = world.verify(&["--dir", "got"]).expect(4);
    assert!(ended.stdout.contains("changed    t.toml (contents)"), "{}", ended.stdout);
    std::fs::remove_file(world.path("got/t.toml")).unwrap();
    std::fs::create_dir(world.path("got/t.toml")).unwrap();
    let ended = world.verify(&["--dir", "got"]).expect(4);
    assert!(ended.stdout.contains("extra      t.toml"), "{}", ended.stdout);
    std::fs::remove_dir(world.path("got/t.toml")).unwrap();
    std::fs::copy(world.path("t/a"), world.path("got/d/t.toml")).unwrap();
    let ended = world.verify(&["--dir", "got"]).expect(4);
    assert!(ended.stdout.contains("extra      d/t.toml"), "{}", ended.stdout);
}

/// Covers a copy of a mirror by the documented `rsync`, which leaves transient files out.
#[test]
fn a_copy_without_transient_files_verifies() {
    let world = World::small();
    std::fs::create_dir_all(world.path("t/.mirror/stage")).unwrap();
    world.write(".mirror/lock", b"17");
    world.write(".mirror/mirror.json", b"{}");
    world.create(&["--no-tar"]).expect(0);
    std::fs::remove_dir(world.path("t/.mirror/stage")).unwrap();
    std::fs::remove_file(world.path("t/.mirror/lock")).unwrap();
    world.verify(&["--dir", "t", "--hashes", "all"]).expect(0);
    std::fs::remove_file(world.path("t/.mirror/mirror.json")).unwrap();
    let ended = world.verify(&["--dir", "t"]).expect(4);
    assert!(ended.stdout.contains("missing    .mirror/mirror.json"), "{}", ended.stdout);
}

/// Covers inventories of the previous version, which listed transient files.
#[test]
fn an_inventory_that_lists_transient_files_is_still_good() {
    let world = World::small();
    std::fs::create_dir(world.path("t/!mirror")).unwrap();
    world.write("!mirror/lock", b"17");
    world.create(&["--no-sign", "--no-tar"]).expect(0);
    let inventory = world.path("out/t.yaml");
    let text = std::fs::read_to_string(&inventory).unwrap().replace("!mirror/lock", ".mirror/lock");
    let text = text.replace("\"!mirror\"", "\".mirror\"");
    let (covered, _) = text.split_once("checksum:").unwrap();
    let sum = mirror_testkit::run(std::process::Command::new("python3").args([
        "-c",
        "import hashlib,sys; print(hashlib.sha256(sys.argv[1].encode()).hexdigest())",
        covered,
    ]))
    .expect(0);
    let sum = sum.stdout.trim().to_owned();
    std::fs::write(&inventory, format!("{covered}checksum:\n  sha256: \"{sum}\"\n")).unwrap();
    std::fs::rename(world.path("t/!mirror"), world.path("t/.mirror")).unwrap();
    for lock in [true, false] {
        if !lock {
            std::fs::remove_file(world.path("t/.mirror/lock")).unwrap();
        }
        let ended = world.verify(&["--dir", "t", "--hashes", "all"]);
        println!("{}{}", ended.stdout, ended.stderr);
        ended.expect(0);
    }
}
