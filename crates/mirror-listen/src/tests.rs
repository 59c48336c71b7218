use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Connections, Incoming, accept};

/// Connections and failures in this order; after the last, none comes.
struct Script {
    coming: VecDeque<io::Result<u32>>,
    closed: Arc<AtomicBool>,
}

impl Incoming for Script {
    type Stream = u32;

    async fn next(&mut self) -> io::Result<u32> {
        match self.coming.pop_front() {
            Some(next) => next,
            None => pending().await,
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.closed.store(true, SeqCst);
    }
}

/// Serves each connection until it is told to end.
struct Server {
    places: Arc<Semaphore>,
    served: mpsc::UnboundedSender<(u32, Instant)>,
    end: CancellationToken,
    made_room: AtomicUsize,
}

impl Connections for Server {
    type Stream = u32;
    type Place = OwnedSemaphorePermit;

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    fn make_room(&self) {
        self.made_room.fetch_add(1, SeqCst);
    }

    fn serve(
        &self,
        stream: u32,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> + 'static {
        let end = self.end.clone();
        let _ = self.served.send((stream, Instant::now()));
        async move {
            end.cancelled().await;
            drop(place);
        }
    }
}

/// A loop over scripted connections, and its observable state.
struct Running {
    server: Arc<Server>,
    served: mpsc::UnboundedReceiver<(u32, Instant)>,
    stop: CancellationToken,
    closed: Arc<AtomicBool>,
    accepting: tokio::task::JoinHandle<usize>,
}

fn run(places: usize, coming: Vec<io::Result<u32>>) -> Running {
    let (sender, served) = mpsc::unbounded_channel();
    let server = Arc::new(Server {
        places: Arc::new(Semaphore::new(places)),
        served: sender,
        end: CancellationToken::new(),
        made_room: AtomicUsize::new(0),
    });
    let (stop, closed) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    let script = Script { coming: coming.into(), closed: Arc::clone(&closed) };
    let accepting = tokio::spawn({
        let (server, stop) = (Arc::clone(&server), stop.clone());
        async move { accept(script, &*server, &stop, Duration::from_secs(30)).await }
    });
    Running { server, served, stop, closed, accepting }
}

async fn next(running: &mut Running) -> (u32, Instant) {
    running.served.recv().await.expect("a connection")
}

#[tokio::test(start_paused = true)]
async fn a_shortage_makes_room_and_is_waited_for_and_an_abort_is_passed_over() {
    let shortage = || Err(io::Error::from(io::ErrorKind::QuotaExceeded));
    let aborted = Err(io::Error::from(io::ErrorKind::ConnectionAborted));
    let begin = Instant::now();
    let mut running = run(8, vec![Ok(1), aborted, Ok(2), shortage(), shortage(), Ok(3)]);
    assert_eq!(next(&mut running).await, (1, begin));
    assert_eq!(next(&mut running).await, (2, begin), "an abort costs nothing");
    assert_eq!(next(&mut running).await, (3, begin + Duration::from_millis(100)));
    assert_eq!(running.server.made_room.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_place_is_turned_away() {
    let mut running = run(2, vec![Ok(1), Ok(2), Ok(3), Ok(4)]);
    assert_eq!((next(&mut running).await.0, next(&mut running).await.0), (1, 2));
    running.server.end.cancel();
    running.stop.cancel();
    assert_eq!(running.accepting.await.expect("no panic"), 0);
    drop(running.server);
    assert!(running.served.recv().await.is_none(), "the others were turned away");
}

#[tokio::test(start_paused = true)]
async fn a_stop_closes_the_socket_and_waits_for_what_is_open() {
    let mut running = run(2, vec![Ok(1)]);
    next(&mut running).await;
    let begin = Instant::now();
    running.stop.cancel();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(running.closed.load(SeqCst) && !running.accepting.is_finished());
    running.server.end.cancel();
    assert_eq!(running.accepting.await.expect("no panic"), 0);
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_time_is_counted() {
    let mut running = run(2, vec![Ok(1), Ok(2)]);
    next(&mut running).await;
    next(&mut running).await;
    let begin = Instant::now();
    running.stop.cancel();
    assert_eq!(running.accepting.await.expect("no panic"), 2);
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
}
