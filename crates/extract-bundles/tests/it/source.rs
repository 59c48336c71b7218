//! Bundles of the Go system: one continuous zstd stream, no seek table, and a manifest without offsets with paths of
//! another machine.

use std::fs;
use std::io::Write as _;

use mirror_types::Layout;

use super::world::{World, tree};

/// Splits a path into name and prefix at a slash, where possible; `None` needs a PAX header.
fn ustar(path: &str, size: u64) -> Option<tar::Header> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).ok()?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Some(header)
}

/// Makes a tar file with the end that Go's writer adds.
pub(crate) fn archive(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, data) in members {
        match ustar(path, data.len() as u64) {
            Some(header) => builder.append(&header, data.as_slice()).unwrap(),
            None => {
                let record = super::hostile::record("path", path);
                let mut header = ustar("PaxHeaders.0/x", record.len() as u64).unwrap();
                header.set_entry_type(tar::EntryType::XHeader);
                header.set_cksum();
                builder.append(&header, record.as_bytes()).unwrap();
                let header = ustar(&path[..100], data.len() as u64).unwrap();
                builder.append(&header, data.as_slice()).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// Compresses to one stream of unknown size.
pub(crate) fn stream(tar: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 7).unwrap();
    encoder.include_checksum(true).unwrap();
    for piece in tar.chunks(32 << 10) {
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}

fn make(world: &World) {
    fs::create_dir_all(world.bundles()).unwrap();
    let members: Vec<_> = world.expected(Layout::Shard).into_iter().collect();
    let mut index = String::new();
    for (number, part) in members.chunks(members.len().div_ceil(2)).enumerate() {
        let tar = archive(part);
        assert!(tar.len() > 3 << 20, "several blocks of zstd");
        fs::write(world.bundles().join(format!("bundle-{number:04}.tar.zst")), stream(&tar)).unwrap();
        let path = format!("S:\\\\Rust-Crates\\\\bundles\\\\bundle-{number:04}.tar.zst");
        let mut manifest = String::new();
        for release in world.registry.releases() {
            let member = Layout::Shard.path(&release.id);
            if part.iter().any(|(path, _)| *path == member) {
                manifest += &format!(
                    "{{\"bundle_member\":\"{member}\",\"bundle_path\":\"{path}\",\"crate\":\"{}\",\"sha256\":\"{}\",\
                     \"size\":{},\"url\":\"http://h/{}\"}}\n",
                    release.id.name,
                    release.cksum,
                    release.body.len(),
                    release.id.file_name()
                );
            }
        }
        let name = format!("bundle-{number:04}-a-to-b.manifest.jsonl");
        fs::write(world.bundles().join(&name), manifest).unwrap();
        index += &format!(
            "{{\"bundle_path\":\"{path}\",\"crate_max\":\"~\",\"crate_max_label\":\"b\",\"crate_min\":\"!\",\
             \"crate_min_label\":\"a\",\"entries\":{},\"manifest_path\":\"{name}\",\"size_bytes\":1}}\n",
            part.len()
        );
    }
    fs::write(world.bundles().join("bundles.index.jsonl"), index).unwrap();
}

#[test]
fn a_bundle_of_the_go_system_is_read_like_ours() {
    let world = World::new(900, 9_000);
    make(&world);
    let count = world.registry.len() as u64;
    assert_eq!(world.run(&["-out", "out"]).expect(0).count("extracted"), count);
    assert_eq!(tree(&world.path("out")), world.expected(Layout::Shard));
    assert_eq!(world.run(&["--verify"]).expect(0).count("verified"), count);
    assert_eq!(world.run(&["--out", "out"]).expect(0).count("existing"), count);
    assert_eq!(world.run(&["--out", "one", "--crate", "a-foo"]).expect(0).count("extracted"), 1);
    assert_eq!(fs::read(world.path("one/a-/fo/a-foo-0.1.0+build.1.crate")).unwrap(), b"plus");
    assert_eq!(world.run(&["--list"]).expect(0).stdout.lines().count() as u64, count);
}

#[test]
fn bundles_without_manifests_are_read_and_reported_as_unchecked() {
    let world = World::new(900, 9_000);
    make(&world);
    for entry in fs::read_dir(world.bundles()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().ends_with(".jsonl") {
            fs::remove_file(path).unwrap();
        }
    }
    let ended = world.run(&["--out", "out"]).expect(0);
    assert!(ended.stdout.contains("have none to check by"), "{}", ended.stdout);
    assert_eq!(tree(&world.path("out")), world.expected(Layout::Shard));
}

#[test]
fn a_stream_that_was_cut_or_damaged_is_a_fault() {
    let world = World::new(900, 9_000);
    make(&world);
    let path = world.bundles().join("bundle-0000.tar.zst");
    let whole = fs::read(&path).unwrap();
    let mut bad = whole.clone();
    bad[whole.len() / 2] ^= 4;
    for (bytes, what) in
        [(&whole[..whole.len() - 1], "cut"), (&whole[..whole.len() / 2], "halved"), (&bad[..], "damaged")]
    {
        fs::write(&path, bytes).unwrap();
        let out = format!("out-{what}");
        world.run(&["--out", &out]).expect(4);
        let expected = world.expected(Layout::Shard);
        for (path, data) in tree(&world.path(&out)) {
            assert!(expected.get(&path) == Some(&data), "{what}: {path}");
        }
    }
}

/// Covers the first release of the Go system: members are named after the host that they came from, and no manifest
/// lists them.
#[test]
fn bundles_of_the_first_go_release_mix_with_those_of_the_later_ones() {
    let world = World::new(300, 2_000);
    fs::create_dir_all(world.bundles()).unwrap();
    let by_host: Vec<_> = world
        .registry
        .releases()
        .map(|release| (format!("static.example.org/{}", release.id.file_name()), release.body.to_vec()))
        .collect();
    let (first, second) = by_host.split_at(by_host.len() / 2);
    fs::write(world.bundles().join("bundle-0000.tar.zst"), stream(&archive(first))).unwrap();
    // A tree that either release made holds some of them, with a sidecar.
    let held = world.registry.releases().next().unwrap();
    let held = (Layout::Shard.path(&held.id), held.body.to_vec());
    let file = world.path("out").join(&held.0);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, &held.1).unwrap();
    let sidecar = format!("{}.json", held.0);
    fs::write(world.path("out").join(&sidecar), "{}").unwrap();
    let ended = world.run(&["--out", "out"]).expect(0);
    assert_eq!((ended.count("extracted"), ended.count("existing")), (first.len() as u64 - 1, 1));
    // The later release continues in the same directory, with the paths of its layout.
    let later: Vec<_> = world.expected(Layout::Shard).into_iter().collect();
    let of_second: Vec<_> = later
        .iter()
        .filter(|(path, _)| {
            second.iter().any(|(by_host, _)| by_host.rsplit('/').next() == path.rsplit('/').next())
        })
        .cloned()
        .collect();
    fs::write(world.bundles().join("bundle-0001.tar.zst"), stream(&archive(&of_second))).unwrap();
    let ended = world.run(&["--out", "out"]).expect(0);
    assert_eq!(ended.count("existing"), first.len() as u64);
    let mut found = tree(&world.path("out"));
    assert_eq!(found.remove(&sidecar).unwrap(), b"{}");
    assert_eq!(found, world.expected(Layout::Shard));
    assert_eq!(world.run(&["--verify"]).expect(0).count("verified"), by_host.len() as u64);
    let one = world.run(&["--out", "one", "--crate", "a-foo@0.1.0+build.1"]).expect(0);
    assert_eq!(one.count("extracted"), 1);
    assert_eq!(fs::read(world.path("one/a-/fo/a-foo-0.1.0+build.1.crate")).unwrap(), b"plus");
}
