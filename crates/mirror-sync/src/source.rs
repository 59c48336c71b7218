//! Opens what the records come from, and makes it ready to be planned.

mod closing;
mod counting;
mod downloads;
mod handful;
mod input;
mod lines_filter;
mod local;
mod read_file;
mod remote;
mod sparse;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use mirror_fetch::Fetcher;
use mirror_index::sparse::DlTemplate;
use mirror_index::{Closure, ClosureReport, IndexLimits, IndexSource, Selection};
use mirror_manifest::Catalogue;
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
use crate::source::lines_filter::LinesFilter;
use crate::source::sparse::SparseRegistry;
use crate::threads::{join, spawn};

pub(crate) use counting::counting;
pub(crate) use downloads::Downloads;
pub(crate) use input::Input;
use local::{LocalIndex, Way};
use read_file::ReadFile;
use remote::{AnsweredIndex, ChosenIndex, ListIndex, SparseIndex};

/// What an index is opened with.
pub(crate) struct Surroundings<'a> {
    pub(crate) store: Option<Store>,
    pub(crate) fetcher: Fetcher,
    pub(crate) catalogue: Option<&'a Catalogue>,
    /// Held releases whose files are gone, when the catalogue does not know it yet.
    pub(crate) lost: &'a [ReleaseId],
    /// Where the cursor will be.
    pub(crate) cursor: Option<&'a Cursor>,
    /// Whether the run keeps what it learns; a dry run does not.
    pub(crate) keeps: bool,
}

/// An index that is ready to be planned, and what is wanted of it.
pub(crate) struct Opened {
    pub(crate) wanted: Wanted,
    pub(crate) index: OpenedIndex,
    /// Whether a registry names the downloads, and another host for them than the operator.
    pub(crate) guarded: bool,
    pub(crate) expected: Expected,
    /// Of a closure: what could not be followed.
    pub(crate) closure: ClosureReport,
}

/// How many releases will be selected, before they are planned.
pub(crate) enum Expected {
    /// So many.
    Releases(u64),
    /// Nobody knows, and planning will soon tell.
    Unknown,
    /// Nobody knows; to count them takes going through the whole index once more.
    Uncounted,
}

/// An index, behind what went wrong while it was opened.
pub(crate) struct OpenedIndex {
    faults: Vec<String>,
    /// Crates whose index file could not be had, with the reason.
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

/// What is found out while an index is opened.
#[derive(Default)]
struct Found {
    faults: Vec<String>,
    unread: Vec<(CrateName, String)>,
    closure: ClosureReport,
    /// The registry's own, where it was asked.
    downloads: Option<Downloads>,
}

/// What a run is made of, before its mirror is opened.
pub(crate) struct Run {
    pub(crate) options: DownloadOptions,
    pub(crate) observer: Arc<dyn SyncObserver>,
    pub(crate) cancel: CancellationToken,
    pub(crate) selection: Selection,
    pub(crate) input: Input,
    /// Where downloads come from, when no registry has to be asked for it.
    pub(crate) base: Option<Downloads>,
    pub(crate) checksums: Option<Checksums>,
    /// Packages of other sources in the lockfiles, by source.
    pub(crate) foreign: BTreeMap<String, usize>,
}

impl Run {
    /// Returns where the cursor will be after this run; `None` when the index has no trees to compare, or the run does not
    /// go through all of it.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        let Input::Local(source) = &self.input else { return None };
        Cursor::of(source, &self.options, self.selection.is_open())
    }

    /// Asks the registry what must be asked, and makes the index ready to be planned.
    pub(crate) async fn open_index(self, around: Surroundings<'_>) -> Result<Opened, SyncError> {
        let Self { options, observer, cancel, selection, input, base, checksums, .. } = self;
        let mut named: Vec<CrateName> = selection.include.names().to_vec();
        named.retain(|name| selection.wants_crate(name));
        let must = selection.locked.clone();
        let locked = must.as_ref().map_or(0, |locked| locked.len() as u64);
        let mut found = Found::default();
        let (mut scope, mut expected) = (Scope::Part, Expected::Releases(locked));
        let mut wanted = selection.clone();
        let index: Box<dyn Index> = match input {
            Input::Local(source) if options.closure.is_none() => {
                let way = way(&source, &options, &selection, &around, &*observer)?;
                if selection.is_open() && options.limit == 0 {
                    scope = if matches!(way, Way::News(_)) { Scope::Changes } else { Scope::All };
                }
                let is_news = matches!(way, Way::News(_));
                expected = if is_news { Expected::Unknown } else { Expected::Uncounted };
                let all = matches!(way, Way::Ordered | Way::Fastest);
                let read = around.read_file(&selection, all)?;
                Box::new(LocalIndex { source, way, read })
            }
            Input::Local(source) => {
                let closed = close(source, &options, &selection, &cancel, &mut found).await?;
                wanted = everything();
                expected = closed.expected();
                let read = around.read_file(&wanted, false)?;
                Box::new(ChosenIndex {
                    index: closed.index,
                    crates: closed.crates,
                    named: named.clone(),
                    read,
                })
            }
            Input::List { entries, faults } => {
                found.faults = faults;
                named.clear();
                expected = Expected::Releases(entries.len() as u64);
                Box::new(ListIndex { entries })
            }
            Input::Sparse { url, names } => {
                let mut registry = SparseRegistry::new(
                    &url,
                    around.store.clone(),
                    around.keeps,
                    options.offline,
                    options.answers,
                    around.fetcher.clone(),
                )?;
                if base.is_none() {
                    let template = registry.template().await?;
                    let guarded = registry.leads_elsewhere(&template);
                    found.downloads = Some(Downloads { template, guarded });
                }
                if options.closure.is_some() {
                    let closed =
                        close_sparse(registry, names, &options, &selection, &cancel, &mut found).await?;
                    wanted = everything();
                    expected = closed.expected();
                    let read = around.read_file(&wanted, false)?;
                    Box::new(ChosenIndex {
                        index: closed.index,
                        crates: closed.crates,
                        named: named.clone(),
                        read,
                    })
                } else {
                    let read = around.read_file(&selection, false)?;
                    let registry = Box::new(registry);
                    sparse(registry, names, around.keeps, options.offline, read, &cancel, &mut found).await?
                }
            }
        };
        if options.limit > 0 {
            expected = Expected::Unknown;
        }
        let downloads = match base.or(found.downloads) {
            Some(downloads) => downloads,
            None => {
                Downloads { template: DlTemplate::from_base(&upstream::crates_base_url())?, guarded: false }
            }
        };
        let wanted = Wanted {
            selection: wanted,
            named,
            must,
            template: Arc::new(downloads.template),
            checksums,
            limit: options.limit,
            offline: options.offline,
            verify: options.verify_existing,
            both_places: options.storage == crate::options::Storage::Both,
            scope: if around.catalogue.is_none() && scope == Scope::All { Scope::Changes } else { scope },
        };
        let index = OpenedIndex { faults: found.faults, unread: found.unread, index };
        Ok(Opened { wanted, index, guarded: downloads.guarded, expected, closure: found.closure })
    }
}

/// What a closure selected is wanted, whatever began it.
fn everything() -> Selection {
    Selection { include_yanked: true, ..Selection::default() }
}

impl Surroundings<'_> {
    /// Reads files of which `selection` wants something. `all`: every file of the index is read.
    fn read_file(&self, selection: &Selection, all: bool) -> Result<ReadFile, SyncError> {
        let lines = match self.catalogue.filter(|_| self.keeps) {
            None => None,
            Some(catalogue) if all => Some(LinesFilter::knowing(catalogue)?),
            Some(catalogue) => Some(LinesFilter::asking(catalogue.another()?)),
        };
        Ok(ReadFile { selection: selection.clone(), limits: IndexLimits::default(), lines })
    }
}

/// What a closure chose, and where from.
struct Closed {
    index: ClosedIndex,
    crates: Vec<Vec<IndexRecord>>,
}

impl Closed {
    fn of(index: ClosedIndex, closure: Closure, found: &mut Found) -> Self {
        let (crates, mut report) = closure.finish();
        found.unread.append(&mut report.beyond);
        found.closure = report;
        Self { index, crates }
    }

    fn expected(&self) -> Expected {
        Expected::Releases(self.crates.iter().map(|records| records.len() as u64).sum())
    }
}

async fn close(
    source: IndexSource,
    options: &DownloadOptions,
    selection: &Selection,
    cancel: &CancellationToken,
    found: &mut Found,
) -> Result<Closed, SyncError> {
    let (scope, selection) = (options.closure.clone().unwrap_or_default(), selection.clone());
    let stop = cancel.clone();
    let (source, closure, bad) = join(spawn("close", move || {
        let mut bad = Vec::new();
        let mut fault = |fault: mirror_index::LineFault| bad.push(fault.to_string());
        let closure = close_local(&source, &selection, &scope, &mut fault, &stop);
        closure.map(|closure| (source, closure, bad))
    })?)
    .await??;
    found.faults = bad;
    Ok(Closed::of(ClosedIndex::Local(source), closure, found))
}

async fn close_sparse(
    mut registry: SparseRegistry,
    names: Vec<CrateName>,
    options: &DownloadOptions,
    selection: &Selection,
    cancel: &CancellationToken,
    found: &mut Found,
) -> Result<Closed, SyncError> {
    let scope = options.closure.clone().unwrap_or_default();
    let mut closure = Closure::new(selection.clone(), names, scope);
    let faults = &mut found.faults;
    registry.close(&mut closure, &mut |fault| faults.push(fault.to_string()), cancel).await?;
    found.unread.extend(registry.failed.clone());
    Ok(Closed::of(ClosedIndex::Sparse(Box::new(registry)), closure, found))
}

/// Crates of a sparse registry: refreshed now, or in a run that keeps nothing, asked for while they are planned.
async fn sparse(
    mut registry: Box<SparseRegistry>,
    names: Vec<CrateName>,
    keeps: bool,
    offline: bool,
    read: ReadFile,
    cancel: &CancellationToken,
    found: &mut Found,
) -> Result<Box<dyn Index>, SyncError> {
    if !keeps {
        let runtime = tokio::runtime::Handle::current();
        return Ok(Box::new(AnsweredIndex { registry, names, runtime, cancel: cancel.clone(), read }));
    }
    registry.refresh(names.clone(), cancel, &mut |_, _| Ok(())).await?;
    found.unread.extend(registry.failed.clone());
    Ok(Box::new(SparseIndex { registry, names, offline, read }))
}

/// How to go through a local index.
fn way(
    source: &IndexSource,
    options: &DownloadOptions,
    selection: &Selection,
    around: &Surroundings<'_>,
    observer: &dyn SyncObserver,
) -> Result<Way, SyncError> {
    if let (Some(catalogue), Some(cursor), false) = (around.catalogue, around.cursor, options.verify_existing)
        && let Some(news) = cursor.news(source, catalogue, around.lost)?
    {
        observer.event(match news.unchanged {
            true => SyncEvent::IndexUnchanged,
            false => SyncEvent::IndexChanged { files: news.changes.len() },
        });
        return Ok(Way::News(news));
    }
    if options.limit > 0 {
        return Ok(Way::Ordered);
    }
    if let Some(paths) = paths_of(selection) {
        return Ok(Way::Named(paths));
    }
    let first = around.catalogue.map(Catalogue::is_empty).transpose()?.unwrap_or(true);
    Ok(if first && !options.dry_run { Way::Ordered } else { Way::Fastest })
}
