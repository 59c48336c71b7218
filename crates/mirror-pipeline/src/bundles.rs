//! The bundles of a mirror: whether those are there in which something is held, what they hold that the
//! catalogue does not know yet, and reading single members.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mirror_manifest::{
    BundlesIdentity, Catalogue, Change, EXISTING, HeldRelease, ManifestRecord, ManifestWriter, rfc3339,
};
use mirror_store::StoreError;
use mirror_store::bundle::{
    BundleFiles, BundleLimits, BundleMember, BundleOptions, BundleReader, BundleReport, BundleWriter, Member,
    list_bundles, read_manifest,
};
use mirror_types::{
    BundleNumber, FaultKind, Locations, MemberLocation, MirrorId, ReleaseId, Sha256, StoreId,
};

use crate::error::PipelineError;
use crate::gone::{Gone, Lost};
use crate::options::DownloadOptions;

/// Members that are taken in at once.
const CHUNK: usize = 10_000;
/// Longest first line of a manifest, in bytes.
const MOST_LINE: u64 = 64 << 10;
/// Bundles that an error names.
const NAMED: usize = 5;

fn listed(dir: &Path) -> Result<Vec<BundleFiles>, PipelineError> {
    if dir.is_dir() { Ok(list_bundles(dir)?) } else { Ok(Vec::new()) }
}

/// Whether there is a bundle in a directory.
pub(crate) fn is_any(dir: &Path) -> Result<bool, PipelineError> {
    Ok(listed(dir)?.iter().any(|files| files.number.is_some()))
}

/// Holds a catalogue that was told by a manifest alone against the bundles in `dir`: a record may speak of a
/// bundle that is gone, and whose number another one has. Gives how much of it does not stand there; with
/// `strict`, bundles of which nothing does are a fault.
pub(crate) fn hold_against(
    catalogue: &mut Catalogue,
    dir: &Path,
    strict: bool,
    (gone, manifest_log): (&Gone<'_>, &mut ManifestWriter),
) -> Result<u64, PipelineError> {
    let known = catalogue.bundles()?;
    if known.is_empty() || catalogue.bundles_identity()?.is_some() {
        return Ok(0);
    }
    let files = listed(dir)?;
    let mut wrong = Vec::new();
    for (number, _) in &known {
        let of = files.iter().find(|files| files.number == Some(*number));
        let Some(manifest) = of.and_then(|files| files.manifest.as_ref()) else { continue };
        let mut lines = HashMap::new();
        read_manifest(manifest, &mut |line| {
            lines.extend(location_of(&line).map(|at| (at.offset, (at.len, line.sha256))));
            Ok(())
        })?;
        let (mut right, before) = (0_u64, wrong.len());
        catalogue.members_of(*number, &mut |id, sha256, at| {
            if lines.get(&at.offset) == Some(&(at.len, sha256)) {
                right += 1;
            } else {
                wrong.push(id);
            }
        })?;
        if strict && right == 0 && wrong.len() > before {
            return Err(PipelineError::OtherBundles { dir: dir.to_owned() });
        }
    }
    let count = wrong.len() as u64;
    if count > 0 {
        tracing::warn!(
            releases = count,
            "records speak of members that do not stand in the bundles; they are not held"
        );
    }
    gone.write(catalogue, &wrong, Lost::Member, manifest_log)?;
    let mut changes: Vec<_> =
        wrong.into_iter().map(|id| Change::Lost { id, store: StoreId::BUNDLES }).collect();
    changes.extend([Change::CursorOutdated, Change::BundlesMeasured]);
    catalogue.apply(&changes)?;
    remember_identity(catalogue, &files)?;
    Ok(count)
}

/// Makes sure that the bundles are in `dir` of which the catalogue says that they hold something. Looks at
/// their lengths; reads one line.
pub(crate) fn check(catalogue: &Catalogue, dir: &Path) -> Result<(), PipelineError> {
    let known = catalogue.bundles()?;
    if known.is_empty() {
        return Ok(());
    }
    let files = listed(dir)?;
    if let Some(before) = catalogue.bundles_identity()?
        && identity(&files, before.bundle)?.is_some_and(|now| now != before)
    {
        return Err(PipelineError::OtherBundles { dir: dir.to_owned() });
    }
    let missing = missing(&known, &files);
    if missing.is_empty() {
        return Ok(());
    }
    Err(PipelineError::BundlesMissing { dir: dir.to_owned(), what: names(&missing) })
}

/// Bundles that are not there, or shorter than what is held in them.
fn missing(known: &[(u32, u64)], files: &[BundleFiles]) -> Vec<u32> {
    let is_there =
        |number, end| files.iter().any(|files| files.number == Some(number) && len(&files.path) >= end);
    known.iter().filter(|(number, end)| !is_there(*number, *end)).map(|(number, _)| *number).collect()
}

/// Has the catalogue and the manifest forget the bundles that are not there; returns their names.
pub(crate) fn forget_missing(
    catalogue: &mut Catalogue,
    dir: &Path,
    gone: &Gone<'_>,
    manifest: &mut ManifestWriter,
) -> Result<Vec<String>, PipelineError> {
    let missing = missing(&catalogue.bundles()?, &listed(dir)?);
    for number in &missing {
        let mut lost = Vec::new();
        catalogue.members_of(*number, &mut |id, _, _| lost.push(id))?;
        gone.write(catalogue, &lost, Lost::Member, manifest)?;
        catalogue.apply(&[Change::BundleGone(*number)])?;
    }
    Ok(missing.into_iter().map(name).collect())
}

/// The name of a bundle.
pub(crate) fn name(number: u32) -> String {
    BundleNumber::new(number).file_name()
}

fn names(missing: &[u32]) -> String {
    let text = missing.iter().take(NAMED).map(|number| name(*number)).collect::<Vec<_>>().join(", ");
    match missing.len().saturating_sub(NAMED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// A bundle and its first member: what tells bundles from those of another mirror. `None` when it is not
/// there.
fn identity(files: &[BundleFiles], number: u32) -> Result<Option<BundlesIdentity>, PipelineError> {
    let manifest =
        files.iter().find(|files| files.number == Some(number)).and_then(|files| files.manifest.as_ref());
    let Some(path) = manifest else { return Ok(None) };
    let mut line = String::new();
    let read = File::open(path).and_then(|file| BufReader::new(file).take(MOST_LINE).read_line(&mut line));
    read.map_err(|source| PipelineError::Read {
        what: "the manifest of a bundle,",
        path: path.clone(),
        source,
    })?;
    let member: Option<BundleMember> = serde_json::from_str(&line).ok();
    let of = |member: BundleMember| BundlesIdentity {
        bundle: number,
        member: member.bundle_member,
        sha256: member.sha256,
    };
    Ok(member.map(of))
}

/// Leaves behind what the bundles are known by: the first in which something is held.
fn remember_identity(catalogue: &mut Catalogue, files: &[BundleFiles]) -> Result<(), PipelineError> {
    let Some((number, _)) = catalogue.bundles()?.first().copied() else { return Ok(()) };
    match identity(files, number)? {
        Some(identity) => Ok(catalogue.set_bundles_identity(Some(&identity))?),
        None => Ok(()),
    }
}

/// Has what the bundles are known by be found out again: another manifest may speak of others.
pub(crate) fn doubt(catalogue: &mut Catalogue) -> Result<(), PipelineError> {
    Ok(catalogue.set_bundles_identity(None)?)
}

/// Opens the bundles for writing, makes good what an earlier run left, and has the catalogue know of it.
pub(crate) fn open(
    options: &DownloadOptions,
    dir: &Path,
    mirror: MirrorId,
    catalogue: &mut Catalogue,
    manifest: &mut ManifestWriter,
    run_id: &str,
) -> Result<Bundler, PipelineError> {
    let how = BundleOptions {
        mirror: Some(mirror),
        // What is verified is what is held, by the threads that hash: they know what to do about damage.
        bundle_bytes: options.bundle_bytes.max(1),
        ..BundleOptions::default()
    };
    let (writer, report) = open_writer(dir, how)?;
    if !report.relisted.is_empty() || report.cut_bytes > 0 {
        tracing::warn!(
            members = report.relisted.len(),
            cut_bytes = report.cut_bytes,
            "an earlier run ended while it wrote a bundle: whole members are kept, the rest was cut"
        );
    }
    for name in &report.repaired {
        tracing::warn!(bundle = %name, "an earlier run ended while it sealed a bundle; that was completed");
    }
    let mut found = Found { manifest, root: options.out.display().to_string(), run_id };
    take_in(catalogue, dir, &mut found)?;
    remember(catalogue, dir)?;
    Ok(Bundler { writer, dir: dir.to_owned() })
}

/// Opens the bundles for writing; damage that stands in the way comes with what can be done about it.
pub(crate) fn open_writer(
    dir: &Path,
    how: BundleOptions,
) -> Result<(BundleWriter, BundleReport), PipelineError> {
    BundleWriter::open(dir, how).map_err(|source| match source.kind() {
        FaultKind::Integrity => PipelineError::BundleDamaged { dir: dir.to_owned(), source },
        _ => source.into(),
    })
}

/// What is found in bundles, on its way into the manifest.
pub(crate) struct Found<'a> {
    pub(crate) manifest: &'a mut ManifestWriter,
    pub(crate) root: String,
    pub(crate) run_id: &'a str,
}

impl Found<'_> {
    /// Gives the length of the manifest with these members in it.
    fn write_down(&mut self, members: &[BundleMember], dir: &Path) -> Result<u64, PipelineError> {
        let now = rfc3339(SystemTime::now());
        let record = |member| record(member, dir, &self.root, &now, self.run_id);
        let records: Vec<_> = members.iter().map(record).collect();
        let len = self.manifest.append(&records)?;
        self.manifest.sync()?;
        Ok(len)
    }
}

fn record(member: &BundleMember, dir: &Path, root: &str, now: &str, run_id: &str) -> ManifestRecord {
    let mut record = ManifestRecord {
        schema_version: mirror_manifest::SCHEMA_VERSION,
        url: member.url.clone(),
        path: format!("{root}/{}", member.bundle_member),
        size: member.size,
        sha256: Some(member.sha256.to_hex()),
        started_at: now.to_owned(),
        finished_at: now.to_owned(),
        ok: true,
        status: EXISTING.to_owned(),
        crate_name: Some(member.crate_name.clone()),
        version: member.version.clone(),
        run_id: Some(run_id.to_owned()),
        ..ManifestRecord::default()
    };
    let locations = location_of(member).map(Locations::from).unwrap_or_default();
    record.set_locations(&locations, &|_| path_in(dir, &member.bundle_path), &member.bundle_member);
    record
}

/// The path of a bundle as records have it.
pub(crate) fn path_in(dir: &Path, name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    format!("{}/{name}", dir.display())
}

/// Returns the place of a member, when its line says it.
pub(crate) fn location_of(member: &BundleMember) -> Option<MemberLocation> {
    Some(MemberLocation::tar(member.bundle_number()?, member.frame_offset?, member.frame_len?))
}

/// Takes in what the manifests of the bundles list and the catalogue does not know: a run may have ended
/// between the two, or the catalogue was lost. Reads only manifests that grew. Gives how much is new.
///
/// What is taken in may be older than what is held, or than a failure: neither the cursor nor the failure
/// ledger may say that nothing is to be done about it.
pub(crate) fn take_in(
    catalogue: &mut Catalogue,
    dir: &Path,
    found: &mut Found<'_>,
) -> Result<u64, PipelineError> {
    let known: HashMap<u32, u64> = catalogue.bundles()?.into_iter().collect();
    let taken = catalogue.bundle_manifests()?;
    let mut new = 0;
    for files in listed(dir)? {
        let (Some(number), Some(manifest)) = (files.number, &files.manifest) else { continue };
        if taken.get(&number) == Some(&len(manifest)) {
            continue;
        }
        let end = known.get(&number).copied().unwrap_or(0);
        let bytes = len(&files.path);
        let (mut held, mut without) = (Vec::new(), 0_u64);
        read_manifest(manifest, &mut |line| {
            match location_of(&line) {
                Some(at) if at.offset.saturating_add(at.len) > bytes => {}
                Some(at) => held.push((at.offset < end, line)),
                None => without += 1,
            }
            Ok(())
        })?;
        // A bundle that was never taken in may have members that the catalogue lost; of others it knows, or had
        // reason to forget, what is before the end.
        let is_new = |(before, line): &(bool, BundleMember)| {
            if *before && taken.contains_key(&number) { Ok(false) } else { is_news(catalogue, line) }
        };
        let held = held.into_iter().filter_map(|one| match is_new(&one) {
            Ok(true) => Some(Ok(one.1)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        });
        let held = held.collect::<Result<Vec<_>, PipelineError>>()?;
        if without > 0 {
            tracing::warn!(
                bundle = %files.name,
                members = without,
                "its manifest has no offsets (the source system's have none): what is in it does not count as held; \
                 extract-bundles makes loose files of it"
            );
        }
        for chunk in held.chunks(CHUNK) {
            let len = found.write_down(chunk, dir)?;
            let held = chunk.iter().filter_map(held_release);
            let mut changes: Vec<_> = held.map(|release| Change::Held { release, source: 0 }).collect();
            changes.push(Change::ManifestLen(len));
            catalogue.apply(&changes)?;
            new += chunk.len() as u64;
        }
    }
    Ok(new)
}

/// Whether a member is not held, or replaces what an earlier bundle has. A file with other bytes was fetched by a
/// run that did not know of the member, or is looked for by this one.
fn is_news(catalogue: &Catalogue, member: &BundleMember) -> Result<bool, PipelineError> {
    let (Ok(name), Some(at)) = (member.crate_name.parse(), location_of(member)) else { return Ok(false) };
    let held = catalogue.held_of(&name)?;
    let row = held.iter().find(|held| Some(&held.version) == member.version.as_ref());
    Ok(row.is_none_or(|row| match row.locations.member() {
        Some(own) => (own.bundle, own.offset) < (at.bundle, at.offset),
        None => row.sha256 == member.sha256,
    }))
}

fn held_release(member: &BundleMember) -> Option<HeldRelease> {
    let name = member.crate_name.parse().ok()?;
    let version = member.version.as_deref()?.parse().ok()?;
    Some(HeldRelease {
        id: ReleaseId { name, version },
        sha256: member.sha256,
        size: member.size,
        locations: location_of(member)?.into(),
    })
}

fn len(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Leaves behind where the bundles are, and that all of them is known.
pub(crate) fn remember(catalogue: &mut Catalogue, dir: &Path) -> Result<(), PipelineError> {
    let files = listed(dir)?;
    let taken: BTreeMap<u32, u64> =
        files.iter().filter_map(|files| Some((files.number?, len(files.manifest.as_ref()?)))).collect();
    let place = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    catalogue.set_bundles_dir(&place)?;
    catalogue.set_bundle_manifests(&taken)?;
    remember_identity(catalogue, &files)
}

/// Bundles that are written to.
pub(crate) struct Bundler {
    pub(crate) writer: BundleWriter,
    /// Their directory, as the operator named it.
    pub(crate) dir: PathBuf,
}

impl Bundler {
    /// Ends writing, and has the catalogue know how far it came. Gives the name of the bundle that still
    /// grows.
    pub(crate) fn finish(
        mut self,
        seal: bool,
        catalogue: &mut Catalogue,
    ) -> Result<Option<String>, PipelineError> {
        if seal {
            self.writer.seal()?;
        }
        // Before anybody else may write there.
        remember(catalogue, &self.dir)?;
        let files = listed(&self.dir)?;
        Ok(files.into_iter().find(|files| !files.sealed).map(|files| format!("{}.partial", files.name)))
    }
}

/// Reads single members of bundles.
pub(crate) struct Shelf {
    dir: PathBuf,
    open: HashMap<u32, BundleReader>,
}

impl Shelf {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, open: HashMap::new() }
    }

    /// Gives the member at a place to `visit`. False when the bundle is damaged there, or another release is.
    pub(crate) fn read(
        &mut self,
        id: &ReleaseId,
        at: MemberLocation,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let end = at.offset.saturating_add(at.len);
        let stale = self.open.get(&at.bundle).is_none_or(|reader| reader.len() < end);
        if stale {
            match self.find(at.bundle)? {
                Some(reader) => self.open.insert(at.bundle, reader),
                None => return Ok(false),
            };
        }
        let Some(reader) = self.open.get(&at.bundle) else { return Ok(false) };
        let mut right = false;
        let read = reader.read_at(at.offset, at.len, &mut |member| {
            right = member.release() == id;
            if right { visit(member) } else { Ok(()) }
        });
        match read {
            Ok(()) => Ok(right),
            Err(error) if error.kind() == FaultKind::Integrity => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Hash and size of a member; `None` when the bundle is damaged there.
    pub(crate) fn hash(
        &mut self,
        id: &ReleaseId,
        at: MemberLocation,
    ) -> Result<Option<(Sha256, u64)>, StoreError> {
        let mut found = None;
        let right = self.read(id, at, &mut |member| {
            found = Some((member.sha256()?, member.size()));
            Ok(())
        })?;
        Ok(found.filter(|_| right))
    }

    /// A bundle that is being sealed loses its suffix at any moment.
    fn find(&self, number: u32) -> Result<Option<BundleReader>, StoreError> {
        const TRIES: u32 = 3;
        for tries in 1.. {
            let files = list_bundles(&self.dir)?;
            let Some(files) = files.into_iter().find(|files| files.number == Some(number)) else { break };
            match BundleReader::open(&files.path, BundleLimits::default()) {
                Ok(reader) => return Ok(Some(reader)),
                Err(error) if tries == TRIES => return Err(error),
                Err(_) => {}
            }
        }
        Ok(None)
    }
}
