use std::collections::BTreeSet;

use mirror_manifest::{Catalogue, OfferedRow, UnitRow};
use mirror_snapshot::{Counts, Row, RowError, RowState, Snapshot, UNITS, Unit, UnitDigests, digest_unit};
use mirror_types::{CrateName, ReleaseId};

use crate::error::RepoError;

/// The state of a mirror whose rows are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The releases that are offered now.
    Now,
    /// The releases that were offered when the snapshot with this serial was taken.
    Snapshot(u64),
}

/// The digests of all units of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedUnits {
    rows: Vec<UnitRow>,
    changed: Vec<UnitRow>,
}

impl OfferedUnits {
    /// Returns the digests.
    #[must_use]
    pub fn digests(&self) -> UnitDigests {
        let mut digests = UnitDigests::empty();
        for row in &self.rows {
            digests.set(Unit::new(row.unit), row.sha256);
        }
        digests
    }

    /// Returns the numbers of what is offered.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for row in &self.rows {
            counts.crates += row.crates;
            counts.releases += row.releases;
            counts.bytes += row.bytes;
        }
        counts
    }

    /// Returns the units that were computed, because they changed since the newest snapshot or there was none.
    #[must_use]
    pub fn changed(&self) -> &[UnitRow] {
        &self.changed
    }
}

/// Returns the rows of a crate in a state, in their order.
///
/// # Errors
/// When SQLite fails, or a row of the catalogue is damaged.
pub fn rows_of(catalogue: &Catalogue, at: At, name: &CrateName) -> Result<Vec<Row>, RepoError> {
    let rows = offered(catalogue, at, name)?;
    rows.iter().map(|row| row_of(name, row)).collect()
}

fn offered(catalogue: &Catalogue, at: At, name: &CrateName) -> Result<Vec<OfferedRow>, RepoError> {
    Ok(match at {
        At::Now => catalogue.offered_rows(name.as_str())?,
        At::Snapshot(serial) => catalogue.offered_rows_at(serial, name.as_str())?,
    })
}

fn row_of(name: &CrateName, row: &OfferedRow) -> Result<Row, RepoError> {
    let bad = |_| RepoError::Internal(format!("the catalogue has a version of {name} that is none"));
    let version = row.version.parse().map_err(bad)?;
    let state = if row.yanked { RowState::Yanked } else { RowState::Offered };
    Ok(Row { id: ReleaseId { name: name.clone(), version }, checksum: row.sha256, state })
}

/// Computes the digests of what is offered now, from those of the newest snapshot where it has them. Reads the releases
/// of all crates in a unit in which a crate changed, on two threads where there are many. Memory: the names of all crates.
/// Blocks. No change may be open in the catalogue.
///
/// # Errors
/// When SQLite fails, or a row of the catalogue is damaged.
pub fn offered_units(catalogue: &Catalogue) -> Result<OfferedUnits, RepoError> {
    let known = catalogue.snapshot_units()?;
    let newest = catalogue.snapshots()?.last().map(|newest| newest.serial);
    let Some(newest) = newest.filter(|_| known.len() == UNITS) else {
        let rows = digest(catalogue, At::Now, &Unit::all().collect(), Readers::Two)?;
        return Ok(OfferedUnits { changed: rows.clone(), rows });
    };
    let mut units = BTreeSet::new();
    for name in catalogue.crates_changed_since(newest)? {
        let name = parsed(&name)?;
        let unit = Unit::of(&name);
        if !units.contains(&unit)
            && offered(catalogue, At::Now, &name)? != offered(catalogue, At::Snapshot(newest), &name)?
        {
            units.insert(unit);
        }
    }
    let changed = digest(catalogue, At::Now, &units, Readers::Two)?;
    let mut rows = known;
    for row in &changed {
        rows[usize::from(row.unit)] = *row;
    }
    Ok(OfferedUnits { rows, changed })
}

/// Checks that the rows of a snapshot in the catalogue are those whose digests it states. Reads all of them; memory as
/// for [`offered_units`]. Blocks.
///
/// # Errors
/// When they differ, or the catalogue does not have them; when SQLite fails.
pub fn check_rows(catalogue: &Catalogue, snapshot: &Snapshot) -> Result<(), RepoError> {
    let serial = snapshot.serial();
    if catalogue.snapshot(serial)?.sha256 != snapshot.digest() {
        return Err(RepoError::OtherSnapshot { serial });
    }
    check_digests(catalogue, At::Snapshot(serial), snapshot)
}

/// Checks that what is offered now is what a snapshot states. Reads all of it; memory as for [`offered_units`]. Blocks.
///
/// # Errors
/// When they differ; when SQLite fails.
pub fn check_offered(catalogue: &Catalogue, snapshot: &Snapshot) -> Result<(), RepoError> {
    check_digests(catalogue, At::Now, snapshot)
}

fn check_digests(catalogue: &Catalogue, at: At, snapshot: &Snapshot) -> Result<(), RepoError> {
    let units = &snapshot.contents().units;
    // Another connection could see another state.
    for row in digest(catalogue, at, &Unit::all().collect(), Readers::One)? {
        let unit = Unit::new(row.unit);
        if units.get(unit) != row.sha256 {
            return Err(RepoError::OtherRows { serial: snapshot.serial(), unit: unit.to_string() });
        }
    }
    Ok(())
}

fn parsed(name: &str) -> Result<CrateName, RepoError> {
    name.parse().map_err(|_| RepoError::Internal(format!("the catalogue has a crate {name:?}")))
}

/// The connections that read a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    /// The given one.
    One,
    /// Another one as well, on a thread of its own. It sees what is committed.
    Two,
}

/// Crates below which a second thread would gain nothing.
const FEW_CRATES: usize = 2_000;

/// Computes the digests of units in a state.
fn digest(
    catalogue: &Catalogue,
    at: At,
    units: &BTreeSet<Unit>,
    readers: Readers,
) -> Result<Vec<UnitRow>, RepoError> {
    if units.is_empty() {
        return Ok(Vec::new());
    }
    let mut names: Vec<Vec<CrateName>> = vec![Vec::new(); UNITS];
    let mut bad = None;
    catalogue.crates(&mut |name| match parsed(name) {
        Ok(name) => {
            let unit = Unit::of(&name);
            if units.contains(&unit) {
                names[usize::from(unit.number())].push(name);
            }
        }
        Err(error) => bad = Some(error),
    })?;
    if let Some(error) = bad {
        return Err(error);
    }
    let crates: usize = names.iter().map(Vec::len).sum();
    let units: Vec<_> =
        units.iter().map(|unit| (*unit, std::mem::take(&mut names[usize::from(unit.number())]))).collect();
    if readers == Readers::One || crates < FEW_CRATES {
        return digest_all(catalogue, at, units);
    }
    let beside = catalogue.another()?;
    let mut first = units;
    let second = first.split_off(first.len() / 2);
    std::thread::scope(|scope| {
        let second = scope.spawn(move || digest_all(&beside, at, second));
        let mut digests = digest_all(catalogue, at, first)?;
        let second = second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        digests.extend(second?);
        Ok(digests)
    })
}

fn digest_all(
    catalogue: &Catalogue,
    at: At,
    units: Vec<(Unit, Vec<CrateName>)>,
) -> Result<Vec<UnitRow>, RepoError> {
    let digest = |(unit, mut names): (Unit, Vec<CrateName>)| {
        names.sort_by_cached_key(|name| (name.as_str().to_ascii_lowercase(), name.clone()));
        digest_of(catalogue, at, unit, &names)
    };
    units.into_iter().map(digest).collect()
}

fn digest_of(catalogue: &Catalogue, at: At, unit: Unit, names: &[CrateName]) -> Result<UnitRow, RepoError> {
    let mut bytes = 0;
    let rows = names.iter().flat_map(|name| {
        let rows = offered(catalogue, at, name);
        let (rows, error) = match rows {
            Ok(rows) => (rows, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        bytes += rows.iter().map(|row| row.size).sum::<u64>();
        error.map(Err).into_iter().chain(rows.into_iter().map(|row| row_of(name, &row)))
    });
    let (sha256, counts) = digest_unit(unit, rows)?;
    Ok(UnitRow { unit: unit.number(), sha256, crates: counts.crates, releases: counts.releases, bytes })
}

impl From<RowError> for RepoError {
    fn from(error: RowError) -> Self {
        Self::SnapshotRow(error)
    }
}

#[cfg(test)]
mod tests {
    use mirror_manifest::{Change, HeldRelease};
    use mirror_types::{Location, Sha256};

    use super::*;

    #[test]
    fn two_readers_compute_the_digests_that_one_computes() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut catalogue = Catalogue::open(&dir.path().join("catalogue.sqlite")).expect("a catalogue");
        let held = |number: usize| {
            let id = ReleaseId {
                name: format!("crate-{number}").parse().expect("a name"),
                version: "1.0.0".parse().expect("a version"),
            };
            let sha256 = Sha256::from_bytes([u8::try_from(number % 251).expect("a byte"); 32]);
            let release = HeldRelease {
                id,
                sha256,
                size: number as u64,
                locations: [Location::LOOSE].into_iter().collect(),
            };
            Change::Held { release, source: 0 }
        };
        let changes: Vec<Change> = (0..FEW_CRATES + 100).map(held).collect();
        catalogue.apply(&changes).expect("applied");
        let units: BTreeSet<Unit> = Unit::all().collect();
        let [one, two] = [Readers::One, Readers::Two]
            .map(|readers| digest(&catalogue, At::Now, &units, readers).expect("digests"));
        assert_eq!(one, two);
        assert_eq!(one.len(), UNITS);
        assert_eq!(one.iter().map(|row| row.releases).sum::<u64>(), changes.len() as u64);
        assert!(one.is_sorted_by_key(|row| row.unit));
    }
}
