//! Queries of a connection that tells what was offered when a snapshot was taken.

use std::cmp::Reverse;

use mirror_types::{CrateName, ReleaseId};

use super::database::Catalogue;
use super::rows::{Held, Offered};
use super::serve::HeldTotals;
use super::snapshots::SnapshotRow;
use crate::error::ManifestError;

impl Catalogue {
    /// Makes this connection tell what was offered when a snapshot was taken, as far as its bytes are still held and
    /// upstream has not deleted them since; queries about what policy holds back tell of nothing. Each query fails once
    /// the snapshot is forgotten.
    ///
    /// # Errors
    /// [`ManifestError::UnknownSnapshot`]; when SQLite fails.
    pub fn tell_of_snapshot(&mut self, snapshot: SnapshotRow) -> Result<(), ManifestError> {
        self.check_known(snapshot)?;
        self.past = Some(snapshot);
        Ok(())
    }

    fn check_known(&self, snapshot: SnapshotRow) -> Result<(), ManifestError> {
        let SnapshotRow { serial, .. } = snapshot;
        if self.snapshot(serial)? == snapshot {
            Ok(())
        } else {
            // A new catalogue knows another state by this number.
            Err(ManifestError::UnknownSnapshot { path: self.path.clone(), serial })
        }
    }

    /// Returns the releases of a crate that a snapshot offered, and that are held with the same bytes.
    pub(super) fn past_of(&self, past: SnapshotRow, name: &CrateName) -> Result<Vec<Offered>, ManifestError> {
        self.in_one_state(|| self.offered_at_among(past, name, self.held_of(name)?))
    }

    /// Returns a release as [`Catalogue::past_of`] does. Reads nothing of the other releases of the crate.
    pub(super) fn past_release(
        &self,
        past: SnapshotRow,
        id: &ReleaseId,
    ) -> Result<Option<Held>, ManifestError> {
        self.in_one_state(|| {
            let Some(held) = self.held_release(id)? else {
                self.check_known(past)?;
                return Ok(None);
            };
            let was_offered = self.was_offered_at(past, id, held.sha256)?;
            Ok(if was_offered && !self.is_deleted(id)? { Some(held) } else { None })
        })
    }

    /// Passes the releases that a snapshot offered, and that are held with the same bytes, to `visit`, crate by crate.
    pub(super) fn past_releases(
        &self,
        past: SnapshotRow,
        visit: &mut dyn FnMut(&CrateName, &[Offered]),
    ) -> Result<(), ManifestError> {
        let mut names: Vec<CrateName> = Vec::new();
        self.crates(&mut |name| names.extend(name.parse::<CrateName>()))?;
        for name in names {
            visit(&name, &self.past_of(past, &name)?);
        }
        Ok(())
    }

    /// Counts them.
    pub(super) fn past_totals(&self, past: SnapshotRow) -> Result<HeldTotals, ManifestError> {
        let mut totals = HeldTotals::default();
        self.past_releases(past, &mut |_, held| {
            totals.crates += u64::from(!held.is_empty());
            totals.releases += held.len() as u64;
            totals.bytes += held.iter().map(|release| release.held.size).sum::<u64>();
        })?;
        Ok(totals)
    }

    /// Searches as [`Catalogue::search`] does; reads the releases of every crate whose name matches.
    pub(super) fn past_search(
        &self,
        past: SnapshotRow,
        part: &str,
        skip: u64,
        most: u64,
    ) -> Result<(u64, Vec<String>), ManifestError> {
        let mut found = Vec::new();
        self.crates(&mut |name| {
            if let Some(at) = name.to_ascii_lowercase().replace('_', "-").find(part) {
                let (is_whole, begins) = (at == 0 && name.len() == part.len(), at == 0);
                found.push((Reverse(is_whole), Reverse(begins), name.len(), name.to_owned()));
            }
        })?;
        found.sort();
        let (mut total, mut names) = (0, Vec::new());
        for (.., name) in found {
            let Ok(checked) = name.parse() else { continue };
            if self.past_of(past, &checked)?.is_empty() {
                continue;
            }
            if total >= skip && total - skip < most {
                names.push(name);
            }
            total += 1;
        }
        Ok((total, names))
    }

    /// Runs `look` in one read transaction, unless it is in one already.
    fn in_one_state<T>(&self, look: impl FnOnce() -> Result<T, ManifestError>) -> Result<T, ManifestError> {
        if self.db.is_autocommit() { self.consistently(look) } else { look() }
    }
}
