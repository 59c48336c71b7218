//! Server-sent events: a bounded number of streams, each with one event at most that waits for its reader.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The first line of a stream: a browser that loses it comes back after this many milliseconds.
const HELLO: &[u8] = b"retry: 2000\n\n";

/// The places for the event streams of a server. Clones share them.
#[derive(Debug, Clone)]
pub struct EventPlaces {
    places: Arc<Semaphore>,
    most: u32,
}

/// The end of an event stream at which events go in.
#[derive(Debug)]
pub struct EventSender(mpsc::Sender<Bytes>);

/// The end of an event stream at which its bytes come out: the body of an answer of the type `text/event-stream`. Holds
/// its place until it is dropped.
#[derive(Debug)]
pub struct EventStream {
    events: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl EventPlaces {
    /// Most event streams of a console.
    pub const CONSOLE: u32 = 24;

    /// Makes this many places.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { places: Arc::new(Semaphore::new(most as usize)), most }
    }

    /// Opens a stream; `None` when there are too many.
    #[must_use]
    pub fn open(&self) -> Option<(EventSender, EventStream)> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (to, events) = mpsc::channel(1);
        // The channel has room for it.
        to.try_send(Bytes::from_static(HELLO)).ok()?;
        Some((EventSender(to), EventStream { events, _place: place }))
    }

    /// Returns whether no stream is open.
    #[must_use]
    pub fn are_free(&self) -> bool {
        self.places.available_permits() == self.most as usize
    }

    /// Waits until no stream is open.
    pub async fn all_free(&self) {
        // Nothing closes the semaphore.
        let _ = self.places.acquire_many(self.most).await;
    }
}

impl EventSender {
    /// Sends an event, whose data is one line. Waits for a slow reader to take the event before; returns false once the
    /// reader is gone.
    pub async fn send(&self, name: &str, data: &str) -> bool {
        self.0.send(Bytes::from(format!("event: {name}\ndata: {data}\n\n"))).await.is_ok()
    }

    /// Waits until the reader is gone.
    pub async fn gone(&self) {
        self.0.closed().await;
    }
}

impl EventStream {
    /// Polls for the next bytes; `None` once the sender is dropped and everything is read.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.events.poll_recv(context)
    }

    /// Waits for the next bytes; `None` once the sender is dropped and everything is read.
    pub async fn next(&mut self) -> Option<Bytes> {
        poll_fn(|context| self.poll_next(context)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_begins_with_the_time_to_come_back_and_ends_with_its_sender() {
        let (sender, mut stream) = EventPlaces::new(1).open().expect("a place");
        let sending = tokio::spawn(async move {
            assert!(sender.send("status", "1").await);
            assert!(sender.send("status", "2").await);
        });
        let mut all = Vec::new();
        while let Some(bytes) = stream.next().await {
            all.extend_from_slice(&bytes);
        }
        sending.await.expect("sent");
        let text = String::from_utf8(all).expect("text");
        assert_eq!(text, "retry: 2000\n\nevent: status\ndata: 1\n\nevent: status\ndata: 2\n\n");
    }

    #[tokio::test]
    async fn streams_are_bounded_and_their_places_reused() {
        let places = EventPlaces::new(3);
        let mut open: Vec<_> = (0..3).map(|_| places.open().expect("a place")).collect();
        assert!(places.open().is_none() && !places.are_free());
        open.pop();
        open.push(places.open().expect("the place that became free"));
        drop(open);
        assert!(places.are_free());
        places.all_free().await;
    }

    #[tokio::test]
    async fn a_sender_that_waits_for_its_reader_learns_that_it_is_gone() {
        let (sender, stream) = EventPlaces::new(1).open().expect("a place");
        let waiting = tokio::spawn(async move {
            let was_sent = sender.send("status", "nobody reads").await;
            sender.gone().await;
            was_sent
        });
        drop(stream);
        assert!(!waiting.await.expect("it ends"));
    }
}
