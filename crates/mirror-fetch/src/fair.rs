//! A stream that yields to others: a peer that floods its connection must not keep the thread busy that moves the bytes
//! of all connections.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read in a row. The smallest frame of HTTP/2 has nine, so thousands of them fit.
const STRETCH_BYTES: usize = 128 << 10;

/// Yields once whenever this many bytes were read without a wait.
pub(crate) struct Fair<S> {
    stream: S,
    read_bytes: usize,
}

impl<S> Fair<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, read_bytes: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fair<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_bytes >= STRETCH_BYTES {
            self.read_bytes = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match polled {
            Poll::Ready(_) => self.read_bytes += buf.filled().len() - before,
            Poll::Pending => self.read_bytes = 0,
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fair<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[test]
    fn a_flood_is_read_in_stretches_and_nothing_is_lost() {
        let flood = vec![7; 3 * STRETCH_BYTES];
        let mut fair = Fair::new(&flood[..]);
        let mut all = Vec::new();
        let mut read = Box::pin(fair.read_to_end(&mut all));
        let mut pauses = 0;
        while read.as_mut().now_or_never().is_none() {
            pauses += 1;
        }
        drop(read);
        assert!((2..=3).contains(&pauses), "{pauses}");
        assert_eq!(all, flood);
    }
}
