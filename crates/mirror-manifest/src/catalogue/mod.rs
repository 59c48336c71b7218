mod apply;
mod change;
mod columns;
#[cfg(test)]
mod damage;
mod database;
mod deferred;
mod files;
mod gaps;
mod held;
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
pub use deferred::{DeferredCrate, DeferredRelease};
pub use gaps::{GapRow, UnavailableRow};
pub use replay::ReplayReport;
pub use rows::{DirRow, FailureRow, Held, HeldRelease, LOST, UpstreamRemoval};
pub use serve::HeldTotals;
pub use state::{BundlesIdentity, IndexCursor};
