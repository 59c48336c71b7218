//! What the threads of a run tell the committer.

use std::time::SystemTime;

use mirror_fetch::{Failure, FailureKind};
use mirror_manifest::{PackedLines, Withdrawal};
use mirror_store::Staged;
use mirror_store::bundle::MemberBody;
use mirror_types::{CrateName, Locations, ReleaseId, Sha256};

use crate::error::PipelineError;

/// What travels with a job from plan to commit.
#[derive(Debug, Clone)]
pub(crate) struct Tag {
    pub(crate) id: ReleaseId,
    pub(crate) cksum: Option<Sha256>,
    /// Readable URL, for the manifest.
    pub(crate) url: String,
    /// Path below the root.
    pub(crate) path: String,
    /// Whether a registry named the address: then it must not lead to this machine.
    pub(crate) guarded: bool,
    /// Whether a held file was found to be wrong and moved aside.
    pub(crate) was_wrong: bool,
    /// Whether other bytes are held under this name, which upstream has replaced.
    pub(crate) replaces: bool,
}

/// Why a record is not held.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) http_status: Option<u16>,
    pub(crate) retries: u32,
    pub(crate) unavailable: bool,
    /// Nobody answered, or only that it is too busy.
    pub(crate) unreached: bool,
    /// The origin did not let us in, or broke down over it.
    pub(crate) denied: bool,
    pub(crate) started: SystemTime,
    pub(crate) finished: SystemTime,
}

impl Problem {
    /// A problem that was found before anything was asked of the origin.
    pub(crate) fn planned(kind: &'static str, message: String) -> Self {
        let now = SystemTime::now();
        Self {
            kind,
            message,
            http_status: None,
            retries: 0,
            unavailable: false,
            unreached: false,
            denied: false,
            started: now,
            finished: now,
        }
    }

    pub(crate) fn fetched(failure: &Failure) -> Self {
        Self {
            kind: failure.kind.as_str(),
            message: failure.to_string(),
            http_status: failure.http_status,
            retries: failure.retries,
            unavailable: failure.is_unavailable(),
            unreached: failure.kind.is_unanswered() || matches!(failure.http_status, Some(429 | 503)),
            denied: failure.kind == FailureKind::HttpStatus
                && matches!(failure.http_status, Some(401 | 403 | 407 | 408 | 500..=502 | 504..=599)),
            started: failure.started,
            finished: failure.finished,
        }
    }
}

/// Size, checksum and times of bytes that are right.
#[derive(Debug)]
pub(crate) struct Good {
    pub(crate) size: u64,
    pub(crate) sha256: Sha256,
    pub(crate) retries: u32,
    pub(crate) http_status: Option<u16>,
    pub(crate) started: SystemTime,
    pub(crate) finished: SystemTime,
}

/// Where a release is held before anything is done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Was {
    pub(crate) at: Locations,
    /// The catalogue says so.
    pub(crate) recorded: bool,
}

/// Bytes that are right. Nothing of what is staged or handed to a bundle is durable yet.
pub(crate) struct Arrival {
    pub(crate) tag: Box<Tag>,
    pub(crate) good: Good,
    pub(crate) was: Was,
    /// To become a file.
    pub(crate) staged: Option<Staged>,
    /// To become a member of a bundle.
    pub(crate) member: Option<MemberBody>,
}

impl Arrival {
    /// Compares what arrived with what the record says, whoever brought it and however it was checked before: the
    /// last look before bytes get their final name.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(crate) fn fits(&self) -> Result<(), String> {
        let Good { size, sha256, .. } = self.good;
        if let Some(expect) = self.tag.cksum.filter(|expect| *expect != sha256) {
            return Err(format!("SHA-256 is {sha256}, not {expect} ({size} bytes); nothing was stored"));
        }
        let sizes = [self.staged.as_ref().map(Staged::size), self.member.as_ref().map(MemberBody::size)];
        match sizes.into_iter().flatten().find(|found| *found != size) {
            Some(found) => {
                Err(format!("{size} bytes were verified, {found} are to be stored; nothing was stored"))
            }
            None => Ok(()),
        }
    }
}

/// What the committer is told.
pub(crate) enum Event {
    /// Bytes are right; they were held, or are on their way to where they will be.
    Arrived(Arrival),
    /// The record is not held.
    Failed { tag: Box<Tag>, problem: Box<Problem> },
    /// Nothing is known of a crate that is wanted.
    CrateFailed { name: CrateName, problem: Box<Problem> },
    /// The index file of a crate was read that could not be had before.
    CrateRead(CrateName),
    /// A row of the catalogue has no good file behind it.
    Lost(ReleaseId),
    /// A row of the catalogue has no good member of a bundle behind it.
    LostMember(ReleaseId),
    /// What stands in the ledger is held.
    Settled(ReleaseId),
    /// What stands in the ledger is not wanted any more.
    Unwanted(ReleaseId),
    /// Upstream withdrew what is held.
    Withdrawn(ReleaseId, Withdrawal),
    /// Upstream withdrew what is about to be held.
    YankedBefore(ReleaseId),
    /// Upstream offers again what it had withdrawn.
    Returned(ReleaseId),
    /// The same of one that it had deleted.
    Reinstated(ReleaseId),
    /// The source of the run lists a held release; it was not known that it does.
    Seen(ReleaseId),
    /// An index file of a wanted crate has lines that are not kept yet.
    Lines(Box<PackedLines>),
    /// A writer cannot go on.
    Broken(PipelineError),
    /// Several at once: one wake-up instead of many.
    Many(Vec<Event>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(expect: Option<&[u8]>, found: &[u8], told_bytes: u64, member: &[u8]) -> Arrival {
        let now = SystemTime::now();
        let sum = mirror_checksum::Hasher::of;
        let tag = Tag {
            id: ReleaseId { name: "a".parse().expect("name"), version: "1.0.0".parse().expect("version") },
            cksum: expect.map(sum),
            url: String::new(),
            path: String::new(),
            guarded: false,
            was_wrong: false,
            replaces: false,
        };
        let good = Good {
            size: told_bytes,
            sha256: sum(found),
            retries: 0,
            http_status: Some(200),
            started: now,
            finished: now,
        };
        let member = Some(MemberBody::Memory(Box::new(member.to_vec())));
        Arrival { tag: Box::new(tag), good, was: Was::default(), staged: None, member }
    }

    #[test]
    fn what_arrived_is_held_against_the_record() {
        let table = [
            (Some(&b"x"[..]), &b"x"[..], 1, &b"x"[..], true),
            (None, b"x", 1, b"x", true),
            (Some(b"y"), b"x", 1, b"x", false),
            (Some(b"x"), b"", 0, b"", false),
            (Some(b"x"), b"x", 1, b"", false),
            (None, b"x", 1, b"xx", false),
        ];
        for (expect, found, told_bytes, member, fits) in table {
            let outcome = arrival(expect, found, told_bytes, member).fits();
            assert_eq!(outcome.is_ok(), fits, "{expect:?} {found:?} {member:?}: {outcome:?}");
        }
    }
}
