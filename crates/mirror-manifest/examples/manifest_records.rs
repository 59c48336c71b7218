//! Sums up a manifest by status. Reports damaged lines, and counts the records behind them.
//!
//! `cargo run -p mirror-manifest --example manifest_records -- MIRROR/manifest.jsonl`. Streams: one line is in memory
//! at a time. A download into the same mirror may be running.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use mirror_manifest::{ManifestError, ManifestRecords};

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = std::env::args_os().nth(1).ok_or("usage: manifest_records MANIFEST")?;
    sum_up(Path::new(&manifest), &mut io::stdout().lock())
}

/// Writes the number of records of each status, and the bytes of their releases.
pub(crate) fn sum_up(manifest: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let mut sums = BTreeMap::<String, (u64, u64)>::new();
    for record in ManifestRecords::open(manifest)? {
        match record {
            Ok(record) => {
                let (records, bytes) = sums.entry(record.status).or_default();
                *records += 1;
                *bytes += record.size;
            }
            Err(ManifestError::BadLine { offset, source, .. }) => {
                writeln!(out, "the line at byte {offset} is no record: {source}")?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    for (status, (records, bytes)) in sums {
        writeln!(out, "{records} {status}, {bytes} bytes")?;
    }
    Ok(())
}
