use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Until a connection is taken again after one could not be: most of the time the process has no more open files.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The interval between two log lines about a shortage.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// A source of connections.
pub trait Incoming: Send {
    /// A connection.
    type Stream: Send;

    /// Waits for the next connection. Dropping the future loses none.
    fn next(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Incoming for TcpListener {
    type Stream = TcpStream;

    async fn next(&mut self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// The server's side of its connections.
pub trait Connections: Send + Sync {
    /// A connection.
    type Stream;
    /// The permit that bounds the number of connections: each holds one until it ends.
    type Place: Send;

    /// Waits for a place for a connection that was taken; `None` turns it away. The next connections wait meanwhile.
    fn place(&self) -> impl Future<Output = Option<Self::Place>> + Send;

    /// Ends a connection that can be done without, if there is one: the system has no room for another.
    fn make_room(&self) {}

    /// Serves a connection to its end, and then gives its place back. Runs as a task of its own.
    fn serve(
        &self,
        stream: Self::Stream,
        place: Self::Place,
    ) -> impl Future<Output = ()> + Send + use<Self> + 'static;
}

/// Takes connections until `stop` is cancelled, then stops listening and waits no longer than `grace_time` for those
/// that are open; they must look for themselves that they were stopped. Returns how many are still open then. Inside
/// a runtime with I/O and time.
pub async fn accept<I, C>(
    mut incoming: I,
    connections: &C,
    stop: &CancellationToken,
    grace_time: Duration,
) -> usize
where
    I: Incoming,
    C: Connections<Stream = I::Stream>,
{
    let tasks = TaskTracker::new();
    let mut shortage = Shortage::default();
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => break,
            next = incoming.next() => next,
        };
        let stream = match next {
            Ok(stream) => stream,
            // That one is gone; others are not.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                shortage.log(&error);
                connections.make_room();
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
                continue;
            }
        };
        if let Some(place) = connections.place().await {
            tasks.spawn(connections.serve(stream, place));
        }
    }
    drop(incoming);
    tasks.close();
    // Not an error: who waits knows of the time.
    let _ = tokio::time::timeout(grace_time, tasks.wait()).await;
    tasks.len()
}

/// Remembers when it was logged that no connection can be taken.
#[derive(Default)]
struct Shortage(Option<Instant>);

impl Shortage {
    fn log(&mut self, error: &io::Error) {
        if self.0.is_none_or(|logged| logged.elapsed() > LOG_EVERY) {
            tracing::warn!("no connection can be taken for the moment; it is tried again and again: {error}");
            self.0 = Some(Instant::now());
        }
    }
}
