//! The bodies of answers.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use mirror_listen::EventStream;

use crate::source::{PIECE_BYTES, Source};

type Reading = Pin<Box<dyn Future<Output = (Box<Source>, io::Result<Bytes>)> + Send>>;

/// A body: nothing, bytes, a source that is read as the client can receive it, or events as they come.
pub(crate) enum ServeBody {
    Empty,
    /// The announced length of an answer to HEAD, whose bytes are not sent.
    HeadOnly(u64),
    Whole(Bytes),
    Read(Box<Source>),
    /// A piece is being read; this many bytes remain, including the piece.
    Reading(Reading, u64),
    Events(EventStream),
}

impl ServeBody {
    pub(crate) fn of(text: impl Into<Bytes>) -> Self {
        Self::Whole(text.into())
    }

    pub(crate) fn read(source: Source) -> Self {
        Self::Read(Box::new(source))
    }

    /// Returns the number of bytes still to be sent, or announced; `None` for events, which end at any time.
    pub(crate) fn left(&self) -> Option<u64> {
        Some(match self {
            Self::Empty => 0,
            Self::HeadOnly(left) | Self::Reading(_, left) => *left,
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Read(source) => source.left(),
            Self::Events(_) => return None,
        })
    }

    /// Returns the next bytes, at most `most_bytes` unless they are an event; none at the end.
    pub(crate) async fn next(&mut self, most_bytes: usize) -> io::Result<Bytes> {
        match self {
            Self::Empty | Self::HeadOnly(_) => Ok(Bytes::new()),
            Self::Whole(bytes) => Ok(bytes.split_to(most_bytes.min(bytes.len()))),
            Self::Read(source) => source.next(most_bytes).await,
            Self::Events(stream) => Ok(stream.next().await.unwrap_or_default()),
            Self::Reading(reading, _) => {
                let (source, piece) = reading.await;
                *self = Self::Read(source);
                piece
            }
        }
    }

    /// Frees everything that can be read again, while the client reads nothing.
    pub(crate) fn rest(&mut self) {
        if let Self::Read(source) = self {
            source.rest();
        }
    }
}

/// For HTTP/1.1: the next piece is requested when the one before was sent.
impl Body for ServeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match std::mem::replace(&mut *self, Self::Empty) {
            Self::Empty | Self::HeadOnly(_) => return Poll::Ready(None),
            Self::Whole(bytes) => Ok(bytes),
            Self::Read(source) if source.left() == 0 => return Poll::Ready(None),
            Self::Read(mut source) => {
                if let Some(piece) = source.rest_at_once() {
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                let left = source.left();
                let reading = Box::pin(async move {
                    let piece = source.next(PIECE_BYTES).await;
                    (source, piece)
                });
                *self = Self::Reading(reading, left);
                return self.poll_frame(context);
            }
            Self::Events(mut stream) => {
                let event = stream.poll_next(context);
                *self = Self::Events(stream);
                return event.map(|event| event.map(|bytes| Ok(Frame::data(bytes))));
            }
            Self::Reading(mut reading, left) => {
                let Poll::Ready((source, piece)) = reading.as_mut().poll(context) else {
                    *self = Self::Reading(reading, left);
                    return Poll::Pending;
                };
                *self = Self::Read(source);
                piece
            }
        };
        Poll::Ready(match piece {
            Ok(piece) if piece.is_empty() => None,
            piece => Some(piece.map(Frame::data)),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::HeadOnly(_)) || self.left() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
