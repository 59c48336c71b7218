//! The console of a mirror between its runs: what it holds, what its runs did, and why a release is not offered.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use http::request::Parts;
use mirror_console::{FailureLog, Level, Verdict, content_security_policy, page, reason};
use mirror_index_line::records;
use mirror_manifest::{Offered, RunRow};
use mirror_repo::{Mirror, RepoError};
use mirror_types::{CrateName, Locations, StoreId, human_time};
use semver::Version;
use serde_json::{Value, json};

use crate::app::{App, Asker, blocking};
use crate::error::ServeError;
use crate::freshness::SnapshotState;
use crate::held_back::next_due;
use crate::page::Totals;
use crate::reply::{Answer, json, set, text, typed};

/// Most names that a search shows, and most versions of a crate.
const MAX_NAMES: u64 = 60;
const MAX_VERSIONS: usize = 500;
/// The time for which an answer is good while runs change the mirror.
const FRESH: Duration = Duration::from_secs(5);
const VIEWS: [&str; 6] = ["mirror", "browse", "runs", "storage", "failures", "setup"];

/// An answer of the console that needs data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum View {
    Status,
    Events,
    Runs,
    Storage,
    Failures,
    Browse,
    Crate,
}

impl View {
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/api/status" => Self::Status,
            "/api/events" => Self::Events,
            "/api/runs" => Self::Runs,
            "/api/storage" => Self::Storage,
            "/api/failures" => Self::Failures,
            "/api/browse" => Self::Browse,
            "/api/crate" => Self::Crate,
            _ => return None,
        })
    }
}

/// Answers that are good until the mirror changes, with the state of the mirror and the time at which they were made.
pub(crate) type Known = HashMap<View, (u64, Instant, String)>;

/// Makes the answer with the page, which has no data.
pub(crate) fn page_answer() -> Answer {
    let mut answer = typed("text/html; charset=utf-8", page());
    set(&mut answer, http::header::CACHE_CONTROL, "no-store");
    set(&mut answer, http::header::CONTENT_SECURITY_POLICY, content_security_policy());
    set(&mut answer, http::header::REFERRER_POLICY, "no-referrer");
    answer
}

impl App {
    /// Answers the console, if the request may read it.
    pub(crate) async fn view(
        self: &Arc<Self>,
        view: View,
        head: &Parts,
        asker: &Asker,
    ) -> Result<Answer, ServeError> {
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        if let Err(refusal) = self.guard.check(authority, &head.headers) {
            return Ok(text(StatusCode::FORBIDDEN, format!("{refusal}\n")));
        }
        let asked = |key: &str| {
            let query = head.uri.query().unwrap_or_default();
            let found = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == key);
            found.map(|(_, value)| value.trim().chars().take(64).collect::<String>()).unwrap_or_default()
        };
        let mirror = Arc::clone(&self.mirror);
        let body = match view {
            View::Events => return Ok(self.stream(&head.method, &asker.stop)),
            View::Browse => {
                let part = asked("q");
                let Ok(_place) = self.searches.acquire().await else { return Ok(stopping()) };
                blocking(move || Ok(browse(&mirror, &part)?)).await?.to_string()
            }
            View::Crate => {
                let Ok(name) = asked("name").parse::<CrateName>() else {
                    return Ok(text(StatusCode::BAD_REQUEST, "that is no name of a crate\n"));
                };
                let Ok(_place) = self.searches.acquire().await else { return Ok(stopping()) };
                blocking(move || Ok(versions(&mirror, &name)?)).await?.to_string()
            }
            view => self.known_view(view).await?,
        };
        let mut answer = json(body);
        set(&mut answer, http::header::CACHE_CONTROL, "no-store");
        Ok(answer)
    }

    /// Returns an answer that is the same for everyone; makes one at a time.
    pub(crate) async fn known_view(self: &Arc<Self>, view: View) -> Result<String, ServeError> {
        let totals = self.totals().await?;
        let mut known = self.views.lock().await;
        let generation = self.mirror.state()?.generation;
        let is_good = |(of, at, _): &&(u64, Instant, String)| *of == generation && at.elapsed() < FRESH;
        if let Some((.., text)) = known.get(&view).filter(is_good) {
            return Ok(text.clone());
        }
        let (mirror, public_url) = (Arc::clone(&self.mirror), self.public_url.clone());
        let made = blocking(move || {
            Ok(match view {
                View::Runs => mirror_json(&mirror.runs(None)?)?,
                View::Storage => mirror_json(&mirror.storage()?)?,
                View::Failures => failures(&mirror)?.to_string(),
                _ => status(&mirror, &totals, generation, public_url.as_deref())?.to_string(),
            })
        });
        let text = made.await?;
        known.insert(view, (generation, Instant::now(), text.clone()));
        Ok(text)
    }
}

fn stopping() -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n")
}

fn mirror_json(value: &impl serde::Serialize) -> Result<String, ServeError> {
    serde_json::to_string(value)
        .map_err(|error| ServeError::Internal(format!("could not write an answer: {error}")))
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Describes the mirror as a whole.
fn status(
    mirror: &Mirror,
    totals: &Totals,
    generation: u64,
    public_url: Option<&str>,
) -> Result<Value, ServeError> {
    let now = SystemTime::now();
    let (last_run, failing, runs) = mirror.ask(|catalogue| {
        Ok((catalogue.last_run()?, catalogue.unknown_failure_count()?, catalogue.runs(RUNS_OF_A_RHYTHM)?))
    })?;
    let last_run_ms = last_run.as_deref().and_then(mirror_manifest::millis);
    let held_back: Vec<Value> = totals
        .held_back
        .by_rule
        .iter()
        .map(|(rule, releases)| json!({"rule": rule.name(), "releases": releases}))
        .collect();
    let (held, (unlisted, first)) = (totals.held, &totals.unlisted);
    Ok(json!({
        "kind": "mirror",
        "version": env!("CARGO_PKG_VERSION"),
        "views": VIEWS,
        "time_ms": millis(now),
        "generation": generation,
        "mirror": mirror.root().display().to_string(),
        "base": public_url,
        "verdict": verdict(totals, &runs, failing, last_run_ms, now),
        "held": {"crates": held.crates, "releases": held.releases, "bytes": held.bytes},
        "held_back": held_back,
        "next_due": next_due(mirror)?,
        "failing": failing,
        "last_run_ms": last_run_ms,
        "snapshot": totals.snapshot.as_ref().map(|state| json!({
            "serial": state.serial,
            "created_ms": millis(state.created),
            "expires_ms": millis(state.expires),
            "is_chosen": state.is_chosen,
            "sentence": state.sentence(now),
        })),
        "unlisted": {"count": unlisted, "first": first.iter().map(CrateName::as_str).collect::<Vec<_>>()},
    }))
}

/// Runs that show how often a mirror is brought up to date.
const RUNS_OF_A_RHYTHM: usize = 10;
/// Usual times between two runs after which the next one is overdue, and the least time.
const OVERDUE_INTERVALS: u64 = 3;
const OVERDUE_LEAST: Duration = Duration::from_hours(24);

/// Returns the time since the last run, when that is much longer than usual: a run that ends with an error leaves no
/// record, and neither does a timer that does not fire. `runs`: the newest first.
fn overdue(runs: &[RunRow], last_run_ms: Option<u64>, now: SystemTime) -> Option<Duration> {
    let mut between: Vec<u64> =
        runs.windows(2).map(|pair| pair[0].ended_ms.saturating_sub(pair[1].ended_ms)).collect();
    between.sort_unstable();
    // One time between two runs is no rhythm.
    let usual = *between.get(between.len() / 2).filter(|_| between.len() > 1)?;
    let age = Duration::from_millis(millis(now).saturating_sub(last_run_ms?));
    let most = Duration::from_millis(usual.saturating_mul(OVERDUE_INTERVALS)).max(OVERDUE_LEAST);
    (age > most).then_some(age)
}

/// Decides whether a person has to act. `runs`: the newest first.
fn verdict(
    totals: &Totals,
    runs: &[RunRow],
    failing: u64,
    last_run_ms: Option<u64>,
    now: SystemTime,
) -> Verdict {
    let says =
        |level, headline: &str, detail: String| Verdict { level, headline: headline.to_owned(), detail };
    let state = runs.first().map_or("", |run| run.state.as_str());
    if let Some(snapshot) = totals.snapshot.as_ref().filter(|snapshot| snapshot.is_expired(now)) {
        let mut sentence = SnapshotState::sentence(snapshot, now);
        sentence[..1].make_ascii_uppercase();
        return says(Level::Act, "Out of date", format!("{sentence}."));
    }
    match state {
        "damage" => {
            let detail = "The last run found damage that it could not repair; Runs and Failures say more.";
            says(Level::Act, "Damage is left", detail.to_owned())
        }
        "given-up" => {
            let detail =
                "The last run gave up, because its origin refused or did not answer. What is held is served.";
            says(Level::Act, "The last run gave up", detail.to_owned())
        }
        _ if last_run_ms.is_none() => {
            let detail = "What is held is served; no run has come to its end yet.";
            says(Level::Warn, "No run has ended yet", detail.to_owned())
        }
        _ if let Some(age) = overdue(runs, last_run_ms, now) => {
            let detail = format!(
                "The last run ended {} ago, far longer than is usual here. What is held is served. Look at the timer and at \
                 the log of the runs.",
                human_time(age)
            );
            says(Level::Warn, "No run for a long time", detail)
        }
        _ if failing > 0 => {
            let what = if failing == 1 {
                "1 release could not be fetched".to_owned()
            } else {
                format!("{failing} releases could not be fetched")
            };
            says(
                Level::Warn,
                "Serving, with gaps",
                format!("{what}. The rest is served; the next run tries them again."),
            )
        }
        _ => says(Level::Good, "Serving", "Everything that the last run was to hold is held.".to_owned()),
    }
}

/// Lists what could not be fetched, by reason.
fn failures(mirror: &Mirror) -> Result<Value, RepoError> {
    mirror.ask(|catalogue| {
        let mut log = FailureLog::default();
        catalogue.failure_texts(&mut |failure, is_known| {
            let what = format!("{} {}", failure.name, failure.version);
            let seen = mirror_manifest::millis(&failure.last_seen).unwrap_or(0);
            log.push(what.trim_end(), &failure.kind, &failure.error, is_known, seen);
        })?;
        Ok(log.json())
    })
}

/// Searches for crates.
fn browse(mirror: &Mirror, part: &str) -> Result<Value, RepoError> {
    let (total, names) = mirror.ask(|catalogue| Ok(catalogue.search(part, 0, MAX_NAMES)?))?;
    Ok(json!({"total": total, "names": names}))
}

/// A version of a crate, and what is known of it.
struct Row {
    state: &'static str,
    why: String,
    bytes: Option<u64>,
    place: String,
}

/// Lists the versions of a crate that the mirror knows: held, held back, deleted, or not fetched.
fn versions(mirror: &Mirror, name: &CrateName) -> Result<Value, RepoError> {
    let yanked = yanked(mirror, name)?;
    let found = mirror.ask(|catalogue| {
        let mut found: BTreeMap<String, Row> = BTreeMap::new();
        let mut add = |version: String, state, why: String, bytes, place: String| {
            found.entry(version).or_insert(Row { state, why, bytes, place });
        };
        let offered = catalogue.offered_of(name)?;
        for Offered { held, yanked: yanked_then } in &offered {
            let is_yanked = yanked_then.unwrap_or_else(|| yanked.contains(&held.version));
            let (state, why) = if is_yanked {
                ("yanked", "upstream yanked it; only lockfiles that name it use it")
            } else {
                ("offered", "")
            };
            add(held.version.clone(), state, why.to_owned(), Some(held.size), place(&held.locations));
        }
        // A server of an earlier snapshot tells only of that.
        if mirror.snapshot().is_none() {
            let held = catalogue.held_of(name)?;
            let of = |version: &str| held.iter().find(|held| held.version == version);
            let size = |version: &str| of(version).map(|held| held.size);
            let at = |version: &str| of(version).map_or_else(String::new, |held| place(&held.locations));
            for version in catalogue.deleted_of(name)? {
                let (bytes, at) = (size(&version), at(&version));
                add(version, "deleted", "upstream deleted it; it is not offered".to_owned(), bytes, at);
            }
            for release in catalogue.held_back_of(name)? {
                let version = release.id.version.as_str().to_owned();
                let bytes = size(&version).filter(|_| release.is_held);
                let at = if release.is_held { at(&version) } else { "not fetched".to_owned() };
                add(version, "held back", release.decision.to_string(), bytes, at);
            }
            for group in catalogue.deferred_groups_of(name)? {
                for version in &group.versions {
                    add(
                        version.as_str().to_owned(),
                        "held back",
                        group.decision().to_string(),
                        None,
                        "not fetched".to_owned(),
                    );
                }
            }
            for (version, kind) in catalogue.ledger_of(name)? {
                let version = if version.is_empty() { "all".to_owned() } else { version };
                add(version, "not fetched", reason(&kind).title.to_owned(), None, String::new());
            }
        }
        Ok(found)
    })?;
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_cached_key(|(version, _)| Reverse((Version::parse(version).ok(), version.clone())));
    let left_out = found.len().saturating_sub(MAX_VERSIONS);
    let rows: Vec<Value> = found
        .into_iter()
        .take(MAX_VERSIONS)
        .map(|(version, Row { state, why, bytes, place })| {
            json!({"version": version, "state": state, "why": why, "bytes": bytes, "place": place})
        })
        .collect();
    Ok(json!({"name": name.as_str(), "versions": rows, "left_out": left_out}))
}

/// Returns the offered versions that upstream yanked.
fn yanked(mirror: &Mirror, name: &CrateName) -> Result<Vec<String>, RepoError> {
    let Some(listing) = mirror.listing(name)? else { return Ok(Vec::new()) };
    let all = records(&listing.text).map(|(record, _)| record);
    let own = all.filter(|record| record.yanked && record.id.name == *name);
    Ok(own.map(|record| record.id.version.as_str().to_owned()).collect())
}

fn place(locations: &Locations) -> String {
    let named = locations.iter().map(|at| match (at.store(), at) {
        (StoreId::LOOSE, _) => "a file".to_owned(),
        (_, mirror_types::Location::Member(member)) if at.store() == StoreId::BUNDLES => {
            format!("bundle {}", member.bundle)
        }
        (store, _) => format!("store {}", store.0),
    });
    named.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(totals: &Totals, state: &str, failing: u64, last: Option<u64>) -> (Level, String) {
        let run = RunRow { state: state.to_owned(), ..RunRow::default() };
        let said = verdict(totals, &[run], failing, last, SystemTime::now());
        (said.level, said.headline)
    }

    #[test]
    fn a_run_is_overdue_after_three_of_the_usual_times() {
        const DAY: u64 = 86_400_000;
        let runs = |days: &[u64]| -> Vec<RunRow> {
            days.iter().map(|day| RunRow { ended_ms: day * DAY, ..RunRow::default() }).collect()
        };
        let now = |day: u64| UNIX_EPOCH + Duration::from_millis(day * DAY + 1);
        let nightly = runs(&[105, 104, 103, 102, 90]);
        assert_eq!(overdue(&nightly, Some(105 * DAY), now(108)), Some(Duration::from_millis(3 * DAY + 1)));
        assert_eq!(overdue(&nightly, Some(105 * DAY), now(107)), None);
        let monthly = runs(&[105, 75, 45]);
        assert_eq!(overdue(&monthly, Some(105 * DAY), now(150)), None);
        // Nobody has said that there would be another one.
        assert_eq!(overdue(&runs(&[105, 104]), Some(105 * DAY), now(1_000)), None);
        let said = verdict(&Totals::default(), &nightly, 0, Some(105 * DAY), now(110));
        assert_eq!((said.level, said.headline.as_str()), (Level::Warn, "No run for a long time"));
        assert!(said.detail.starts_with("The last run ended 5 d ago"), "{}", said.detail);
    }

    #[test]
    fn a_mirror_that_is_out_of_date_or_damaged_calls_for_a_person() {
        let totals = Totals::default();
        assert_eq!(level(&totals, "complete", 0, Some(1)), (Level::Good, "Serving".to_owned()));
        assert_eq!(level(&totals, "missing", 3, Some(1)), (Level::Warn, "Serving, with gaps".to_owned()));
        assert_eq!(level(&totals, "complete", 0, None).0, Level::Warn);
        assert_eq!(level(&totals, "damage", 0, Some(1)).0, Level::Act);
        assert_eq!(level(&totals, "given-up", 9, Some(1)).0, Level::Act);
        let (created, expires) = (UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(1));
        let snapshot = Some(SnapshotState { serial: 1, created, expires, is_chosen: false });
        let old = Totals { snapshot, ..Totals::default() };
        assert_eq!(level(&old, "complete", 0, Some(1)), (Level::Act, "Out of date".to_owned()));
    }
}
