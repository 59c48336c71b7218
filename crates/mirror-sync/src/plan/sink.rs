use std::ops::ControlFlow;

use super::decision::Decision;
use crate::error::SyncError;

/// A consumer of the decisions of a plan; `Break` ends planning.
pub(crate) type Sink<'s> = dyn FnMut(Decision) -> ControlFlow<()> + Send + 's;

/// The reason why planning ends before the index does.
pub(super) enum Halt {
    /// The limit is reached, or the consumer breaks.
    Stopped,
    Failed(SyncError),
}

impl From<SyncError> for Halt {
    fn from(error: SyncError) -> Self {
        Self::Failed(error)
    }
}
