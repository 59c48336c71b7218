//! Queries for a server of the mirror.

use mirror_types::{CrateName, ReleaseId};
use rusqlite::OptionalExtension as _;

use super::columns::{locations, sha, size};
use super::database::Catalogue;
use super::rows::{Held, Offered};
use crate::error::ManifestError;

/// The totals of a mirror.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldTotals {
    /// Crates with held releases.
    pub crates: u64,
    /// Releases.
    pub releases: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// Excludes what upstream deleted from `releases`, joined with `crates`.
const NOT_DELETED: &str = "NOT EXISTS (SELECT 1 FROM withdrawn
    WHERE crate = crates.name AND withdrawn.version = releases.version AND kind = 'deleted')";
/// Excludes what policy holds back.
const NOT_HELD_BACK: &str = "NOT EXISTS (SELECT 1 FROM held_back
    WHERE crate = crates.name AND held_back.version = releases.version AND held)";

impl Catalogue {
    /// Returns the condition for a release that is offered, on `releases` joined with `crates`.
    fn offered(&self) -> rusqlite::Result<String> {
        Ok(match self.has_held_back()? {
            true => format!("{NOT_DELETED} AND {NOT_HELD_BACK}"),
            false => NOT_DELETED.to_owned(),
        })
    }

    /// Returns the held versions of a crate that upstream did not delete and policy does not hold back.
    ///
    /// # Errors
    /// [`ManifestError::Unjudged`]; when SQLite fails.
    pub fn offered_of(&self, name: &CrateName) -> Result<Vec<Offered>, ManifestError> {
        if let Some(past) = self.past {
            return self.past_of(past, name);
        }
        self.check_judged()?;
        let mut held = self.held_of(name)?;
        if !held.is_empty() {
            let hidden = self.hidden_of(name)?;
            held.retain(|held| !hidden.contains(&held.version));
        }
        Ok(held.into_iter().map(|held| Offered { held, yanked: None }).collect())
    }

    /// Returns the versions of a crate that upstream deleted, and those that are held and that policy holds back.
    fn hidden_of(&self, name: &CrateName) -> Result<Vec<String>, ManifestError> {
        let mut hidden = self.deleted_of(name)?;
        let query = || match self.has_held_back()? {
            true => self.versions_of("SELECT version FROM held_back WHERE crate = ?1 AND held", name),
            false => Ok(Vec::new()),
        };
        hidden.extend(query().map_err(self.fail("read what is not offered from"))?);
        Ok(hidden)
    }

    /// Returns the versions of a crate that upstream deleted.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn deleted_of(&self, name: &CrateName) -> Result<Vec<String>, ManifestError> {
        self.deleted_versions(name).map_err(self.fail("read what upstream removed from"))
    }

    pub(super) fn deleted_versions(&self, name: &CrateName) -> rusqlite::Result<Vec<String>> {
        self.versions_of("SELECT version FROM withdrawn WHERE crate = ?1 AND kind = 'deleted'", name)
    }

    fn versions_of(&self, select: &str, name: &CrateName) -> rusqlite::Result<Vec<String>> {
        let mut statement = self.db.prepare_cached(select)?;
        let rows = statement.query_map([name.as_str()], |row| row.get(0))?;
        rows.collect()
    }

    /// Returns where and with which hash a release is held, unless upstream deleted it or policy holds it back.
    ///
    /// # Errors
    /// [`ManifestError::Unjudged`]; when SQLite fails.
    pub fn offered_release(&self, id: &ReleaseId) -> Result<Option<Held>, ManifestError> {
        if let Some(past) = self.past {
            return self.past_release(past, id);
        }
        self.check_judged()?;
        Ok(if self.is_deleted(id)? || self.is_held_back(id)? { None } else { self.held_release(id)? })
    }

    /// Returns whether a release is held and policy does not offer it.
    fn is_held_back(&self, id: &ReleaseId) -> Result<bool, ManifestError> {
        const EXISTS: &str =
            "SELECT EXISTS (SELECT 1 FROM held_back WHERE crate = ?1 AND version = ?2 AND held)";
        let query = || {
            if !self.has_held_back()? {
                return Ok(false);
            }
            let key = [id.name.as_str(), id.version.as_str()];
            self.db.prepare_cached(EXISTS)?.query_row(key, |row| row.get(0))
        };
        query().map_err(self.fail("read what policy holds back from"))
    }

    /// Returns whether upstream deleted a release.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn is_deleted(&self, id: &ReleaseId) -> Result<bool, ManifestError> {
        let query = || {
            let mut statement = self.db.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM withdrawn WHERE crate = ?1 AND version = ?2 AND kind = 'deleted')",
            )?;
            statement.query_row([id.name.as_str(), id.version.as_str()], |row| row.get(0))
        };
        query().map_err(self.fail("read what upstream removed from"))
    }

    /// Returns where one release is held, and with which hash.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn held_release(&self, id: &ReleaseId) -> Result<Option<Held>, ManifestError> {
        let query = || {
            let elsewhere = if self.has_places { "elsewhere" } else { "0" };
            let mut statement = self.db.prepare_cached(&format!(
                "SELECT version, sha256, size, loose, bundle, frame_offset, frame_len, {elsewhere} FROM releases
                 WHERE crate_id = (SELECT id FROM crates WHERE name = ?1) AND version = ?2"
            ))?;
            let mut is_elsewhere = false;
            let row = |row: &rusqlite::Row<'_>| {
                is_elsewhere = row.get(7)?;
                Ok(Held {
                    version: row.get(0)?,
                    sha256: sha(row.get_ref(1)?.as_blob()?)?,
                    size: size(row.get(2)?),
                    locations: locations(row, 3)?,
                    seen: 0,
                })
            };
            let mut held = statement.query_row([id.name.as_str(), id.version.as_str()], row).optional()?;
            if let Some(held) = held.as_mut().filter(|_| is_elsewhere) {
                self.add_places(id.name.as_str(), std::slice::from_mut(held))?;
            }
            Ok(held)
        };
        query().map_err(self.fail("read what is held from"))
    }

    /// Limits the cache of this connection, for one of many.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn keep_little(&self) -> Result<(), ManifestError> {
        const KIB: i64 = 256;
        self.db.pragma_update(None, "cache_size", -KIB).map_err(self.fail("open"))
    }

    /// Returns SQLite's `data_version`, which changes whenever another connection commits. Reads it from shared memory.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn changes(&self) -> Result<i64, ManifestError> {
        let query = || self.db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0));
        query().map_err(self.fail("look into"))
    }

    /// Passes every offered release to `visit`, crate by crate: those that are held, that upstream did not delete, and
    /// that policy does not hold back.
    ///
    /// # Errors
    /// [`ManifestError::Unjudged`]; when SQLite fails.
    pub fn releases(&self, visit: &mut dyn FnMut(&str, &str)) -> Result<(), ManifestError> {
        if let Some(past) = self.past {
            return self.past_releases(past, &mut |name, held| {
                held.iter().for_each(|release| visit(name.as_str(), &release.held.version));
            });
        }
        self.check_judged()?;
        let mut query = || {
            let offered = self.offered()?;
            let mut statement = self.db.prepare(&format!(
                "SELECT name, version FROM releases JOIN crates ON crates.id = crate_id WHERE {offered}"
            ))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
            }
            Ok(())
        };
        query().map_err(self.fail("read what is held from"))
    }

    /// Runs `look` in one read transaction, so that all of its queries see one state of the catalogue.
    ///
    /// # Errors
    /// When SQLite fails, and the errors of `look`.
    pub fn consistently<T, E: From<ManifestError>>(
        &self,
        look: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction = self.db.unchecked_transaction().map_err(self.fail("read"))?;
        let seen = look();
        // The transaction wrote nothing, so its end cannot lose anything.
        let _ = transaction.finish();
        seen
    }

    /// Counts the offered releases: held, not deleted upstream, and not held back. The time grows with their number.
    ///
    /// # Errors
    /// [`ManifestError::Unjudged`]; when SQLite fails.
    pub fn totals(&self) -> Result<HeldTotals, ManifestError> {
        if let Some(past) = self.past {
            return self.past_totals(past);
        }
        self.check_judged()?;
        let query = || {
            // Where everything is offered, as in most mirrors, counting needs no lookups.
            let mut hidden = "EXISTS (SELECT 1 FROM withdrawn WHERE kind = 'deleted')".to_owned();
            if self.has_held_back()? {
                hidden += " OR EXISTS (SELECT 1 FROM held_back WHERE held)";
            }
            let some = self.db.query_row(&format!("SELECT {hidden}"), [], |row| row.get::<_, bool>(0))?;
            let offered = if some { self.offered()? } else { "1".to_owned() };
            let count = format!(
                "SELECT count(DISTINCT crate_id), count(*), coalesce(sum(size), 0)
                 FROM releases JOIN crates ON crates.id = crate_id WHERE {offered}"
            );
            self.db.query_row(&count, [], |row| {
                Ok(HeldTotals {
                    crates: size(row.get(0)?),
                    releases: size(row.get(1)?),
                    bytes: size(row.get(2)?),
                })
            })
        };
        query().map_err(self.fail("count what is offered in"))
    }

    /// Searches for crates with offered releases whose names contain `part`, ignoring case and the difference between `-`
    /// and `_`: `part` itself comes first, then names that begin with it, short ones first. Skips the first `skip`,
    /// returns at most `most`, and counts all matches. Looks at every name.
    ///
    /// # Errors
    /// [`ManifestError::Unjudged`]; when SQLite fails.
    pub fn search(&self, part: &str, skip: u64, most: u64) -> Result<(u64, Vec<String>), ManifestError> {
        let part = part.to_ascii_lowercase().replace('_', "-");
        if let Some(past) = self.past {
            return self.past_search(past, &part, skip, most);
        }
        self.check_judged()?;
        let query = || {
            let found = format!(
                "FROM (SELECT id, name, instr(lower(replace(name, '_', '-')), ?1) AS at FROM crates)
                 AS crates WHERE at > 0 AND EXISTS (SELECT 1 FROM releases WHERE crate_id = id AND {})",
                self.offered()?
            );
            let count = self
                .db
                .prepare_cached(&format!("SELECT count(*) {found}"))?
                .query_row([&part], |row| row.get::<_, i64>(0))?;
            let mut list = self.db.prepare_cached(&format!(
                "SELECT name {found} ORDER BY length(name) <> length(?1) OR at <> 1, at <> 1, length(name), name
                 LIMIT ?2 OFFSET ?3"
            ))?;
            let bound = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let names = list.query_map((&part, bound(most), bound(skip)), |row| row.get(0))?;
            Ok((size(count), names.collect::<rusqlite::Result<Vec<_>>>()?))
        };
        query().map_err(self.fail("search"))
    }
}

#[cfg(test)]
mod tests {
    use mirror_types::{Location, Sha256};

    use super::*;
    use crate::{Change, HeldRelease};

    fn id(name: &str, version: &str) -> ReleaseId {
        ReleaseId { name: name.parse().expect("name"), version: version.parse().expect("version") }
    }

    fn held(name: &str, version: &str) -> Change {
        let sha256 = Sha256::from_bytes([7; 32]);
        let locations = Location::LOOSE.into();
        Change::Held { release: HeldRelease { id: id(name, version), sha256, size: 5, locations }, source: 0 }
    }

    #[test]
    fn questions_of_a_server() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("c.sqlite");
        let mut catalogue = Catalogue::open(&path).expect("open");
        let reader = Catalogue::open_read_only(&path).expect("open").expect("some");
        let before = reader.changes().expect("changes");
        assert_eq!(reader.changes().expect("changes"), before);
        let names = ["serde", "serde_json", "a-serde", "Serde", "tokio", "my_serde-x"];
        let mut changes: Vec<_> = names.iter().map(|name| held(name, "1.0.0")).collect();
        changes.extend([held("serde", "1.0.1"), held("serde-gone", "1.0.1")]);
        catalogue.apply(&changes).expect("apply");
        catalogue.apply(&[Change::Removed(id("serde-gone", "1.0.1"))]).expect("apply");
        assert_ne!(reader.changes().expect("changes"), before);
        assert_eq!(reader.totals().expect("totals"), HeldTotals { crates: 6, releases: 7, bytes: 35 });
        let (count, found) = reader.search("SERDE", 0, 4).expect("search");
        assert_eq!(
            (count, found),
            (5, ["Serde", "serde", "serde_json", "a-serde"].map(str::to_owned).into())
        );
        assert_eq!(reader.search("serde", 4, 4).expect("search").1, ["my_serde-x"]);
        assert_eq!(reader.search("y-serde_X", 0, 4).expect("search").0, 1);
        assert_eq!(reader.search("%", 0, 4).expect("search").0, 0);
        assert!(reader.held_release(&id("serde", "1.0.1")).expect("held").is_some());
        assert!(reader.held_release(&id("serde", "1.0.2")).expect("held").is_none());
        // One state, whatever is committed in between.
        let seen = reader.consistently(|| {
            let before = reader.count()?;
            catalogue.apply(&[held("new", "1.0.0")])?;
            Ok::<_, ManifestError>((before, reader.count()?))
        });
        assert_eq!(seen.expect("seen"), (7, 7));
        assert_eq!(reader.count().expect("count"), 8);
    }
}
