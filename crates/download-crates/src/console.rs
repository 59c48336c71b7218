//! The identity of a run, its mirror and its end, which the console shows beside the counters.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mirror_cli::Program;
use mirror_repo::{Mirror, RepoError};
use mirror_sync::{Outcome, Storage, SyncError, Upstream};
use mirror_telemetry::{
    CountedGauges, DiskSpace, Ended, ListenOptions, Listener, MirrorViews, Preflight, RunIdentity, RunStats,
    command_line,
};
use mirror_types::ExitStatus;
use tokio_util::sync::CancellationToken;

use crate::resolve::Settings;
use crate::room::Need;
use crate::summary;

/// The mirror of the run, read as any other program would read it.
struct Views {
    out: PathBuf,
    bundles: Option<PathBuf>,
    started_ms: u64,
}

impl Views {
    fn look<T>(&self, look: impl FnOnce(&Mirror) -> Result<T, RepoError>) -> Result<T, String> {
        match Mirror::open(&self.out, self.bundles.as_deref()).and_then(|mirror| look(&mirror)) {
            Ok(found) => Ok(found),
            Err(RepoError::NoMirror { .. }) => Err("there is no mirror here yet".to_owned()),
            Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
        }
    }
}

impl MirrorViews for Views {
    fn storage(&self) -> Result<String, String> {
        json(&self.look(Mirror::storage)?)
    }
    fn runs(&self) -> Result<String, String> {
        json(&self.look(|mirror| mirror.runs(Some(self.started_ms)))?)
    }
    fn disk(&self) -> Option<DiskSpace> {
        let space = mirror_repo::disk_space(&self.out).ok().flatten()?;
        Some(DiskSpace::new(space.total, space.free, space.inodes_free))
    }
    fn counted(&self) -> Option<CountedGauges> {
        let numbers = self.look(Mirror::numbers).ok()?;
        let mut counted = CountedGauges::default();
        (counted.loose_bytes, counted.bundle_bytes) = (numbers.loose_bytes, numbers.bundle_bytes);
        (counted.sealed_bundles, counted.partial_bundles) = (numbers.sealed_bundles, numbers.partial_bundles);
        (counted.last_run_ms, counted.last_success_ms) = (numbers.last_run_ms, numbers.last_success_ms);
        Some(counted)
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}

/// Names the run on its console.
pub(crate) fn identify(stats: &RunStats, settings: &Settings) {
    let options = &settings.options;
    let shown =
        |path: &std::path::Path| std::path::absolute(path).unwrap_or(path.to_owned()).display().to_string();
    let mut run = RunIdentity::default();
    run.mirror = shown(&options.out);
    run.index = match &options.upstream {
        Upstream::Local(dir) => shown(dir),
        Upstream::Sparse(url) => url.to_string(),
        Upstream::List(path) => format!("the addresses in {}", shown(path)),
    };
    run.command = command_line().into_iter().map(quoted).collect::<Vec<_>>().join(" ");
    run.host = host();
    run.is_dry_run = options.dry_run;
    run.verifies = options.verify_existing;
    stats.identify(run);
}

/// Quotes a word as a shell would need it.
fn quoted(word: String) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=@+,%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// Returns the options of the listener of a run that begins now.
pub(crate) fn options(settings: &Settings) -> ListenOptions {
    let mut options = ListenOptions::default();
    options.names = settings.names.clone();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    options.mirror = Some(Arc::new(Views {
        out: settings.options.out.clone(),
        bundles: settings.options.bundles_out.clone(),
        started_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    }));
    options
}

/// Shows the end of a run, which will have this exit code.
pub(crate) fn end(stats: &RunStats, result: &Result<Outcome, SyncError>, settings: &Settings, code: u8) {
    let mut ended = Ended::default();
    ended.exit_code = code;
    let mut lost = 0;
    match result {
        Ok(outcome) => {
            ended.summary = summary::of(outcome, &settings.options);
            ended.is_interrupted = outcome.interrupted;
            ended.acknowledged = outcome.acknowledged;
            lost = outcome.unrepaired + outcome.lost_while_running;
            if outcome.given_up {
                ended.is_given_up = true;
                (ended.error, ended.advice) = summary::given_up(outcome);
            }
            if settings.options.dry_run {
                stats.preflight(preflight(outcome, settings.options.storage));
            }
        }
        Err(error) => {
            ended.error = chain(error);
            let hint = error.advice().and_then(|advice| mirror_cli::hint(advice, Program::DownloadCrates));
            ended.advice = hint.unwrap_or_default().to_owned();
            ended.is_interrupted = error.kind().exit_status() == ExitStatus::Interrupted;
        }
    }
    stats.end(ended, lost);
}

/// Returns an error with its causes, in one line.
fn chain(error: &SyncError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    mirror_types::Printable(text).to_string()
}

fn preflight(outcome: &Outcome, storage: Storage) -> Preflight {
    let mut result = Preflight::default();
    (result.selected, result.held) = (outcome.selected, outcome.existing);
    result.would_fetch = outcome.would_fetch;
    result.would_fail = outcome.failed + outcome.unavailable;
    result.bytes = outcome.estimate.map(|size| [size.bytes, size.least_bytes, size.most_bytes]);
    let need = Need::of(outcome, storage);
    (result.need_bytes, result.need_files) = (need.bytes, need.files);
    result.time_sec = outcome.estimate.and_then(|size| size.time).map(|time| time.as_secs());
    result
}

/// Keeps the console for a while after the end, unless the run is stopped; then closes it, once open pages have the end.
pub(crate) async fn close(listener: Listener, linger: Duration, stop: &CancellationToken) {
    if !linger.is_zero() && !stop.is_cancelled() {
        let addr = listener.local_addr();
        let time = humantime::format_duration(linger);
        tracing::info!("the console stays at http://{addr}/ for {time}; Ctrl-C ends it");
        let _ = tokio::time::timeout(linger, stop.cancelled()).await;
    }
    listener.finish().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        let shown = ["download-crates", "--crates", "serde@^1", "it's"].map(|word| quoted(word.to_owned()));
        assert_eq!(shown.join(" "), "download-crates --crates 'serde@^1' 'it'\\''s'");
    }
}
