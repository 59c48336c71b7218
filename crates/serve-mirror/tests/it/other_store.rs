//! A mirror with releases in a store from outside the product: mirrored into, verified, repaired, rebuilt, pruned,
//! exported, served to Cargo.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use mirror_fs::{LocalFs, SyncMode};
use mirror_serve::{ExportFormat, ExportOptions, ServeOptions, Server, export};
use mirror_store::{CrateStore, MemoryStore};
use mirror_sync::{
    DownloadOptions, Outcome, Prune, RebuildOptions, Storage, SyncError, Upstream, download,
    rebuild_catalogue,
};
use mirror_types::StoreId;
use tokio_util::sync::CancellationToken;

use crate::client::get;
use crate::world::{CargoHome, World, add, project, registry};
use crate::zip_store::ZipStore;

fn zips(world: &World) -> Arc<dyn CrateStore> {
    Arc::new(ZipStore::open(&world.path("zips"), Arc::new(LocalFs::new(SyncMode::EachFile))).unwrap())
}

fn mirror(
    world: &World,
    stores: &[Arc<dyn CrateStore>],
    change: impl FnOnce(&mut DownloadOptions),
) -> Outcome {
    world.sync_with(|options| {
        options.storage = Storage::Others;
        options.stores = stores.to_vec();
        change(options);
    })
}

fn verify(world: &World, stores: &[Arc<dyn CrateStore>]) -> Outcome {
    mirror(world, stores, |options| options.verify_existing = true)
}

fn files(dir: &Path, ending: &str) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let entries = entries.map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            if path.is_dir() {
                files(&path, ending)
            } else {
                usize::from(path.to_string_lossy().ends_with(ending))
            }
        })
        .sum()
}

fn zip_of(world: &World, name: &str, version: &str) -> std::path::PathBuf {
    world.path("zips").join(name).join(format!("{name}-{version}.zip"))
}

/// Serves the mirror in this process while `look` runs.
fn serving(world: &World, stores: &[Arc<dyn CrateStore>], look: impl FnOnce(&str)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut options = ServeOptions::new(world.path("out"));
    options.stores = stores.to_vec();
    options.listen = "127.0.0.1:0".to_owned();
    let server = runtime.block_on(Server::open(&options)).unwrap();
    let base = format!("http://{}", server.local_addr());
    let stop = CancellationToken::new();
    let running = runtime.spawn(server.run(stop.clone()));
    look(&base);
    stop.cancel();
    runtime.block_on(running).unwrap();
}

#[test]
fn a_mirror_lives_in_it() {
    let mut world = World::new(registry());
    let stores = [zips(&world)];
    let all = world.registry.len() as u64;
    let outcome = mirror(&world, &stores, |_| {});
    assert_eq!((outcome.downloaded, outcome.failed), (all, 0));
    assert_eq!((files(&world.path("zips"), ".zip"), files(&world.path("out"), ".crate")), (8, 0));
    assert_eq!(mirror(&world, &stores, |_| {}).existing, all, "nothing to do");
    assert_eq!(verify(&world, &stores).verified_existing, all);

    // Wrong and missing releases are noticed, and fetched again.
    let (wrong, gone) = (zip_of(&world, "ab", "1.2.0"), zip_of(&world, "yanked", "1.0.0"));
    let mut bytes = fs::read(&wrong).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&wrong, bytes).unwrap();
    fs::remove_file(&gone).unwrap();
    let outcome = verify(&world, &stores);
    assert_eq!((outcome.downloaded, outcome.quarantined, outcome.verified_existing), (2, 1, all - 2));
    assert_eq!(verify(&world, &stores).verified_existing, all);

    // Upstream publishes other bytes under a name, deletes one release, adds one.
    world.registry.crates.remove("a");
    add(&mut world.registry, "a", "1.0.0", &[("abc", "0.3")]);
    world.registry.crates.remove("yanked");
    add(&mut world.registry, "new", "1.0.0", &[]);
    let outcome = mirror(&world, &stores, |options| {
        options.prune = Some(Prune::Deleted);
        options.allow_mass_prune = true;
        options.accept_mass_removal = true;
    });
    assert_eq!((outcome.downloaded, outcome.replaced, outcome.pruned, outcome.failed), (2, 1, 1, 0));
    assert!(!gone.exists(), "it was pruned");
    assert_eq!(verify(&world, &stores).verified_existing, all);

    served_and_exported(&world, &stores);
}

fn served_and_exported(world: &World, stores: &[Arc<dyn CrateStore>]) {
    serving(world, stores, |base| {
        for release in world.registry.releases() {
            let path = format!("/api/v1/crates/{}/{}/download", release.id.name, release.id.version);
            let got = get(base, &path);
            assert!(got.status == 200 && got.body == release.body, "{path}: {}", got.status);
        }
        let project =
            project(&world.path("project"), &[("with-dash", "0.1"), ("new", "1"), ("abc", "0.3.0")]);
        let home = CargoHome::sparse(&world.path("home"), base);
        home.run(&project, &["build"], true);
    });
    let mut options =
        ExportOptions::new(world.path("out"), world.path("exported"), ExportFormat::LocalRegistry);
    options.stores = stores.to_vec();
    let exported = export(&options, &|| false).unwrap();
    assert_eq!((exported.releases, exported.missing.len()), (8, 0));
    assert_eq!(files(&world.path("exported"), ".crate"), 8);
}

/// Only the manifest lists the releases in a foreign store, and a mirror does not open without that store.
#[test]
fn its_mirror_is_rebuilt_from_the_manifest_and_refused_without_the_store() {
    let world = World::new(registry());
    let stores = [zips(&world)];
    mirror(&world, &stores, |_| {});
    for file in ["catalogue.sqlite", "catalogue.sqlite-wal", "catalogue.sqlite-shm"] {
        let _ = fs::remove_file(world.path("out/.mirror").join(file));
    }
    let mut options = RebuildOptions::new(world.path("out"));
    options.manifest = Some(world.path("out.jsonl"));
    options.stores = stores.to_vec();
    let rebuilt = rebuild_catalogue(&options, &(), &Default::default()).unwrap();
    assert_eq!(rebuilt.held, 8);
    assert_eq!(mirror(&world, &stores, |_| {}).existing, 8);
    let mut without = DownloadOptions::new(Upstream::Local(world.path("index")), world.path("out"));
    without.manifest = Some(world.path("out.jsonl"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let refused = runtime.block_on(download(without, Arc::new(()), Default::default()));
    let refused: SyncError = refused.map(drop).unwrap_err();
    assert!(refused.to_string().contains("store with the number 4"), "{refused}");
    let refused = mirror_serve::open(&world.path("out"), None).map(drop).unwrap_err();
    assert!(refused.to_string().contains("store with the number 4"), "{refused}");
}

/// Checks that each of two stores gets every release; what one of them lost or never had is made from the other.
#[test]
fn a_second_store_is_filled_from_the_first() {
    let world = World::new(registry());
    let (zips, memory) = (zips(&world), Arc::new(MemoryStore::new(StoreId(7))) as Arc<dyn CrateStore>);
    mirror(&world, &[Arc::clone(&zips)], |_| {});
    let both = [memory, zips];
    // A request to the origin would fail.
    let nowhere = |options: &mut DownloadOptions| {
        options.crates_base_url = Some(format!("{}/nothing", world.origin.base()).into());
    };
    let outcome = mirror(&world, &both, nowhere);
    assert_eq!((outcome.downloaded, outcome.verified_existing, outcome.failed), (0, 8, 0));
    fs::remove_dir_all(world.path("zips/ab")).unwrap();
    let outcome = mirror(&world, &both, |options| {
        nowhere(options);
        options.verify_existing = true;
    });
    assert_eq!((outcome.downloaded, outcome.verified_existing, outcome.failed), (0, 8, 0));
    // One place held it; the next run makes the missing copy.
    let outcome = mirror(&world, &both, nowhere);
    assert_eq!((outcome.downloaded, outcome.failed), (0, 0));
    assert!(zip_of(&world, "ab", "1.2.0").exists());
}
