//! Cuts a partial bundle at every place behind the committed part: recovery keeps everything that was committed, and
//! the bundle can be continued and sealed.

use std::fs;
use std::path::Path;

use crate::contract::{append_all, contents, open_unsynced as open, releases, small};
use crate::names::partial_manifest;
use crate::*;

/// The files on disk at one moment.
struct Moment {
    bundle: Vec<u8>,
    manifest: Vec<u8>,
    /// The number of members promised by `commit`.
    committed: usize,
}

const BUNDLE: &str = "bundle-0000.tar.zst.partial";

fn read(dir: &Path) -> (Vec<u8>, Vec<u8>) {
    (fs::read(dir.join(BUNDLE)).expect("bundle"), fs::read(dir.join(partial_manifest(0))).expect("manifest"))
}

/// Returns what a power cut may leave at each of three commits: the whole bundle with the manifest of the commit
/// before.
fn moments(dir: &Path) -> (Vec<Moment>, Vec<BundleMember>) {
    let (mut writer, _) = open(dir, small());
    let (mut moments, mut placed) = (Vec::new(), Vec::new());
    let (mut manifest, mut committed) = (Vec::new(), 0);
    for batch in releases(60).chunks(20) {
        append_all(&mut writer, batch);
        placed.extend(writer.commit().expect("commit"));
        let (bundle, next) = read(dir);
        moments.push(Moment { bundle, manifest, committed });
        manifest = next;
        committed = placed.len();
    }
    (moments, placed)
}

fn end(member: &BundleMember) -> usize {
    usize::try_from(member.frame_offset.expect("offset") + member.frame_len.expect("len")).expect("fits")
}

/// Writes the files of a moment with the bundle cut at `at`, and the manifest torn; opens the bundles again.
fn recover(moment: &Moment, placed: &[BundleMember], at: usize, tear: &[u8], continue_it: bool) {
    let dir = tempfile::tempdir().expect("dir");
    fs::write(dir.path().join(BUNDLE), &moment.bundle[..at]).expect("write");
    fs::write(dir.path().join(partial_manifest(0)), [&moment.manifest, tear].concat()).expect("write");
    let (mut writer, report) = open(dir.path(), small());
    let kept: Vec<_> = placed.iter().take_while(|member| end(member) <= at).cloned().collect();
    assert!(kept.len() >= moment.committed);
    let relisted = if at == 0 { &[] } else { &kept[moment.committed..] };
    assert_eq!(report.relisted.len(), relisted.len(), "cut at {at}");
    for (found, was) in report.relisted.iter().zip(relisted) {
        assert_eq!(
            (&found.bundle_member, found.sha256, found.size),
            (&was.bundle_member, was.sha256, was.size)
        );
        assert_eq!((found.frame_offset, found.frame_len), (was.frame_offset, was.frame_len));
        assert_eq!((&found.url, &found.version), (&was.url, &was.version));
    }
    let whole = kept.last().map_or(0, end);
    assert_eq!(report.cut_bytes, (at - whole) as u64);
    let (bundle, manifest) = read_or_empty(dir.path());
    assert_eq!(bundle.len(), whole);
    assert_eq!(manifest.iter().filter(|&&b| b == b'\n').count(), kept.len());
    if continue_it {
        let more = &releases(70)[60..];
        append_all(&mut writer, more);
        writer.seal().expect("seal");
        let found = contents(&dir.path().join("bundle-0000.tar.zst"));
        let names: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
        let expected: Vec<_> = kept
            .iter()
            .map(|member| member.bundle_member.clone())
            .chain(more.iter().map(|(id, _)| mirror_types::Layout::Shard.path(id)))
            .collect();
        assert_eq!(names, expected);
        for ((_, data), member) in found.iter().zip(&kept) {
            assert_eq!(crate::contract::sum(data), member.sha256);
        }
    }
}

fn read_or_empty(dir: &Path) -> (Vec<u8>, Vec<u8>) {
    (
        fs::read(dir.join(BUNDLE)).unwrap_or_default(),
        fs::read(dir.join(partial_manifest(0))).unwrap_or_default(),
    )
}

#[test]
fn cut_at_every_frame_boundary_one_byte_before_and_after() {
    let dir = tempfile::tempdir().expect("dir");
    let (moments, placed) = moments(dir.path());
    for moment in &moments {
        let committed = placed[..moment.committed].last().map_or(0, end);
        let boundaries = placed.iter().map(end).chain([0]);
        for boundary in boundaries.filter(|&at| at >= committed && at <= moment.bundle.len()) {
            for at in [boundary.saturating_sub(1), boundary, boundary + 1] {
                if (committed..=moment.bundle.len()).contains(&at) {
                    recover(moment, &placed, at, b"", true);
                }
            }
        }
    }
}

#[test]
fn cut_at_10_000_random_offsets() {
    let dir = tempfile::tempdir().expect("dir");
    let (moments, placed) = moments(dir.path());
    let mut rng = fastrand::Rng::with_seed(4);
    for n in 0..10_000 {
        let moment = &moments[rng.usize(..moments.len())];
        let committed = placed[..moment.committed].last().map_or(0, end);
        let at = rng.usize(committed..=moment.bundle.len());
        // A line that was being written; zeros that a file system left in the place of data.
        let tear: &[u8] = match n % 3 {
            0 => b"",
            1 => b"{\"url\":\"http://h/cra",
            _ => &[0; 700],
        };
        recover(moment, &placed, at, tear, n % 50 == 0);
    }
}

/// After a power cut, uncommitted bytes may have any value.
#[test]
fn garbage_behind_what_was_committed_is_cut() {
    let dir = tempfile::tempdir().expect("dir");
    let (moments, placed) = moments(dir.path());
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..500 {
        let moment = &moments[rng.usize(..moments.len())];
        let committed = placed[..moment.committed].last().map_or(0, end);
        let mut bundle = moment.bundle.clone();
        let at = rng.usize(committed..bundle.len());
        let until = (at + rng.usize(1..5_000)).min(bundle.len());
        for byte in &mut bundle[at..until] {
            *byte = if rng.bool() { 0 } else { rng.u8(..) };
        }
        let dir = tempfile::tempdir().expect("dir");
        fs::write(dir.path().join(BUNDLE), &bundle).expect("write");
        fs::write(dir.path().join(partial_manifest(0)), &moment.manifest).expect("write");
        let (mut writer, _) = open(dir.path(), small());
        writer.seal().expect("seal");
        let sealed = dir.path().join("bundle-0000.tar.zst");
        let found = if sealed.exists() { contents(&sealed) } else { Vec::new() };
        assert!(found.len() >= moment.committed);
        for ((path, data), member) in found.iter().zip(&placed) {
            assert_eq!((path, crate::contract::sum(data)), (&member.bundle_member, member.sha256));
        }
    }
}

/// Checks that a partly written end is not taken for a member: it is cut and written again.
#[test]
fn cut_while_it_was_sealed() {
    let dir = tempfile::tempdir().expect("dir");
    let (mut writer, _) = open(dir.path(), small());
    append_all(&mut writer, &releases(10));
    let placed = writer.commit().expect("commit");
    let manifest = read(dir.path()).1;
    writer.seal().expect("seal");
    let whole = fs::read(dir.path().join("bundle-0000.tar.zst")).expect("read");
    let committed = placed.last().map_or(0, end);
    for at in committed..=whole.len() {
        let again = tempfile::tempdir().expect("dir");
        fs::write(again.path().join(BUNDLE), &whole[..at]).expect("write");
        fs::write(again.path().join(partial_manifest(0)), &manifest).expect("write");
        let (mut writer, report) = open(again.path(), small());
        assert_eq!((report.relisted.len(), report.cut_bytes), (0, (at - committed) as u64));
        writer.seal().expect("seal");
        assert!(fs::read(again.path().join("bundle-0000.tar.zst")).expect("read") == whole, "cut at {at}");
    }
}
