//! Counts what goes over a connection, so that one that stands still can be closed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Less than this, in both directions together, is standing still.
const LITTLE: u64 = 1 << 10;

/// A stream whose bytes are counted.
pub(crate) struct Watched<S> {
    stream: S,
    moved: Arc<AtomicU64>,
}

/// The other end of the count.
pub(crate) struct Moved(Arc<AtomicU64>);

impl<S> Watched<S> {
    pub(crate) fn new(stream: S) -> (Self, Moved) {
        let moved = Arc::new(AtomicU64::new(0));
        (Self { stream, moved: Arc::clone(&moved) }, Moved(moved))
    }
}

impl Moved {
    /// Ends when less than a KiB was moved in `time`.
    pub(crate) async fn still_for(&self, time: Duration) {
        let mut before = self.0.load(Relaxed);
        loop {
            tokio::time::sleep(time).await;
            let now = self.0.load(Relaxed);
            if now - before < LITTLE {
                return;
            }
            before = now;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.moved.fetch_add((buffer.filled().len() - before) as u64, Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(n)) = written {
            self.moved.fetch_add(n as u64, Relaxed);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        if let Poll::Ready(Ok(n)) = written {
            self.moved.fetch_add(n as u64, Relaxed);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
