//! Writer threads: they put verified bytes into the stage, or hand them to the bundles.

use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;
use mirror_fetch::{Body, Content, Failure, FailureKind, Fetched, Verified};
use mirror_repo::{FailedAttempt, VerifiedBytes};
use mirror_store::bundle::MemberBody;
use mirror_store::{Staged, Store};
use tokio::sync::mpsc;

use crate::error::SyncError;
use crate::options::Storage;
use crate::run::message::{Arrival, Message, PriorState, Problem, Tag};
use crate::spool::{Counted, writer_of};

/// Results of the fetcher, shared by the writer threads.
pub(crate) type Results = Arc<Mutex<mpsc::Receiver<FetchResult>>>;

/// What became of a job.
pub(crate) type FetchResult = (Box<Tag>, Result<Fetched, Failure>);

/// Bodies that a writer takes at once.
const TAKE: usize = 32;

/// Stages what the fetcher yields until it ends. Runs on a thread of its own; blocks.
pub(crate) fn write_staged(store: &Store, storage: Storage, results: &Results, messages: &Sender<Message>) {
    let mut taken = Vec::with_capacity(TAKE);
    loop {
        let got = match results.lock() {
            Ok(mut receiver) => receiver.blocking_recv_many(&mut taken, TAKE),
            Err(_) => 0,
        };
        if got == 0 {
            return;
        }
        let made = taken.drain(..).filter_map(|(tag, result)| match result {
            Ok(fetched) => Some(stage(store, storage, tag, fetched).unwrap_or_else(Message::Broken)),
            Err(failure) if failure.kind == FailureKind::Cancelled => None,
            // It is so for every address of this host, and the operator's to mend.
            Err(failure) if failure.kind == FailureKind::Proxy => {
                Some(Message::Broken(SyncError::Usage(failure.message)))
            }
            Err(failure) if failure.kind == FailureKind::Spool => {
                Some(Message::Broken(SyncError::Spool(failure.message)))
            }
            Err(failure) => Some(Message::Failed { problem: Box::new(Problem::fetched(&failure)), tag }),
        });
        if messages.send(Message::Many(made.collect())).is_err() {
            return;
        }
    }
}

/// Writes a body into the stage, or hands it to the bundles. An answer without a body is no release, whatever its
/// status.
fn stage(store: &Store, storage: Storage, tag: Box<Tag>, fetched: Fetched) -> Result<Message, SyncError> {
    let Fetched { status, content, retries, started, finished, .. } = fetched;
    let body = match content {
        // What nothing is known of is at least not empty: no archive is.
        Content::Body(body) if body.size() > 0 || tag.release.cksum.is_some() => body,
        Content::Body(_) | Content::NotModified | Content::HeadersOnly => {
            let mut problem = Problem::planned("truncated", "the origin answered without a body".to_owned());
            let known =
                FailedAttempt { http_status: Some(status), retries, started, finished, ..problem.attempt };
            problem.attempt = known;
            return Ok(Message::Failed { tag, problem: Box::new(problem) });
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
    let loose = storage != Storage::Bundle;
    let (staged, member) = match body.body() {
        Body::Memory(data) => (
            if loose { Some(store.stage(&tag.release.path, data)?) } else { None },
            storage.bundles().then(|| MemberBody::Memory(Box::new(Counted(body)))),
        ),
        Body::Spooled(_) => stage_spooled(storage, &tag.release.path, body)?,
    };
    Ok(Message::Arrived(Arrival { tag, bytes, prior: PriorState::default(), staged, member }))
}

fn stage_spooled(
    storage: Storage,
    path: &str,
    body: Verified,
) -> Result<(Option<Staged>, Option<MemberBody>), SyncError> {
    let Body::Spooled(spool) = body.into_body() else {
        return Err(SyncError::Internal("a body in memory was taken for a spooled one".to_owned()));
    };
    let mut writer = writer_of(spool)?;
    let member = if storage.bundles() {
        // Open, it outlives its name.
        let (file, size) = writer.reader()?;
        Some(MemberBody::File { file, size })
    } else {
        None
    };
    let staged = if storage == Storage::Bundle { None } else { Some(writer.finish(path)?) };
    Ok((staged, member))
}
