//! What upstream withdrew and the mirror still holds: noted with the time when it was first seen.

use std::collections::HashMap;

use mirror_index::IndexFile;
use mirror_manifest::{Held, Withdrawal};
use mirror_types::{CrateName, IndexRecord, ReleaseId, index_path};

use crate::error::PipelineError;
use crate::event::Event;
use crate::plan::{Parsed, Planner, hash};

impl Planner {
    /// Compares what is held of a crate with its records in the index. `whole`: no line was bad, so
    /// what is not there was deleted.
    pub(crate) fn compare_held(
        &mut self,
        name: &CrateName,
        records: &[IndexRecord],
        whole: bool,
        held: &HashMap<String, Held>,
    ) {
        if held.is_empty() {
            return;
        }
        let mut found = 0;
        for record in records.iter().filter(|record| held.contains_key(record.id.version.as_str())) {
            found += 1;
            if record.yanked {
                self.withdraw(&record.id, Withdrawal::Yanked);
            } else if self.withdrawn.remove(&record.id).is_some() {
                self.tell(Event::Returned(record.id.clone()));
            }
        }
        if !whole || found == held.len() {
            return;
        }
        let gone =
            held.keys().filter(|held| !records.iter().any(|record| record.id.version.as_str() == *held));
        for version in gone.cloned().collect::<Vec<_>>() {
            if let Ok(version) = version.parse() {
                self.withdraw(&ReleaseId { name: name.clone(), version }, Withdrawal::Deleted);
            }
        }
    }

    /// A crate has no file in the index any more.
    pub(crate) fn gone(&mut self, name: &CrateName) -> Result<(), PipelineError> {
        if !self.selection.wants_crate(name) {
            return Ok(());
        }
        let held = self.held(name)?;
        self.compare_held(name, &[], true, &held);
        self.settle(name, std::iter::empty())
    }

    /// The file of a crate is gone that was in an earlier tree.
    pub(crate) fn gone_file(&mut self, before: &IndexFile) -> Result<(), PipelineError> {
        Parsed::of(&before.path, &before.data, &self.limits).names().try_for_each(|name| self.gone(name))
    }

    /// Looks, after the whole index was read, for crates that are held or stand in the ledger and were
    /// not in it.
    pub(crate) fn gone_crates(&mut self) -> Result<(), PipelineError> {
        let Some(read) = self.read.take() else { return Ok(()) };
        let mut gone: Vec<CrateName> = Vec::new();
        let mut look = |name: &str| {
            if let Ok(name) = name.parse::<CrateName>()
                && !read.contains(&hash(&index_path(&name)))
            {
                gone.push(name);
            }
        };
        if let Some(catalogue) = &self.catalogue {
            catalogue.crates(&mut look)?;
        }
        self.ledger.iter().for_each(|name| look(name));
        gone.iter().try_for_each(|name| self.gone(name))
    }

    fn withdraw(&mut self, id: &ReleaseId, kind: Withdrawal) {
        if self.withdrawn.get(id) == Some(&kind) {
            return;
        }
        self.withdrawn.insert(id.clone(), kind);
        self.report.withdrawn.push((id.clone(), kind));
        self.tell(Event::Withdrawn(id.clone(), kind));
    }

    /// A release was yanked before the mirror held it. That is no news, when it is held.
    pub(crate) fn yanked_before(&mut self, id: &ReleaseId) {
        if self.withdrawn.insert(id.clone(), Withdrawal::Yanked).is_none() {
            self.tell(Event::YankedBefore(id.clone()));
        }
    }

    fn tell(&self, event: Event) {
        if let Some(sinks) = &self.sinks {
            let _ = sinks.events.send(event);
        }
    }
}
