//! Installs what arrived in the index.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gix::ObjectId;

use super::checkout::Checkout;
use super::disk;
use super::error::UpdateError;
use super::incoming::Incoming;
use super::options::{UpdateEvent, UpdateObserver, Updated};
use super::refs::{self, Head};

/// Moves the pack in, then the work tree, then the refs. After a kill at any point, the index is at the old commit or
/// at the new one, and the objects of both are there.
pub(crate) fn install(
    dir: &Path,
    repo: &mut gix::Repository,
    head: &Head,
    incoming: Incoming,
    work: Option<&Checkout>,
    observer: &dyn UpdateObserver,
) -> Result<Updated, UpdateError> {
    let Incoming { git_dir, tip, branch, bytes, objects, url, renamed, aside } = incoming;
    if aside > 0 {
        observer.event(UpdateEvent::Notice(format!(
            "{aside} of the objects that came are too large to be worked on in memory, or are made of such; they are \
             stored by themselves, and large files are not read"
        )));
    }
    // Reported before anything moves.
    if let Err(refused) = refs::in_the_way(dir, repo, head, &branch) {
        disk::remove_tree(&git_dir)?;
        return Err(refused);
    }
    let moved = head.commit != Some(tip);
    if moved {
        adopt(&git_dir, repo.common_dir())?;
        *repo = super::state::open(dir)?;
        let commit = repo.find_object(tip).map_err(UpdateError::git("find the new commit in", dir))?;
        drop(commit);
    }
    disk::remove_tree(&git_dir)?;
    let advances = moved || head.branch.as_deref() != Some(branch.as_str());
    let checked_out = match work {
        Some(work) if advances => work.bring(dir, repo, tip, &branch, observer)?,
        _ => 0,
    };
    if advances {
        refs::advance(dir, repo, head, &branch, tip, renamed)?;
        sync_refs(repo, &branch)?;
        work.map_or(Ok(()), Checkout::done)?;
    } else if work.is_some() {
        refs::track(dir, repo, &branch, tip)?;
    }
    let forced = match head.commit {
        Some(old) if moved => descends(repo, tip, old).map(|descends| !descends),
        _ => Some(false),
    };
    Ok(Updated {
        url,
        old: head.commit.map(|id| id.to_string()),
        new: tip.to_string(),
        branch,
        forced,
        shallow: super::state::is_shallow(repo),
        received_bytes: bytes,
        received_objects: objects,
        checked_out,
        packs_replaced: 0,
        elapsed: std::time::Duration::ZERO,
    })
}

/// Moves packs, loose objects and the shallow boundary from one repository to the other: the boundary first, because a
/// commit without its parents counts as damage unless the boundary lists it; a pack's index last, because git finds the
/// pack by it.
fn adopt(from: &Path, to: &Path) -> Result<(), UpdateError> {
    let (source, target) = (from.join("objects/pack"), to.join("objects/pack"));
    disk::make_dir(&target)?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&source).map_err(UpdateError::storage("list", &source))? {
        let entry = entry.map_err(UpdateError::storage("list", &source))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with("pack-")) else { continue };
        if name.ends_with(".idx") || name.ends_with(".pack") {
            disk::seal(&entry.path())?;
            names.insert((name.ends_with(".idx"), name.to_owned()));
        }
    }
    shallow(&to.join("shallow"), &boundary(&to.join("shallow"))?, &boundary(&from.join("shallow"))?)?;
    adopt_loose(&from.join("objects"), &to.join("objects"))?;
    for (_, name) in names {
        disk::rename(&source.join(&name), &target.join(&name))?;
    }
    disk::sync(&target)
}

/// Moves loose objects. Nothing names them yet.
fn adopt_loose(from: &Path, to: &Path) -> Result<(), UpdateError> {
    let names = disk::loose_dirs(from)?;
    if names.is_empty() {
        return Ok(());
    }
    for name in names {
        let (source, target) = (from.join(&name), to.join(&name));
        disk::make_dir(&target)?;
        for entry in fs::read_dir(&source).map_err(UpdateError::storage("list", &source))? {
            let path = entry.map_err(UpdateError::storage("list", &source))?.path();
            disk::seal(&path)?;
            disk::rename(&path, &target.join(path.file_name().unwrap_or_default()))?;
        }
        disk::sync(&target)?;
    }
    disk::sync(to)
}

fn boundary(path: &Path) -> Result<BTreeSet<String>, UpdateError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(UpdateError::storage("read", path)(error)),
    }
}

fn shallow(path: &Path, held: &BTreeSet<String>, more: &BTreeSet<String>) -> Result<(), UpdateError> {
    if more.is_subset(held) {
        return Ok(());
    }
    write_boundary(path, &held.union(more).cloned().collect())
}

/// Removes commits from the boundary whose objects are gone.
pub(crate) fn prune_boundary(repo: &gix::Repository) -> Result<(), UpdateError> {
    let path = repo.common_dir().join("shallow");
    let held = boundary(&path)?;
    let there = |line: &&String| ObjectId::from_hex(line.as_bytes()).is_ok_and(|id| repo.has_object(id));
    let kept: BTreeSet<String> = held.iter().filter(there).cloned().collect();
    if kept == held { Ok(()) } else { write_boundary(&path, &kept) }
}

/// Replaces the boundary atomically.
fn write_boundary(path: &Path, commits: &BTreeSet<String>) -> Result<(), UpdateError> {
    let text: String = commits.iter().map(|line| format!("{line}\n")).collect();
    disk::replace(path, &path.with_extension("lock"), text.as_bytes())?;
    path.parent().map_or(Ok(()), disk::sync)
}

/// Syncs the branch, HEAD, and the directories that name them.
fn sync_refs(repo: &gix::Repository, branch: &str) -> Result<(), UpdateError> {
    let (git_dir, common_dir) = (repo.git_dir(), repo.common_dir());
    let file = common_dir.join(branch);
    // An unchanged ref may be only in packed-refs.
    for path in file.ancestors().take_while(|path| path.starts_with(common_dir)) {
        if path.exists() {
            disk::sync(path)?;
        }
    }
    disk::sync(&git_dir.join("HEAD"))?;
    disk::sync(git_dir)
}

/// Returns whether `old` is an ancestor of `new`; `None` when the history ends too early to show it.
pub(crate) fn descends(repo: &gix::Repository, new: ObjectId, old: ObjectId) -> Option<bool> {
    let cutoff = repo.find_object(old).ok()?.try_into_commit().ok()?.time().ok()?.seconds;
    let order = gix::traverse::commit::simple::CommitTimeOrder::NewestFirst;
    let sorting = gix::revision::walk::Sorting::ByCommitTimeCutoff { order, seconds: cutoff };
    for commit in repo.rev_walk([new]).sorting(sorting).all().ok()? {
        if commit.ok()?.id == old {
            return Some(true);
        }
    }
    (!super::state::is_shallow(repo)).then_some(false)
}
