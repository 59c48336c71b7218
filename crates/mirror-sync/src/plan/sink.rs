use std::ops::ControlFlow;

use super::decision::Decision;
use crate::error::SyncError;

/// Takes the decisions of a plan; `Break` ends planning.
pub(crate) type Sink<'s> = dyn FnMut(Decision) -> ControlFlow<()> + Send + 's;

/// Why planning ends before the index does.
pub(super) enum Halt {
    /// The limit is reached, or the consumer of the decisions wants no more.
    Stopped,
    Failed(SyncError),
}

impl From<SyncError> for Halt {
    fn from(error: SyncError) -> Self {
        Self::Failed(error)
    }
}
