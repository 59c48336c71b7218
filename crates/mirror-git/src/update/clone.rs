//! Makes a new clone beside its final place, where it is moved when it is whole.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use mirror_types::{Address, Advice};

use super::disk;
use super::error::UpdateError;
use super::incoming;
use super::install::install;
use super::lock::Lock;
use super::options::{UpdateObserver, UpdateOptions, Updated};
use super::refs::Head;
use super::state::{self, State};

pub(crate) fn clone(
    dir: &Path,
    options: &UpdateOptions,
    observer: &dyn UpdateObserver,
) -> Result<Updated, UpdateError> {
    let (parent, beside) = parent_and_staging(dir)?;
    disk::make_dir(&parent)?;
    let lock = Lock::of_clone(dir, &beside)?;
    // Another process may have been faster.
    if let State::Repository = State::of(dir)? {
        lock.give_up(&beside);
        return super::update(dir, options, observer);
    }
    if let Err(refused) = give_way(dir, &beside) {
        lock.give_up(&beside);
        return Err(refused);
    }
    let place = beside.join("repository");
    let made = make(dir, &place, options, observer);
    let removed = disk::remove_tree(&place);
    lock.give_up(&beside);
    let updated = made?;
    removed.and_then(|()| disk::sync(&parent))?;
    Ok(updated)
}

/// Checks, before anything is fetched, that an empty directory in the way can make room for the clone, by moving it
/// away and back.
fn give_way(dir: &Path, beside: &Path) -> Result<(), UpdateError> {
    let aside = beside.join("aside");
    let _ = disk::remove_empty_dir(&aside);
    if dir.is_symlink() {
        let why = "it is a symbolic link to an empty directory; name what it leads to, or a path below that";
        return Err(UpdateError::refused(dir, why, Some(Advice::NameTheIndex)));
    }
    if !dir.exists() {
        return Ok(());
    }
    let moved = disk::rename(dir, &aside).and_then(|()| disk::rename(&aside, dir));
    moved.map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(" ({cause})"));
        UpdateError::refused(
            dir,
            format!(
                "it is an empty directory that a clone cannot take the place of{why}, as where a disk is mounted. \
                 Name a path below it, such as {}",
                dir.join("crates.io-index").display()
            ),
            Some(Advice::NameTheIndex),
        )
    })
}

fn make(
    dir: &Path,
    place: &Path,
    options: &UpdateOptions,
    observer: &dyn UpdateObserver,
) -> Result<Updated, UpdateError> {
    disk::remove_tree(place)?;
    gix::init_bare(place).map_err(UpdateError::git("make", dir))?;
    let url = options.url.clone().unwrap_or_else(|| Address::new(options.default_url.as_str()));
    remember_origin(dir, place, &url)?;
    let mut repo = state::open(place)?;
    let nothing = Head { branch: None, commit: None };
    let incoming = incoming::fetch(dir, &repo, &nothing, &url, options, observer)?;
    let updated = install(place, &mut repo, &nothing, incoming, None, observer)?;
    drop(repo);
    disk::sync_tree(place)?;
    if dir.exists() {
        // An empty directory; if anything is in it, this fails, as it should.
        disk::remove_empty_dir(dir)?;
    }
    disk::rename(place, dir)?;
    Ok(updated)
}

/// Returns the parent of `dir`, and a name in it for the unfinished clone.
fn parent_and_staging(dir: &Path) -> Result<(PathBuf, PathBuf), UpdateError> {
    let absolute = std::path::absolute(dir).map_err(UpdateError::storage("find", dir))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(UpdateError::refused(
            dir,
            "it has no name of its own; name a directory to be made",
            Some(Advice::NameTheIndex),
        ));
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".incoming");
    Ok((parent.to_owned(), parent.join(hidden)))
}

/// Records where the clone came from, for the next update and for git; without credentials, which are passed again each
/// time.
fn remember_origin(dir: &Path, place: &Path, url: &Address) -> Result<(), UpdateError> {
    let path = place.join("config");
    let mut config = gix::config::File::from_path_no_includes(path.clone(), gix::config::Source::Local)
        .map_err(UpdateError::git("read the settings of", dir))?;
    config
        .set_raw_value_by("remote", Some("origin".into()), "url", url.to_string().as_str())
        .map_err(UpdateError::git("write the settings of", dir))?;
    disk::replace(&path, &path.with_extension("new"), &config.to_bstring())
}
