//! Counts the events of a run for progress and metrics, and logs them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mirror_fetch::FetchObserver;
use mirror_git::{UpdateEvent, UpdateStatus, Updated};
use mirror_repo::{OpenReport, RepoError};
use mirror_sync::{SyncEvent, SyncObserver, SyncPhase, Wait};
use mirror_telemetry::{Activity, Phase, RunStats};
use mirror_types::{Location, Printable, ReleaseId, Sha256, StoreId, human_bytes, human_time};

use crate::advisories;
use crate::quiet::{MAX_NAMED, Quiet, Say};

/// The kind of what a dry run finds that a run could not fetch.
const WOULD_FAIL: &str = "planned";

/// Counts and logs the events of a run.
pub(crate) struct Reporter {
    stats: Arc<RunStats>,
    quiet: Quiet,
}

impl Reporter {
    pub(crate) fn new(stats: Arc<RunStats>) -> Self {
        Self { stats, quiet: Quiet::default() }
    }
}

impl FetchObserver for Reporter {
    fn attempt(&self, status: Option<u16>, ok: bool, elapsed: Duration) {
        self.stats.request(status, ok, elapsed);
    }
    fn bytes(&self, n: u64) {
        self.stats.received(n);
    }
    fn retry(&self) {
        self.stats.retry();
    }
    fn waits(&self, wait: &Wait<'_>) {
        match wait {
            Wait::Silent { host, proxy, after } => self.named("silent", "requests without an answer", || {
                let by = proxy.map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"));
                tracing::warn!("{host} has not answered for {}{by}; still waiting", human_time(*after));
            }),
            Wait::Retry { url, why, wait } => {
                if let Some(more) = self.quiet.retry(Instant::now()) {
                    let more = if more > 0 {
                        format!(" ({more} more retries since the last line)")
                    } else {
                        String::new()
                    };
                    tracing::info!(
                        "trying {url} again in {:.1} s{more}: {}",
                        wait.as_secs_f64(),
                        Printable(why)
                    );
                }
            }
            _ => {}
        }
    }
    fn inflight(&self, delta: i64) {
        self.stats.inflight(delta);
    }
    fn concurrency(&self, limit: usize) {
        self.stats.concurrency(u64::try_from(limit).unwrap_or(u64::MAX));
    }
}

impl SyncObserver for Reporter {
    fn event(&self, event: SyncEvent<'_>) {
        self.count(&event);
        self.show(&event);
        self.log(&event);
    }
}

impl Reporter {
    /// Logs an event that may come a million times: the first by name, then only how many there were. `what` names them
    /// in the plural.
    fn named(&self, kind: &str, what: &str, log: impl FnOnce()) {
        self.named_here(kind, what, "a line follows when there are 100, 200, 400 and so on", log);
    }

    /// As [`Reporter::named`], where `rest` says what tells of those that are not named.
    fn named_here(&self, kind: &str, what: &str, rest: &str, log: impl FnOnce()) {
        match self.quiet.count(kind) {
            Say::Name => log(),
            Say::LastName => {
                log();
                tracing::warn!("more {what} are counted and not named here; {rest}");
            }
            Say::Sum(count) => tracing::warn!("{count} {what} so far"),
            Say::Nothing => {}
        }
    }

    fn count(&self, event: &SyncEvent<'_>) {
        let stats = &self.stats;
        match event {
            SyncEvent::Phase(phase) => stats.set_phase(shown(*phase)),
            SyncEvent::IndexUpdating(status) => stats.set_activity(status.map(activity)),
            SyncEvent::IndexUpdate { event: UpdateEvent::Retrying { .. }, .. }
            | SyncEvent::AdvisoriesUpdate { event: UpdateEvent::Retrying { .. }, .. } => stats.retry(),
            SyncEvent::AdvisoriesRead { advisories, now, .. } => stats.change_offer(|offer| {
                offer.advisories_age = advisories.commit().map(|commit| commit.age(*now));
            }),
            SyncEvent::Judged { held_back, reported } => stats.change_offer(|offer| {
                offer.held_back =
                    held_back.iter().map(|count| (count.rule, count.held + count.deferred)).collect();
                offer.reported = *reported;
            }),
            SyncEvent::Expected(releases) => stats.expect(*releases),
            SyncEvent::Selected(releases) => stats.planned(*releases),
            SyncEvent::Existing(releases) => stats.existing(*releases),
            SyncEvent::Deferred(releases) => stats.deferred(*releases),
            SyncEvent::Planned => stats.plan_finished(),
            SyncEvent::Downloaded { bytes } => stats.downloaded(*bytes),
            SyncEvent::Verified => stats.verified_existing(),
            SyncEvent::Failed { unavailable: true, kind, .. } => {
                stats.failed(kind);
                stats.unavailable();
            }
            SyncEvent::Failed { kind, .. } | SyncEvent::CrateFailed { kind, .. } => {
                stats.failed(kind);
                stats.error();
            }
            _ => {}
        }
    }

    /// Keeps what the console names one by one.
    fn show(&self, event: &SyncEvent<'_>) {
        let stats = &self.stats;
        match event {
            SyncEvent::Failed { release, kind, why, acknowledged, .. } => {
                stats.failure(&release.to_string(), kind, why, *acknowledged);
            }
            SyncEvent::CrateFailed { name, kind, why } => stats.failure(name.as_str(), kind, why, false),
            SyncEvent::WouldFail { release, why } => {
                stats.failure(&release.to_string(), WOULD_FAIL, why, false);
            }
            SyncEvent::WouldFailCrate { name, why } => stats.failure(name.as_str(), WOULD_FAIL, why, false),
            SyncEvent::Wrong { release, at, .. } => {
                let place = match at {
                    Location::Member(member) => format!("bundle {}", member.bundle),
                    at if at.store() == StoreId::LOOSE => "its file, now in .mirror/quarantine".to_owned(),
                    at => format!("store {}", at.store().0),
                };
                stats.damaged(&release.to_string(), &place);
            }
            _ => {}
        }
    }

    fn log(&self, event: &SyncEvent<'_>) {
        match event {
            SyncEvent::IndexLeft => {
                tracing::info!("a dry run does not update the index; it plans with what is there");
            }
            SyncEvent::IndexUpdate { dir, event } => log_update(dir, event),
            SyncEvent::IndexUpdated(updated) => log_updated(updated),
            SyncEvent::IndexOpened { dir, what } => tracing::info!(index = %dir.display(), "{what}"),
            SyncEvent::IndexUnchanged => {
                tracing::info!("the index has not changed since the last run that went through all of it");
            }
            SyncEvent::IndexChanged { files } => {
                tracing::info!(files, "the index changed since the last run that went through all of it");
            }
            SyncEvent::Opened(report) => log_opened(report),
            SyncEvent::SourcesUnknown(error) => tracing::warn!(
                "the old catalogue does not show which index listed what, the next run records it anew: {error}"
            ),
            SyncEvent::AdvisoriesLeft { dir, is_dry_run } => advisories::log_left(dir, *is_dry_run),
            SyncEvent::AdvisoriesUpdate { dir, event } => advisories::log_update(dir, event),
            SyncEvent::AdvisoriesUpdated(updated) => advisories::log_updated(updated),
            SyncEvent::AdvisoriesOutdated { dir, error } => advisories::log_outdated(dir, error),
            SyncEvent::AdvisoriesRead { dir, advisories, now } => advisories::log_read(dir, advisories, *now),
            event => self.log_release(event),
        }
    }

    /// Logs what happens to single releases, crates and lines of the index.
    fn log_release(&self, event: &SyncEvent<'_>) {
        match event {
            SyncEvent::BadLine(text) => {
                self.named("bad line", "bad index lines", || tracing::warn!("bad index line: {text}"));
            }
            SyncEvent::MoreBadLines { path, lines } => {
                self.named("bad file", "index files with bad lines", || {
                    tracing::warn!("{lines} more bad index lines in {}", Printable(path));
                });
            }
            SyncEvent::Republished { release, held } => {
                self.named("republished", "republished releases", || {
                    tracing::warn!(%release, %held, "was republished upstream with other bytes");
                });
            }
            SyncEvent::WouldFail { release, why } => {
                self.named("would fail", "releases that would fail", || tracing::warn!(%release, "{why}"));
            }
            SyncEvent::WouldFailCrate { name, why } => {
                self.named(
                    "would fail",
                    "crates that would fail",
                    || tracing::warn!(crate_name = %name, "{why}"),
                );
            }
            SyncEvent::Wrong { release, at, sha256 } => {
                self.named("wrong", "wrong copies", || wrong(release, at, *sha256));
            }
            SyncEvent::Failed { release, kind, why, acknowledged: true, .. } => {
                self.named("known gap", "known gaps", || {
                    tracing::info!(%release, kind, "a known gap: {}", Printable(why));
                });
            }
            SyncEvent::Failed { release, kind, why, .. } => {
                self.named(kind, &format!("failures of the kind {kind}"), || {
                    tracing::warn!(%release, kind, "{}", Printable(why));
                });
            }
            SyncEvent::CrateFailed { name, kind, why } => {
                self.named(kind, &format!("failures of the kind {kind}"), || {
                    tracing::warn!(crate_name = %name, kind, "{}", Printable(why));
                });
            }
            SyncEvent::GapFilled(release) => self.named("gap filled", "resolved gaps", || {
                tracing::info!(%release, "was a known gap, and could be fetched: it is resolved");
            }),
            SyncEvent::Lost(release) => self.named("lost", "lost files", || log_lost(release)),
            event => self.log_upstream(event),
        }
    }

    /// Logs what upstream removed or reinstated, and the consequences here.
    fn log_upstream(&self, event: &SyncEvent<'_>) {
        match event {
            SyncEvent::RemovedUpstream { release, kind } => {
                let rest = "the table withdrawn names them all";
                self.named_here("removed", "releases removed upstream", rest, || {
                    tracing::warn!(%release, "was {} upstream; it stays held", kind.as_str());
                });
            }
            SyncEvent::Reinstated(release) => self.named("reinstated", "reinstated releases", || {
                tracing::info!(%release, "is upstream again; it is offered again");
            }),
            SyncEvent::Hidden(releases) => log_hidden(releases),
            SyncEvent::MassRemovalRefused { releases } => tracing::error!(
                releases,
                "so many disappeared upstream at once that it looks like a fault there: they are still offered"
            ),
            SyncEvent::PruneSkipped => tracing::warn!(
                "nothing was pruned: that takes a run that went through the whole of a local index, which did not \
                 change meanwhile"
            ),
            // All of them: a person has to see what a prune removes, and it refuses to remove many.
            SyncEvent::Pruning(release) => {
                tracing::info!(%release, "is to be pruned: upstream removed it");
            }
            SyncEvent::PruneKept(release) => {
                tracing::info!(%release, "was removed upstream; it stays, because a bundle holds it");
            }
            SyncEvent::SnapshotTaken { serial, is_signed: true } => {
                tracing::info!(serial, "took a snapshot of what is offered, and signed it");
            }
            SyncEvent::SnapshotTaken { serial, is_signed: false } => {
                tracing::info!(serial, "took a snapshot of what is offered");
            }
            SyncEvent::TooManyGaps { releases } => {
                tracing::warn!(
                    releases,
                    "no snapshot was taken: so many releases are missing that it cannot name them"
                );
            }
            SyncEvent::SnapshotFailed(error) => tracing::error!(
                "no snapshot was taken; everything else is done, and the next run takes one: {error}{}",
                cause(*error)
            ),
            SyncEvent::HistoryFailed(error) => tracing::warn!(
                "the run could not be recorded among the runs of the mirror; everything else is done: {error}{}",
                cause(error)
            ),
            SyncEvent::BadSnapshot(error) => log_bad_snapshot(error),
            _ => {}
        }
    }
}

fn log_bad_snapshot(error: &RepoError) {
    tracing::warn!("an earlier snapshot is passed over: {error}{}", cause(error));
}

/// Returns the reason for an error, to be written behind it.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or(String::new(), |why| format!(": {why}"))
}

fn shown(phase: SyncPhase) -> Phase {
    match phase {
        SyncPhase::UpdateIndex => Phase::UpdateIndex,
        SyncPhase::Download => Phase::Download,
        SyncPhase::Verify => Phase::Verify,
        SyncPhase::Finish => Phase::Finishing,
        SyncPhase::Done => Phase::Done,
        _ => Phase::Index,
    }
}

fn activity(status: &UpdateStatus) -> Activity {
    let &UpdateStatus { phase, done, total, bytes } = status;
    let text = if bytes > 0 {
        format!("{}, {}", phase.as_str(), human_bytes(bytes))
    } else {
        phase.as_str().to_owned()
    };
    Activity { text, done, total }
}

fn log_update(dir: &std::path::Path, event: &UpdateEvent) {
    match event {
        UpdateEvent::Started { url, clone: true, .. } => {
            tracing::info!(index = %dir.display(), "cloning the index from {url}");
        }
        UpdateEvent::Started { url, old, .. } => {
            let old = old.as_deref().map_or("none", short);
            tracing::info!(index = %dir.display(), "updating the index from {url}, HEAD is {old}");
        }
        UpdateEvent::Retrying { why, wait } => {
            tracing::warn!("fetching the index failed, again in {:.1}s: {why}", wait.as_secs_f64());
        }
        UpdateEvent::Notice(text) => tracing::info!("{text}"),
        _ => {}
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn log_updated(updated: &Updated) {
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

/// Logs the findings and repairs of opening a mirror.
fn log_opened(report: &OpenReport) {
    log_manifest(report);
    log_bundles(report);
    if report.index_cache.lost {
        tracing::warn!("the mirror's index lines were gone or cut; the index is read again");
    }
    if report.index_cache.damaged > 0 {
        tracing::warn!(
            files = report.index_cache.damaged,
            "index lines were damaged; the index is read again"
        );
    }
    let named = usize::try_from(MAX_NAMED).unwrap_or(usize::MAX);
    report.lost.iter().take(named).for_each(log_lost);
    if report.lost.len() > named {
        tracing::warn!("{} more held files are gone or have another size", report.lost.len() - named);
    }
}

fn log_lost(release: &ReleaseId) {
    tracing::warn!(%release, "was held, but its file is gone or has another size");
}

fn log_hidden(releases: &[ReleaseId]) {
    let named = usize::try_from(MAX_NAMED).unwrap_or(usize::MAX);
    for release in releases.iter().take(named) {
        tracing::warn!(%release, "was deleted upstream; it stays held and is not offered any more");
    }
    if releases.len() > named {
        let more = releases.len() - named;
        tracing::warn!("{more} more were deleted upstream; the manifest names them all");
    }
}

fn wrong(release: &ReleaseId, at: &Location, sha256: Option<Sha256>) {
    let held = sha256.map(tracing::field::display);
    match at {
        Location::Member(member) => {
            tracing::warn!(%release, bundle = member.bundle, "the copy in its bundle is damaged");
        }
        at if at.store() == StoreId::LOOSE => {
            tracing::warn!(%release, held, "held file is wrong; moved to .mirror/quarantine and fetched again");
        }
        at => {
            tracing::warn!(%release, held, store = at.store().0, "the copy in its store is wrong; set aside");
        }
    }
}

fn log_manifest(report: &OpenReport) {
    let manifest = report.manifest.display();
    if report.torn_bytes_cut > 0 {
        let bytes = report.torn_bytes_cut;
        tracing::warn!(%manifest, bytes, "the manifest ended in a torn record; it was cut");
    }
    match &report.copied_from {
        Some(from) if report.was_shared => tracing::warn!(
            shared = %from.display(),
            %manifest,
            "a manifest has records of several mirrors; it was left as it is, this mirror's records were copied, and \
             its catalogue is rebuilt"
        ),
        Some(from) => {
            tracing::info!(from = %from.display(), %manifest, "the manifest begins with a copy of the one before");
        }
        None => {}
    }
    if report.catalogue_remade {
        tracing::warn!(
            "the catalogue was missing, empty, or of another manifest: it was rebuilt from the manifest"
        );
    }
}

fn log_bundles(report: &OpenReport) {
    if report.misplaced_members > 0 {
        tracing::warn!(
            releases = report.misplaced_members,
            "records name members that are not in the bundles; they are not held"
        );
    }
    if report.relisted_members > 0 || report.cut_bundle_bytes > 0 {
        tracing::warn!(
            members = report.relisted_members,
            cut_bytes = report.cut_bundle_bytes,
            "an earlier run ended while it wrote a bundle: whole members are kept, the rest was cut"
        );
    }
    for name in &report.completed_bundles {
        tracing::warn!(bundle = %name, "an earlier run ended while it sealed a bundle; that was completed");
    }
    for (name, members) in &report.members_without_place {
        tracing::warn!(
            bundle = %name,
            members,
            "its manifest has no offsets (the source system's have none): what is in it does not count as held; \
             extract-bundles makes loose files of it"
        );
    }
}

#[cfg(test)]
mod tests {
    use mirror_sync::{HeldBackCount, Rule};

    use super::*;

    #[test]
    fn the_effect_of_a_policy_reaches_the_metrics() {
        let stats = RunStats::new("0");
        let reporter = Reporter::new(Arc::clone(&stats));
        assert_eq!(stats.offer(), None);
        let held_back = [HeldBackCount { rule: Rule::Deny, held: 1, deferred: 2 }];
        reporter.event(SyncEvent::Judged { held_back: &held_back, reported: Some(4) });
        let offer = stats.offer().unwrap();
        assert_eq!((offer.held_back.get(&Rule::Deny), offer.reported), (Some(&3), Some(4)));
    }
}
