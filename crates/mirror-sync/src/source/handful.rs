//! Index files on their way from the threads that read them to the planner.

use std::ops::ControlFlow;

use crate::error::SyncError;
use crate::plan::Item;

/// Files that a reader hands over at once.
pub(crate) const HANDFUL: usize = 64;

/// The files that readers hand over at once: one wake-up for many.
pub(crate) struct Handful {
    pub(crate) items: Vec<Result<Item, SyncError>>,
    pub(crate) to: crossbeam_channel::Sender<Vec<Result<Item, SyncError>>>,
}

impl Handful {
    pub(crate) fn add(&mut self, item: Result<Item, SyncError>) -> ControlFlow<()> {
        self.items.push(item);
        if self.items.len() < HANDFUL {
            return ControlFlow::Continue(());
        }
        let full = std::mem::replace(&mut self.items, Vec::with_capacity(HANDFUL));
        if self.to.send(full).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

impl Drop for Handful {
    fn drop(&mut self) {
        let _ = self.to.send(std::mem::take(&mut self.items));
    }
}
