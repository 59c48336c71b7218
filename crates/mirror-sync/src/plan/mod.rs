//! Decides what to do with each release that an index offers and a selection wants.
//!
//! [`plan`] is a function of a selection, an index and what is held. It has no channels, counters or clocks of its own
//! and writes nothing: it passes [`Decision`]s in order to a consumer, which downloads, counts or compares.

mod decision;
mod deferred;
mod held;
mod index;
mod ledger;
mod planner;
mod removed;
mod sink;
#[cfg(test)]
mod tests;
mod totals;

pub(crate) use decision::{Audited, Decision, DownloadAddress, Job, PlanFault};
pub(crate) use deferred::count_from;
pub(crate) use held::{FailedRelease, HeldRow, HeldView, SeenIn};
pub(crate) use index::{Index, Item, Parsed, wants_file};
pub(crate) use planner::{Planned, Scope, Wanted, hash, plan};
pub(crate) use totals::Totals;
