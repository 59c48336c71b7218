//! Applies changes to the catalogue.

use std::collections::HashSet;
use std::time::SystemTime;

use mirror_types::{ReleaseId, Sha256, StoreId, VersionText};
use rusqlite::{CachedStatement, OptionalExtension as _, Transaction, params};

use super::change::Change;
use super::columns::number;
use super::database::Catalogue;
use super::deferred;
use super::held_back::{self, HeldBackRelease, ReplacedRelease};
use super::index_cache;
use super::licences::{self, LicenceRow};
use super::rows::{FailureRow, HeldRelease, LOST};
use super::{places, snapshots};
use crate::error::ManifestError;
use crate::record::rfc3339;

/// The kind of failure of a release that a bundle has lost.
const DAMAGED: &str = "damaged";

impl Catalogue {
    /// Applies changes in order, in one transaction.
    ///
    /// # Errors
    /// When SQLite fails; then no change is applied.
    pub fn apply(&mut self, changes: &[Change]) -> Result<(), ManifestError> {
        let fail = self.fail("write to");
        let mut write = || {
            let transaction = self.db.transaction()?;
            apply(&transaction, changes)?;
            transaction.commit()
        };
        write().map_err(fail)
    }
}

/// Applies changes in order.
fn apply(to: &Transaction<'_>, changes: &[Change]) -> rusqlite::Result<()> {
    let mut applier = Applier::new(to)?;
    changes.iter().try_for_each(|change| applier.apply(change))?;
    applier.finish()
}

/// The statements that changes need.
#[derive(Clone, Copy)]
enum Sql {
    FindCrate,
    AddCrate,
    HasTheseBytes,
    Hold,
    GrowBundle,
    LoseFile,
    LoseMember,
    AddPlace,
    LosePlace,
    LosePlaces,
    MarkPlaces,
    RemoveUnheld,
    RecordLoss,
    Remove,
    Reinstate,
    ForgetDeletion,
    Fail,
    Resolve,
    HoldBack,
    Replace,
    ReplaceUnseen,
    Undefer,
    UndeferHeld,
    Offer,
    AddLicence,
    ForgetLicence,
    RemoveUpstream,
    See,
    WriteDir,
    ListDir,
}

impl Sql {
    const COUNT: usize = Self::ListDir as usize + 1;

    const fn text(self) -> &'static str {
        match self {
            Self::FindCrate => "SELECT id FROM crates WHERE name = ?1",
            Self::AddCrate => "INSERT INTO crates (name) VALUES (?1)",
            Self::HasTheseBytes => "SELECT sha256 = ?3 FROM releases WHERE crate_id = ?1 AND version = ?2",
            Self::Hold => {
                "INSERT INTO releases
                     (crate_id, version, sha256, size, loose, bundle, frame_offset, frame_len, seen, elsewhere)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT DO UPDATE SET
                     loose = excluded.loose OR (loose AND sha256 = excluded.sha256),
                     bundle = coalesce(excluded.bundle, iif(sha256 = excluded.sha256, bundle, NULL)),
                     frame_offset = coalesce(excluded.frame_offset, frame_offset),
                     frame_len = coalesce(excluded.frame_len, frame_len),
                     elsewhere = excluded.elsewhere OR (elsewhere AND sha256 = excluded.sha256),
                     sha256 = excluded.sha256, size = excluded.size, seen = seen | excluded.seen"
            }
            Self::GrowBundle => {
                "INSERT INTO bundles VALUES (?1, ?2) ON CONFLICT DO UPDATE SET end = max(end, excluded.end)"
            }
            Self::LoseFile => {
                "UPDATE releases SET loose = 0
                 WHERE crate_id = (SELECT id FROM crates WHERE name = ?1) AND version = ?2"
            }
            Self::LoseMember => {
                "UPDATE releases SET bundle = NULL
                 WHERE crate_id = (SELECT id FROM crates WHERE name = ?1) AND version = ?2"
            }
            Self::AddPlace => places::ADD,
            Self::LosePlace => places::REMOVE,
            Self::LosePlaces => places::REMOVE_ALL,
            Self::MarkPlaces => places::MARK,
            Self::RemoveUnheld => {
                "DELETE FROM releases
                 WHERE crate_id = (SELECT id FROM crates WHERE name = ?1) AND version = ?2
                     AND NOT loose AND bundle IS NULL AND NOT elsewhere"
            }
            Self::RecordLoss => {
                "INSERT INTO failures
                 VALUES (?1, ?2, NULL, '', ?4, 'its file is gone or was wrong', NULL, 0, ?3, ?3)
                 ON CONFLICT DO NOTHING"
            }
            Self::Remove => {
                "DELETE FROM releases
                 WHERE crate_id = (SELECT id FROM crates WHERE name = ?1) AND version = ?2"
            }
            Self::Reinstate => "DELETE FROM withdrawn WHERE crate = ?1 AND version = ?2",
            Self::ForgetDeletion => {
                "DELETE FROM withdrawn WHERE crate = ?1 AND version = ?2 AND kind = 'deleted'"
            }
            Self::Fail => {
                "INSERT INTO failures VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT DO UPDATE SET cksum = excluded.cksum, url = excluded.url, kind = excluded.kind,
                     error = excluded.error, http_status = excluded.http_status,
                     attempts = attempts + excluded.attempts, last_seen = excluded.last_seen"
            }
            Self::Resolve => "DELETE FROM failures WHERE crate = ?1 AND version = ?2",
            Self::ReplaceUnseen => "INSERT OR IGNORE INTO replaced VALUES (?1, ?2, ?3, ?4)",
            Self::Replace => "INSERT OR REPLACE INTO replaced VALUES (?1, ?2, ?3, ?4)",
            Self::HoldBack => {
                "INSERT INTO held_back VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT DO UPDATE SET cksum = excluded.cksum, rule = excluded.rule, why = excluded.why,
                     until = excluded.until,
                     since = iif(cksum = excluded.cksum AND rule = excluded.rule, since, excluded.since)
                 WHERE cksum <> excluded.cksum OR rule <> excluded.rule OR why <> excluded.why
                     OR until IS NOT excluded.until"
            }
            Self::Undefer => "DELETE FROM held_back WHERE crate = ?1 AND version = ?2 AND NOT held",
            Self::UndeferHeld => {
                "DELETE FROM held_back WHERE crate = ?1 AND version = ?2 AND NOT held AND cksum = ?3"
            }
            Self::Offer => "DELETE FROM held_back WHERE crate = ?1 AND version = ?2 AND held",
            Self::AddLicence => "INSERT OR REPLACE INTO licences VALUES (?1, ?2, ?3, ?4, ?5)",
            Self::ForgetLicence => "DELETE FROM licences WHERE crate = ?1 AND version = ?2",
            Self::RemoveUpstream => {
                "INSERT INTO withdrawn VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET kind = excluded.kind, first_seen = excluded.first_seen
                 WHERE kind <> excluded.kind"
            }
            Self::See => {
                "UPDATE releases SET seen = seen | ?3
                 WHERE crate_id = (SELECT id FROM crates WHERE name = ?1) AND version = ?2"
            }
            Self::WriteDir => "INSERT OR REPLACE INTO dirs VALUES (?1, 0, 0, 0)",
            Self::ListDir => "INSERT OR REPLACE INTO dirs VALUES (?1, ?2, ?3, ?4)",
        }
    }
}

/// The statements, each prepared when it is first needed.
struct Statements<'t> {
    on: &'t Transaction<'t>,
    /// By [`Sql`].
    prepared: [Option<CachedStatement<'t>>; Sql::COUNT],
}

impl<'t> Statements<'t> {
    fn get(&mut self, which: Sql) -> rusqlite::Result<&mut CachedStatement<'t>> {
        let slot = &mut self.prepared[which as usize];
        let statement = match slot.take() {
            Some(prepared) => prepared,
            None => self.on.prepare_cached(which.text())?,
        };
        Ok(slot.insert(statement))
    }
}

struct Applier<'t> {
    to: &'t Transaction<'t>,
    sql: Statements<'t>,
    /// The time of the transaction.
    now: String,
    manifest_len: Option<u64>,
    /// True if releases may be deferred without a date.
    has_groups: bool,
    /// True if comparing trees would not show a later run what has changed: upstream may go back to an earlier tree.
    cursor_outdated: bool,
    /// The serial of the next snapshot, when there is one before it.
    next_snapshot: Option<i64>,
    /// Crates whose offered releases are kept as they were before this transaction.
    kept: HashSet<String>,
}

impl<'t> Applier<'t> {
    fn new(to: &'t Transaction<'t>) -> rusqlite::Result<Self> {
        let some = "SELECT EXISTS (SELECT 1 FROM deferred)";
        Ok(Self {
            to,
            has_groups: to.prepare_cached(some)?.query_row([], |row| row.get(0))?,
            sql: Statements { on: to, prepared: [const { None }; Sql::COUNT] },
            now: rfc3339(SystemTime::now()),
            manifest_len: None,
            cursor_outdated: false,
            next_snapshot: snapshots::next_serial(to)?,
            kept: HashSet::new(),
        })
    }

    /// Keeps what is offered of a crate before it changes, for the snapshot before and those before that.
    fn keep_offered(&mut self, name: &str) -> rusqlite::Result<()> {
        match self.next_snapshot {
            Some(serial) if !self.kept.contains(name) => {
                snapshots::keep(self.to, serial, name)?;
                self.kept.insert(name.to_owned());
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Keeps what is offered of the crates about which a change decides.
    fn keep_offered_before(&mut self, change: &Change) -> rusqlite::Result<()> {
        match change {
            Change::Failed(row) => self.keep_offered(row.name.as_str()),
            Change::HeldBack(HeldBackRelease { id, .. })
            | Change::Deferred(HeldBackRelease { id, .. })
            | Change::Undeferred(id)
            | Change::Resolved(id)
            | Change::Dropped(id)
            | Change::Lost { id, .. }
            | Change::Removed(id)
            | Change::Offered(id)
            | Change::RemovedUpstream { id, .. }
            | Change::Reinstated(id) => self.keep_offered(id.name.as_str()),
            Change::BundleGone(number) if self.next_snapshot.is_some() => {
                let names = snapshots::crates_of_bundle(self.to, *number)?;
                names.iter().try_for_each(|name| self.keep_offered(name))
            }
            // What is held keeps it by itself: whether it changes anything depends on the bytes.
            Change::Held { .. }
            | Change::BundleGone(_)
            | Change::BundlesMeasured
            | Change::DeferredGroups { .. }
            | Change::Replaced(_)
            | Change::Licence(_)
            | Change::PolicyApplied(_)
            | Change::AdvisoriesOf(_)
            | Change::CrateResolved(_)
            | Change::Seen { .. }
            | Change::DirWritten(_)
            | Change::DirListed(_)
            | Change::IndexCache(_)
            | Change::CursorOutdated
            | Change::ManifestLen(_) => Ok(()),
        }
    }

    /// Executes a statement about one release; returns the number of rows that it changed.
    fn of_release(&mut self, which: Sql, id: &ReleaseId) -> rusqlite::Result<usize> {
        self.sql.get(which)?.execute([id.name.as_str(), id.version.as_str()])
    }

    fn apply(&mut self, change: &Change) -> rusqlite::Result<()> {
        self.keep_offered_before(change)?;
        match change {
            Change::Held { release, source } => self.hold(release, *source),
            Change::Lost { id, store } => self.lose(id, *store),
            Change::Removed(id) => {
                self.cursor_outdated = true;
                self.of_release(Sql::Remove, id)?;
                self.of_release(Sql::LosePlaces, id)?;
                self.of_release(Sql::Offer, id)?;
                self.of_release(Sql::ForgetLicence, id)?;
                self.of_release(Sql::Reinstate, id).map(drop)
            }
            Change::BundleGone(number) => {
                self.cursor_outdated = true;
                forget_bundle(self.to, *number)
            }
            Change::BundlesMeasured => measure_bundles(self.to),
            Change::Failed(row) => self.fail(row),
            Change::Resolved(id) => self.of_release(Sql::Resolve, id).map(drop),
            Change::Dropped(id) => {
                self.cursor_outdated = true;
                self.undefer(id)?;
                self.of_release(Sql::Resolve, id).map(drop)
            }
            Change::Deferred(release) => self.defer(release),
            Change::DeferredGroups { name, groups } => {
                self.has_groups = true;
                self.cursor_outdated |= deferred::replace(self.to, name, groups.clone(), &self.now)?;
                Ok(())
            }
            Change::Undeferred(id) => {
                self.cursor_outdated |= self.undefer(id)?;
                Ok(())
            }
            Change::HeldBack(release) => self.hold_back(release).map(drop),
            Change::Replaced(ReplacedRelease { id, cksum, seen }) => {
                let row = [id.name.as_str(), id.version.as_str(), &cksum.to_hex(), &rfc3339(*seen)];
                self.sql.get(Sql::Replace)?.execute(row).map(drop)
            }
            Change::Offered(id) => self.of_release(Sql::Offer, id).map(drop),
            Change::Licence(row) => self.add_licence(row),
            Change::PolicyApplied(policy) => super::state::set_policy(self.to, policy),
            Change::AdvisoriesOf(moment) => super::state::set_advisories_of(self.to, *moment),
            Change::CrateResolved(name) => self.sql.get(Sql::Resolve)?.execute([name.as_str(), ""]).map(drop),
            Change::RemovedUpstream { id, kind, seen } => {
                self.cursor_outdated = true;
                let row = [id.name.as_str(), id.version.as_str(), kind.as_str(), seen];
                self.sql.get(Sql::RemoveUpstream)?.execute(row).map(drop)
            }
            Change::Reinstated(id) => self.of_release(Sql::Reinstate, id).map(drop),
            Change::Seen { id, source } => {
                let row = params![id.name.as_str(), id.version.as_str(), number(*source)];
                self.sql.get(Sql::See)?.execute(row).map(drop)
            }
            Change::DirWritten(path) => self.sql.get(Sql::WriteDir)?.execute([path]).map(drop),
            Change::DirListed(row) => {
                let row = params![row.path, row.mtime_ns, row.ctime_ns, row.listed_ns];
                self.sql.get(Sql::ListDir)?.execute(row).map(drop)
            }
            Change::IndexCache(state) => {
                self.cursor_outdated |= index_cache::remember(self.to, *state)?;
                Ok(())
            }
            Change::CursorOutdated => {
                self.cursor_outdated = true;
                Ok(())
            }
            Change::ManifestLen(len) => {
                self.manifest_len = Some(*len);
                Ok(())
            }
        }
    }

    fn hold(&mut self, held: &HeldRelease, source: u64) -> rusqlite::Result<()> {
        let name = held.id.name.as_str();
        let known = self.sql.get(Sql::FindCrate)?.query_row([name], |row| row.get::<_, i64>(0)).optional()?;
        let id = match known {
            Some(id) => id,
            None => self.sql.get(Sql::AddCrate)?.insert([name])?,
        };
        let key = params![id, held.id.version.as_str(), held.sha256.as_bytes()];
        let before =
            self.sql.get(Sql::HasTheseBytes)?.query_row(key, |row| row.get::<_, bool>(0)).optional()?;
        // In one more place, the same bytes are offered as before.
        if before != Some(true) {
            self.keep_offered(name)?;
        }
        // Upstream may go back to the bytes that were held before.
        if before == Some(false) {
            self.cursor_outdated = true;
            self.of_release(Sql::LosePlaces, &held.id)?;
            self.of_release(Sql::ForgetLicence, &held.id)?;
            // Where nothing says since when these bytes are known, they are as young as this.
            let row = [name, held.id.version.as_str(), &held.sha256.to_hex(), &self.now];
            self.sql.get(Sql::ReplaceUnseen)?.execute(row)?;
        }
        let elsewhere = || held.locations.iter().filter(|at| places::is_elsewhere(at.store()));
        let member = held.locations.member();
        self.sql.get(Sql::Hold)?.execute(params![
            id,
            held.id.version.as_str(),
            held.sha256.as_bytes(),
            number(held.size),
            held.locations.is_loose(),
            member.map(|member| member.bundle),
            member.map(|member| number(member.offset)),
            member.map(|member| number(member.len)),
            number(source),
            elsewhere().next().is_some(),
        ])?;
        for at in elsewhere() {
            places::add(self.sql.get(Sql::AddPlace)?, id, held.id.version.as_str(), at)?;
        }
        if let Some(member) = member {
            let end = number(member.offset + member.len);
            self.sql.get(Sql::GrowBundle)?.execute(params![member.bundle, end])?;
        }
        let had = params![name, held.id.version.as_str(), held.sha256.to_hex()];
        self.sql.get(Sql::UndeferHeld)?.execute(had)?;
        // Other bytes that wait for a time are not those that upstream lists any more.
        if before != Some(true) && self.of_release(Sql::Undefer, &held.id)? > 0 {
            self.cursor_outdated = true;
        }
        self.leave_group(&held.id).map(drop)
    }

    /// Takes a release out of the lists of deferred ones; returns whether it was there.
    fn undefer(&mut self, id: &ReleaseId) -> rusqlite::Result<bool> {
        Ok((self.of_release(Sql::Undefer, id)? > 0) | self.leave_group(id)?)
    }

    fn leave_group(&self, id: &ReleaseId) -> rusqlite::Result<bool> {
        Ok(self.has_groups && deferred::take_out(self.to, id, &self.now)?)
    }

    /// Adds a deferred release. Drops the cursor if the release is new: the cursor covers only what was deferred when
    /// it was set, so the next run has to look at the whole index.
    fn defer(&mut self, release: &HeldBackRelease) -> rusqlite::Result<()> {
        self.of_release(Sql::Resolve, &release.id)?;
        self.cursor_outdated |= self.hold_back(release)?;
        Ok(())
    }

    /// Adds a release that policy holds back; returns whether the table did not have it like this.
    fn hold_back(&mut self, release: &HeldBackRelease) -> rusqlite::Result<bool> {
        let HeldBackRelease { id, cksum, is_held, decision } = release;
        let since = held_back::text_of(decision.since);
        let row = params![
            id.name.as_str(),
            id.version.as_str(),
            cksum.to_hex(),
            is_held,
            decision.rule.name(),
            decision.why,
            held_back::text_of(decision.until),
            since.as_deref().unwrap_or(&self.now),
        ];
        Ok(self.sql.get(Sql::HoldBack)?.execute(row)? > 0)
    }

    fn add_licence(&mut self, row: &LicenceRow) -> rusqlite::Result<()> {
        let LicenceRow { id, sha256, licence } = row;
        let (text, fault) = licence.columns();
        let row = params![id.name.as_str(), id.version.as_str(), sha256.as_bytes(), text, fault];
        self.sql.get(Sql::AddLicence)?.execute(row).map(drop)
    }

    fn lose(&mut self, id: &ReleaseId, store: StoreId) -> rusqlite::Result<()> {
        let kind = if store == StoreId::BUNDLES { DAMAGED } else { LOST };
        match store {
            StoreId::BUNDLES => self.of_release(Sql::LoseMember, id)?,
            StoreId::LOOSE => self.of_release(Sql::LoseFile, id)?,
            StoreId(other) => {
                let key = params![id.name.as_str(), id.version.as_str(), other];
                self.sql.get(Sql::LosePlace)?.execute(key)?;
                self.of_release(Sql::MarkPlaces, id)?
            }
        };
        if self.of_release(Sql::RemoveUnheld, id)? > 0 {
            // A yank is a fact about the release, which may be fetched again in the same run.
            self.of_release(Sql::ForgetDeletion, id)?;
            self.of_release(Sql::Offer, id)?;
            self.of_release(Sql::ForgetLicence, id)?;
        }
        let row = [id.name.as_str(), id.version.as_str(), &self.now, kind];
        self.sql.get(Sql::RecordLoss)?.execute(row).map(drop)
    }

    fn fail(&mut self, row: &FailureRow) -> rusqlite::Result<()> {
        if let Some(version) = &row.version {
            self.undefer(&ReleaseId { name: row.name.clone(), version: version.clone() })?;
        }
        let row = params![
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
        ];
        self.sql.get(Sql::Fail)?.execute(row).map(drop)
    }

    fn finish(self) -> rusqlite::Result<()> {
        if self.cursor_outdated {
            super::state::drop_cursor(self.to)?;
        }
        if let Some(len) = self.manifest_len {
            super::state::set_manifest_len(self.to, len)?;
        }
        Ok(())
    }
}

fn forget_bundle(to: &Transaction<'_>, number: u32) -> rusqlite::Result<()> {
    to.execute(licences::FORGET_BUNDLE, [number])?;
    to.execute("DELETE FROM releases WHERE bundle = ?1 AND NOT loose AND NOT elsewhere", [number])?;
    to.execute(
        "UPDATE releases SET bundle = NULL, frame_offset = NULL, frame_len = NULL WHERE bundle = ?1",
        [number],
    )?;
    to.execute("DELETE FROM bundles WHERE number = ?1", [number]).map(drop)
}

/// Recomputes the ends of bundles from the members held in them, and forgets bundles without any.
fn measure_bundles(to: &Transaction<'_>) -> rusqlite::Result<()> {
    to.execute("DELETE FROM bundles", [])?;
    to.execute(
        "INSERT INTO bundles SELECT bundle, max(frame_offset + frame_len) FROM releases
         WHERE bundle IS NOT NULL GROUP BY bundle",
        [],
    )
    .map(drop)
}
