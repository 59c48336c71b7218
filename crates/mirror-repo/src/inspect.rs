//! What a person sees who looks at a mirror: where its bytes are, and what its runs did. For the console; the fields are
//! described in `docs/console.md`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use mirror_bundle::{BundleFiles, list_bundles};
use mirror_fs::{FileReader, open_to_read};
use mirror_manifest::{ManifestRecord, RunRow, index_cache_in};
use serde::Serialize;

use crate::error::RepoError;
use crate::mirror::Mirror;
use crate::recorded::RecordedPlaces;
use crate::writer::catalogue_in;

/// Most bundles that are listed, the newest.
const MAX_BUNDLES: usize = 200;
/// Most runs, and most snapshots, that are listed, the newest.
const MAX_RUNS: usize = 200;
const MAX_SNAPSHOTS: usize = 50;
/// The end of the manifest in which runs are looked for that no row records.
const MANIFEST_TAIL_BYTES: u64 = 4 << 20;

/// Where the bytes of a mirror are.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StorageReport {
    /// Its root.
    pub root: String,
    /// The layout of its loose tree.
    pub layout: &'static str,
    /// The directory of its bundles.
    pub bundles_dir: String,
    /// The room on its disk, when it is known.
    pub disk: Option<DiskReport>,
    /// Held releases, and their bytes.
    pub releases: u64,
    /// See `releases`.
    pub bytes: u64,
    /// Releases that are loose files.
    pub loose: u64,
    /// Releases in bundles.
    pub bundled: u64,
    /// Releases in other stores.
    pub elsewhere: u64,
    /// Damaged copies in quarantine.
    pub quarantined: u64,
    /// Its bundles, newest first.
    pub bundles: Vec<BundleReport>,
    /// The number of bundles, and of those that are not listed.
    pub bundles_all: u64,
    /// See `bundles_all`.
    pub bundles_left_out: u64,
    /// Bytes of the catalogue, the index cache and the manifest.
    pub catalogue_bytes: u64,
    /// See `catalogue_bytes`.
    pub index_cache_bytes: u64,
    /// See `catalogue_bytes`; `None` where the manifest is not there.
    pub manifest_bytes: Option<u64>,
}

/// The room on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiskReport {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that a run may still write.
    pub free: u64,
    /// Files that still fit; `None` where there is no limit.
    pub inodes_free: Option<u64>,
}

/// A bundle, and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BundleReport {
    /// The name of its file.
    pub name: String,
    /// `sealed`, `partial`, `missing`, or `unlisted` when nothing in it is held.
    pub state: &'static str,
    /// Held releases in it.
    pub releases: u64,
    /// Bytes of the file; `None` when it is missing.
    pub bytes: Option<u64>,
}

/// The numbers of a mirror that metrics show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirrorNumbers {
    /// Bytes of releases that are loose files.
    pub loose_bytes: u64,
    /// Bytes of bundles.
    pub bundle_bytes: u64,
    /// Complete bundles.
    pub sealed_bundles: u64,
    /// Bundles that the next run continues.
    pub partial_bundles: u64,
    /// Milliseconds since 1970 at which the last run came to its end, whatever failed in it.
    pub last_run_ms: Option<u64>,
    /// Milliseconds since 1970 at which the last run ended that left nothing missing.
    pub last_success_ms: Option<u64>,
}

/// What the runs of a mirror did.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct RunsReport {
    /// The runs, newest first.
    pub runs: Vec<RunReport>,
    /// True if older runs are left out.
    pub is_cut: bool,
    /// The snapshots, newest first.
    pub snapshots: Vec<SnapshotReport>,
}

/// A run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunReport {
    /// Its id, as in the manifest.
    pub id: String,
    /// Milliseconds since 1970.
    pub began_ms: u64,
    /// Milliseconds since 1970; `None` for one that did not end.
    pub ended_ms: Option<u64>,
    /// `complete`, `missing`, `stopped`, `damage`, `given-up`; `running` or `unfinished` for one that did not record its
    /// end; `recorded` for one of an earlier version, which recorded none.
    pub state: String,
    /// Releases that it downloaded.
    pub downloaded: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Releases that it could not get.
    pub failed: u64,
    /// Held releases that it hashed again.
    pub verified: u64,
    /// The serial of the newest snapshot at its end.
    pub snapshot: Option<u64>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SnapshotReport {
    /// Its serial.
    pub serial: u64,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Milliseconds since 1970.
    pub expires_ms: u64,
    /// What it offers.
    pub crates: u64,
    /// See `crates`.
    pub releases: u64,
    /// See `crates`.
    pub bytes: u64,
}

impl From<RunRow> for RunReport {
    fn from(row: RunRow) -> Self {
        let RunRow { id, began_ms, ended_ms, state, downloaded, bytes, failed, verified, snapshot } = row;
        Self { id, began_ms, ended_ms: Some(ended_ms), state, downloaded, bytes, failed, verified, snapshot }
    }
}

fn bytes_of(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|meta| meta.len())
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Mirror {
    /// Returns the room on the disk of the mirror; `None` where it is not known. Blocks.
    #[must_use]
    pub fn disk(&self) -> Option<DiskReport> {
        let space = mirror_fs::disk_space(self.root()).ok().flatten()?;
        Some(DiskReport { total: space.total, free: space.free, inodes_free: space.inodes_free })
    }

    /// Reports where the bytes of the mirror are. Blocks; the time grows with the number of releases.
    ///
    /// # Errors
    /// When the catalogue or the directory of the bundles cannot be read.
    pub fn storage(&self) -> Result<StorageReport, RepoError> {
        let (counts, by_bundle) = self.ask(|catalogue| {
            let count = || Ok::<_, RepoError>((catalogue.place_counts()?, catalogue.bundle_counts()?));
            catalogue.consistently(count)
        })?;
        let by_bundle = by_bundle.into_iter().map(|bundle| (bundle.number, bundle.releases)).collect();
        let bundles = self.bundle_reports(by_bundle)?;
        let state = self.store().state_dir();
        let manifest = RecordedPlaces::of(self.root())?.map(|places| places.manifest);
        let all = bundles.len();
        let quarantine = std::fs::read_dir(state.join("quarantine"));
        Ok(StorageReport {
            root: self.root().display().to_string(),
            layout: self.layout().as_str(),
            bundles_dir: self.bundles_dir().display().to_string(),
            disk: self.disk(),
            releases: counts.releases,
            bytes: counts.bytes,
            loose: counts.loose,
            bundled: counts.bundled,
            elsewhere: counts.elsewhere,
            quarantined: quarantine.map_or(0, |entries| entries.count() as u64),
            bundles_left_out: all.saturating_sub(MAX_BUNDLES) as u64,
            bundles_all: all as u64,
            bundles: bundles.into_iter().rev().take(MAX_BUNDLES).collect(),
            catalogue_bytes: bytes_of(&catalogue_in(&state)).unwrap_or(0),
            index_cache_bytes: bytes_of(&index_cache_in(&state)).unwrap_or(0),
            manifest_bytes: manifest.as_deref().and_then(bytes_of),
        })
    }

    /// Counts what metrics show. Blocks; the time grows with the number of releases.
    ///
    /// # Errors
    /// When the catalogue or the directory of the bundles cannot be read.
    pub fn numbers(&self) -> Result<MirrorNumbers, RepoError> {
        let mut numbers = self.ask(|catalogue| {
            Ok(MirrorNumbers {
                loose_bytes: catalogue.place_counts()?.loose_bytes,
                last_run_ms: catalogue.last_run()?.as_deref().and_then(mirror_manifest::millis),
                last_success_ms: catalogue.last_success_ms()?,
                ..MirrorNumbers::default()
            })
        })?;
        for file in self.bundle_files()? {
            *if file.sealed { &mut numbers.sealed_bundles } else { &mut numbers.partial_bundles } += 1;
            numbers.bundle_bytes += bytes_of(&file.path).unwrap_or(0);
        }
        Ok(numbers)
    }

    fn bundle_files(&self) -> Result<Vec<BundleFiles>, RepoError> {
        let dir = self.bundles_dir();
        Ok(if dir.is_dir() { list_bundles(dir)? } else { Vec::new() })
    }

    /// Lists the bundles, oldest first; `held` are the held releases by the number of their bundle.
    fn bundle_reports(&self, mut held: BTreeMap<u32, u64>) -> Result<Vec<BundleReport>, RepoError> {
        let mut found: Vec<(u32, BundleReport)> = Vec::new();
        for file in self.bundle_files()? {
            let releases = file.number.and_then(|number| held.remove(&number)).unwrap_or(0);
            let state = match (file.sealed, releases) {
                (false, _) => "partial",
                (true, 0) => "unlisted",
                (true, _) => "sealed",
            };
            let bytes = bytes_of(&file.path);
            found.push((
                file.number.unwrap_or(u32::MAX),
                BundleReport { name: file.name, state, releases, bytes },
            ));
        }
        found.extend(held.into_iter().map(|(number, releases)| {
            let name = format!("bundle-{number:04}");
            (number, BundleReport { name, state: "missing", releases, bytes: None })
        }));
        found.sort_by_key(|(number, _)| *number);
        Ok(found.into_iter().map(|(_, bundle)| bundle).collect())
    }

    /// Reports what the runs of the mirror did: those that recorded their end, and those that left only records in the
    /// last part of the manifest. `running_since_ms`: a run that began no earlier and has no end is under way; without it,
    /// one whose last record is younger than ten minutes. Blocks.
    ///
    /// # Errors
    /// When the catalogue, the manifest or the directory of the snapshots cannot be read.
    pub fn runs(&self, running_since_ms: Option<u64>) -> Result<RunsReport, RepoError> {
        let rows = self.ask(|catalogue| Ok(catalogue.runs(MAX_RUNS)?))?;
        let known: HashSet<String> = rows.iter().map(|row| row.id.clone()).collect();
        let oldest_ms = rows.last().map(|row| row.began_ms);
        let (in_manifest, is_whole) = self.runs_in_manifest()?;
        let now_ms = millis(SystemTime::now());
        let mut runs: Vec<RunReport> = rows.into_iter().map(RunReport::from).collect();
        for mut run in in_manifest.into_iter().filter(|run| !known.contains(&run.id)) {
            run.state = state_of(&run, running_since_ms, oldest_ms, now_ms).to_owned();
            run.ended_ms = run.ended_ms.filter(|_| run.state == "recorded");
            runs.push(run);
        }
        runs.sort_by(|a, b| (b.began_ms, &b.id).cmp(&(a.began_ms, &a.id)));
        let is_cut = runs.len() > MAX_RUNS || !is_whole;
        runs.truncate(MAX_RUNS);
        Ok(RunsReport { runs, is_cut, snapshots: self.snapshot_reports()? })
    }

    fn snapshot_reports(&self) -> Result<Vec<SnapshotReport>, RepoError> {
        let dir = self.snapshot_dir();
        let newest = dir.list()?.into_iter().rev().take(MAX_SNAPSHOTS);
        // One that cannot be read is no reason to hide the others; the programs that need it say what is wrong with it.
        let found = newest.filter_map(|file| dir.find(file.serial).ok());
        Ok(found
            .map(|snapshot| {
                let contents = snapshot.contents();
                SnapshotReport {
                    serial: contents.serial,
                    created_ms: millis(contents.created),
                    expires_ms: millis(contents.expires),
                    crates: contents.counts.crates,
                    releases: contents.counts.releases,
                    bytes: contents.counts.bytes,
                }
            })
            .collect())
    }

    /// Adds up the records of runs in the last part of the manifest. Returns whether that was all of it.
    fn runs_in_manifest(&self) -> Result<(Vec<RunReport>, bool), RepoError> {
        let nothing = || (Vec::new(), true);
        let Some(places) = RecordedPlaces::of(self.root())? else { return Ok(nothing()) };
        let Some((tail, is_whole)) = tail_of(&places.manifest) else { return Ok(nothing()) };
        let own = places.id;
        let mut runs: HashMap<String, RunReport> = HashMap::new();
        // The first line may be cut.
        let skipped = usize::from(!is_whole);
        for line in tail.split(|byte| *byte == b'\n').skip(skipped) {
            let Ok(record) = serde_json::from_slice::<ManifestRecord>(line) else { continue };
            if record.mirror.is_some() && record.mirror != own {
                continue;
            }
            let Some(id) = record.run_id.clone() else { continue };
            add(runs.entry(id).or_default(), &record);
        }
        let named = runs.into_iter().map(|(id, run)| RunReport { id, ..run });
        Ok((named.collect(), is_whole))
    }
}

/// The time after its last record for which a run that did not record its end counts as going on, when nobody knows.
const PERHAPS_RUNNING_MS: u64 = 600_000;

/// Returns the state of a run of which only records of releases are known.
fn state_of(
    run: &RunReport,
    running_since_ms: Option<u64>,
    oldest_ms: Option<u64>,
    now_ms: u64,
) -> &'static str {
    let is_running = match running_since_ms {
        Some(since) => run.began_ms >= since,
        None => run.ended_ms.is_some_and(|last| now_ms.saturating_sub(last) < PERHAPS_RUNNING_MS),
    };
    if is_running {
        "running"
    } else if oldest_ms.is_none_or(|oldest| run.began_ms < oldest) {
        "recorded"
    } else {
        "unfinished"
    }
}

/// Adds a record to its run.
fn add(run: &mut RunReport, record: &ManifestRecord) {
    let ms = |text: &str| mirror_manifest::millis(text).unwrap_or(0);
    let (began, ended) = (ms(&record.started_at), ms(&record.finished_at));
    run.began_ms = if run.began_ms == 0 { began } else { run.began_ms.min(began) };
    run.ended_ms = run.ended_ms.max(Some(ended));
    match record.status.as_str() {
        "downloaded" => {
            run.downloaded += 1;
            run.bytes += record.size;
        }
        "verified_existing" => run.verified += 1,
        "error" | "unavailable" => run.failed += 1,
        _ => {}
    }
}

/// Reads the last part of a file, and says whether it is all of it; `None` where there is none that can be read.
fn tail_of(path: &Path) -> Option<(Vec<u8>, bool)> {
    let file = FileReader::of(open_to_read(path).ok()?).ok()??;
    let len = file.len().min(MANIFEST_TAIL_BYTES);
    let mut tail = vec![0; usize::try_from(len).ok()?];
    file.read_exact_at(&mut tail, file.len() - len).ok()?;
    Some((tail, len == file.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_an_end_is_going_on_or_was_ended_from_outside() {
        let run = RunReport { began_ms: 1_000, ended_ms: Some(2_000), ..RunReport::default() };
        let soon = 2_000 + PERHAPS_RUNNING_MS - 1;
        for (since, oldest, now, state) in [
            (Some(1_000), Some(500), soon, "running"),
            (Some(1_001), Some(500), soon, "unfinished"),
            // Between runs, only the time of its last record tells.
            (None, Some(500), soon, "running"),
            (None, Some(500), soon + 1, "unfinished"),
            // Older than every recorded run: of a version that did not record them.
            (None, Some(1_500), soon + 1, "recorded"),
            (None, None, soon + 1, "recorded"),
        ] {
            assert_eq!(state_of(&run, since, oldest, now), state, "{since:?} {oldest:?} {now}");
        }
    }
}
