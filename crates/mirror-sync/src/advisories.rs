//! The advisory database of a policy: brought up to date, and read from a directory or a git clone.

use std::path::Path;
use std::sync::Arc;

use mirror_git::{CommitFiles, EntrySort, UpdateError};
use mirror_policy::{
    Advisories, AdvisoriesError, AdvisoryReader, DatabaseCommit, LoadedPolicy, MAX_ADVISORY_BYTES,
};
use mirror_types::FaultKind;
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver};
use crate::options::DownloadOptions;
use crate::outcome::AdvisoriesUsed;
use crate::threads::{join, spawn};
use crate::update::update_advisories;

/// Reads the advisory database at `dir`: of a git clone, bare or with a work tree, the commit of its HEAD, whatever the
/// work tree holds; of any other directory, the files. Blocks.
///
/// # Errors
/// When it cannot be read, is none, or is larger than one can be.
pub fn read_advisories(dir: &Path) -> Result<Advisories, SyncError> {
    if CommitFiles::is_repository(dir) { of_clone(dir) } else { Ok(Advisories::load(dir)?) }
}

/// Reads the directories of crates only, whatever else the commit has, so that its depth makes no difference.
fn of_clone(dir: &Path) -> Result<Advisories, SyncError> {
    let files = CommitFiles::open(dir)?;
    let mut reader = AdvisoryReader::new(dir);
    let is_crates =
        |entry: &mirror_git::CommitEntry| entry.name == "crates" && entry.sort == EntrySort::Directory;
    let Some(crates) = files.root()?.into_iter().find(is_crates) else {
        return Err(AdvisoriesError::NoDatabase { path: dir.to_owned() }.into());
    };
    let crates = files.entries(&crates)?;
    reader.listed(crates.len())?;
    for of_crate in &crates {
        let found = files.entries(of_crate)?;
        reader.listed(found.len())?;
        for file in found {
            let path = format!("crates/{}/{}", of_crate.name, file.name);
            if !AdvisoryReader::wants(&path) {
                continue;
            }
            match files.read(&file, MAX_ADVISORY_BYTES)? {
                Some(bytes) => reader.read(&path, &bytes)?,
                None if file.sort != EntrySort::File => reader.fault(&path, "it is no file")?,
                None => reader.fault(&path, &format!("it is larger than {MAX_ADVISORY_BYTES} bytes"))?,
            }
        }
    }
    Ok(reader.finish(Some(DatabaseCommit { id: files.commit_id(), time: files.time() })))
}

/// Brings the advisory database of a run up to date when `options` ask for that, and reads it. Returns the options with
/// its advisories in the policy. A database that cannot be brought up to date is read as it is, if it is there.
///
/// # Errors
/// When there is no database, or it cannot be read.
pub(crate) async fn with_advisories(
    mut options: DownloadOptions,
    observer: &Arc<dyn SyncObserver>,
    cancel: &CancellationToken,
) -> Result<(DownloadOptions, Option<AdvisoriesUsed>), SyncError> {
    let Some(dir) = options.advisory_db.clone() else { return Ok((options, None)) };
    let mut is_outdated = false;
    if options.advisory_update.is_some() {
        if options.dry_run {
            if !dir.exists() {
                return Err(SyncError::NoAdvisoriesToTry { dir });
            }
            observer.event(SyncEvent::AdvisoriesLeft { dir: &dir, is_dry_run: true });
        } else if is_plain(&dir) {
            observer.event(SyncEvent::AdvisoriesLeft { dir: &dir, is_dry_run: false });
        } else if let Err(error) = update_advisories(&options, &dir, observer, cancel).await? {
            is_outdated = true;
            keeps(&dir, error, &**observer)?;
        }
    }
    let place = dir.clone();
    let advisories = join(spawn("advisories", move || read_advisories(&place))?).await??;
    let now = options.moment();
    observer.event(SyncEvent::AdvisoriesRead { dir: &dir, advisories: &advisories, now });
    let used = AdvisoriesUsed {
        dir,
        advisories: advisories.len() as u64,
        age: advisories.commit().map(|commit| commit.age(now)),
        commit: advisories.commit().cloned(),
        is_outdated,
    };
    let policy = options.policy.map(|policy| policy.policy().clone()).unwrap_or_default();
    options.policy = Some(Arc::new(LoadedPolicy::new(policy, advisories)));
    Ok((options, Some(used)))
}

/// Decides about a database that could not be brought up to date: the run goes on with what is there. Without it, the run
/// would offer what advisories call malicious.
fn keeps(dir: &Path, error: UpdateError, observer: &dyn SyncObserver) -> Result<(), SyncError> {
    if error.kind() == FaultKind::Stopped {
        return Err(SyncError::Update(error));
    }
    if !CommitFiles::is_repository(dir) {
        return Err(SyncError::NoAdvisories(error));
    }
    observer.event(SyncEvent::AdvisoriesOutdated { dir, error: &error });
    Ok(())
}

/// Returns whether a directory with files in it, but no repository, is at the path.
fn is_plain(dir: &Path) -> bool {
    let is_empty = || std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    dir.is_dir() && !CommitFiles::is_repository(dir) && !is_empty()
}
