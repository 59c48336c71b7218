use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The wait after a connection could not be accepted: usually the process has no more open files.
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

/// The server's part in its connections.
pub trait Connections: Send + Sync {
    /// A connection.
    type Stream;
    /// A permit that bounds the number of connections: each holds one until it ends.
    type Place: Send;

    /// Waits for a place for an accepted connection; `None` turns it away. The next connections wait meanwhile.
    fn place(&self) -> impl Future<Output = Option<Self::Place>> + Send;

    /// Ends a dispensable connection, if there is one: the system has no room for another.
    fn make_room(&self) {}

    /// Serves a connection to its end, and then frees its place. Runs as a task of its own.
    fn serve(
        &self,
        stream: Self::Stream,
        place: Self::Place,
    ) -> impl Future<Output = ()> + Send + use<Self> + 'static;
}

/// Accepts connections until `stop` is cancelled, then stops listening and waits at most `grace_time` for the open
/// ones, which must detect by themselves that they were stopped. Returns the number of those still open. Needs a
/// runtime with I/O and time.
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
            // This connection is gone; others are not.
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
    // A timeout is no error: the result shows which connections are left.
    let _ = tokio::time::timeout(grace_time, tasks.wait()).await;
    tasks.len()
}

/// The time of the last log line about connections that could not be accepted.
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
