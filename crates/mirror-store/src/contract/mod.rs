//! The contract of every store of releases, as a suite that panics where a store breaks it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use mirror_store::{MemoryStore, contract};
//! use mirror_types::StoreId;
//!
//! # let scratch = tempfile::tempdir()?;
//! // Opened again at the same place, a store has what was committed there.
//! let stores = contract::Shared::default();
//! contract::run(scratch.path(), &|place| Arc::new(stores.at(place, || MemoryStore::new(StoreId(7)))));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod batches;
mod crash;
mod kit;
mod places;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use crash::run_crashes;
use kit::Kit;

use crate::CrateStore;

/// A check; panics where a store breaks its part of the contract.
type Check = fn(&Kit<'_>);

/// Runs the suite. `open` opens the store at a place below `scratch`, which has to be an empty directory: an empty
/// store at a new place, else one with what was committed there before. Takes some seconds.
///
/// # Panics
/// Where the store breaks the contract of [`CrateStore`].
pub fn run(scratch: &Path, open: &dyn Fn(&Path) -> Arc<dyn CrateStore>) {
    let checks: [(&str, Check); 15] = [
        ("committed", batches::what_is_committed_is_there),
        ("empty", batches::an_empty_batch_commits_nothing),
        ("order", batches::locations_come_in_the_order_of_adding),
        ("again", batches::a_release_may_be_committed_again),
        ("dropped-stage", batches::what_is_only_staged_is_gone_when_it_is_dropped),
        ("dropped-batch", batches::a_dropped_batch_promises_nothing_and_harms_nothing),
        ("short", batches::a_body_of_another_length_is_refused),
        ("outlives", batches::a_batch_outlives_the_hold_on_its_store),
        ("threads", batches::any_number_of_threads_may_stage),
        ("large", places::large_bodies_are_read_by_position),
        ("reopen", places::what_was_committed_is_there_when_it_is_opened_again),
        ("remove", places::removed_releases_are_gone_or_reported_as_kept),
        ("aside", places::releases_set_aside_are_gone_or_reported_as_kept),
        ("list", places::a_listing_ends_when_the_visitor_breaks),
        ("hostile", places::hostile_places_and_names_give_nothing_away),
    ];
    for (name, check) in checks {
        check(&Kit::new(name, &scratch.join(name), open));
    }
}

/// Stores in memory, by their place: reopening one returns a clone of the first.
#[derive(Debug)]
pub struct Shared<S>(Mutex<HashMap<PathBuf, S>>);

impl<S> Default for Shared<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Clone> Shared<S> {
    /// Returns a clone of the store at a place; makes the store if there is none.
    pub fn at(&self, place: &Path, make: impl FnOnce() -> S) -> S {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stores.entry(place.to_owned()).or_insert_with(make).clone()
    }
}
