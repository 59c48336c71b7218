//! Brings a local git index up to date before it is read.

use std::path::PathBuf;
use std::sync::Arc;

use mirror_fetch::Proxies;
use mirror_git::{
    History, ProxyRule, UpdateEvent, UpdateObserver, UpdateOptions, UpdateStatus, update_index,
};
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
    observer.event(SyncEvent::Phase(SyncPhase::UpdateIndex));
    let mut wanted = UpdateOptions::default();
    wanted.url = update.url.clone();
    wanted.history = if update.full { History::Full } else { History::Shallow };
    wanted.cacert = options.fetch.cacert.clone();
    wanted.user_agent = options.fetch.user_agent.clone();
    wanted.proxies = proxy_rule(options);
    wanted.connect_timeout = options.fetch.connect_timeout;
    wanted.idle_timeout = update.idle_timeout;
    wanted.retries = options.fetch.retries;
    wanted.retry_base = options.fetch.retry_base;
    wanted.retry_max = options.fetch.retry_max;
    let bridge = ObserverBridge { dir: dir.clone(), observer: Arc::clone(observer), cancel: cancel.clone() };
    let updated = join(spawn("update", move || update_index(&bridge.dir, &wanted, &bridge))?).await;
    observer.event(SyncEvent::IndexUpdating(None));
    observer.event(SyncEvent::IndexUpdated(&updated??));
    Ok(())
}

/// Returns the rule by which the index uses the proxy settings: the same as for downloads.
fn proxy_rule(options: &DownloadOptions) -> ProxyRule {
    let proxies = Proxies::new(&options.fetch.proxies);
    ProxyRule::new(move |url| proxies.of_url(url).map_err(|error| error.to_string()))
}

/// Passes the progress of an update on to the observer of the run.
struct ObserverBridge {
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
        self.observer.event(SyncEvent::IndexUpdate { dir: &self.dir, event: &event });
    }
}
