//! Checks that ordinary tools can read our bundles.

use std::collections::BTreeMap;

use mirror_types::Layout;

use super::world::{World, sealed_at, shell, tree};

const PYTHON: &str = r#"
import sys, tarfile
names = {}
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
    for member in tar:
        assert member.isreg() and member.mode == 0o644 and member.mtime == 0, member.name
        assert member.uid == 0 and member.gid == 0
        print(member.name, member.size, len(tar.extractfile(member).read()))
"#;

fn sizes(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            (fields[0].to_owned(), fields[1].parse().unwrap())
        })
        .collect()
}

#[test]
fn gnu_tar_bsdtar_zstd_and_python_read_our_bundles() {
    let world = World::new(400, 20_000);
    world.bundle(sealed_at(4 << 20), true);
    let dir = world.bundles();
    let expected = world.expected(Layout::Shard);
    let sorted = |text: String| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let names: Vec<_> = expected.keys().cloned().collect();
    let each = |script: &str| {
        let ended = shell(&format!("for b in *.tar.zst; do {script}; done"), &dir).expect(0);
        assert_eq!(ended.stderr, "", "{script}");
        ended.stdout
    };
    assert!(world.bundles().join("bundle-0001.tar.zst").exists());
    each("zstd -tq $b");
    assert_eq!(sorted(each("tar --zstd -tf $b")), names);
    assert_eq!(sorted(each("bsdtar -tf $b")), names);
    assert_eq!(sorted(each("zstd -dcq $b | tar -tf -")), names);
    let listed = each("tar --zstd -tvf $b");
    assert!(listed.lines().all(|line| line.starts_with("-rw-r--r-- 0/0 ") && line.contains("1970-01-01")));
    let by_python = sizes(&each(&format!("zstd -dcq $b | python3 -c '{PYTHON}'")));
    assert_eq!(by_python, expected.iter().map(|(path, data)| (path.clone(), data.len() as u64)).collect());

    let script =
        "mkdir gnu bsd; for b in bundles/*.tar.zst; do tar --zstd -xf $b -C gnu; bsdtar -xf $b -C bsd; done";
    shell(script, world.dir.path()).expect(0);
    assert!(tree(&world.path("gnu")) == expected);
    assert!(tree(&world.path("bsd")) == expected);
}
