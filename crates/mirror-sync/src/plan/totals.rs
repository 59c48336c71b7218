/// The totals of an index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) selected: u64,
    pub(crate) yanked_skipped: u64,
    /// The selected releases that policy holds back.
    pub(crate) deferred: u64,
}
