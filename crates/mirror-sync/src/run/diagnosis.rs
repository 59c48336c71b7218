//! Finds out why nothing arrives although the origin answers: every request ends with the same failure.

use std::collections::HashSet;
use std::fmt;

use mirror_types::CrateName;

use crate::run::message::RecordFailure;

/// The same failures, without a single delivery, after which a run that fills an empty mirror is given up.
const SAME_FAILURES: u64 = 100;
/// The same limit for a mirror that holds something: the releases it lacks may be those that its origin never delivers.
const SAME_FAILURES_OF_OLD: u64 = 1_000;

/// The same limit for empty bodies, which say less about the others than wrong ones do.
const EMPTY_BODIES: u64 = 5_000;
/// The crates of which releases must be missing before the base address is blamed: upstream removes whole crates, with
/// all of their releases.
const MISSING_CRATES: usize = 10;
/// The same limit for a part of a registry that a person chose, which may be what upstream removed.
const MISSING_CRATES_OF_PART: usize = 100;
/// The same failures that are a diagnosis once everything was tried.
const SAME_FAILURES_OF_ALL: u64 = 5;

/// The likely reason why nothing arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Diagnosis {
    /// Every body is a web page: something between here and the origin answers for it, or the base address is that of a
    /// web site.
    Pages,
    /// Every body is empty.
    Empty,
    /// Every body has another checksum than the index lists: the index and the downloads are of different registries, or
    /// something in between changes what passes.
    WrongBytes,
    /// Every release is answered with this status (404, 410): the base address of the downloads is wrong, unless upstream
    /// removed all of them.
    NotThere(u16),
    /// Every request ends in a redirect that is not followed.
    Redirects,
    /// Every request ends with the same other failure.
    Same(&'static str),
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pages => f.write_str(
                "every answer is a web page instead of a release: a proxy or a login portal answers for the origin, or the \
                 base address of the downloads is that of a web site",
            ),
            Self::Empty => {
                f.write_str("every body is empty: the origin, or something between here and the origin, is broken")
            }
            Self::WrongBytes => f.write_str(
                "every file has another checksum than the index lists: index and downloads belong to different \
                 registries, or something in between changes the files",
            ),
            Self::NotThere(status) => write!(
                f,
                "the origin answers every request with {status}: the base address of the downloads is probably wrong"
            ),
            Self::Redirects => f.write_str(
                "the origin answers every request with a redirect that is not followed: the base address of the downloads \
                 is probably wrong, or a proxy asks for a login",
            ),
            Self::Same(kind) => write!(f, "every request fails in the same way ({kind})"),
        }
    }
}

/// Counts failures as long as they are all the same.
#[derive(Debug, Default)]
pub(crate) struct SameFailures {
    /// True if a person chose the releases.
    is_part: bool,
    /// The first of them, with the status if that tells refusals apart.
    first: Option<(Diagnosis, Option<u16>)>,
    count: u64,
    differ: bool,
    /// Some of the crates that they are of, as many as matter.
    crates: HashSet<CrateName>,
}

impl SameFailures {
    /// Begins to count. `is_part`: a person chose the releases, instead of taking all.
    pub(crate) fn new(is_part: bool) -> Self {
        Self { is_part, ..Self::default() }
    }

    /// Counts a failure of a release of this crate. Those that were planned, and of releases that an origin is known not
    /// to deliver, say nothing.
    pub(crate) fn add(&mut self, name: &CrateName, failure: &RecordFailure) {
        let Some(diagnosis) = of(failure) else { return };
        let status = failure.attempt.http_status.filter(|_| failure.attempt.kind == "http_status");
        let seen = (diagnosis, status);
        self.differ |= *self.first.get_or_insert(seen) != seen;
        self.count += 1;
        if self.crates.len() < MISSING_CRATES_OF_PART && !self.crates.contains(name) {
            self.crates.insert(name.clone());
        }
    }

    /// Returns the diagnosis once the failures are enough for one. `is_new`: the mirror holds nothing.
    pub(crate) fn diagnosis(&self, is_new: bool) -> Option<Diagnosis> {
        let (first, _) = self.first.filter(|_| !self.differ)?;
        let missing = matches!(first, Diagnosis::NotThere(_));
        let (releases, crates) = match first {
            Diagnosis::Empty => (EMPTY_BODIES, 0),
            _ if missing && self.is_part => (SAME_FAILURES_OF_OLD, MISSING_CRATES_OF_PART),
            _ if is_new => (SAME_FAILURES, if missing { MISSING_CRATES } else { 0 }),
            _ => (SAME_FAILURES_OF_OLD, if missing { MISSING_CRATES } else { 0 }),
        };
        (self.count >= releases && self.crates.len() >= crates).then_some(first)
    }

    /// Returns the diagnosis of a run that has tried everything, and holds nothing of it.
    pub(crate) fn diagnosis_of_all(&self) -> Option<Diagnosis> {
        let (first, _) = self.first?;
        (!self.differ && self.count >= SAME_FAILURES_OF_ALL).then_some(first)
    }
}

/// Returns what a failure would mean if all were like it.
fn of(failure: &RecordFailure) -> Option<Diagnosis> {
    let attempt = &failure.attempt;
    match (attempt.kind, attempt.http_status) {
        _ if failure.is_planned => None,
        // Nothing was asked for: that says nothing about the origin.
        ("offline", _) => None,
        ("wrong_hash", _) if failure.is_page => Some(Diagnosis::Pages),
        ("wrong_hash", _) if failure.is_empty => Some(Diagnosis::Empty),
        ("wrong_hash", _) => Some(Diagnosis::WrongBytes),
        ("redirect", _) => Some(Diagnosis::Redirects),
        (_, Some(status @ (404 | 410))) => Some(Diagnosis::NotThere(status)),
        (kind, _) => Some(Diagnosis::Same(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: &'static str, status: Option<u16>) -> RecordFailure {
        let mut failure = RecordFailure::planned(kind, String::new());
        failure.attempt.http_status = status;
        failure.is_planned = false;
        failure
    }

    fn diagnosed(failures: &[(RecordFailure, usize)], is_new: bool) -> Option<Diagnosis> {
        let mut same = SameFailures::default();
        let names: Vec<CrateName> = (0..10).map(|n| format!("c{n}").parse().expect("name")).collect();
        for (failure, times) in failures {
            names.iter().cycle().take(*times).for_each(|name| same.add(name, failure));
        }
        same.diagnosis(is_new)
    }

    #[test]
    fn what_upstream_may_have_removed_does_not_make_the_base_address_wrong() {
        let missing = failure("http_status", Some(404));
        let after = |is_part: bool, crates: u64, releases_each: u64| {
            let mut same = SameFailures::new(is_part);
            for n in 0..crates {
                let name = format!("c{n}").parse().expect("name");
                (0..releases_each).for_each(|_| same.add(&name, &missing));
            }
            (same.diagnosis(true).is_some(), same.diagnosis_of_all().is_some())
        };
        // Crates with many releases, all of them removed.
        assert_eq!(after(false, 1, 400), (false, true));
        assert_eq!(after(false, 9, 400), (false, true));
        assert_eq!(after(false, 10, 10), (true, true));
        // A list of what was removed.
        assert_eq!(after(true, 100, 9), (false, true));
        assert_eq!(after(true, 99, 20), (false, true));
        assert_eq!(after(true, 100, 10), (true, true));
        assert_eq!(after(true, 4, 1), (false, false));
    }

    #[test]
    fn a_hundred_of_the_same_failures_are_a_diagnosis_and_a_thousand_for_a_mirror_that_holds_something() {
        for (kind, status, found) in [
            ("wrong_hash", Some(200), Diagnosis::WrongBytes),
            ("http_status", Some(404), Diagnosis::NotThere(404)),
            ("redirect", Some(302), Diagnosis::Redirects),
            ("encoding", Some(200), Diagnosis::Same("encoding")),
        ] {
            assert_eq!(diagnosed(&[(failure(kind, status), 99)], true), None);
            assert_eq!(diagnosed(&[(failure(kind, status), 100)], true), Some(found));
            assert_eq!(diagnosed(&[(failure(kind, status), 999)], false), None);
            assert_eq!(diagnosed(&[(failure(kind, status), 1_000)], false), Some(found));
        }
        let mut page = failure("wrong_hash", Some(200));
        page.is_page = true;
        assert_eq!(diagnosed(&[(page, 100)], true), Some(Diagnosis::Pages));
        for is_new in [true, false] {
            let empty = |times| {
                let mut empty = failure("wrong_hash", Some(200));
                empty.is_empty = true;
                diagnosed(&[(empty, times)], is_new)
            };
            assert_eq!((empty(4_999), empty(5_000)), (None, Some(Diagnosis::Empty)));
        }
    }

    #[test]
    fn different_failures_and_those_without_a_request_are_none() {
        let mixed = [(failure("wrong_hash", Some(200)), 200), (failure("http_status", Some(404)), 1)];
        assert_eq!(diagnosed(&mixed, true), None);
        let refused = |status| (failure("http_status", Some(status)), 5_000);
        assert_eq!(diagnosed(&[refused(451)], true), Some(Diagnosis::Same("http_status")));
        assert_eq!(diagnosed(&[refused(451), refused(403)], true), None, "a status is not like another");
        assert_eq!(diagnosed(&[(RecordFailure::planned("no_checksum", String::new()), 500)], true), None);
        assert_eq!(diagnosed(&[(failure("offline", None), 5_000)], true), None);
    }
}
