//! Finds out why nothing arrives although the origin answers: every request ends with the same failure.

use std::fmt;

use crate::run::message::RecordFailure;

/// The same failures, without a single delivery, after which a run that fills an empty mirror is given up.
const SAME_FAILURES: u64 = 100;
/// The same limit for a mirror that holds something: the releases it lacks may be those that its origin never delivers.
const SAME_FAILURES_OF_OLD: u64 = 1_000;

/// The same limit for empty bodies, which say less about the others than wrong ones do.
const EMPTY_BODIES: u64 = 5_000;

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
    /// Every release is answered with this status (404, 410): the base address of the downloads is wrong.
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
    first: Option<Diagnosis>,
    count: u64,
    differ: bool,
}

impl SameFailures {
    /// Counts a failure. Those that were planned, and of releases that an origin is known not to deliver, say nothing.
    pub(crate) fn add(&mut self, failure: &RecordFailure) {
        let Some(diagnosis) = of(failure) else { return };
        self.differ |= *self.first.get_or_insert(diagnosis) != diagnosis;
        self.count += 1;
    }

    /// Returns the diagnosis once the failures are enough for one. `is_new` tells that the mirror holds nothing.
    pub(crate) fn diagnosis(&self, is_new: bool) -> Option<Diagnosis> {
        let enough = |diagnosis: &Diagnosis| match diagnosis {
            Diagnosis::Empty => EMPTY_BODIES,
            _ if is_new => SAME_FAILURES,
            _ => SAME_FAILURES_OF_OLD,
        };
        self.first.filter(|first| !self.differ && self.count >= enough(first))
    }
}

/// Returns what a failure would mean if all were like it.
fn of(failure: &RecordFailure) -> Option<Diagnosis> {
    let attempt = &failure.attempt;
    match (attempt.kind, attempt.http_status) {
        _ if failure.is_planned => None,
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

    fn diagnosed(failures: &[(RecordFailure, u64)], is_new: bool) -> Option<Diagnosis> {
        let mut same = SameFailures::default();
        for (failure, times) in failures {
            (0..*times).for_each(|_| same.add(failure));
        }
        same.diagnosis(is_new)
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
        assert_eq!(diagnosed(&[(RecordFailure::planned("no_checksum", String::new()), 500)], true), None);
    }
}
