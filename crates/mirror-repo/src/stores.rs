//! The stores in which a mirror keeps the bytes of releases.

use std::sync::Arc;

use mirror_store::CrateStore;
use mirror_types::{Location, Locations, StoreId};

use crate::error::RepoError;

/// The stores of a mirror, in the order of their numbers: the loose tree, the bundles, and those that the caller added
/// when opening the mirror. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Stores(Vec<Arc<dyn CrateStore>>);

impl Stores {
    /// Adds further stores to the mirror's own two.
    ///
    /// # Errors
    /// [`RepoError::StoreTwice`] when two have one number.
    pub(crate) fn with(mut self, others: &[Arc<dyn CrateStore>]) -> Result<Self, RepoError> {
        for store in others {
            match self.find(store.id()) {
                Ok(_) => return Err(RepoError::StoreTwice { store: store.id() }),
                Err(at) => self.0.insert(at, Arc::clone(store)),
            }
        }
        Ok(self)
    }

    /// Adds a store, replacing the one with the same number.
    pub(crate) fn set(&mut self, store: Arc<dyn CrateStore>) {
        match self.find(store.id()) {
            Ok(at) => self.0[at] = store,
            Err(at) => self.0.insert(at, store),
        }
    }

    /// Returns the store with this number.
    ///
    /// # Errors
    /// [`RepoError::StoreMissing`] when the mirror was opened without it.
    pub fn get(&self, id: StoreId) -> Result<&Arc<dyn CrateStore>, RepoError> {
        let found = self.find(id).ok().map(|at| &self.0[at]);
        found.ok_or(RepoError::StoreMissing { store: id })
    }

    /// Yields all of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn CrateStore>> {
        self.0.iter()
    }

    /// Yields the stores that hold a release, each with its place there. Leaves out stores that the mirror was opened
    /// without.
    pub fn of<'a>(
        &'a self,
        locations: &'a Locations,
    ) -> impl Iterator<Item = (&'a Arc<dyn CrateStore>, &'a Location)> {
        self.0.iter().filter_map(|store| Some((store, locations.get(store.id())?)))
    }

    /// Checks that these stores are there.
    ///
    /// # Errors
    /// [`RepoError::StoreMissing`] with the first missing one.
    pub(crate) fn check(&self, needed: &[StoreId]) -> Result<(), RepoError> {
        needed.iter().try_for_each(|id| self.get(*id).map(drop))
    }

    fn find(&self, id: StoreId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&id, |store| store.id())
    }
}
