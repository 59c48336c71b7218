//! The bundles of a mirror: checks that the bundles in use are present, and records members that the catalogue lacks.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use mirror_bundle::{
    BundleFiles, BundleMember, BundleOptions, BundleReport, first_member, list_bundles, read_manifest,
};
use mirror_manifest::{BundlesIdentity, Catalogue, Change};
use mirror_store::BundleStore;
use mirror_types::{BundleNumber, FaultKind, ReleaseId, StoreId};

use crate::error::RepoError;
use crate::open::{OpenOptions, OpenReport};
use crate::writer::MirrorWriter;

/// Releases that one transaction records.
const CHUNK_RELEASES: usize = 5_000;
/// Most bundles that an error names.
const MAX_NAMED_BUNDLES: usize = 5;

fn listed(dir: &Path) -> Result<Vec<BundleFiles>, RepoError> {
    if dir.is_dir() { Ok(list_bundles(dir)?) } else { Ok(Vec::new()) }
}

impl MirrorWriter {
    /// Returns whether the directory of the bundles has one.
    pub(crate) fn has_bundles(&self) -> Result<bool, RepoError> {
        Ok(listed(self.bundles_dir())?.iter().any(|files| files.number.is_some()))
    }

    /// Checks every bundled row of a catalogue that was built from the manifest alone against the manifests of the
    /// bundles: a record may name a bundle that is gone and whose number was used again. Drops rows that do not match,
    /// and returns their number. With `strict`, a bundle without any matching row is an error.
    pub(crate) fn check_members(&mut self, strict: bool) -> Result<u64, RepoError> {
        let known = self.catalogue().bundles()?;
        if known.is_empty() || self.catalogue().bundles_identity()?.is_some() {
            return Ok(0);
        }
        let files = listed(self.bundles_dir())?;
        let mut wrong = Vec::new();
        for (number, _) in &known {
            let of = files.iter().find(|files| files.number == Some(*number));
            let Some(manifest) = of.and_then(|files| files.manifest.as_ref()) else { continue };
            let before = wrong.len();
            let right = self.check_bundle(*number, manifest, &mut wrong)?;
            if strict && right == 0 && wrong.len() > before {
                return Err(RepoError::OtherBundles { dir: self.bundles_dir().to_owned() });
            }
        }
        let count = wrong.len() as u64;
        for chunk in wrong.chunks(CHUNK_RELEASES) {
            let mut tx = self.begin();
            for id in chunk {
                tx.lost(self, id.clone(), StoreId::BUNDLES)?;
            }
            self.commit(tx)?;
        }
        let mut tx = self.begin();
        tx.change(Change::CursorOutdated);
        tx.change(Change::BundlesMeasured);
        self.commit(tx)?;
        self.remember_identity(&files)?;
        Ok(count)
    }

    /// Appends the rows of one bundle that do not match its manifest to `wrong`; returns the number of those that do.
    fn check_bundle(
        &self,
        number: u32,
        manifest: &Path,
        wrong: &mut Vec<ReleaseId>,
    ) -> Result<u64, RepoError> {
        let mut lines = HashMap::new();
        read_manifest(manifest, &mut |line| {
            lines.extend(line.location().map(|at| (at.offset, (at.len, line.sha256))));
            Ok(())
        })?;
        let mut right = 0;
        self.catalogue().members_of(number, &mut |id, sha256, at| {
            if lines.get(&at.offset) == Some(&(at.len, sha256)) {
                right += 1;
            } else {
                wrong.push(id);
            }
        })?;
        Ok(right)
    }

    /// Forgets missing bundles, and the releases that only they held; returns their names.
    pub(crate) fn forget_missing_bundles(&mut self) -> Result<Vec<String>, RepoError> {
        let missing = missing(&self.catalogue().bundles()?, &listed(self.bundles_dir())?);
        for number in &missing {
            let mut lost = Vec::new();
            self.catalogue().members_of(*number, &mut |id, _, _| lost.push(id))?;
            for chunk in lost.chunks(CHUNK_RELEASES) {
                let mut tx = self.begin();
                for id in chunk {
                    tx.record_loss(self, id, StoreId::BUNDLES)?;
                }
                self.commit(tx)?;
            }
            let mut tx = self.begin();
            tx.change(Change::BundleGone(*number));
            self.commit(tx)?;
        }
        Ok(missing.into_iter().map(file_name).collect())
    }

    /// Opens the bundles for writing, repairs what an interrupted run left, and adopts members that the catalogue
    /// lacks.
    pub(crate) fn open_bundles(
        &mut self,
        options: &OpenOptions,
        report: &mut OpenReport,
    ) -> Result<(), RepoError> {
        let (bundles, found) = self.repair_bundles(options)?;
        report.relisted_members = found.relisted.len();
        report.cut_bundle_bytes = found.cut_bytes;
        report.completed_bundles = found.repaired;
        self.set_bundles(bundles);
        let taken_in = self.take_in_bundles()?;
        report.members_without_place = taken_in.without_place;
        self.remember_bundles()
    }

    /// Opens the bundles for writing, and repairs what an interrupted run left.
    pub(crate) fn repair_bundles(
        &self,
        options: &OpenOptions,
    ) -> Result<(BundleStore, BundleReport), RepoError> {
        let mut how = BundleOptions::default();
        how.mirror = Some(self.id());
        if let Some(bytes) = options.bundle_bytes {
            how.bundle_bytes = bytes.max(1);
        }
        let layout = self.store().layout();
        let opened = match &options.fs {
            Some(fs) => BundleStore::open_on(Arc::clone(fs), self.bundles_dir(), layout, how),
            None => BundleStore::open(self.bundles_dir(), layout, how),
        };
        opened.map_err(|source| match source.kind() {
            FaultKind::Integrity => {
                RepoError::BundleDamaged { dir: self.bundles_dir().to_owned(), source: Box::new(source) }
            }
            _ => source.into(),
        })
    }

    /// Adopts members that the manifests of the bundles list and the catalogue lacks: a run may have ended between the
    /// two, or the catalogue was lost. Reads only manifests that were appended to.
    ///
    /// An adopted member may be older than a held release, or than a failure: neither the cursor nor the failure ledger
    /// may make a run pass over it.
    pub(crate) fn take_in_bundles(&mut self) -> Result<TakenIn, RepoError> {
        let known: HashMap<u32, u64> = self.catalogue().bundles()?.into_iter().collect();
        let taken = self.catalogue().bundle_manifests()?;
        let mut all = TakenIn::default();
        for files in listed(self.bundles_dir())? {
            let (Some(number), Some(manifest)) = (files.number, &files.manifest) else { continue };
            if taken.get(&number) == Some(&len(manifest)) {
                continue;
            }
            let end = known.get(&number).copied().unwrap_or(0);
            let (members, without_place) = whole_members(manifest, len(&files.path), end)?;
            // The catalogue may have lost members of a bundle that was never adopted. Of the other bundles, it knows
            // the members before the end, or dropped them for a reason.
            let was_taken = taken.contains_key(&number);
            let mut new = Vec::new();
            for (is_before_end, line) in members {
                if !(is_before_end && was_taken) && is_new(self.catalogue(), &line)? {
                    new.push(line);
                }
            }
            if without_place > 0 {
                all.without_place.push((files.name.clone(), without_place));
            }
            for chunk in new.chunks(CHUNK_RELEASES) {
                let mut tx = self.begin();
                chunk.iter().for_each(|member| tx.found_member(member));
                self.commit(tx)?;
                all.members += chunk.len() as u64;
            }
        }
        Ok(all)
    }

    /// Records where the bundles are, and that all of them are known.
    pub(crate) fn remember_bundles(&mut self) -> Result<(), RepoError> {
        let dir = self.bundles_dir().to_owned();
        let files = listed(&dir)?;
        let taken: BTreeMap<u32, u64> =
            files.iter().filter_map(|files| Some((files.number?, len(files.manifest.as_ref()?)))).collect();
        let place = std::path::absolute(&dir).unwrap_or(dir);
        self.catalogue_mut().set_bundles_dir(&place)?;
        self.catalogue_mut().set_bundle_manifests(&taken)?;
        self.remember_identity(&files)
    }

    /// Records the identity of the bundles: the first one in use.
    fn remember_identity(&mut self, files: &[BundleFiles]) -> Result<(), RepoError> {
        let Some((number, _)) = self.catalogue().bundles()?.first().copied() else { return Ok(()) };
        if let Some(identity) = identity(files, number)? {
            self.catalogue_mut().set_bundles_identity(Some(&identity))?;
        }
        Ok(())
    }

    /// Returns the name of the partial bundle.
    pub(crate) fn open_bundle_name(&self) -> Result<Option<String>, RepoError> {
        let open = listed(self.bundles_dir())?.into_iter().find(|files| !files.sealed);
        Ok(open.map(|files| format!("{}.partial", files.name)))
    }
}

/// Checks that the bundles in use are in `dir`. Looks at their lengths; reads one line.
///
/// # Errors
/// [`RepoError::BundlesMissing`], [`RepoError::OtherBundles`]; when a directory or the catalogue cannot be read.
pub(crate) fn check_bundles(catalogue: &Catalogue, dir: &Path) -> Result<(), RepoError> {
    let known = catalogue.bundles()?;
    if known.is_empty() {
        return Ok(());
    }
    let files = listed(dir)?;
    if let Some(before) = catalogue.bundles_identity()?
        && identity(&files, before.bundle)?.is_some_and(|now| now != before)
    {
        return Err(RepoError::OtherBundles { dir: dir.to_owned() });
    }
    let missing = missing(&known, &files);
    if missing.is_empty() {
        return Ok(());
    }
    Err(RepoError::BundlesMissing { dir: dir.to_owned(), what: names(&missing) })
}

/// The members that were adopted from the manifests of bundles.
#[derive(Debug, Default)]
pub(crate) struct TakenIn {
    /// Members that the catalogue lacked.
    pub(crate) members: u64,
    /// Bundles whose manifests do not list the places of members, with the number of those members.
    pub(crate) without_place: Vec<(String, u64)>,
}

/// Returns the whole members of a bundle, each with whether it begins before `end`, and the number of members without a
/// place in the manifest. `bytes` is the length of the bundle.
fn whole_members(
    manifest: &Path,
    bytes: u64,
    end: u64,
) -> Result<(Vec<(bool, BundleMember)>, u64), RepoError> {
    let (mut whole, mut without) = (Vec::new(), 0_u64);
    read_manifest(manifest, &mut |line| {
        match line.location() {
            Some(at) if at.offset.saturating_add(at.len) > bytes => {}
            Some(at) => whole.push((at.offset < end, line)),
            None => without += 1,
        }
        Ok(())
    })?;
    Ok((whole, without))
}

/// Returns whether a member is not held, or is to replace one in an earlier bundle. A loose file with other bytes wins:
/// the run that fetched it did not know of the member.
fn is_new(catalogue: &Catalogue, member: &BundleMember) -> Result<bool, RepoError> {
    let (Ok(name), Some(at)) = (member.crate_name.parse(), member.location()) else { return Ok(false) };
    let held = catalogue.held_of(&name)?;
    let row = held.iter().find(|held| Some(&held.version) == member.version.as_ref());
    Ok(row.is_none_or(|row| match row.locations.member() {
        Some(own) => (own.bundle, own.offset) < (at.bundle, at.offset),
        None => row.sha256 == member.sha256,
    }))
}

/// Returns the bundles that are missing, or too short for the members held in them.
fn missing(known: &[(u32, u64)], files: &[BundleFiles]) -> Vec<u32> {
    let is_there =
        |number, end| files.iter().any(|files| files.number == Some(number) && len(&files.path) >= end);
    known.iter().filter(|(number, end)| !is_there(*number, *end)).map(|(number, _)| *number).collect()
}

fn file_name(number: u32) -> String {
    BundleNumber::new(number).file_name()
}

fn names(missing: &[u32]) -> String {
    let text = missing
        .iter()
        .take(MAX_NAMED_BUNDLES)
        .map(|number| file_name(*number))
        .collect::<Vec<_>>()
        .join(", ");
    match missing.len().saturating_sub(MAX_NAMED_BUNDLES) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// Returns a bundle and its first member, which distinguish the bundles from those of another mirror; `None` when the
/// bundle is missing.
fn identity(files: &[BundleFiles], number: u32) -> Result<Option<BundlesIdentity>, RepoError> {
    let manifest =
        files.iter().find(|files| files.number == Some(number)).and_then(|files| files.manifest.as_ref());
    let Some(path) = manifest else { return Ok(None) };
    let member = first_member(path)?;
    Ok(member.map(|member| BundlesIdentity {
        bundle: number,
        member: member.bundle_member,
        sha256: member.sha256,
    }))
}

fn len(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}
