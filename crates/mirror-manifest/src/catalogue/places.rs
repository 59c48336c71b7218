//! The places of releases outside the loose tree and the bundles of the mirror. Those two are columns of `releases`;
//! each place in another store has a row of its own here, and its release is marked as held `elsewhere`.

use mirror_types::{Codec, Location, MemberLocation, ReleaseId, StoreId};
use rusqlite::{Connection, Row, params};

use super::columns::{number, size};
use super::database::Catalogue;
use super::rows::Held;
use crate::error::ManifestError;

/// The name of [`Codec::Tar`] in a column.
const TAR: &str = "tar";

/// Returns whether the releases have the mark: those of earlier catalogues do not.
pub(super) fn has_places(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row(
        "SELECT EXISTS (SELECT 1 FROM pragma_table_info('releases') WHERE name = 'elsewhere')",
        [],
        |row| row.get(0),
    )
}

/// Adds the column and the table of this module to an earlier catalogue.
pub(super) fn upgrade(db: &Connection) -> rusqlite::Result<()> {
    if !has_places(db)? {
        db.execute_batch("ALTER TABLE releases ADD COLUMN elsewhere INTEGER NOT NULL DEFAULT 0")?;
    }
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS places (
             crate_id INTEGER NOT NULL, version TEXT NOT NULL, store INTEGER NOT NULL,
             key TEXT, bundle INTEGER, frame_offset INTEGER, frame_len INTEGER, codec TEXT,
             PRIMARY KEY (crate_id, version, store)
         ) WITHOUT ROWID;
         CREATE INDEX IF NOT EXISTS places_by_store ON places (store);",
    )
}

/// Returns whether a store has its places in `places`.
pub(super) fn is_elsewhere(store: StoreId) -> bool {
    !matches!(store, StoreId::LOOSE | StoreId::BUNDLES)
}

/// Adds a row, replacing one in the same store.
pub(super) const ADD: &str = "INSERT OR REPLACE INTO places VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
pub(super) const REMOVE: &str = "DELETE FROM places
    WHERE crate_id = (SELECT id FROM crates WHERE name = ?1) AND version = ?2 AND store = ?3";
pub(super) const REMOVE_ALL: &str = "DELETE FROM places
    WHERE crate_id = (SELECT id FROM crates WHERE name = ?1) AND version = ?2";
/// Sets the mark of a release to match the rows.
pub(super) const MARK: &str = "UPDATE releases SET elsewhere = EXISTS (SELECT 1 FROM places
        WHERE places.crate_id = releases.crate_id AND places.version = releases.version)
    WHERE crate_id = (SELECT id FROM crates WHERE name = ?1) AND version = ?2";

/// Executes [`ADD`] for a location.
pub(super) fn add(
    to: &mut rusqlite::CachedStatement<'_>,
    crate_id: i64,
    version: &str,
    location: &Location,
) -> rusqlite::Result<()> {
    let (key, member) = match location {
        Location::Object { key, .. } => (key.as_deref(), None),
        Location::Member(member) => (None, Some(member)),
        _ => (None, None),
    };
    let row = params![
        crate_id,
        version,
        location.store().0,
        key,
        member.map(|member| member.bundle),
        member.map(|member| number(member.offset)),
        member.map(|member| number(member.len)),
        member.map(|_| TAR),
    ];
    to.execute(row).map(drop)
}

/// Reads the columns `store` to `codec`, of which the first is column `at`; `None` for a codec of later versions.
fn location(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Location>> {
    let store = StoreId(row.get(at)?);
    let Some(codec) = row.get::<_, Option<String>>(at + 5)? else {
        return Ok(Some(Location::Object { store, key: row.get::<_, Option<Box<str>>>(at + 1)? }));
    };
    let (bundle, offset, len) = (row.get(at + 2)?, size(row.get(at + 3)?), size(row.get(at + 4)?));
    let member = MemberLocation { store, bundle, offset, len, codec: Codec::Tar };
    Ok((codec == TAR).then_some(Location::Member(member)))
}

impl Catalogue {
    /// Adds the places elsewhere to the held versions of a crate.
    pub(super) fn add_places(&self, name: &str, held: &mut [Held]) -> rusqlite::Result<()> {
        let mut statement = self.db.prepare_cached(
            "SELECT version, store, key, bundle, frame_offset, frame_len, codec FROM places
             WHERE crate_id = (SELECT id FROM crates WHERE name = ?1)",
        )?;
        let mut rows = statement.query([name])?;
        while let Some(row) = rows.next()? {
            let version = row.get_ref(0)?.as_str()?;
            if let (Some(held), Some(at)) =
                (held.iter_mut().find(|held| held.version == version), location(row, 1)?)
            {
                held.locations.add(at);
            }
        }
        Ok(())
    }

    /// Returns the stores, beside the loose tree and the bundles, that hold something. Cheap.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn other_stores(&self) -> Result<Vec<StoreId>, ManifestError> {
        if !self.has_places {
            return Ok(Vec::new());
        }
        let query = || {
            let mut statement = self.db.prepare("SELECT min(store) FROM places WHERE store > ?1")?;
            let (mut found, mut last) = (Vec::new(), -1);
            while let Some(store) = statement.query_row([last], |row| row.get::<_, Option<u16>>(0))? {
                found.push(StoreId(store));
                last = i64::from(store);
            }
            Ok(found)
        };
        query().map_err(self.fail("read what is held from"))
    }

    /// Passes the releases in a store other than the loose tree and the bundles to `visit`.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn held_in(
        &self,
        store: StoreId,
        visit: &mut dyn FnMut(ReleaseId, Location),
    ) -> Result<(), ManifestError> {
        if !self.has_places {
            return Ok(());
        }
        let mut query = || {
            let mut statement = self.db.prepare(
                "SELECT name, version, store, key, bundle, frame_offset, frame_len, codec
                 FROM places JOIN crates ON crate_id = crates.id WHERE store = ?1",
            )?;
            let mut rows = statement.query([store.0])?;
            while let Some(row) = rows.next()? {
                let (name, version) = (row.get_ref(0)?.as_str()?.parse(), row.get_ref(1)?.as_str()?.parse());
                if let (Ok(name), Ok(version), Some(at)) = (name, version, location(row, 2)?) {
                    visit(ReleaseId { name, version }, at);
                }
            }
            Ok(())
        };
        query().map_err(self.fail("read what is held from"))
    }
}

#[cfg(test)]
mod tests {
    use mirror_types::{Locations, Sha256};

    use super::*;
    use crate::{Change, HeldRelease};

    const BUCKET: StoreId = StoreId(7);
    const ZIPS: StoreId = StoreId(4);

    fn id(name: &str) -> ReleaseId {
        ReleaseId { name: name.parse().expect("name"), version: "1.0.0".parse().expect("version") }
    }

    fn object(store: StoreId, key: &str) -> Location {
        Location::Object { store, key: Some(key.into()) }
    }

    fn held(name: &str, byte: u8, locations: impl IntoIterator<Item = Location>) -> Change {
        let (sha256, locations) = (Sha256::from_bytes([byte; 32]), locations.into_iter().collect());
        Change::Held { release: HeldRelease { id: id(name), sha256, size: 5, locations }, source: 1 }
    }

    fn places(catalogue: &Catalogue, name: &str) -> Locations {
        let one = catalogue.held_release(&id(name)).expect("held");
        let all = catalogue.held_of(&id(name).name).expect("held");
        assert_eq!(one.as_ref().map(|one| &one.locations), all.first().map(|all| &all.locations), "{name}");
        one.map(|one| one.locations).unwrap_or_default()
    }

    #[test]
    fn a_release_is_held_in_any_stores() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("c.sqlite");
        let mut catalogue = Catalogue::open(&path).expect("open");
        let member = MemberLocation { store: BUCKET, ..MemberLocation::tar(3, 10, 20) };
        let own = MemberLocation::tar(1, 0, 9);
        catalogue
            .apply(&[
                held("a", 1, [Location::LOOSE, object(ZIPS, "k")]),
                held("b", 1, [member.into()]),
                held("c", 1, [Location::Object { store: ZIPS, key: None }]),
                held("c", 1, [own.into()]),
                held("d", 1, [Location::LOOSE]),
                held("e", 1, [object(ZIPS, "old"), object(BUCKET, "old")]),
                held("e", 2, [object(BUCKET, "new")]),
            ])
            .expect("apply");
        let reader = Catalogue::open_read_only(&path).expect("open").expect("some");
        assert_eq!(places(&reader, "a"), [Location::LOOSE, object(ZIPS, "k")].into_iter().collect());
        assert_eq!(places(&reader, "b"), Location::Member(member).into());
        let c = [Location::Member(own), Location::Object { store: ZIPS, key: None }];
        assert_eq!(places(&reader, "c"), c.into_iter().collect(), "beside where the same bytes were held");
        assert_eq!(places(&reader, "d"), Location::LOOSE.into());
        assert_eq!(places(&reader, "e"), object(BUCKET, "new").into(), "other bytes are held nowhere else");
        assert_eq!(reader.other_stores().expect("stores"), [ZIPS, BUCKET]);
        let mut found = Vec::new();
        reader.held_in(ZIPS, &mut |id, at| found.push((id.name.to_string(), at))).expect("held");
        found.sort_by(|one, other| one.0.cmp(&other.0));
        let zips = [("a", object(ZIPS, "k")), ("c", Location::Object { store: ZIPS, key: None })];
        assert_eq!(found, zips.map(|(name, at)| (name.to_owned(), at)));
    }

    #[test]
    fn what_a_store_loses_may_be_held_in_others() {
        let dir = tempfile::tempdir().expect("dir");
        let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        let lost = |name, store| Change::Lost { id: id(name), store };
        catalogue
            .apply(&[
                held("a", 1, [Location::LOOSE, object(ZIPS, "k")]),
                held("b", 1, [object(ZIPS, "k"), object(BUCKET, "k")]),
                held("c", 1, [object(ZIPS, "k")]),
                held("d", 1, [object(ZIPS, "k"), MemberLocation::tar(1, 0, 9).into()]),
                held("e", 1, [object(ZIPS, "k")]),
                lost("a", StoreId::LOOSE),
                lost("b", ZIPS),
                lost("c", ZIPS),
                Change::BundleGone(1),
                Change::Removed(id("e")),
            ])
            .expect("apply");
        assert_eq!(places(&catalogue, "a"), object(ZIPS, "k").into());
        assert_eq!(places(&catalogue, "b"), object(BUCKET, "k").into());
        assert_eq!(places(&catalogue, "d"), object(ZIPS, "k").into());
        for gone in ["c", "e"] {
            assert!(catalogue.held_release(&id(gone)).expect("held").is_none(), "{gone}");
        }
        let failed: Vec<_> = catalogue.failures().expect("failures").into_iter().map(|row| row.0).collect();
        assert_eq!(failed, ["a", "b", "c"]);
        // None of it comes back when the release is held again.
        catalogue.apply(&[held("e", 1, [Location::LOOSE]), held("c", 1, [Location::LOOSE])]).expect("apply");
        assert_eq!(places(&catalogue, "e"), Location::LOOSE.into());
        assert_eq!(places(&catalogue, "c"), Location::LOOSE.into());
    }

    #[test]
    fn a_catalogue_of_before_gets_room_for_other_stores() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("c.sqlite");
        let mut catalogue = Catalogue::open(&path).expect("open");
        catalogue.apply(&[held("a", 1, [Location::LOOSE])]).expect("apply");
        drop(catalogue);
        let db = Connection::open(&path).expect("open");
        db.execute_batch("DROP TABLE places; ALTER TABLE releases DROP COLUMN elsewhere").expect("take back");
        drop(db);
        let reader = Catalogue::open_read_only(&path).expect("open").expect("some");
        assert_eq!(places(&reader, "a"), Location::LOOSE.into());
        assert_eq!(reader.other_stores().expect("stores"), []);
        drop(reader);
        let mut catalogue = Catalogue::open(&path).expect("open");
        catalogue.apply(&[held("a", 1, [object(ZIPS, "k")])]).expect("apply");
        assert_eq!(places(&catalogue, "a"), [Location::LOOSE, object(ZIPS, "k")].into_iter().collect());
    }
}
