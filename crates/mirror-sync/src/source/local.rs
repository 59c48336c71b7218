//! Reads a local index in the order that suits the run.

use std::ops::ControlFlow;

use mirror_git::IndexSource;
use mirror_index::IndexFile;

use super::read_file::ReadFile;
use crate::cursor::IndexDelta;
use crate::error::SyncError;
use crate::plan::{Index, Item, Totals};
use crate::source::index_cache_filter::IndexCacheFilter;
use crate::source::item_batch::{BATCH_ITEMS, ItemBatch};

/// The strategy for reading a local index.
pub(crate) enum ScanStrategy {
    /// All files in the order of their paths: files of a directory follow each other, and so do those of a bundle.
    Ordered,
    /// All files in the order that is fastest to read.
    Fastest,
    /// The differences from the tree that an earlier run went through.
    Delta(IndexDelta),
    /// The files at these paths, where they exist.
    Named(Vec<String>),
}

pub(crate) struct LocalIndex {
    pub(crate) source: IndexSource,
    pub(crate) strategy: ScanStrategy,
    pub(crate) read: ReadFile,
}

type Take<'t> = dyn FnMut(Item) -> ControlFlow<()> + Send + 't;

impl Index for LocalIndex {
    fn read(&mut self, take: &mut Take<'_>) -> Result<(), SyncError> {
        match std::mem::replace(&mut self.strategy, ScanStrategy::Ordered) {
            ScanStrategy::Ordered => self.ordered(take),
            ScanStrategy::Fastest => self.fastest(take),
            ScanStrategy::Delta(delta) => {
                let _ = self.delta(delta, take)?;
                Ok(())
            }
            ScanStrategy::Named(paths) => self.named(&paths, take),
        }
    }
}

impl LocalIndex {
    fn ordered(&mut self, take: &mut Take<'_>) -> Result<(), SyncError> {
        let mut failed = Ok(());
        let read = &mut self.read;
        self.source.scan(&mut |file| match read.file(&file.path, &file.data) {
            Ok(Some(item)) => take(item),
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Err(error);
                ControlFlow::Break(())
            }
        })?;
        failed
    }

    /// Reads and parses on as many threads as there are processors, and passes the items on from this thread.
    fn fastest(&mut self, take: &mut Take<'_>) -> Result<(), SyncError> {
        let (send, receive) = crossbeam_channel::bounded::<Vec<Result<Item, SyncError>>>(16);
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let known = self.read.lines.as_ref().map(IndexCacheFilter::known).transpose()?;
        let (source, selection, limits) = (&mut self.source, self.read.selection.clone(), self.read.limits);
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || {
                source.scan_unordered(threads, &|| {
                    let mut batch = ItemBatch { items: Vec::with_capacity(BATCH_ITEMS), to: send.clone() };
                    let mut reader = ReadFile {
                        selection: selection.clone(),
                        limits,
                        lines: known.clone().map(IndexCacheFilter::of),
                    };
                    Box::new(move |path, data| match reader.file(path, data).transpose() {
                        Some(item) => batch.add(item),
                        None => ControlFlow::Continue(()),
                    })
                })
            });
            let mut taken = Ok(ControlFlow::Continue(()));
            for item in receive.iter().flatten() {
                taken = item.map(&mut *take);
                if !matches!(taken, Ok(ControlFlow::Continue(()))) {
                    break;
                }
            }
            drop(receive);
            let read = reading.join();
            let _ = taken?;
            let panicked = |_| SyncError::Internal("the thread that reads the index ended badly".to_owned());
            Ok(read.map_err(panicked)??)
        })
    }

    fn named(&mut self, paths: &[String], take: &mut Take<'_>) -> Result<(), SyncError> {
        for path in paths {
            let item = match self.source.file(path)? {
                Some(file) => self.read.file(&file.path, &file.data)?,
                None => Some(Item::NoFile(path.clone())),
            };
            if item.is_some_and(|item| take(item).is_break()) {
                break;
            }
        }
        Ok(())
    }

    /// Passes on what differs, and takes the totals of the rest from the cursor.
    fn delta(&mut self, delta: IndexDelta, take: &mut Take<'_>) -> Result<ControlFlow<()>, SyncError> {
        let IndexDelta { changes, also, totals, .. } = delta;
        let mut before = Vec::new();
        for change in changes {
            let mut items = Vec::new();
            if let Some(blob) = &change.before {
                let file = IndexFile { path: change.path.clone(), data: self.source.blob(blob)? };
                before.extend(self.read.totals(&file.path, &file.data));
                if change.after.is_none() {
                    items.push(Item::FileGone(self.read.parsed(&file.path, &file.data)));
                }
            }
            if let Some(blob) = &change.after {
                items.extend(self.read.file(&change.path, &self.source.blob(blob)?)?);
            }
            if items.into_iter().try_for_each(&mut *take).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        for (path, name) in also {
            let mut items = Vec::new();
            match self.source.file(&path)? {
                Some(file) => {
                    before.extend(self.read.totals(&path, &file.data));
                    items.extend(self.read.file(&path, &file.data)?);
                }
                None => {
                    items.push(Item::NoFile(path));
                    items.extend(name.map(Item::CrateGone));
                }
            }
            if items.into_iter().try_for_each(&mut *take).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let less = |whole: u64, part: fn(&Totals) -> u64| whole.saturating_sub(before.iter().map(part).sum());
        Ok(take(Item::Unchanged(Totals {
            selected: less(totals.selected, |totals| totals.selected),
            yanked_skipped: less(totals.yanked_skipped, |totals| totals.yanked_skipped),
            deferred: totals.deferred,
        })))
    }
}
