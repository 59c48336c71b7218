//! All sidecars in one `.tar.zst`.

use mirror_testkit::{git, has, run};

use crate::world::{World, tree};

const TAR: [&str; 5] = ["--output-mode", "tar.zst", "--tar-out", "s.tar.zst", "--include-yanked"];

#[test]
fn stock_programs_unpack_what_files_mode_writes() {
    let world = World::new(41, 700);
    world.commit();
    let expected = world.run(&["--index-dir", "index", "--include-yanked"]).expect(0);
    let made = world.run(&[&["--index-dir", "index"][..], &TAR].concat()).expect(0);
    assert_eq!(made.count("written"), expected.count("written"));
    let length = std::fs::metadata(world.path("s.tar.zst")).unwrap().len();
    assert!(length > 10_000 && length < 300_000, "{length}");
    let files = tree(&world.path("out"));
    assert!(files.keys().all(|path| path.ends_with(".crate.json")) && files.len() == 700);
    for (program, unpack) in [
        ("tar", "mkdir gnu && tar --zstd -xf s.tar.zst -C gnu"),
        ("bsdtar", "mkdir bsd && bsdtar -xf s.tar.zst -C bsd"),
        ("zstd", "zstd -q -t s.tar.zst && mkdir plain && zstd -dc s.tar.zst | tar -xf - -C plain"),
    ] {
        if !has(program, &["--version"]) {
            continue;
        }
        let mut shell = std::process::Command::new("sh");
        run(shell.args(["-ec", unpack]).current_dir(world.dir.path())).expect(0);
        let dir = unpack.split(' ').skip_while(|word| *word != "mkdir").nth(1).unwrap();
        assert!(tree(&world.path(dir)) == files, "{program}");
    }
}

#[test]
fn the_same_index_gives_the_same_bytes() {
    let world = World::new(42, 500);
    world.commit();
    git(world.dir.path(), &["clone", "--quiet", "--bare", "index", "bare.git"]);
    git(&world.path("bare.git"), &["repack", "-a", "-d", "-f", "--quiet", "--depth=50"]);
    world.registry.write_index(&world.path("plain"));
    let pack = |index: &str, more: &[&str]| {
        world.run(&[&["--index-dir", index][..], &TAR, more].concat()).expect(0);
        std::fs::read(world.path("s.tar.zst")).unwrap()
    };
    let first = pack("index", &[]);
    for (index, threads) in [("index", "1"), ("bare.git", "7"), ("plain", "2")] {
        assert!(pack(index, &["--concurrency", threads]) == first, "{index}");
    }
    // A run over the whole index and one that takes its first records agree on what both have.
    let all = world.in_order(true).len().to_string();
    assert!(pack("index", &["--limit", &all]) == first);
    assert!(pack("index", &["--limit", "7"]).len() < first.len() / 10);
    // Nothing else is left beside the archive.
    let mut names: Vec<_> =
        std::fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bare.git", "index", "plain", "s.tar.zst"]);
}

#[test]
fn bad_lines_are_reported_and_the_others_packed() {
    let world = World::new(43, 20);
    world.registry.write_index(&world.path("plain"));
    std::fs::create_dir_all(world.path("plain/no/ns")).unwrap();
    std::fs::write(world.path("plain/no/ns/nonsense"), "nonsense\n").unwrap();
    let made = world.run(&[&["--index-dir", "plain"][..], &TAR].concat()).expect(3);
    assert_eq!((made.count("written"), made.count("bad index lines")), (20, 1));
}
