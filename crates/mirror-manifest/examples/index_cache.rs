//! Measures the cost of storing 250,000 index files as a first run does, and of reading 50,000 of them. Linux only.
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::fmt::Write as _;
use std::path::Path;

use mirror_manifest::{
    Catalogue, Change, IndexCacheReader, IndexCacheWriter, LinePacker, PackedLines, TextDigest,
};

const FILES: u64 = 250_000;
/// Files of one commit.
const BATCH: u64 = 2_000;
const READS: u64 = 50_000;

/// Returns a number that looks random.
fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Returns the path of the file that is read at this position: an index is not read in the order of its paths.
fn path(place: u64) -> String {
    let n = (place * 104_729) % FILES;
    let prefix = mixed(n) & 0xffff;
    format!("{:02x}/{:02x}/crate-{n:06}", prefix >> 8, prefix & 0xff)
}

/// Returns a text: most have few lines, some have hundreds.
fn text(place: u64) -> String {
    let lines = (26_000 / (mixed(place) % 10_000 + 60)).min(400) + 1;
    let mut text = String::new();
    for n in 0..lines {
        let _ = write!(
            text,
            r#"{{"name":"crate-{place:06}","vers":"0.{n}.0","deps":[{{"name":"serde","req":"^1.0.{}","features":["derive"],"optional":false,"default_features":true,"target":null,"kind":"normal"}}],"cksum":""#,
            place % 97
        );
        for part in 0..4 {
            let _ = write!(text, "{:016x}", mixed(place << 24 | n << 4 | part));
        }
        let _ = writeln!(text, r#"","features":{{"default":["std"],"std":[]}},"yanked":false}}"#);
    }
    text
}

fn packed(packer: &mut LinePacker, place: u64) -> PackedLines {
    let text = text(place);
    packer.pack(&path(place), TextDigest::of(text.as_bytes()), text.as_bytes()).expect("pack")
}

/// Returns the CPU seconds of this thread.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("statistics");
    let ns = text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).expect("nanoseconds");
    std::time::Duration::from_nanos(ns).as_secs_f64()
}

fn bytes_in(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).expect("directory");
    files.map(|file| file.and_then(|file| file.metadata()).expect("file").len()).sum()
}

fn main() {
    let dir = tempfile::tempdir().expect("directory");
    let mut packer = LinePacker::new().expect("packer");
    let mut catalogue = Catalogue::open(&dir.path().join("catalogue.sqlite")).expect("catalogue");
    let (mut writer, _) = IndexCacheWriter::open(dir.path(), &mut catalogue, false).expect("cache");
    let (mut writing, mut frames) = (0.0, 0);
    for first in (0..FILES).step_by(usize::try_from(BATCH).expect("small")) {
        let batch: Vec<_> = (first..first + BATCH).map(|place| packed(&mut packer, place)).collect();
        frames += batch.iter().map(PackedLines::packed_bytes).sum::<u64>();
        let before = cpu_seconds();
        let state = writer.append(&batch).expect("append");
        catalogue.apply(&[Change::IndexCache(state)]).expect("apply");
        writing += cpu_seconds() - before;
    }
    let before = cpu_seconds();
    writer.finish().expect("finish");
    drop(catalogue);
    writing += cpu_seconds() - before;
    let reader = IndexCacheReader::open(dir.path()).expect("cache").expect("some");
    let before = cpu_seconds();
    for place in 0..READS {
        assert!(reader.read(&path(place * 3)).expect("read").is_some());
    }
    let reading = cpu_seconds() - before;
    let before = cpu_seconds();
    let mut known = 0_u64;
    reader.digests(&mut |_, _| known += 1).expect("digests");
    assert_eq!(known, FILES);
    println!(
        "frames {frames} bytes, on disk {} bytes, writing {writing:.2} s, reading {READS} files {reading:.2} s, \
         listing digests {:.3} s",
        bytes_in(dir.path()),
        cpu_seconds() - before
    );
}
