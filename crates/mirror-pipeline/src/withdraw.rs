//! What upstream withdrew and the mirror still holds: noted with the time when it was first seen.

use std::collections::HashMap;

use mirror_index::IndexFile;
use mirror_manifest::{Held, Withdrawal};
use mirror_types::{CrateName, IndexRecord, ReleaseId, index_path};

use crate::error::PipelineError;
use crate::event::Event;
use crate::names::spellings;
use crate::plan::{Parsed, Planner, hash};

impl Planner {
    /// Compares what is held of a crate with its records in the index. `whole`: no line was bad, so
    /// what is not there was deleted. Returns whether something was that is offered until now.
    pub(crate) fn compare_held(
        &mut self,
        name: &CrateName,
        records: &[IndexRecord],
        whole: bool,
        held: &HashMap<String, Held>,
    ) -> bool {
        if held.is_empty() {
            return false;
        }
        let mut found = 0;
        for record in records {
            let Some(held) = held.get(record.id.version.as_str()) else { continue };
            found += 1;
            self.listed(record, held);
        }
        if !whole || found == held.len() {
            return false;
        }
        let before = self.removed.len();
        let source = self.source;
        for row in held.values().filter(|row| row.seen & source != 0) {
            if records.iter().any(|record| record.id.version.as_str() == row.version) {
                continue;
            }
            if let Ok(version) = row.version.parse() {
                self.remove(ReleaseId { name: name.clone(), version });
            }
        }
        self.removed.len() > before
    }

    /// The index lists a release that is held.
    fn listed(&mut self, record: &IndexRecord, held: &Held) {
        if self.withdrawn.get(&record.id) == Some(&Withdrawal::Deleted) {
            // Another index that still lists it says nothing about the one that took it down; of what catalogues of
            // before say, nobody knows which one that was.
            if held.seen != 0 && held.seen & self.source == 0 {
                return;
            }
            self.withdrawn.remove(&record.id);
            self.report.reinstated += 1;
            self.tell(Event::Reinstated(record.id.clone()));
        }
        if held.seen & self.source == 0 && self.source != 0 {
            self.tell(Event::Seen(record.id.clone()));
        }
        if record.yanked {
            self.withdraw(&record.id, Withdrawal::Yanked);
        } else if self.withdrawn.remove(&record.id).is_some() {
            self.tell(Event::Returned(record.id.clone()));
        }
    }

    /// The index does not list a release any more that it listed once. Whether it is hidden is decided when all are
    /// known.
    fn remove(&mut self, id: ReleaseId) {
        if self.withdrawn.get(&id) == Some(&Withdrawal::Deleted) {
            return;
        }
        self.withdrawn.insert(id.clone(), Withdrawal::Deleted);
        self.removed.push(id);
    }

    /// Compares what is held with a whole index file, of which only a part is selected.
    pub(crate) fn compare_file(&mut self, path: &str, data: &[u8]) -> Result<(), PipelineError> {
        let parsed = Parsed::of(path, data, &self.limits);
        let mut gone = false;
        for (name, records, whole) in parsed.crates() {
            let held = self.held(name)?;
            gone |= self.compare_held(name, records, whole, &held);
        }
        if gone {
            self.defer_lines();
        }
        Ok(())
    }

    /// Looks for crates that are held, have their index file at `path` by whatever case, and are not among
    /// `present`, which are all that are in it.
    pub(crate) fn gone_at(&mut self, path: &str, present: &[CrateName]) -> Result<(), PipelineError> {
        let Some(catalogue) = &self.catalogue else { return Ok(()) };
        let file = path.rsplit('/').next().unwrap_or_default();
        for name in catalogue.crates_of_file(file)? {
            if let Ok(name) = name.parse::<CrateName>()
                && index_path(&name) == path
                && !present.contains(&name)
            {
                self.gone(&name)?;
            }
        }
        Ok(())
    }

    /// A registry that was asked for a crate has this file of it, in whatever spelling, or none: it has no other.
    pub(crate) fn gone_but(
        &mut self,
        name: &CrateName,
        file: Option<&IndexFile>,
    ) -> Result<(), PipelineError> {
        for name in std::iter::once(name.clone()).chain(spellings(name)) {
            let path = index_path(&name);
            if file.is_none_or(|file| file.path != path) {
                self.gone_at(&path, &[])?;
            }
        }
        Ok(())
    }

    /// A crate has no file in the index any more.
    pub(crate) fn gone(&mut self, name: &CrateName) -> Result<(), PipelineError> {
        if !self.selection.wants_crate(name) {
            return Ok(());
        }
        let held = self.held(name)?;
        let _ = self.compare_held(name, &[], true, &held);
        self.settle(name, std::iter::empty())
    }

    /// The file of a crate is gone that was in an earlier tree.
    pub(crate) fn gone_file(&mut self, before: &IndexFile) -> Result<(), PipelineError> {
        self.gone_at(&before.path, &[])?;
        // Not held, they may stand in the ledger.
        Parsed::of(&before.path, &before.data, &self.limits).names().try_for_each(|name| self.gone(name))
    }

    /// Looks, after the whole index was read, for crates that are held or stand in the ledger and were
    /// not in it.
    pub(crate) fn gone_crates(&mut self) -> Result<(), PipelineError> {
        let Some(read) = self.read.take() else { return Ok(()) };
        let mut gone: Vec<CrateName> = Vec::new();
        let mut look = |name: &str| {
            if let Ok(name) = name.parse::<CrateName>()
                && !read.contains(&hash(name.as_str()))
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
