//! A connection's stream that starts with bytes that were already read, and counts its bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::seats::Seat;

/// The first bytes of a client of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http1,
    Http2,
}

/// A stream that starts with bytes that were already read. With HTTP/1.1, where only answers are written, written bytes
/// count as moved.
pub(crate) struct Stream<S> {
    stream: S,
    begun: Bytes,
    counted: Option<Arc<Seat>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// Reads enough to detect the protocol. Waits for the client for any time.
    pub(crate) async fn begin(mut stream: S, seat: &Arc<Seat>) -> io::Result<(Self, Spoken)> {
        let mut begun = Vec::with_capacity(PREFACE.len());
        while begun.len() < PREFACE.len() && PREFACE.starts_with(&begun) {
            let most = (PREFACE.len() - begun.len()) as u64;
            if (&mut stream).take(most).read_buf(&mut begun).await? == 0 {
                break;
            }
        }
        let spoken = if begun == PREFACE { Spoken::Http2 } else { Spoken::Http1 };
        let counted = (spoken == Spoken::Http1).then(|| Arc::clone(seat));
        Ok((Self { stream, begun: begun.into(), counted }, spoken))
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let (Poll::Ready(Ok(bytes)), Some(seat)) = (written, &self.counted) {
            seat.moved(*bytes as u64);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.begun.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let len = self.begun.len().min(buffer.remaining());
        buffer.put_slice(&self.begun[..len]);
        self.begun.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.count(&written);
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_first_bytes_show_the_protocol_and_are_read_again() {
        for (said, spoken) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], Spoken::Http1),
            (b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n more", Spoken::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nframes", Spoken::Http2),
            (b"PRI * HT", Spoken::Http1),
            (b"\x16\x03\x01", Spoken::Http1),
            (b"", Spoken::Http1),
        ] {
            let (mut client, server) = tokio::io::duplex(1_024);
            // Byte by byte, as from a slow client.
            for byte in said {
                client.write_all(&[*byte]).await.expect("written");
            }
            client.shutdown().await.expect("shut down");
            let seat = Arc::new(Seat::new(1));
            let (mut stream, found) = Stream::begin(server, &seat).await.expect("begun");
            let mut again = Vec::new();
            stream.read_to_end(&mut again).await.expect("read");
            assert_eq!((found, again.as_slice()), (spoken, said));
        }
    }
}
