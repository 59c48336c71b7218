//! Checks that other programs read hostile names as they are.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use crate::world::{World, has, python, run, script};

/// Returns names that some reader will misread.
fn hostile() -> Vec<Vec<u8>> {
    let texts = [
        "yes",
        "No",
        "null",
        "~",
        "1e3",
        "0o17",
        "2026-11-21",
        "- x",
        "-rf",
        "--",
        "key: value",
        "a #b",
        "# a",
        "[a]",
        "{a: b}",
        "&a",
        "*a",
        "!!python",
        "? a",
        "| ",
        ">",
        "%41",
        "%FF",
        "@a",
        "`a`",
        "'a'",
        "\"a\"",
        "a\\nb",
        "b\\c\\",
        "a\nb",
        "a\tb",
        "a\rb",
        " a",
        "a ",
        "\u{1}",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{202e}txt",
        "\u{feff}",
        "\u{1f600}",
        "e\u{301}",
        "\u{e9}",
        "files:",
        ".hidden",
        "...",
        "=",
        "<<",
        "a$(b)",
        "\u{ffff}",
    ];
    let mut names: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).to_vec();
    names.push(vec![b'n'; 250]);
    names.push("\u{1f600}".repeat(62).into_bytes());
    names.push(b"\xff\xfe".to_vec());
    names.push(b"caf\xe9 %25".to_vec());
    names
}

/// Makes a tree of these names: as files, in directories of such names, as links and their targets, and one path that
/// is too long for a simple key of YAML.
fn tree() -> World {
    let world = World::empty();
    let root = world.path("t");
    let at = |name: &[u8]| root.join(OsStr::from_bytes(name));
    for name in hostile() {
        std::fs::write(at(&name), &name).unwrap();
    }
    for name in hostile() {
        let directory = at(&[b"dir ", &*name].concat()[..(4 + name.len()).min(255)]);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join(OsStr::from_bytes(&name)), b"").unwrap();
        let link = at(&[b"lnk ", &*name].concat()[..(4 + name.len()).min(255)]);
        std::os::unix::fs::symlink(OsStr::from_bytes(&name), link).unwrap();
    }
    let mut deep = root.clone();
    for _ in 0..8 {
        deep.push("\u{e9}\n".repeat(80));
        std::fs::create_dir(&deep).unwrap();
    }
    std::fs::write(deep.join("bottom"), b"deep").unwrap();
    world
}

/// Returns every path, as hexadecimal digits of its bytes, with a mark for its kind.
fn paths(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
            let bytes = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            if kind.is_dir() {
                directories.push(path);
                found.insert(format!("d {hex}"));
            } else if kind.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                let target: String =
                    target.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                found.insert(format!("l {hex} {target}"));
            } else {
                found.insert(format!("f {hex}"));
            }
        }
    }
    found
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

/// A script that reads paths back as the documentation describes.
const PRINT_DOCUMENT: &str = "
from urllib.parse import unquote_to_bytes
def path(key):
    return unquote_to_bytes(key[2:]) if key.startswith('./') else key.encode()
def show(document):
    for key, entry in document['files'].items():
        assert entry.get('escaped', False) == key.startswith('./'), key
        assert isinstance(entry['size'], int) and len(entry['sha256']) == len(entry['blake3']) == 64
        print('f', path(key).hex())
    for key in document['directories']:
        print('d', path(key).hex())
    for key, entry in document['symlinks'].items():
        target = entry['target']
        target = unquote_to_bytes(target) if entry.get('target_escaped', False) else target.encode()
        print('l', path(key).hex(), target.hex())
";

#[test]
fn python_reads_exactly_the_names() {
    let Some(python) = python() else { return };
    let world = tree();
    world.create(&[]).expect(0);
    let wanted = paths(&world.path("t"));
    assert!(wanted.len() > 150);

    let yaml = format!("import sys, yaml\n{PRINT_DOCUMENT}\nshow(yaml.safe_load(open(sys.argv[1], 'rb')))");
    assert_eq!(lines(&script(python, &yaml, &[&world.path("out/t.yaml")])), wanted, "PyYAML");

    let toml = format!(
        "import sys, tarfile, tomllib\n{PRINT_DOCUMENT}\n\
         show(tomllib.load(tarfile.open(sys.argv[1]).extractfile('t.toml')))"
    );
    assert_eq!(lines(&script(python, &toml, &[&world.path("out/t.tar")])), wanted, "tomllib");

    let tar = "
import os, sys, tarfile
for member in tarfile.open(sys.argv[1]):
    kind = 'd' if member.isdir() else 'l' if member.issym() else 'f'
    words = [kind, os.fsencode(member.name).hex()]
    if kind == 'l':
        words.append(os.fsencode(member.linkname).hex())
    if member.name != 't.toml':
        print(*words)
";
    assert_eq!(lines(&script(python, tar, &[&world.path("out/t.tar")])), wanted, "tarfile");
    world.verify(&["--dir", "t"]).expect(0);
    world.verify(&["--tar", "out/t.tar"]).expect(0);
}

#[test]
fn tar_programs_restore_the_tree() {
    let world = tree();
    world.create(&[]).expect(0);
    let wanted = paths(&world.path("t"));
    for (program, arguments) in [("tar", ["--extract", "--file"]), ("bsdtar", ["-x", "-f"])] {
        if !has(program, &["--version"]) {
            continue;
        }
        let into = world.path(program);
        std::fs::create_dir(&into).unwrap();
        let mut command = Command::new(program);
        // Without a UTF-8 locale, bsdtar cannot write names that the tar declares to be UTF-8.
        command.env("LC_ALL", "C.UTF-8").current_dir(&into).args(arguments).arg(world.path("out/t.tar"));
        let ended = run(&mut command).expect(0);
        assert_eq!(ended.stderr, "", "{program} has nothing to complain about");
        std::fs::remove_file(into.join("t.toml")).unwrap();
        let mut found = paths(&into);
        if program == "bsdtar" {
            // It composes decomposed names (e and an accent), as it does with tars that it wrote.
            found.extend(wanted.iter().filter(|path| path.contains("65cc81")).cloned());
        }
        let missing: Vec<_> = wanted.difference(&found).collect();
        let extra: Vec<_> = found.difference(&wanted).collect();
        assert!(missing.is_empty() && extra.is_empty(), "{program}: missing {missing:?}, extra {extra:?}");
        if program == "tar" {
            world.verify(&["--dir", program]).expect(0);
        }
    }
}

#[test]
fn executable_files_stay_executable_and_times_are_kept() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    if !has("tar", &["--version"]) {
        return;
    }
    let world = World::small();
    let file = world.path("t/a");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o4751)).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(86_400);
    for (path, time) in [("t/a", old), ("t/d/b", old + std::time::Duration::from_secs(40_000_000_000))] {
        std::fs::File::options().write(true).open(world.path(path)).unwrap().set_modified(time).unwrap();
    }
    world.create(&[]).expect(0);
    let into = world.path("into");
    std::fs::create_dir(&into).unwrap();
    run(Command::new("tar").arg("--extract").arg("--file").arg(world.path("out/t.tar")).current_dir(&into))
        .expect(0);
    let metadata = std::fs::metadata(into.join("a")).unwrap();
    // The umask of the extracting process may take bits away; the set-user-id bit is not archived.
    assert_eq!(metadata.mode() & 0o7700, 0o700);
    assert_eq!(metadata.mtime(), -86_400);
    let later = std::fs::metadata(world.path("t/d/b")).unwrap().mtime();
    assert_eq!(std::fs::metadata(into.join("d/b")).unwrap().mtime(), later);
    let yaml = std::fs::read_to_string(world.path("out/t.yaml")).unwrap();
    assert!(yaml.contains("modified: \"1969-12-31 00:00:00\""), "{yaml}");
}

#[test]
fn a_directory_with_a_hostile_name_needs_a_prefix() {
    let world = World::empty();
    let name = OsStr::from_bytes(b"caf\xe9");
    std::fs::rename(world.path("t"), world.0.path().join(name)).unwrap();
    let mut command = world.command(&["--out-dir", "out", "--dir"]);
    let ended = run(command.arg(name)).expect(2);
    assert!(ended.stderr.contains("give --out-prefix"), "{}", ended.stderr);
    run(command.args(["--out-prefix", "t"])).expect(0);
    let yaml = std::fs::read_to_string(world.path("out/t.yaml")).unwrap();
    assert!(yaml.contains("  name: \"caf%E9\"\n  name_escaped: true\n"), "{yaml}");
    world.verify(&[]).expect(0);
}
