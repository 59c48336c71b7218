//! What the manifest says of what is held.

use std::path::Path;

use mirror_types::{CrateName, Layout, ReleaseId, Sha256, VersionText};

use super::{Catalogue, CatalogueBatch, FailureRow, HeldRelease, Withdrawal};
use crate::error::ManifestError;
use crate::record::{EXISTING, ManifestRecord, PRUNED, REINSTATED, REMOVED_UPSTREAM};
use crate::writer::read_from;

/// What a replay took in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Records that were read.
    pub records: u64,
    /// Whether the catalogue knew nothing of this manifest, which has records.
    pub anew: bool,
}

impl Catalogue {
    /// Takes in what the manifest says beyond what was taken in before. Another manifest than the one
    /// of before, and one that is shorter, is read from its beginning.
    ///
    /// # Errors
    /// When the manifest is damaged or SQLite fails.
    pub fn replay(&mut self, manifest: &Path, layout: Layout) -> Result<ReplayReport, ManifestError> {
        const CHUNK: usize = 10_000;
        let mut report = ReplayReport::default();
        let same = self.follows(manifest)?;
        let start = if same { self.manifest_len()? } else { 0 };
        // Read again, it may take back what was held since.
        let mut batch = CatalogueBatch { unsettling: !same, ..CatalogueBatch::default() };
        let mut pruned = false;
        read_from::<ManifestError>(manifest, start, &mut |end, record| {
            report.records += 1;
            pruned |= record.status == PRUNED;
            take(record, layout, &mut batch);
            batch.manifest_len = Some(end);
            if batch.held.len() + batch.failed.len() + batch.withdrawn.len() + batch.returned.len() >= CHUNK {
                self.apply(&std::mem::take(&mut batch))?;
            }
            Ok(())
        })?;
        if !same || batch.manifest_len.is_some() {
            batch.manifest_len.get_or_insert(start);
            self.apply(&batch)?;
        }
        report.anew = start == 0 && report.records > 0;
        if pruned {
            // Bundles that are gone for good held something once.
            self.measure_bundles()?;
        }
        self.know(manifest)?;
        Ok(report)
    }

    /// Whether a manifest is the one that was taken in, and not shorter than it was.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn follows(&self, manifest: &Path) -> Result<bool, ManifestError> {
        let len = std::fs::metadata(manifest).map_or(0, |meta| meta.len());
        let is_own = |own| Some(own) == identity(manifest);
        Ok(len >= self.manifest_len()? && self.recall(MANIFEST)?.is_none_or(is_own))
    }

    /// Remembers which manifest was taken in, once it has a line to know it by.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn know(&mut self, manifest: &Path) -> Result<(), ManifestError> {
        match identity(manifest) {
            Some(identity) if self.recall(MANIFEST)?.as_ref() != Some(&identity) => {
                self.remember(MANIFEST, &identity)
            }
            _ => Ok(()),
        }
    }
}

/// Where the state keeps which manifest was taken in.
const MANIFEST: &str = "manifest_identity";

/// What tells a manifest from others: a hash of its first line, which names a run and its time.
/// `None` while it has none.
fn identity(manifest: &Path) -> Option<String> {
    use std::io::{BufRead as _, Read as _};
    const MOST: u64 = 64 << 10;
    let mut line = Vec::new();
    let file = std::fs::File::open(manifest).ok()?;
    std::io::BufReader::new(file).take(MOST).read_until(b'\n', &mut line).ok()?;
    line.last().filter(|last| **last == b'\n')?;
    // FNV-1a, 64 bits: the same in every version.
    let hash = line
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    Some(format!("{hash:016x}"))
}

/// What a record says of what is held. Records of schema 1 prove nothing: their writer kept files
/// with wrong hashes.
fn take(record: ManifestRecord, layout: Layout, batch: &mut CatalogueBatch) {
    let Some(Ok(name)) = record.crate_name.as_deref().map(str::parse::<CrateName>) else { return };
    let version = match record.version.as_deref().map(str::parse::<VersionText>) {
        Some(Ok(version)) => Some(version),
        Some(Err(_)) => return,
        None => None,
    };
    if record.schema_version < 2 {
        return;
    }
    if record.status == PRUNED {
        let Some(version) = version else { return };
        let id = ReleaseId { name, version };
        // A chunk is applied in the order of its kinds: what was held before goes here.
        batch.held.retain(|held| held.id != id);
        batch.withdrawn.retain(|(other, ..)| *other != id);
        batch.forgotten.push(id);
    } else if record.status == REMOVED_UPSTREAM {
        let Some(version) = version else { return };
        let id = ReleaseId { name, version };
        batch.returned.retain(|other| *other != id);
        batch.withdrawn.push((id, Withdrawal::Deleted, record.finished_at));
    } else if record.status == REINSTATED {
        let Some(version) = version else { return };
        let id = ReleaseId { name, version };
        batch.withdrawn.retain(|(other, ..)| *other != id);
        batch.returned.push(id);
    } else if record.ok
        && let Some(locations) = record.locations()
    {
        let Some(version) = version else { return };
        let id = ReleaseId { name, version };
        let Some(Ok(sha256)) = record.sha256.as_deref().map(Sha256::from_hex) else { return };
        // Who only found it did not hold it against an index: a failure stands until somebody does.
        if record.status != EXISTING {
            // A chunk is applied failures last: an earlier failure of the same release must go.
            batch.failed.retain(|row| row.name != id.name || row.version.as_ref() != Some(&id.version));
            batch.healed.push(id.clone());
        }
        let dir = layout.dir(&id.name);
        if batch.touched.last() != Some(&dir) {
            batch.touched.push(dir);
        }
        batch.held.push(HeldRelease { id, sha256, size: record.size, locations });
    } else if !record.ok {
        batch.failed.push(FailureRow {
            name,
            version,
            cksum: record.cksum.as_deref().and_then(|text| text.parse().ok()),
            url: record.url,
            kind: record.status,
            error: record.error.unwrap_or_default(),
            http_status: record.http_status,
            attempts: record.retries + 1,
            first_seen: record.finished_at.clone(),
            last_seen: record.finished_at,
        });
    }
}

#[cfg(test)]
mod tests {
    use mirror_types::{Location, MirrorId};

    use super::*;
    use crate::ManifestWriter;

    fn record(name: &str, ok: bool) -> ManifestRecord {
        ManifestRecord {
            schema_version: 2,
            storage: "filesystem".to_owned(),
            crate_name: Some(name.to_owned()),
            version: Some("1.0.0".to_owned()),
            sha256: ok.then(|| "ab".repeat(32)),
            size: 7,
            ok,
            status: if ok { "downloaded" } else { "error" }.to_owned(),
            ..ManifestRecord::default()
        }
    }

    #[test]
    fn a_deleted_catalogue_is_made_again_from_the_manifest() {
        let dir = tempfile::tempdir().expect("dir");
        let manifest = dir.path().join("m.jsonl");
        let (mut writer, _) = ManifestWriter::open(&manifest, MirrorId::from_bytes([1; 16])).expect("open");
        let end = writer
            .append(&[record("a", false), record("b", true), record("a", true), record("c", false)])
            .expect("append");
        let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        assert_eq!(catalogue.replay(&manifest, Layout::Shard).expect("replay").records, 4);
        assert_eq!(catalogue.count().expect("count"), 2);
        assert_eq!(catalogue.failures().expect("failures"), [("c".into(), "1.0.0".into(), "error".into())]);
        assert_eq!(catalogue.manifest_len().expect("len"), end);
        assert_eq!(catalogue.replay(&manifest, Layout::Shard).expect("replay").records, 0);
        let held = catalogue.held_of(&"a".parse().expect("name")).expect("held");
        assert_eq!((held.len(), held[0].size), (1, 7));
    }

    #[test]
    fn a_catalogue_whose_making_was_killed_is_opened() {
        let dir = tempfile::tempdir().expect("dir");
        let (made, killed) = (dir.path().join("made.sqlite"), dir.path().join("killed.sqlite"));
        let db = rusqlite::Connection::open(&made).expect("open");
        db.execute_batch(
            "PRAGMA cache_size = 1; BEGIN; CREATE TABLE t (x);
             WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 500)
             INSERT INTO t SELECT randomblob(400) FROM n;",
        )
        .expect("begin");
        for suffix in ["", "-journal"] {
            let name = |path: &Path| format!("{}{suffix}", path.display());
            #[expect(clippy::disallowed_methods, reason = "a test's own file")]
            std::fs::copy(name(&made), name(&killed)).expect("copy");
        }
        let catalogue = Catalogue::open(&killed).expect("what was begun is taken back");
        assert!(catalogue.is_empty().expect("empty"));
    }

    #[test]
    fn members_of_bundles_are_held_where_the_record_says() {
        let dir = tempfile::tempdir().expect("dir");
        let manifest = dir.path().join("m.jsonl");
        let (mut writer, _) = ManifestWriter::open(&manifest, MirrorId::from_bytes([1; 16])).expect("open");
        let bundled = |name: &str, storage: &str, offset| ManifestRecord {
            storage: storage.to_owned(),
            bundle_path: Some("some/dir/bundle-0012.tar.zst".to_owned()),
            frame_offset: Some(offset),
            frame_len: Some(50),
            ..record(name, true)
        };
        let records = [
            bundled("a", "bundle", 100),
            record("b", true),
            bundled("b", "bundle", 150),
            bundled("c", "filesystem+bundle", 200),
        ];
        writer.append(&records).expect("append");
        let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        catalogue.replay(&manifest, Layout::Shard).expect("replay");
        let held = |catalogue: &Catalogue, name: &str| {
            let held = catalogue.held_of(&name.parse().expect("name")).expect("held");
            held.first().map(|held| {
                (held.locations.is_loose(), held.locations.member().map(|at| (at.bundle, at.offset, at.len)))
            })
        };
        assert_eq!(held(&catalogue, "a"), Some((false, Some((12, 100, 50)))));
        assert_eq!(
            held(&catalogue, "b"),
            Some((true, Some((12, 150, 50)))),
            "one place does not end the other"
        );
        assert_eq!(held(&catalogue, "c"), Some((true, Some((12, 200, 50)))));
        assert_eq!(catalogue.bundles().expect("bundles"), [(12, 250)]);

        let id = |name: &str| ReleaseId {
            name: name.parse().expect("name"),
            version: "1.0.0".parse().expect("version"),
        };
        let lost = CatalogueBatch {
            lost: vec![id("b")],
            lost_members: vec![id("a"), id("c")],
            ..CatalogueBatch::default()
        };
        catalogue.apply(&lost).expect("apply");
        assert_eq!(held(&catalogue, "a"), None);
        assert_eq!(held(&catalogue, "b"), Some((false, Some((12, 150, 50)))));
        assert_eq!(held(&catalogue, "c"), Some((true, None)));
        assert_eq!(catalogue.ledger_crates().expect("ledger"), ["a", "b", "c"]);
        // Other bytes under the same name: nothing of the old is held any more.
        let (sha256, locations) = (Sha256::from_bytes([7; 32]), Location::LOOSE.into());
        let other = HeldRelease { id: id("b"), sha256, size: 1, locations };
        catalogue.apply(&CatalogueBatch { held: vec![other], ..CatalogueBatch::default() }).expect("apply");
        assert_eq!(held(&catalogue, "b"), Some((true, None)));
    }

    #[test]
    fn records_of_the_source_system_prove_nothing() {
        let mut batch = CatalogueBatch::default();
        take(ManifestRecord { schema_version: 1, ..record("a", true) }, Layout::Shard, &mut batch);
        assert!(batch.held.is_empty());
    }
}
