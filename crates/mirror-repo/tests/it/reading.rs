//! A mirror that is read while other processes change it.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};

use mirror_repo::{Located, Mirror, MirrorWriter, OpenBundles, Preview, RepoError};
use mirror_types::{FaultKind, MemberLocation, StoreId};

use crate::transaction::{BYTES, Made, SHA256, To, hold, id};

fn open(made: &Made) -> Mirror {
    Mirror::open(&made.path(""), None).expect("open")
}

fn read(mirror: &Mirror, name: &str) -> Option<Vec<u8>> {
    let held = mirror.held(&id(name)).expect("held")?;
    let found = mirror.locate(&id(name), &held).expect("locate")?;
    assert!(mirror.is_there(&id(name), &held).expect("is there"));
    Some(mirror.read(&id(name), &found).expect("read"))
}

fn place(mirror: &Mirror, name: &str) -> MemberLocation {
    mirror.held(&id(name)).expect("held").and_then(|held| held.locations.member()).expect("in a bundle")
}

#[test]
fn releases_are_read_wherever_they_are() {
    let made = Made::new();
    let (mut writer, _) = made.open();
    for (name, to) in [("aaaa", To::Tree), ("bbbb", To::Bundle), ("cccc", To::Both)] {
        hold(&mut writer, &[name], to);
    }
    let mirror = open(&made);
    for name in ["aaaa", "bbbb", "cccc"] {
        assert_eq!(read(&mirror, name).as_deref(), Some(BYTES), "{name}");
    }
    assert_eq!(read(&mirror, "dddd"), None);
    // A release that the tree lost is read from the bundle, and one that nothing has is not there.
    let held = |name| mirror.held(&id(name)).expect("held").expect("some");
    let is_loose = |name| {
        let found = mirror.locate(&id(name), &held(name)).expect("locate");
        matches!(found, Some(Located::Open(_)))
    };
    assert!(is_loose("aaaa") && is_loose("cccc"));
    for name in ["aaaa", "cccc"] {
        fs::write(made.file(name), "short").expect("cut");
    }
    assert!(!is_loose("cccc"));
    assert_eq!(read(&mirror, "cccc").as_deref(), Some(BYTES));
    assert!(mirror.locate(&id("aaaa"), &held("aaaa")).expect("locate").is_none());
    assert!(!mirror.is_there(&id("aaaa"), &held("aaaa")).expect("is there"));
}

#[test]
fn changes_of_others_are_noticed() {
    let made = Made::new();
    let (mut writer, _) = made.open();
    hold(&mut writer, &["aaaa"], To::Bundle);
    let mirror = open(&made);
    let before = mirror.generation().expect("generation");
    assert_eq!(mirror.generation().expect("generation"), before, "nothing has changed");
    assert_eq!(read(&mirror, "aaaa").as_deref(), Some(BYTES));
    // The partial bundle is appended to, and gets its final name.
    hold(&mut writer, &["bbbb"], To::Bundle);
    assert!(mirror.generation().expect("generation") > before);
    assert_eq!(read(&mirror, "bbbb").as_deref(), Some(BYTES));
    writer.finish_bundles(true).expect("finish");
    assert_eq!(read(&open(&made), "bbbb").as_deref(), Some(BYTES));
    writer.hide(&[id("aaaa")], Vec::new()).expect("hide");
    assert!(mirror.held(&id("aaaa")).expect("held").is_none(), "it is not offered");
    assert!(mirror.is_deleted(&id("aaaa")).expect("deleted"));
    assert_eq!(mirror.totals().expect("totals").releases, 1);
    drop(writer);
    // Another catalogue is put in its place.
    assert!(!mirror.look_again().expect("look"));
    let before = mirror.generation().expect("generation");
    let mut report = mirror_repo::RebuildReport::default();
    mirror_repo::rebuild(&made.options, &|| false, &mut report).expect("rebuild");
    assert!(mirror.look_again().expect("look"), "it was replaced");
    assert!(!mirror.look_again().expect("look"), "and that is told once");
    assert!(mirror.generation().expect("generation") > before);
    assert_eq!(read(&mirror, "bbbb").as_deref(), Some(BYTES));
}

#[test]
fn what_is_no_mirror_and_bundles_that_are_gone_are_refused() {
    let made = Made::new();
    let none = Mirror::open(&made.world.path("nothing"), None).expect_err("nothing is there");
    assert!(matches!(none, RepoError::NoMirror { .. }), "{none}");
    let (mut writer, _) = made.open();
    hold(&mut writer, &["aaaa"], To::Bundle);
    drop(writer);
    fs::rename(made.path("bundles"), made.world.path("elsewhere")).expect("move");
    let gone = Mirror::open(&made.path(""), None).expect_err("they are gone");
    assert!(matches!(gone, RepoError::NoBundles { .. }), "{gone}");
    assert_eq!(gone.kind(), FaultKind::Usage);
    let named = Mirror::open(&made.path(""), Some(&made.world.path("elsewhere"))).expect("named");
    assert_eq!(read(&named, "aaaa").as_deref(), Some(BYTES));
}

#[test]
fn few_bundles_are_kept_open() {
    let mut made = Made::new();
    made.options.bundle_bytes = Some(1);
    let (mut writer, _) = made.open();
    for name in ["aaaa", "bbbb", "cccc"] {
        hold(&mut writer, &[name], To::Bundle);
    }
    drop(writer);
    let mirror = open(&made);
    let at = ["aaaa", "bbbb", "cccc"].map(|name| place(&mirror, name));
    assert!(at[0].bundle < at[1].bundle && at[1].bundle < at[2].bundle, "each has its own: {at:?}");
    mirror.bundles().keep_open(2);
    assert!(mirror.bundles().find_at_once(at[0]).is_none(), "nothing is open yet");
    for at in at {
        assert!(mirror.bundles().find(at).expect("find").is_some());
    }
    let is_open = at.map(|at| mirror.bundles().find_at_once(at).is_some());
    assert_eq!(is_open, [false, true, true], "the one that was used longest ago is closed");
}

#[test]
fn a_member_that_is_not_whole_is_none() {
    let made = Made::new();
    let (mut writer, _) = made.open();
    hold(&mut writer, &["aaaa", "bbbb"], To::Bundle);
    writer.finish_bundles(true).expect("finish");
    drop(writer);
    let mirror = open(&made);
    let (a, b) = (place(&mirror, "aaaa"), place(&mirror, "bbbb"));
    let bundles = || OpenBundles::new(made.path("bundles"));
    let sum = (SHA256.parse().expect("a hash"), BYTES.len() as u64);
    assert_eq!(bundles().hash(a, &id("aaaa")).expect("hash"), Some(sum));
    assert_eq!(bundles().hash(a, &id("bbbb")).expect("hash"), None, "another release is there");
    let behind = MemberLocation { offset: b.offset + (1 << 20), ..b };
    assert_eq!(bundles().hash(behind, &id("bbbb")).expect("hash"), None, "the bundle ends before");
    assert_eq!(bundles().hash(MemberLocation { bundle: 7, ..a }, &id("aaaa")).expect("hash"), None);
    let path = made.path("bundles/bundle-0000.tar.zst");
    let mut file = fs::File::options().write(true).open(&path).expect("open");
    file.seek(SeekFrom::Start(a.offset + a.len / 2)).expect("seek");
    file.write_all(&[0x55; 8]).expect("damage");
    assert_eq!(bundles().hash(a, &id("aaaa")).expect("hash"), None, "it is damaged");
    assert_eq!(bundles().hash(b, &id("bbbb")).expect("hash"), Some(sum), "the next one is not");
    // A missing directory is no damage.
    let gone = OpenBundles::new(made.path("gone"));
    assert_eq!(gone.hash(a, &id("aaaa")).expect_err("no directory").kind(), FaultKind::Storage);
}

#[test]
fn a_reader_sees_what_a_loss_left() {
    let made = Made::new();
    let (mut writer, _) = made.open();
    hold(&mut writer, &["aaaa", "bbbb"], To::Both);
    let mirror = open(&made);
    let mut tx = MirrorWriter::begin(&writer);
    tx.lost(&writer, id("aaaa"), StoreId::LOOSE).expect("lost");
    tx.lost(&writer, id("bbbb"), StoreId::BUNDLES).expect("lost");
    writer.commit(tx).expect("commit");
    let held = |name| mirror.held(&id(name)).expect("held").expect("some");
    assert!(matches!(mirror.locate(&id("aaaa"), &held("aaaa")).expect("locate"), Some(Located::Bundled(..))));
    assert!(matches!(mirror.locate(&id("bbbb"), &held("bbbb")).expect("locate"), Some(Located::Open(_))));
}

#[test]
fn a_release_is_read_in_pieces_until_it_is_enough() {
    let made = Made::new();
    let (mut writer, _) = made.open();
    for (name, to) in [("aaaa", To::Tree), ("bbbb", To::Bundle), ("cccc", To::Bundle)] {
        hold(&mut writer, &[name], to);
    }
    writer.finish_bundles(true).expect("finish");
    drop(writer);
    let mirror = open(&made);
    let pieces = |name: &str, most: usize| {
        let held = mirror.held(&id(name)).expect("held").expect("some");
        let located = mirror.locate(&id(name), &held).expect("locate").expect("found");
        let (mut bytes, mut calls) = (Vec::new(), 0);
        let is_whole = mirror.read_in_pieces(&id(name), &located, &mut |piece| {
            bytes.extend_from_slice(piece);
            calls += 1;
            calls < most
        });
        (is_whole.expect("read"), bytes, calls)
    };
    for name in ["aaaa", "bbbb"] {
        assert_eq!(pieces(name, usize::MAX).1, BYTES, "{name}");
        assert_eq!((pieces(name, 1).0, pieces(name, 1).2), (true, 1), "{name}: one is enough");
    }
    // Another release than the catalogue's, and damage, are reported and are no errors.
    let held = mirror.held(&id("bbbb")).expect("held").expect("some");
    let located = mirror.locate(&id("bbbb"), &held).expect("locate").expect("found");
    assert!(!mirror.read_in_pieces(&id("cccc"), &located, &mut |_| true).expect("read"));
    let at = place(&mirror, "cccc");
    let mut file =
        fs::File::options().write(true).open(made.path("bundles/bundle-0000.tar.zst")).expect("open");
    file.seek(SeekFrom::Start(at.offset + at.len / 2)).expect("seek");
    file.write_all(&[0x55; 8]).expect("damage");
    assert!(!pieces("cccc", usize::MAX).0);
}

#[test]
fn a_preview_is_of_whatever_is_there_and_touches_nothing() {
    let made = Made::new();
    let preview = || Preview::open(&made.options, &|| false).expect("preview");
    // Nothing, a folder that another program filled, and a mirror that lost a file.
    assert!(preview().store().is_none() && preview().mirror().is_none());
    assert!(!made.path("").exists());
    fs::create_dir_all(made.path("")).expect("dir");
    assert!(preview().mirror().is_none() && preview().lost().is_empty());
    let (mut writer, _) = made.open();
    hold(&mut writer, &["aaaa", "bbbb"], To::Both);
    // Even while a run is in progress: a preview takes no lock.
    assert!(preview().lost().is_empty());
    writer.finish(&[], true).expect("finish");
    drop(writer);
    fs::remove_file(made.file("aaaa")).expect("remove");
    assert_eq!(preview().lost(), [id("aaaa")]);
    assert_eq!(preview().lost(), [id("aaaa")], "it was not written down");
    let found = preview();
    assert_eq!(found.layout(), found.store().expect("store").layout());
    let mirror = found.mirror().expect("mirror");
    assert_eq!(read(mirror, "aaaa").as_deref(), Some(BYTES));
    fs::rename(made.path("bundles"), made.world.path("elsewhere")).expect("move");
    let gone = Preview::open(&made.options, &|| false).expect_err("as a run would");
    assert!(matches!(gone, RepoError::BundlesMissing { .. }), "{gone}");
}
