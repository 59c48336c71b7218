//! Changes of a mirror that become durable together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use mirror_manifest::{Change, Held, HeldRelease, ManifestRecord, PackedLines, Withdrawal, rfc3339};
use mirror_store::Staged;
use mirror_store::bundle::{BundleMember, MemberBody, NewMember};
use mirror_types::{CrateName, Location, Locations, ReleaseId, Sha256, StoreId};

use crate::error::RepoError;
use crate::records::{FailedAttempt, Recorder, VerifiedBytes, WantedRelease};
use crate::writer::MirrorWriter;

/// Where replaced files are kept, below `.mirror`.
const REPLACED: &str = "replaced";

/// A release whose bytes are right, on its way to be held.
#[derive(Debug)]
pub struct NewRelease {
    /// The release.
    pub release: WantedRelease,
    /// Its bytes.
    pub bytes: VerifiedBytes,
    /// Where it is held already.
    pub held_at: Locations,
    /// Whether the catalogue says so.
    pub recorded: bool,
    /// Whether other bytes are held under its name: they are set aside first.
    pub replaces: bool,
    /// To become its file.
    pub staged: Option<Staged>,
    /// To become a member of a bundle.
    pub member: Option<MemberBody>,
}

/// A member that was handed to the bundles; where it is becomes known when it is durable.
#[derive(Debug)]
struct PendingMember {
    release: WantedRelease,
    bytes: VerifiedBytes,
    status: &'static str,
    /// Where else it is held then.
    beside: Locations,
}

/// Changes of a mirror that become durable together, in the order in which they are given. Nothing is done before
/// [`MirrorWriter::commit`]. One that is dropped after bytes were handed to the bundles leaves a writer that must be
/// dropped, too: whoever opens the mirror next takes in what is whole.
#[derive(Debug)]
pub struct Transaction {
    recorder: Arc<Recorder>,
    /// The bit of the source of the run.
    source: u64,
    replaced: Vec<String>,
    staged: Vec<Staged>,
    members: Vec<PendingMember>,
    removed_files: Vec<String>,
    records: Vec<ManifestRecord>,
    changes: Vec<Change>,
    index_files: Vec<PackedLines>,
    /// Of releases of which something was lost: where they are held still.
    left: HashMap<ReleaseId, Locations>,
}

/// What a commit did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Files with other bytes that were set aside.
    pub replaced: u64,
    /// Members that were put into bundles.
    pub bundled: u64,
}

impl Transaction {
    pub(crate) fn new(recorder: Arc<Recorder>, source: u64) -> Self {
        Self {
            recorder,
            source,
            replaced: Vec::new(),
            staged: Vec::new(),
            members: Vec::new(),
            removed_files: Vec::new(),
            records: Vec::new(),
            changes: Vec::new(),
            index_files: Vec::new(),
            left: HashMap::new(),
        }
    }

    /// Returns how many releases it speaks of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len() + self.members.len()
    }

    /// Returns whether a commit would do nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
            && self.changes.is_empty()
            && self.index_files.is_empty()
            && self.staged.is_empty()
            && self.removed_files.is_empty()
    }

    /// Holds a release. A member goes to the bundles of `mirror` at once, which pack it meanwhile; blocks while their
    /// queue is full.
    ///
    /// # Errors
    /// When the mirror has no bundles to write to, or they fail: the run must end.
    pub fn hold(&mut self, mirror: &mut MirrorWriter, new: NewRelease) -> Result<(), RepoError> {
        let NewRelease { release, bytes, mut held_at, recorded, replaces, staged, member } = new;
        if replaces {
            self.changes.push(Change::CursorOutdated);
            self.replaced.push(release.path.clone());
        }
        let status = if held_at.is_empty() { "downloaded" } else { "verified_existing" };
        let recorded = recorded && staged.is_none() && member.is_none();
        if staged.is_some() {
            held_at.add(Location::LOOSE);
        }
        self.staged.extend(staged);
        if held_at.is_loose() && !recorded {
            self.changes.extend(mirror.first_write(&release.path).map(Change::DirWritten));
        }
        let Some(body) = member else {
            self.held(release, &bytes, status, held_at, recorded);
            return Ok(());
        };
        mirror.bundles()?.append(NewMember {
            id: release.id.clone(),
            path: release.path.clone(),
            url: release.url.clone(),
            sha256: bytes.sha256,
            body,
        })?;
        self.members.push(PendingMember { release, bytes, status, beside: held_at });
        Ok(())
    }

    fn held(
        &mut self,
        release: WantedRelease,
        bytes: &VerifiedBytes,
        status: &str,
        locations: Locations,
        recorded: bool,
    ) {
        self.records.push(self.recorder.held(&release, bytes, &locations, status));
        if recorded {
            return;
        }
        self.changes.push(Change::Resolved(release.id.clone()));
        let release = HeldRelease { id: release.id, sha256: bytes.sha256, size: bytes.size, locations };
        self.changes.push(Change::Held { release, source: self.source });
    }

    /// Notes that a release could not be had.
    pub fn fail(&mut self, release: WantedRelease, failure: FailedAttempt) {
        self.records.push(self.recorder.failed(&release, &failure));
        let name = release.id.name.clone();
        self.changes.push(Change::Failed(failure.ledger_row(name, Some(release))));
    }

    /// Notes that nothing could be learned of a crate.
    pub fn fail_crate(&mut self, name: CrateName, failure: FailedAttempt) {
        self.records.push(self.recorder.crate_failed(&name, &failure));
        self.changes.push(Change::Failed(failure.ledger_row(name, None)));
    }

    /// Notes that a store has lost a release, or has wrong bytes of it. Says nothing in the manifest of what was not
    /// held there.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn lost(&mut self, mirror: &MirrorWriter, id: ReleaseId, store: StoreId) -> Result<(), RepoError> {
        self.record_loss(mirror, &id, store)?;
        self.changes.push(Change::Lost { id, store });
        Ok(())
    }

    /// Writes into the manifest alone that a store has lost a release.
    pub(crate) fn record_loss(
        &mut self,
        mirror: &MirrorWriter,
        id: &ReleaseId,
        store: StoreId,
    ) -> Result<(), RepoError> {
        let Some(mut held) = mirror.catalogue().held_release(id)? else { return Ok(()) };
        if let Some(left) = self.left.get(id) {
            held.locations = left.clone();
        }
        if held.locations.remove(store).is_none() {
            return Ok(());
        }
        self.left.insert(id.clone(), held.locations.clone());
        let why = match store {
            StoreId::BUNDLES => "its bundle was gone, or it was damaged in it",
            _ => "its file was gone or wrong",
        };
        self.tell_loss(id, why, &held, mirror.catalogue().is_deleted(id)?);
        Ok(())
    }

    fn tell_loss(&mut self, id: &ReleaseId, why: &str, left: &Held, is_deleted: bool) {
        let pruned = self.recorder.pruned(id, Some(why));
        let still = (!left.locations.is_empty()).then(|| self.recorder.still_held(id, left, &pruned));
        self.records.push(pruned);
        if let Some(still) = still {
            self.records.push(still);
            if is_deleted {
                self.records.push(self.recorder.removed_upstream(id));
            }
        }
    }

    /// Removes the file of a release, on purpose.
    pub fn remove(&mut self, id: ReleaseId) {
        self.removed_files.push(self.recorder.layout.path(&id));
        self.records.push(self.recorder.pruned(&id, None));
        self.changes.push(Change::Removed(id));
    }

    /// Takes in a member that a bundle's own manifest lists.
    pub(crate) fn found_member(&mut self, member: &BundleMember) {
        self.records.push(self.recorder.found_member(member));
        let held = || {
            let name = member.crate_name.parse().ok()?;
            let version = member.version.as_deref()?.parse().ok()?;
            let id = ReleaseId { name, version };
            let locations = member.location()?.into();
            Some(HeldRelease { id, sha256: member.sha256, size: member.size, locations })
        };
        self.changes.extend(held().map(|release| Change::Held { release, source: 0 }));
    }

    /// Takes in a file that lies in its place and was hashed between the two times.
    pub(crate) fn found_file(
        &mut self,
        id: ReleaseId,
        (sha256, size): (Sha256, u64),
        hashed: (SystemTime, SystemTime),
    ) {
        let path = self.recorder.layout.path(&id);
        self.records.push(self.recorder.found_file(&id, &path, (sha256, size), hashed));
        self.changes.extend(path.rsplit_once('/').map(|(dir, _)| Change::DirWritten(dir.to_owned())));
        let release = HeldRelease { id, sha256, size, locations: Location::LOOSE.into() };
        self.changes.push(Change::Held { release, source: 0 });
    }

    /// Takes a release out of the failure ledger that is held, be it in one of two places. The next run looks at the
    /// whole index: whoever wants both places has to look at it again.
    pub fn resolved(&mut self, id: ReleaseId) {
        self.changes.extend([Change::CursorOutdated, Change::Resolved(id)]);
    }

    /// Takes a release out of the failure ledger that is not wanted any more.
    pub fn dropped(&mut self, id: ReleaseId) {
        self.changes.push(Change::Dropped(id));
    }

    /// Takes a whole crate out of the failure ledger: its index file could be read.
    pub fn crate_read(&mut self, name: CrateName) {
        self.changes.push(Change::CrateResolved(name));
    }

    /// Notes that upstream withdrew a release.
    pub fn withdrawn(&mut self, id: ReleaseId, kind: Withdrawal) {
        self.changes.push(Change::Withdrawn { id, kind, seen: rfc3339(SystemTime::now()) });
    }

    /// Hides a held release that upstream deleted.
    pub fn removed_upstream(&mut self, id: ReleaseId) {
        self.records.push(self.recorder.removed_upstream(&id));
        self.withdrawn(id, Withdrawal::Deleted);
    }

    /// Offers a held release again that upstream had deleted.
    pub fn reinstated(&mut self, id: ReleaseId) {
        self.records.push(self.recorder.reinstated(&id));
        self.unyanked(id);
    }

    /// Notes that a release is not yanked any more.
    pub fn unyanked(&mut self, id: ReleaseId) {
        self.changes.push(Change::Reinstated(id));
    }

    /// Notes that the source of the run lists a held release.
    pub fn seen(&mut self, id: ReleaseId) {
        self.changes.push(Change::Seen { id, source: self.source });
    }

    /// Keeps the lines of an index file.
    pub fn index_file(&mut self, lines: PackedLines) {
        self.index_files.push(lines);
    }

    /// Adds a change that no record speaks of.
    pub(crate) fn change(&mut self, change: Change) {
        self.changes.push(change);
    }
}

impl MirrorWriter {
    /// Begins a transaction.
    #[must_use]
    pub fn begin(&self) -> Transaction {
        Transaction::new(Arc::clone(self.recorder()), self.source())
    }

    /// Makes a transaction durable: bytes first, then the records that speak of them, then the catalogue. What a crash
    /// leaves in between is noticed by whoever opens the mirror next. Blocks.
    ///
    /// # Errors
    /// When the disk or SQLite fails: the writer must be dropped.
    pub fn commit(&mut self, mut tx: Transaction) -> Result<Committed, RepoError> {
        let mut done = Committed::default();
        // A crash in between leaves the name free: the next run notices and fetches again.
        for path in std::mem::take(&mut tx.replaced) {
            self.store().set_aside(&path, REPLACED, &tx.recorder.run_id)?;
            done.replaced += 1;
        }
        if !tx.staged.is_empty() {
            self.store().commit(std::mem::take(&mut tx.staged))?;
        }
        done.bundled = self.commit_members(&mut tx)?;
        if !tx.removed_files.is_empty() {
            self.store().remove(std::mem::take(&mut tx.removed_files))?;
        }
        if !tx.records.is_empty() {
            let len = self.append(&tx.records)?;
            tx.changes.push(Change::ManifestLen(len));
        }
        if !tx.index_files.is_empty() {
            let rows = self.index_cache()?.append(&tx.index_files)?;
            tx.changes.extend(rows.into_iter().map(Change::IndexFile));
        }
        if !tx.changes.is_empty() {
            self.catalogue_mut().apply(&tx.changes)?;
        }
        Ok(done)
    }

    fn commit_members(&mut self, tx: &mut Transaction) -> Result<u64, RepoError> {
        let members = std::mem::take(&mut tx.members);
        if members.is_empty() {
            return Ok(0);
        }
        let placed = self.bundles()?.commit()?;
        if placed.len() != members.len() {
            let what =
                format!("{} members were handed to the bundles, {} came back", members.len(), placed.len());
            return Err(RepoError::Internal(what));
        }
        let count = members.len() as u64;
        for (PendingMember { release, bytes, status, beside }, member) in members.into_iter().zip(placed) {
            let Some(at) = member.location().filter(|_| member.bundle_member == release.path) else {
                return Err(RepoError::Internal(format!("{} came back as another member", release.path)));
            };
            let mut locations = beside;
            locations.add(at.into());
            tx.held(release, &bytes, status, locations, false);
        }
        Ok(count)
    }
}
