//! One connection: its protocol, and its limits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::client::Client;
use crate::watch::{Spoken, Stream};
use crate::{http1, http2};

/// The reason why a connection ended.
type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

impl Client {
    /// Serves a connection until it ends, has moved nothing for too long, has sent no request in time, or has to make
    /// room for another one.
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
                counters.made_room.increment(1);
                return Ok(());
            }
        }
        counters.cut_off.increment(1);
        Ok(())
    }

    /// Completes when no request has arrived in the time for a head.
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
        // A connection that has sent nothing yet need not be waited for.
        let Some(begun) = self.stop.run_until_cancelled(begun).await else { return Ok(()) };
        let (stream, spoken) = begun?;
        match spoken {
            Spoken::Http1 => http1::serve(self, stream).await?,
            Spoken::Http2 => http2::serve(self, stream).await?,
        }
        Ok(())
    }
}
