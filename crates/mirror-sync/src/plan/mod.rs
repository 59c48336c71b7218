//! Decides what is to be done with each release that an index offers and a selection wants.
//!
//! [`plan`] is a function of a selection, an index and what is held. It has no channels, counters or clocks of its own
//! and writes nothing: it yields [`Decision`]s in order, and whoever takes them downloads, counts or compares.

mod decision;
mod held;
mod index;
mod ledger;
mod planner;
mod removed;
#[cfg(test)]
mod tests;

pub(crate) use decision::{Decision, DownloadAddress, Job, PlanFault};
pub(crate) use held::{FailedRelease, HeldRow, HeldView, SeenIn};
pub(crate) use index::{Index, Item, Parsed, wants_file};
pub(crate) use planner::{Planned, Scope, Wanted, hash, plan};

use crate::error::SyncError;

/// Takes the decisions of a plan; `Break` ends planning.
pub(crate) type Sink<'s> = dyn FnMut(Decision) -> std::ops::ControlFlow<()> + Send + 's;

/// Why planning ends before the index does.
enum Halt {
    /// The limit is reached, or whoever takes the decisions wants no more.
    Stopped,
    Failed(SyncError),
}

impl From<SyncError> for Halt {
    fn from(error: SyncError) -> Self {
        Self::Failed(error)
    }
}
