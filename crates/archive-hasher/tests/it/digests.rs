//! Checks that digests equal those of independent tools over the same bytes.

use std::io::Write as _;
use std::path::Path;

use crate::world::{World, first_word, has, last_word, python, script};

/// Concatenates the contents in the documented order without the program: the names of each directory sorted by bytes,
/// a directory walked at its place.
fn concatenate(directory: &Path, out: &mut impl std::io::Write) {
    let mut entries: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            concatenate(&entry.path(), out);
        } else if kind.is_file() {
            out.write_all(&std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

#[track_caller]
fn compare_with_stock_tools(world: &World) {
    let all = world.path("all");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&all).unwrap());
    concatenate(&world.path("t"), &mut out);
    out.flush().unwrap();
    drop(out);
    let ours = world.digests();
    assert_eq!(ours.len(), 11);
    let check = |key: &str, theirs: &str| assert_eq!(ours[key], theirs, "{key}");
    check("sha256", &first_word("sha256sum", &[], &all));
    check("sha512", &first_word("sha512sum", &[], &all));
    if has("b3sum", &["--version"]) {
        check("blake3", &first_word("b3sum", &[], &all));
    }
    if has("xxhsum", &["--version"]) {
        check("xxhash64", &first_word("xxhsum", &["-H1"], &all));
        check("xxh3", last_word("xxhsum", &["-H3"], &all).trim_start_matches("XXH3_"));
    }
    if has("openssl", &["version"]) {
        let openssl = |name: &str| {
            first_word("openssl", &["dgst", "-r", "-provider", "legacy", "-provider", "default", name], &all)
        };
        check("whirlpool", &openssl("-whirlpool"));
        check("ripemd160", &openssl("-ripemd160"));
        check("sha3_256", &openssl("-sha3-256"));
    }
    if let Some(python) = python() {
        let digests = script(
            python,
            "import hashlib, sys\n\
             data = open(sys.argv[1], 'rb').read()\n\
             print(hashlib.sha3_256(data).hexdigest(), hashlib.blake2b(data, digest_size=32).hexdigest())",
            &[&all],
        );
        let (sha3, blake2b) = digests.trim().split_once(' ').unwrap();
        check("sha3_256", sha3);
        check("blake2b", blake2b);
    }
}

/// Checks the sums per file with `sha256sum --check` or `b3sum --check`.
#[track_caller]
fn check_files(world: &World, key: &str, program: &str) {
    let text = std::fs::read_to_string(world.path("out/t.yaml")).unwrap();
    let files = text.lines().skip_while(|line| *line != "files:").skip(1).take_while(|line| !line.is_empty());
    let (mut name, mut sums) = (String::new(), String::new());
    for line in files {
        if let Some(value) = line.strip_prefix(&format!("    {key}: ")) {
            sums.push_str(&format!("{}  {name}\n", value.trim_matches('"')));
        } else if !line.starts_with("    ") {
            line.trim_start_matches(" \"").trim_end_matches("\":").clone_into(&mut name);
            name = name.trim_start_matches([' ', '"']).to_owned();
        }
    }
    assert!(!sums.is_empty());
    std::fs::write(world.path("sums"), sums).unwrap();
    let mut command = std::process::Command::new(program);
    command.current_dir(world.path("t")).arg("--check").arg(world.path("sums"));
    crate::world::run(&mut command).expect(0);
}

#[test]
fn digests_of_a_small_tree_match_stock_tools() {
    let world = World::small();
    let ended = world.create(&[]).expect(0);
    compare_with_stock_tools(&world);
    check_files(&world, "sha256", "sha256sum");
    if has("b3sum", &["--version"]) {
        check_files(&world, "blake3", "b3sum");
    }
    assert_eq!((ended.value("files"), ended.value("directories"), ended.value("symlinks")), ("5", "3", "2"));
    assert_eq!(ended.value("sha256"), world.digests()["sha256"]);
}

#[test]
fn digests_of_an_empty_directory_match_stock_tools() {
    let world = World::empty();
    world.create(&[]).expect(0);
    compare_with_stock_tools(&world);
    world.verify(&["--dir", "t", "--hashes", "all"]).expect(0);
    world.verify(&["--tar", "out/t.tar"]).expect(0);
}

#[test]
fn digests_of_ten_thousand_small_files_match_stock_tools() {
    let world = World::empty();
    let mut random = fastrand::Rng::with_seed(10_000);
    for number in 0..10_000 {
        if number % 100 == 0 {
            std::fs::create_dir(world.path(&format!("t/{}", number / 100))).unwrap();
        }
        let len = random.usize(..3000);
        let data: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
        world.write(&format!("{}/{number}", number / 100), &data);
    }
    let ended = world.create(&[]).expect(0);
    assert_eq!(ended.value("files"), "10000");
    compare_with_stock_tools(&world);
    check_files(&world, "sha256", "sha256sum");
    let ended = world.verify(&["--dir", "t", "--hashes", "all"]).expect(0);
    assert_eq!(ended.value("files"), "10000");
    world.verify(&["--tar", "out/t.tar", "--hashes", "all"]).expect(0);
}

/// Covers files around the size of a block, and one of many blocks.
#[test]
fn digests_of_files_that_span_blocks_match_stock_tools() {
    let world = World::empty();
    let mut random = fastrand::Rng::with_seed(5);
    for size in [524_287, 524_288, 524_289, 1_048_576, 5_000_011, 1] {
        let data: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(size).collect();
        world.write(&format!("{size}"), &data);
    }
    world.create(&[]).expect(0);
    compare_with_stock_tools(&world);
    check_files(&world, "sha256", "sha256sum");
    world.verify(&["--tar", "out/t.tar", "--hashes", "all"]).expect(0);
}

#[test]
fn digests_do_not_depend_on_the_number_of_threads() {
    let world = World::small();
    world.write("large", &vec![7; 3_000_000]);
    let mut seen = Vec::new();
    for workers in ["1", "2", "3", "40"] {
        world.create(&["--hash-workers", workers, "--no-sign", "--no-tar"]).expect(0);
        seen.push(world.digests());
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn only_the_requested_digests_are_computed() {
    let world = World::small();
    world.create(&["--hashes", "xxh3,sha256", "--no-sign"]).expect(0);
    assert_eq!(world.digests().keys().collect::<Vec<_>>(), ["sha256", "xxh3"]);
    world.create(&["--hashes=none", "--no-sign"]).expect(0);
    assert!(world.digests().is_empty());
    world.verify(&["--dir", "t", "--hashes", "all"]).expect(0);
    let ended = world.create(&["--hashes", "md5"]).expect(2);
    assert!(ended.stderr.contains("choose from kangaroo12, blake3"), "{}", ended.stderr);
}
