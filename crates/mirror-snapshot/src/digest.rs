use std::ops::AddAssign;

use mirror_checksum::Hasher;
use mirror_types::{CrateName, ReleaseId, Sha256};

use crate::row::{Row, RowError};
use crate::unit::{UNITS, Unit, UnitDigests};

/// Numbers of digested rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Crates: names, case and all, that have a row.
    pub crates: u64,
    /// Releases, which is rows.
    pub releases: u64,
}

impl AddAssign for RowCounts {
    fn add_assign(&mut self, other: Self) {
        self.crates += other.crates;
        self.releases += other.releases;
    }
}

/// One unit whose rows arrive.
#[derive(Default)]
struct OpenUnit {
    hasher: Hasher,
    last: Option<ReleaseId>,
    counts: RowCounts,
}

impl OpenUnit {
    fn add(&mut self, row: &Row, line: &mut String) -> Result<(), RowError> {
        RowError::check_order(self.last.as_ref(), &row.id)?;
        line.clear();
        row.push_line(line);
        self.hasher.update(line.as_bytes());
        self.counts.releases += 1;
        self.counts.crates += u64::from(self.last.as_ref().is_none_or(|last| last.name != row.id.name));
        self.last = Some(row.id.clone());
        Ok(())
    }
}

/// Computes the digests of all units from rows that arrive one by one. The rows of each unit must arrive in the order
/// of rows ([`row_order`](crate::row_order)); the units may arrive in any order, and mixed. So rows that are sorted as a
/// whole will do, and so will one unit after the other. Takes less than 100 kB, however many rows there are.
pub struct UnitDigester {
    units: Vec<OpenUnit>,
    /// The last name and its unit: most crates have several rows.
    last: Option<(CrateName, Unit)>,
    line: String,
}

impl Default for UnitDigester {
    fn default() -> Self {
        Self { units: (0..UNITS).map(|_| OpenUnit::default()).collect(), last: None, line: String::new() }
    }
}

impl UnitDigester {
    /// Adds a row to the digest of its unit.
    ///
    /// # Errors
    /// When the row does not follow the one before it in its unit. The digests are of no use then.
    pub fn add(&mut self, row: &Row) -> Result<(), RowError> {
        let unit = match &self.last {
            Some((name, unit)) if *name == row.id.name => *unit,
            _ => Unit::of(&row.id.name),
        };
        self.last = Some((row.id.name.clone(), unit));
        self.units[usize::from(unit.number())].add(row, &mut self.line)
    }

    /// Returns the digests of all units, and the numbers of rows.
    #[must_use]
    pub fn finish(self) -> (UnitDigests, RowCounts) {
        let (mut digests, mut counts) = (UnitDigests::empty(), RowCounts::default());
        for (number, unit) in (0..=u8::MAX).zip(self.units) {
            counts += unit.counts;
            digests.set(Unit::new(number), unit.hasher.finish());
        }
        (digests, counts)
    }
}

impl std::fmt::Debug for UnitDigester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnitDigester").finish_non_exhaustive()
    }
}

/// Computes the digests of all units of a mirror from its sorted rows, as [`UnitDigester`] does.
///
/// # Errors
/// The first error of the rows; when a row does not follow the one before it in its unit.
pub fn digest_rows<E: From<RowError>>(
    rows: impl IntoIterator<Item = Result<Row, E>>,
) -> Result<(UnitDigests, RowCounts), E> {
    let mut digester = UnitDigester::default();
    for row in rows {
        digester.add(&row?)?;
    }
    Ok(digester.finish())
}

/// Computes the digest of one unit from its sorted rows; that of no bytes when there are none. Memory does not grow with
/// the rows.
///
/// # Errors
/// The first error of the rows; when a row belongs to another unit, or does not follow the one before it.
pub fn digest_unit<E: From<RowError>>(
    unit: Unit,
    rows: impl IntoIterator<Item = Result<Row, E>>,
) -> Result<(Sha256, RowCounts), E> {
    let (mut open, mut line) = (OpenUnit::default(), String::new());
    for row in rows {
        let row = row?;
        let is_new_name = open.last.as_ref().is_none_or(|last| last.name != row.id.name);
        if is_new_name && Unit::of(&row.id.name) != unit {
            return Err(RowError::OtherUnit { id: row.id, unit }.into());
        }
        open.add(&row, &mut line)?;
    }
    Ok((open.hasher.finish(), open.counts))
}
