//! How far a mirror has come with its index: the tree that the last run went through as a whole.

use mirror_manifest::{Catalogue, ManifestError};
use serde::{Deserialize, Serialize};

use crate::options::DownloadOptions;
use crate::source::Input;

const KEY: &str = "index_cursor";

/// The tree, and what was selected of it. Moves only when every selected record of the tree is held
/// or stands in the failure ledger.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    format_version: u32,
    tree: String,
    include_yanked: bool,
    latest: usize,
}

impl Cursor {
    /// `None` when the index has no trees to compare.
    pub(crate) fn of(input: &Input, options: &DownloadOptions) -> Option<Self> {
        let Input::Local(source) = input else { return None };
        let (include_yanked, latest) = (options.include_yanked, options.latest);
        Some(Self { format_version: 1, tree: source.tree_id()?, include_yanked, latest })
    }

    /// The one that an earlier run left; one that cannot be read counts as none.
    pub(crate) fn recall(catalogue: &Catalogue) -> Result<Option<Self>, ManifestError> {
        let text = catalogue.recall(KEY)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    pub(crate) fn remember(&self, catalogue: &mut Catalogue) -> Result<(), ManifestError> {
        let text = serde_json::to_string(self).unwrap_or_default();
        catalogue.remember(KEY, &text)
    }
}
