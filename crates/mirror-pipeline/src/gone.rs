//! What the manifest is told of releases that are not held any more: else it would call them held for ever, for
//! whoever reads it, and for the next catalogue that is made of it.

use std::path::Path;
use std::time::SystemTime;

use mirror_manifest::{
    Catalogue, EXISTING, Held, ManifestRecord, ManifestWriter, PRUNED, REMOVED_UPSTREAM, SCHEMA_VERSION,
    rfc3339,
};
use mirror_store::Store;
use mirror_types::{ReleaseId, StoreId};

use crate::bundles;
use crate::error::PipelineError;
use crate::removed::removal_record;

/// Releases whose records are appended at once.
const BATCH: usize = 5_000;

/// Makes the records of one run.
pub(crate) struct Gone<'a> {
    pub(crate) store: &'a Store,
    /// The root of the mirror, as records have it.
    pub(crate) root: &'a str,
    /// The directory of the bundles, as records have it.
    pub(crate) bundles_dir: &'a Path,
    pub(crate) run_id: &'a str,
}

/// What was lost of a release that may be held in two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Its file.
    File,
    /// The member of a bundle.
    Member,
}

impl Gone<'_> {
    /// Appends to `records` that a release is not held where it was and, when that is so, where it still is. `why` is
    /// left out where somebody asked for it.
    pub(crate) fn tell(
        &self,
        id: &ReleaseId,
        why: Option<&str>,
        left: Option<&Held>,
        records: &mut Vec<ManifestRecord>,
    ) {
        let now = rfc3339(SystemTime::now());
        let gone = ManifestRecord {
            schema_version: SCHEMA_VERSION,
            path: format!("{}/{}", self.root, self.store.layout().path(id)),
            started_at: now.clone(),
            finished_at: now,
            ok: true,
            error: why.map(str::to_owned),
            status: PRUNED.to_owned(),
            crate_name: Some(id.name.to_string()),
            version: Some(id.version.to_string()),
            run_id: Some(self.run_id.to_owned()),
            ..ManifestRecord::default()
        };
        let still = left.map(|held| self.still(id, held, &gone));
        records.push(gone);
        records.extend(still);
    }

    fn still(&self, id: &ReleaseId, held: &Held, gone: &ManifestRecord) -> ManifestRecord {
        let mut record = ManifestRecord {
            size: held.size,
            sha256: Some(held.sha256.to_hex()),
            error: None,
            status: EXISTING.to_owned(),
            ..gone.clone()
        };
        let bundle = |number| bundles::path_in(self.bundles_dir, &bundles::name(number));
        record.set_locations(&held.locations, &bundle, &self.store.layout().path(id));
        record
    }

    /// Appends to `records` that `what` of a release was lost, which the catalogue is not told yet. Says nothing of
    /// what was not held there.
    pub(crate) fn lost(
        &self,
        catalogue: &Catalogue,
        id: &ReleaseId,
        what: Lost,
        records: &mut Vec<ManifestRecord>,
    ) -> Result<(), PipelineError> {
        let Some(mut held) = catalogue.held_release(id)? else { return Ok(()) };
        let (store, why) = match what {
            Lost::File => (StoreId::LOOSE, "its file was gone or wrong"),
            Lost::Member => (StoreId::BUNDLES, "its bundle was gone, or it was damaged in it"),
        };
        if held.locations.remove(store).is_some() {
            let left = (!held.locations.is_empty()).then_some(&held);
            self.tell(id, Some(why), left, records);
            if left.is_some() && catalogue.is_deleted(id)? {
                records.push(removal_record(id, REMOVED_UPSTREAM, self.run_id));
            }
        }
        Ok(())
    }

    /// Writes into the manifest that these were lost, durable on return; returns its length when anything was
    /// written.
    pub(crate) fn write(
        &self,
        catalogue: &Catalogue,
        lost: &[ReleaseId],
        what: Lost,
        manifest: &mut ManifestWriter,
    ) -> Result<Option<u64>, PipelineError> {
        let mut len = None;
        for batch in lost.chunks(BATCH) {
            let mut records = Vec::new();
            batch.iter().try_for_each(|id| self.lost(catalogue, id, what, &mut records))?;
            if !records.is_empty() {
                len = Some(manifest.append(&records)?);
            }
        }
        if len.is_some() {
            manifest.sync()?;
        }
        Ok(len)
    }
}
