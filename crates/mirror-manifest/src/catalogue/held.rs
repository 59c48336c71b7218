//! The catalogue's rows about the releases, directories and bundles of its mirror.

use std::ops::Range;

use mirror_types::{CrateName, MemberLocation, ReleaseId, Sha256};
use rusqlite::Connection;

use super::columns::{locations, member, sha, size};
use super::database::Catalogue;
use super::rows::{DirRow, Held, UpstreamRemoval};
use crate::error::ManifestError;

impl Catalogue {
    /// Returns the held versions of a crate.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn held_of(&self, name: &CrateName) -> Result<Vec<Held>, ManifestError> {
        let query = || {
            let seen = if self.has_seen { "seen" } else { "0" };
            let elsewhere = if self.has_places { "elsewhere" } else { "0" };
            let mut statement = self.db.prepare_cached(&format!(
                "SELECT version, sha256, size, loose, bundle, frame_offset, frame_len, {seen}, {elsewhere}
                 FROM releases
                 WHERE crate_id = (SELECT id FROM crates WHERE name = ?1)"
            ))?;
            let mut any_elsewhere = false;
            let rows = statement.query_map([name.as_str()], |row| {
                any_elsewhere |= row.get::<_, bool>(8)?;
                Ok(Held {
                    version: row.get(0)?,
                    sha256: sha(row.get_ref(1)?.as_blob()?)?,
                    size: size(row.get(2)?),
                    locations: locations(row, 3)?,
                    seen: size(row.get(7)?),
                })
            })?;
            let mut held = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            if any_elsewhere {
                self.add_places(name.as_str(), &mut held)?;
            }
            Ok(held)
        };
        query().map_err(self.fail("read what is held from"))
    }

    /// Returns whether nothing is held.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn is_empty(&self) -> Result<bool, ManifestError> {
        self.db
            .query_row("SELECT NOT EXISTS (SELECT 1 FROM releases)", [], |row| row.get(0))
            .map_err(self.fail("look into"))
    }

    /// Counts the held releases; the time grows with their number.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn count(&self) -> Result<u64, ManifestError> {
        self.db
            .query_row("SELECT count(*) FROM releases", [], |row| row.get(0))
            .map(size)
            .map_err(self.fail("count what is held in"))
    }

    /// Passes the directories whose listing matched the catalogue to `visit`.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn dirs(&self, visit: &mut dyn FnMut(DirRow)) -> Result<(), ManifestError> {
        let mut query = || {
            let mut statement = self.db.prepare("SELECT path, mtime_ns, ctime_ns, listed_ns FROM dirs")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(DirRow {
                    path: row.get(0)?,
                    mtime_ns: row.get(1)?,
                    ctime_ns: row.get(2)?,
                    listed_ns: row.get(3)?,
                });
            }
            Ok(())
        };
        query().map_err(self.fail("read the directories of"))
    }

    /// Passes the releases that are held as loose files to `visit`: those of the crates from one name up to, but not
    /// including, another.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn loose_between(
        &self,
        names: &Range<String>,
        visit: &mut dyn FnMut(&str, &str, u64),
    ) -> Result<(), ManifestError> {
        let mut query = || {
            let mut statement = self.db.prepare_cached(
                "SELECT name, version, size FROM crates JOIN releases ON crate_id = crates.id
                 WHERE name >= ?1 AND name < ?2 AND loose",
            )?;
            let mut rows = statement.query([&names.start, &names.end])?;
            while let Some(row) = rows.next()? {
                visit(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?, size(row.get(2)?));
            }
            Ok(())
        };
        query().map_err(self.fail("read what is held from"))
    }

    /// Returns the bundles in use: their numbers, and the ends of their last held frames.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn bundles(&self) -> Result<Vec<(u32, u64)>, ManifestError> {
        let query = || {
            let mut statement = self.db.prepare("SELECT number, end FROM bundles ORDER BY number")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, size(row.get(1)?))))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the bundles of"))
    }

    /// Passes the releases held in a bundle to `visit`. Reads all rows.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn members_of(
        &self,
        bundle: u32,
        visit: &mut dyn FnMut(ReleaseId, Sha256, MemberLocation),
    ) -> Result<(), ManifestError> {
        let mut query = || {
            let mut statement = self.db.prepare(
                "SELECT name, version, sha256, bundle, frame_offset, frame_len
                 FROM releases JOIN crates ON crate_id = crates.id WHERE bundle = ?1",
            )?;
            let mut rows = statement.query([bundle])?;
            while let Some(row) = rows.next()? {
                let (name, version) = (row.get_ref(0)?.as_str()?.parse(), row.get_ref(1)?.as_str()?.parse());
                if let (Ok(name), Ok(version), Some(member)) = (name, version, member(row, 3)?) {
                    visit(ReleaseId { name, version }, sha(row.get_ref(2)?.as_blob()?)?, member);
                }
            }
            Ok(())
        };
        query().map_err(self.fail("read what is held from"))
    }

    /// Passes the names of all crates with a release that is or was held to `visit`.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn crates(&self, visit: &mut dyn FnMut(&str)) -> Result<(), ManifestError> {
        let mut query = || {
            let mut statement = self.db.prepare("SELECT name FROM crates")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(row.get_ref(0)?.as_str()?);
            }
            Ok(())
        };
        query().map_err(self.fail("read what is held from"))
    }

    /// Returns the held releases that upstream removed, with the time at which that was first noticed.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn removed_upstream(&self) -> Result<Vec<(ReleaseId, UpstreamRemoval, String)>, ManifestError> {
        removed_upstream(&self.db).map_err(self.fail("read what upstream removed from"))
    }

    /// Returns the releases that are recorded as removed by upstream, as [`Catalogue::removed_upstream`] does, also those
    /// that are not held: one may be lost, or could not be fetched yet. In no order.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn withdrawn(&self) -> Result<Vec<(ReleaseId, UpstreamRemoval, String)>, ManifestError> {
        let select = "SELECT crate, version, kind, first_seen FROM withdrawn";
        withdrawn(&self.db, select).map_err(self.fail("read what upstream removed from"))
    }
}

pub(super) fn removed_upstream(
    db: &Connection,
) -> rusqlite::Result<Vec<(ReleaseId, UpstreamRemoval, String)>> {
    withdrawn(
        db,
        "SELECT crate, withdrawn.version, kind, first_seen FROM withdrawn
         JOIN crates ON name = crate JOIN releases ON crate_id = crates.id AND releases.version = withdrawn.version
         ORDER BY 1, 2",
    )
}

fn withdrawn(db: &Connection, select: &str) -> rusqlite::Result<Vec<(ReleaseId, UpstreamRemoval, String)>> {
    let mut statement = db.prepare(select)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, version) = (row.get_ref(0)?.as_str()?.parse(), row.get_ref(1)?.as_str()?.parse());
        let (Ok(name), Ok(version)) = (name, version) else { continue };
        let kind = UpstreamRemoval::read(row.get_ref(2)?.as_str()?);
        found.push((ReleaseId { name, version }, kind, row.get(3)?));
    }
    Ok(found)
}
