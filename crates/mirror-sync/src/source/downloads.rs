//! The source of the downloads of a run that asks no registry for it.

use mirror_index::sparse::DlTemplate;

use super::input::Input;
use crate::error::SyncError;

/// The source of the downloads, as far as it is known before any request.
pub(crate) struct Downloads {
    pub(crate) template: DlTemplate,
    /// True if it is on a host that the operator did not name.
    pub(crate) guarded: bool,
}

impl Downloads {
    /// Returns the template that the operator names, or else that of a local index. Blocks.
    pub(crate) fn of(named: Option<DlTemplate>, input: &Input) -> Result<Option<Self>, SyncError> {
        if let Some(template) = named {
            return Ok(Some(Self { template, guarded: false }));
        }
        let Input::Local(source) = input else { return Ok(None) };
        let Some(template) = source.downloads()? else { return Ok(None) };
        let guarded = source.origin_host().is_some_and(|host| template.host() != Some(host));
        Ok(Some(Self { template, guarded }))
    }
}
