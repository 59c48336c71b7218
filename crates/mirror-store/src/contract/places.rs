//! Checks of opening, removing and listing.

use std::io::Write as _;
use std::ops::ControlFlow;

use mirror_fs::{FileReader, ReadAt as _};
use mirror_types::{Layout, Location, MemberLocation, StoreId};

use super::kit::{
    Kit, assert_held, assert_listed, begin, bytes, commit, done, list, read, release, releases, with_body,
};
use crate::{Aside, CrateBody, CrateStore, OpenCrate, Removal, Store};

/// More than a store keeps in memory, bytes.
const LARGE: usize = 9 << 20;

fn file_of(kit: &Kit<'_>, name: &str, bytes: &[u8]) -> FileReader {
    let path = kit.place.with_file_name(format!("{}-{name}", kit.name));
    let written = mirror_fs::create_anew(&path).and_then(|mut file| file.write_all(bytes));
    let opened = written.and_then(|()| FileReader::of(mirror_fs::open_to_read(&path)?));
    match opened {
        Ok(Some(file)) => file,
        other => panic!("{}: {other:?}", path.display()),
    }
}

pub(super) fn large_bodies_are_read_by_position(kit: &Kit<'_>) {
    let scratch = kit.place.with_file_name("spool");
    let spool = done("opening a mirror to spool in", Store::open(&scratch, Layout::Shard, false));
    let store = kit.open();
    let all: Vec<_> = ["file", "spooled", "memory"]
        .into_iter()
        .zip(1..)
        .map(|(name, seed)| (release(name, "1.0.0"), bytes(seed, LARGE + 17)))
        .collect();
    let mut spooled = done("spooling", spool.stage_file());
    all[1].1.chunks(100_000).for_each(|piece| done("spooling", spooled.write(piece)));
    let bodies = [
        CrateBody::Reader(Box::new(file_of(kit, "body", &all[0].1))),
        CrateBody::Spooled(spooled),
        CrateBody::Memory(Box::new(all[2].1.clone())),
    ];
    let mut batch = begin(&store);
    for ((id, bytes), body) in all.iter().zip(bodies) {
        let staged = done(&format!("staging {id}"), store.stage(with_body(id, bytes, body)));
        done(&format!("adding {id}"), batch.add(staged));
    }
    let at = done("committing", batch.commit());
    for ((id, bytes), at) in all.iter().zip(&at) {
        let Some(open) = done("opening", store.open(id, at)) else { panic!("{id} is not at {at:?}") };
        assert_reads(&open, bytes, &format!("{id} at {at:?}"));
    }
}

/// Reads forward, backward and across the end.
fn assert_reads(open: &OpenCrate, bytes: &[u8], what: &str) {
    assert_eq!(open.len(), bytes.len() as u64, "{what}: its length");
    let len = bytes.len();
    for (offset, n) in
        [(0, 10), (len / 2, 70_000), (len / 2 + 1, 10), (3, 100_000), (len - 5, 5), (len, 0), (0, len)]
    {
        let (mut out, expected) = (vec![0; n], &bytes[offset..offset + n]);
        let read = open.read_exact_at(&mut out, offset as u64);
        assert!(read.is_ok() && out == expected, "{what}: {n} bytes at {offset}: {read:?}");
        let at_once = open.read_at_once(&mut out, offset as u64);
        assert!(!matches!(at_once, Ok(true)) || out == expected, "{what}: {n} bytes at {offset} at once");
    }
    for (offset, n) in [(len - 5, 6), (len, 1), (len + 1_000, 1)] {
        let read = open.read_exact_at(&mut vec![0; n], offset as u64);
        assert!(read.is_err(), "{what}: {n} bytes at {offset} are more than there are");
    }
}

pub(super) fn what_was_committed_is_there_when_it_is_opened_again(kit: &Kit<'_>) {
    let all = releases(9);
    let mut at = Vec::new();
    for part in all.chunks(3) {
        let store = kit.open();
        assert_held(&*store, &all, &at, "opened again");
        at.extend(commit(&store, part));
    }
    let store = kit.open();
    assert_held(&*store, &all, &at, "opened again");
    assert_listed(&*store, &all, &at, "opened again");
}

pub(super) fn removed_releases_are_gone_or_reported_as_kept(kit: &Kit<'_>) {
    goes(kit, &|store, all, at| {
        let held: Vec<_> = all.iter().map(|(id, _)| id.clone()).zip(at.iter().cloned()).collect();
        done("removing", store.remove(&held))
    });
    let store = kit.open();
    done("removing nothing", store.remove(&[]));
}

pub(super) fn releases_set_aside_are_gone_or_reported_as_kept(kit: &Kit<'_>) {
    goes(kit, &|store, all, at| {
        let aside = |((id, _), at): (&(_, _), _)| {
            done("setting aside", store.set_aside(id, at, Aside::Quarantine, "run-1"))
        };
        let kinds: Vec<_> = all.iter().zip(at).map(aside).collect();
        assert!(kinds.iter().all(|kind| *kind == kinds[0]), "{kinds:?}");
        kinds[0]
    });
}

type Held = (mirror_types::ReleaseId, Vec<u8>);
/// Removes releases, or sets them aside.
type Go<'a> = &'a dyn Fn(&dyn CrateStore, &[Held], &[Location]) -> Removal;

/// Has `go` remove some releases, twice, and checks what is left.
fn goes(kit: &Kit<'_>, go: Go<'_>) {
    let store = kit.open();
    let all = releases(8);
    let at = commit(&store, &all);
    let removal = go(&*store, &all[..3], &at[..3]);
    assert_eq!(go(&*store, &all[..3], &at[..3]), removal, "taken away twice");
    drop(store);
    let store = kit.open();
    match removal {
        Removal::Gone => {
            for ((id, _), at) in all[..3].iter().zip(&at) {
                assert!(read(&*store, id, at).is_none(), "{id} is still at {at:?}");
                assert_eq!(done("looking for it", store.size(id, at)), None, "{id} has a length");
            }
            assert_held(&*store, &all[3..], &at[3..], "what stays");
            assert_listed(&*store, &all[3..], &at[3..], "what stays");
        }
        Removal::Kept => {
            assert_held(&*store, &all, &at, "what is kept");
            assert_listed(&*store, &all, &at, "what is kept");
        }
    }
    let again = commit(&store, &all[..1]);
    assert_held(&*store, &all[..1], &again, "committed again after it was taken away");
}

pub(super) fn a_listing_ends_when_the_visitor_breaks(kit: &Kit<'_>) {
    let store = kit.open();
    commit(&store, &releases(7));
    for most in 1..=7 {
        let mut seen = 0;
        let listed = store.list(&mut |_| {
            seen += 1;
            if seen == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        done("listing", listed);
        assert_eq!(seen, most, "a listing that was told to end");
    }
}

pub(super) fn hostile_places_and_names_give_nothing_away(kit: &Kit<'_>) {
    let store = kit.open();
    // Names and versions with a meaning for a file system, a shell or an archive.
    let all: Vec<_> = ["con", "nul", "a", "ab", "abc", "bundles", "-x", "n_n", "tar"]
        .into_iter()
        .filter_map(|name| mirror_types::CrateName::new(name).ok())
        .flat_map(|name| {
            ["1.0.0", "1.0.0-a.b--c", "1.0.0+x.y-1"].map(|version| release(name.as_str(), version))
        })
        .chain([release(&"x".repeat(64), "1.0.0")])
        .zip(0..)
        .map(|(id, seed)| (id, bytes(seed, 100)))
        .collect();
    let at = commit(&store, &all);
    assert_held(&*store, &all, &at, "odd names");
    assert_listed(&*store, &all, &at, "odd names");
    let gives = |id, at: &Location| match store.open(id, at) {
        Ok(Some(open)) => {
            let mut out = vec![0; usize::try_from(open.len()).unwrap_or(0)];
            open.read_exact_at(&mut out, 0).is_ok().then_some(out)
        }
        Ok(None) | Err(_) => None,
    };
    // A release must not be opened under the name of another.
    let other = release("other", "1.0.0");
    for at in &at {
        assert_eq!(gives(&other, at), None, "{other} at {at:?}");
    }
    let (id, own) = (&all[0].0, &all[0].1);
    let elsewhere = kit.place.with_file_name("secret");
    drop(file_of(kit, "secret", b"secret"));
    for key in ["../secret", "/etc/passwd", "", "..", "a\0b", elsewhere.to_str().unwrap_or("x")] {
        let at = Location::Object { store: store.id(), key: Some(key.into()) };
        assert_eq!(gives(id, &at), None, "{key:?}");
        assert!(store.remove(&[(id.clone(), at)]).is_err(), "{key:?} was removed");
    }
    for (bundle, offset, len) in [(0, u64::MAX, 2), (0, 0, u64::MAX), (9_999, 0, 10), (0, 1, 3), (0, 0, 0)] {
        let member = MemberLocation { store: store.id(), ..MemberLocation::tar(bundle, offset, len) };
        assert_eq!(gives(id, &member.into()), None, "{bundle}, {offset}, {len}");
    }
    let foreign = StoreId(0xffff);
    let at_foreign = [
        Location::Object { store: foreign, key: None },
        MemberLocation { store: foreign, ..MemberLocation::tar(0, 0, 10) }.into(),
    ];
    for at in at_foreign {
        assert!(store.open(id, &at).is_err(), "{at:?} is none of this store's");
        assert!(store.remove(&[(id.clone(), at.clone())]).is_err(), "{at:?} is none of this store's");
        assert!(store.set_aside(id, &at, Aside::Replaced, "run").is_err(), "{at:?} is none of this store's");
    }
    assert_eq!(gives(id, &at[0]).as_ref(), Some(own), "after all of that");
    assert_eq!(list(&*store).len(), all.len(), "after all of that");
}
