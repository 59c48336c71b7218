//! Snapshots of what a mirror offers: taken at the end of a run that went through its whole selection; listed, compared
//! and checked.

mod tell;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mirror_git::IndexSource;
use mirror_manifest::SnapshotRow;
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

/// The longest time from a snapshot to its expiry: 100 years.
const MAX_VALID: Duration = Duration::from_secs(36_500 * 24 * 60 * 60);
/// The difference between clocks that a checker of snapshots allows.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings of the snapshots of a mirror.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SnapshotOptions {
    /// The time from a snapshot to its expiry. When nothing changes, the next one is taken half way to it. More than
    /// 100 years count as 100 years.
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
    /// The index, when the run went through all of it.
    pub(crate) index: Option<IndexState>,
    /// The digest of the policy; `None` when there is none.
    pub(crate) policy: Option<mirror_types::Sha256>,
}

/// Returns the state of a local index; none of a plain directory.
pub(crate) fn index_state(source: &IndexSource) -> IndexState {
    let id = |id: Option<String>| id.and_then(|id| id.parse().ok());
    IndexState { commit: id(source.commit_id()), tree: id(source.tree_id()) }
}

/// Takes a snapshot, unless the newest one says the same and is not half way to its expiry; then adds the signatures that
/// the newest lacks. Returns the serial of the newest snapshot; `None` when none can be taken. Blocks; a key may wait for
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
    let valid_for = options.valid_for.min(MAX_VALID);
    let mut contents = Contents::new(mirror.id(), now, now + valid_for, units.digests());
    contents.counts = units.counts();
    let states_index = state.index.is_some();
    contents.index = state.index.unwrap_or_default();
    contents.policy = state.policy;
    contents.gaps = gaps(mirror)?;
    let chain = Chain::of(mirror, observer)?;
    if let Some(newest) = &chain.newest
        && chain.may_renew(newest)
        && says_the_same(newest.contents(), &contents, states_index)
        && is_fresh(newest.contents(), valid_for, now)
    {
        return renew(mirror, newest, &units, options).map(Some);
    }
    chain.continue_with(&mut contents, now);
    contents.expires = contents.created + valid_for;
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

/// What a new snapshot follows.
struct Chain {
    /// The newest document of this mirror that can be read.
    newest: Option<Snapshot>,
    /// The newest snapshot that the catalogue knows.
    recorded: Option<SnapshotRow>,
    /// The highest serial that this mirror used, as far as anything tells.
    last: u64,
    /// The highest serial of any document in the directory, of which some may be those of another mirror.
    occupied: u64,
}

impl Chain {
    /// Reports documents that cannot be read, and passes those of other mirrors over.
    fn of(mirror: &MirrorWriter, observer: &dyn SyncObserver) -> Result<Self, SyncError> {
        let recorded = mirror.catalogue().snapshots()?.last().copied();
        let dir = mirror.snapshot_dir();
        let files = dir.list()?;
        let occupied = files.last().map_or(0, |file| file.serial);
        let mut chain = Self { newest: None, recorded, last: mirror.catalogue().last_serial()?, occupied };
        for file in files.iter().rev() {
            match dir.read(file.serial) {
                Ok(Some(snapshot)) if snapshot.mirror() == mirror.id() => {
                    chain.last = chain.last.max(snapshot.serial());
                    chain.newest = Some(snapshot);
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    chain.last = chain.last.max(file.serial);
                    observer.event(SyncEvent::BadSnapshot(&error));
                }
            }
        }
        Ok(chain)
    }

    /// Returns whether the newest document is the newest snapshot: the catalogue knows it as that, or does not know it
    /// yet, because a run was killed or the catalogue is new.
    fn may_renew(&self, newest: &Snapshot) -> bool {
        newest.serial() == self.last
            && self.recorded.is_none_or(|recorded| {
                recorded.serial < newest.serial()
                    || (recorded.serial, recorded.sha256) == (newest.serial(), newest.digest())
            })
    }

    /// Makes contents follow the newest snapshot: a serial that no document ever had, and the digest of the one before.
    fn continue_with(&self, contents: &mut Contents, now: SystemTime) {
        contents.serial = 1 + self.last.max(self.occupied);
        contents.previous = match (&self.newest, self.recorded) {
            (Some(newest), Some(recorded)) if recorded.serial > newest.serial() => Some(recorded.sha256),
            (Some(newest), _) => Some(newest.digest()),
            (None, recorded) => recorded.map(|recorded| recorded.sha256),
        };
        // A clock that was put back must not make a snapshot that is refused as older than the one before. One that was
        // far ahead made a snapshot that everybody refuses, and that nobody holds.
        if let Some(newest) = &self.newest
            && newest.contents().created <= now + CLOCK_TOLERANCE
        {
            contents.created = contents.created.max(newest.contents().created);
        }
    }
}

/// Returns whether a snapshot says the same as contents of now. `states_index`: the run went through the whole index.
fn says_the_same(old: &Contents, new: &Contents, states_index: bool) -> bool {
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
    (&old.units, old.counts, old.policy) == (&new.units, new.counts, new.policy)
        && (!states_index || old.index == new.index)
        && gaps(old) == gaps(new)
}

/// Returns whether a snapshot is not half way to its expiry yet, nor to that of one that is taken now.
fn is_fresh(contents: &Contents, valid_for: Duration, now: SystemTime) -> bool {
    let valid = contents.expires.duration_since(contents.created).unwrap_or_default().min(valid_for);
    now < contents.created + valid / 2 && contents.created <= now + CLOCK_TOLERANCE
}

/// Makes the catalogue know the newest snapshot, which says what is offered now, and adds the signatures that it lacks.
fn renew(
    mirror: &mut MirrorWriter,
    newest: &Snapshot,
    units: &OfferedUnits,
    options: &SnapshotOptions,
) -> Result<u64, SyncError> {
    let serial = newest.serial();
    if mirror.catalogue().snapshots()?.last().is_none_or(|recorded| recorded.serial < serial) {
        mirror.adopt_snapshot(newest, units)?;
    }
    let dir = mirror.snapshot_dir();
    if dir.signatures(serial)? < options.keys.len() {
        dir.add_signatures(&sign(options, newest)?)?;
    }
    mirror.retain_snapshots(options.keep)?;
    Ok(serial)
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
