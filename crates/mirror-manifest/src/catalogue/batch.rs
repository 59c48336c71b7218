//! What the catalogue is told, and how it is written down.

use std::time::SystemTime;

use mirror_types::{CrateName, Locations, ReleaseId, Sha256, VersionText};
use rusqlite::{OptionalExtension as _, Transaction, params};

use crate::lines::IndexFileRow;
use crate::record::rfc3339;

/// One held version of a crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Version text.
    pub version: String,
    /// Hash of the held bytes.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
    /// Where they are held.
    pub locations: Locations,
    /// In which recorded sources it was seen, a bit for each ([`Catalogue::source_bit`](super::Catalogue::source_bit)).
    pub seen: u64,
}

/// A release that is held from now on. With another hash than before, it is held nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRelease {
    /// Crate and version.
    pub id: ReleaseId,
    /// Hash of the held bytes.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
    /// Where, beside where the same bytes were held before.
    pub locations: Locations,
}

/// A directory whose listing agreed with the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirRow {
    /// Path below the root.
    pub path: String,
    /// Its modification time before it was listed, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// When it was changed in any way, its times included; 0 where the system does not say.
    pub ctime_ns: i64,
    /// When it was listed, nanoseconds since 1970.
    pub listed_ns: i64,
}

/// How upstream withdrew a release that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Withdrawal {
    /// Kept for old lockfiles, not offered to new ones.
    Yanked,
    /// Not in the index any more.
    Deleted,
}

impl Withdrawal {
    /// As in the catalogue's table `withdrawn`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yanked => "yanked",
            Self::Deleted => "deleted",
        }
    }

    pub(super) fn read(text: &str) -> Self {
        if text == "yanked" { Self::Yanked } else { Self::Deleted }
    }
}

/// A line of the failure ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRow {
    /// The crate.
    pub name: CrateName,
    /// Its version; `None` when nothing is known of the whole crate, because its index file could
    /// not be had.
    pub version: Option<VersionText>,
    /// Checksum of the index.
    pub cksum: Option<Sha256>,
    /// Readable URL.
    pub url: String,
    /// Kind of the failure.
    pub kind: String,
    /// One line.
    pub error: String,
    /// Last HTTP status.
    pub http_status: Option<u16>,
    /// Attempts, over all runs.
    pub attempts: u32,
    /// RFC 3339.
    pub first_seen: String,
    /// RFC 3339.
    pub last_seen: String,
}

/// Changes that are applied together, in this order.
#[derive(Debug, Clone, Default)]
pub struct CatalogueBatch {
    /// Releases whose file is gone or was wrong; they stand in the failure ledger until they are held
    /// again.
    pub lost: Vec<ReleaseId>,
    /// The same of members of bundles.
    pub lost_members: Vec<ReleaseId>,
    /// Rows that were removed on purpose.
    pub forgotten: Vec<ReleaseId>,
    /// Rows that have one.
    pub held: Vec<HeldRelease>,
    /// To be taken out of the ledger: held now.
    pub healed: Vec<ReleaseId>,
    /// To be taken out of the ledger: not wanted any more.
    pub unwanted: Vec<ReleaseId>,
    /// Whether a later run could not find by comparing trees what this changes.
    pub unsettling: bool,
    /// Directories in which files were put: not to be trusted before they are listed again.
    pub touched: Vec<String>,
    /// Held releases that upstream has withdrawn, seen at this time (RFC 3339).
    pub withdrawn: Vec<(ReleaseId, Withdrawal, String)>,
    /// Releases that upstream offers again.
    pub returned: Vec<ReleaseId>,
    /// Crates whose index file could be read: rows of the whole crate are taken out of the ledger.
    pub healed_crates: Vec<CrateName>,
    /// The bit of the source whose records `held` and `seen` are.
    pub source: u64,
    /// Releases that were held before and that this source lists.
    pub seen: Vec<ReleaseId>,
    /// To be put into the ledger.
    pub failed: Vec<FailureRow>,
    /// Directories whose listing agreed.
    pub dirs: Vec<DirRow>,
    /// Index files whose lines are kept from now on.
    pub index_files: Vec<IndexFileRow>,
    /// Length of the manifest that is taken in with this.
    pub manifest_len: Option<u64>,
}

pub(super) fn apply(to: &Transaction<'_>, batch: &CatalogueBatch) -> rusqlite::Result<()> {
    if batch.outdates_cursor() {
        to.execute("DELETE FROM state WHERE key = ?1", [CURSOR])?;
    }
    forget(to, batch)?;
    hold(to, batch)?;
    heal(to, batch)?;
    fail(to, batch)?;
    withdraw(to, batch)?;
    see(to, batch)?;
    super::index_files::keep(to, &batch.index_files)?;
    let mut touch = to.prepare_cached("INSERT OR REPLACE INTO dirs VALUES (?1, 0, 0, 0)")?;
    for path in &batch.touched {
        touch.execute([path])?;
    }
    let mut dir = to.prepare_cached("INSERT OR REPLACE INTO dirs VALUES (?1, ?2, ?3, ?4)")?;
    for row in &batch.dirs {
        dir.execute(params![row.path, row.mtime_ns, row.ctime_ns, row.listed_ns])?;
    }
    if let Some(len) = batch.manifest_len {
        to.execute("INSERT OR REPLACE INTO state VALUES ('manifest_len', ?1)", [len.to_string()])?;
    }
    Ok(())
}

/// Under which key the state keeps the index cursor.
pub(super) const CURSOR: &str = "index_cursor";

impl CatalogueBatch {
    /// Takes a release out of the ledger that is held, be it in one of two places: whoever wants both has to
    /// look at it.
    pub fn settle(&mut self, id: ReleaseId) {
        self.unsettling = true;
        self.healed.push(id);
    }

    /// Whether it changes what a later run would take for settled, because upstream's files look as
    /// they did when the cursor was left: upstream may go back to what it had.
    fn outdates_cursor(&self) -> bool {
        self.unsettling
            || !(self.forgotten.is_empty() && self.unwanted.is_empty() && self.withdrawn.is_empty())
    }
}

/// The kind under which the ledger has what lost its file. It may be held in a bundle nevertheless.
pub const LOST: &str = "lost";

/// The row of a release: crate and version.
const ROW: &str = "crate_id = (SELECT id FROM crates WHERE name = ?1) AND version = ?2";

fn forget(to: &Transaction<'_>, batch: &CatalogueBatch) -> rusqlite::Result<()> {
    let mut forget = to.prepare_cached(&format!("DELETE FROM releases WHERE {ROW}"))?;
    let mut undate = to.prepare_cached("DELETE FROM withdrawn WHERE crate = ?1 AND version = ?2")?;
    for id in &batch.forgotten {
        forget.execute([id.name.as_str(), id.version.as_str()])?;
        undate.execute([id.name.as_str(), id.version.as_str()])?;
    }
    let now = rfc3339(SystemTime::now());
    let mut drop =
        to.prepare_cached(&format!("DELETE FROM releases WHERE {ROW} AND NOT loose AND bundle IS NULL"))?;
    let mut lose = to.prepare_cached(
        "INSERT INTO failures VALUES (?1, ?2, NULL, '', ?4, 'its file is gone or was wrong', NULL, 0, ?3, ?3)
         ON CONFLICT DO NOTHING",
    )?;
    for (what, kind, lost) in
        [("loose = 0", LOST, &batch.lost), ("bundle = NULL", "damaged", &batch.lost_members)]
    {
        let mut unmark = to.prepare_cached(&format!("UPDATE releases SET {what} WHERE {ROW}"))?;
        for id in lost {
            let key = [id.name.as_str(), id.version.as_str()];
            unmark.execute(key)?;
            if drop.execute(key)? > 0 {
                undate.execute(key)?;
            }
            lose.execute([key[0], key[1], now.as_str(), kind])?;
        }
    }
    Ok(())
}

/// Forgets a bundle, and what only it holds.
pub(super) fn forget_bundle(to: &Transaction<'_>, number: u32) -> rusqlite::Result<()> {
    to.execute("DELETE FROM releases WHERE bundle = ?1 AND NOT loose", [number])?;
    to.execute(
        "UPDATE releases SET bundle = NULL, frame_offset = NULL, frame_len = NULL WHERE bundle = ?1",
        [number],
    )?;
    to.execute("DELETE FROM bundles WHERE number = ?1", [number])?;
    to.execute("DELETE FROM state WHERE key = ?1", [CURSOR]).map(drop)
}

fn hold(to: &Transaction<'_>, batch: &CatalogueBatch) -> rusqlite::Result<()> {
    let mut find = to.prepare_cached("SELECT id FROM crates WHERE name = ?1")?;
    let mut name = to.prepare_cached("INSERT INTO crates (name) VALUES (?1)")?;
    let mut hold = to.prepare_cached(
        "INSERT INTO releases (crate_id, version, sha256, size, loose, bundle, frame_offset, frame_len, seen)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT DO UPDATE SET
             loose = excluded.loose OR (loose AND sha256 = excluded.sha256),
             bundle = coalesce(excluded.bundle, iif(sha256 = excluded.sha256, bundle, NULL)),
             frame_offset = coalesce(excluded.frame_offset, frame_offset),
             frame_len = coalesce(excluded.frame_len, frame_len),
             sha256 = excluded.sha256, size = excluded.size, seen = seen | excluded.seen",
    )?;
    let mut other = to.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM releases WHERE crate_id = ?1 AND version = ?2 AND sha256 <> ?3)",
    )?;
    let mut outdated = false;
    let mut grow = to.prepare_cached(
        "INSERT INTO bundles VALUES (?1, ?2) ON CONFLICT DO UPDATE SET end = max(end, excluded.end)",
    )?;
    for held in &batch.held {
        let known = find.query_row([held.id.name.as_str()], |row| row.get::<_, i64>(0)).optional()?;
        let id = match known {
            Some(id) => id,
            None => name.insert([held.id.name.as_str()])?,
        };
        let key = params![id, held.id.version.as_str(), held.sha256.as_bytes()];
        outdated |= other.query_row(key, |row| row.get::<_, bool>(0))?;
        let member = held.locations.member();
        hold.execute(params![
            id,
            held.id.version.as_str(),
            held.sha256.as_bytes(),
            number(held.size),
            held.locations.is_loose(),
            member.map(|member| member.bundle),
            member.map(|member| number(member.offset)),
            member.map(|member| number(member.len)),
            number(batch.source),
        ])?;
        if let Some(member) = member {
            grow.execute(params![member.bundle, number(member.offset + member.len)])?;
        }
    }
    if outdated {
        // Whoever says so: upstream may go back to the bytes that were held.
        to.execute("DELETE FROM state WHERE key = ?1", [CURSOR])?;
    }
    Ok(())
}

/// Has the ends of bundles be those of what is held in them; a bundle without any is not known.
pub(super) fn measure_bundles(to: &Transaction<'_>) -> rusqlite::Result<()> {
    to.execute("DELETE FROM bundles", [])?;
    to.execute(
        "INSERT INTO bundles SELECT bundle, max(frame_offset + frame_len) FROM releases
         WHERE bundle IS NOT NULL GROUP BY bundle",
        [],
    )
    .map(drop)
}

/// As SQLite keeps numbers.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn heal(to: &Transaction<'_>, batch: &CatalogueBatch) -> rusqlite::Result<()> {
    let mut heal = to.prepare_cached("DELETE FROM failures WHERE crate = ?1 AND version = ?2")?;
    for id in batch.healed.iter().chain(&batch.unwanted) {
        heal.execute([id.name.as_str(), id.version.as_str()])?;
    }
    let mut heal_crate = to.prepare_cached("DELETE FROM failures WHERE crate = ?1 AND version = ''")?;
    for name in &batch.healed_crates {
        heal_crate.execute([name.as_str()])?;
    }
    Ok(())
}

fn fail(to: &Transaction<'_>, batch: &CatalogueBatch) -> rusqlite::Result<()> {
    let mut fail = to.prepare_cached(
        "INSERT INTO failures VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT DO UPDATE SET cksum = excluded.cksum, url = excluded.url, kind = excluded.kind,
             error = excluded.error, http_status = excluded.http_status,
             attempts = attempts + excluded.attempts, last_seen = excluded.last_seen",
    )?;
    for row in &batch.failed {
        fail.execute(params![
            row.name.as_str(),
            row.version.as_ref().map_or("", VersionText::as_str),
            row.cksum.map(Sha256::to_hex),
            row.url,
            row.kind,
            row.error,
            row.http_status,
            row.attempts,
            row.first_seen,
            row.last_seen
        ])?;
    }
    Ok(())
}

fn see(to: &Transaction<'_>, batch: &CatalogueBatch) -> rusqlite::Result<()> {
    let mut see = to.prepare_cached(&format!("UPDATE releases SET seen = seen | ?3 WHERE {ROW}"))?;
    for id in &batch.seen {
        see.execute(params![id.name.as_str(), id.version.as_str(), number(batch.source)])?;
    }
    Ok(())
}

fn withdraw(to: &Transaction<'_>, batch: &CatalogueBatch) -> rusqlite::Result<()> {
    // The first sight counts, until it is withdrawn in another way.
    let mut withdraw = to.prepare_cached(
        "INSERT INTO withdrawn VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET kind = excluded.kind, first_seen = excluded.first_seen
         WHERE kind <> excluded.kind",
    )?;
    for (id, kind, seen) in &batch.withdrawn {
        withdraw.execute([id.name.as_str(), id.version.as_str(), kind.as_str(), seen])?;
    }
    let mut back = to.prepare_cached("DELETE FROM withdrawn WHERE crate = ?1 AND version = ?2")?;
    for id in &batch.returned {
        back.execute([id.name.as_str(), id.version.as_str()])?;
    }
    Ok(())
}
