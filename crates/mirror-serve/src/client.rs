//! The client at the other end of a connection, and the answers to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use http::StatusCode;
use http::request::Parts;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Asker};
use crate::options::ServeLimits;
use crate::reply::{Answer, text};
use crate::seats::Seat;

/// The client at the other end of a connection.
pub(crate) struct Client {
    pub(crate) app: Arc<App>,
    asker: Asker,
    pub(crate) limits: ServeLimits,
    pub(crate) stop: CancellationToken,
    /// True if a request has arrived.
    pub(crate) has_asked: AtomicBool,
}

impl Client {
    pub(crate) fn new(
        app: Arc<App>,
        seat: Arc<Seat>,
        tls: bool,
        limits: ServeLimits,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let asker = Asker { tls, seat, stop: stop.clone() };
        Arc::new(Self { app, asker, limits, stop, has_asked: AtomicBool::new(false) })
    }

    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.asker.seat
    }

    /// Answers a request within the time limit.
    pub(crate) async fn answer(&self, head: &Parts) -> Answer {
        self.has_asked.store(true, Relaxed);
        let answer = tokio::time::timeout(self.limits.request_time, self.app.answer(head, &self.asker));
        answer
            .await
            .unwrap_or_else(|_| text(StatusCode::SERVICE_UNAVAILABLE, "the mirror did not answer in time\n"))
    }
}
