mod apply;
mod change;
mod columns;
#[cfg(test)]
mod damage;
mod database;
mod files;
mod gaps;
mod held;
mod held_back;
mod index_cache;
mod ledger;
mod open;
mod places;
mod replay;
mod rows;
mod schema;
mod serve;
mod sources;
mod state;

pub use change::Change;
pub use database::Catalogue;
pub use gaps::{GapRow, UnavailableRow};
pub use held_back::{DeferredCrate, HeldBackCount, HeldBackRelease};
pub use replay::ReplayReport;
pub use rows::{DirRow, FailureRow, Held, HeldRelease, LOST, UpstreamRemoval};
pub use serve::HeldTotals;
pub use state::{BundlesIdentity, IndexCursor};
