//! Writes a sidecar beside each crate.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::Facts;
use mirror_git::{Change, IndexSource};
use mirror_store::{Staged, Store};
use mirror_types::{Layout, Unexpected};

use super::error::GenerateError;
use super::observe::{SidecarEvent, SidecarPhase};
use super::options::SidecarOutcome;
use super::render::{FactsBuilder, ParsedLine, Tally, Urls, each};
use super::source::Feed;
use super::state::State;
use super::work::Work;

/// Files that are published together.
const BATCH: usize = 4_096;
/// Most changed index files; with more, reading the whole index in the order of its packs is faster.
const MAX_CHANGED_FILES: usize = 25_000;
/// Most index files with bad lines that are remembered; with more, every run reads everything.
const MAX_BAD_FILES: usize = 1_000;

pub(super) fn write(mut work: Work<'_>, feed: &Feed, out: &Path) -> Result<SidecarOutcome, GenerateError> {
    let store = Store::open(out, Layout::default(), false)?;
    work.rules.layout = store.layout();
    if work.options.offered {
        return offered_alone(&work, feed, store);
    }
    let settings = settings(&work)?;
    let before = State::recall(&store)?;
    // Without a state of this format, there may be sidecars of an earlier version.
    let correct = before.is_none();
    let mut state = before.unwrap_or_else(|| State::new(settings.clone()));
    if state.settings != settings {
        // This run uses other settings, so that the sidecars are not all alike any more.
        state = State::new(settings);
        state.remember(&store)?;
    }
    let shared = Shared {
        fresh: store.is_empty()?,
        correct,
        store,
        left: Mutex::default(),
        met: Mutex::default(),
        bad_files: Mutex::default(),
    };
    work.emit(SidecarEvent::Phase(SidecarPhase::Write));
    let tree = feed.trees();
    let since = if work.options.refresh { &state.current } else { &state.present };
    let news = match (&tree, since) {
        (Some((source, _)), Some(since)) if work.options.limit == 0 => source
            .compare(since)
            .filter(|changes| changes.len() <= MAX_CHANGED_FILES)
            .map(|changes| (*source, changes)),
        _ => None,
    };
    let outcome = match news {
        Some((source, changes)) => some(&work, &shared, &state, source, &changes)?,
        None => all(&work, feed, &shared)?,
    };
    if (work.is_stopped)() || work.options.limit > 0 {
        return Ok(outcome);
    }
    let Some((_, tree)) = tree else {
        if correct {
            state.remember(&shared.store)?;
        }
        return Ok(outcome);
    };
    let met = shared.met.into_inner().unwrap_or_else(PoisonError::into_inner);
    let in_step = if outcome.news.is_some() { state.current == state.present } else { true };
    if work.options.refresh || (in_step && !met) {
        state.current = Some(tree.clone());
    } else if outcome.news.is_none() && state.current.is_none() {
        work.emit(SidecarEvent::StaleKept);
    }
    state.present = Some(tree);
    (state.selected, state.yanked_skipped) = (outcome.selected, outcome.yanked_skipped);
    state.bad_files = shared.bad_files.into_inner().unwrap_or_else(PoisonError::into_inner);
    if state.bad_files.len() > MAX_BAD_FILES {
        (state.present, state.current) = (None, None);
    }
    state.remember(&shared.store)?;
    Ok(outcome)
}

/// Generates the sidecars of offered releases. What is offered changes without the index, so every line is looked at, and
/// the record of what other runs did stays as it is.
fn offered_alone(work: &Work<'_>, feed: &Feed, store: Store) -> Result<SidecarOutcome, GenerateError> {
    let shared = Shared {
        fresh: store.is_empty()?,
        correct: State::recall(&store)?.is_none(),
        store,
        left: Mutex::default(),
        met: Mutex::default(),
        bad_files: Mutex::default(),
    };
    work.emit(SidecarEvent::Phase(SidecarPhase::Write));
    all(work, feed, &shared)
}

/// Describes the settings that affect sidecars: when they change, every file is read.
fn settings(work: &Work<'_>) -> Result<String, GenerateError> {
    let urls = match &work.rules.urls {
        Urls::Base(base) => base.clone(),
        Urls::Template(template) => format!("{template:?}"),
    };
    let manifest = match &work.options.manifest {
        None => "none".to_owned(),
        Some(path) => {
            let fail = |source| GenerateError::Read { what: "the manifest", path: path.clone(), source };
            let meta = std::fs::metadata(path).map_err(fail)?;
            let changed = meta.modified().map_err(fail)?.duration_since(std::time::UNIX_EPOCH);
            format!("{} bytes, {}", meta.len(), changed.unwrap_or_default().as_nanos())
        }
    };
    let licences = match &work.rules.licences {
        None => String::new(),
        Some(licences) => format!("; licences {}", licences.identity()),
    };
    Ok(format!("crates at {urls}; yanked {}; manifest {manifest}{licences}", work.options.include_yanked))
}

/// The state that the threads of a run share, and their results.
struct Shared {
    store: Store,
    /// True if the mirror was empty when the run began.
    fresh: bool,
    /// True if existing sidecars may be from a version that put the path into `crate_file`.
    correct: bool,
    /// Batches that are not full yet.
    left: Mutex<Vec<Staged>>,
    /// True if a sidecar was left as it was and may have an earlier line.
    met: Mutex<bool>,
    bad_files: Mutex<BTreeSet<String>>,
}

/// The state of one writing thread.
struct Writer<'w> {
    work: &'w Work<'w>,
    shared: &'w Shared,
    builder: FactsBuilder<'w>,
    tally: Tally,
    text: Vec<u8>,
    batch: Vec<Staged>,
    met: bool,
    /// The part of the tally that was already reported: written and existing.
    shown: (u64, u64),
}

impl<'w> Writer<'w> {
    fn new(work: &'w Work<'w>, shared: &'w Shared) -> Self {
        Self {
            work,
            shared,
            builder: FactsBuilder::new(&work.rules),
            tally: Tally::default(),
            text: Vec::new(),
            batch: Vec::with_capacity(BATCH),
            met: false,
            shown: (0, 0),
        }
    }

    /// Takes a file of the index. `known`: lines that an earlier run has handled.
    fn file(&mut self, path: &str, data: &[u8], known: &HashSet<&[u8]>) -> ControlFlow<()> {
        let mut tally = std::mem::take(&mut self.tally);
        let limit = self.work.options.limit;
        let (flow, whole) = each(&self.work.rules, path, data, &mut tally, &mut |tally, parsed, selected| {
            let done = if known.contains(parsed.bytes) {
                tally.existing += u64::from(selected);
                Ok(())
            } else {
                self.one(tally, &parsed, path, selected)
            };
            match done {
                Ok(()) if limit > 0 && tally.selected == limit => ControlFlow::Break(()),
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    self.work.fail(error);
                    ControlFlow::Break(())
                }
            }
        });
        self.tally = tally;
        if !whole {
            let mut bad = self.shared.bad_files.lock().unwrap_or_else(PoisonError::into_inner);
            bad.insert(path.to_owned());
        }
        self.show();
        if (self.work.is_stopped)() { ControlFlow::Break(()) } else { flow }
    }

    fn one(
        &mut self,
        tally: &mut Tally,
        parsed: &ParsedLine<'_>,
        path: &str,
        selected: bool,
    ) -> Result<(), GenerateError> {
        let refresh = self.work.options.refresh;
        let store = &self.shared.store;
        if self.shared.fresh && !selected {
            return Ok(());
        }
        let facts = self.builder.facts(parsed, path);
        let rel = format!("{}.json", facts.crate_path);
        let there = !self.shared.fresh && store.has(&rel)?;
        if there && !refresh {
            self.met = true;
            let corrected = match self.shared.correct {
                true => correct(&store.read(&rel)?, &facts),
                false => None,
            };
            let Some(corrected) = corrected else {
                tally.existing += u64::from(selected);
                return Ok(());
            };
            self.text = corrected;
            return self.put(tally, &rel, true, selected);
        }
        if !there && !selected {
            return Ok(());
        }
        self.text.clear();
        parsed.line.pretty(&facts, &mut self.text).map_err(Unexpected::could_not("write a sidecar"))?;
        if there && store.read(&rel)? == self.text {
            tally.existing += u64::from(selected);
            return Ok(());
        }
        self.put(tally, &rel, there, selected)
    }

    /// Stages the text as the sidecar `rel`; `there` says whether that exists.
    fn put(
        &mut self,
        tally: &mut Tally,
        rel: &str,
        there: bool,
        selected: bool,
    ) -> Result<(), GenerateError> {
        let store = &self.shared.store;
        self.batch.push(store.stage(rel, &self.text)?);
        tally.bytes += self.text.len() as u64;
        match (there, selected) {
            (false, _) => tally.written += 1,
            (true, true) => tally.refreshed += 1,
            (true, false) => tally.yanked_refreshed += 1,
        }
        if self.batch.len() >= BATCH {
            store.commit(std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH)))?;
        }
        Ok(())
    }

    fn show(&mut self) {
        let written = self.tally.written + self.tally.refreshed;
        let existing = self.tally.existing;
        if written > self.shown.0 {
            self.work.emit(SidecarEvent::Written { sidecars: written - self.shown.0, bytes: 0 });
        }
        if existing > self.shown.1 {
            self.work.emit(SidecarEvent::Existing(existing - self.shown.1));
        }
        self.shown = (written, existing);
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.work.add(std::mem::take(&mut self.tally));
        let left = std::mem::take(&mut self.batch);
        self.shared.left.lock().unwrap_or_else(PoisonError::into_inner).extend(left);
        *self.shared.met.lock().unwrap_or_else(PoisonError::into_inner) |= self.met;
    }
}

/// Returns the sidecar `text` with the bare file name in `crate_file` and the path in `crate_path`, if an earlier
/// version wrote it: that version put the path into `crate_file`. Every other byte stays.
fn correct(text: &[u8], facts: &Facts<'_>) -> Option<Vec<u8>> {
    let Facts { crate_file, crate_path, .. } = facts;
    // Names and versions contain nothing that JSON escapes; two spaces mark the topmost level alone.
    let wrong = format!("\n  \"crate_file\": \"{crate_path}\",\n");
    let right = format!("\n  \"crate_file\": \"{crate_file}\",\n  \"crate_path\": \"{crate_path}\",\n");
    let text = std::str::from_utf8(text).ok()?;
    (crate_file != crate_path && text.contains(&wrong)).then(|| text.replacen(&wrong, &right, 1).into_bytes())
}

/// Generates the sidecars of the whole index.
fn all(work: &Work<'_>, feed: &Feed, shared: &Shared) -> Result<SidecarOutcome, GenerateError> {
    let none = HashSet::new();
    if work.options.limit > 0 {
        let mut writer = Writer::new(work, shared);
        feed.in_order(&mut |path, data| writer.file(path, data, &none))?;
    } else {
        feed.fastest(work.threads(), &|| {
            let (mut writer, none) = (Writer::new(work, shared), &none);
            Box::new(move |path, data| writer.file(path, data, none))
        })?;
    }
    finish(work, shared)
}

/// Generates the sidecars of files that changed since the tree of an earlier run, and of files that had bad lines, so
/// that every run reports these.
fn some(
    work: &Work<'_>,
    shared: &Shared,
    state: &State,
    source: &IndexSource,
    changes: &[Change],
) -> Result<SidecarOutcome, GenerateError> {
    work.emit(SidecarEvent::OnlyChanged { files: changes.len() });
    let mut was = Tally::default();
    let mut looked_at = 0;
    {
        let mut writer = Writer::new(work, shared);
        let mut look = |path: &str, before: Option<&[u8]>, after: Option<&[u8]>| {
            looked_at += 1;
            let before = before.unwrap_or_default();
            // Only lines that counted then have been handled.
            let mut known = HashSet::new();
            let _ = each(&work.rules, path, before, &mut was, &mut |_, parsed, _| {
                known.insert(parsed.bytes);
                ControlFlow::Continue(())
            });
            after.map_or(ControlFlow::Continue(()), |after| writer.file(path, after, &known))
        };
        let changed: HashSet<&str> = changes.iter().map(|change| &*change.path).collect();
        for change in changes {
            let read = |blob| source.blob(blob);
            let before = change.before.as_ref().map(read).transpose()?;
            let after = change.after.as_ref().map(read).transpose()?;
            if look(&change.path, before.as_deref(), after.as_deref()).is_break() {
                break;
            }
        }
        for path in state.bad_files.iter().filter(|path| !changed.contains(path.as_str())) {
            if let Some(file) = source.file(path)?
                && look(path, Some(&file.data), Some(&file.data)).is_break()
            {
                break;
            }
        }
    }
    let mut outcome = finish(work, shared)?;
    // The totals of all other files stay as they were.
    let other = state.selected.saturating_sub(was.selected);
    outcome.selected += other;
    outcome.existing += other;
    outcome.yanked_skipped += state.yanked_skipped.saturating_sub(was.yanked_skipped);
    outcome.news = Some(looked_at);
    Ok(outcome)
}

/// Publishes the rest.
fn finish(work: &Work<'_>, shared: &Shared) -> Result<SidecarOutcome, GenerateError> {
    let left = std::mem::take(&mut *shared.left.lock().unwrap_or_else(PoisonError::into_inner));
    if !work.has_failed() {
        shared.store.commit(left)?;
    }
    work.end()
}
