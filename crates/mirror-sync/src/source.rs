//! Opens the source of the records, and makes it ready to be planned.

mod closing;
mod counting;
mod downloads;
mod index_cache_filter;
mod input;
mod item_batch;
mod local;
mod read_file;
mod remote;
mod sparse;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use mirror_fetch::Fetcher;
use mirror_git::IndexSource;
use mirror_index::sparse::DlTemplate;
use mirror_index::{Closure, ClosureReport, Selection};
use mirror_manifest::{Catalogue, IndexCacheReader};
use mirror_store::Store;
use mirror_types::{CrateName, IndexRecord, ReleaseId, upstream};
use tokio_util::sync::CancellationToken;

use crate::cursor::Cursor;
use crate::error::SyncError;
use crate::list::Checksums;
use crate::names::paths_of;
use crate::observe::{SyncEvent, SyncObserver};
use crate::options::DownloadOptions;
use crate::plan::{Index, Item, Scope, Wanted};
use crate::source::closing::{ClosedIndex, close_local};
use crate::source::index_cache_filter::IndexCacheFilter;
use crate::source::sparse::SparseRegistry;
use crate::threads::{join, spawn};

pub(crate) use counting::counting;
pub(crate) use downloads::Downloads;
pub(crate) use input::Input;
use local::{LocalIndex, ScanStrategy};
use read_file::ReadFile;
use remote::{AnsweredIndex, ChosenIndex, ListIndex, SparseIndex};

/// The means with which an index is opened.
pub(crate) struct OpenContext<'a> {
    pub(crate) store: Option<Store>,
    pub(crate) fetcher: Fetcher,
    pub(crate) catalogue: Option<&'a Catalogue>,
    /// The index cache, for a run that writes.
    pub(crate) cache: Option<&'a IndexCacheReader>,
    /// Held releases whose files are gone and that the catalogue still lists.
    pub(crate) lost: &'a [ReleaseId],
    /// The cursor as it will be after the run.
    pub(crate) cursor: Option<&'a Cursor>,
    /// True if the run keeps what it reads; a dry run does not.
    pub(crate) keeps: bool,
}

/// An index that is ready to be planned, and the wanted part of it.
pub(crate) struct Opened {
    pub(crate) wanted: Wanted,
    pub(crate) index: OpenedIndex,
    /// True if a registry names the downloads, on a host that the operator did not name.
    pub(crate) guarded: bool,
    pub(crate) expected: Expected,
    /// Of a closure: dependencies that could not be followed.
    pub(crate) closure: ClosureReport,
}

/// The number of releases that will be selected, before they are planned.
pub(crate) enum Expected {
    /// This many.
    Releases(u64),
    /// Not known, and planning will soon count them.
    Unknown,
    /// Not known; counting them takes one more pass through the whole index.
    Uncounted,
}

/// An index, together with the faults found while it was opened.
pub(crate) struct OpenedIndex {
    faults: Vec<String>,
    /// Crates whose index file could not be fetched, with the reason.
    unread: Vec<(CrateName, String)>,
    index: Box<dyn Index>,
}

impl Index for OpenedIndex {
    fn read(&mut self, take: &mut (dyn FnMut(Item) -> ControlFlow<()> + Send)) -> Result<(), SyncError> {
        let faults = std::mem::take(&mut self.faults).into_iter().map(Item::BadLine);
        let unread = std::mem::take(&mut self.unread).into_iter();
        let mut first = faults.chain(unread.map(|(name, why)| Item::Unread { name, why }));
        match first.try_for_each(&mut *take) {
            ControlFlow::Continue(()) => self.index.read(take),
            ControlFlow::Break(()) => Ok(()),
        }
    }
}

/// The findings while an index is opened.
struct Found {
    index: Box<dyn Index>,
    wanted: Selection,
    scope: Scope,
    expected: Expected,
    faults: Vec<String>,
    unread: Vec<(CrateName, String)>,
    closure: ClosureReport,
    /// The source that the registry names, when it was asked.
    downloads: Option<Downloads>,
}

impl Found {
    /// Makes the result for an index of which only a part is read.
    fn of(index: Box<dyn Index>, wanted: Selection) -> Self {
        let locked = wanted.locked.as_ref().map_or(0, |locked| locked.len() as u64);
        Self {
            index,
            wanted,
            scope: Scope::Part,
            expected: Expected::Releases(locked),
            faults: Vec::new(),
            unread: Vec::new(),
            closure: ClosureReport::default(),
            downloads: None,
        }
    }
}

/// The parts of a run, before its mirror is opened.
pub(crate) struct Run {
    pub(crate) options: DownloadOptions,
    pub(crate) observer: Arc<dyn SyncObserver>,
    pub(crate) cancel: CancellationToken,
    pub(crate) selection: Selection,
    pub(crate) input: Input,
    /// The source of the downloads, when no registry has to be asked for it.
    pub(crate) base: Option<Downloads>,
    pub(crate) checksums: Option<Checksums>,
    /// Packages of other sources in the lockfiles, by source.
    pub(crate) foreign: BTreeMap<String, usize>,
}

impl Run {
    /// Returns where the cursor will be after this run; `None` when the index has no trees to compare, or the run does
    /// not go through all of it.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        let Input::Local(source) = &self.input else { return None };
        Cursor::of(source, &self.options, self.selection.is_open())
    }

    /// Sends the requests that are needed before planning, and makes the index ready to be planned.
    pub(crate) async fn open_index(self, context: OpenContext<'_>) -> Result<Opened, SyncError> {
        let Self { options, observer, cancel, selection, input, base, checksums, .. } = self;
        let mut named: Vec<CrateName> = selection.include.names().to_vec();
        named.retain(|name| selection.wants_crate(name));
        let must = selection.locked.clone();
        let opening = Opening { options: &options, cancel: &cancel, context: &context, named: &named };
        let named = if matches!(input, Input::List { .. }) { Vec::new() } else { named.clone() };
        let found = match input {
            Input::Local(source) if options.closure.is_none() => {
                opening.local(source, selection, &*observer)?
            }
            Input::Local(source) => opening.local_closure(source, selection).await?,
            Input::List { entries, faults } => Found {
                faults,
                expected: Expected::Releases(entries.len() as u64),
                ..Found::of(Box::new(ListIndex { entries }), selection)
            },
            Input::Sparse { url, names } => opening.sparse(&url, names, selection, base.is_none()).await?,
        };
        let downloads = match base.or(found.downloads) {
            Some(downloads) => downloads,
            None => {
                Downloads { template: DlTemplate::from_base(&upstream::crates_base_url())?, guarded: false }
            }
        };
        let wanted = Wanted {
            selection: found.wanted,
            named,
            must,
            template: Arc::new(downloads.template),
            checksums,
            limit: options.limit,
            offline: options.offline,
            verify: options.verify_existing,
            audits: options.audit_all && !options.dry_run,
            copies: options.copies(),
            scope: found.scope,
            policy: options.policy.clone(),
            now: options.moment(),
        };
        let expected = if options.limit > 0 { Expected::Unknown } else { found.expected };
        let index = OpenedIndex { faults: found.faults, unread: found.unread, index: found.index };
        Ok(Opened { wanted, index, guarded: downloads.guarded, expected, closure: found.closure })
    }
}

/// The means by which an index is opened.
struct Opening<'o> {
    options: &'o DownloadOptions,
    cancel: &'o CancellationToken,
    context: &'o OpenContext<'o>,
    /// Crates that must be found.
    named: &'o [CrateName],
}

impl Opening<'_> {
    fn local(
        &self,
        source: IndexSource,
        selection: Selection,
        observer: &dyn SyncObserver,
    ) -> Result<Found, SyncError> {
        let strategy = choose_strategy(&source, self.options, &selection, self.context, observer)?;
        let is_delta = matches!(strategy, ScanStrategy::Delta(_));
        let scope = match selection.is_open() && self.options.limit == 0 {
            false => Scope::Part,
            // Without a catalogue, no held release can be gone.
            true if is_delta || self.context.catalogue.is_none() => Scope::Changes,
            true => Scope::All,
        };
        let expected = if is_delta { Expected::Unknown } else { Expected::Uncounted };
        let all = matches!(strategy, ScanStrategy::Ordered | ScanStrategy::Fastest);
        let read = self.read_file(&selection, all)?;
        Ok(Found { scope, expected, ..Found::of(Box::new(LocalIndex { source, strategy, read }), selection) })
    }

    async fn local_closure(&self, source: IndexSource, selection: Selection) -> Result<Found, SyncError> {
        let (closed, faults) = close(source, self.options, &selection, self.cancel).await?;
        self.chosen(closed, faults, Vec::new())
    }

    async fn sparse(
        &self,
        url: &mirror_types::Address,
        names: Vec<CrateName>,
        selection: Selection,
        asks_for_downloads: bool,
    ) -> Result<Found, SyncError> {
        let Self { options, cancel, context, .. } = *self;
        let (store, fetcher) = (context.store.clone(), context.fetcher.clone());
        let mut registry =
            SparseRegistry::new(url, store, context.keeps, options.offline, options.answers, fetcher)?;
        let mut downloads = None;
        if asks_for_downloads {
            let template = registry.template().await?;
            let guarded = registry.leads_elsewhere(&template);
            downloads = Some(Downloads { template, guarded });
        }
        if options.closure.is_some() {
            let (closed, faults, unread) = close_sparse(registry, names, options, &selection, cancel).await?;
            return Ok(Found { downloads, ..self.chosen(closed, faults, unread)? });
        }
        let read = self.read_file(&selection, false)?;
        let mut registry = Box::new(registry);
        let mut unread = Vec::new();
        let index: Box<dyn Index> = if context.keeps {
            registry.refresh(names.clone(), cancel, &mut |_, _| Ok(())).await?;
            unread.extend(registry.failed.clone());
            Box::new(SparseIndex { registry, names, offline: options.offline, read })
        } else {
            // The planner asks for each as it goes.
            let runtime = tokio::runtime::Handle::current();
            Box::new(AnsweredIndex { registry, names, runtime, cancel: cancel.clone(), read })
        };
        Ok(Found { downloads, unread, ..Found::of(index, selection) })
    }

    /// Makes a reader of the files that `selection` wants. `all`: every file of the index is read.
    fn read_file(&self, selection: &Selection, all: bool) -> Result<ReadFile, SyncError> {
        let lines = match self.context.cache.filter(|_| self.context.keeps) {
            None => None,
            Some(cache) if all => Some(IndexCacheFilter::knowing(cache)?),
            Some(cache) => Some(IndexCacheFilter::asking(cache.another()?)),
        };
        Ok(ReadFile { selection: selection.clone(), limits: self.options.index_limits(), lines })
    }

    /// Selects everything that a closure chose.
    fn chosen(
        &self,
        closed: Closed,
        faults: Vec<String>,
        mut unread: Vec<(CrateName, String)>,
    ) -> Result<Found, SyncError> {
        let Closed { index, crates, mut report } = closed;
        unread.append(&mut report.beyond);
        let unmatched = std::mem::take(&mut report.unmatched);
        let mut wanted = Selection::default();
        wanted.include_yanked = true;
        let expected = Expected::Releases(crates.iter().map(|records| records.len() as u64).sum());
        let read = self.read_file(&wanted, false)?;
        let index = Box::new(ChosenIndex { index, crates, named: self.named.to_vec(), unmatched, read });
        Ok(Found { faults, unread, expected, closure: report, ..Found::of(index, wanted) })
    }
}

/// The releases that a closure chose, and the index that has them.
struct Closed {
    index: ClosedIndex,
    crates: Vec<Vec<IndexRecord>>,
    report: ClosureReport,
}

/// Computes the closure over a local index; also returns the bad lines.
async fn close(
    source: IndexSource,
    options: &DownloadOptions,
    selection: &Selection,
    cancel: &CancellationToken,
) -> Result<(Closed, Vec<String>), SyncError> {
    let (scope, selection) = (options.closure.clone().unwrap_or_default(), selection.clone());
    let (stop, limits) = (cancel.clone(), options.index_limits());
    let (source, closure, faults) = join(spawn("close", move || {
        let mut faults = Vec::new();
        let mut fault = |fault: mirror_index::LineFault| faults.push(fault.to_string());
        let closure = close_local(&source, &selection, &scope, limits, &mut fault, &stop);
        closure.map(|closure| (source, closure, faults))
    })?)
    .await??;
    let (crates, report) = closure.finish();
    Ok((Closed { index: ClosedIndex::Local(source), crates, report }, faults))
}

/// Computes the closure over a sparse registry; also returns the crates that could not be read.
async fn close_sparse(
    mut registry: SparseRegistry,
    names: Vec<CrateName>,
    options: &DownloadOptions,
    selection: &Selection,
    cancel: &CancellationToken,
) -> Result<(Closed, Vec<String>, Vec<(CrateName, String)>), SyncError> {
    let scope = options.closure.clone().unwrap_or_default();
    let mut closure = Closure::new(selection.clone(), names, scope);
    if !options.offline {
        closure = closure.with_doubts();
    }
    let mut faults = Vec::new();
    let limits = options.index_limits();
    registry.close(&mut closure, limits, &mut |fault| faults.push(fault.to_string()), cancel).await?;
    let unread = registry.failed.clone().into_iter().collect();
    let (crates, report) = closure.finish();
    Ok((Closed { index: ClosedIndex::Sparse(Box::new(registry)), crates, report }, faults, unread))
}

/// Chooses the strategy for reading a local index.
fn choose_strategy(
    source: &IndexSource,
    options: &DownloadOptions,
    selection: &Selection,
    context: &OpenContext<'_>,
    observer: &dyn SyncObserver,
) -> Result<ScanStrategy, SyncError> {
    let looks_at_all = options.verify_existing || options.audit_all;
    if let (Some(catalogue), Some(cursor), false) = (context.catalogue, context.cursor, looks_at_all)
        && let Some(delta) = cursor.delta(source, catalogue, context.lost, options.moment())?
    {
        observer.event(match delta.unchanged {
            true => SyncEvent::IndexUnchanged,
            false => SyncEvent::IndexChanged { files: delta.changes.len() },
        });
        return Ok(ScanStrategy::Delta(delta));
    }
    if options.limit > 0 {
        return Ok(ScanStrategy::Ordered);
    }
    if let Some(paths) = paths_of(selection) {
        return Ok(ScanStrategy::Named(paths));
    }
    let first = context.catalogue.map(Catalogue::is_empty).transpose()?.unwrap_or(true);
    Ok(if first && !options.dry_run { ScanStrategy::Ordered } else { ScanStrategy::Fastest })
}
