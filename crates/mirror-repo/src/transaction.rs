//! Changes to a mirror that become durable together.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;
use std::vec;

use mirror_bundle::BundleMember;
use mirror_manifest::{
    Change, DeferredGroup, Held, HeldBackRelease, HeldRelease, LicenceRow, ManifestRecord, PackedLines,
    ReplacedRelease, UpstreamRemoval, rfc3339,
};
use mirror_store::{Aside, StagedCrate, StoreBatch};
use mirror_types::{CrateName, Location, Locations, ReleaseId, Sha256, StoreId};

use crate::error::RepoError;
use crate::records::{FailedAttempt, Recorder, VerifiedBytes, WantedRelease};
use crate::writer::MirrorWriter;

/// A release with verified bytes that is to be held.
#[derive(Debug)]
pub struct NewRelease {
    /// The release.
    pub release: WantedRelease,
    /// Its bytes.
    pub bytes: VerifiedBytes,
    /// The places where it is already held.
    pub held_at: Locations,
    /// True if the catalogue lists it.
    pub recorded: bool,
    /// True if other bytes are held under its name: they are set aside first.
    pub replaces: bool,
    /// Its bytes, staged in each store that is to hold it from now on.
    pub staged: Vec<StagedCrate>,
}

/// A release that was added to batches of stores; its places become known when it is durable.
#[derive(Debug)]
struct PendingRelease {
    release: WantedRelease,
    bytes: VerifiedBytes,
    status: &'static str,
    /// The other places where it will be held.
    beside: Locations,
    stores: Vec<StoreId>,
}

/// The steps of a transaction, in the order in which they were added.
#[derive(Debug)]
enum Step {
    Record(ManifestRecord),
    Change(Change),
    Hold(PendingRelease),
}

/// Changes to a mirror that become durable together, in the order in which they were added. Nothing is recorded before
/// [`MirrorWriter::commit`]. Whatever a dropped transaction has added to the stores may remain: the next process that
/// opens the mirror adopts what is whole.
#[derive(Debug)]
pub struct Transaction {
    recorder: Arc<Recorder>,
    /// The bit of the source of the run.
    source: u64,
    replaced: Vec<ReleaseId>,
    /// The batches, by store.
    batches: BTreeMap<StoreId, Box<dyn StoreBatch>>,
    removed: Vec<ReleaseId>,
    steps: Vec<Step>,
    /// The number of releases with a step in the manifest.
    releases: usize,
    index_files: Vec<PackedLines>,
    /// The remaining places of releases of which a copy was lost.
    left: HashMap<ReleaseId, Locations>,
}

/// The result of a commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Files with other bytes that were set aside.
    pub replaced: u64,
    /// Members that were added to bundles.
    pub bundled: u64,
}

impl Transaction {
    pub(crate) fn new(recorder: Arc<Recorder>, source: u64) -> Self {
        Self {
            recorder,
            source,
            replaced: Vec::new(),
            batches: BTreeMap::new(),
            removed: Vec::new(),
            steps: Vec::new(),
            releases: 0,
            index_files: Vec::new(),
            left: HashMap::new(),
        }
    }

    /// Returns the number of its releases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.releases
    }

    /// Returns whether a commit would do nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.index_files.is_empty() && self.removed.is_empty()
    }

    fn record(&mut self, record: ManifestRecord) {
        self.releases += 1;
        self.steps.push(Step::Record(record));
    }

    /// Adds a change without a record.
    pub(crate) fn change(&mut self, change: Change) {
        self.steps.push(Step::Change(change));
    }

    /// Holds a release. Adds the staged bytes to the stores at once, which may process them meanwhile; blocks while
    /// their queues are full.
    ///
    /// # Errors
    /// When a store fails, or does not belong to `mirror`: the run must end.
    pub fn hold(&mut self, mirror: &mut MirrorWriter, new: NewRelease) -> Result<(), RepoError> {
        let NewRelease { release, bytes, held_at, recorded, replaces, staged } = new;
        if replaces {
            self.change(Change::CursorOutdated);
            self.replaced.push(release.id.clone());
        }
        let status = if held_at.is_empty() { "downloaded" } else { "verified_existing" };
        let recorded = recorded && staged.is_empty();
        let becomes_file = staged.iter().any(|staged| staged.store() == StoreId::LOOSE);
        if (becomes_file || held_at.is_loose())
            && !recorded
            && let Some(dir) = mirror.first_write(&release.path)
        {
            self.change(Change::DirWritten(dir));
        }
        if staged.is_empty() {
            self.record(self.recorder.held(&release, &bytes, &held_at, status));
            if !recorded {
                let changes = self.held_changes(release.id, &bytes, held_at);
                self.steps.extend(changes.map(Step::Change));
            }
            return Ok(());
        }
        let mut stores = Vec::with_capacity(staged.len());
        for staged in staged {
            stores.push(staged.store());
            self.batch(mirror, staged.store())?.add(staged)?;
        }
        self.releases += 1;
        self.steps.push(Step::Hold(PendingRelease { release, bytes, status, beside: held_at, stores }));
        Ok(())
    }

    fn held_changes(&self, id: ReleaseId, bytes: &VerifiedBytes, locations: Locations) -> [Change; 2] {
        let release = HeldRelease { id: id.clone(), sha256: bytes.sha256, size: bytes.size, locations };
        [Change::Resolved(id), Change::Held { release, source: self.source }]
    }

    fn batch(
        &mut self,
        mirror: &MirrorWriter,
        store: StoreId,
    ) -> Result<&mut Box<dyn StoreBatch>, RepoError> {
        Ok(match self.batches.entry(store) {
            Entry::Occupied(batch) => batch.into_mut(),
            Entry::Vacant(free) => free.insert(Arc::clone(mirror.stores().get(store)?).begin()?),
        })
    }

    /// Records that a release is held, and where. Changes nothing.
    pub fn audit(&mut self, release: &WantedRelease, (sha256, size): (Sha256, u64), locations: &Locations) {
        self.record(self.recorder.existing(release, (sha256, size), locations));
    }

    /// Notes that a release could not be fetched.
    pub fn fail(&mut self, release: WantedRelease, failure: FailedAttempt) {
        self.record(self.recorder.failed(&release, &failure));
        let name = release.id.name.clone();
        self.change(Change::Failed(failure.ledger_row(name, Some(release))));
    }

    /// Notes that nothing could be learned about a crate.
    pub fn fail_crate(&mut self, name: CrateName, failure: FailedAttempt) {
        self.record(self.recorder.crate_failed(&name, &failure));
        self.change(Change::Failed(failure.ledger_row(name, None)));
    }

    /// Notes that a store has lost a release, or has wrong bytes of it. Records nothing in the manifest of a release
    /// that the store did not hold.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn lost(&mut self, mirror: &MirrorWriter, id: ReleaseId, store: StoreId) -> Result<(), RepoError> {
        self.record_loss(mirror, &id, store)?;
        self.change(Change::Lost { id, store });
        Ok(())
    }

    /// Records only in the manifest that a store has lost a release.
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
            StoreId::LOOSE => "its file was gone or wrong",
            _ => "its store had lost it, or had wrong bytes of it",
        };
        self.record_pruned(id, why, &held, mirror.catalogue().is_deleted(id)?);
        Ok(())
    }

    fn record_pruned(&mut self, id: &ReleaseId, why: &str, left: &Held, is_deleted: bool) {
        let pruned = self.recorder.pruned(id, Some(why));
        let still = (!left.locations.is_empty()).then(|| self.recorder.still_held(id, left, &pruned));
        self.record(pruned);
        if let Some(still) = still {
            self.record(still);
            if is_deleted {
                self.record(self.recorder.removed_upstream(id));
            }
        }
    }

    /// Removes a release on purpose; bundles keep their bytes.
    pub fn remove(&mut self, id: ReleaseId) {
        self.record(self.recorder.pruned(&id, None));
        self.change(Change::Removed(id.clone()));
        self.removed.push(id);
    }

    /// Adopts a member that a bundle's own manifest lists.
    pub(crate) fn found_member(&mut self, member: &BundleMember) {
        self.record(self.recorder.found_member(member));
        let held = || {
            let name = member.crate_name.parse().ok()?;
            let version = member.version.as_deref()?.parse().ok()?;
            let id = ReleaseId { name, version };
            let locations = member.location()?.into();
            Some(HeldRelease { id, sha256: member.sha256, size: member.size, locations })
        };
        held().into_iter().for_each(|release| self.change(Change::Held { release, source: 0 }));
    }

    /// Adopts a file that is in its place and was hashed between the two times.
    pub(crate) fn found_file(
        &mut self,
        id: ReleaseId,
        (sha256, size): (Sha256, u64),
        hashed: (SystemTime, SystemTime),
    ) {
        let path = self.recorder.layout.path(&id);
        self.record(self.recorder.found_file(&id, &path, (sha256, size), hashed));
        if let Some((dir, _)) = path.rsplit_once('/') {
            self.change(Change::DirWritten(dir.to_owned()));
        }
        let release = HeldRelease { id, sha256, size, locations: Location::LOOSE.into() };
        self.change(Change::Held { release, source: 0 });
    }

    /// Takes a held release out of the failure ledger, even when only one of two places has it. The cursor is removed:
    /// a run that wants both places has to look at the release again.
    pub fn resolved(&mut self, id: ReleaseId) {
        self.change(Change::CursorOutdated);
        self.change(Change::Resolved(id));
    }

    /// Takes a release out of the failure ledger that is not wanted any more.
    pub fn dropped(&mut self, id: ReleaseId) {
        self.change(Change::Dropped(id));
    }

    /// Notes that policy holds a wanted release back. The manifest gets no record: nothing was done.
    pub fn defer(&mut self, release: HeldBackRelease) {
        self.change(Change::Deferred(release));
    }

    /// Notes which releases of a crate policy keeps from being fetched whatever the time is, in place of those that are
    /// noted.
    pub fn defer_groups(&mut self, name: CrateName, groups: Vec<DeferredGroup>) {
        self.change(Change::DeferredGroups { name, groups });
    }

    /// Takes a release out of the list of deferred ones.
    pub fn undefer(&mut self, id: ReleaseId) {
        self.change(Change::Undeferred(id));
    }

    /// Notes that policy does not offer a held release from now on. The manifest gets no record: policy changes nothing
    /// that is held.
    pub fn hold_back(&mut self, release: HeldBackRelease) {
        self.change(Change::HeldBack(release));
    }

    /// Makes the next run look at the whole index.
    pub fn cursor_outdated(&mut self) {
        self.change(Change::CursorOutdated);
    }

    /// Notes that bytes of a release replace others, so that their age counts from that moment.
    pub fn replaced(&mut self, release: ReplacedRelease) {
        self.change(Change::Replaced(release));
    }

    /// Notes that policy offers a held release again.
    pub fn offer(&mut self, id: ReleaseId) {
        self.change(Change::Offered(id));
    }

    /// Notes the licence of a held release. The manifest gets no record: it can be read again.
    pub fn licence(&mut self, row: LicenceRow) {
        self.change(Change::Licence(row));
    }

    /// Notes that everything that is held was judged by the policy that `identity` identifies.
    pub fn policy_applied(&mut self, identity: String) {
        self.change(Change::PolicyApplied(identity));
    }

    /// Notes of which moment the newest commit of the advisory database is; `None` without a git clone.
    pub fn advisories_of(&mut self, moment: Option<SystemTime>) {
        self.change(Change::AdvisoriesOf(moment));
    }

    /// Takes a whole crate out of the failure ledger: its index file could be read.
    pub fn crate_read(&mut self, name: CrateName) {
        self.change(Change::CrateResolved(name));
    }

    /// Notes that upstream removed a release.
    pub fn removed_upstream(&mut self, id: ReleaseId, kind: UpstreamRemoval) {
        self.change(Change::RemovedUpstream { id, kind, seen: rfc3339(SystemTime::now()) });
    }

    /// Hides a held release that upstream deleted.
    pub fn deleted_upstream(&mut self, id: ReleaseId) {
        self.record(self.recorder.removed_upstream(&id));
        self.removed_upstream(id, UpstreamRemoval::Deleted);
    }

    /// Offers a held release again that upstream had deleted.
    pub fn reinstated(&mut self, id: ReleaseId) {
        self.record(self.recorder.reinstated(&id));
        self.unyanked(id);
    }

    /// Notes that a release is not yanked any more.
    pub fn unyanked(&mut self, id: ReleaseId) {
        self.change(Change::Reinstated(id));
    }

    /// Notes that the source of the run lists a held release.
    pub fn seen(&mut self, id: ReleaseId) {
        self.change(Change::Seen { id, source: self.source });
    }

    /// Stores the lines of an index file in the index cache.
    pub fn index_file(&mut self, lines: PackedLines) {
        self.index_files.push(lines);
    }

    /// Makes the batches of the stores durable.
    fn commit_batches(&mut self) -> Result<Placed, RepoError> {
        let mut placed = Placed::default();
        for (store, batch) in std::mem::take(&mut self.batches) {
            placed.0.insert(store, batch.commit()?.into_iter());
        }
        Ok(placed)
    }

    /// Returns the records and the changes, each in the order in which they were added.
    fn written_down(&mut self, mut placed: Placed) -> Result<(Vec<ManifestRecord>, Vec<Change>), RepoError> {
        let (mut records, mut changes) = (Vec::with_capacity(self.releases), Vec::new());
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::Record(record) => records.push(record),
                Step::Change(change) => changes.push(change),
                Step::Hold(PendingRelease { release, bytes, status, beside, stores }) => {
                    let mut locations = beside;
                    for store in stores {
                        locations.add(placed.next(store, &release.id)?);
                    }
                    records.push(self.recorder.held(&release, &bytes, &locations, status));
                    changes.extend(self.held_changes(release.id, &bytes, locations));
                }
            }
        }
        placed.check()?;
        Ok((records, changes))
    }
}

/// The places that the stores returned for the releases in their batches.
#[derive(Default)]
struct Placed(BTreeMap<StoreId, vec::IntoIter<Location>>);

impl Placed {
    fn count(&self, store: StoreId) -> u64 {
        self.0.get(&store).map_or(0, |placed| placed.len() as u64)
    }

    fn next(&mut self, store: StoreId, id: &ReleaseId) -> Result<Location, RepoError> {
        let placed = self.0.get_mut(&store).and_then(Iterator::next).filter(|at| at.store() == store);
        placed.ok_or_else(|| {
            RepoError::Internal(format!("the store {} did not say where it put {id}", store.0))
        })
    }

    /// Refuses more places than there were releases.
    fn check(self) -> Result<(), RepoError> {
        match self.0.into_iter().find(|(_, placed)| placed.len() > 0) {
            Some((store, _)) => {
                Err(RepoError::Internal(format!("the store {} put more than was added to it", store.0)))
            }
            None => Ok(()),
        }
    }
}

impl MirrorWriter {
    /// Begins a transaction.
    #[must_use]
    pub fn begin(&self) -> Transaction {
        Transaction::new(Arc::clone(self.recorder()), self.source())
    }

    /// Makes a transaction durable: bytes first, then the records that name them, then the catalogue. After a crash in
    /// between, the next process that opens the mirror finds and repairs the difference. Blocks.
    ///
    /// # Errors
    /// When the disk or SQLite fails: the writer must be dropped.
    pub fn commit(&mut self, mut tx: Transaction) -> Result<Committed, RepoError> {
        let mut done = Committed::default();
        // A crash in between leaves the name free: the next run notices that and fetches the release again.
        for id in std::mem::take(&mut tx.replaced) {
            self.set_aside(&id, Aside::Replaced)?;
            done.replaced += 1;
        }
        let placed = tx.commit_batches()?;
        done.bundled = placed.count(StoreId::BUNDLES);
        self.remove_bytes(std::mem::take(&mut tx.removed))?;
        let (records, mut changes) = tx.written_down(placed)?;
        if !records.is_empty() {
            let len = self.append(&records)?;
            changes.push(Change::ManifestLen(len));
        }
        if !tx.index_files.is_empty() {
            let state = self.index_cache()?.append(&tx.index_files)?;
            changes.push(Change::IndexCache(state));
        }
        if !changes.is_empty() {
            self.catalogue_mut().apply(&changes)?;
        }
        Ok(done)
    }

    /// Returns where a release is held, including its place in the loose tree, whether it is known to be there or not.
    fn places(&self, id: &ReleaseId) -> Result<Locations, RepoError> {
        let mut places = self.catalogue().held_release(id)?.map(|held| held.locations).unwrap_or_default();
        places.add(Location::LOOSE);
        Ok(places)
    }

    fn set_aside(&self, id: &ReleaseId, why: Aside) -> Result<(), RepoError> {
        for at in self.places(id)?.iter() {
            self.stores().get(at.store())?.set_aside(id, at, why, self.run_id())?;
        }
        Ok(())
    }

    fn remove_bytes(&self, removed: Vec<ReleaseId>) -> Result<(), RepoError> {
        let mut by_store: BTreeMap<StoreId, Vec<(ReleaseId, Location)>> = BTreeMap::new();
        for id in removed {
            for at in self.places(&id)?.iter() {
                by_store.entry(at.store()).or_default().push((id.clone(), at.clone()));
            }
        }
        for (store, held) in by_store {
            self.stores().get(store)?.remove(&held)?;
        }
        Ok(())
    }
}
