//! The changes of the catalogue.

use std::time::SystemTime;

use mirror_types::{CrateName, ReleaseId, StoreId};

use super::deferred::DeferredGroup;
use super::held_back::{HeldBackRelease, ReplacedRelease};
use super::licences::LicenceRow;
use super::rows::{DirRow, FailureRow, HeldRelease, UpstreamRemoval};
use crate::index_cache::CacheState;

/// A change of the catalogue. Changes are applied in order ([`Catalogue::apply`](super::Catalogue::apply)).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Change {
    /// A release is held from now on.
    Held {
        /// The release. If its hash is new, no other place holds it any more.
        release: HeldRelease,
        /// The bit of the source that lists it; 0 for none.
        source: u64,
    },
    /// A store has lost a release, or has wrong bytes of it. It is in the failure ledger until it is resolved.
    Lost {
        /// The release.
        id: ReleaseId,
        /// The store.
        store: StoreId,
    },
    /// A release was removed on purpose.
    Removed(ReleaseId),
    /// A bundle is gone for good, together with the releases that only it held.
    BundleGone(u32),
    /// The ends of bundles are to be recomputed from the members held in them.
    BundlesMeasured,
    /// A release or, without a version, a whole crate could not be fetched; it goes into the failure ledger.
    Failed(FailureRow),
    /// A release leaves the failure ledger: it is held.
    Resolved(ReleaseId),
    /// A release that is not wanted any more leaves the failure ledger and the list of deferred ones.
    Dropped(ReleaseId),
    /// A release is wanted, but policy holds it back, until a date or because its bytes replace others. It leaves the failure ledger, and is deferred until it is held
    /// with these bytes, fails, or is undeferred.
    Deferred(HeldBackRelease),
    /// The releases of a crate that policy keeps from being fetched whatever the time is. They replace those that the
    /// catalogue has.
    DeferredGroups {
        /// The crate.
        name: CrateName,
        /// The releases, by rule and reason.
        groups: Vec<DeferredGroup>,
    },
    /// A release is not deferred any more, although it was not fetched.
    Undeferred(ReleaseId),
    /// A release is held, and policy does not offer it from now on.
    HeldBack(HeldBackRelease),
    /// Bytes of a release replace others, and a run saw that at this moment.
    Replaced(ReplacedRelease),
    /// Policy offers a held release again that it held back.
    Offered(ReleaseId),
    /// The licence of a held release was read. It is known until the release is not held any more, or with other bytes.
    Licence(LicenceRow),
    /// A policy, which this text identifies, has judged everything that is held.
    PolicyApplied(String),
    /// The newest commit of the advisory database by which a run decides is of this moment; `None` without a git clone.
    AdvisoriesOf(Option<SystemTime>),
    /// A whole crate leaves the failure ledger: its index file could be read.
    CrateResolved(CrateName),
    /// Upstream removed a held release. The time of the first sight is kept until the kind of removal changes.
    RemovedUpstream {
        /// The release.
        id: ReleaseId,
        /// The kind of removal.
        kind: UpstreamRemoval,
        /// The time at which that was noticed, RFC 3339.
        seen: String,
    },
    /// Upstream offers a release again.
    Reinstated(ReleaseId),
    /// A source lists a held release.
    Seen {
        /// The release.
        id: ReleaseId,
        /// The bit of the source.
        source: u64,
    },
    /// A directory was written to: its times are not trusted until it is listed again.
    DirWritten(String),
    /// A directory was listed, and matched the catalogue.
    DirListed(DirRow),
    /// The index cache is in this state. If it is another cache than before, or files in it were replaced, the next run
    /// must look at the whole index.
    IndexCache(CacheState),
    /// The next run must look at the whole index: comparing trees would not find what has changed.
    CursorOutdated,
    /// The changes before this one cover the manifest up to this length, bytes.
    ManifestLen(u64),
}

#[cfg(test)]
mod tests {
    use mirror_types::{Location, Locations, MemberLocation, Sha256};

    use super::*;
    use crate::{Catalogue, IndexCursor};

    fn id() -> ReleaseId {
        ReleaseId { name: "a".parse().expect("name"), version: "1.0.0".parse().expect("version") }
    }

    fn held(locations: Locations) -> Change {
        Change::Held {
            release: HeldRelease { id: id(), sha256: Sha256::from_bytes([7; 32]), size: 5, locations },
            source: 0,
        }
    }

    fn failed() -> Change {
        Change::Failed(FailureRow::once(id(), None))
    }

    fn removed_upstream() -> Change {
        Change::RemovedUpstream { id: id(), kind: UpstreamRemoval::Deleted, seen: String::new() }
    }

    fn loose() -> Change {
        held(Location::LOOSE.into())
    }

    fn set_cursor(catalogue: &mut Catalogue) {
        let (tree, selection) = ("t".to_owned(), String::new());
        let cursor = IndexCursor { tree, selection, selected: 1, yanked_skipped: 0, bad_files: [].into() };
        catalogue.set_cursor(&cursor).expect("cursor");
    }

    #[test]
    fn the_last_of_two_changes_counts() {
        let lost = || Change::Lost { id: id(), store: StoreId::LOOSE };
        let bundled = || held(MemberLocation::tar(3, 0, 9).into());
        // Afterwards: whether it is held, what is in the ledger, and whether it is known as deleted.
        for (changes, is_held, ledger, deleted) in [
            (vec![loose(), Change::Removed(id())], false, 0, false),
            (vec![Change::Removed(id()), loose()], true, 0, false),
            (vec![loose(), lost()], false, 1, false),
            (vec![loose(), lost(), Change::Resolved(id()), loose()], true, 0, false),
            (vec![failed(), Change::Resolved(id()), loose()], true, 0, false),
            (vec![Change::Resolved(id()), loose(), failed()], true, 1, false),
            (vec![failed(), Change::Dropped(id())], false, 0, false),
            (vec![loose(), removed_upstream(), Change::Reinstated(id())], true, 0, false),
            (vec![loose(), Change::Reinstated(id()), removed_upstream()], true, 0, true),
            (vec![loose(), removed_upstream(), Change::Removed(id()), loose()], true, 0, false),
            (vec![bundled(), Change::BundleGone(3)], false, 0, false),
            (vec![loose(), bundled(), Change::BundleGone(3)], true, 0, false),
            (vec![Change::BundleGone(3), bundled()], true, 0, false),
        ] {
            let dir = tempfile::tempdir().expect("dir");
            let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
            catalogue.apply(&changes).expect("apply");
            let found = catalogue.held_release(&id()).expect("held").is_some();
            let failures = catalogue.failures().expect("failures").len();
            let is_deleted = catalogue.is_deleted(&id()).expect("deleted");
            assert_eq!((found, failures, is_deleted), (is_held, ledger, deleted), "{changes:?}");
        }
    }

    #[test]
    fn the_cursor_goes_when_upstream_could_go_back() {
        let dir = tempfile::tempdir().expect("dir");
        let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        let release = HeldRelease {
            id: id(),
            sha256: Sha256::from_bytes([8; 32]),
            size: 5,
            locations: Locations::new(),
        };
        let other_bytes = Change::Held { release, source: 0 };
        for (change, stays) in [
            (loose(), true),
            (Change::Seen { id: id(), source: 1 }, true),
            (Change::DirWritten("a".to_owned()), true),
            (failed(), true),
            (Change::Resolved(id()), true),
            (Change::Dropped(id()), false),
            (removed_upstream(), false),
            (Change::Reinstated(id()), true),
            (Change::CursorOutdated, false),
            (other_bytes, false),
            (Change::Removed(id()), false),
            (Change::BundleGone(1), false),
        ] {
            set_cursor(&mut catalogue);
            catalogue.apply(std::slice::from_ref(&change)).expect("apply");
            assert_eq!(catalogue.cursor().expect("cursor").is_some(), stays, "{change:?}");
        }
    }
}
