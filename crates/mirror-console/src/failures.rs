//! The failures of a run by kind: all are counted, the first and the last of each kind are kept.

use std::collections::{BTreeMap, VecDeque};

use mirror_types::Printable;
use serde::Serialize;
use serde_json::{Value, json};

use crate::reasons::reason;

/// Most kinds of failures that are told apart; further ones are counted together.
pub const MAX_GROUPS: usize = 32;
/// Most failures of a kind that are shown: half of them the first, half of them the last.
pub const MAX_SHOWN: usize = 40;
/// Longest message that is kept, characters.
const MAX_MESSAGE: usize = 500;
/// The kind of what is beyond [`MAX_GROUPS`].
const OTHER: &str = "other";

#[derive(Debug, Clone, Serialize)]
struct Failed {
    what: String,
    message: String,
    time_ms: u64,
    is_known: bool,
}

#[derive(Debug, Default)]
struct Group {
    count: u64,
    known: u64,
    first: Vec<Failed>,
    last: VecDeque<Failed>,
}

/// The failures of a run.
#[derive(Debug, Default)]
pub struct FailureLog {
    groups: BTreeMap<String, Group>,
    total: u64,
}

impl FailureLog {
    /// Adds a failure: of a release or a crate, with its kind and its message, at a time in milliseconds since 1970.
    /// `is_known`: a person has acknowledged it.
    pub fn push(&mut self, what: &str, kind: &str, message: &str, is_known: bool, time_ms: u64) {
        self.total += 1;
        let known = self.groups.contains_key(kind) || self.groups.len() < MAX_GROUPS;
        let group = self.groups.entry(if known { kind } else { OTHER }.to_owned()).or_default();
        group.count += 1;
        group.known += u64::from(is_known);
        let text = Printable(message).to_string();
        let message = match text.char_indices().nth(MAX_MESSAGE) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        };
        let failed = Failed { what: Printable(what).to_string(), message, time_ms, is_known };
        if group.first.len() < MAX_SHOWN / 2 {
            group.first.push(failed);
        } else {
            group.last.push_back(failed);
            if group.last.len() > MAX_SHOWN / 2 {
                group.last.pop_front();
            }
        }
    }

    /// Returns the number of failures.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns the most frequent kind and its number, without failures that a person has acknowledged.
    #[must_use]
    pub fn most_frequent(&self) -> Option<(&str, u64)> {
        let new = |group: &Group| group.count - group.known;
        let most = self.groups.iter().max_by_key(|(_, group)| new(group))?;
        Some((most.0.as_str(), new(most.1))).filter(|(_, count)| *count > 0)
    }

    /// Returns the failures as JSON: the most frequent kind first, each with its first and its last failures and the
    /// number of those left out.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(kind, group)| (std::cmp::Reverse(group.count), kind.as_str()));
        let groups: Vec<Value> = groups.into_iter().map(|(kind, group)| group.json(kind)).collect();
        json!({"total": self.total, "groups": groups})
    }
}

impl Group {
    fn json(&self, kind: &str) -> Value {
        let shown = (self.first.len() + self.last.len()) as u64;
        let words = reason(kind);
        json!({
            "kind": kind,
            "title": words.title,
            "advice": words.advice,
            "count": self.count,
            "known": self.known,
            "first": self.first,
            "left_out": self.count - shown,
            "last": self.last,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_and_the_last_are_shown() {
        let mut log = FailureLog::default();
        assert_eq!((log.most_frequent(), log.total()), (None, 0));
        (0..1_000).for_each(|n| log.push(&format!("a {n}"), "wrong_hash", "other bytes", false, n));
        log.push("b 1.0.0", "connect", "refused\u{1b}[2J", false, 7);
        let json = log.json();
        let group = &json["groups"][0];
        assert_eq!(
            (&json["total"], &group["count"], &group["left_out"]),
            (&1_001.into(), &1_000.into(), &960.into())
        );
        assert_eq!(
            (&group["first"][0]["what"], &group["last"][19]["what"]),
            (&"a 0".into(), &"a 999".into())
        );
        assert_eq!(group["title"], "Other bytes than the index promises");
        assert!(
            !json["groups"][1]["first"][0]["message"].as_str().is_some_and(|text| text.contains('\u{1b}'))
        );
        assert_eq!(log.most_frequent(), Some(("wrong_hash", 1_000)));
    }

    #[test]
    fn kinds_and_messages_are_bounded() {
        let mut log = FailureLog::default();
        (0..1_000).for_each(|n| log.push("a", &format!("kind{n}"), &"ü".repeat(9_000), false, n));
        let json = log.json();
        assert_eq!(json["groups"].as_array().map(Vec::len), Some(MAX_GROUPS + 1));
        assert_eq!((&json["groups"][0]["kind"], &json["groups"][0]["count"]), (&"other".into(), &968.into()));
        assert!(json.to_string().len() < 200_000, "{}", json.to_string().len());
    }

    #[test]
    fn what_a_person_acknowledged_is_no_news() {
        let mut log = FailureLog::default();
        (0..9).for_each(|n| log.push("a", "http_status", "404", true, n));
        assert_eq!(log.most_frequent(), None);
        log.push("b", "connect", "refused", false, 9);
        assert_eq!(log.most_frequent(), Some(("connect", 1)));
        assert_eq!(log.json()["groups"][0]["known"], 9);
    }
}
