use std::path::{Path, PathBuf};

use mirror_store::MirrorRecord;
use mirror_types::{Layout, MirrorId};

use crate::error::RepoError;
use crate::path::{placed, real};
use crate::resolve::{BUNDLES, MANIFEST};

/// The record of a mirror, for callers that only read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedPlaces {
    /// The id; `None` for a mirror that no run of this version has written to.
    pub id: Option<MirrorId>,
    /// The layout of the releases below the root.
    pub layout: Layout,
    /// The manifest; the default place where the record names none.
    pub manifest: PathBuf,
    /// The directory of the bundles; the default place where the record names none.
    pub bundles: PathBuf,
    /// True if the record names the directory of the bundles.
    pub bundles_recorded: bool,
}

impl RecordedPlaces {
    /// Reads the record of the mirror at `root`; `None` when there is no mirror. Writes nothing; blocks.
    ///
    /// # Errors
    /// When there is a record that cannot be read or understood.
    pub fn of(root: &Path) -> Result<Option<Self>, RepoError> {
        let Some(record) = MirrorRecord::read(root)? else { return Ok(None) };
        let base = real(root, &std::env::current_dir().unwrap_or_default());
        Ok(Some(Self {
            id: record.id,
            layout: record.layout,
            manifest: placed(&base, record.manifest.as_deref().unwrap_or(MANIFEST)),
            bundles: placed(&base, record.bundles.as_deref().unwrap_or(BUNDLES)),
            bundles_recorded: record.bundles.is_some(),
        }))
    }
}
