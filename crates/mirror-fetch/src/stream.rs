use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::answer::Fetched;
use crate::failure::Failure;
use crate::fetcher::Fetcher;
use crate::request::FetchRequest;
use crate::run::RunEnd;

/// Jobs that are read ahead, and results that wait to be taken.
const QUEUE: usize = 16;

/// The results of [`Fetcher::stream`], in order of completion; also a [`Stream`]. Dropping it ends the requests in
/// progress.
#[derive(Debug)]
pub struct FetchStream<T> {
    results: mpsc::Receiver<(T, Result<Fetched, Failure>)>,
    driver: JoinHandle<RunEnd>,
    end: Option<RunEnd>,
    _cancels: DropGuard,
}

impl<T: Send + 'static> FetchStream<T> {
    pub(crate) fn start<J>(fetcher: &Fetcher, jobs: J) -> Self
    where
        J: IntoIterator<Item = (T, FetchRequest)>,
        J::IntoIter: Send + 'static,
    {
        let (job, queued) = mpsc::channel(QUEUE);
        let (result, results) = mpsc::channel(QUEUE);
        let cancel = CancellationToken::new();
        let (fetcher, token, jobs) = (fetcher.clone(), cancel.clone(), jobs.into_iter());
        // In a task of its own, so that connections are served while the consumer is busy.
        let driver = tokio::spawn(async move { fetcher.run(queued, result, token).await });
        tokio::spawn(async move {
            for one in jobs {
                if job.send(one).await.is_err() {
                    return;
                }
            }
        });
        Self { results, driver, end: None, _cancels: cancel.drop_guard() }
    }

    /// Waits for the next result; `None` after the last one. Dropping the future loses nothing.
    ///
    /// # Panics
    /// When the fetcher has panicked.
    pub async fn next(&mut self) -> Option<(T, Result<Fetched, Failure>)> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Returns how the run ended, once [`FetchStream::next`] has returned `None`: whether every job had its result.
    #[must_use]
    pub const fn end(&self) -> Option<RunEnd> {
        self.end
    }
}

/// The same results, for the combinators of `futures`.
///
/// # Panics
/// When the fetcher has panicked.
impl<T: Send + 'static> Stream for FetchStream<T> {
    type Item = (T, Result<Fetched, Failure>);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(result) = ready!(this.results.poll_recv(cx)) {
            return Poll::Ready(Some(result));
        }
        if this.end.is_none() {
            this.end = Some(ready!(Pin::new(&mut this.driver).poll(cx)).unwrap_or_else(gone));
        }
        Poll::Ready(None)
    }
}

fn gone(error: JoinError) -> RunEnd {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // The runtime is shut down; some jobs may have no result.
        Err(_) => RunEnd::Silent,
    }
}
