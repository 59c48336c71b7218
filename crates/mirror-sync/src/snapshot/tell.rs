//! Lists, compares and checks the snapshots of a mirror. Writes nothing.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mirror_manifest::{Catalogue, SnapshotRow};
use mirror_repo::{At, Mirror, RepoError, SnapshotDir, check_offered, check_rows, rows_of};
use mirror_snapshot::{
    Acceptance, Change, Counts, Held, MAX_SNAPSHOT_BYTES, Refusal, RowError, Signatures, Signer, Snapshot,
    Trust, Unit, accept, compare, diff, verify,
};
use mirror_types::{CrateName, HeldBack};

use crate::error::SyncError;

/// A snapshot of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedSnapshot {
    /// Its number.
    pub serial: u64,
    /// The time at which it was taken.
    pub created: SystemTime,
    /// The time from which it is too old.
    pub expires: SystemTime,
    /// The numbers of what it offers.
    pub counts: Counts,
    /// The number of releases that it names as missing.
    pub gaps: usize,
    /// True if it is kept whatever its age.
    pub is_pinned: bool,
    /// True if there is a signature beside it, which is not checked here.
    pub is_signed: bool,
    /// True if the mirror can tell what it offered.
    pub has_rows: bool,
}

/// Passes the snapshots of the mirror at `out` to `visit`, the newest last, or the fault of a document that cannot be used.
/// Reads every document. Blocks.
///
/// # Errors
/// When there is no mirror, or the directory cannot be read.
pub fn list_snapshots(
    out: &Path,
    visit: &mut dyn FnMut(Result<ListedSnapshot, RepoError>),
) -> Result<(), SyncError> {
    let known = Mirror::open(out, None)?.catalogue()?.snapshots()?;
    let dir = SnapshotDir::of(out);
    for file in dir.list()? {
        let Some(snapshot) = dir.read(file.serial).transpose() else { continue };
        visit(snapshot.and_then(|snapshot| {
            let contents = snapshot.contents();
            let row = SnapshotRow { serial: file.serial, sha256: snapshot.digest() };
            Ok(ListedSnapshot {
                serial: file.serial,
                created: contents.created,
                expires: contents.expires,
                counts: contents.counts,
                gaps: contents.gaps.len(),
                is_pinned: file.is_pinned,
                is_signed: dir.signatures(file.serial)? > 0,
                has_rows: known.contains(&row),
            })
        }));
    }
    Ok(())
}

/// A difference between two states of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The change of one release.
    pub change: Change,
    /// For a release that is not offered any more: what holds it back now, if something does.
    pub held_back: Option<HeldBack>,
}

/// Passes the differences between two snapshots of the mirror at `out` to `visit`, by crate; `new` is what is offered now
/// when it is `None`. Returns the units in which they are, in order. Checks the rows of both against their documents
/// first, which reads all of them. Blocks.
///
/// # Errors
/// When there is no mirror or no such snapshot, when the mirror cannot tell its rows, or they are not those of the
/// document.
pub fn diff_snapshots(
    out: &Path,
    old: u64,
    new: Option<u64>,
    visit: &mut dyn FnMut(&Difference),
) -> Result<Vec<Unit>, SyncError> {
    let catalogue = Mirror::open(out, None)?.catalogue()?;
    let dir = SnapshotDir::of(out);
    // A run may go on meanwhile.
    catalogue.consistently(|| {
        for serial in [Some(old), new].into_iter().flatten() {
            check_rows(&catalogue, &dir.find(serial)?)?;
        }
        let at_new = new.map_or(At::Now, At::Snapshot);
        let mut names: Vec<CrateName> = catalogue
            .crates_changed_since(old.min(new.unwrap_or(old)))?
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        names.sort();
        let mut units = BTreeSet::new();
        for name in names {
            differences_of(&catalogue, &name, (At::Snapshot(old), at_new), &mut |difference| {
                units.insert(Unit::of(&name));
                visit(difference);
            })?;
        }
        Ok(units.into_iter().collect())
    })
}

fn differences_of(
    catalogue: &Catalogue,
    name: &CrateName,
    (old, new): (At, At),
    visit: &mut dyn FnMut(&Difference),
) -> Result<(), SyncError> {
    let rows = |at| Ok::<_, SyncError>(rows_of(catalogue, at, name)?.into_iter().map(Ok::<_, RowError>));
    for change in diff(rows(old)?, rows(new)?) {
        let change = change.map_err(mirror_repo::RepoError::from)?;
        let held_back = if let Change::Removed(row) = &change { catalogue.held_back(&row.id)? } else { None };
        visit(&Difference { change, held_back });
    }
    Ok(())
}

/// The demands on a snapshot that is checked.
#[derive(Debug)]
#[non_exhaustive]
pub struct SnapshotDemands {
    /// The keys whose signatures count, and how many must have signed; `None` asks for no signature.
    pub signed: Option<(Trust, NonZeroUsize)>,
    /// The snapshot that was accepted last, which the new one must follow.
    pub after: Option<PathBuf>,
    /// The mirror whose rows must be those that the snapshot states.
    pub mirror: Option<PathBuf>,
    /// The time by which keys and expiry are judged; `None` for now.
    pub at: Option<SystemTime>,
}

impl SnapshotDemands {
    /// Demands nothing but the form of the document, and that it has not expired.
    #[must_use]
    pub fn new() -> Self {
        Self { signed: None, after: None, mirror: None, at: None }
    }
}

impl Default for SnapshotDemands {
    fn default() -> Self {
        Self::new()
    }
}

/// A snapshot that meets the demands.
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckedSnapshot {
    /// The document.
    pub snapshot: Snapshot,
    /// The keys whose signatures count.
    pub signers: Vec<Signer>,
    /// How it follows the one that was accepted last.
    pub acceptance: Acceptance,
    /// The units in which it differs from the one that was accepted last; none without that.
    pub differing: Vec<Unit>,
    /// True if the rows of a mirror were compared with it.
    pub has_checked_rows: bool,
}

/// Checks the snapshot in a file, with the signatures beside it. Blocks.
///
/// # Errors
/// When a file cannot be read, the document is damaged or in another form, too few signatures count, it may not follow the
/// one that was accepted last, it has expired, or a mirror has other rows.
pub fn check_snapshot(path: &Path, demands: &SnapshotDemands) -> Result<CheckedSnapshot, SyncError> {
    let now = demands.at.unwrap_or_else(SystemTime::now);
    let snapshot = read(path)?;
    let signers = match &demands.signed {
        None => Vec::new(),
        Some((trust, threshold)) => {
            let signatures = Signatures::load(path)?;
            verify(snapshot.as_bytes(), &signatures, trust, *threshold, now)?
        }
    };
    let after = demands.after.as_deref().map(read).transpose()?;
    let acceptance = accept(after.as_ref().map(Held::from).as_ref(), &snapshot, now)?;
    if acceptance == Acceptance::AlreadyHeld {
        accept(None, &snapshot, now)?;
    }
    if let Some(out) = &demands.mirror {
        check_against(out, &snapshot)?;
    }
    let differing = after.map_or(Vec::new(), |after| compare(&after, &snapshot));
    Ok(CheckedSnapshot {
        snapshot,
        signers,
        acceptance,
        differing,
        has_checked_rows: demands.mirror.is_some(),
    })
}

/// Checks that a snapshot is one of the mirror at `out`, that the mirror's rows are those that it states, and for the newest
/// one that they are what is offered now.
fn check_against(out: &Path, snapshot: &Snapshot) -> Result<(), SyncError> {
    let mirror = Mirror::open(out, None)?;
    match mirror.id()? {
        Some(ours) if ours != snapshot.mirror() => {
            return Err(Refusal::OtherMirror { ours, theirs: snapshot.mirror() }.into());
        }
        Some(_) | None => {}
    }
    let catalogue = mirror.catalogue()?;
    catalogue.consistently(|| {
        check_rows(&catalogue, snapshot)?;
        let newest = catalogue.snapshots()?.last().map(|newest| newest.serial);
        // After the newest, there is nothing else that could be offered.
        if newest == Some(snapshot.serial()) {
            check_offered(&catalogue, snapshot)?;
        }
        Ok(())
    })
}

fn read(path: &Path) -> Result<Snapshot, SyncError> {
    let fail = |source| SyncError::Read { what: "the snapshot", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_SNAPSHOT_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
    Snapshot::parse(&bytes)
        .map_err(|source| mirror_repo::RepoError::BadSnapshot { path: path.to_owned(), source }.into())
}
