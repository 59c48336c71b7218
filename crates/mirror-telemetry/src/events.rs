//! Server-sent events: the status, whenever it changes, to as many readers as there are places. A reader that is slow
//! misses statuses; nothing waits for it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use mirror_listen::{EventPlaces, EventStream};
use tokio::sync::watch;

/// The time that the last status of a run may take to reach its readers.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The time in which bytes that were handed to the system leave it.
const FLUSH: Duration = Duration::from_millis(30);

/// The events of a run.
#[derive(Debug)]
pub(crate) struct Events {
    status: watch::Sender<Arc<str>>,
    places: EventPlaces,
}

impl Events {
    pub(crate) fn new(status: &str) -> Self {
        let places = EventPlaces::new(EventPlaces::CONSOLE);
        Self { status: watch::Sender::new(Arc::from(status)), places }
    }

    /// Sends a status to everyone who reads.
    pub(crate) fn publish(&self, status: &str) {
        self.status.send_replace(Arc::from(status));
    }

    /// Opens a stream; `None` when there are too many. Its first event is the status as it was published last.
    pub(crate) fn open(&self) -> Option<AnswerBody> {
        let (sender, stream) = self.places.open()?;
        let mut status = self.status.subscribe();
        tokio::spawn(async move {
            loop {
                let text = Arc::clone(&status.borrow_and_update());
                // Waits for a slow reader, and then goes on with the newest status.
                if !sender.send("status", &text).await {
                    return;
                }
                tokio::select! {
                    changed = status.changed() => if changed.is_err() { return },
                    () = sender.gone() => return,
                }
            }
        });
        Some(AnswerBody::Events(stream))
    }

    /// Sends the last status, and waits a moment until its readers have it.
    pub(crate) async fn close(self, last: &str) {
        let Self { status, places } = self;
        if places.are_free() {
            return;
        }
        status.send_replace(Arc::from(last));
        drop(status);
        if tokio::time::timeout(LAST_WORDS, places.all_free()).await.is_ok() {
            tokio::time::sleep(FLUSH).await;
        }
    }
}

/// The body of an answer: a text, or events as they come.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    Text(Full<Bytes>),
    Events(EventStream),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Text(text) => Pin::new(text).poll_frame(context),
            Self::Events(stream) => {
                stream.poll_next(context).map(|event| event.map(|text| Ok(Frame::data(text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => text.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn next(body: &mut AnswerBody) -> String {
        let frame = body.frame().await.expect("a frame").expect("no error");
        String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text")
    }

    #[tokio::test]
    async fn a_reader_gets_the_newest_status_and_no_queue() {
        let events = Events::new("0");
        let mut body = events.open().expect("a place");
        assert!(next(&mut body).await.starts_with("retry:"));
        assert_eq!(next(&mut body).await, "event: status\ndata: 0\n\n");
        // Nobody reads; publishing waits for nothing.
        (1..=1_000).for_each(|n| events.publish(&n.to_string()));
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last: &String| !last.contains("1000")) {
            seen.push(next(&mut body).await);
        }
        assert!(seen.len() <= 3, "{seen:?}");
    }

    #[tokio::test]
    async fn the_last_status_reaches_its_readers_and_a_stuck_one_is_not_waited_for() {
        let events = Events::new("0");
        let mut body = events.open().expect("a place");
        let stuck = events.open().expect("a place");
        let reader = tokio::spawn(async move {
            let mut all = String::new();
            while let Some(Ok(frame)) = body.frame().await {
                all += std::str::from_utf8(frame.data_ref().expect("data")).expect("text");
            }
            all
        });
        tokio::time::timeout(Duration::from_secs(20), events.close("the end")).await.expect("bounded");
        assert!(reader.await.expect("read").ends_with("data: the end\n\n"));
        drop(stuck);
    }
}
