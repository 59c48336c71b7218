//! Resolves the failure ledger's entries when their crates are looked at again.

use std::collections::HashMap;

use mirror_types::{CrateName, ReleaseId};

use super::decision::Decision;
use super::held::FailedRelease;
use super::planner::{Planner, Scope};
use super::sink::Halt;

impl Planner<'_> {
    /// Resolves the ledger's entries of a crate: some releases are held after all (a store had lost its copy), others
    /// are not wanted any more, because upstream has removed them. Only a plan of the whole index can find that out.
    pub(super) fn resolve<'r>(
        &mut self,
        name: &CrateName,
        wanted: impl Iterator<Item = (&'r ReleaseId, bool)>,
    ) -> Result<(), Halt> {
        if !self.ledger.remove(name.as_str()) {
            return Ok(());
        }
        let wanted: HashMap<&str, bool> = wanted.map(|(id, held)| (id.version.as_str(), held)).collect();
        for FailedRelease { id, lost } in self.held.failures_of(name)? {
            let Some(id) = id else {
                self.decide(Decision::CrateRead(name.clone()))?;
                continue;
            };
            match wanted.get(id.version.as_str()) {
                // The entry may be there because of damage: hash the bytes.
                Some(true) if self.wanted.verify || !lost => {
                    self.rechecks.insert(id);
                }
                Some(true) => self.decide(Decision::Resolved(id))?,
                None if self.wanted.scope != Scope::Part => self.decide(Decision::Dropped(id))?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Requires the releases that are in a crate's ledger to be hashed before they count as held.
    pub(super) fn note_rechecks(&mut self, name: &CrateName) -> Result<(), Halt> {
        if self.ledger.contains(name.as_str()) {
            let failed = self.held.failures_of(name)?.into_iter().filter(|failed| !failed.lost);
            self.rechecks.extend(failed.filter_map(|failed| failed.id));
        }
        Ok(())
    }
}
