//! The progress of a mirror's sidecars through its index, in `.mirror/sidecars.json`.

use std::collections::BTreeSet;

use mirror_store::Store;
use mirror_types::Unexpected;
use serde::{Deserialize, Serialize};

use super::error::GenerateError;

const FILE: &str = "sidecars.json";
/// 2: every sidecar beside it has the bare file name in `crate_file`. In 1 that was the path.
const FORMAT_VERSION: u32 = 2;

/// The state that a run leaves for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    format_version: u32,
    /// By what the sidecars were made.
    pub(super) settings: String,
    /// The tree of the index of which every selected release has a sidecar.
    pub(super) present: Option<String>,
    /// The tree whose lines all sidecars show that are there; not later than `present`.
    pub(super) current: Option<String>,
    /// Of `present`.
    pub(super) selected: u64,
    /// Of `present`.
    pub(super) yanked_skipped: u64,
    /// Index files that had bad lines.
    pub(super) bad_files: BTreeSet<String>,
}

impl State {
    pub(super) fn new(settings: String) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            settings,
            present: None,
            current: None,
            selected: 0,
            yanked_skipped: 0,
            bad_files: BTreeSet::new(),
        }
    }

    /// Reads what an earlier run left; what cannot be read, or is of an earlier format, counts as nothing.
    pub(super) fn recall(store: &Store) -> Result<Option<Self>, GenerateError> {
        let bytes = store.read_state(FILE)?;
        Ok(bytes
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|state| state.format_version == FORMAT_VERSION))
    }

    /// Leaves it; durable on return.
    pub(super) fn remember(&self, store: &Store) -> Result<(), GenerateError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(Unexpected::could_not("write the state of the sidecars"))?;
        store.write_state(FILE, &text)?;
        // A batch of nothing makes durable what was written before.
        Ok(store.commit(Vec::new())?)
    }
}
