//! Runs the example programs for embedders.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};

use mirror_manifest::{ManifestRecord, ManifestWriter};
use mirror_types::MirrorId;

#[path = "../../examples/manifest_records.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod manifest_records;

#[test]
fn a_manifest_is_summed_up_past_a_damaged_line() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("manifest.jsonl");
    let record = |status: &str, size| ManifestRecord {
        schema_version: 2,
        status: status.to_owned(),
        size,
        ok: true,
        ..ManifestRecord::default()
    };
    let (mut writer, _) = ManifestWriter::open(&path, MirrorId::from_bytes([1; 16])).expect("open");
    let second = writer.append(&[record("downloaded", 100)]).expect("append");
    writer.append(&[record("downloaded", 7), record("downloaded", 10), record("error", 0)]).expect("append");
    drop(writer);
    let sums = || {
        let mut out = Vec::new();
        manifest_records::sum_up(&path, &mut out).expect("read");
        String::from_utf8(out).expect("text")
    };
    assert_eq!(sums(), "3 downloaded, 117 bytes\n1 error, 0 bytes\n");
    // A disk that returns other bytes than were written.
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    let mut file = File::options().write(true).open(&path).expect("open");
    file.seek(SeekFrom::Start(second)).expect("seek");
    file.write_all(b"#").expect("write");
    let summed = sums();
    assert!(summed.starts_with(&format!("the line at byte {second} is no record: ")), "{summed}");
    assert!(summed.ends_with("\n2 downloaded, 110 bytes\n1 error, 0 bytes\n"), "{summed}");
}
