//! The licences of held releases, as far as the catalogue of the mirror has them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::path::Path;

use mirror_manifest::{LicenceRow, StatedLicence};
use mirror_repo::Mirror;
use mirror_types::{IndexRecord, Sha256};

use super::error::GenerateError;

/// The licences by release and checksum, as hashes of 8 bytes: a licence belongs to bytes.
pub(super) struct Licences {
    of: HashMap<u64, u32>,
    /// Each text once: a registry has some hundred.
    texts: Vec<String>,
    state: RandomState,
    identity: u64,
}

impl Licences {
    /// Reads them from the catalogue of a mirror. Blocks.
    pub(super) fn read(mirror: &Path) -> Result<Self, GenerateError> {
        let mut licences =
            Self { of: HashMap::new(), texts: Vec::new(), state: RandomState::new(), identity: 0 };
        let mut known: HashMap<String, u32> = HashMap::new();
        let mut identity = DefaultHasher::new();
        let mirror = Mirror::open(mirror, None)?;
        mirror.ask(|catalogue| {
            let add = &mut |LicenceRow { id, sha256, licence }| {
                let StatedLicence::Text(text) = licence else { return };
                (id.name.as_str(), id.version.as_str(), sha256, &text).hash(&mut identity);
                let at = *known.entry(text).or_insert_with_key(|text| {
                    licences.texts.push(text.clone());
                    u32::try_from(licences.texts.len() - 1).unwrap_or(u32::MAX)
                });
                let key = hash(&licences.state, id.name.as_str(), id.version.as_str(), sha256);
                licences.of.insert(key, at);
            };
            Ok(catalogue.licences(add)?)
        })?;
        licences.identity = identity.finish();
        Ok(licences)
    }

    /// Returns the licence that the release of a line states, if its bytes were read.
    pub(super) fn of(&self, record: &IndexRecord) -> Option<&str> {
        let (name, version) = (record.id.name.as_str(), record.id.version.as_str());
        let at = self.of.get(&hash(&self.state, name, version, record.cksum))?;
        self.texts.get(usize::try_from(*at).ok()?).map(String::as_str)
    }

    /// Returns the number of releases with a licence.
    pub(super) fn len(&self) -> u64 {
        self.of.len() as u64
    }

    /// Returns a text that changes when a licence does.
    pub(super) fn identity(&self) -> String {
        format!("{} {:016x}", self.of.len(), self.identity)
    }
}

fn hash(state: &RandomState, name: &str, version: &str, cksum: Sha256) -> u64 {
    state.hash_one((name, version, cksum))
}
