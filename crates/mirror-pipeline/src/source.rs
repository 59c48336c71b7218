//! Opens what the records come from, and plans all of it.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use mirror_fetch::Fetcher;
use mirror_index::sparse::DlTemplate;
use mirror_index::{Closure, IndexLimits, IndexSource, Selection, parse_file};
use mirror_manifest::Catalogue;
use mirror_store::Store;
use mirror_telemetry::RunStats;
use mirror_types::{CrateName, IndexRecord, ReleaseId, upstream};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::commit::{Event, Problem};
use crate::download::Run;
use crate::error::PipelineError;
use crate::list::{read_list, readable};
use crate::options::{DownloadOptions, Upstream};
use crate::plan::{Address, PlanReport, Planner, Sinks};
use crate::presence::Presence;
use crate::rehearse::Sample;
use crate::sparse::SparseRegistry;

/// What was opened before anything is touched: a wrong path or address ends the run here.
pub(crate) enum Input {
    Local(IndexSource),
    Sparse { url: String, names: Vec<CrateName> },
    List { entries: Vec<(ReleaseId, Url)>, faults: Vec<String> },
}

impl Input {
    pub(crate) fn open(options: &DownloadOptions, selection: &Selection) -> Result<Self, PipelineError> {
        match &options.upstream {
            Upstream::Local(dir) => {
                let source = IndexSource::open(dir)?;
                tracing::info!(index = %dir.display(), "{}", source.describe());
                Ok(Self::Local(source))
            }
            Upstream::Sparse(url) => {
                SparseRegistry::root(url)?;
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
    Local(IndexSource),
    Sparse { registry: Box<SparseRegistry>, names: Vec<CrateName> },
    Closed(Vec<Vec<IndexRecord>>),
    List(Vec<(ReleaseId, Url)>),
}

/// What a planner works with beside the source.
pub(crate) struct Surroundings {
    pub(crate) store: Option<Store>,
    pub(crate) fetcher: Fetcher,
    pub(crate) catalogue: Option<Catalogue>,
    pub(crate) presence: Presence,
    /// `None` in a dry run, which keeps nothing.
    pub(crate) sinks: Option<Sinks>,
}

impl Run {
    /// Asks the registry what must be asked, and makes the planner.
    pub(crate) async fn planner(self, around: Surroundings) -> Result<(Planner, Records), PipelineError> {
        let Self { options, stats, cancel, selection, input, base, checksums, .. } = self;
        let Surroundings { store, fetcher, catalogue, presence, sinks } = around;
        let layout = store.as_ref().map_or(options.layout, Store::layout);
        let mut template = base;
        let mut faults = Vec::new();
        let mut unread = Vec::new();
        let mut guarded = false;
        let mut named: Vec<CrateName> = selection.include.names().to_vec();
        named.retain(|name| selection.wants_crate(name));
        let records = match input {
            Input::Local(source) => Records::Local(source),
            Input::List { entries, faults: bad } => {
                faults = bad;
                named.clear();
                Records::List(entries)
            }
            Input::Sparse { url, names } => {
                let keep = sinks.is_some();
                let mut registry = SparseRegistry::new(&url, store, keep, options.offline, fetcher)?;
                if template.is_none() {
                    let own = registry.template().await?;
                    guarded = registry.leads_elsewhere(&own);
                    template = Some(own);
                }
                if options.closure {
                    let mut closure = Closure::new(selection.clone());
                    registry
                        .close(&mut closure, &mut |fault| faults.push(fault.to_string()), &cancel)
                        .await?;
                    unread.extend(registry.failed);
                    Records::Closed(closure.finish())
                } else {
                    registry.refresh(names.clone(), &cancel).await?;
                    unread.extend(registry.failed.clone());
                    Records::Sparse { registry: Box::new(registry), names }
                }
            }
        };
        let template = match template {
            Some(template) => template,
            None => DlTemplate::from_base(&upstream::crates_base_url())?,
        };
        let ledgered = match &catalogue {
            Some(catalogue) => catalogue.failed_crates()?.into_iter().collect(),
            None => HashSet::new(),
        };
        let must = selection.locked.clone();
        let mut on_full = None;
        match &records {
            _ if options.limit > 0 => {}
            Records::Closed(crates) => stats.expect(crates.iter().map(|records| records.len() as u64).sum()),
            Records::List(entries) => stats.expect(entries.len() as u64),
            Records::Sparse { .. } => {
                stats.expect(selection.locked.as_ref().map_or(0, |locked| locked.len() as u64));
            }
            Records::Local(_) => on_full = Some(counting(&options.upstream, &selection, &stats, &cancel)),
        }
        let mut planner = Planner {
            complete: matches!(records, Records::Local(_)) && selection.is_everything() && options.limit == 0,
            selection,
            must,
            named: named.into_iter().map(|name| (name.canonical(), name)).collect(),
            ledgered,
            limits: IndexLimits::default(),
            template: Arc::new(template),
            guarded,
            checksums,
            layout,
            limit: options.limit,
            verify_existing: options.verify_existing,
            catalogue,
            presence,
            stats,
            cancel,
            sinks,
            seen: HashSet::new(),
            unread,
            on_full,
            to_hash: Vec::new(),
            sample: Sample::default(),
            report: PlanReport::default(),
        };
        if let Records::Closed(_) = records {
            // What the closure selected is wanted, whatever began it.
            planner.selection = Selection { include_yanked: true, ..Selection::default() };
        }
        for fault in faults {
            planner.bad_line(fault);
        }
        Ok((planner, records))
    }
}

/// Counts what is selected, on a thread of its own: the planner cannot run ahead of the downloads,
/// and a person wants to know how long they will take. Only done when they do take long.
fn counting(
    upstream: &Upstream,
    selection: &Selection,
    stats: &Arc<RunStats>,
    cancel: &CancellationToken,
) -> Box<dyn FnOnce() + Send> {
    let (upstream, selection) = (upstream.clone(), selection.clone());
    let (stats, cancel) = (stats.clone(), cancel.clone());
    let count = move || {
        let Upstream::Local(dir) = upstream else { return };
        // What goes wrong here goes wrong in the planner too, which reports it.
        let Ok(source) = IndexSource::open(&dir) else { return };
        let mut selected = 0;
        let scanned = source.scan(&mut |file| {
            let records = parse_file(&file.path, &file.data, &IndexLimits::default(), &mut |_| {});
            if records.first().is_some_and(|record| selection.wants_crate(&record.id.name)) {
                selected += selection.select(records).records.len() as u64;
            }
            if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if scanned.is_ok() && !cancel.is_cancelled() {
            stats.expect(selected);
        }
    };
    Box::new(move || {
        if let Err(error) = std::thread::Builder::new().name("count".to_owned()).spawn(count) {
            tracing::debug!("the whole is not counted: {error}");
        }
    })
}

/// The crates that a sparse registry is asked for: it cannot list what it has.
fn sparse_names(selection: &Selection) -> Result<Vec<CrateName>, PipelineError> {
    let named = selection.include.exact_names();
    let mut names = match (&selection.locked, named) {
        (Some(locked), _) => locked.names(),
        (None, Some(names)) if !names.is_empty() => names,
        _ => {
            return Err(PipelineError::Usage(
                "a sparse registry cannot list its crates: name them with --cargo-lock, --crates (without \
                 wildcards) or --crates-file, or use a git index with --index-dir"
                    .to_owned(),
            ));
        }
    };
    names.retain(|name| selection.wants_crate(name));
    names.sort();
    names.dedup();
    Ok(names)
}

/// Plans everything. Runs on a thread of its own; blocks.
pub(crate) fn plan_all(
    mut planner: Planner,
    records: Records,
) -> Result<(PlanReport, Sample), PipelineError> {
    for (name, why) in std::mem::take(&mut planner.unread) {
        planner.unread(&name, &why);
    }
    match records {
        Records::Local(source) => {
            let mut failed = None;
            source.scan(&mut |file| match planner.file(&file) {
                Ok(Ok(())) => ControlFlow::Continue(()),
                Ok(Err(_)) => ControlFlow::Break(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Records::Sparse { registry, names } => {
            for name in names {
                let Some(file) = registry.file(&name) else { continue };
                if planner.file(&file)?.is_err() {
                    break;
                }
            }
        }
        Records::Closed(crates) => {
            for records in crates {
                if planner.records(records)?.is_err() {
                    break;
                }
            }
        }
        Records::List(entries) => plan_list(&mut planner, entries)?,
    }
    planner.missing();
    Ok(planner.finish())
}

fn plan_list(planner: &mut Planner, entries: Vec<(ReleaseId, Url)>) -> Result<(), PipelineError> {
    let mut by_crate: BTreeMap<CrateName, Vec<(ReleaseId, Url)>> = BTreeMap::new();
    for (id, url) in entries {
        by_crate.entry(id.name.clone()).or_default().push((id, url));
    }
    for (name, entries) in by_crate {
        if !planner.selection.wants_crate(&name) {
            continue;
        }
        let held = planner.held(&name)?;
        let mut seen = HashSet::new();
        for (id, url) in entries {
            if !seen.insert(id.clone()) {
                continue;
            }
            if !planner.begin(&id) {
                return Ok(());
            }
            let shown = readable(url.as_str());
            let cksum = planner.checksums.as_ref().and_then(|sums| sums.get(&shown)).copied();
            if planner.place(id, cksum, Address::Given(url), shown, &held)?.is_err() {
                return Ok(());
            }
        }
    }
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
        if locked.is_empty() {
            self.named.remove(&name.canonical());
            self.fail_crate(name.clone(), Problem::planned("index", why));
            return;
        }
        for id in locked {
            if self.begin(&id) {
                let _ = self.fail(&id, None, Problem::planned("index", why.clone()));
            }
        }
    }

    /// Reports what was named, crate or release, and is not in the index.
    fn missing(&mut self) {
        if self.cancel.is_cancelled() || self.limit > 0 {
            return;
        }
        for (_, name) in std::mem::take(&mut self.named) {
            let why = "the index has no such crate; check how it is spelled".to_owned();
            self.fail_crate(name, Problem::planned("not-in-index", why));
        }
        let Some(must) = &self.must else { return };
        for id in must.missing(&self.seen) {
            if self.selection.wants_crate(&id.name) && self.begin(&id) {
                let why = "the lockfile names it, the index does not have it".to_owned();
                let _ = self.fail(&id, None, Problem::planned("not-in-index", why));
            }
        }
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
