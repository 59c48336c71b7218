//! Helpers that the checks share.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use mirror_checksum::Hasher;
use mirror_fs::ReadAt as _;
use mirror_types::{CrateName, Location, ReleaseId, Sha256, VersionText};

use crate::{CrateBody, CrateStore, Hashed, Listed, NewCrate, StagedCrate, StoreBatch, StoreError};

/// The surroundings of a check: the place where it may open a store.
pub(super) struct Kit<'a> {
    pub(super) name: &'a str,
    pub(super) place: &'a Path,
    open: &'a dyn Fn(&Path) -> Arc<dyn CrateStore>,
}

impl<'a> Kit<'a> {
    pub(super) fn new(
        name: &'a str,
        place: &'a Path,
        open: &'a dyn Fn(&Path) -> Arc<dyn CrateStore>,
    ) -> Self {
        Self { name, place, open }
    }

    pub(super) fn open(&self) -> Arc<dyn CrateStore> {
        (self.open)(self.place)
    }
}

pub(super) fn release(name: &str, version: &str) -> ReleaseId {
    match (CrateName::new(name), VersionText::new(version)) {
        (Ok(name), Ok(version)) => ReleaseId { name, version },
        _ => panic!("{name} {version} is no release"),
    }
}

/// Returns bytes that do not compress, the same for the same seed.
pub(super) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Returns some releases with bodies of different lengths, one of them empty.
pub(super) fn releases(count: usize) -> Vec<(ReleaseId, Vec<u8>)> {
    let one = |n: usize| {
        let id = release(&format!("crate-{}", n / 2), &format!("{}.0.{n}", n % 2));
        (id, bytes(n as u64, n * 611 % 5_000))
    };
    (0..count).map(one).collect()
}

pub(super) fn sum(bytes: &[u8]) -> Sha256 {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

pub(super) fn new<'a>(id: &'a ReleaseId, bytes: &[u8]) -> NewCrate<'a> {
    with_body(id, bytes, CrateBody::Memory(Box::new(bytes.to_vec())))
}

pub(super) fn with_body<'a>(id: &'a ReleaseId, bytes: &[u8], body: CrateBody) -> NewCrate<'a> {
    let url = "http://localhost/crates";
    NewCrate { id, sha256: sum(bytes), size: bytes.len() as u64, url, body }
}

/// Unwraps a result, or panics with what was being done.
pub(super) fn done<T>(what: &str, result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error} ({error:?})"))
}

pub(super) fn stage(store: &dyn CrateStore, id: &ReleaseId, bytes: &[u8]) -> StagedCrate {
    done(&format!("staging {id}"), store.stage(new(id, bytes)))
}

pub(super) fn begin(store: &Arc<dyn CrateStore>) -> Box<dyn StoreBatch> {
    done("beginning a batch", Arc::clone(store).begin())
}

/// Commits releases in one batch.
pub(super) fn commit(store: &Arc<dyn CrateStore>, all: &[(ReleaseId, Vec<u8>)]) -> Vec<Location> {
    let mut batch = begin(store);
    for (id, bytes) in all {
        let staged = stage(&**store, id, bytes);
        assert_eq!((staged.id(), staged.size()), (id, bytes.len() as u64), "what was staged");
        done(&format!("adding {id}"), batch.add(staged));
    }
    let locations = done("committing", batch.commit());
    assert_eq!(locations.len(), all.len(), "a commit returns a location for each release");
    for location in &locations {
        assert_eq!(location.store(), store.id(), "{location:?} is not in the store that returned it");
    }
    locations
}

/// Reads a whole release; `None` when it is not there.
pub(super) fn read(store: &dyn CrateStore, id: &ReleaseId, at: &Location) -> Option<Vec<u8>> {
    let what = format!("opening {id} at {at:?}");
    let open = done(&what, store.open(id, at))?;
    let size = done(&what, store.size(id, at));
    assert_eq!(size, Some(open.len()), "{what}: two lengths");
    assert_eq!(open.is_empty(), size == Some(0));
    let mut bytes = vec![0; usize::try_from(open.len()).unwrap_or(0)];
    open.read_exact_at(&mut bytes, 0).unwrap_or_else(|error| panic!("{what}: reading: {error}"));
    Some(bytes)
}

pub(super) fn assert_held(store: &dyn CrateStore, all: &[(ReleaseId, Vec<u8>)], at: &[Location], what: &str) {
    for ((id, bytes), at) in all.iter().zip(at) {
        match read(store, id, at) {
            None => panic!("{what}: {id} is not at {at:?}"),
            Some(found) => assert!(found == *bytes, "{what}: {id} has other bytes at {at:?}"),
        }
    }
    let held: Vec<_> = all.iter().zip(at).map(|((id, _), at)| (id, at)).collect();
    let hashed = store.hash_each(&held);
    assert_eq!(hashed.len(), held.len(), "{what}: one checksum for each release");
    for ((id, bytes), hashed) in all.iter().zip(hashed) {
        let expected = Hashed::Bytes { sha256: sum(bytes), size: bytes.len() as u64 };
        assert_eq!(done(what, hashed), expected, "{what}: what {id} is hashed to");
    }
}

pub(super) fn list(store: &dyn CrateStore) -> Vec<Listed> {
    let mut all = Vec::new();
    let listed = store.list(&mut |listed| {
        all.push(listed);
        ControlFlow::Continue(())
    });
    done("listing", listed);
    all
}

/// Checks a listing against the releases that must be in it, and no others: each at its place, none twice.
pub(super) fn assert_listed(
    store: &dyn CrateStore,
    all: &[(ReleaseId, Vec<u8>)],
    at: &[Location],
    what: &str,
) {
    let mut found = BTreeMap::new();
    for listed in list(store) {
        let twice = found.insert((listed.id.clone(), format!("{:?}", listed.location)), listed);
        assert!(twice.is_none(), "{what}: listed twice: {twice:?}");
    }
    for ((id, bytes), at) in all.iter().zip(at) {
        let Some(listed) = found.remove(&(id.clone(), format!("{at:?}"))) else {
            panic!("{what}: {id} at {at:?} is not listed")
        };
        assert_eq!(listed.size, bytes.len() as u64, "{what}: the length of {id}");
        assert!(listed.sha256.is_none_or(|found| found == sum(bytes)), "{what}: the checksum of {id}");
    }
    assert!(found.is_empty(), "{what}: nobody committed {found:?}");
}
