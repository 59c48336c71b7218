//! Releases that upstream removed and the mirror still holds.

use std::collections::HashMap;

use mirror_manifest::UpstreamRemoval;
use mirror_types::{CrateName, IndexRecord, ReleaseId, index_path};

use super::decision::Decision;
use super::held::{HeldRow, SeenIn};
use super::index::Parsed;
use super::planner::Planner;
use super::sink::Halt;
use crate::names::spellings;

impl Planner<'_> {
    /// Compares the held releases of a crate with its records in the index. `whole`: no line was bad, so that a release
    /// without a record was deleted. Returns whether a release was deleted that is still offered.
    pub(super) fn compare(
        &mut self,
        name: &CrateName,
        records: &[IndexRecord],
        whole: bool,
        held: &HashMap<String, HeldRow>,
    ) -> Result<bool, Halt> {
        if held.is_empty() {
            return Ok(false);
        }
        let mut found = 0;
        for record in records {
            let Some(held) = held.get(record.id.version.as_str()) else { continue };
            found += 1;
            self.is_listed(record, held)?;
        }
        if !whole || found == held.len() {
            return Ok(false);
        }
        let mut removes = false;
        for (version, _) in held.iter().filter(|(_, row)| row.seen == SeenIn::Here) {
            if records.iter().any(|record| record.id.version.as_str() == version) {
                continue;
            }
            if let Ok(version) = version.parse() {
                removes |= self.removed(ReleaseId { name: name.clone(), version })?;
            }
        }
        Ok(removes)
    }

    /// Notes that the index lists a held release.
    fn is_listed(&mut self, record: &IndexRecord, held: &HeldRow) -> Result<(), Halt> {
        if self.removed_upstream.get(&record.id) == Some(&UpstreamRemoval::Deleted) {
            // A listing in another index does not contradict the index that deleted the release. Catalogues of earlier
            // versions do not record which index that was.
            if held.seen == SeenIn::Elsewhere {
                return Ok(());
            }
            self.removed_upstream.remove(&record.id);
            self.decide(Decision::Reinstated(record.id.clone()))?;
        }
        if held.seen != SeenIn::Here {
            self.decide(Decision::Seen(record.id.clone()))?;
        }
        if record.yanked {
            if self.removed_upstream.insert(record.id.clone(), UpstreamRemoval::Yanked)
                != Some(UpstreamRemoval::Yanked)
            {
                self.decide(Decision::Yanked(record.id.clone()))?;
            }
        } else if self.removed_upstream.remove(&record.id).is_some() {
            self.decide(Decision::Unyanked(record.id.clone()))?;
        }
        Ok(())
    }

    /// Notes that the index no longer lists a release. Returns whether that is new.
    fn removed(&mut self, id: ReleaseId) -> Result<bool, Halt> {
        if self.removed_upstream.insert(id.clone(), UpstreamRemoval::Deleted)
            == Some(UpstreamRemoval::Deleted)
        {
            return Ok(false);
        }
        self.decide(Decision::Removed(id))?;
        Ok(true)
    }

    /// Notes that a release was yanked before the mirror held it, so that this is not new once it is held.
    pub(super) fn yanked_before(&mut self, id: &ReleaseId) -> Result<(), Halt> {
        if self.removed_upstream.insert(id.clone(), UpstreamRemoval::Yanked).is_none() {
            self.decide(Decision::YankedBefore(id.clone()))?;
        }
        Ok(())
    }

    /// Notes that a release is not yanked any more that was so before the mirror held it.
    pub(super) fn unyanked_before(&mut self, id: &ReleaseId) -> Result<(), Halt> {
        if self.removed_upstream.get(id) == Some(&UpstreamRemoval::Yanked) {
            self.removed_upstream.remove(id);
            self.decide(Decision::Unyanked(id.clone()))?;
        }
        Ok(())
    }

    /// Looks for held or deferred crates whose index file is at `path`, ignoring case, and that are not among
    /// `present`, the crates in that file.
    pub(super) fn gone_at(&mut self, path: &str, present: &[CrateName]) -> Result<(), Halt> {
        let file = path.rsplit('/').next().unwrap_or_default();
        for name in self.held.crates_of_file(file)? {
            if let Ok(name) = name.parse::<CrateName>()
                && index_path(&name) == path
                && !present.contains(&name)
            {
                self.gone(&name)?;
            }
        }
        for name in self.held.grouped_crates_of_file(file)? {
            if let Ok(name) = name.parse::<CrateName>()
                && index_path(&name) == path
                && !present.contains(&name)
            {
                self.gone(&name)?;
            }
        }
        self.deferred.missing_at(path, present).iter().try_for_each(|name| self.gone(name))
    }

    /// Notes where a registry that was asked for a crate has its file: at `there` or nowhere, so that every other
    /// spelling is gone.
    pub(super) fn gone_but(&mut self, name: &CrateName, there: Option<&str>) -> Result<(), Halt> {
        for name in std::iter::once(name.clone()).chain(spellings(name)) {
            let path = index_path(&name);
            if there != Some(path.as_str()) {
                self.gone_at(&path, &[])?;
            }
        }
        Ok(())
    }

    /// Notes that a crate has no file in the index any more.
    pub(super) fn gone(&mut self, name: &CrateName) -> Result<(), Halt> {
        if !self.wanted.selection.wants_crate(name) {
            return Ok(());
        }
        let held = self.held.versions(name)?;
        self.compare(name, &[], true, &held)?;
        let listed = self.listed_of(name)?;
        self.undefer(&listed, std::iter::empty(), &|_| true)?;
        self.regroup(name, &listed, Vec::new())?;
        self.resolve(name, std::iter::empty())
    }

    /// Notes that a file of an earlier tree is gone.
    pub(super) fn file_gone(&mut self, before: &Parsed) -> Result<(), Halt> {
        self.gone_at(&before.path, &[])?;
        // Also crates without held releases: they may be in the ledger.
        before.names().try_for_each(|name| self.gone(name))
    }
}
