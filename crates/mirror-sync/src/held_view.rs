//! The view that a plan has of what is held, from a catalogue and the tree beside it.

use std::collections::{HashMap, HashSet};

use mirror_manifest::{
    Catalogue, DeferredGroup, Held, HeldBackRelease, LOST, LicenceRow, ReplacedRelease, UpstreamRemoval,
};
use mirror_repo::Presence;
use mirror_store::Store;
use mirror_types::{CrateName, Layout, ReleaseId, StoreId};

use crate::error::SyncError;
use crate::plan::{FailedRelease, HeldRow, HeldView, SeenIn};

/// A mirror that may not exist yet.
pub(crate) struct CatalogueView {
    catalogue: Option<Catalogue>,
    layout: Layout,
    presence: Presence,
    /// The bit of the source that is planned; 0 when nothing was ever seen in it.
    source: u64,
    /// Held releases whose files are gone and that the catalogue still lists: a dry run cannot record the loss.
    lost: HashMap<CrateName, HashSet<String>>,
}

impl CatalogueView {
    pub(crate) fn new(
        catalogue: Option<Catalogue>,
        store: Option<Store>,
        layout: Layout,
        source: u64,
        lost: &[ReleaseId],
    ) -> Self {
        let mut by_crate: HashMap<_, HashSet<_>> = HashMap::new();
        for id in lost {
            by_crate.entry(id.name.clone()).or_default().insert(id.version.to_string());
        }
        Self { catalogue, layout, presence: Presence::new(store), source, lost: by_crate }
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

    /// Returns what the catalogue has of a crate, without the files that are gone.
    fn held_of(&self, catalogue: &Catalogue, name: &CrateName) -> Result<Vec<Held>, SyncError> {
        let mut rows = catalogue.held_of(name)?;
        if let Some(lost) = self.lost.get(name) {
            for row in rows.iter_mut().filter(|row| lost.contains(&row.version)) {
                row.locations.remove(StoreId::LOOSE);
            }
            rows.retain(|row| !row.locations.is_empty());
        }
        Ok(rows)
    }
}

impl HeldView for CatalogueView {
    fn versions(&self, name: &CrateName) -> Result<HashMap<String, HeldRow>, SyncError> {
        let Some(catalogue) = &self.catalogue else { return Ok(HashMap::new()) };
        Ok(self
            .held_of(catalogue, name)?
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

    fn removed_upstream(&self) -> Result<HashMap<ReleaseId, UpstreamRemoval>, SyncError> {
        let Some(catalogue) = &self.catalogue else { return Ok(HashMap::new()) };
        let mut removed_upstream: HashMap<_, _> =
            catalogue.withdrawn()?.into_iter().map(|(id, kind, _)| (id, kind)).collect();
        // What upstream deleted and is not held any more is of no interest; a yank is, when it is fetched again.
        for (name, lost) in &self.lost {
            let left = self.held_of(catalogue, name)?;
            for version in lost.iter().filter(|lost| !left.iter().any(|row| row.version == **lost)) {
                let Ok(version) = version.parse() else { continue };
                let id = ReleaseId { name: name.clone(), version };
                if removed_upstream.get(&id) == Some(&UpstreamRemoval::Deleted) {
                    removed_upstream.remove(&id);
                }
            }
        }
        Ok(removed_upstream)
    }

    fn failed_crates(&self) -> Result<HashSet<String>, SyncError> {
        let Some(catalogue) = &self.catalogue else { return Ok(HashSet::new()) };
        let lost = self.lost.keys().map(ToString::to_string);
        Ok(catalogue.ledger_crates()?.into_iter().chain(lost).collect())
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
        let mut rows = catalogue.ledger_of(name)?;
        for version in self.lost.get(name).into_iter().flatten() {
            if !rows.iter().any(|(known, _)| known == version) {
                rows.push((version.clone(), LOST.to_owned()));
            }
        }
        Ok(rows.into_iter().filter_map(failed).collect())
    }

    fn deferred_crates(&self) -> Result<Vec<String>, SyncError> {
        let Some(catalogue) = &self.catalogue else { return Ok(Vec::new()) };
        Ok(catalogue.deferred_crates()?.into_iter().map(|of| of.name).collect())
    }

    fn deferred_of(&self, name: &CrateName) -> Result<Vec<HeldBackRelease>, SyncError> {
        self.catalogue.as_ref().map_or(Ok(Vec::new()), |catalogue| Ok(catalogue.deferred_of(name)?))
    }

    fn grouped_crates(&self, visit: &mut dyn FnMut(&str)) -> Result<(), SyncError> {
        let Some(catalogue) = &self.catalogue else { return Ok(()) };
        Ok(catalogue.each_deferred_group(&mut |name, _| visit(name))?)
    }

    fn grouped_crates_of_file(&self, file: &str) -> Result<Vec<String>, SyncError> {
        self.catalogue.as_ref().map_or(Ok(Vec::new()), |catalogue| Ok(catalogue.crates_deferred_in(file)?))
    }

    fn deferred_groups_of(&self, name: &CrateName) -> Result<Vec<DeferredGroup>, SyncError> {
        self.catalogue.as_ref().map_or(Ok(Vec::new()), |catalogue| Ok(catalogue.deferred_groups_of(name)?))
    }

    fn replaced_of(&self, name: &CrateName) -> Result<Vec<ReplacedRelease>, SyncError> {
        self.catalogue.as_ref().map_or(Ok(Vec::new()), |catalogue| Ok(catalogue.replaced_of(name)?))
    }

    fn licences_of(&self, name: &CrateName) -> Result<Vec<LicenceRow>, SyncError> {
        self.catalogue.as_ref().map_or(Ok(Vec::new()), |catalogue| Ok(catalogue.licences_of(name)?))
    }

    fn has_unrecorded(&mut self, id: &ReleaseId) -> Result<bool, SyncError> {
        Ok(self.presence.has(self.layout, id)?)
    }
}
