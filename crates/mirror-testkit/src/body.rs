//! Bodies that end well, badly, or never.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

/// The behaviour after the bytes were sent.
pub(crate) enum End {
    Well,
    Error,
    Never,
    /// Closes the connection.
    Drop(CancellationToken),
    /// Sends one byte at a time.
    Drip(Bytes, Pin<Box<Sleep>>, Duration),
    /// Sends the same chunk for ever.
    Repeat(Bytes),
    /// Sends empty chunks for ever, with a pause, as nothing else limits the server.
    Empty(Pin<Box<Sleep>>),
}

pub(crate) struct ScriptedBody {
    first: Option<Bytes>,
    end: End,
    announced: bool,
}

impl ScriptedBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { first: Some(bytes), end: End::Well, announced: true }
    }

    pub(crate) fn broken(bytes: Bytes, end: End) -> Self {
        Self { first: Some(bytes), end, announced: false }
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(bytes) = self.first.take().filter(|bytes| !bytes.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match &mut self.end {
            End::Well => Poll::Ready(None),
            End::Error => Poll::Ready(Some(Err(io::Error::other("scripted fault")))),
            End::Never => Poll::Pending,
            End::Drop(connection) => {
                connection.cancel();
                Poll::Pending
            }
            End::Drip(rest, sleep, pause) => {
                if rest.is_empty() {
                    return Poll::Ready(None);
                }
                std::task::ready!(sleep.as_mut().poll(cx));
                sleep.as_mut().reset(tokio::time::Instant::now() + *pause);
                Poll::Ready(Some(Ok(Frame::data(rest.split_to(1)))))
            }
            End::Empty(sleep) => {
                std::task::ready!(sleep.as_mut().poll(cx));
                sleep.as_mut().reset(tokio::time::Instant::now() + Duration::from_millis(1));
                Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
            }
            End::Repeat(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk.clone())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.end, End::Well) && self.first.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.first, self.announced) {
            (Some(bytes), true) => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
