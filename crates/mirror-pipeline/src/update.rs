//! Brings a local git index up to date before it is read.

use std::path::PathBuf;
use std::sync::Arc;

use mirror_fetch::Proxies;
use mirror_index::{
    History, ProxyRule, UpdateEvent, UpdateOptions, UpdateStatus, UpdateWatch, Updated, update_index,
};
use mirror_telemetry::{Activity, Phase, RunStats};
use mirror_types::{human_bytes, upstream};
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;
use crate::options::{DownloadOptions, Upstream};
use crate::threads::{join, spawn};

/// Packs beside the largest that the index may have: three weeks of nightly runs.
const PACKS_MOST: usize = 20;

/// Does so when `options` ask for it. A dry run touches nothing, the index included.
pub(crate) async fn update(
    options: &DownloadOptions,
    stats: &Arc<RunStats>,
    cancel: &CancellationToken,
) -> Result<(), PipelineError> {
    let (Some(update), Upstream::Local(dir)) = (&options.update, &options.upstream) else { return Ok(()) };
    if options.dry_run {
        if !dir.exists() {
            return Err(PipelineError::Usage(format!(
                "there is no index at {}, and a dry run clones none; run without --dry-run to clone it",
                dir.display()
            )));
        }
        tracing::info!("a dry run does not update the index; it plans with what is there");
        return Ok(());
    }
    stats.set_phase(Phase::UpdateIndex);
    let wanted = UpdateOptions {
        url: update.url.clone(),
        default_url: upstream::git_index_url(),
        history: if update.full { History::Full } else { History::Shallow },
        cacert: options.fetch.cacert.clone(),
        user_agent: options.fetch.user_agent.clone(),
        proxies: proxy_rule(options),
        connect_timeout: options.fetch.connect_timeout,
        idle_timeout: update.idle_timeout,
        retries: options.fetch.retries,
        retry_base: options.fetch.retry_base,
        retry_max: options.fetch.retry_max,
        max_object_bytes: mirror_index::MAX_FILE_BYTES,
        packs_most: PACKS_MOST,
    };
    let watch = Watch { dir: dir.clone(), stats: stats.clone(), cancel: cancel.clone() };
    let updated = join(spawn("update", move || update_index(&watch.dir, &wanted, &watch))?).await;
    stats.set_activity(None);
    report(&updated??);
    Ok(())
}

/// The meaning that the downloads give to the proxy settings, for the index.
fn proxy_rule(options: &DownloadOptions) -> ProxyRule {
    let proxies = Proxies::new(&options.fetch.proxies);
    ProxyRule::new(move |url| proxies.of_url(url).map_err(|error| error.to_string()))
}

struct Watch {
    dir: PathBuf,
    stats: Arc<RunStats>,
    cancel: CancellationToken,
}

impl UpdateWatch for Watch {
    fn stopped(&self) -> bool {
        self.cancel.is_cancelled()
    }

    fn status(&self, status: &UpdateStatus) {
        let &UpdateStatus { phase, done, total, bytes } = status;
        let text = if bytes > 0 {
            format!("{}, {}", phase.as_str(), human_bytes(bytes))
        } else {
            phase.as_str().to_owned()
        };
        self.stats.set_activity(Some(Activity { text, done, total }));
    }

    fn event(&self, event: UpdateEvent) {
        match event {
            UpdateEvent::Started { url, clone: true, .. } => {
                tracing::info!(index = %self.dir.display(), "cloning the index from {url}");
            }
            UpdateEvent::Started { url, old, .. } => {
                let old = old.as_deref().map_or("none", short);
                tracing::info!(index = %self.dir.display(), "updating the index from {url}, HEAD is {old}");
            }
            UpdateEvent::Retrying { why, wait } => {
                self.stats.retry();
                tracing::warn!("fetching the index failed, again in {:.1}s: {why}", wait.as_secs_f64());
            }
            UpdateEvent::Notice(text) => tracing::info!("{text}"),
            _ => {}
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn report(updated: &Updated) {
    let Updated { old, new, forced, received_bytes, received_objects, elapsed, .. } = updated;
    let took = elapsed.as_secs_f64();
    let new = short(new);
    if updated.packs_replaced > 0 {
        tracing::info!("{} packs of the index became one", updated.packs_replaced);
    }
    if updated.checked_out > 0 {
        tracing::info!("{} files of the checkout changed", updated.checked_out);
    }
    match old {
        Some(old) if short(old) == new => tracing::info!("the index is up to date at {new}, {took:.1}s"),
        Some(old) => {
            let how = match forced {
                Some(true) => "replaced history, ",
                Some(false) => "",
                None => "history unknown, ",
            };
            tracing::info!(
                "the index went from {} to {new}: {how}{received_objects} objects, {} received, {took:.1}s",
                short(old),
                human_bytes(*received_bytes)
            );
        }
        None => tracing::info!(
            "the index was cloned at {new}: {received_objects} objects, {} received, {took:.1}s",
            human_bytes(*received_bytes)
        ),
    }
}
