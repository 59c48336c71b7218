//! Snapshots of what a mirror offers: taken at the end of a run that went through its whole selection; listed, compared
//! and checked.

mod tell;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mirror_git::IndexSource;
use mirror_repo::{MirrorWriter, OfferedUnits};
use mirror_snapshot::{
    Contents, Gap, GapKind, IndexState, SnapshotError, openpgp_signature_name, snapshot_file_name,
    ssh_signature_name,
};
use mirror_types::ReleaseId;

use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver};

pub use mirror_snapshot::{
    Acceptance, AllowedSigners, AllowedSignersError, Change, Counts, GpgKey, GpgKeyring, KeyId, Passphrase,
    Refusal, RevokedKeys, SignatureError, Signer, SigningError, Snapshot, SshSigner, Trust, Unit,
};
pub use tell::{
    CheckedSnapshot, Difference, ListedSnapshot, SnapshotDemands, check_snapshot, diff_snapshots,
    list_snapshots,
};

/// The settings of the snapshots of a mirror.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SnapshotOptions {
    /// The time from a snapshot to its expiry. When nothing changes, the next one is taken half way to it.
    pub valid_for: Duration,
    /// The number of newest snapshots that are kept, beside those that are pinned; at least 1.
    pub keep: usize,
    /// The keys that sign each snapshot.
    pub keys: Vec<Arc<SnapshotKey>>,
}

impl Default for SnapshotOptions {
    /// Returns 90 days, 100 snapshots and no keys.
    fn default() -> Self {
        Self { valid_for: Duration::from_secs(90 * 24 * 60 * 60), keep: 100, keys: Vec::new() }
    }
}

/// A key that signs snapshots.
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotKey {
    /// An SSH key, of a file or of an agent.
    Ssh(SshSigner),
    /// A key of gpg.
    OpenPgp(GpgKey),
}

/// The facts of a run that a snapshot states, and that the mirror does not record.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunState {
    pub(crate) index: IndexState,
    /// The digest of the policy; `None` when there is none.
    pub(crate) policy: Option<mirror_types::Sha256>,
}

/// Returns the state of a local index; none of a plain directory.
pub(crate) fn index_state(source: &IndexSource) -> IndexState {
    let id = |id: Option<String>| id.and_then(|id| id.parse().ok());
    IndexState { commit: id(source.commit_id()), tree: id(source.tree_id()) }
}

/// Takes a snapshot, unless the newest one says the same and is not half way to its expiry; then signs the newest if it
/// has no signature. Returns the serial of the newest snapshot; `None` when none can be taken. Blocks; a key may wait for
/// a person.
///
/// # Errors
/// When the disk or SQLite fails, or a key cannot sign.
pub(crate) fn take(
    mirror: &mut MirrorWriter,
    state: RunState,
    options: &SnapshotOptions,
    observer: &dyn SyncObserver,
    now: SystemTime,
) -> Result<Option<u64>, SyncError> {
    let units = mirror.offered_units()?;
    let mut contents = Contents::new(mirror.id(), now, now + options.valid_for, units.digests());
    contents.counts = units.counts();
    (contents.index, contents.policy) = (state.index, state.policy);
    contents.gaps = gaps(mirror)?;
    let newest = newest(mirror, observer)?;
    if let Some(newest) = newest.as_ref().filter(|newest| says_the_same(newest.contents(), &contents, now)) {
        return renew(mirror, newest, &units, options).map(Some);
    }
    follow(mirror, newest.as_ref(), &mut contents)?;
    contents.expires = contents.created + options.valid_for;
    let snapshot = match Snapshot::new(contents) {
        Ok(snapshot) => snapshot,
        Err(SnapshotError::TooManyGaps { count, .. }) => {
            observer.event(SyncEvent::TooManyGaps { releases: count });
            return Ok(None);
        }
        Err(error) => return Err(mirror_repo::RepoError::from(error).into()),
    };
    let signatures = sign(options, &snapshot)?;
    mirror.publish_snapshot(&snapshot, &signatures, &units)?;
    let (serial, is_signed) = (snapshot.serial(), !signatures.is_empty());
    observer.event(SyncEvent::SnapshotTaken { serial, is_signed });
    mirror.retain_snapshots(options.keep)?;
    Ok(Some(serial))
}

/// Returns the newest snapshot of this mirror that can be read. Documents that cannot be read are reported.
fn newest(mirror: &MirrorWriter, observer: &dyn SyncObserver) -> Result<Option<Snapshot>, SyncError> {
    let dir = mirror.snapshot_dir();
    for file in dir.list()?.iter().rev() {
        match dir.read(file.serial) {
            Ok(Some(snapshot)) if snapshot.mirror() == mirror.id() => return Ok(Some(snapshot)),
            Ok(_) => {}
            Err(error) => observer.event(SyncEvent::BadSnapshot(&error)),
        }
    }
    Ok(None)
}

/// Returns whether a snapshot says the same as contents of now, and is still good for half of its time.
fn says_the_same(old: &Contents, new: &Contents, now: SystemTime) -> bool {
    let half = old.expires.duration_since(old.created).unwrap_or_default() / 2;
    // Reasons may change with every attempt.
    let gaps = |contents: &Contents| -> Vec<_> {
        let mut gaps: Vec<_> = contents
            .gaps
            .iter()
            .map(|gap| (gap.name.clone(), gap.version.clone(), gap.kind == GapKind::Failed))
            .collect();
        gaps.sort();
        gaps
    };
    now < old.created + half
        && (&old.units, old.counts, &old.index, old.policy)
            == (&new.units, new.counts, &new.index, new.policy)
        && gaps(old) == gaps(new)
}

/// Makes the catalogue know the newest snapshot, which says what is offered now, and signs it if nobody has.
fn renew(
    mirror: &mut MirrorWriter,
    newest: &Snapshot,
    units: &OfferedUnits,
    options: &SnapshotOptions,
) -> Result<u64, SyncError> {
    let serial = newest.serial();
    let known = mirror.catalogue().snapshots()?;
    if known.last().is_none_or(|known| (known.serial, known.sha256) != (serial, newest.digest())) {
        // A run was killed after it had published the document, or the catalogue is new.
        mirror.adopt_snapshot(newest, units)?;
    }
    let dir = mirror.snapshot_dir();
    if !options.keys.is_empty() && !dir.is_signed(serial)? {
        dir.add_signatures(&sign(options, newest)?)?;
    }
    mirror.retain_snapshots(options.keep)?;
    Ok(serial)
}

/// Makes contents follow the newest snapshot: a serial that no document ever had, and the digest of the one before.
fn follow(
    mirror: &MirrorWriter,
    newest: Option<&Snapshot>,
    contents: &mut Contents,
) -> Result<(), SyncError> {
    let recorded = mirror.catalogue().snapshots()?.last().copied();
    let listed = mirror.snapshot_dir().list()?.last().map_or(0, |file| file.serial);
    contents.serial = 1 + listed.max(recorded.map_or(0, |recorded| recorded.serial));
    contents.previous = match (newest, recorded) {
        (Some(newest), Some(recorded)) if recorded.serial > newest.serial() => Some(recorded.sha256),
        (Some(newest), _) => Some(newest.digest()),
        (None, recorded) => recorded.map(|recorded| recorded.sha256),
    };
    // A clock that was put back must not make a snapshot that nobody accepts after the one before.
    contents.created =
        newest.map_or(contents.created, |newest| contents.created.max(newest.contents().created));
    Ok(())
}

/// Returns what upstream lists and the mirror could not get.
fn gaps(mirror: &MirrorWriter) -> Result<Vec<Gap>, SyncError> {
    let catalogue = mirror.catalogue();
    let acknowledged: HashSet<(String, String)> =
        catalogue.acknowledged_gaps()?.into_iter().map(|gap| (gap.name, gap.version)).collect();
    let mut gaps = Vec::new();
    for failure in catalogue.unfetched()? {
        let Some(version) = failure.version else {
            gaps.push(Gap::of_crate(failure.name, GapKind::Failed, &failure.error));
            continue;
        };
        let key = (failure.name.to_string(), version.to_string());
        let kind = if acknowledged.contains(&key) { GapKind::Acknowledged } else { GapKind::Failed };
        gaps.push(Gap::new(ReleaseId { name: failure.name, version }, kind, &failure.error));
    }
    Ok(gaps)
}

/// Signs a document with every key; returns the signatures with the names of their files.
fn sign(options: &SnapshotOptions, snapshot: &Snapshot) -> Result<Vec<(String, Vec<u8>)>, SyncError> {
    let document = snapshot_file_name(snapshot.serial());
    let (mut ssh, mut openpgp) = (0, 0);
    let mut signatures = Vec::with_capacity(options.keys.len());
    for key in &options.keys {
        let ((signature, _), name) = match &**key {
            SnapshotKey::Ssh(key) => {
                ssh += 1;
                (key.sign(snapshot.as_bytes())?, ssh_signature_name(&document, ssh))
            }
            SnapshotKey::OpenPgp(key) => {
                openpgp += 1;
                (key.sign(snapshot.as_bytes())?, openpgp_signature_name(&document, openpgp))
            }
        };
        signatures.push((name, signature.into_bytes()));
    }
    Ok(signatures)
}
