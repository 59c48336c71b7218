//! Replays the manifest's records of what is held.

use std::path::Path;

use mirror_types::{CrateName, Layout, ReleaseId, Sha256, VersionText};

use super::change::Change;
use super::database::Catalogue;
use super::rows::{FailureRow, HeldRelease, UpstreamRemoval};
use crate::error::ManifestError;
use crate::reader::{first_line, read_from};
use crate::record::{EXISTING, ManifestRecord, PRUNED, REINSTATED, REMOVED_UPSTREAM};

/// The extent of a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Records that were read.
    pub records: u64,
    /// True if the catalogue had nothing of this manifest, which has records.
    pub anew: bool,
}

impl Catalogue {
    /// Replays the records behind those that were replayed before. Reads another or a shorter manifest from its
    /// beginning.
    ///
    /// # Errors
    /// When the manifest is damaged or SQLite fails.
    pub fn replay(&mut self, manifest: &Path, layout: Layout) -> Result<ReplayReport, ManifestError> {
        /// Changes that are applied together: those of some 10,000 records.
        const CHUNK: usize = 20_000;
        let mut report = ReplayReport::default();
        let same = self.follows(manifest)?;
        let start = if same { self.manifest_len()? } else { 0 };
        let mut changes = Vec::new();
        if !same {
            // Replaying old records may undo what was held since.
            changes.push(Change::CursorOutdated);
        }
        let (mut pruned, mut len) = (false, start);
        let mut mapper = Mapper { layout, dir: String::new() };
        read_from::<ManifestError>(manifest, start, &mut |end, record| {
            report.records += 1;
            pruned |= record.status == PRUNED;
            mapper.map(record, &mut changes);
            len = end;
            if changes.len() >= CHUNK {
                changes.push(Change::ManifestLen(end));
                self.apply(&changes)?;
                changes.clear();
            }
            Ok(())
        })?;
        if pruned {
            // Bundles that are gone for good have rows, too, until they are measured.
            changes.push(Change::BundlesMeasured);
        }
        if !same || report.records > 0 {
            changes.push(Change::ManifestLen(len));
            self.apply(&changes)?;
        }
        report.anew = start == 0 && report.records > 0;
        self.know(manifest)?;
        Ok(report)
    }

    /// Returns whether the catalogue was built from this manifest, and the manifest has not become shorter since.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn follows(&self, manifest: &Path) -> Result<bool, ManifestError> {
        let len = std::fs::metadata(manifest).map_or(0, |meta| meta.len());
        let is_own = |own| Some(own) == identity(manifest);
        Ok(len >= self.manifest_len()? && self.manifest_identity()?.is_none_or(is_own))
    }

    /// Remembers the identity of the replayed manifest, once its first line exists.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn know(&mut self, manifest: &Path) -> Result<(), ManifestError> {
        identity(manifest).map_or(Ok(()), |identity| self.set_manifest_identity(&identity))
    }
}

/// Returns the identity of a manifest: a hash of its first line, which names a run and its time. `None` while there is
/// no such line.
fn identity(manifest: &Path) -> Option<String> {
    const MOST: u64 = 64 << 10;
    let line = first_line(std::fs::File::open(manifest).ok()?, MOST).ok()?;
    line.last().filter(|last| **last == b'\n')?;
    // FNV-1a, 64 bits: the same in every version.
    let hash = line
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    Some(format!("{hash:016x}"))
}

/// Turns records into changes.
struct Mapper {
    layout: Layout,
    /// The directory of the last [`Change::DirWritten`].
    dir: String,
}

impl Mapper {
    /// Appends the changes of a record. Records of schema 1 prove nothing: their writer kept files with wrong hashes.
    fn map(&mut self, record: ManifestRecord, changes: &mut Vec<Change>) {
        let Some(Ok(name)) = record.crate_name.as_deref().map(str::parse::<CrateName>) else { return };
        let version = match record.version.as_deref().map(str::parse::<VersionText>) {
            Some(Ok(version)) => Some(version),
            Some(Err(_)) => return,
            None => None,
        };
        if record.schema_version < 2 {
            return;
        }
        let locations = if record.ok { record.locations() } else { None };
        match (record.status.as_str(), version) {
            (PRUNED, Some(version)) => changes.push(Change::Removed(ReleaseId { name, version })),
            (REMOVED_UPSTREAM, Some(version)) => changes.push(Change::RemovedUpstream {
                id: ReleaseId { name, version },
                kind: UpstreamRemoval::Deleted,
                seen: record.finished_at,
            }),
            (REINSTATED, Some(version)) => changes.push(Change::Reinstated(ReleaseId { name, version })),
            (PRUNED | REMOVED_UPSTREAM | REINSTATED, None) => {}
            (_, version) if !record.ok => changes.push(Change::Failed(failure(record, name, version))),
            (_, version) => {
                let sha256 = record.sha256.as_deref().map(Sha256::from_hex);
                if let (Some(version), Some(locations), Some(Ok(sha256))) = (version, locations, sha256) {
                    let id = ReleaseId { name, version };
                    // The run that found it did not compare it with an index: a failure stands until another run does.
                    if record.status != EXISTING {
                        changes.push(Change::Resolved(id.clone()));
                    }
                    self.written(&id.name, changes);
                    let release = HeldRelease { id, sha256, size: record.size, locations };
                    changes.push(Change::Held { release, source: 0 });
                }
            }
        }
    }

    /// Notes that the directory of a crate was written to, once for consecutive releases in it.
    fn written(&mut self, name: &CrateName, changes: &mut Vec<Change>) {
        let dir = self.layout.dir(name);
        if self.dir != dir {
            changes.push(Change::DirWritten(dir.clone()));
            self.dir = dir;
        }
    }
}

fn failure(record: ManifestRecord, name: CrateName, version: Option<VersionText>) -> FailureRow {
    FailureRow {
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
    }
}

#[cfg(test)]
mod tests {
    use mirror_types::{Location, MirrorId, StoreId};

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
    fn a_deleted_catalogue_is_rebuilt_from_the_manifest() {
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
        let lost = [("b", StoreId::LOOSE), ("a", StoreId::BUNDLES), ("c", StoreId::BUNDLES)]
            .map(|(name, store)| Change::Lost { id: id(name), store });
        catalogue.apply(&lost).expect("apply");
        assert_eq!(held(&catalogue, "a"), None);
        assert_eq!(held(&catalogue, "b"), Some((false, Some((12, 150, 50)))));
        assert_eq!(held(&catalogue, "c"), Some((true, None)));
        assert_eq!(catalogue.ledger_crates().expect("ledger"), ["a", "b", "c"]);
        // Other bytes under the same name: none of the old places holds it any more.
        let (sha256, locations) = (Sha256::from_bytes([7; 32]), Location::LOOSE.into());
        let release = HeldRelease { id: id("b"), sha256, size: 1, locations };
        catalogue.apply(&[Change::Held { release, source: 0 }]).expect("apply");
        assert_eq!(held(&catalogue, "b"), Some((true, None)));
    }

    #[test]
    fn records_of_the_source_system_prove_nothing() {
        let mut changes = Vec::new();
        let mut mapper = Mapper { layout: Layout::Shard, dir: String::new() };
        mapper.map(ManifestRecord { schema_version: 1, ..record("a", true) }, &mut changes);
        assert!(changes.is_empty());
        mapper.map(record("a", true), &mut changes);
        assert!(!changes.is_empty(), "of schema 2 it would");
    }
}
