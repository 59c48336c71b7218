use std::cmp::Ordering;
use std::iter::{Fuse, Peekable};

use mirror_types::ReleaseId;

use crate::document::Snapshot;
use crate::row::{Row, RowError, RowState, row_order};
use crate::unit::Unit;

/// Returns the units in which two snapshots differ, in order. Two snapshots with the same root have none.
#[must_use]
pub fn compare(old: &Snapshot, new: &Snapshot) -> Vec<Unit> {
    let (old, new) = (&old.contents().units, &new.contents().units);
    Unit::all().filter(|unit| old.get(*unit) != new.get(*unit)).collect()
}

/// A difference of one release between two states of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Offered only by the new state.
    Added(Row),
    /// Offered only by the old state.
    Removed(Row),
    /// Offered by both, with other bytes; perhaps with another state, too.
    Replaced {
        /// The row of the old state.
        old: Row,
        /// The row of the new state.
        new: Row,
    },
    /// Yanked in the new state alone; this is its new row.
    Yanked(Row),
    /// Yanked in the old state alone; this is its new row.
    Unyanked(Row),
}

impl Change {
    /// Returns the release.
    #[must_use]
    pub fn id(&self) -> &ReleaseId {
        match self {
            Self::Added(row) | Self::Removed(row) | Self::Yanked(row) | Self::Unyanked(row) => &row.id,
            Self::Replaced { new, .. } => &new.id,
        }
    }
}

/// Compares two sorted sequences of rows, of a unit or of a whole mirror, and yields the changes in the order of rows.
/// Holds one row of each. Ends after the first error: one of a sequence, or that its rows are not sorted.
pub fn diff<E: From<RowError>, O, N>(old: O, new: N) -> Diff<O::IntoIter, N::IntoIter>
where
    O: IntoIterator<Item = Result<Row, E>>,
    N: IntoIterator<Item = Result<Row, E>>,
{
    let old = Sorted { rows: old.into_iter().fuse().peekable(), last: None };
    let new = Sorted { rows: new.into_iter().fuse().peekable(), last: None };
    Diff { old, new, failed: false }
}

/// The changes between two sequences of rows; made by [`diff`].
pub struct Diff<O: Iterator, N: Iterator> {
    old: Sorted<O>,
    new: Sorted<N>,
    failed: bool,
}

impl<O: Iterator, N: Iterator> std::fmt::Debug for Diff<O, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diff").finish_non_exhaustive()
    }
}

/// Rows whose order is checked.
struct Sorted<I: Iterator> {
    rows: Peekable<Fuse<I>>,
    last: Option<ReleaseId>,
}

impl<E: From<RowError>, I: Iterator<Item = Result<Row, E>>> Sorted<I> {
    /// Returns the next release without taking its row; `None` at the end.
    fn peek(&mut self) -> Result<Option<ReleaseId>, E> {
        if let Some(Err(_)) = self.rows.peek() {
            self.take()?;
        }
        match self.rows.peek() {
            Some(Ok(row)) => Ok(Some(row.id.clone())),
            Some(Err(_)) | None => Ok(None),
        }
    }

    fn take(&mut self) -> Result<Option<Row>, E> {
        let Some(row) = self.rows.next().transpose()? else { return Ok(None) };
        RowError::check_order(self.last.as_ref(), &row.id)?;
        self.last = Some(row.id.clone());
        Ok(Some(row))
    }
}

impl<E, O, N> Diff<O, N>
where
    E: From<RowError>,
    O: Iterator<Item = Result<Row, E>>,
    N: Iterator<Item = Result<Row, E>>,
{
    fn advance(&mut self) -> Result<Option<Change>, E> {
        loop {
            let order = match (self.old.peek()?, self.new.peek()?) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => row_order(&old, &new),
            };
            let old = if order.is_le() { self.old.take()? } else { None };
            let new = if order.is_ge() { self.new.take()? } else { None };
            let change = match (old, new) {
                (Some(old), Some(new)) => of_both(old, new),
                (Some(old), None) => Some(Change::Removed(old)),
                (None, new) => new.map(Change::Added),
            };
            if change.is_some() {
                return Ok(change);
            }
        }
    }
}

/// Returns the change of a release that both states offer.
fn of_both(old: Row, new: Row) -> Option<Change> {
    if old.checksum != new.checksum {
        return Some(Change::Replaced { old, new });
    }
    match (old.state, new.state) {
        (RowState::Offered, RowState::Yanked) => Some(Change::Yanked(new)),
        (RowState::Yanked, RowState::Offered) => Some(Change::Unyanked(new)),
        (RowState::Offered, RowState::Offered) | (RowState::Yanked, RowState::Yanked) => None,
    }
}

impl<E, O, N> Iterator for Diff<O, N>
where
    E: From<RowError>,
    O: Iterator<Item = Result<Row, E>>,
    N: Iterator<Item = Result<Row, E>>,
{
    type Item = Result<Change, E>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        next.transpose()
    }
}
