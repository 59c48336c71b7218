//! One connection: what it speaks, and how long it is borne.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use http::StatusCode;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::answer::{App, Asker};
use crate::options::ServeLimits;
use crate::reply::{Answer, text};
use crate::seats::Seat;
use crate::watch::{Spoken, Stream};
use crate::{http1, http2};

/// Why a connection ended.
type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Who is at the other end of a connection.
pub(crate) struct Client {
    app: Arc<App>,
    asker: Asker,
    pub(crate) limits: ServeLimits,
    pub(crate) stop: CancellationToken,
    /// Whether a request has come.
    has_asked: AtomicBool,
}

impl Client {
    pub(crate) fn new(
        app: Arc<App>,
        seat: Arc<Seat>,
        tls: bool,
        limits: ServeLimits,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { app, asker: Asker { tls, seat }, limits, stop, has_asked: AtomicBool::new(false) })
    }

    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.asker.seat
    }

    /// Answers a request, in time.
    pub(crate) async fn answer(&self, head: &Parts) -> Answer {
        self.has_asked.store(true, Relaxed);
        let answer = tokio::time::timeout(self.limits.request_time, self.app.answer(head, &self.asker));
        answer
            .await
            .unwrap_or_else(|_| text(StatusCode::SERVICE_UNAVAILABLE, "the mirror did not answer in time\n"))
    }

    /// Serves a connection until it ends, or for as long as it is borne: until it has moved nothing for too long, has
    /// not asked in time, or makes room for another one.
    pub(crate) async fn serve(self: Arc<Self>, stream: TcpStream, tls: Option<TlsAcceptor>) -> Ended {
        stream.set_nodelay(true)?;
        let seat = Arc::clone(self.seat());
        let counters = &self.app.counters;
        let talk = Arc::clone(&self).talk(stream, tls);
        tokio::select! {
            ended = talk => return ended,
            () = seat.still_for(self.limits.idle_time) => {}
            () = self.never_asks() => {}
            () = seat.cut() => {
                counters.made_room.fetch_add(1, Relaxed);
                return Ok(());
            }
        }
        counters.cut_off.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Ends when no request has come in the time for a head.
    async fn never_asks(&self) {
        tokio::time::sleep(self.limits.head_time).await;
        if self.has_asked.load(Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    async fn talk(self: Arc<Self>, stream: TcpStream, tls: Option<TlsAcceptor>) -> Ended {
        match tls {
            None => self.speak(stream).await,
            Some(tls) => {
                let shaken = tokio::time::timeout(self.limits.head_time, tls.accept(stream));
                let Some(shaken) = self.stop.run_until_cancelled(shaken).await else { return Ok(()) };
                self.speak(shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??).await
            }
        }
    }

    async fn speak(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Ended {
        let begun = Stream::begin(stream, self.seat());
        // One that has said nothing yet has nothing to wait for.
        let Some(begun) = self.stop.run_until_cancelled(begun).await else { return Ok(()) };
        let (stream, spoken) = begun?;
        match spoken {
            Spoken::Http1 => http1::serve(self, stream).await?,
            Spoken::Http2 => http2::serve(self, stream).await?,
        }
        Ok(())
    }
}
