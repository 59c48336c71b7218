//! Indexes that are not read file by file from disk: registries that are asked for each crate, closures and lists.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use mirror_types::{CrateName, IndexRecord, ReleaseId};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::read_file::ReadFile;
use crate::error::SyncError;
use crate::plan::{Index, Item};
use crate::source::closing::ClosedIndex;
use crate::source::sparse::{FileAnswer, SparseRegistry};

type Take<'t> = dyn FnMut(Item) -> ControlFlow<()> + Send + 't;

/// Crates of a sparse registry, from the cache that was just refreshed.
pub(crate) struct SparseIndex {
    pub(crate) registry: Box<SparseRegistry>,
    pub(crate) names: Vec<CrateName>,
    /// True if no request was sent: a crate without a cached file may exist after all.
    pub(crate) offline: bool,
    pub(crate) read: ReadFile,
}

impl Index for SparseIndex {
    fn read(&mut self, take: &mut Take<'_>) -> Result<(), SyncError> {
        for name in std::mem::take(&mut self.names) {
            let file = self.registry.file(&name);
            let mut items = Vec::new();
            if !self.offline && !self.registry.failed.contains_key(&name) {
                let path = file.as_ref().map(|file| file.path.clone());
                items.push(Item::OnlyFile { name, path });
            }
            if let Some(file) = file {
                items.extend(self.read.file(&file.path, &file.data)?);
            }
            if items.into_iter().try_for_each(&mut *take).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Crates of a sparse registry in a run that keeps nothing: planned as the answers arrive.
pub(crate) struct AnsweredIndex {
    pub(crate) registry: Box<SparseRegistry>,
    pub(crate) names: Vec<CrateName>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) cancel: CancellationToken,
    pub(crate) read: ReadFile,
}

impl Index for AnsweredIndex {
    fn read(&mut self, take: &mut Take<'_>) -> Result<(), SyncError> {
        let Self { registry, names, runtime, cancel, read } = self;
        let mut ended = false;
        let mut each = |name: &CrateName, file: FileAnswer| {
            let item = match file {
                FileAnswer::Present(file) => read.file(&file.path, &file.data)?,
                FileAnswer::Gone => None,
                FileAnswer::Failed(why) => Some(Item::Unread { name: name.clone(), why }),
            };
            // Once the run is stopped, `refresh` sends no further request by itself.
            ended = ended || item.is_some_and(|item| take(item).is_break());
            Ok(())
        };
        runtime.block_on(registry.refresh(std::mem::take(names), cancel, &mut each))
    }
}

/// The releases that a closure chose.
pub(crate) struct ChosenIndex {
    pub(crate) index: ClosedIndex,
    pub(crate) crates: Vec<Vec<IndexRecord>>,
    /// Crates that must be found. A crate of which nothing is chosen, because all of it is yanked, counts as found.
    pub(crate) named: Vec<CrateName>,
    /// Requirements on them that no version satisfies.
    pub(crate) unmatched: Vec<(CrateName, String)>,
    pub(crate) read: ReadFile,
}

impl Index for ChosenIndex {
    fn read(&mut self, take: &mut Take<'_>) -> Result<(), SyncError> {
        for name in std::mem::take(&mut self.named) {
            if self.index.file(&name)?.is_some() && take(Item::Exists(name)).is_break() {
                return Ok(());
            }
        }
        for records in std::mem::take(&mut self.crates) {
            let mut file = None;
            if let Some(first) = records.first().filter(|_| self.read.keeps())
                && let Some(found) = self.index.file(&first.id.name)?
            {
                file = Some(self.read.whole_file(&found.path, &found.data)?);
            }
            if take(Item::Chosen { file, records }).is_break() {
                return Ok(());
            }
        }
        let unmatched = std::mem::take(&mut self.unmatched).into_iter();
        let _ = unmatched.map(|(name, requirement)| Item::Unmatched { name, requirement }).try_for_each(take);
        Ok(())
    }
}

/// Releases named by a list, crate by crate.
pub(crate) struct ListIndex {
    pub(crate) entries: Vec<(ReleaseId, Url)>,
}

impl Index for ListIndex {
    fn read(&mut self, take: &mut Take<'_>) -> Result<(), SyncError> {
        let mut by_crate: BTreeMap<CrateName, Vec<(ReleaseId, Url)>> = BTreeMap::new();
        let mut seen = HashSet::new();
        for (id, url) in std::mem::take(&mut self.entries) {
            // Two spellings of one name are one crate, and the first one counts.
            if seen.insert((id.name.canonical(), id.version.clone())) {
                by_crate.entry(id.name.clone()).or_default().push((id, url));
            }
        }
        let mut items = by_crate.into_iter().map(|(name, entries)| Item::Listed { name, entries });
        let _ = items.try_for_each(take);
        Ok(())
    }
}
