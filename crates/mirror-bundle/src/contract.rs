//! Tests of the bundle format by writer and reader.

use std::fs;
use std::path::Path;

use mirror_fs::LocalFs;
use mirror_types::{FaultKind, Layout, ReleaseId, Sha256};
use sha2::Digest as _;

use crate::names::{INDEX, partial_manifest};
use crate::*;

pub(crate) fn release(name: &str, version: &str) -> ReleaseId {
    ReleaseId { name: name.parse().expect("name"), version: version.parse().expect("version") }
}

pub(crate) fn sum(data: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(data).into())
}

pub(crate) fn member(id: &ReleaseId, data: Vec<u8>) -> NewMember {
    NewMember {
        path: Layout::Shard.path(id),
        url: id.readable_url("http://h/crates"),
        sha256: sum(&data),
        body: MemberBody::Memory(Box::new(data)),
        id: id.clone(),
    }
}

/// Returns bytes that zstd cannot compress, of varying length.
pub(crate) fn body(seed: u64, most: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let len = rng.usize(0..=most);
    (0..len).map(|_| rng.u8(..)).collect()
}

pub(crate) fn small() -> BundleOptions {
    BundleOptions { threads: 2, base_url: "http://h/crates".to_owned(), ..BundleOptions::default() }
}

/// Opens bundles without syncs: tests with thousands of bundles cut the files themselves.
pub(crate) fn open_unsynced(dir: &Path, options: BundleOptions) -> (BundleWriter, BundleReport) {
    BundleWriter::open_on(std::sync::Arc::new(LocalFs::unsynced()), dir, options).expect("open")
}

pub(crate) fn open(dir: &Path, options: BundleOptions) -> (BundleWriter, BundleReport) {
    BundleWriter::open(dir, options).expect("open")
}

pub(crate) fn releases(count: usize) -> Vec<(ReleaseId, Vec<u8>)> {
    (0..count)
        .map(|n| (release(&format!("crate-{}", n / 3), &format!("{}.0.{n}", n % 3)), body(n as u64, 3_000)))
        .collect()
}

pub(crate) fn append_all(writer: &mut BundleWriter, all: &[(ReleaseId, Vec<u8>)]) {
    for (id, data) in all {
        writer.append(member(id, data.clone())).expect("append");
    }
}

/// Returns path and data of every member, read as a stream.
pub(crate) fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
    let reader = BundleReader::open(path, BundleLimits::default()).expect("open");
    let mut found = Vec::new();
    reader
        .stream(&mut |member| {
            found.push((member.path().to_owned(), member.read_all()?));
            Ok::<_, BundleError>(())
        })
        .expect("stream");
    found
}

fn expected(all: &[(ReleaseId, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    all.iter().map(|(id, data)| (Layout::Shard.path(id), data.clone())).collect()
}

fn manifest(path: &Path) -> Vec<BundleMember> {
    let mut lines = Vec::new();
    read_manifest(path, &mut |line| {
        lines.push(line);
        Ok(())
    })
    .expect("manifest");
    lines
}

#[test]
fn members_come_out_as_they_went_in_by_every_way() {
    let dir = tempfile::tempdir().expect("dir");
    let all = releases(300);
    let (mut writer, report) = open(dir.path(), small());
    assert_eq!(report, BundleReport::default());
    append_all(&mut writer, &all);
    let placed = writer.seal().expect("seal");
    assert_eq!(placed.len(), all.len());
    let path = dir.path().join("bundle-0000.tar.zst");
    assert_eq!(contents(&path), expected(&all));

    let reader = BundleReader::open(&path, BundleLimits::default()).expect("open");
    for (line, (id, data)) in placed.iter().zip(&all) {
        assert_eq!(line.bundle_member, Layout::Shard.path(id));
        assert_eq!((line.sha256, line.size), (sum(data), data.len() as u64));
        assert_eq!(line.bundle_path, path.to_str().expect("path"));
        let (offset, len) = (line.frame_offset.expect("offset"), line.frame_len.expect("len"));
        let mut found = Vec::new();
        reader
            .read_at(offset, len, &mut |member| {
                assert_eq!(member.release(), id);
                found = member.read_all()?;
                Ok::<_, BundleError>(())
            })
            .expect("read");
        assert_eq!(&found, data);
    }

    let map = reader.frame_map().expect("table").expect("framed");
    assert_eq!(map.members(), 300);
    let mut buffers = FrameBuffers::new().expect("buffers");
    let mut found = Vec::new();
    for run in map.runs(50_000) {
        reader
            .read_frames(&map, run, &mut buffers, &mut |member| {
                found.push((member.path().to_owned(), member.read_all()?));
                Ok::<_, BundleError>(())
            })
            .expect("frames");
    }
    assert_eq!(found, expected(&all));
}

#[test]
fn the_manifest_and_the_index_say_what_is_there() {
    let dir = tempfile::tempdir().expect("dir");
    let all = [("serde", "1.0.0"), ("Zed_x", "0.1.0"), ("a-foo", "0.1.0+build.1")]
        .map(|(name, version)| (release(name, version), body(7, 900)));
    let (mut writer, _) = open(dir.path(), small());
    append_all(&mut writer, &all);
    let placed = writer.seal().expect("seal");
    drop(writer);
    let lines = manifest(&dir.path().join("bundle-0000-zed-x-to-serde.manifest.jsonl"));
    assert_eq!(lines, placed);
    assert_eq!(lines[2].url, "http://h/crates/a-foo/a-foo-0.1.0+build.1.crate");
    let index = read_index(dir.path()).expect("index");
    assert_eq!(index.len(), 1);
    let bundle = fs::read(dir.path().join("bundle-0000.tar.zst")).expect("read");
    assert_eq!(index[0].sha256, Some(sum(&bundle)));
    assert_eq!(index[0].blake3.as_deref(), Some(blake3::hash(&bundle).to_hex().as_str()));
    assert_eq!(index[0].compressed_bytes, Some(bundle.len() as u64));
    assert_eq!((index[0].entries, index[0].size_bytes), (3, all.iter().map(|(_, d)| d.len() as u64).sum()));
    assert_eq!((index[0].crate_min.as_str(), index[0].crate_max_label.as_str()), ("Zed_x", "serde"));
}

#[test]
fn bundles_roll_by_size_and_numbering_continues() {
    let dir = tempfile::tempdir().expect("dir");
    let all = releases(200);
    let options = BundleOptions { bundle_bytes: 40_000, ..small() };
    for run in all.chunks(50) {
        let (mut writer, report) = open(dir.path(), options.clone());
        assert_eq!(report, BundleReport::default());
        for batch in run.chunks(20) {
            append_all(&mut writer, batch);
            assert_eq!(writer.commit().expect("commit").len(), batch.len());
        }
    }
    let bundles = list_bundles(dir.path()).expect("list");
    assert!(bundles.len() > 4, "{bundles:?}");
    let mut found = Vec::new();
    let mut listed = 0;
    for (at, one) in bundles.iter().enumerate() {
        assert_eq!(one.number, u32::try_from(at).ok());
        let size = fs::metadata(&one.path).expect("meta").len();
        assert!(size < 50_000, "{size}");
        assert_eq!(one.sealed, at + 1 < bundles.len() || size >= 40_000);
        found.extend(contents(&one.path));
        listed += manifest(one.manifest.as_ref().expect("manifest")).len();
    }
    assert_eq!(found, expected(&all));
    assert_eq!(listed, all.len());
    let sealed = bundles.iter().filter(|one| one.sealed).count();
    assert_eq!(read_index(dir.path()).expect("index").len(), sealed);
}

/// Checks that the recorded checksums of a bundle written by three runs are those of the file.
#[test]
fn a_bundle_of_several_runs_is_hashed_as_a_whole() {
    let dir = tempfile::tempdir().expect("dir");
    let all = releases(90);
    for run in all.chunks(30) {
        let (mut writer, _) = open(dir.path(), small());
        append_all(&mut writer, run);
        writer.commit().expect("commit");
    }
    open(dir.path(), small()).0.seal().expect("seal");
    let bundle = fs::read(dir.path().join("bundle-0000.tar.zst")).expect("read");
    assert_eq!(read_index(dir.path()).expect("index")[0].sha256, Some(sum(&bundle)));
    assert_eq!(contents(&dir.path().join("bundle-0000.tar.zst")), expected(&all));
    // There is nothing to seal, and no bundle to begin.
    assert!(open(dir.path(), small()).0.seal().expect("seal").is_empty());
    assert_eq!(list_bundles(dir.path()).expect("list").len(), 1);
}

#[test]
fn the_same_path_again_goes_into_another_bundle() {
    let dir = tempfile::tempdir().expect("dir");
    let id = release("serde", "1.0.0");
    let (mut writer, _) = open(dir.path(), small());
    writer.append(member(&id, b"old".to_vec())).expect("append");
    writer.append(member(&id, b"new".to_vec())).expect("append");
    let placed = writer.commit().expect("commit");
    assert_eq!(placed.len(), 2);
    assert!(placed[0].bundle_path.ends_with("bundle-0000.tar.zst"));
    assert!(placed[1].bundle_path.ends_with("bundle-0001.tar.zst"));
}

fn from_file(path: &Path) -> MemberBody {
    let file = mirror_fs::FileReader::of(fs::File::open(path).expect("open")).expect("look");
    MemberBody::Reader(Box::new(file.expect("a file")))
}

#[test]
fn large_bodies_are_streamed_from_a_file_in_order() {
    let dir = tempfile::tempdir().expect("dir");
    let big: Vec<u8> = (0..20_u32 << 20).map(|n| (n ^ n >> 9).to_le_bytes()[0]).collect();
    let file = dir.path().join("big");
    fs::write(&file, &big).expect("write");
    let (mut writer, _) = open(&dir.path().join("b"), small());
    let ids = ["aaaa", "bbbb", "cccc"].map(|name| release(name, "1.0.0"));
    writer.append(member(&ids[0], b"first".to_vec())).expect("append");
    let body = from_file(&file);
    writer.append(NewMember { body, sha256: sum(&big), ..member(&ids[1], Vec::new()) }).expect("append");
    writer.append(member(&ids[2], b"last".to_vec())).expect("append");
    let placed = writer.seal().expect("seal");
    let path = dir.path().join("b/bundle-0000.tar.zst");
    let found = contents(&path);
    assert_eq!(found.iter().map(|(_, data)| data.len()).collect::<Vec<_>>(), [5, big.len(), 4]);
    assert!(found[1].1 == big);
    let reader = BundleReader::open(&path, BundleLimits::default()).expect("open");
    let map = reader.frame_map().expect("table").expect("framed");
    let mut sums = Vec::new();
    let mut buffers = FrameBuffers::new().expect("buffers");
    reader
        .read_frames(&map, 0..map.frames().len(), &mut buffers, &mut |member| {
            sums.push(member.sha256()?);
            Ok::<_, BundleError>(())
        })
        .expect("frames");
    assert_eq!(sums, placed.iter().map(|line| line.sha256).collect::<Vec<_>>());
}

#[test]
fn a_file_that_became_shorter_stops_the_writer_and_what_was_committed_stays() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("short");
    fs::write(&file, [7; 500]).expect("write");
    let bundles = dir.path().join("b");
    let (mut writer, _) = open(&bundles, small());
    let ids = ["aaaa", "bbbb"].map(|name| release(name, "1.0.0"));
    writer.append(member(&ids[0], b"first".to_vec())).expect("append");
    writer.commit().expect("commit");
    let body = from_file(&file);
    fs::File::options().write(true).open(&file).expect("open").set_len(5).expect("cut");
    writer.append(NewMember { body, ..member(&ids[1], Vec::new()) }).expect("append");
    let error = writer.commit().expect_err("short");
    assert!(std::error::Error::source(&error).expect("source").to_string().contains("500"), "{error}");
    assert!(writer.commit().is_err());
    drop(writer);
    let (mut writer, report) = open(&bundles, small());
    assert_eq!(report.relisted, []);
    writer.seal().expect("seal");
    assert_eq!(contents(&bundles.join("bundle-0000.tar.zst")).len(), 1);
}

#[test]
fn one_writer_at_a_time() {
    let dir = tempfile::tempdir().expect("dir");
    let first = open(dir.path(), small());
    let error = BundleWriter::open(dir.path(), small()).expect_err("locked");
    assert_eq!(error.kind(), FaultKind::Locked);
    drop(first);
    open(dir.path(), small());
}

#[test]
fn a_path_that_is_not_the_releases_own_is_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let (mut writer, _) = open(dir.path(), small());
    for path in ["../x", "/s/er/serde-1.0.0.crate", "s/er/serde-1.0.1.crate", "x/er/serde-1.0.0.crate"] {
        let bad = NewMember { path: path.to_owned(), ..member(&release("serde", "1.0.0"), Vec::new()) };
        assert_eq!(writer.append(bad).expect_err(path).kind(), FaultKind::Usage);
    }
}

#[test]
fn queues_smaller_than_a_member_do_not_block() {
    let dir = tempfile::tempdir().expect("dir");
    let all = releases(100);
    let options = BundleOptions { queue_bytes: 10, queue_items: 1, threads: 1, ..small() };
    let (mut writer, _) = open(dir.path(), options);
    append_all(&mut writer, &all);
    assert_eq!(writer.commit().expect("commit").len(), 100);
}

#[test]
fn what_a_crash_left_between_the_steps_of_sealing_is_put_right() {
    let dir = tempfile::tempdir().expect("dir");
    let (mut writer, _) = open(dir.path(), small());
    append_all(&mut writer, &releases(9));
    writer.seal().expect("seal");
    drop(writer);
    let index = fs::read(dir.path().join(INDEX)).expect("index");
    let manifest = dir.path().join("bundle-0000-crate-0-to-crate-2.manifest.jsonl");
    let again = || {
        let (_, report) = open(dir.path(), small());
        assert_eq!(fs::read(dir.path().join(INDEX)).expect("index"), index);
        assert!(manifest.is_file());
        report.repaired
    };
    assert_eq!(again(), Vec::<String>::new());
    fs::remove_file(dir.path().join(INDEX)).expect("remove");
    assert_eq!(again(), ["bundle-0000.tar.zst"]);
    fs::write(dir.path().join(INDEX), &index[..index.len() - 5]).expect("tear");
    assert_eq!(again(), [INDEX, "bundle-0000.tar.zst"]);
    fs::remove_file(dir.path().join(INDEX)).expect("remove");
    fs::rename(&manifest, dir.path().join(partial_manifest(0))).expect("rename");
    assert_eq!(again(), ["bundle-0000.tar.zst"]);
}

#[test]
fn a_committed_member_that_is_damaged_is_named_and_nothing_is_cut() {
    let dir = tempfile::tempdir().expect("dir");
    let all = releases(20);
    let (mut writer, _) = open(dir.path(), small());
    append_all(&mut writer, &all);
    let placed = writer.commit().expect("commit");
    drop(writer);
    let path = dir.path().join("bundle-0000.tar.zst.partial");
    let whole = fs::read(&path).expect("read");
    let frame = |at: usize| usize::try_from(placed[at].frame_offset.expect("offset")).expect("fits");
    // Damaged in the middle: found when verification is requested.
    let mut bad = whole.clone();
    bad[frame(10) + 40] ^= 1;
    fs::write(&path, &bad).expect("write");
    let options = BundleOptions { verify_committed: true, ..small() };
    let error = BundleWriter::open(dir.path(), options).expect_err("damaged");
    assert_eq!(error.kind(), FaultKind::Integrity);
    assert_eq!(fs::read(&path).expect("read"), bad, "nothing was cut");
    // Damaged at the end, and cut.
    let mut bad = whole.clone();
    bad[frame(19) + 40] ^= 1;
    for bytes in [&bad[..], &whole[..frame(19) + 7], &whole[..frame(19)]] {
        fs::write(&path, bytes).expect("write");
        let error = BundleWriter::open(dir.path(), small()).expect_err("damaged");
        assert_eq!(error.kind(), FaultKind::Integrity);
        assert_eq!(fs::read(&path).expect("read"), bytes, "nothing was cut");
    }
    let error = BundleWriter::open(dir.path(), small()).expect_err("cut").to_string();
    assert!(error.contains(&placed[19].bundle_member), "{error}");
    fs::write(&path, &whole).expect("write");
    assert_eq!(open(dir.path(), small()).1, BundleReport::default());
}

/// Checks that such members are stored: a crate that compresses to nearly nothing would look like a bomb to every
/// reader.
#[test]
fn members_that_shrink_to_nearly_nothing_are_stored_as_they_are() {
    let dir = tempfile::tempdir().expect("dir");
    let nothing = vec![0; 9 << 20];
    let file = dir.path().join("file");
    fs::write(&file, &nothing).expect("write");
    let (mut writer, _) = open(&dir.path().join("b"), BundleOptions::default());
    let ids = ["aaaa", "bbbb", "cccc"].map(|name| release(name, "1.0.0"));
    writer.append(member(&ids[0], nothing.clone())).expect("append");
    let body = from_file(&file);
    writer.append(NewMember { body, sha256: sum(&nothing), ..member(&ids[1], Vec::new()) }).expect("append");
    writer.append(member(&ids[2], b"last".to_vec())).expect("append");
    let placed = writer.seal().expect("seal");
    assert!(placed[1].frame_len.expect("len") > 9 << 20);
    let path = dir.path().join("b/bundle-0000.tar.zst");
    let found = contents(&path);
    assert!(found[0].1 == nothing && found[1].1 == nothing && found[2].1 == b"last");
    let whole = zstd::stream::decode_all(fs::File::open(&path).expect("open")).expect("decode");
    assert_eq!(::tar::Archive::new(whole.as_slice()).entries().expect("entries").count(), 3);
    let line = &read_index(&dir.path().join("b")).expect("index")[0];
    assert_eq!(line.sha256, Some(sum(&fs::read(&path).expect("read"))));
}
