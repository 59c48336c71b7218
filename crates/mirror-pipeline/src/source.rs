//! Opens what the records come from, and plans all of it.

mod counting;
mod downloads;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use mirror_fetch::Fetcher;
use mirror_index::sparse::DlTemplate;
use mirror_index::{Closure, ClosureReport, IndexFile, IndexLimits, IndexSource, Selection};
use mirror_manifest::Catalogue;
use mirror_store::Store;
use mirror_types::{CrateName, IndexRecord, ReleaseId, upstream};
use url::Url;

use crate::closing::{ClosedIndex, close_local};
use crate::cursor::{Cursor, News, Totals};
use crate::download::Run;
use crate::error::PipelineError;
use crate::event::{Event, Problem};
use crate::handful::{HANDFUL, Handful};
use crate::keep::{Keeper, Kept};
use crate::list::{plan_list, read_list};
use crate::names::{paths_of, sparse_names};
use crate::options::{DownloadOptions, Upstream};
use crate::plan::{Parsed, PlanReport, Planner, Sinks, wants_file};
use crate::presence::Presence;
use crate::removed::bit_of;
use crate::size_estimate::SizeSample;
use crate::sparse::{FileAnswer, SparseRegistry};
use crate::threads::{join, spawn};

use counting::counting;
pub(crate) use downloads::Downloads;

/// What was opened before anything is touched: a wrong path or address ends the run here.
pub(crate) enum Input {
    Local(IndexSource),
    Sparse { url: mirror_types::Address, names: Vec<CrateName> },
    List { entries: Vec<(ReleaseId, Url)>, faults: Vec<String> },
}

impl Input {
    pub(crate) fn open(options: &DownloadOptions, selection: &Selection) -> Result<Self, PipelineError> {
        match &options.upstream {
            Upstream::Local(dir) => {
                let source = IndexSource::open_index(dir)?;
                tracing::info!(index = %dir.display(), "{}", source.describe());
                Ok(Self::Local(source))
            }
            Upstream::Sparse(url) => {
                mirror_index::sparse::root(url)?;
                Ok(Self::Sparse { url: url.clone(), names: sparse_names(selection)? })
            }
            Upstream::List(path) => {
                let mut faults = Vec::new();
                let entries = read_list(path, &mut |fault| faults.push(fault))?;
                Ok(Self::List { entries, faults })
            }
        }
    }
}

/// Where planned records come from, once everything that needs the network is done.
pub(crate) enum Records {
    Local(IndexSource, Way),
    Sparse {
        registry: Box<SparseRegistry>,
        names: Vec<CrateName>,
    },
    /// The same in a run that keeps nothing: planned as the answers come.
    Answers {
        registry: Box<SparseRegistry>,
        names: Vec<CrateName>,
        runtime: tokio::runtime::Handle,
    },
    Closed {
        index: ClosedIndex,
        crates: Vec<Vec<IndexRecord>>,
    },
    List(Vec<(ReleaseId, Url)>),
}

/// How a local index is gone through.
pub(crate) enum Way {
    /// All of it in the order of its paths: files of a directory follow each other, and so do those of
    /// a bundle.
    Ordered,
    /// All of it in the order that is read fastest.
    Fastest,
    /// What differs from the tree that an earlier run went through.
    News(News),
    /// The files at these paths, as far as they are there.
    Named(Vec<String>),
}

/// What a planner works with beside the source.
pub(crate) struct Surroundings {
    pub(crate) store: Option<Store>,
    pub(crate) fetcher: Fetcher,
    pub(crate) catalogue: Option<Catalogue>,
    /// Held releases whose files are gone, when the catalogue does not know it yet.
    pub(crate) lost: Vec<ReleaseId>,
    /// Where the cursor will be.
    pub(crate) cursor: Option<Cursor>,
    /// `None` in a dry run, which keeps nothing.
    pub(crate) sinks: Option<Sinks>,
}

impl Run {
    /// Asks the registry what must be asked, and makes the planner.
    pub(crate) async fn planner(self, around: Surroundings) -> Result<(Planner, Records), PipelineError> {
        let Self { options, stats, cancel, selection, input, base, checksums, .. } = self;
        let Surroundings { store, fetcher, catalogue, lost, cursor, sinks } = around;
        let source_bit = bit_of(catalogue.as_ref(), &input, &options)?;
        let presence = Presence::new(store.clone());
        let layout = store.as_ref().map_or(options.layout, Store::layout);
        let (mut template, mut guarded) =
            base.map_or((None, false), |base| (Some(base.template), base.guarded));
        let mut faults = Vec::new();
        let mut unread = Vec::new();
        let mut closed = ClosureReport::default();
        let mut named: Vec<CrateName> = selection.include.names().to_vec();
        named.retain(|name| selection.wants_crate(name));
        let records = match input {
            Input::Local(source) if let Some(scope) = &options.closure => {
                let (scope, selection) = (scope.clone(), selection.clone());
                let stop = cancel.clone();
                let (source, closure, bad) = join(spawn("close", move || {
                    let mut bad = Vec::new();
                    let mut fault = |fault: mirror_index::LineFault| bad.push(fault.to_string());
                    let closure = close_local(&source, &selection, &scope, &mut fault, &stop);
                    closure.map(|closure| (source, closure, bad))
                })?)
                .await??;
                faults = bad;
                let (crates, report) = closure.finish();
                closed = report;
                Records::Closed { index: ClosedIndex::Local(source), crates }
            }
            Input::Local(source) => {
                let way = way(&source, &options, &selection, catalogue.as_ref(), cursor.as_ref(), &lost)?;
                Records::Local(source, way)
            }
            Input::List { entries, faults: bad } => {
                faults = bad;
                named.clear();
                Records::List(entries)
            }
            Input::Sparse { url, names } => {
                let keep = sinks.is_some();
                let mut registry =
                    SparseRegistry::new(&url, store, keep, options.offline, options.answers, fetcher)?;
                if template.is_none() {
                    let own = registry.template().await?;
                    guarded = registry.leads_elsewhere(&own);
                    template = Some(own);
                }
                if let Some(scope) = &options.closure {
                    let mut closure = Closure::new(selection.clone(), names, scope.clone());
                    registry
                        .close(&mut closure, &mut |fault| faults.push(fault.to_string()), &cancel)
                        .await?;
                    unread.extend(registry.failed.clone());
                    let (crates, report) = closure.finish();
                    closed = report;
                    Records::Closed { index: ClosedIndex::Sparse(Box::new(registry)), crates }
                } else if !keep {
                    let runtime = tokio::runtime::Handle::current();
                    Records::Answers { registry: Box::new(registry), names, runtime }
                } else {
                    registry.refresh(names.clone(), &cancel, &mut |_, _| Ok(())).await?;
                    unread.extend(registry.failed.clone());
                    Records::Sparse { registry: Box::new(registry), names }
                }
            }
        };
        let template = match template {
            Some(template) => template,
            None => DlTemplate::from_base(&upstream::crates_base_url())?,
        };
        let (mut ledger, mut withdrawn) = (HashSet::new(), HashMap::new());
        if let Some(catalogue) = &catalogue {
            ledger.extend(catalogue.ledger_crates()?);
            withdrawn.extend(catalogue.withdrawn()?.into_iter().map(|(id, kind, _)| (id, kind)));
        }
        let ClosureReport { elsewhere, unsatisfied, first_unsatisfied, beyond } = closed;
        unread.extend(beyond);
        let must = selection.locked.clone();
        let mut on_full = None;
        match &records {
            _ if options.limit > 0 => {}
            Records::Closed { crates, .. } => {
                stats.expect(crates.iter().map(|records| records.len() as u64).sum());
            }
            Records::List(entries) => stats.expect(entries.len() as u64),
            Records::Sparse { .. } | Records::Answers { .. } => {
                stats.expect(selection.locked.as_ref().map_or(0, |locked| locked.len() as u64));
            }
            Records::Local(_, Way::News(_)) => {}
            Records::Local(..) => on_full = Some(counting(&options.upstream, &selection, &stats, &cancel)),
        }
        let complete = matches!(records, Records::Local(..)) && selection.is_open() && options.limit == 0;
        let all = complete && !matches!(records, Records::Local(_, Way::News(_)));
        let keeper = match (&records, &catalogue, &sinks) {
            (Records::List(_), ..) | (_, None, _) | (.., None) => None,
            (Records::Local(_, Way::Ordered | Way::Fastest), Some(catalogue), _) => {
                Some(Keeper::new(Kept::all(catalogue)?))
            }
            _ => Some(Keeper::new(Kept::Ask)),
        };
        let mut planner = Planner {
            complete,
            keeper,
            lines: None,
            read: (all && catalogue.is_some()).then(HashSet::new),
            rooted: options.with_lockfiles.then(|| selection.clone()),
            selection,
            must,
            named: named.into_iter().map(|name| (name.canonical(), name)).collect(),
            ledger,
            withdrawn,
            lost: lost.into_iter().collect(),
            limits: IndexLimits::default(),
            template: Arc::new(template),
            guarded,
            checksums,
            layout,
            limit: options.limit,
            offline: options.offline,
            verify_existing: options.verify_existing,
            storage: options.storage,
            source: source_bit,
            removed: Vec::new(),
            defers: !options.accept_mass_removal,
            deferred: Vec::new(),
            catalogue,
            presence,
            stats,
            cancel,
            sinks,
            seen: HashSet::new(),
            doubted: HashSet::new(),
            unread,
            on_full,
            to_hash: Vec::new(),
            sample: SizeSample::default(),
            report: PlanReport { elsewhere, unsatisfied, first_unsatisfied, ..PlanReport::default() },
        };
        if let Records::Closed { .. } = records {
            // What the closure selected is wanted, whatever began it.
            planner.selection = Selection { include_yanked: true, ..Selection::default() };
        }
        for fault in faults {
            planner.bad_line(fault);
        }
        Ok((planner, records))
    }
}

/// How to go through a local index.
fn way(
    source: &IndexSource,
    options: &DownloadOptions,
    selection: &Selection,
    catalogue: Option<&Catalogue>,
    cursor: Option<&Cursor>,
    lost: &[ReleaseId],
) -> Result<Way, PipelineError> {
    if let (Some(catalogue), Some(cursor), false) = (catalogue, cursor, options.verify_existing)
        && let Some(news) = cursor.news(source, catalogue, lost)?
    {
        return Ok(Way::News(news));
    }
    if options.limit > 0 {
        return Ok(Way::Ordered);
    }
    if let Some(paths) = paths_of(selection) {
        return Ok(Way::Named(paths));
    }
    let first = catalogue.map(Catalogue::is_empty).transpose()?.unwrap_or(true);
    Ok(if first && !options.dry_run { Way::Ordered } else { Way::Fastest })
}

/// Plans everything. Runs on a thread of its own; blocks.
pub(crate) fn plan_all(
    mut planner: Planner,
    records: Records,
) -> Result<(PlanReport, SizeSample), PipelineError> {
    for (name, why) in std::mem::take(&mut planner.unread) {
        planner.unread(&name, &why);
    }
    match records {
        Records::Local(source, way) => local(&mut planner, source, way)?,
        Records::Sparse { registry, names } => {
            for name in names {
                let file = registry.file(&name);
                if !planner.offline && !registry.failed.contains_key(&name) {
                    planner.gone_but(&name, file.as_ref())?;
                }
                let Some(file) = file else { continue };
                if planner.file(&file.path, &file.data)?.is_err() {
                    break;
                }
            }
        }
        Records::Answers { mut registry, names, runtime } => {
            let cancel = planner.cancel.clone();
            let mut plan = |name: &CrateName, file: FileAnswer| {
                match file {
                    // A run that was stopped asks for no more by itself.
                    Ok(Some(file)) => planner.file(&file.path, &file.data)?.ok(),
                    Ok(None) => None,
                    Err(why) => {
                        planner.unread(name, &why);
                        None
                    }
                };
                Ok(())
            };
            runtime.block_on(registry.refresh(names, &cancel, &mut plan))?;
        }
        Records::Closed { index, crates } => {
            // A crate of which nothing is chosen, because all of it is yanked, is there all the same.
            let named: Vec<CrateName> = planner.named.values().cloned().collect();
            for name in named {
                if index.file(&name)?.is_some() {
                    planner.named.remove(&name.canonical());
                }
            }
            for records in crates {
                if let Some(first) = records.first().filter(|_| planner.keeper.is_some())
                    && let Some(file) = index.file(&first.id.name)?
                {
                    planner.lines_of(&file.path, &file.data)?;
                    planner.compare_file(&file.path, &file.data)?;
                }
                if planner.records(records, false)?.is_err() {
                    break;
                }
            }
        }
        Records::List(entries) => plan_list(&mut planner, entries)?,
    }
    planner.missing()?;
    Ok(planner.finish())
}

/// Plans a local index.
fn local(planner: &mut Planner, source: IndexSource, way: Way) -> Result<(), PipelineError> {
    match way {
        Way::Ordered => {
            let mut failed = None;
            source.scan(&mut |file| match planner.file(&file.path, &file.data) {
                Ok(Ok(())) => ControlFlow::Continue(()),
                Ok(Err(_)) => ControlFlow::Break(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            })?;
            failed.map_or(Ok(()), Err)?;
        }
        Way::Fastest => fastest(planner, source)?,
        Way::News(news) => plan_news(planner, &source, news)?,
        Way::Named(crates) => {
            for path in &crates {
                let Some(file) = source.file(path)? else {
                    planner.gone_at(path, &[])?;
                    continue;
                };
                if planner.file(&file.path, &file.data)?.is_err() {
                    break;
                }
            }
        }
    }
    if !planner.cancel.is_cancelled() {
        planner.gone_crates()?;
    }
    Ok(())
}

/// Reads and parses on as many threads as there are processors, and plans on this one.
fn fastest(planner: &mut Planner, source: IndexSource) -> Result<(), PipelineError> {
    let (send, receive) = crossbeam_channel::bounded::<Vec<Parsed>>(16);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (selection, limits) = (planner.selection.clone(), planner.limits);
    // Readers know everything that is kept: no catalogue is asked.
    let keeper = planner.keeper.as_ref().map(Keeper::another);
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            source.scan_unordered(threads, &|| {
                let mut handful = Handful { files: Vec::with_capacity(HANDFUL), to: send.clone() };
                let (selection, limits) = (&selection, &limits);
                let mut keeper = keeper.as_ref().map(Keeper::another);
                Box::new(move |path, data| {
                    if wants_file(selection, path) {
                        let lines = keeper.as_mut().map_or(Ok(None), |keeper| keeper.pick(None, path, data));
                        handful.add(Parsed::of(path, data, limits).with(lines))
                    } else {
                        ControlFlow::Continue(())
                    }
                })
            })
        });
        let mut planned = Ok(Ok(()));
        for parsed in receive.iter().flatten() {
            planned = planner.parsed(parsed);
            if !matches!(planned, Ok(Ok(()))) {
                break;
            }
        }
        drop(receive);
        let read = reading.join();
        planned?.ok();
        Ok(read.map_err(|_| {
            PipelineError::Internal("the thread that reads the index ended badly".to_owned())
        })??)
    })
}

/// Plans what differs, and counts the rest as it was counted before.
fn plan_news(planner: &mut Planner, source: &IndexSource, news: News) -> Result<(), PipelineError> {
    let News { changes, also, totals } = news;
    let mut before = Vec::new();
    let limits = planner.limits;
    let mut leave_out = |planner: &Planner, path: &str, data: &[u8]| {
        if wants_file(&planner.selection, path) {
            before.push(Parsed::of(path, data, &limits).totals(&planner.selection));
        }
    };
    for change in changes {
        if let Some(blob) = &change.before {
            let file = IndexFile { path: change.path.clone(), data: source.blob(blob)? };
            leave_out(planner, &file.path, &file.data);
            if change.after.is_none() {
                planner.gone_file(&file)?;
            }
        }
        if let Some(blob) = &change.after
            && planner.file(&change.path, &source.blob(blob)?)?.is_err()
        {
            return Ok(());
        }
    }
    for (path, name) in also {
        match (source.file(&path)?, name) {
            (Some(file), _) => {
                leave_out(planner, &path, &file.data);
                if planner.file(&path, &file.data)?.is_err() {
                    return Ok(());
                }
            }
            (None, name) => {
                planner.gone_at(&path, &[])?;
                name.map_or(Ok(()), |name| planner.gone(&name))?;
            }
        }
    }
    let less = |whole: u64, part: fn(&Totals) -> u64| whole.saturating_sub(before.iter().map(part).sum());
    planner.carry(Totals {
        selected: less(totals.selected, |totals| totals.selected),
        yanked_skipped: less(totals.yanked_skipped, |totals| totals.yanked_skipped),
    });
    Ok(())
}

impl Planner {
    /// Reports what is wanted of a crate whose index file could not be read.
    fn unread(&mut self, name: &CrateName, why: &str) {
        let why = format!("its index file could not be read: {why}");
        let locked: Vec<ReleaseId> = match &self.must {
            Some(set) => set.missing(&self.seen).into_iter().filter(|id| id.name == *name).collect(),
            None => Vec::new(),
        };
        self.named.remove(&name.canonical());
        if locked.is_empty() {
            self.fail_crate(name.clone(), Problem::planned("index", why));
            return;
        }
        for id in locked {
            if self.begin(&id) {
                let _ = self.fail(&id, None, Problem::planned("index", why.clone()));
            }
        }
    }

    /// Reports what was named of an index file without a good line. What is held of it is not gone for that.
    pub(crate) fn nothing_good(&mut self, path: &str) {
        let file = path.rsplit('/').next().and_then(|name| name.parse::<CrateName>().ok());
        let named = file.and_then(|file| self.named.get(&file.canonical()).cloned());
        if let Some(name) = named {
            self.unread(&name, "none of its lines is good");
        }
    }

    /// Reports what was named, crate or release, and is not in the index.
    fn missing(&mut self) -> Result<(), PipelineError> {
        if self.cancel.is_cancelled() || self.limit > 0 {
            return Ok(());
        }
        for (_, name) in std::mem::take(&mut self.named) {
            if !self.offline {
                self.gone_but(&name, None)?;
                self.gone(&name)?;
            }
            let why = match self.offline {
                true => "the mirror has no index lines of it, and this run asks nobody",
                false => "the index has no such crate; check how it is spelled",
            };
            self.fail_crate(name, Problem::planned("not-in-index", why.to_owned()));
        }
        let Some(must) = &self.must else { return Ok(()) };
        for id in must.missing(&self.seen) {
            if self.selection.wants_crate(&id.name) && self.begin(&id) {
                let why = match self.offline {
                    true => {
                        "the lockfile names it, the mirror has no index line of it, and this run asks nobody"
                    }
                    false => "the lockfile names it, the index does not have it",
                };
                let _ = self.fail(&id, None, Problem::planned("not-in-index", why.to_owned()));
            }
        }
        Ok(())
    }

    fn fail_crate(&mut self, name: CrateName, problem: Problem) {
        self.report.selected += 1;
        self.stats.planned(1);
        match &self.sinks {
            Some(sinks) => {
                let _ = sinks.events.send(Event::CrateFailed { name, problem: Box::new(problem) });
            }
            None => tracing::warn!(crate_name = %name, "{}", problem.message),
        }
    }
}
