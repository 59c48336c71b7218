//! The state of the path of the index.

use std::path::{Path, PathBuf};

use mirror_types::Advice;

use super::error::UpdateError;
use crate::repository;

pub(crate) enum State {
    /// Nothing, or an empty directory.
    Absent,
    Repository,
}

impl State {
    pub(crate) fn of(dir: &Path) -> Result<Self, UpdateError> {
        match std::fs::symlink_metadata(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::Absent),
            Err(error) => return Err(UpdateError::storage("look at", dir)(error)),
            Ok(_) if !dir.is_dir() => {
                return Err(UpdateError::not_here(dir, "it is no directory"));
            }
            Ok(_) => {}
        }
        let bare = dir.join("objects").is_dir() && dir.join("HEAD").is_file();
        if bare || dir.join(".git").exists() {
            return Ok(Self::Repository);
        }
        let mut entries = std::fs::read_dir(dir).map_err(UpdateError::storage("list", dir))?;
        if entries.next().is_none() {
            return Ok(Self::Absent);
        }
        Err(UpdateError::refused(
            dir,
            "it is a plain directory, not a git repository, so there is nothing to update it from",
            Some(Advice::AnotherIndexOrNoUpdate),
        ))
    }
}

/// Opens the repository, and refuses one in the middle of an operation.
pub(crate) fn open(dir: &Path) -> Result<gix::Repository, UpdateError> {
    if let Some(why) = repository::unreadable_form(dir) {
        return Err(UpdateError::not_here(dir, why));
    }
    let mut repo = gix::open_opts(dir, repository::options()).map_err(UpdateError::git("open", dir))?;
    // No person goes back in the reflog of an index, and its entries would keep the objects of every incremental run
    // alive.
    repo.refs.write_reflog = gix::refs::store::WriteReflog::Disable;
    if repo.git_dir() != repo.common_dir() {
        return Err(UpdateError::refused(
            dir,
            "it is a linked work tree of another repository; name the main one, or a path of its own",
            Some(Advice::NameTheIndex),
        ));
    }
    for (file, what) in [
        ("MERGE_HEAD", "a merge"),
        ("CHERRY_PICK_HEAD", "a cherry-pick"),
        ("REVERT_HEAD", "a revert"),
        ("BISECT_LOG", "a bisect"),
        ("rebase-merge", "a rebase"),
        ("rebase-apply", "a rebase or `git am`"),
    ] {
        if repo.git_dir().join(file).exists() {
            return Err(UpdateError::not_here(
                dir,
                format!("{what} is in progress there; end or abort it with git"),
            ));
        }
    }
    let sparse = repo.config_snapshot().boolean("core.sparseCheckout").unwrap_or(false);
    if sparse && !repo.is_bare() {
        return Err(UpdateError::not_here(
            dir,
            "it is a sparse checkout; run `git sparse-checkout disable` there",
        ));
    }
    Ok(repo)
}

/// Returns whether the repository is shallow. An unreadable boundary counts as one.
pub(crate) fn is_shallow(repo: &gix::Repository) -> bool {
    repo.is_shallow().unwrap_or(true)
}

/// Returns the options for opening a repository that fetches: variables by which git reaches a remote also count, such
/// as `GIT_SSH_COMMAND`, `GIT_SSL_CAINFO` and `GIT_ASKPASS`. The caller has to deal with `GIT_NAMESPACE` and
/// `GIT_SHALLOW_FILE`, which count then, too.
pub(crate) fn options_to_fetch() -> gix::open::Options {
    let mut permissions = gix::open::Permissions::all();
    permissions.env.objects = gix::sec::Permission::Deny;
    gix::open::Options::default().permissions(permissions)
}

/// Returns a lock file of git in the repository: another git holds it, or a killed one left it.
pub(crate) fn lock_in_the_way(git_dir: &Path) -> Option<PathBuf> {
    ["packed-refs.lock", "HEAD.lock", "index.lock", "shallow.lock", "config.lock"]
        .iter()
        .map(|name| git_dir.join(name))
        .find(|path| path.symlink_metadata().is_ok())
}
