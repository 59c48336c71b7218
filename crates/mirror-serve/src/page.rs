//! The page for a browser.

use std::time::SystemTime;

use mirror_manifest::HeldTotals;
use mirror_repo::MirrorNumbers;
use mirror_types::{CrateName, human_bytes};

use crate::freshness::SnapshotState;
use crate::held_back::HeldBackTotals;

const PAGE: &str = include_str!("page.html");

/// The totals of a mirror, and the crates that Cargo cannot find.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) held: HeldTotals,
    /// The number of crates without an index line, and the first of them.
    pub(crate) unlisted: (u64, Vec<CrateName>),
    /// The releases that policy holds back.
    pub(crate) held_back: HeldBackTotals,
    /// The snapshot that is served, or the newest.
    pub(crate) snapshot: Option<SnapshotState>,
    /// The numbers that metrics show beside that.
    pub(crate) numbers: MirrorNumbers,
}

/// Renders the page of the registry at `base`.
pub(crate) fn render(base: &str, totals: &Totals, last_run: Option<&str>, now: SystemTime) -> String {
    let held = totals.held;
    let last_run = last_run.map_or_else(
        || "none has come to its end yet".to_owned(),
        |time| format!("{} ({})", escaped(time), ago(time, now)),
    );
    PAGE.replace("{crates}", &thousands(held.crates))
        .replace("{releases}", &thousands(held.releases))
        .replace("{bytes}", &human_bytes(held.bytes))
        .replace("{last_run}", &last_run)
        .replace("{held_back}", &held_back(&totals.held_back))
        .replace("{unlisted}", &unlisted(totals))
        .replace("{snapshot}", &snapshot(totals, now))
        .replace("{base}", &escaped(base))
}

/// Says which snapshot is served, and whether it is past its date.
fn snapshot(totals: &Totals, now: SystemTime) -> String {
    let state = totals.snapshot.as_ref().map(|state| state.sentence(now));
    state.map_or(String::new(), |sentence| {
        let (first, rest) = sentence.split_at(1);
        format!("<p>{}{}.</p>", first.to_uppercase(), escaped(rest))
    })
}

/// Counts what policy holds back.
fn held_back(totals: &HeldBackTotals) -> String {
    match totals.releases() {
        0 => String::new(),
        1 => "<p>1 release is held back by policy.</p>".to_owned(),
        many => format!("<p>{} releases are held back by policy.</p>", thousands(many)),
    }
}

/// Names the held crates that Cargo cannot find.
fn unlisted(totals: &Totals) -> String {
    let (count, first) = &totals.unlisted;
    if *count == 0 {
        return String::new();
    }
    let named: Vec<String> = first.iter().map(|name| escaped(name.as_str())).collect();
    format!(
        "<p>Of {} crates that are held the mirror has no line of the index, so that Cargo cannot find them: {}{}. A run of \
         download-crates with the index brings them.</p>",
        thousands(*count),
        named.join(", "),
        if *count > first.len() as u64 { ", \u{2026}" } else { "" }
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Formats a number as `1 234 567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// Formats how long ago an RFC 3339 time was.
fn ago(time: &str, now: SystemTime) -> String {
    let Ok(then) = time.parse::<jiff::Timestamp>() else { return "at an unknown time".to_owned() };
    // In whole seconds.
    let then = jiff::Timestamp::from_second(then.as_second()).unwrap_or(then);
    let gone = now.duration_since(then.into()).map_or(0, |gone| gone.as_secs());
    let (number, unit) = match gone {
        0..120 => return "just now".to_owned(),
        120..7_200 => (gone / 60, "minutes"),
        7_200..172_800 => (gone / 3_600, "hours"),
        _ => (gone / 86_400, "days"),
    };
    format!("{number} {unit} ago")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mirror_types::Rule;

    use super::*;

    #[test]
    fn the_page_says_how_fresh_it_is() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 + 5 * 3_600);
        let held = HeldTotals { crates: 3, releases: 1_234_567, bytes: 2_048 };
        let totals = Totals { held, ..Totals::default() };
        let html = render("http://h:1", &totals, Some("1994-11-06T08:49:37.123Z"), now);
        assert!(html.contains("1\u{a0}234\u{a0}567") && html.contains("2.0 KiB"), "{html}");
        assert!(html.contains("5 hours ago"), "{html}");
        assert!(html.contains("registry = \"sparse+http://h:1/index/\""), "{html}");
        assert!(!html.contains("{base}") && !html.contains("{unlisted}"));
        assert!(html.contains("cargo add") && !html.contains("--registry"), "{html}");
        assert!(render("\"<x>", &totals, None, now).contains("sparse+&quot;&lt;x&gt;/index/"));
        let unlisted = (3, vec!["a".parse().expect("name"), "b".parse().expect("name")]);
        let html = render("http://h:1", &Totals { held, unlisted, ..Totals::default() }, None, now);
        assert!(html.contains("Of 3 crates that are held") && html.contains("a, b, \u{2026}"), "{html}");
        assert!(!html.contains("held back") && !html.contains("{held_back}"), "{html}");
        let held_back = HeldBackTotals { by_rule: vec![(Rule::Deny, 1_200), (Rule::MinPublishAge, 34)] };
        let html = render("http://h:1", &Totals { held_back, ..Totals::default() }, None, now);
        assert!(html.contains("<p>1\u{a0}234 releases are held back by policy.</p>"), "{html}");
        assert_eq!(ago("1994-11-06T11:49:37+03:00", now), "5 hours ago");
        assert_eq!(ago("1994-10-06T08:49:37Z", now), "31 days ago");
        assert_eq!(ago("1969-12-31T23:00:00Z", SystemTime::UNIX_EPOCH), "60 minutes ago");
        for unknown in ["", "yesterday", "1994-13-06T08:49:37Z", "1994-11-06"] {
            assert_eq!(ago(unknown, now), "at an unknown time", "{unknown}");
        }
        assert_eq!(ago("1994-11-06T08:49:37Z", SystemTime::UNIX_EPOCH), "just now");
    }
}
