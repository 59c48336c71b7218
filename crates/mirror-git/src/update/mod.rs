//! Clones and updates the git index.
//!
//! What arrives goes into a repository of its own below the index (`mirror-incoming-*`), which has the objects of the
//! index as alternates. Only when the pack is whole and indexed and its tree complete are its files moved into the
//! index and the refs set; so an update that is stopped, killed or cut off leaves the index as it was. A clone is made
//! likewise in a directory beside the index, and gets its name last. The next run removes, under a lock, what a killed
//! run left.

mod allowance;
mod checkout;
mod clone;
mod connect;
mod disk;
mod error;
mod incoming;
mod inflate;
mod install;
mod lock;
mod marker;
mod options;
mod packs;
mod program;
mod receive;
mod refs;
mod sift;
mod state;
mod stored;
mod supervise;
mod take;
mod transport;
mod trees;
mod whole;

use std::path::Path;
use std::time::Instant;

pub use error::UpdateError;
use mirror_types::FaultKind;
pub use options::{
    History, ProxyRule, QuietObserver, UpdateEvent, UpdateObserver, UpdateOptions, UpdatePhase, UpdateStatus,
    Updated,
};

use state::State;

/// Clones the index into `dir` when nothing is there, else brings the git repository there up to date with its remote.
/// Any repository will do that is read by its HEAD, and whose directories are nested at most 8 deep.
/// Blocks; works on a thread of its own, and reports its progress to `observer`. Memory grows with the number of
/// objects that arrive (about 100 bytes each), not with their size.
///
/// # Errors
/// See [`UpdateError`]. The index is then as it was, or absent if it was absent.
pub fn update_index(
    dir: &Path,
    options: &UpdateOptions,
    observer: &dyn UpdateObserver,
) -> Result<Updated, UpdateError> {
    let began = Instant::now();
    let done = State::of(dir).and_then(|state| match state {
        State::Absent => clone::clone(dir, options, observer),
        State::Repository => update(dir, options, observer),
    });
    let mut updated = done.map_err(|error| error.about(options.what))?;
    updated.elapsed = began.elapsed();
    Ok(updated)
}

fn update(
    dir: &Path,
    options: &UpdateOptions,
    observer: &dyn UpdateObserver,
) -> Result<Updated, UpdateError> {
    let mut repo = state::open(dir)?;
    let lock = lock::Lock::of_repository(dir, repo.common_dir())?;
    incoming::remove_leftovers(repo.common_dir())?;
    refs::release(&repo)?;
    packs::finish(&repo)?;
    checkout::Checkout::resume(dir, &repo, options, observer)?;
    repo = state::open(dir)?;
    let head = refs::Head::of(dir, &repo)?;
    let work = checkout::Checkout::examine(dir, &repo, &head, options, observer)?;
    let url = refs::url(dir, &repo, options, observer)?;
    let incoming = incoming::fetch(dir, &repo, &head, &url, options, observer)?;
    if let Some(work) = &work {
        work.vouch(dir, &incoming)?;
    }
    let installed = install::install(dir, &mut repo, &head, incoming, work.as_ref(), observer);
    if installed.as_ref().is_err_and(|error| error.kind() == FaultKind::Usage) {
        // If every run is refused, each leaves a pack.
        packs::consolidate(&repo, options, observer);
    }
    let mut updated = installed?;
    updated.packs_replaced = packs::consolidate(&repo, options, observer);
    drop(lock);
    Ok(updated)
}
