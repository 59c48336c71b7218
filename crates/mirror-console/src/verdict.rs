//! The one sentence of the page: whether a person has to act, and why.

use std::time::Duration;

use mirror_types::human_bytes;
use serde::Serialize;

use crate::reasons::reason;

/// Failures without a single success after which something is wrong as a whole.
const ALL_FAIL: u64 = 10;
/// The time without any progress after which the page says so, and that after which a person should look.
const QUIET: Duration = Duration::from_secs(20);
const STALLED: Duration = Duration::from_secs(120);
/// Free space below which a run is about to fail, and below which a person should plan ahead.
const DISK_ACT_BYTES: u64 = 1 << 30;
const DISK_WARN_BYTES: u64 = 20 << 30;
/// The share of a disk, one part in this many, above which free space calls for no plan: small disks are not always full.
const DISK_WARN_SHARE: u64 = 20;

/// Whether a person has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to do: it is going on.
    Calm,
    /// Nothing to do: it came to a good end.
    Good,
    /// Look at it when there is time.
    Warn,
    /// Act now.
    Act,
}

/// The state in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether a person has to act.
    pub level: Level,
    /// A few words, legible from afar.
    pub headline: String,
    /// A sentence or two: why, and what to do.
    pub detail: String,
}

/// The facts by which it is decided.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Facts {
    /// The name of the phase.
    pub phase: &'static str,
    /// True for a dry run.
    pub is_dry_run: bool,
    /// Records that are done, and that are wanted.
    pub processed: u64,
    /// See `processed`.
    pub planned: u64,
    /// True while `planned` still grows.
    pub is_planning: bool,
    /// Not fetched yet, because policy holds them back.
    pub deferred: u64,
    /// Fetched and durable.
    pub downloaded: u64,
    /// Failed.
    pub failed: u64,
    /// Not available upstream.
    pub unavailable: u64,
    /// The most frequent kind of failure that is not acknowledged, and its number.
    pub most_frequent: Option<(String, u64)>,
    /// Damaged releases found, and those that could not be fetched again.
    pub damaged: u64,
    /// See `damaged`.
    pub lost: u64,
    /// The time since a record was done or a byte arrived.
    pub quiet_for: Duration,
    /// Free bytes on the disk of the mirror, when known.
    pub disk_free: Option<u64>,
    /// All bytes of it.
    pub disk_total: u64,
    /// The exit code once it is over, with the error and what to do about it.
    pub ended: Option<(u8, String, String)>,
    /// True if it was stopped.
    pub is_interrupted: bool,
    /// True if it gave up before it had tried everything.
    pub is_given_up: bool,
    /// Missing releases whose absence a person has acknowledged: known at the end.
    pub acknowledged: u64,
}

fn says(level: Level, headline: impl Into<String>, detail: impl Into<String>) -> Verdict {
    Verdict { level, headline: headline.into(), detail: detail.into() }
}

/// Decides whether a person has to act.
#[must_use]
pub fn verdict(facts: &Facts) -> Verdict {
    if let Some((code, error, advice)) = &facts.ended {
        return at_the_end(facts, *code, error, advice);
    }
    [disk_full(facts), lost(facts), all_fail(facts), stalled(facts), troubled(facts)]
        .into_iter()
        .flatten()
        // Of two that are as bad, the first.
        .rev()
        .max_by_key(|verdict| verdict.level)
        .unwrap_or_else(|| under_way(facts))
}

/// Writes a number with its noun.
fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { one } else { many })
}

fn releases(n: u64) -> String {
    count(n, "release", "releases")
}

/// Writes a number with a comma after each three digits.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Makes a sentence of a message.
fn sentence(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(letters).chain(['.']).collect()
}

fn at_the_end(facts: &Facts, code: u8, error: &str, advice: &str) -> Verdict {
    let missing = (facts.failed + facts.unavailable).saturating_sub(facts.acknowledged);
    if facts.is_interrupted {
        return says(Level::Warn, "Stopped", "What was done is kept. The same command goes on from here.");
    }
    if !error.is_empty() {
        let sentences = [error, advice].into_iter().filter(|text| !text.is_empty()).map(sentence);
        let detail = sentences.collect::<Vec<_>>().join(" ");
        let headline = if facts.is_given_up { "Given up" } else { "Could not go on" };
        return says(Level::Act, headline, detail);
    }
    match code {
        0 if facts.is_dry_run => says(Level::Good, "Pre-flight done", "Nothing was written."),
        0 if facts.damaged > 0 => says(
            Level::Good,
            "Finished, and repaired",
            format!("Damaged, and right again: {}.", releases(facts.damaged)),
        ),
        0 => says(Level::Good, "Finished", held_words(facts)),
        4 => says(
            Level::Act,
            "Damage that could not be repaired",
            format!(
                "Damaged or gone: {}. Run it again; if that changes nothing, look at the disk.",
                releases(facts.lost.max(1))
            ),
        ),
        _ if facts.downloaded == 0 && missing > 0 => all_fail_words(facts, "Nothing could be fetched"),
        _ if missing > 0 => says(
            Level::Warn,
            format!("Finished, {} missing", grouped(missing)),
            "The rest is held. The next run tries the missing ones again; Failures says what they lack.",
        ),
        _ => says(Level::Warn, "Finished, with remarks", "The summary below says what to look at."),
    }
}

/// Says what is held after a run that found all that it was to find.
fn held_words(facts: &Facts) -> String {
    let held = facts.planned.saturating_sub(facts.deferred + facts.acknowledged);
    match facts.acknowledged {
        0 => format!("Held: {}. Nothing is missing.", releases(held)),
        gaps => format!("Held: {}. Missing, as you know: {}.", releases(held), grouped(gaps)),
    }
}

fn all_fail_words(facts: &Facts, headline: &str) -> Verdict {
    let kind = facts.most_frequent.as_ref().map_or("", |(kind, _)| kind.as_str());
    let words = reason(kind);
    says(Level::Act, headline, format!("{}. {}", words.title, words.advice))
}

fn disk_full(facts: &Facts) -> Option<Verdict> {
    let free = facts.disk_free.filter(|_| !facts.is_dry_run)?;
    let left = human_bytes(free);
    if free < DISK_ACT_BYTES {
        let detail = format!(
            "{left} are free where the mirror is. Make room now: a run that finds none stops, and keeps what it has."
        );
        return Some(says(Level::Act, "The disk is nearly full", detail));
    }
    let is_low = free < DISK_WARN_BYTES && free < facts.disk_total / DISK_WARN_SHARE;
    (is_low && facts.phase == "download")
        .then(|| says(Level::Warn, "The disk is filling up", format!("{left} are free where the mirror is.")))
}

fn lost(facts: &Facts) -> Option<Verdict> {
    if facts.lost > 0 {
        let detail =
            format!("Damaged, and cannot be fetched again: {}. Failures says why.", releases(facts.lost));
        return Some(says(Level::Act, "Damage that cannot be repaired", detail));
    }
    (facts.damaged > 0).then(|| {
        let detail = format!("Set aside, and fetched again: {}.", releases(facts.damaged));
        says(Level::Warn, "Damage found", detail)
    })
}

fn all_fail(facts: &Facts) -> Option<Verdict> {
    let (_, most) = facts.most_frequent.as_ref()?;
    (*most >= ALL_FAIL && facts.downloaded == 0).then(|| all_fail_words(facts, "Every download fails"))
}

fn stalled(facts: &Facts) -> Option<Verdict> {
    let waits = facts.phase == "download" || facts.phase == "verify";
    if !waits || facts.quiet_for < QUIET || facts.processed >= facts.planned {
        return None;
    }
    let detail = format!(
        "Nothing has arrived for {} seconds. The origin does not answer, or the line is down; the run keeps trying.",
        facts.quiet_for.as_secs()
    );
    let level = if facts.quiet_for < STALLED { Level::Warn } else { Level::Act };
    Some(says(level, "Waiting for the origin", detail))
}

fn troubled(facts: &Facts) -> Option<Verdict> {
    let (kind, _) = facts.most_frequent.as_ref()?;
    let missing = facts.failed + facts.unavailable;
    let words = reason(kind);
    if facts.failed > facts.downloaded && missing >= ALL_FAIL {
        return Some(all_fail_words(facts, "Most downloads fail"));
    }
    let detail = format!("Mostly: {}. Failures says more.", words.title.to_lowercase());
    Some(says(Level::Warn, format!("Going on, {} failed", grouped(missing)), detail))
}

fn under_way(facts: &Facts) -> Verdict {
    let (headline, detail) = match facts.phase {
        "starting" => ("Starting", String::new()),
        "update-index" => ("Updating the index", String::new()),
        "index" => ("Reading the index", String::new()),
        "verify" => ("Verifying", format!("{} of {}.", grouped(facts.processed), releases(facts.planned))),
        "finishing" => ("Finishing", "Committing the last of it.".to_owned()),
        _ if facts.is_planning && !facts.is_dry_run => (
            "Downloading",
            format!("{} so far; how many there are is being planned.", releases(facts.processed)),
        ),
        _ if facts.is_dry_run => ("Pre-flight", "Nothing is written.".to_owned()),
        _ => ("Downloading", format!("{} of {}.", grouped(facts.processed), releases(facts.planned))),
    };
    says(Level::Calm, headline, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Facts {
        Facts { phase: "download", planned: 1_234, processed: 400, downloaded: 300, ..Facts::default() }
    }

    fn level(facts: &Facts) -> (Level, String) {
        let verdict = verdict(facts);
        (verdict.level, verdict.headline)
    }

    #[test]
    fn a_run_without_trouble_is_calm() {
        let said = verdict(&running());
        assert_eq!((said.level, said.headline.as_str()), (Level::Calm, "Downloading"));
        assert_eq!(said.detail, "400 of 1,234 releases.");
        let planning = verdict(&Facts { is_planning: true, ..running() });
        assert!(planning.detail.starts_with("400 releases so far"), "{}", planning.detail);
    }

    #[test]
    fn the_worst_of_what_is_wrong_is_said() {
        let some = Facts { failed: 3, most_frequent: Some(("connect".to_owned(), 3)), ..running() };
        assert_eq!(level(&some), (Level::Warn, "Going on, 3 failed".to_owned()));
        let full = Facts { disk_free: Some(100 << 20), ..some.clone() };
        assert_eq!(level(&full), (Level::Act, "The disk is nearly full".to_owned()));
        let low = |total| Facts { disk_free: Some(4 << 30), disk_total: total, ..running() };
        assert_eq!(level(&low(250 << 30)), (Level::Warn, "The disk is filling up".to_owned()));
        assert_eq!(level(&low(20 << 30)).0, Level::Calm, "a small disk");
        let all = Facts {
            failed: 20,
            downloaded: 0,
            most_frequent: Some(("wrong_hash".to_owned(), 20)),
            ..running()
        };
        let said = verdict(&all);
        assert_eq!((said.level, said.headline.as_str()), (Level::Act, "Every download fails"));
        assert!(said.detail.starts_with("Other bytes than the index promises."), "{}", said.detail);
        let most = Facts { failed: 500, most_frequent: Some(("idle".to_owned(), 500)), ..running() };
        assert_eq!(level(&most), (Level::Act, "Most downloads fail".to_owned()));
        let known = Facts { unavailable: 9, ..running() };
        assert_eq!(level(&known).0, Level::Calm, "acknowledged gaps are no news");
    }

    #[test]
    fn silence_is_said_and_then_calls_for_a_person() {
        let quiet = |seconds| Facts { quiet_for: Duration::from_secs(seconds), ..running() };
        assert_eq!(level(&quiet(5)).0, Level::Calm);
        assert_eq!(level(&quiet(30)), (Level::Warn, "Waiting for the origin".to_owned()));
        assert_eq!(level(&quiet(300)).0, Level::Act);
        assert_eq!(level(&Facts { processed: 1_234, ..quiet(300) }).0, Level::Calm, "nothing is awaited");
        assert_eq!(level(&Facts { phase: "index", ..quiet(300) }).0, Level::Calm);
    }

    #[test]
    fn damage_is_a_warning_until_it_cannot_be_repaired() {
        let damaged = Facts { phase: "verify", damaged: 2, ..running() };
        assert_eq!(level(&damaged), (Level::Warn, "Damage found".to_owned()));
        assert_eq!(level(&Facts { lost: 1, ..damaged }).0, Level::Act);
    }

    #[test]
    fn every_end_has_its_words() {
        let ended =
            |code, error: &str| Facts { ended: Some((code, error.to_owned(), String::new())), ..running() };
        assert_eq!(level(&ended(0, "")), (Level::Good, "Finished".to_owned()));
        assert_eq!(level(&Facts { damaged: 2, ..ended(0, "") }).0, Level::Good);
        assert_eq!(
            level(&Facts { is_interrupted: true, ..ended(130, "") }),
            (Level::Warn, "Stopped".to_owned())
        );
        assert_eq!(
            level(&Facts { failed: 2, ..ended(3, "") }),
            (Level::Warn, "Finished, 2 missing".to_owned())
        );
        assert_eq!(level(&Facts { failed: 2, downloaded: 0, ..ended(5, "") }).0, Level::Act);
        assert_eq!(level(&ended(4, "")).0, Level::Act);
        let gaps = Facts { unavailable: 2, acknowledged: 2, planned: 10, ..ended(0, "") };
        assert_eq!(verdict(&gaps).detail, "Held: 8 releases. Missing, as you know: 2.");
        assert_eq!(
            level(&Facts { failed: 3, acknowledged: 1, ..ended(3, "") }),
            (Level::Warn, "Finished, 2 missing".to_owned())
        );
        // What came before it does not make a run that gave up a finished one.
        let given_up = Facts { is_given_up: true, failed: 20, ..ended(5, "the origin is silent") };
        assert_eq!(level(&given_up), (Level::Act, "Given up".to_owned()));
        assert_eq!(verdict(&given_up).detail, "The origin is silent.");
        assert_eq!(
            level(&ended(6, "no space left on the device")),
            (Level::Act, "Could not go on".to_owned())
        );
        assert_eq!(
            level(&Facts { is_dry_run: true, ..ended(0, "") }),
            (Level::Good, "Pre-flight done".to_owned())
        );
    }
}
