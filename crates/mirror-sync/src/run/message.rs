//! The messages of a run's threads to the dispatcher.

use std::time::SystemTime;

use mirror_fetch::{Failure, FailureKind, FetchRequest};
use mirror_manifest::{DeferredGroup, HeldBackRelease, PackedLines, UpstreamRemoval};
use mirror_repo::{FailedAttempt, VerifiedBytes, WantedRelease};
use mirror_store::StagedCrate;
use mirror_types::{CrateName, Locations, ReleaseId, StoreId};
use url::Url;

use crate::error::SyncError;
use crate::plan::{DownloadAddress, HeldRow};

/// The data that travels with a job from plan to commit.
#[derive(Debug, Clone)]
pub(crate) struct JobContext {
    pub(crate) release: WantedRelease,
    /// True if a registry named the address: it must not lead to this machine.
    pub(crate) guarded: bool,
    /// True if a held file was found to be wrong and moved aside.
    pub(crate) was_wrong: bool,
    /// True if other bytes are held under this name, which upstream has replaced.
    pub(crate) replaces: bool,
}

/// A job for the fetcher.
pub(crate) type FetchJob = (Box<JobContext>, FetchRequest);

/// Makes the request for a planned release.
pub(crate) fn fetch_job(context: Box<JobContext>, url: Url) -> FetchJob {
    let request = FetchRequest::new(url);
    let request = if context.guarded { request.guarded() } else { request };
    let request = match context.release.cksum {
        Some(sum) => request.with_expect(sum),
        None => request,
    };
    (context, request)
}

/// A held release to be hashed, and its address in case the bytes are wrong.
pub(crate) struct HashJob {
    pub(crate) context: Box<JobContext>,
    pub(crate) from: DownloadAddress,
    pub(crate) prior: PriorState,
}

/// The reason why a release is not held.
#[derive(Debug)]
pub(crate) struct RecordFailure {
    pub(crate) attempt: FailedAttempt,
    /// True if no server answered, or it was too busy.
    pub(crate) unreached: bool,
    /// True if the origin denied access, or failed while it answered.
    pub(crate) denied: bool,
    /// True if a web page arrived in place of the release.
    pub(crate) is_page: bool,
    /// True if nothing arrived in place of the release.
    pub(crate) is_empty: bool,
    /// True if it was found before any request.
    pub(crate) is_planned: bool,
}

impl RecordFailure {
    /// Makes a failure that was found before any request to the origin.
    pub(crate) fn planned(kind: &'static str, message: String) -> Self {
        let now = SystemTime::now();
        let attempt = FailedAttempt {
            kind,
            message,
            unavailable: false,
            http_status: None,
            retries: 0,
            started: now,
            finished: now,
        };
        Self { attempt, unreached: false, denied: false, is_page: false, is_empty: false, is_planned: true }
    }

    pub(crate) fn fetched(failure: &Failure) -> Self {
        let attempt = FailedAttempt {
            kind: failure.kind.as_str(),
            message: failure.to_string(),
            unavailable: failure.is_unavailable(),
            http_status: failure.http_status,
            retries: failure.retries,
            started: failure.started,
            finished: failure.finished,
        };
        Self {
            attempt,
            unreached: failure.kind.is_unanswered() || matches!(failure.http_status, Some(429 | 503)),
            denied: failure.kind == FailureKind::HttpStatus
                && matches!(failure.http_status, Some(401 | 403 | 407 | 408 | 500..=502 | 504..=599)),
            is_page: failure.is_page,
            is_empty: failure.is_empty,
            is_planned: false,
        }
    }
}

/// The state of a release before anything is done.
#[derive(Debug, Clone, Default)]
pub(crate) struct PriorState {
    pub(crate) at: Locations,
    /// True if the catalogue lists the release.
    pub(crate) recorded: bool,
}

/// A release whose bytes were verified. Nothing that is staged is durable yet.
pub(crate) struct VerifiedRelease {
    pub(crate) context: Box<JobContext>,
    pub(crate) bytes: VerifiedBytes,
    pub(crate) prior: PriorState,
    /// In each store that is to hold it from now on; empty for a release that is held and stays where it is.
    pub(crate) staged: Vec<StagedCrate>,
}

impl VerifiedRelease {
    /// Compares the bytes with the record, wherever they came from and however they were checked before: the last check
    /// before they get their final name.
    ///
    /// # Errors
    /// Describes what does not fit.
    pub(crate) fn fits(&self) -> Result<(), String> {
        let VerifiedBytes { size, sha256, .. } = self.bytes;
        if let Some(expect) = self.context.release.cksum.filter(|expect| *expect != sha256) {
            return Err(format!("SHA-256 is {sha256}, not {expect} ({size} bytes); nothing was stored"));
        }
        match self.staged.iter().map(StagedCrate::size).find(|found| *found != size) {
            Some(found) => {
                Err(format!("{size} bytes were verified, {found} are to be stored; nothing was stored"))
            }
            None => Ok(()),
        }
    }
}

/// The messages to the dispatcher.
pub(crate) enum Message {
    /// The bytes are verified: they were held, or are staged.
    Verified(VerifiedRelease),
    /// A release is not held.
    Failed { context: Box<JobContext>, failure: Box<RecordFailure> },
    /// Releases are held and were not looked at.
    Audited(Vec<(WantedRelease, HeldRow)>),
    /// Nothing is known about a wanted crate.
    CrateFailed { name: CrateName, failure: Box<RecordFailure> },
    /// An index file was read that could not be fetched before.
    CrateRead(CrateName),
    /// A store does not hold a release, or not its bytes, although the catalogue lists it.
    Lost(ReleaseId, StoreId),
    /// A release in the ledger is held.
    Resolved(ReleaseId),
    /// A release in the ledger is not wanted any more.
    Dropped(ReleaseId),
    /// Policy holds a wanted release back.
    Deferred(Box<HeldBackRelease>),
    /// The releases of a crate that policy holds back without a date, by reason.
    DeferredGroups { name: CrateName, groups: Vec<DeferredGroup> },
    /// A release is to leave the list of deferred ones.
    Undeferred(ReleaseId),
    /// Upstream removed a held release.
    RemovedUpstream(ReleaseId, UpstreamRemoval),
    /// Upstream had yanked a release before this run fetches it.
    YankedBefore(ReleaseId),
    /// Upstream has unyanked a held release.
    Unyanked(ReleaseId),
    /// Upstream offers a held release again that it had deleted.
    Reinstated(ReleaseId),
    /// The source of the run lists a held release, which was not recorded yet.
    Seen(ReleaseId),
    /// An index file of a wanted crate has lines that are not kept yet.
    IndexFile(Box<PackedLines>),
    /// A writer cannot continue.
    Broken(SyncError),
    /// Several at once: one wake-up instead of many.
    Many(Vec<Message>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(expect: Option<&[u8]>, found: &[u8], claimed_bytes: u64, member: &[u8]) -> VerifiedRelease {
        let now = SystemTime::now();
        let sum = mirror_checksum::Hasher::of;
        let context = JobContext {
            release: WantedRelease {
                id: ReleaseId {
                    name: "a".parse().expect("name"),
                    version: "1.0.0".parse().expect("version"),
                },
                cksum: expect.map(sum),
                url: String::new(),
                path: String::new(),
            },
            guarded: false,
            was_wrong: false,
            replaces: false,
        };
        let bytes = VerifiedBytes {
            size: claimed_bytes,
            sha256: sum(found),
            retries: 0,
            http_status: Some(200),
            started: now,
            finished: now,
        };
        let member = StagedCrate::new(StoreId::BUNDLES, &context.release.id, member.len() as u64, ());
        VerifiedRelease {
            context: Box::new(context),
            bytes,
            prior: PriorState::default(),
            staged: vec![member],
        }
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
        for (expect, found, claimed_bytes, member, fits) in table {
            let outcome = verified(expect, found, claimed_bytes, member).fits();
            assert_eq!(outcome.is_ok(), fits, "{expect:?} {found:?} {member:?}: {outcome:?}");
        }
    }
}
