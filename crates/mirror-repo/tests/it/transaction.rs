//! The remains of a transaction, and what the next open of the mirror does with them.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use mirror_manifest::{Catalogue, ManifestError, ManifestRecord, UpstreamRemoval};
use mirror_repo::{
    FailedAttempt, MirrorWriter, NewRelease, OpenOptions, OpenReport, RebuildReport, RepoError,
    VerifiedBytes, WantedRelease, catalogue_in, rebuild,
};
use mirror_store::{CrateBody, NewCrate, StagedCrate, StoreError};
use mirror_types::{FaultKind, Layout, Locations, ReleaseId, StoreId};

use crate::world::World;

pub(crate) const BYTES: &[u8] = b"the bytes of a release";
pub(crate) const SHA256: &str = "7195564326d5fb8828ee76618a81aa18e08e399753b244bbb96a7f2a469f3708";

pub(crate) fn id(name: &str) -> ReleaseId {
    ReleaseId { name: name.parse().expect("name"), version: "1.0.0".parse().expect("version") }
}

pub(crate) fn wanted(name: &str) -> WantedRelease {
    let id = id(name);
    let path = Layout::Shard.path(&id);
    WantedRelease { id, path, url: format!("http://h/{name}"), cksum: None }
}

fn bytes() -> VerifiedBytes {
    let now = SystemTime::now();
    VerifiedBytes {
        sha256: SHA256.parse().expect("a hash"),
        size: BYTES.len() as u64,
        retries: 0,
        http_status: Some(200),
        started: now,
        finished: now,
    }
}

pub(crate) fn failure() -> FailedAttempt {
    let now = SystemTime::now();
    FailedAttempt {
        kind: "status",
        message: "no".to_owned(),
        unavailable: false,
        http_status: Some(500),
        retries: 1,
        started: now,
        finished: now,
    }
}

/// The stores into which a release is to go.
#[derive(Clone, Copy)]
pub(crate) enum To {
    Tree,
    Bundle,
    Both,
}

pub(crate) fn new(mirror: &MirrorWriter, name: &str, to: To) -> Result<NewRelease, StoreError> {
    let release = wanted(name);
    let staged = staged(mirror, &release.id, BYTES, to)?;
    Ok(NewRelease {
        release,
        bytes: bytes(),
        held_at: Locations::new(),
        recorded: false,
        replaces: false,
        staged,
    })
}

/// Stages bytes of a release in these stores.
pub(crate) fn staged(
    mirror: &MirrorWriter,
    id: &ReleaseId,
    bytes: &[u8],
    to: To,
) -> Result<Vec<StagedCrate>, StoreError> {
    let stores: &[StoreId] = match to {
        To::Tree => &[StoreId::LOOSE],
        To::Bundle => &[StoreId::BUNDLES],
        To::Both => &[StoreId::LOOSE, StoreId::BUNDLES],
    };
    // The stores trust the checksum.
    let (sha256, size) = (SHA256.parse().expect("a hash"), bytes.len() as u64);
    let stage = |store: &StoreId| {
        let body = CrateBody::Memory(Box::new(bytes.to_vec()));
        let new = NewCrate { id, sha256, size, url: "http://localhost", body };
        mirror.stores().get(*store).expect("a store").stage(new)
    };
    stores.iter().map(stage).collect()
}

pub(crate) fn hold(mirror: &mut MirrorWriter, names: &[&str], to: To) {
    let mut tx = mirror.begin();
    for name in names {
        let new = new(mirror, name, to).expect("stage");
        tx.hold(mirror, new).expect("hold");
    }
    mirror.commit(tx).expect("commit");
}

/// A mirror in a directory of its own.
pub(crate) struct Made {
    pub(crate) world: World,
    pub(crate) options: OpenOptions,
}

impl Made {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let mut options = world.options("m");
        options.targets = vec![StoreId::BUNDLES];
        Self { world, options }
    }

    pub(crate) fn open(&self) -> (MirrorWriter, OpenReport) {
        MirrorWriter::open(&self.options).expect("open")
    }

    pub(crate) fn path(&self, rel: &str) -> PathBuf {
        self.world.path("m").join(rel)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path(&wanted(name).path)
    }

    /// Returns the status of every record, in order.
    fn statuses(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut take = |_, record: ManifestRecord| {
            found.push(record.status);
            Ok::<_, ManifestError>(())
        };
        mirror_manifest::read_from(&self.path("manifest.jsonl"), 0, &mut take).expect("read");
        found
    }

    fn forget_catalogue(&self) {
        Catalogue::remove(&catalogue_in(&self.path(".mirror"))).expect("remove");
    }
}

fn locations(mirror: &MirrorWriter, name: &str) -> Option<Locations> {
    mirror.catalogue().held_release(&id(name)).expect("held").map(|held| held.locations)
}

#[test]
fn what_is_committed_is_in_bytes_records_and_catalogue() {
    let mirror = Made::new();
    let (mut writer, _) = mirror.open();
    let mut tx = writer.begin();
    for (name, to) in [("aaaa", To::Tree), ("bbbb", To::Bundle), ("cccc", To::Both)] {
        let new = new(&writer, name, to).expect("stage");
        tx.hold(&mut writer, new).expect("hold");
    }
    tx.fail(wanted("dddd"), failure());
    tx.fail_crate(id("eeee").name, failure());
    assert!(!mirror.file("aaaa").exists() && mirror.statuses().is_empty(), "nothing before the commit");
    assert_eq!(locations(&writer, "aaaa"), None);
    let done = writer.commit(tx).expect("commit");
    assert_eq!((done.bundled, done.replaced), (2, 0));
    assert_eq!(fs::read(mirror.file("aaaa")).expect("read"), BYTES);
    assert!(!mirror.file("bbbb").exists());
    let places = |name| locations(&writer, name).expect("held");
    assert!(places("aaaa").is_loose() && places("aaaa").member().is_none());
    assert!(!places("bbbb").is_loose() && places("bbbb").member().is_some());
    assert!(places("cccc").is_loose() && places("cccc").member().is_some());
    let failed = |writer: &MirrorWriter| writer.catalogue().ledger_crates().expect("ledger");
    assert_eq!(failed(&writer), ["dddd", "eeee"]);
    let mut statuses = mirror.statuses();
    statuses.sort();
    assert_eq!(statuses, ["downloaded", "downloaded", "downloaded", "error", "error"]);
    let known = ["aaaa", "bbbb", "cccc"].map(|name| locations(&writer, name));
    assert_eq!(writer.finish_bundles(false).expect("finish").as_deref(), Some("bundle-0000.tar.zst.partial"));
    drop(writer);
    // The manifest alone leads to the same result.
    mirror.forget_catalogue();
    let (again, report) = mirror.open();
    assert!(report.catalogue_remade && report.lost.is_empty() && report.misplaced_members == 0, "{report:?}");
    assert_eq!(["aaaa", "bbbb", "cccc"].map(|name| locations(&again, name)), known);
    assert_eq!(failed(&again), ["dddd", "eeee"]);
}

#[test]
fn no_record_speaks_of_bytes_that_could_not_be_published() {
    let mirror = Made::new();
    let (mut writer, _) = mirror.open();
    let mut tx = writer.begin();
    let new = new(&writer, "aaaa", To::Tree).expect("stage");
    tx.hold(&mut writer, new).expect("hold");
    tx.fail(wanted("bbbb"), failure());
    // A directory in the place of the file.
    fs::create_dir_all(mirror.file("aaaa").join("x")).expect("in the way");
    writer.commit(tx).expect_err("it is in the way");
    assert!(mirror.statuses().is_empty());
    assert_eq!(locations(&writer, "aaaa"), None);
    assert!(writer.catalogue().failures().expect("failures").is_empty());
}

#[test]
fn a_record_that_the_catalogue_lacks_is_replayed_by_the_next_run() {
    let mirror = Made::new();
    let (mut writer, _) = mirror.open();
    hold(&mut writer, &["aaaa"], To::Tree);
    drop(writer);
    // A power cut can leave this: the last changes of the catalogue are gone.
    let database = catalogue_in(&mirror.path(".mirror"));
    let before = fs::read(&database).expect("read");
    let (mut writer, _) = mirror.open();
    hold(&mut writer, &["bbbb"], To::Both);
    drop(writer);
    Catalogue::remove(&database).expect("remove");
    fs::write(&database, before).expect("write");
    let (writer, report) = mirror.open();
    assert!(!report.catalogue_remade, "it is only behind");
    assert!(locations(&writer, "aaaa").is_some_and(|all| all.is_loose()));
    assert!(locations(&writer, "bbbb").is_some_and(|all| all.is_loose() && all.member().is_some()));
}

#[test]
fn a_transaction_that_is_dropped_leaves_nothing_in_the_tree() {
    let mirror = Made::new();
    let (mut writer, _) = mirror.open();
    let mut tx = writer.begin();
    assert!(tx.is_empty());
    let new = new(&writer, "aaaa", To::Tree).expect("stage");
    tx.hold(&mut writer, new).expect("hold");
    assert!(!tx.is_empty() && tx.len() == 1);
    drop(tx);
    assert!(!mirror.file("aaaa").exists() && mirror.statuses().is_empty());
    hold(&mut writer, &["bbbb"], To::Tree);
    assert_eq!(mirror.statuses(), ["downloaded"]);
}

#[test]
fn what_both_stores_lost_at_once_is_held_nowhere() {
    let mirror = Made::new();
    let (mut writer, _) = mirror.open();
    hold(&mut writer, &["aaaa", "bbbb"], To::Both);
    let mut tx = writer.begin();
    tx.lost(&writer, id("aaaa"), StoreId::LOOSE).expect("lost");
    tx.lost(&writer, id("aaaa"), StoreId::BUNDLES).expect("lost");
    tx.lost(&writer, id("bbbb"), StoreId::LOOSE).expect("lost");
    // Never held: it goes into the ledger, and the manifest gets no record.
    tx.lost(&writer, id("cccc"), StoreId::LOOSE).expect("lost");
    writer.commit(tx).expect("commit");
    let pruned = ["pruned", "existing", "pruned", "pruned", "existing"];
    assert_eq!(mirror.statuses()[2..], pruned);
    let check = |writer: &MirrorWriter| {
        assert_eq!(locations(writer, "aaaa"), None);
        assert!(locations(writer, "bbbb").is_some_and(|all| !all.is_loose() && all.member().is_some()));
    };
    check(&writer);
    assert_eq!(writer.catalogue().ledger_crates().expect("ledger"), ["aaaa", "bbbb", "cccc"]);
    // The manifest agrees with the catalogue.
    drop(writer);
    let mut catalogue = Catalogue::open(&mirror.world.path("other.sqlite")).expect("open");
    catalogue.replay(&mirror.path("manifest.jsonl"), Layout::Shard).expect("replay");
    assert!(catalogue.held_release(&id("aaaa")).expect("held").is_none());
    assert!(catalogue.held_release(&id("bbbb")).expect("held").is_some());
}

#[test]
fn the_manifest_records_what_upstream_deleted_and_offers_again() {
    let mirror = Made::new();
    let (mut writer, _) = mirror.open();
    hold(&mut writer, &["aaaa", "bbbb", "cccc"], To::Tree);
    writer.hide(&[id("aaaa"), id("bbbb")], Vec::new()).expect("hide");
    let mut tx = writer.begin();
    tx.reinstated(id("bbbb"));
    tx.removed_upstream(id("cccc"), UpstreamRemoval::Yanked);
    writer.commit(tx).expect("commit");
    let deleted = |writer: &MirrorWriter| {
        ["aaaa", "bbbb", "cccc"].map(|name| writer.catalogue().is_deleted(&id(name)).expect("deleted"))
    };
    assert_eq!(deleted(&writer), [true, false, false]);
    assert_eq!(
        writer.removed_upstream(|kind| kind == UpstreamRemoval::Yanked).expect("removed_upstream"),
        [id("cccc")]
    );
    drop(writer);
    mirror.forget_catalogue();
    assert_eq!(deleted(&mirror.open().0), [true, false, false]);
}

#[test]
fn what_is_pruned_is_gone_from_tree_and_catalogue() {
    let mirror = Made::new();
    let (mut writer, _) = mirror.open();
    hold(&mut writer, &["aaaa", "bbbb"], To::Tree);
    writer.prune(&[id("aaaa")]).expect("prune");
    assert!(!mirror.file("aaaa").exists() && mirror.file("bbbb").exists());
    assert_eq!((locations(&writer, "aaaa"), mirror.statuses().pop().as_deref()), (None, Some("pruned")));
    drop(writer);
    mirror.forget_catalogue();
    let (writer, report) = mirror.open();
    assert_eq!(locations(&writer, "aaaa"), None);
    assert!(report.lost.is_empty() && locations(&writer, "bbbb").is_some());
}

#[test]
fn opening_finds_what_is_gone() {
    let mirror = Made::new();
    let (mut writer, _) = mirror.open();
    hold(&mut writer, &["aaaa", "bbbb"], To::Tree);
    writer.finish_bundles(false).expect("finish");
    writer.finish(&[], true).expect("finish");
    drop(writer);
    fs::remove_file(mirror.file("aaaa")).expect("remove");
    let (writer, report) = mirror.open();
    assert_eq!((report.lost, locations(&writer, "aaaa")), (vec![id("aaaa")], None));
    assert!(locations(&writer, "bbbb").is_some());
    assert_eq!(writer.catalogue().ledger_crates().expect("ledger"), ["aaaa"]);
    drop(writer);
    assert!(mirror.open().1.lost.is_empty(), "it is told once");
}

#[test]
fn bundles_that_are_gone_are_missed() {
    let mirror = Made::new();
    let (mut writer, _) = mirror.open();
    hold(&mut writer, &["aaaa"], To::Bundle);
    writer.finish_bundles(true).expect("finish");
    drop(writer);
    fs::rename(mirror.path("bundles"), mirror.path("elsewhere")).expect("move");
    let error = MirrorWriter::open(&mirror.options).expect_err("they are gone");
    assert!(
        matches!(&error, RepoError::BundlesMissing { what, .. } if what == "bundle-0000.tar.zst"),
        "{error}"
    );
    assert_eq!(error.kind(), FaultKind::Integrity);
    fs::rename(mirror.path("elsewhere"), mirror.path("bundles")).expect("move back");
    let (writer, _) = mirror.open();
    assert!(locations(&writer, "aaaa").is_some());
}

#[test]
fn a_member_without_a_record_is_adopted() {
    let mirror = Made::new();
    let (mut writer, _) = mirror.open();
    hold(&mut writer, &["aaaa", "bbbb"], To::Bundle);
    writer.finish_bundles(true).expect("finish");
    let known = locations(&writer, "bbbb");
    drop(writer);
    // A kill between the bundle and the manifest leaves this.
    mirror.forget_catalogue();
    fs::write(mirror.path("manifest.jsonl"), "").expect("write");
    let (writer, _) = mirror.open();
    assert_eq!((locations(&writer, "bbbb"), mirror.statuses()), (known, vec!["existing".to_owned(); 2]));
}

#[test]
fn a_catalogue_is_rebuilt_from_manifest_bundles_and_files() {
    let mirror = Made::new();
    let (mut writer, _) = mirror.open();
    hold(&mut writer, &["aaaa"], To::Tree);
    hold(&mut writer, &["bbbb"], To::Bundle);
    writer.hide(&[id("aaaa")], Vec::new()).expect("hide");
    writer.finish_bundles(true).expect("finish");
    drop(writer);
    fs::create_dir_all(mirror.file("cccc").parent().expect("parent")).expect("dir");
    fs::write(mirror.file("cccc"), BYTES).expect("put by hand");
    fs::write(catalogue_in(&mirror.path(".mirror")), "no database").expect("damage");
    let mut report = RebuildReport::default();
    let outcome = rebuild(&mirror.options, &|| false, &mut report).expect("rebuild");
    assert_eq!((outcome.held, outcome.adopted, outcome.bundles, outcome.lost.len()), (3, 1, 1, 0));
    let (writer, _) = mirror.open();
    assert!(writer.catalogue().is_deleted(&id("aaaa")).expect("deleted"), "the manifest says so");
    assert!(locations(&writer, "bbbb").is_some_and(|all| all.member().is_some()));
    assert!(locations(&writer, "cccc").is_some_and(|all| all.is_loose()));
    drop(writer);
    // When it is stopped, it leaves everything as it was.
    let before = fs::read(mirror.path("manifest.jsonl")).expect("read");
    let stopped = rebuild(&mirror.options, &|| true, &mut report).expect("stopped");
    assert!(stopped.interrupted);
    assert_eq!(fs::read(mirror.path("manifest.jsonl")).expect("read"), before);
}
