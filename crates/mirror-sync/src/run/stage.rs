//! Writer threads: they stage verified bytes in the stores.

use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;
use mirror_fetch::{Body, Content, Failure, FailureKind, Fetched, Verified};
use mirror_repo::{FailedAttempt, VerifiedBytes};
use mirror_store::{CrateBody, CrateStore, NewCrate, StagedCrate};
use tokio::sync::mpsc;

use crate::error::SyncError;
use crate::run::message::{JobContext, Message, PriorState, RecordFailure, VerifiedRelease};
use crate::spool::{Counted, writer_of};

/// Results of the fetcher, shared by the writer threads.
pub(crate) type Results = Arc<Mutex<mpsc::Receiver<FetchResult>>>;

/// The result of a job.
pub(crate) type FetchResult = (Box<JobContext>, Result<Fetched, Failure>);

/// Results that a writer takes at once.
const BATCH_RESULTS: usize = 32;

/// Stages what the fetcher yields until it ends. Runs on a thread of its own; blocks.
pub(crate) fn write_staged(targets: &[Arc<dyn CrateStore>], results: &Results, messages: &Sender<Message>) {
    let mut taken = Vec::with_capacity(BATCH_RESULTS);
    loop {
        let got = match results.lock() {
            Ok(mut receiver) => receiver.blocking_recv_many(&mut taken, BATCH_RESULTS),
            Err(_) => 0,
        };
        if got == 0 {
            return;
        }
        let made = taken.drain(..).filter_map(|(context, result)| match result {
            Ok(fetched) => Some(stage(targets, context, fetched).unwrap_or_else(Message::Broken)),
            Err(failure) if failure.kind == FailureKind::Cancelled => None,
            // The failure concerns every address of this host, and the operator has to fix it.
            Err(failure) if failure.kind == FailureKind::Proxy => {
                Some(Message::Broken(SyncError::Usage(failure.message)))
            }
            Err(failure) if failure.kind == FailureKind::Spool => {
                Some(Message::Broken(SyncError::Spool(failure.message)))
            }
            Err(failure) => {
                Some(Message::Failed { failure: Box::new(RecordFailure::fetched(&failure)), context })
            }
        });
        if messages.send(Message::Many(made.collect())).is_err() {
            return;
        }
    }
}

/// Stages a body in each store. An answer without a body is no release, whatever its status.
fn stage(
    targets: &[Arc<dyn CrateStore>],
    context: Box<JobContext>,
    fetched: Fetched,
) -> Result<Message, SyncError> {
    let Fetched { status, content, retries, started, finished, .. } = fetched;
    let body = match content {
        // Without a checksum, the body must at least not be empty: no archive is.
        Content::Body(body) if body.size() > 0 || context.release.cksum.is_some() => body,
        Content::Body(_) | Content::NotModified | Content::HeadersOnly => {
            let mut failure =
                RecordFailure::planned("truncated", "the origin answered without a body".to_owned());
            let known =
                FailedAttempt { http_status: Some(status), retries, started, finished, ..failure.attempt };
            failure.attempt = known;
            return Ok(Message::Failed { context, failure: Box::new(failure) });
        }
    };
    let bytes = VerifiedBytes {
        size: body.size(),
        sha256: body.sha256(),
        retries,
        http_status: Some(status),
        started,
        finished,
    };
    let staged = stage_body(targets, &context, &bytes, body)?;
    Ok(Message::Verified(VerifiedRelease { context, bytes, prior: PriorState::default(), staged }))
}

fn stage_body(
    targets: &[Arc<dyn CrateStore>],
    context: &JobContext,
    bytes: &VerifiedBytes,
    body: Verified,
) -> Result<Vec<StagedCrate>, SyncError> {
    let new = |body| NewCrate {
        id: &context.release.id,
        sha256: bytes.sha256,
        size: bytes.size,
        url: &context.release.url,
        body,
    };
    if matches!(body.body(), Body::Memory(_)) {
        let body = Counted::new(body);
        let stage =
            |target: &Arc<dyn CrateStore>| Ok(target.stage(new(CrateBody::Memory(Box::new(body.clone()))))?);
        return targets.iter().map(stage).collect();
    }
    let Body::Spooled(spool) = body.into_body() else {
        return Err(SyncError::Internal("a body in memory was taken for a spooled one".to_owned()));
    };
    let spooled = writer_of(spool)?;
    let Some((last, others)) = targets.split_last() else { return Ok(Vec::new()) };
    let mut staged = Vec::with_capacity(targets.len());
    for target in others {
        staged.push(target.stage(new(CrateBody::Reader(Box::new(spooled.reader()?))))?);
    }
    // The last store may take over the file itself.
    staged.push(last.stage(new(CrateBody::Spooled(spooled)))?);
    Ok(staged)
}
