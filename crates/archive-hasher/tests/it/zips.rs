//! The ZIP, as programs that read ZIPs see it.

use std::process::Command;

use crate::world::{World, first_word, has, python, run, script};

const ZIP: [&str; 3] = ["--zip", "--no-tar", "--no-sign"];

/// Makes a directory with files of sizes at which the form of a member changes, links, and a name that is not ASCII.
fn tree() -> World {
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::small();
    let noise: Vec<u8> =
        std::iter::successors(Some(7_u32), |n| Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)))
            .map(|n| n.to_be_bytes()[0])
            .take(3 << 20)
            .collect();
    for (name, size) in
        [("one", 1), ("raw", 65_535), ("more", 65_536), ("block", 512 << 10), ("large", 3 << 20)]
    {
        world.write(name, &noise[..size]);
    }
    world.write("Größe", b"a name in UTF-8");
    std::fs::set_permissions(world.path("t/a"), std::fs::Permissions::from_mode(0o755)).unwrap();
    world
}

#[test]
fn zip_programs_restore_the_tree() {
    let world = tree();
    let created = world.create(&ZIP).expect(0);
    assert!(created.stdout.contains("zip            out/t.zip"), "{}", created.stdout);
    assert_eq!(world.outputs(), ["t.yaml", "t.zip"]);
    for (program, arguments) in [
        ("unzip", "unzip -q ../out/t.zip"),
        ("bsdtar", "bsdtar -xf ../out/t.zip"),
        // From a pipe it reads the members one after another, without the directory at the end.
        ("bsdtar", "cat ../out/t.zip | bsdtar -xf -"),
    ] {
        if !has(program, &[if program == "unzip" { "-v" } else { "--version" }]) {
            continue;
        }
        let into = world.path("into");
        std::fs::create_dir(&into).unwrap();
        let mut shell = Command::new("sh");
        shell.env("LC_ALL", "C.UTF-8").current_dir(&into).args(["-ec", arguments]);
        let ended = run(&mut shell).expect(0);
        assert_eq!(ended.stderr, "", "{arguments}");
        if arguments.starts_with("cat") {
            // Only the directory at the end says what is a link, and what may be executed.
            for name in ["a", "z", "raw", "more", "block", "large", "d/e/c"] {
                let [there, here] =
                    ["t", "into"].map(|dir| std::fs::read(world.path(dir).join(name)).unwrap());
                assert!(there == here, "{name}");
            }
        } else {
            use std::os::unix::fs::PermissionsExt as _;
            world.verify(&["--dir", "into"]).expect(0);
            assert_eq!(into.join("a").metadata().unwrap().permissions().mode() & 0o111, 0o111, "{arguments}");
        }
        let modified = |path: &str| world.path(path).metadata().unwrap().modified().unwrap();
        let seconds =
            |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(seconds(modified("into/large")), seconds(modified("t/large")), "{arguments}");
        std::fs::remove_dir_all(&into).unwrap();
    }
    if let Some(python) = python() {
        let count =
            "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nprint(z.testzip(), len(z.namelist()))";
        assert_eq!(script(python, count, &[&world.path("out/t.zip")]), "None 16\n");
    }
}

#[test]
fn the_inventory_names_the_zip_and_its_checksum() {
    let world = tree();
    world.create(&["--zip", "--no-sign"]).expect(0);
    let yaml = std::fs::read_to_string(world.path("out/t.yaml")).unwrap();
    let size = std::fs::metadata(world.path("out/t.zip")).unwrap().len();
    let sum = first_word("sha256sum", &[], &world.path("out/t.zip"));
    assert!(
        yaml.contains(&format!("\nzip:\n  name: \"t.zip\"\n  size: {size}\n  sha256: \"{sum}\"\n\n")),
        "{yaml}"
    );
    world.verify(&["--dir", "t"]).expect(0);
    world.verify(&["--tar", "out/t.tar"]).expect(0);
    // The same tree gives the same bytes, with any number of threads; a later run without a ZIP says that it is old.
    let first = std::fs::read(world.path("out/t.zip")).unwrap();
    world.create(&[&ZIP[..], &["--hash-workers", "7", "--hashes", "none"]].concat()).expect(0);
    assert!(std::fs::read(world.path("out/t.zip")).unwrap() == first);
    let later = world.create(&["--no-sign"]).expect(0);
    assert!(later.stdout.contains("out/t.zip is older than this inventory"), "{}", later.stdout);
}
