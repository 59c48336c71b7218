//! Queries of a connection that tells what was offered when a snapshot was taken.

use std::cmp::Reverse;
use std::collections::HashMap;

use mirror_types::{CrateName, ReleaseId, Sha256};

use super::database::Catalogue;
use super::rows::Held;
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
    pub(super) fn past_of(&self, past: SnapshotRow, name: &CrateName) -> Result<Vec<Held>, ManifestError> {
        self.in_one_state(|| {
            self.check_known(past)?;
            let rows = self.offered_rows_at(past.serial, name.as_str())?;
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let mut held = self.held_of(name)?;
            let deleted = self.deleted_of(name)?;
            let rows: HashMap<&str, Sha256> =
                rows.iter().map(|row| (row.version.as_str(), row.sha256)).collect();
            held.retain(|held| {
                rows.get(held.version.as_str()) == Some(&held.sha256) && !deleted.contains(&held.version)
            });
            Ok(held)
        })
    }

    /// Returns a release as [`Catalogue::past_of`] does.
    pub(super) fn past_release(
        &self,
        past: SnapshotRow,
        id: &ReleaseId,
    ) -> Result<Option<Held>, ManifestError> {
        self.in_one_state(|| {
            self.check_known(past)?;
            let rows = self.offered_rows_at(past.serial, id.name.as_str())?;
            let row = rows.into_iter().find(|row| row.version == id.version.as_str());
            let Some(row) = row else { return Ok(None) };
            let held = self.held_release(id)?.filter(|held| held.sha256 == row.sha256);
            Ok(if self.is_deleted(id)? { None } else { held })
        })
    }

    /// Passes the releases that a snapshot offered, and that are held with the same bytes, to `visit`, crate by crate.
    pub(super) fn past_releases(
        &self,
        past: SnapshotRow,
        visit: &mut dyn FnMut(&CrateName, &[Held]),
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
            totals.bytes += held.iter().map(|held| held.size).sum::<u64>();
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

    /// Returns the versions of a crate that were yanked when the snapshot that this connection tells of was taken; none
    /// when it tells of no snapshot.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn yanked_then(&self, name: &CrateName) -> Result<Vec<String>, ManifestError> {
        let Some(past) = self.past else { return Ok(Vec::new()) };
        let rows = self.offered_rows_at(past.serial, name.as_str())?;
        Ok(rows.into_iter().filter(|row| row.yanked).map(|row| row.version).collect())
    }

    /// Runs `look` in one read transaction, unless it is in one already.
    fn in_one_state<T>(&self, look: impl FnOnce() -> Result<T, ManifestError>) -> Result<T, ManifestError> {
        if self.db.is_autocommit() { self.consistently(look) } else { look() }
    }
}
