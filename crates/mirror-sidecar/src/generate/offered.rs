//! The releases that a mirror offers.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;

use mirror_repo::{Mirror, RepoError};
use mirror_types::{CrateName, IndexRecord, Sha256};

use super::error::GenerateError;

/// The offered releases with their checksums, as hashes of 8 bytes.
pub(super) struct Offered {
    releases: HashSet<u64>,
    state: RandomState,
}

impl Offered {
    /// Reads them from the catalogue of a mirror, from one state of it. Blocks.
    pub(super) fn read(mirror: &Path) -> Result<Self, GenerateError> {
        let state = RandomState::new();
        let mirror = Mirror::open(mirror, None)?;
        let releases = mirror.ask(|catalogue| {
            catalogue.consistently(|| {
                let mut names = HashSet::new();
                catalogue.releases(&mut |name, _| {
                    if !names.contains(name) {
                        names.insert(name.to_owned());
                    }
                })?;
                let mut releases = HashSet::new();
                for name in names {
                    let Ok(name) = name.parse::<CrateName>() else { continue };
                    for release in catalogue.offered_of(&name)? {
                        let held = release.held;
                        releases.insert(hash(&state, name.as_str(), &held.version, held.sha256));
                    }
                }
                Ok::<_, RepoError>(releases)
            })
        })?;
        Ok(Self { releases, state })
    }

    /// Returns whether the mirror offers the release of a line, with the checksum of the line.
    pub(super) fn has(&self, record: &IndexRecord) -> bool {
        let (name, version) = (record.id.name.as_str(), record.id.version.as_str());
        self.releases.contains(&hash(&self.state, name, version, record.cksum))
    }
}

fn hash(state: &RandomState, name: &str, version: &str, cksum: Sha256) -> u64 {
    state.hash_one((name, version, cksum))
}
