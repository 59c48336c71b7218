//! The runs that changed or looked through the mirror, newest last.

use rusqlite::{Row, params};

use super::columns::{number, size};
use super::database::Catalogue;
use crate::error::ManifestError;

/// A table beside the others, so that an earlier catalogue gets it without a rebuild. Times are milliseconds since 1970.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS runs (
    id TEXT NOT NULL, began_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL, state TEXT NOT NULL,
    downloaded INTEGER NOT NULL, bytes INTEGER NOT NULL, failed INTEGER NOT NULL, verified INTEGER NOT NULL,
    snapshot INTEGER,
    PRIMARY KEY (began_ms, id)
) WITHOUT ROWID;
";

/// Most runs that are kept: some years of nights.
const MAX_RUNS: usize = 1_000;

/// A run that came to an end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunRow {
    /// Its id, as in the records of the manifest.
    pub id: String,
    /// Milliseconds since 1970 at which it began.
    pub began_ms: u64,
    /// Milliseconds since 1970 at which it ended.
    pub ended_ms: u64,
    /// Its end in a word: [`COMPLETE`](Self::COMPLETE), or what was wrong.
    pub state: String,
    /// Releases that it downloaded.
    pub downloaded: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Releases that it could not get.
    pub failed: u64,
    /// Held releases that it hashed again.
    pub verified: u64,
    /// The serial of the newest snapshot at its end.
    pub snapshot: Option<u64>,
}

impl RunRow {
    /// The state of a run that left nothing missing.
    pub const COMPLETE: &str = "complete";
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        id: row.get(0)?,
        began_ms: size(row.get(1)?),
        ended_ms: size(row.get(2)?),
        state: row.get(3)?,
        downloaded: size(row.get(4)?),
        bytes: size(row.get(5)?),
        failed: size(row.get(6)?),
        verified: size(row.get(7)?),
        snapshot: row.get::<_, Option<i64>>(8)?.map(size),
    })
}

impl Catalogue {
    fn has_runs(&self) -> rusqlite::Result<bool> {
        self.has_table(&self.tables.runs, "runs")
    }

    /// Returns the newest `most` runs, newest first.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn runs(&self, most: usize) -> Result<Vec<RunRow>, ManifestError> {
        let query = || {
            if !self.has_runs()? {
                return Ok(Vec::new());
            }
            let select = "SELECT id, began_ms, ended_ms, state, downloaded, bytes, failed, verified, snapshot
                FROM runs ORDER BY began_ms DESC, id LIMIT ?1";
            let mut statement = self.db.prepare_cached(select)?;
            let rows = statement.query_map([number(most as u64)], run_row)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the runs of"))
    }

    /// Returns when the last run ended that left nothing missing, in milliseconds since 1970.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn last_success_ms(&self) -> Result<Option<u64>, ManifestError> {
        let query = || {
            if !self.has_runs()? {
                return Ok(None);
            }
            let select = "SELECT max(ended_ms) FROM runs WHERE state = ?1";
            let found = self.db.prepare_cached(select)?.query_row([RunRow::COMPLETE], |row| row.get(0))?;
            Ok::<Option<i64>, rusqlite::Error>(found)
        };
        query().map(|found| found.map(size)).map_err(self.fail("read the runs of"))
    }

    /// Records a run that ended. Old ones make room.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn record_run(&mut self, run: &RunRow) -> Result<(), ManifestError> {
        let fail = self.fail("write to");
        let mut write = || {
            let to = self.db.transaction()?;
            let [began, ended, downloaded, bytes, failed, verified] =
                [run.began_ms, run.ended_ms, run.downloaded, run.bytes, run.failed, run.verified].map(number);
            to.execute(
                "INSERT OR REPLACE INTO runs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    run.id,
                    began,
                    ended,
                    run.state,
                    downloaded,
                    bytes,
                    failed,
                    verified,
                    run.snapshot.map(number)
                ],
            )?;
            // The last success stays, however many failures came after it.
            to.execute(
                "DELETE FROM runs WHERE began_ms < (SELECT began_ms FROM runs ORDER BY began_ms DESC LIMIT 1 OFFSET ?1)
                    AND began_ms IS NOT (SELECT max(began_ms) FROM runs WHERE state = ?2)",
                params![number(MAX_RUNS as u64 - 1), RunRow::COMPLETE],
            )?;
            to.commit()
        };
        write().map_err(fail)
    }

    /// Copies the runs of another catalogue of the same mirror: no manifest says how they ended.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn take_runs_of(&mut self, other: &Self) -> Result<(), ManifestError> {
        other.runs(MAX_RUNS + 1)?.iter().try_for_each(|run| self.record_run(run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: u64) -> RunRow {
        RunRow {
            id: format!("run{n}"),
            began_ms: n,
            ended_ms: n + 5,
            state: RunRow::COMPLETE.to_owned(),
            ..RunRow::default()
        }
    }

    #[test]
    fn the_newest_runs_are_kept_and_read_newest_first() {
        let dir = tempfile::tempdir().expect("dir");
        let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        let most = MAX_RUNS as u64;
        (1..=most + 5).for_each(|n| catalogue.record_run(&run(n)).expect("recorded"));
        assert_eq!(catalogue.runs(2).expect("runs"), [run(most + 5), run(most + 4)]);
        assert_eq!(catalogue.runs(MAX_RUNS * 2).expect("runs").len(), MAX_RUNS);
        let mut other = Catalogue::open(&dir.path().join("other.sqlite")).expect("open");
        other.take_runs_of(&catalogue).expect("taken");
        assert_eq!(other.runs(1).expect("runs"), [run(most + 5)]);
    }

    #[test]
    fn the_last_success_outlives_any_number_of_failures() {
        let dir = tempfile::tempdir().expect("dir");
        let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        assert_eq!(catalogue.last_success_ms().expect("read"), None);
        let failed = |n| RunRow { state: "missing".to_owned(), ..run(n) };
        let most = MAX_RUNS as u64;
        [run(1), run(2), failed(3)].iter().for_each(|run| catalogue.record_run(run).expect("recorded"));
        assert_eq!(catalogue.last_success_ms().expect("read"), Some(run(2).ended_ms));
        (4..most + 9).for_each(|n| catalogue.record_run(&failed(n)).expect("recorded"));
        assert_eq!(catalogue.last_success_ms().expect("read"), Some(run(2).ended_ms));
        assert_eq!(catalogue.runs(MAX_RUNS * 2).expect("runs").len(), MAX_RUNS + 1);
        let mut other = Catalogue::open(&dir.path().join("other.sqlite")).expect("open");
        other.take_runs_of(&catalogue).expect("taken");
        assert_eq!(other.last_success_ms().expect("read"), Some(run(2).ended_ms));
        catalogue.record_run(&run(most + 9)).expect("recorded");
        assert_eq!(
            catalogue.runs(MAX_RUNS * 2).expect("runs").len(),
            MAX_RUNS,
            "an older success makes room"
        );
    }

    #[test]
    fn a_catalogue_of_before_has_no_runs_and_gets_the_table() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("c.sqlite");
        Catalogue::open(&path).expect("open").db.execute_batch("DROP TABLE runs").expect("as it was");
        let reader = Catalogue::open_read_only(&path).expect("open").expect("some");
        assert_eq!((reader.runs(9).expect("runs"), reader.last_success_ms().expect("read")), (vec![], None));
        let full = RunRow { snapshot: Some(7), failed: 1, verified: 2, downloaded: 3, bytes: 4, ..run(1) };
        Catalogue::open(&path).expect("open").record_run(&full).expect("recorded");
        assert_eq!(reader.runs(9).expect("runs"), [full]);
    }
}
