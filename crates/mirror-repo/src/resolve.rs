//! Finds out which manifest and which bundles a mirror has. Reads, and writes nothing.

use std::path::{Path, PathBuf};

use mirror_manifest::{Catalogue, ManifestError, ManifestShape, manifest_shape};
use mirror_store::MirrorRecord;
use mirror_types::MirrorId;

use crate::error::{RepoError, SharedPlace};
use crate::open::OpenOptions;
use crate::path::{placed, real};
use crate::survey::{Claimant, Survey, survey};

/// The manifest of a new mirror, below its root.
pub const MANIFEST: &str = "manifest.jsonl";
/// The directory of the bundles of a new mirror, below its root. Earlier versions had both below the working directory.
pub const BUNDLES: &str = "bundles";

/// The findings about a mirror before anything is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) manifest: PathBuf,
    /// Another file, whose records of this mirror the manifest is to begin with.
    pub(crate) copy_from: Option<PathBuf>,
    /// True if that file also has records of other mirrors: the catalogue may list their releases.
    pub(crate) mixed: bool,
    /// The id in its old records, when its own record was lost.
    pub(crate) id: Option<MirrorId>,
    /// True if this is a copy of a mirror that still exists.
    pub(crate) is_copy: bool,
    /// `None` takes the default place.
    pub(crate) bundles: Option<PathBuf>,
}

pub(crate) struct Resolver<'a> {
    pub(crate) options: &'a OpenOptions,
    /// With all links resolved.
    pub(crate) root: &'a Path,
    pub(crate) working_dir: &'a Path,
    pub(crate) record: Option<&'a MirrorRecord>,
    /// The existing catalogue, if it can be read.
    pub(crate) catalogue: Option<&'a Catalogue>,
}

/// The mirror that this one is a copy of.
struct Original {
    root: PathBuf,
    /// The places of its manifest and its bundles.
    places: [PathBuf; 2],
}

/// The kind of a file that may be the manifest.
enum Candidate {
    Empty,
    Records(Survey),
}

impl Resolver<'_> {
    pub(crate) fn resolve(&self) -> Result<Resolved, RepoError> {
        let original = self.original();
        let mut resolved = match &self.options.manifest {
            Some(given) => self.given(&real(given, self.working_dir), original.as_ref())?,
            None => self.found(original.as_ref())?,
        };
        let bundles = match &self.options.bundles {
            Some(given) => Some(real(given, self.working_dir)),
            None => self.bundles(resolved.bundles.take(), original.as_ref())?,
        };
        Ok(Resolved { bundles, is_copy: original.is_some(), ..resolved })
    }

    fn id(&self) -> Option<MirrorId> {
        self.record.and_then(|record| record.id)
    }

    /// Returns the manifest that the record remembers.
    fn remembered(&self) -> Option<PathBuf> {
        let text = self.record?.manifest.as_deref()?;
        Some(placed(self.root, text))
    }

    fn default_manifest(&self) -> PathBuf {
        self.root.join(MANIFEST)
    }

    fn claimant(&self) -> Claimant<'_> {
        Claimant { root: self.root, id: self.id(), working_dir: self.working_dir }
    }

    /// Returns the mirror that this one is a copy of, when that still exists.
    fn original(&self) -> Option<Original> {
        let record = self.record?;
        let original = PathBuf::from(record.root.as_deref()?);
        if original == self.root || real(&original, self.working_dir) == self.root {
            return None;
        }
        let there = MirrorRecord::read(&original).ok().flatten()?;
        let places =
            [there.manifest.as_deref().unwrap_or(MANIFEST), there.bundles.as_deref().unwrap_or(BUNDLES)];
        let places = places.map(|text| placed(&original, text));
        (there.id.is_some() && there.id == record.id).then_some(Original { root: original, places })
    }

    fn look(&self, path: &Path) -> Result<Candidate, RepoError> {
        match manifest_shape(path)? {
            ManifestShape::Empty | ManifestShape::TornFirst => Ok(Candidate::Empty),
            ManifestShape::Records => Ok(Candidate::Records(survey(path, &self.claimant())?)),
            ManifestShape::Foreign => Err(ManifestError::NotAManifest {
                path: path.to_owned(),
                reason: "its first line is no record",
            }
            .into()),
        }
    }

    /// Decides about a manifest that was named.
    fn given(&self, path: &Path, original: Option<&Original>) -> Result<Resolved, RepoError> {
        let remembered = self.remembered();
        if remembered.as_deref() == Some(path) {
            self.not_shared(path, SharedPlace::Manifest, original)?;
            // Opening it compares its records with this mirror once more.
            return Ok(self.stays(path));
        }
        match self.look(path)? {
            Candidate::Empty => {
                let before = remembered.filter(|before| before.exists());
                Ok(Resolved { copy_from: before, ..self.stays(path) })
            }
            Candidate::Records(survey) if survey.others == 0 => Ok(self.owned(path, &survey)),
            Candidate::Records(survey) if survey.own > 0 => Ok(self.shared(path, &survey)),
            Candidate::Records(survey) if self.is_moved(path, &survey) => Ok(self.owned(path, &survey)),
            Candidate::Records(survey) => Err(self.others(path, survey)),
        }
    }

    /// Finds the manifest when none was named.
    fn found(&self, original: Option<&Original>) -> Result<Resolved, RepoError> {
        if let Some(path) = self.remembered() {
            self.not_shared(&path, SharedPlace::Manifest, original)?;
            if !path.exists() && !path.parent().is_some_and(Path::is_dir) {
                return Err(RepoError::ManifestGone { root: self.options.root.clone(), path });
            }
            return Ok(self.stays(&path));
        }
        let inside = self.default_manifest();
        let beside = real(Path::new(MANIFEST), self.working_dir);
        let mut candidates = vec![inside.clone()];
        if beside != inside {
            candidates.push(beside);
        }
        // The manifest that an earlier version followed goes first.
        candidates.sort_by_key(|path| !self.follows(path));
        for path in candidates {
            match self.look(&path) {
                Ok(Candidate::Empty) => {}
                Ok(Candidate::Records(survey)) if survey.own > 0 && survey.others == 0 => {
                    return Ok(self.owned(&path, &survey));
                }
                Ok(Candidate::Records(survey)) if survey.own > 0 => return Ok(self.shared(&path, &survey)),
                Ok(Candidate::Records(survey)) if self.is_moved(&path, &survey) => {
                    return Ok(self.owned(&path, &survey));
                }
                // A foreign file in the place of this mirror's own manifest is in the way; elsewhere it does not
                // matter.
                Ok(Candidate::Records(survey)) if path == inside && survey.others > 0 => {
                    return Err(self.others(&path, survey));
                }
                Err(error) if path == inside => return Err(error),
                Ok(Candidate::Records(_)) | Err(_) => {}
            }
        }
        Ok(self.stays(&inside))
    }

    /// Returns whether the existing catalogue was made from this manifest.
    fn follows(&self, path: &Path) -> bool {
        let follows = |catalogue: &Catalogue| {
            catalogue.manifest_len().is_ok_and(|len| len > 0) && catalogue.follows(path).unwrap_or(false)
        };
        self.catalogue.is_some_and(follows)
    }

    /// Returns whether a manifest that names another root belongs to this mirror, which was moved since.
    fn is_moved(&self, path: &Path, survey: &Survey) -> bool {
        survey.is_of_one_moved(&self.claimant()) && (self.follows(path) || survey.proves_nothing())
    }

    fn stays(&self, path: &Path) -> Resolved {
        Resolved {
            manifest: path.to_owned(),
            copy_from: None,
            mixed: false,
            id: None,
            is_copy: false,
            bundles: None,
        }
    }

    /// Uses a manifest that has records of this mirror alone.
    fn owned(&self, path: &Path, survey: &Survey) -> Resolved {
        let only =
            |ids: &std::collections::BTreeSet<MirrorId>| ids.first().copied().filter(|_| ids.len() == 1);
        let bundles = survey.bundles.as_deref().map(|dir| real(Path::new(dir), self.working_dir));
        Resolved {
            id: only(&survey.own_ids),
            bundles: bundles.filter(|dir| dir.is_dir()),
            ..self.stays(path)
        }
    }

    /// Leaves a manifest alone that several mirrors wrote to, and copies this mirror's records out of it.
    fn shared(&self, path: &Path, survey: &Survey) -> Resolved {
        let owned = self.owned(path, survey);
        let mut place = self.default_manifest();
        if place == path {
            place = self.root.join(format!("own-{MANIFEST}"));
        }
        if self.remembered().as_ref() == Some(&place) {
            // An earlier run copied it; the caller still names the old one.
            return self.stays(&place);
        }
        Resolved { manifest: place, copy_from: Some(path.to_owned()), mixed: true, id: None, ..owned }
    }

    fn others(&self, path: &Path, survey: Survey) -> RepoError {
        RepoError::OthersManifest {
            path: path.to_owned(),
            root: self.options.root.clone(),
            whose: survey.first_other.unwrap_or_else(|| "another mirror".to_owned()),
        }
    }

    fn bundles(
        &self,
        of_records: Option<PathBuf>,
        original: Option<&Original>,
    ) -> Result<Option<PathBuf>, RepoError> {
        if let Some(text) = self.record.and_then(|record| record.bundles.as_deref()) {
            let path = placed(self.root, text);
            if self.options.writes_bundles() {
                self.not_shared(&path, SharedPlace::Bundles, original)?;
            }
            return Ok(Some(path));
        }
        if self.id().is_some() {
            return Ok(None);
        }
        let kept = self.catalogue.and_then(|catalogue| catalogue.bundles_dir().ok().flatten());
        Ok(kept.map(|dir| real(&dir, self.working_dir)).or(of_records))
    }

    /// Refuses a place that the original of a copy writes to, too.
    fn not_shared(
        &self,
        path: &Path,
        what: SharedPlace,
        original: Option<&Original>,
    ) -> Result<(), RepoError> {
        match original {
            Some(Original { root, places }) if places.iter().any(|place| place == path) => {
                Err(RepoError::SharedWithOriginal {
                    root: self.options.root.clone(),
                    original: root.clone(),
                    what,
                    path: path.to_owned(),
                })
            }
            _ => Ok(()),
        }
    }
}
