//! What a catalogue and the tree beside it say of what is held, for a plan.

use std::collections::{HashMap, HashSet};

use mirror_manifest::{Catalogue, Held, LOST, Withdrawal};
use mirror_repo::Presence;
use mirror_store::Store;
use mirror_types::{CrateName, Layout, ReleaseId};

use crate::error::SyncError;
use crate::plan::{FailedRelease, HeldRow, HeldView, SeenIn};

/// A mirror that may not be there yet.
pub(crate) struct CatalogueView {
    catalogue: Option<Catalogue>,
    layout: Layout,
    presence: Presence,
    /// The bit of the source that is planned; 0 when nothing was ever seen in it.
    source: u64,
    /// Held releases whose files are gone, as far as the catalogue does not know it: a dry run cannot have it forget
    /// them.
    lost: HashSet<ReleaseId>,
}

impl CatalogueView {
    pub(crate) fn new(
        catalogue: Option<Catalogue>,
        store: Option<Store>,
        layout: Layout,
        source: u64,
        lost: &[ReleaseId],
    ) -> Self {
        let presence = Presence::new(store);
        Self { catalogue, layout, presence, source, lost: lost.iter().cloned().collect() }
    }

    fn row(&self, held: &Held) -> HeldRow {
        let seen = match held.seen {
            0 => SeenIn::Unknown,
            seen if seen & self.source != 0 => SeenIn::Here,
            _ => SeenIn::Elsewhere,
        };
        HeldRow {
            sha256: held.sha256,
            bytes: held.size,
            locations: held.locations.clone(),
            seen,
            recorded: true,
        }
    }

    fn is_lost(&self, name: &CrateName, version: &str) -> bool {
        let version = version.parse();
        version.is_ok_and(|version| self.lost.contains(&ReleaseId { name: name.clone(), version }))
    }
}

impl HeldView for CatalogueView {
    fn versions(&self, name: &CrateName) -> Result<HashMap<String, HeldRow>, SyncError> {
        let Some(catalogue) = &self.catalogue else { return Ok(HashMap::new()) };
        let mut rows = catalogue.held_of(name)?;
        if !self.lost.is_empty() {
            rows.retain(|row| !self.is_lost(name, &row.version));
        }
        Ok(rows
            .into_iter()
            .map(|held| {
                let row = self.row(&held);
                (held.version, row)
            })
            .collect())
    }

    fn crates(&self, visit: &mut dyn FnMut(&str)) -> Result<(), SyncError> {
        self.catalogue.as_ref().map_or(Ok(()), |catalogue| Ok(catalogue.crates(visit)?))
    }

    fn crates_of_file(&self, file: &str) -> Result<Vec<String>, SyncError> {
        self.catalogue.as_ref().map_or(Ok(Vec::new()), |catalogue| Ok(catalogue.crates_of_file(file)?))
    }

    fn withdrawn(&self) -> Result<HashMap<ReleaseId, Withdrawal>, SyncError> {
        let Some(catalogue) = &self.catalogue else { return Ok(HashMap::new()) };
        Ok(catalogue.withdrawn()?.into_iter().map(|(id, kind, _)| (id, kind)).collect())
    }

    fn failed_crates(&self) -> Result<HashSet<String>, SyncError> {
        let Some(catalogue) = &self.catalogue else { return Ok(HashSet::new()) };
        Ok(catalogue.ledger_crates()?.into_iter().collect())
    }

    fn failures_of(&self, name: &CrateName) -> Result<Vec<FailedRelease>, SyncError> {
        let Some(catalogue) = &self.catalogue else { return Ok(Vec::new()) };
        let failed = |(version, kind): (String, String)| {
            let id = match version.as_str() {
                "" => None,
                version => Some(ReleaseId { name: name.clone(), version: version.parse().ok()? }),
            };
            Some(FailedRelease { id, lost: kind == LOST })
        };
        Ok(catalogue.ledger_of(name)?.into_iter().filter_map(failed).collect())
    }

    fn has_unrecorded(&mut self, id: &ReleaseId) -> Result<bool, SyncError> {
        Ok(self.presence.has(self.layout, id)?)
    }
}
