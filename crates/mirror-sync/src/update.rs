//! Brings the git repositories of a run up to date before they are read: the index, and the advisory database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mirror_fetch::Proxies;
use mirror_git::{
    History, ProxyRule, UpdateError, UpdateEvent, UpdateObserver, UpdateOptions, UpdateStatus, Updated,
    update_index,
};
use mirror_types::upstream;
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver, SyncPhase};
use crate::options::{DownloadOptions, Upstream};
use crate::threads::{join, spawn};

/// Updates the index when `options` ask for it. A dry run touches nothing, the index included.
pub(crate) async fn update(
    options: &DownloadOptions,
    observer: &Arc<dyn SyncObserver>,
    cancel: &CancellationToken,
) -> Result<(), SyncError> {
    let (Some(update), Upstream::Local(dir)) = (&options.update, &options.upstream) else { return Ok(()) };
    if options.dry_run {
        if !dir.exists() {
            return Err(SyncError::NoIndexToTry { dir: dir.clone() });
        }
        observer.event(SyncEvent::IndexLeft);
        return Ok(());
    }
    let mut wanted = update_options(options);
    wanted.url = update.url.clone();
    wanted.history = if update.full { History::Full } else { History::Shallow };
    wanted.idle_timeout = update.idle_timeout;
    let updated = carry_out(Repository::Index, dir, wanted, observer, cancel).await??;
    observer.event(SyncEvent::IndexUpdated(&updated));
    Ok(())
}

/// Clones the advisory database in `dir`, or brings it up to date, as `options` ask for. The inner error is that of the
/// update.
pub(crate) async fn update_advisories(
    options: &DownloadOptions,
    dir: &Path,
    observer: &Arc<dyn SyncObserver>,
    cancel: &CancellationToken,
) -> Result<Result<(), UpdateError>, SyncError> {
    let Some(update) = &options.advisory_update else { return Ok(Ok(())) };
    let mut wanted = update_options(options);
    wanted.what = "advisory database";
    wanted.url = update.url.clone();
    wanted.default_url = upstream::advisory_database_url();
    wanted.idle_timeout = update.idle_timeout;
    let updated = carry_out(Repository::Advisories, dir, wanted, observer, cancel).await?;
    Ok(updated.map(|updated| observer.event(SyncEvent::AdvisoriesUpdated(&updated))))
}

/// Returns the settings that hold for every repository.
fn update_options(options: &DownloadOptions) -> UpdateOptions {
    let mut wanted = UpdateOptions::default();
    wanted.cacert = options.fetch.cacert.clone();
    wanted.user_agent = options.fetch.user_agent.clone();
    wanted.proxies = proxy_rule(options);
    wanted.connect_timeout = options.fetch.connect_timeout;
    wanted.retries = options.fetch.retries;
    wanted.retry_base = options.fetch.retry_base;
    wanted.retry_max = options.fetch.retry_max;
    wanted
}

async fn carry_out(
    what: Repository,
    dir: &Path,
    wanted: UpdateOptions,
    observer: &Arc<dyn SyncObserver>,
    cancel: &CancellationToken,
) -> Result<Result<Updated, UpdateError>, SyncError> {
    observer.event(SyncEvent::Phase(SyncPhase::UpdateIndex));
    let bridge =
        ObserverBridge { what, dir: dir.to_owned(), observer: Arc::clone(observer), cancel: cancel.clone() };
    let updated = join(spawn("update", move || update_index(&bridge.dir, &wanted, &bridge))?).await?;
    observer.event(SyncEvent::IndexUpdating(None));
    Ok(updated)
}

/// Returns the rule by which the index uses the proxy settings: the same as for downloads.
fn proxy_rule(options: &DownloadOptions) -> ProxyRule {
    let proxies = Proxies::new(&options.fetch.proxies);
    ProxyRule::new(move |url| proxies.of_url(url).map_err(|error| error.to_string()))
}

/// The repositories that a run updates.
#[derive(Clone, Copy)]
enum Repository {
    Index,
    Advisories,
}

/// Passes the progress of an update on to the observer of the run.
struct ObserverBridge {
    what: Repository,
    dir: PathBuf,
    observer: Arc<dyn SyncObserver>,
    cancel: CancellationToken,
}

impl UpdateObserver for ObserverBridge {
    fn stopped(&self) -> bool {
        self.cancel.is_cancelled()
    }

    fn status(&self, status: &UpdateStatus) {
        self.observer.event(SyncEvent::IndexUpdating(Some(status)));
    }

    fn event(&self, event: UpdateEvent) {
        let (dir, event) = (&*self.dir, &event);
        self.observer.event(match self.what {
            Repository::Index => SyncEvent::IndexUpdate { dir, event },
            Repository::Advisories => SyncEvent::AdvisoriesUpdate { dir, event },
        });
    }
}
