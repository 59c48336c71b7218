//! Index files on their way from the threads that read them to the planner.

use std::ops::ControlFlow;

use crate::error::SyncError;
use crate::plan::Item;

/// Files that a reader hands over at once.
pub(crate) const BATCH_ITEMS: usize = 64;

/// A batch of items from a reader: one wake-up for many.
pub(crate) struct ItemBatch {
    pub(crate) items: Vec<Result<Item, SyncError>>,
    pub(crate) to: crossbeam_channel::Sender<Vec<Result<Item, SyncError>>>,
}

impl ItemBatch {
    pub(crate) fn add(&mut self, item: Result<Item, SyncError>) -> ControlFlow<()> {
        self.items.push(item);
        if self.items.len() < BATCH_ITEMS {
            return ControlFlow::Continue(());
        }
        let full = std::mem::replace(&mut self.items, Vec::with_capacity(BATCH_ITEMS));
        if self.to.send(full).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

impl Drop for ItemBatch {
    fn drop(&mut self) {
        let _ = self.to.send(std::mem::take(&mut self.items));
    }
}
