//! HEAD, branches, and the address of the index.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gix::ObjectId;
use gix::bstr::BStr;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog};
use gix::refs::{FullName, Target, TargetRef};
use gix::remote::Direction;
use mirror_types::{Address, Advice};

use super::disk;
use super::error::UpdateError;
use super::options::{UpdateEvent, UpdateObserver, UpdateOptions};
use super::state;

/// The position of HEAD.
pub(crate) struct Head {
    /// Its branch in full; `None` when it is detached.
    pub(crate) branch: Option<String>,
    /// Its commit; `None` when there is none yet.
    pub(crate) commit: Option<ObjectId>,
}

impl Head {
    pub(crate) fn of(dir: &Path, repo: &gix::Repository) -> Result<Self, UpdateError> {
        let branch = repo.head_name().map_err(UpdateError::git("find HEAD of", dir))?;
        let commit = repo.head_id().ok().map(gix::Id::detach);
        Ok(Self { branch: branch.map(|name| name.to_string()), commit })
    }
}

/// Returns the address to fetch from: the requested one, or the repository's own. Never the default, which is for new
/// clones: it would turn a private index into the public one.
pub(crate) fn url(
    dir: &Path,
    repo: &gix::Repository,
    options: &UpdateOptions,
    observer: &dyn UpdateObserver,
) -> Result<Address, UpdateError> {
    let origin = repo.find_default_remote(Direction::Fetch).and_then(Result::ok);
    let own = origin
        .and_then(|remote| Some(remote.url(Direction::Fetch)?.to_bstring().to_string()))
        .map(Address::from);
    let url = match (&options.url, own) {
        (Some(asked), Some(own)) => {
            if asked.to_string() != own.to_string() {
                observer.event(UpdateEvent::Notice(format!(
                    "the {} was cloned from {own}; it is updated from {asked}, as was asked for",
                    options.what
                )));
            }
            asked.clone()
        }
        (Some(asked), None) => asked.clone(),
        (None, Some(own)) => {
            if own.reveal() != options.default_url {
                observer.event(UpdateEvent::Notice(format!(
                    "the {} is updated from its own origin, {own}, because no other was named",
                    options.what
                )));
            }
            own
        }
        (None, None) => {
            return Err(UpdateError::refused(
                dir,
                "its configuration names no remote to update it from; name one. (If it does name one, \
                 its files probably belong to another user, whose settings are not trusted: run as that user, \
                 or chown them)",
                Some(Advice::NameTheRemote),
            ));
        }
    };
    Ok(url)
}

/// A file that exists in the repository while this program sets refs: locks on refs that are found with it are the
/// program's own.
struct Setting(PathBuf);

const SETTING: &str = "mirror-refs";

impl Setting {
    fn begin(repo: &gix::Repository) -> Result<Self, UpdateError> {
        let path = repo.common_dir().join(SETTING);
        mirror_fs::open_or_create(&path).map_err(UpdateError::storage("make", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = disk::remove_file(&self.0);
    }
}

/// Removes the locks on refs that a killed run left. Under the lock.
pub(crate) fn release(repo: &gix::Repository) -> Result<(), UpdateError> {
    const PAUSE: Duration = Duration::from_millis(10);
    let setting = repo.common_dir().join(SETTING);
    if !setting.exists() {
        return Ok(());
    }
    let mut locks = vec![repo.common_dir().join("packed-refs.lock"), repo.git_dir().join("HEAD.lock")];
    locks_below(&repo.common_dir().join("refs"), &mut locks)?;
    // Locks of a git that is running are gone in a moment.
    for _ in 0..100 {
        if !locks.iter().any(|lock| lock.exists()) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    locks.iter().try_for_each(|lock| disk::remove_file(lock))?;
    disk::remove_file(&setting)
}

fn locks_below(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), UpdateError> {
    for entry in std::fs::read_dir(dir).map_err(UpdateError::storage("list", dir))? {
        let path = entry.map_err(UpdateError::storage("list", dir))?.path();
        if path.is_dir() {
            locks_below(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            found.push(path);
        }
    }
    Ok(())
}

/// Sets the branch to `tip` and HEAD to the branch. A bare repository loses the branch that HEAD was
/// at when the remote has `renamed` it.
pub(crate) fn advance(
    dir: &Path,
    repo: &gix::Repository,
    head: &Head,
    branch: &str,
    tip: ObjectId,
    renamed: bool,
) -> Result<(), UpdateError> {
    let _setting = Setting::begin(repo)?;
    let name = FullName::try_from(branch).map_err(UpdateError::git("name the branch of", dir))?;
    let log = LogChange { message: "update-index".into(), ..LogChange::default() };
    let update = |name: FullName, new: Target| RefEdit {
        change: Change::Update { log: log.clone(), expected: PreviousValue::Any, new },
        name,
        deref: false,
    };
    let name_of_head = FullName::try_from("HEAD").map_err(UpdateError::git("name HEAD of", dir))?;
    let in_the_way = in_the_way(dir, repo, head, branch)?;
    if !in_the_way.is_empty() {
        // After a kill here, HEAD is still at the old commit, and the next run continues.
        let own = head.branch.as_deref();
        let lets_go = in_the_way.iter().any(|name| Some(name.as_bstr()) == own.map(BStr::new));
        if let Some(old) = head.commit.filter(|_| lets_go) {
            repo.edit_reference(update(name_of_head.clone(), Target::Object(old)))
                .map_err(UpdateError::git("set HEAD of", dir))?;
        }
        repo.edit_references(in_the_way.into_iter().map(deletion))
            .map_err(UpdateError::git("remove the old branch of", dir))?;
    }
    let names = [Some(name.clone()), tracking(repo, branch)].into_iter().flatten();
    repo.edit_references(names.map(|name| update(name, Target::Object(tip))))
        .map_err(|error| not_set("set the branch of", dir, repo, branch, error))?;
    if head.branch.as_deref() == Some(branch) {
        return Ok(());
    }
    repo.edit_reference(update(name_of_head, Target::Symbolic(name)))
        .map_err(UpdateError::git("set HEAD of", dir))?;
    if let Some(gone) = head.branch.as_deref().filter(|_| repo.is_bare() && renamed) {
        let gone = FullName::try_from(gone).map_err(UpdateError::git("name the branch of", dir))?;
        // It may never have had a commit.
        let _ = repo.edit_reference(deletion(gone));
    }
    Ok(())
}

/// Makes the error for a reference that could not be set; names a lock file in the way.
fn not_set(
    doing: &'static str,
    dir: &Path,
    repo: &gix::Repository,
    branch: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> UpdateError {
    let of_branch = repo.git_dir().join(format!("{branch}.lock"));
    let held = of_branch.exists().then_some(of_branch);
    match held.or_else(|| state::lock_in_the_way(repo.git_dir())) {
        Some(lock) => UpdateError::refused(
            dir,
            format!(
                "{} is there: git is at work in it, or one that was killed left it. When no git runs there, remove \
                 that file",
                lock.display()
            ),
            None,
        ),
        None => UpdateError::git(doing, dir)(error),
    }
}

fn deletion(name: FullName) -> RefEdit {
    let change = Change::Delete { expected: PreviousValue::Any, log: RefLog::AndReference };
    RefEdit { change, name, deref: false }
}

/// Returns the refs that cannot exist beside a branch and the ref that tracks it: `master` and `master/x` are a file
/// and a directory. The remote no longer has them. A branch may be removed when HEAD is at it; a tracking ref may be
/// removed, with the refs that stand for it.
pub(crate) fn in_the_way(
    dir: &Path,
    repo: &gix::Repository,
    head: &Head,
    branch: &str,
) -> Result<Vec<FullName>, UpdateError> {
    let names = [FullName::try_from(branch).ok(), tracking(repo, branch)];
    let below = |one: &[u8], other: &[u8]| one.strip_prefix(other).is_some_and(|rest| rest.starts_with(b"/"));
    let mut found = Vec::new();
    let mut aliases = Vec::new();
    let all = repo.references().map_err(UpdateError::git("read the refs of", dir))?;
    for reference in all.all().map_err(UpdateError::git("list the refs of", dir))? {
        let reference = reference.map_err(UpdateError::git("list the refs of", dir))?;
        let name = reference.name().to_owned();
        if let TargetRef::Symbolic(target) = reference.target() {
            aliases.push((name.clone(), target.to_owned()));
        }
        let text: &[u8] = name.as_bstr();
        if !names.iter().flatten().any(|new| below(new.as_bstr(), text) || below(text, new.as_bstr())) {
            continue;
        }
        let at = reference.try_id().map(gix::Id::detach);
        if text.starts_with(b"refs/heads/") && (at.is_none() || at != head.commit) {
            return Err(UpdateError::not_here(
                dir,
                format!(
                    "the remote's branch has a name that its {name} is in the way of; run `git branch --move` there",
                    name = name.as_bstr()
                ),
            ));
        }
        found.push(name);
    }
    let dangling = aliases.into_iter().filter(|(name, to)| found.contains(to) && !found.contains(name));
    let dangling: Vec<_> = dangling.map(|(name, _)| name).collect();
    found.extend(dangling);
    Ok(found)
}

/// Records that the remote's branch was at `tip`, where nothing had to be advanced.
pub(crate) fn track(
    dir: &Path,
    repo: &gix::Repository,
    branch: &str,
    tip: ObjectId,
) -> Result<(), UpdateError> {
    let Some(name) = tracking(repo, branch) else { return Ok(()) };
    let _setting = Setting::begin(repo)?;
    repo.reference(name, tip, PreviousValue::Any, "update-index")
        .map(drop)
        .map_err(|error| not_set("set the branch of", dir, repo, branch, error))
}

/// Returns the ref in which a checkout remembers the commit of its remote's branch. Without a named remote, it is a ref
/// of our own.
pub(crate) fn tracking(repo: &gix::Repository, branch: &str) -> Option<FullName> {
    if repo.is_bare() {
        return None;
    }
    let short = branch.strip_prefix("refs/heads/")?;
    let name = match repo.remote_default_name(Direction::Fetch) {
        Some(remote) => format!("refs/remotes/{remote}/{short}"),
        None => format!("refs/mirror-index/{short}"),
    };
    FullName::try_from(name).ok()
}
