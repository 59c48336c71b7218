//! The records that a mirror writes to its manifest. No other code makes any.

use std::path::PathBuf;
use std::time::SystemTime;

use mirror_bundle::BundleMember;
use mirror_manifest::{
    EXISTING, FailureRow, Held, ManifestRecord, PRUNED, REINSTATED, REMOVED_UPSTREAM, SCHEMA_VERSION,
    rfc3339, storage_name,
};
use mirror_types::{BundleNumber, CrateName, Layout, Location, Locations, ReleaseId, Sha256, StoreId};

/// Times closer than this are written as one, microseconds.
const ONE_MOMENT_US: u128 = 500;

/// A wanted release.
#[derive(Debug, Clone)]
pub struct WantedRelease {
    /// Crate and version.
    pub id: ReleaseId,
    /// Its path in the layout of the mirror.
    pub path: String,
    /// The address that it comes from, readable form.
    pub url: String,
    /// Its checksum in the index, when there is one.
    pub cksum: Option<Sha256>,
}

/// The facts about verified bytes.
#[derive(Debug, Clone)]
pub struct VerifiedBytes {
    /// Their hash.
    pub sha256: Sha256,
    /// Their number.
    pub size: u64,
    /// Attempts beyond the first.
    pub retries: u32,
    /// The last HTTP status, when they were fetched.
    pub http_status: Option<u16>,
    /// When fetching or hashing them began.
    pub started: SystemTime,
    /// When it ended.
    pub finished: SystemTime,
}

/// The reason why a wanted release is not held.
#[derive(Debug, Clone)]
pub struct FailedAttempt {
    /// The kind, as in the failure ledger.
    pub kind: &'static str,
    /// The message, one line.
    pub message: String,
    /// True if upstream cannot deliver it.
    pub unavailable: bool,
    /// The last HTTP status.
    pub http_status: Option<u16>,
    /// Attempts beyond the first.
    pub retries: u32,
    /// When the first attempt began.
    pub started: SystemTime,
    /// When the last one ended.
    pub finished: SystemTime,
}

impl FailedAttempt {
    /// Returns the row of the failure ledger for a release or, without one, for a whole crate.
    pub(crate) fn ledger_row(self, name: CrateName, release: Option<WantedRelease>) -> FailureRow {
        let now = rfc3339(self.finished);
        let (version, cksum, url) = match release {
            Some(release) => (Some(release.id.version), release.cksum, release.url),
            None => (None, None, String::new()),
        };
        FailureRow {
            name,
            version,
            cksum,
            url,
            kind: self.kind.to_owned(),
            error: self.message,
            http_status: self.http_status,
            attempts: self.retries + 1,
            first_seen: now.clone(),
            last_seen: now,
        }
    }
}

/// Makes the records of one run.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// The root of the mirror, in the form in which it was named.
    pub(crate) root: String,
    pub(crate) layout: Layout,
    /// The directory of the bundles, in that form.
    pub(crate) bundles_dir: PathBuf,
    pub(crate) run_id: String,
    /// The first of the stores for new releases.
    pub(crate) target: StoreId,
}

impl Recorder {
    pub(crate) fn held(
        &self,
        release: &WantedRelease,
        bytes: &VerifiedBytes,
        locations: &Locations,
        status: &str,
    ) -> ManifestRecord {
        let started_at = rfc3339(bytes.started);
        let took = bytes.finished.duration_since(bytes.started);
        let finished_at = match took {
            Ok(took) if took.as_micros() < ONE_MOMENT_US => started_at.clone(),
            _ => rfc3339(bytes.finished),
        };
        let mut record = ManifestRecord {
            url: release.url.clone(),
            size: bytes.size,
            sha256: Some(bytes.sha256.to_hex()),
            started_at,
            finished_at,
            ok: true,
            retries: bytes.retries,
            http_status: bytes.http_status,
            status: status.to_owned(),
            cksum: release.cksum.map(Sha256::to_hex),
            ..self.of_file(&release.id, &release.path)
        };
        self.set_locations(&mut record, locations, &release.path);
        record
    }

    /// Makes the record of a release that is held and was not looked at.
    pub(crate) fn existing(
        &self,
        release: &WantedRelease,
        (sha256, size): (Sha256, u64),
        locations: &Locations,
    ) -> ManifestRecord {
        let now = rfc3339(SystemTime::now());
        let mut record = ManifestRecord {
            url: release.url.clone(),
            size,
            sha256: Some(sha256.to_hex()),
            started_at: now.clone(),
            finished_at: now,
            ok: true,
            status: EXISTING.to_owned(),
            cksum: release.cksum.map(Sha256::to_hex),
            ..self.of_file(&release.id, &release.path)
        };
        self.set_locations(&mut record, locations, &release.path);
        record
    }

    pub(crate) fn failed(&self, release: &WantedRelease, failure: &FailedAttempt) -> ManifestRecord {
        ManifestRecord {
            url: release.url.clone(),
            storage: storage_name(self.target).to_owned(),
            status: if failure.unavailable { "unavailable" } else { "error" }.to_owned(),
            http_status: failure.http_status,
            retries: failure.retries,
            cksum: release.cksum.map(Sha256::to_hex),
            path: format!("{}/{}", self.root, release.path),
            version: Some(release.id.version.to_string()),
            ..self.crate_failed(&release.id.name, failure)
        }
    }

    pub(crate) fn crate_failed(&self, name: &CrateName, failure: &FailedAttempt) -> ManifestRecord {
        ManifestRecord {
            schema_version: SCHEMA_VERSION,
            started_at: rfc3339(failure.started),
            finished_at: rfc3339(failure.finished),
            error: Some(failure.message.clone()),
            status: "error".to_owned(),
            crate_name: Some(name.to_string()),
            run_id: Some(self.run_id.clone()),
            ..ManifestRecord::default()
        }
    }

    /// Makes the record of a release that a store does not hold any more. `why` is `None` when a person asked for that.
    pub(crate) fn pruned(&self, id: &ReleaseId, why: Option<&str>) -> ManifestRecord {
        let now = rfc3339(SystemTime::now());
        ManifestRecord {
            started_at: now.clone(),
            finished_at: now,
            ok: true,
            error: why.map(str::to_owned),
            status: PRUNED.to_owned(),
            ..self.of_file(id, &self.layout.path(id))
        }
    }

    /// Makes the record of where a release is still held, to follow the record that it was pruned.
    pub(crate) fn still_held(&self, id: &ReleaseId, held: &Held, pruned: &ManifestRecord) -> ManifestRecord {
        let mut record = ManifestRecord {
            size: held.size,
            sha256: Some(held.sha256.to_hex()),
            error: None,
            status: EXISTING.to_owned(),
            ..pruned.clone()
        };
        self.set_locations(&mut record, &held.locations, &self.layout.path(id));
        record
    }

    /// Makes the record of a held release that upstream deleted and that is not offered. It has no path, so that no
    /// reader takes it for the record of a file.
    pub(crate) fn removed_upstream(&self, id: &ReleaseId) -> ManifestRecord {
        let why = "upstream deleted it; it is held and not offered".to_owned();
        ManifestRecord { error: Some(why), ..self.of_offer(id, REMOVED_UPSTREAM) }
    }

    /// Makes the record of a held release that upstream offers again.
    pub(crate) fn reinstated(&self, id: &ReleaseId) -> ManifestRecord {
        self.of_offer(id, REINSTATED)
    }

    /// Makes the record of a member that a bundle's own manifest lists.
    pub(crate) fn found_member(&self, member: &BundleMember) -> ManifestRecord {
        let now = rfc3339(SystemTime::now());
        let mut record = ManifestRecord {
            schema_version: SCHEMA_VERSION,
            url: member.url.clone(),
            path: format!("{}/{}", self.root, member.bundle_member),
            size: member.size,
            sha256: Some(member.sha256.to_hex()),
            started_at: now.clone(),
            finished_at: now,
            ok: true,
            status: EXISTING.to_owned(),
            crate_name: Some(member.crate_name.clone()),
            version: member.version.clone(),
            run_id: Some(self.run_id.clone()),
            ..ManifestRecord::default()
        };
        let locations = member.location().map(Locations::from).unwrap_or_default();
        self.set_locations(&mut record, &locations, &member.bundle_member);
        record
    }

    /// Makes the record of a file that is in its place and has no record.
    pub(crate) fn found_file(
        &self,
        id: &ReleaseId,
        path: &str,
        (sha256, size): (Sha256, u64),
        (started, finished): (SystemTime, SystemTime),
    ) -> ManifestRecord {
        let mut record = ManifestRecord {
            size,
            sha256: Some(sha256.to_hex()),
            started_at: rfc3339(started),
            finished_at: rfc3339(finished),
            ok: true,
            status: EXISTING.to_owned(),
            ..self.of_file(id, path)
        };
        self.set_locations(&mut record, &Location::LOOSE.into(), path);
        record
    }

    fn of_file(&self, id: &ReleaseId, path: &str) -> ManifestRecord {
        ManifestRecord {
            schema_version: SCHEMA_VERSION,
            path: format!("{}/{path}", self.root),
            crate_name: Some(id.name.to_string()),
            version: Some(id.version.to_string()),
            run_id: Some(self.run_id.clone()),
            ..ManifestRecord::default()
        }
    }

    fn of_offer(&self, id: &ReleaseId, status: &str) -> ManifestRecord {
        let now = rfc3339(SystemTime::now());
        ManifestRecord {
            schema_version: SCHEMA_VERSION,
            started_at: now.clone(),
            finished_at: now,
            status: status.to_owned(),
            crate_name: Some(id.name.to_string()),
            version: Some(id.version.to_string()),
            run_id: Some(self.run_id.clone()),
            ..ManifestRecord::default()
        }
    }

    fn set_locations(&self, record: &mut ManifestRecord, locations: &Locations, name: &str) {
        let path =
            |number| format!("{}/{}", self.bundles_dir.display(), BundleNumber::new(number).file_name());
        record.set_locations(locations, &path, name);
    }
}
