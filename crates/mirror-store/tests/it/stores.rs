use std::path::Path;
use std::sync::Arc;

use mirror_bundle::BundleOptions;
use mirror_fs::{Fs, LocalFs};
use mirror_store::{BundleStore, CrateStore, LooseStore, MemoryStore, Store, StoreError, contract};
use mirror_types::{Layout, StoreId};

use crate::zip_store::ZipStore;

fn loose(root: &Path, fs: Arc<dyn Fs>) -> Result<Arc<dyn CrateStore>, StoreError> {
    Ok(Arc::new(LooseStore::new(Store::open_on(fs, root, Layout::Shard, false)?)))
}

/// Opens stores of small bundles, so that they are sealed and continued.
fn bundles(dir: &Path, fs: Arc<dyn Fs>) -> Result<Arc<dyn CrateStore>, StoreError> {
    let mut how = BundleOptions::default();
    how.bundle_bytes = 4_000;
    how.threads = 1;
    Ok(Arc::new(BundleStore::open_on(fs, dir, Layout::Shard, how)?.0))
}

#[test]
fn the_loose_tree_keeps_the_contract() {
    let scratch = tempfile::tempdir().expect("dir");
    for layout in [Layout::Shard, Layout::Cargo] {
        contract::run(&scratch.path().join(layout.as_str()), &|root| {
            Arc::new(LooseStore::new(Store::open(root, layout, true).expect("open")))
        });
    }
}

#[test]
fn bundles_keep_the_contract() {
    let scratch = tempfile::tempdir().expect("dir");
    contract::run(&scratch.path().join("default"), &|dir| {
        Arc::new(BundleStore::open(dir, Layout::Shard, BundleOptions::default()).expect("open").0)
    });
    contract::run(&scratch.path().join("small"), &|dir| {
        bundles(dir, Arc::new(LocalFs::unsynced())).expect("open")
    });
}

#[test]
fn memory_keeps_the_contract() {
    let scratch = tempfile::tempdir().expect("dir");
    let stores = contract::Shared::default();
    contract::run(scratch.path(), &|place| Arc::new(stores.at(place, || MemoryStore::new(StoreId(7)))));
}

#[test]
fn the_loose_tree_survives_crashes() {
    let scratch = tempfile::tempdir().expect("dir");
    contract::run_crashes(scratch.path(), &loose);
}

#[test]
fn bundles_survive_crashes() {
    let scratch = tempfile::tempdir().expect("dir");
    contract::run_crashes(scratch.path(), &bundles);
}

#[test]
fn a_foreign_store_keeps_the_contract_and_survives_crashes() {
    let scratch = tempfile::tempdir().expect("dir");
    let zips = |root: &Path, fs| ZipStore::open(root, fs).map(|store| Arc::new(store) as Arc<dyn CrateStore>);
    contract::run(&scratch.path().join("contract"), &|root| {
        zips(root, Arc::new(LocalFs::unsynced())).expect("open")
    });
    contract::run_crashes(&scratch.path().join("crashes"), &zips);
}
