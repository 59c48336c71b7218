//! The progress of a mirror's sidecars through its index, in `.mirror/sidecars.json`.

use std::collections::BTreeSet;

use mirror_store::Store;
use mirror_types::Unexpected;
use serde::{Deserialize, Serialize};

use super::error::GenerateError;

const FILE: &str = "sidecars.json";
/// In format 2, every sidecar has the bare file name in `crate_file`; in format 1 that was the path.
const FORMAT_VERSION: u32 = 2;

/// The state that a run saves for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    format_version: u32,
    /// The settings of the sidecars.
    pub(super) settings: String,
    /// The tree of the index for which every selected release has a sidecar.
    pub(super) present: Option<String>,
    /// The tree whose lines are in all existing sidecars; not later than `present`.
    pub(super) current: Option<String>,
    /// Selected releases of `present`.
    pub(super) selected: u64,
    /// Yanked releases of `present` that were left out.
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

    /// Reads the state of an earlier run; an unreadable one, or one of an earlier format, counts as missing.
    pub(super) fn recall(store: &Store) -> Result<Option<Self>, GenerateError> {
        let bytes = store.read_state(FILE)?;
        Ok(bytes
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|state| state.format_version == FORMAT_VERSION))
    }

    /// Saves the state; durable on return.
    pub(super) fn remember(&self, store: &Store) -> Result<(), GenerateError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(Unexpected::could_not("write the state of the sidecars"))?;
        store.write_state(FILE, &text)?;
        // An empty batch makes earlier writes durable.
        Ok(store.commit(Vec::new())?)
    }
}
