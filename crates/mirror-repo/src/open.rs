use std::path::{Path, PathBuf};
use std::sync::Arc;

use mirror_bundle::refuse_others;
use mirror_fs::Fs;
use mirror_manifest::{Catalogue, IndexCacheReport, ManifestError, ManifestWriter};
use mirror_store::{CrateStore, MirrorRecord, Store};
use mirror_types::{Cause, Layout, MirrorId, ReleaseId, StoreId};

use crate::error::RepoError;
use crate::path::{placed, real, recorded};
use crate::resolve::{BUNDLES, Resolved, Resolver};
use crate::survey::{Claimant, own_lines};

/// The settings for opening a mirror.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Its root.
    pub root: PathBuf,
    /// The layout that was asked for; `None` takes the mirror's own, or the default for a new one.
    pub layout: Option<Layout>,
    /// The manifest; `None` takes the one that the mirror remembers, or the default place.
    pub manifest: Option<PathBuf>,
    /// The directory of the bundles; `None` takes the one that the mirror remembers, or the default place.
    pub bundles: Option<PathBuf>,
    /// The stores for new releases; none means the loose tree. Bundles among them are opened for writing: a copy may
    /// read the bundles that it shares with its original, but not write to them.
    pub targets: Vec<StoreId>,
    /// Stores beside the loose tree and the bundles, numbered from 2. Every store in which something is held must be
    /// among them.
    pub stores: Vec<Arc<dyn CrateStore>>,
    /// The size in bytes at which a bundle is sealed; `None` takes the default.
    pub bundle_bytes: Option<u64>,
    /// True if the structure of the catalogue and every frame of the index cache are to be checked.
    pub verify: bool,
    /// The directory against which relative paths are taken, those of old records too; `None` takes the
    /// working directory of the process.
    pub working_dir: Option<PathBuf>,
    /// The disk operations for releases, bundles and manifest, for tests that simulate faults; `None` takes the local
    /// file system. Catalogue and index cache always use the local file system.
    pub fs: Option<Arc<dyn Fs>>,
}

impl OpenOptions {
    /// Returns whether bundles are to be written.
    pub(crate) fn writes_bundles(&self) -> bool {
        self.targets.contains(&StoreId::BUNDLES)
    }

    /// Returns a place below the root in the form in which the root was named.
    fn named(&self, root: &Path, place: &Path) -> PathBuf {
        place.strip_prefix(root).map_or_else(|_| place.to_owned(), |rel| self.root.join(rel))
    }
}

/// The repairs and findings of opening a mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The manifest, as it was named.
    pub manifest: PathBuf,
    /// Bytes of a torn record at the end of the manifest that were cut off.
    pub torn_bytes_cut: u64,
    /// The file from which the records of this mirror were copied into a manifest of its own.
    pub copied_from: Option<PathBuf>,
    /// True if that file has records of several mirrors. The catalogue also listed releases of the others, and was
    /// removed: it is rebuilt from the copied records.
    pub was_shared: bool,
    /// True if the catalogue was gone, empty, or of another manifest, and was rebuilt from the manifest.
    pub catalogue_remade: bool,
    /// Members that are in records and not in the bundles: they are not held.
    pub misplaced_members: u64,
    /// Whole members that an interrupted run put into a bundle and did not list.
    pub relisted_members: usize,
    /// Bytes of a torn end of a bundle that were cut off.
    pub cut_bundle_bytes: u64,
    /// Bundles that an interrupted run was sealing: that was completed.
    pub completed_bundles: Vec<String>,
    /// Bundles whose manifests do not list the places of members, with the number of those members: they do not count
    /// as held.
    pub members_without_place: Vec<(String, u64)>,
    /// The findings when the index cache was opened.
    pub index_cache: IndexCacheReport,
    /// Held releases whose file is missing or has another size.
    pub lost: Vec<ReleaseId>,
}

/// A locked mirror, with its manifest and its bundles found: no other process writes to it, or to its manifest, while
/// this exists. [`MirrorWriter`](crate::MirrorWriter) changes it.
#[derive(Debug)]
pub struct LockedMirror {
    /// The loose tree and the lock.
    pub store: Store,
    /// The id of the mirror.
    pub id: MirrorId,
    /// The audit log.
    pub manifest: ManifestWriter,
    /// The directory of the bundles. Where it is below the root, it has the form in which the root was named. It need
    /// not exist.
    pub bundles_dir: PathBuf,
}

impl LockedMirror {
    /// Opens the mirror, or creates it: takes the lock, finds its manifest and its bundles, and remembers their places.
    /// Mirrors of earlier versions get their id here. Blocks; the first time, it reads the whole manifest of an earlier
    /// version.
    ///
    /// # Errors
    /// When another run holds the mirror or its manifest, the manifest or the bundles belong to another mirror, or the
    /// disk refuses. In that case nothing but the lock and an empty record was written.
    pub fn open(options: &OpenOptions) -> Result<(Self, OpenReport), RepoError> {
        Self::open_in(Self::lock(options)?, options)
    }

    /// Takes the lock of the mirror, which it creates if there is none.
    ///
    /// # Errors
    /// When another run holds the lock, the layout differs, or the disk refuses.
    pub fn lock(options: &OpenOptions) -> Result<Store, RepoError> {
        let (layout, asked) = (options.layout.unwrap_or_default(), options.layout.is_some());
        Ok(match &options.fs {
            Some(fs) => Store::open_on(Arc::clone(fs), &options.root, layout, asked)?,
            None => Store::open(&options.root, layout, asked)?,
        })
    }

    /// Opens the mirror whose lock is held already.
    ///
    /// # Errors
    /// As [`LockedMirror::open`].
    pub fn open_in(store: Store, options: &OpenOptions) -> Result<(Self, OpenReport), RepoError> {
        let working_dir = working_dir(options);
        let root = real(&options.root, &working_dir);
        let record = MirrorRecord::read(&root)?;
        let resolved = resolve(options, &root, &working_dir, record.as_ref())?;
        let known = record.as_ref().and_then(|record| record.id);
        let id = match known.or(resolved.id) {
            Some(id) => id,
            None => random_id()?,
        };
        let mut report = OpenReport::default();
        if resolved.mixed {
            // It may list releases of other mirrors. It is removed first, so that a run that is killed here starts
            // without it.
            Catalogue::remove(&catalogue_path(&root))?;
        }
        if let Some(from) = &resolved.copy_from {
            let claimant = Claimant { root: &root, id: known, working_dir: &working_dir };
            copy_own(&store, &claimant, from, &resolved.manifest)?;
            report.copied_from = Some(from.clone());
            report.was_shared = resolved.mixed;
        }
        let remembered = record.as_ref().and_then(|record| record.manifest.as_deref());
        let is_own = remembered.is_some_and(|text| placed(&root, text) == resolved.manifest);
        let path = options.named(&root, &resolved.manifest);
        let opened = match &options.fs {
            Some(fs) => ManifestWriter::open_on(Arc::clone(fs), &path, id),
            None => ManifestWriter::open(&path, id),
        };
        let (manifest, opened) = opened.map_err(|error| match error {
            // It was the manifest of this mirror: this is damage, and not a wrong path.
            ManifestError::NotAManifest { path, reason } if is_own && path.is_file() => {
                ManifestError::BadLine { path, offset: 0, source: Cause::new(reason) }
            }
            error => error,
        })?;
        report.torn_bytes_cut = opened.torn_bytes_cut;
        report.manifest = manifest.path().to_owned();
        let place = resolved.bundles.clone().unwrap_or_else(|| placed(&root, BUNDLES));
        refuse_others(&place, id)?;
        // A directory that was named is remembered once its bundles are known to be the right ones.
        let bundles = match (&options.bundles, &record) {
            (None, _) => resolved.bundles.as_deref().map(|dir| recorded(&root, dir)).transpose()?,
            (Some(_), record) => record.as_ref().and_then(|record| record.bundles.clone()),
        };
        let now = MirrorRecord {
            layout: store.layout(),
            id: Some(id),
            manifest: Some(recorded(&root, &resolved.manifest)?),
            bundles,
            // A copy counts as one for as long as its original exists.
            root: match &record {
                Some(record) if resolved.is_copy => record.root.clone(),
                _ => root.to_str().map(str::to_owned),
            },
        };
        if record.as_ref() != Some(&now) {
            store.set_record(&now)?;
        }
        let bundles_dir = options.bundles.clone().unwrap_or_else(|| options.named(&root, &place));
        Ok((Self { store, id, manifest, bundles_dir }, report))
    }

    /// Remembers the directory of the bundles, which has been found to have the members that the mirror holds. Durable
    /// on return. Blocks.
    ///
    /// # Errors
    /// When the disk refuses, or the path is no text.
    pub fn remember_bundles(store: &Store, dir: &Path) -> Result<(), RepoError> {
        let here = std::env::current_dir().unwrap_or_default();
        let root = real(store.root(), &here);
        let Some(record) = MirrorRecord::read(&root)? else { return Ok(()) };
        let place = recorded(&root, &real(dir, &here))?;
        if record.bundles.as_deref().unwrap_or(BUNDLES) != place {
            store.set_record(&MirrorRecord { bundles: Some(place), ..record })?;
        }
        Ok(())
    }

    /// Returns where the mirror keeps its catalogue.
    #[must_use]
    pub fn catalogue_path(&self) -> PathBuf {
        catalogue_path(self.store.root())
    }

    /// Determines which manifest and which bundles [`LockedMirror::open`] would use, and refuses what it would refuse.
    /// Takes no lock and writes nothing; blocks. Returns the manifest and the directory of the bundles.
    ///
    /// # Errors
    /// As [`LockedMirror::open`], but for the locks.
    pub fn resolve_paths(options: &OpenOptions) -> Result<(PathBuf, PathBuf), RepoError> {
        let working_dir = working_dir(options);
        let root = real(&options.root, &working_dir);
        let record = MirrorRecord::read(&root)?;
        let resolved = resolve(options, &root, &working_dir, record.as_ref())?;
        let bundles = resolved.bundles.unwrap_or_else(|| placed(&root, BUNDLES));
        Ok((options.named(&root, &resolved.manifest), options.named(&root, &bundles)))
    }
}

/// Returns where the mirror at `root` keeps its catalogue.
fn catalogue_path(root: &Path) -> PathBuf {
    root.join(".mirror/catalogue.sqlite")
}

fn working_dir(options: &OpenOptions) -> PathBuf {
    let given = options.working_dir.clone();
    let dir = given.or_else(|| std::env::current_dir().ok()).unwrap_or_default();
    dir.canonicalize().unwrap_or(dir)
}

fn resolve(
    options: &OpenOptions,
    root: &Path,
    working_dir: &Path,
    record: Option<&MirrorRecord>,
) -> Result<Resolved, RepoError> {
    // A damaged catalogue is reported when it is opened for use.
    let catalogue = Catalogue::open_read_only(&catalogue_path(root)).ok().flatten();
    Resolver { options, root, working_dir, record, catalogue: catalogue.as_ref() }.resolve()
}

fn random_id() -> Result<MirrorId, RepoError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| RepoError::Random(Cause::new(error)))?;
    Ok(MirrorId::from_bytes(bytes))
}

/// Copies the claimant's own records into a new manifest; the old one stays as it is. The new one gets its name when it
/// is whole and durable; after a kill, the next run starts again.
fn copy_own(store: &Store, claimant: &Claimant<'_>, from: &Path, to: &Path) -> Result<(), RepoError> {
    let Ok(rel) = to.strip_prefix(claimant.root) else {
        return copy_outside(claimant, from, to);
    };
    let Some(rel) = rel.to_str() else { return Err(RepoError::NotText { path: to.to_owned() }) };
    let mut staged = store.stage_file()?;
    own_lines(from, claimant, &mut |line| Ok(staged.write(line)?))?;
    store.commit(vec![staged.finish(rel)?])?;
    Ok(())
}

/// Does the same for a manifest outside the mirror.
fn copy_outside(claimant: &Claimant<'_>, from: &Path, to: &Path) -> Result<(), RepoError> {
    let output = mirror_store::OutputFile::begin(to)?;
    let mut offset = 0;
    own_lines(from, claimant, &mut |line| {
        output.write_at(offset, line)?;
        offset += line.len() as u64;
        Ok(())
    })?;
    Ok(output.publish()?)
}
