//! Clients that misbehave: they cost a server what they can.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::http2::{
    CONTINUATION, END_HEADERS, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, bomb, field,
    frame, read,
};
use crate::worker::Worker;

/// The fault of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFault {
    /// Connects, and sends nothing.
    Silent,
    /// Connects, and hangs up.
    Hangup,
    /// Sends bytes that are neither HTTP nor TLS, for ever.
    Noise,
    /// HTTP/1.1: the head, a byte at a time.
    SlowHead,
    /// A header line that never ends.
    EndlessHeaderLine,
    /// Headers that never end.
    EndlessHeaders,
    /// A body that was not announced and never ends.
    EndlessBody,
    /// Sends a request, and reads a byte at a time.
    SlowReader,
    /// Sends a request, and reads nothing.
    Deaf,
    /// Sends a request, ends its own side, and reads nothing.
    HalfOpen,
    /// Sends request after request, and reads nothing.
    Pipeline,
    /// HTTP/2: sends requests over many streams, with closed windows.
    ClosedWindows,
    /// The same, with pings.
    Pings,
    /// The same, and opens the windows byte by byte.
    DrippingWindows,
    /// Opens all windows, sends requests over many streams, and reads nothing.
    DeafStreams,
    /// More and more streams, with closed windows.
    EndlessStreams,
    /// Streams that it resets at once.
    RapidReset,
    /// Headers without an end.
    EndlessContinuation,
    /// Small headers that unpack to many.
    HeaderBomb,
    /// Settings for ever, whose acknowledgements it does not read.
    EndlessSettings,
    /// Pings for ever, whose answers it does not read.
    EndlessPings,
    /// Priorities for ever.
    EndlessPriorities,
}

impl ClientFault {
    /// All faults.
    pub const ALL: [Self; 22] = [
        Self::Silent,
        Self::Hangup,
        Self::Noise,
        Self::SlowHead,
        Self::EndlessHeaderLine,
        Self::EndlessHeaders,
        Self::EndlessBody,
        Self::SlowReader,
        Self::Deaf,
        Self::HalfOpen,
        Self::Pipeline,
        Self::ClosedWindows,
        Self::Pings,
        Self::DrippingWindows,
        Self::DeafStreams,
        Self::EndlessStreams,
        Self::RapidReset,
        Self::EndlessContinuation,
        Self::HeaderBomb,
        Self::EndlessSettings,
        Self::EndlessPings,
        Self::EndlessPriorities,
    ];
}

/// Least pause between two pieces of an endless answer, for each client of a thread: many clients are to fill a server,
/// not the processor.
const PACE: Duration = Duration::from_millis(50);
const PACE_FOR_EACH: Duration = Duration::from_millis(1);
/// The time until a client that was cut off connects again.
const AGAIN: Duration = Duration::from_secs(1);
/// Streams on a connection.
const STREAMS: u32 = 64;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Hostile clients on a thread of their own. Each connects again after it was cut off, until they are dropped.
pub struct HostileClients {
    connections: Arc<AtomicU64>,
    _worker: Worker,
}

impl HostileClients {
    /// Starts `count` clients with these faults in turn, which request these paths in turn from the server at `addr`.
    ///
    /// # Panics
    /// When no runtime can be made: this is test code.
    #[must_use]
    pub fn start(addr: SocketAddr, paths: &[String], faults: &[ClientFault], count: usize) -> Self {
        let connections = Arc::new(AtomicU64::new(0));
        let clients = faults.iter().copied().cycle().take(count).enumerate();
        let clients: Vec<_> = clients
            .map(|(number, fault)| Client {
                addr,
                paths: paths.to_vec(),
                fault,
                number,
                pace: PACE.max(PACE_FOR_EACH * u32::try_from(count).unwrap_or(u32::MAX)),
                connections: Arc::clone(&connections),
            })
            .collect();
        let worker = Worker::start(async move |stop| {
            for client in clients {
                tokio::spawn(client.run());
            }
            stop.cancelled().await;
        });
        Self { connections, _worker: worker }
    }

    /// Returns the number of connections so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

struct Client {
    addr: SocketAddr,
    paths: Vec<String>,
    fault: ClientFault,
    number: usize,
    pace: Duration,
    connections: Arc<AtomicU64>,
}

impl Client {
    async fn run(self) {
        loop {
            // The server may cut the client off: then the client has done its part.
            let _ = self.connect_and_misbehave().await;
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn connect_and_misbehave(&self) -> io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        // With a small buffer, a server soon finds out that the client does not read.
        socket.set_recv_buffer_size(4 << 10)?;
        let mut stream = socket.connect(self.addr).await?;
        self.connections.fetch_add(1, Ordering::SeqCst);
        self.misbehave(&mut stream).await
    }

    fn path(&self, number: usize) -> &str {
        &self.paths[(self.number + number) % self.paths.len()]
    }

    fn get(&self) -> Vec<u8> {
        format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", self.path(0)).into_bytes()
    }

    async fn misbehave(&self, stream: &mut TcpStream) -> io::Result<()> {
        use ClientFault as F;
        let pace = self.pace;
        match self.fault {
            F::Silent => until_closed(stream).await,
            F::Hangup => Ok(()),
            F::Noise => again_and_again(stream, pace, b"", &[0x7f; 4 << 10]).await,
            F::SlowHead => {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ").await?;
                again_and_again(stream, pace, b"", b"x").await
            }
            F::EndlessHeaderLine => {
                again_and_again(stream, pace, b"GET / HTTP/1.1\r\nX: ", &[b'x'; 4 << 10]).await
            }
            F::EndlessHeaders => {
                again_and_again(stream, pace, b"GET / HTTP/1.1\r\n", &b"X-Name: value\r\n".repeat(100)).await
            }
            F::EndlessBody => {
                let head = format!(
                    "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                    self.path(0),
                    u64::MAX / 2
                );
                again_and_again(stream, pace, head.as_bytes(), &[b'x'; 4 << 10]).await
            }
            F::SlowReader => {
                stream.write_all(&self.get()).await?;
                let mut byte = [0];
                while stream.read(&mut byte).await? > 0 {
                    tokio::time::sleep(self.pace).await;
                }
                Ok(())
            }
            F::Deaf => {
                stream.write_all(&self.get()).await?;
                until_gone(stream).await
            }
            F::HalfOpen => {
                stream.write_all(&self.get()).await?;
                stream.shutdown().await?;
                until_gone(stream).await
            }
            F::Pipeline => again_and_again(stream, pace, b"", &self.get().repeat(16)).await,
            _ => self.misbehave_in_frames(stream).await,
        }
    }

    async fn misbehave_in_frames(&self, stream: &mut TcpStream) -> io::Result<()> {
        use ClientFault as F;
        let pace = self.pace;
        let window = if self.fault == F::DeafStreams { u32::MAX >> 1 } else { 0 };
        let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()).await?;
        if self.fault == F::DeafStreams {
            stream.write_all(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())).await?;
        }
        let asks: Vec<u8> = (0..STREAMS).flat_map(|number| self.ask(number)).collect();
        let updates = || {
            (0..STREAMS)
                .flat_map(|n| frame(WINDOW_UPDATE, 0, 2 * n + 1, &1_u32.to_be_bytes()))
                .collect::<Vec<_>>()
        };
        match self.fault {
            F::ClosedWindows => speak(stream, pace, &asks, &[]).await,
            F::Pings => speak(stream, pace, &asks, &frame(PING, 0, 0, b"12345678").repeat(8)).await,
            F::DrippingWindows => speak(stream, pace, &asks, &updates()).await,
            F::EndlessStreams | F::RapidReset => self.more_and_more(stream).await,
            F::DeafStreams => {
                stream.write_all(&asks).await?;
                until_gone(stream).await
            }
            F::EndlessContinuation => {
                let first = frame(HEADERS, 0, 1, &self.head(0));
                again_and_again(stream, pace, &first, &frame(CONTINUATION, 0, 1, &field(0)).repeat(50)).await
            }
            F::HeaderBomb => speak(stream, pace, &bomb(1), &[]).await,
            F::EndlessSettings => {
                again_and_again(stream, pace, b"", &frame(SETTINGS, 0, 0, &settings).repeat(200)).await
            }
            F::EndlessPings => {
                again_and_again(stream, pace, b"", &frame(PING, 0, 0, b"12345678").repeat(200)).await
            }
            _ => {
                let priority = frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16]);
                again_and_again(stream, pace, &asks, &priority.repeat(200)).await
            }
        }
    }

    /// Encodes the head of a request, from the static table and with literals.
    fn head(&self, number: usize) -> Vec<u8> {
        const GET_HTTP_LOCALHOST: &[u8] = b"\x82\x86\x01\x09localhost";
        let path = self.path(number).as_bytes();
        let len = u8::try_from(path.len()).ok().filter(|len| *len < 127).expect("a short path");
        [GET_HTTP_LOCALHOST, &[4, len], path].concat()
    }

    fn ask(&self, number: u32) -> Vec<u8> {
        const END_STREAM: u8 = 1;
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &self.head(number as usize))
    }

    /// Opens streams without end, and resets each of them if the fault says so.
    async fn more_and_more(&self, stream: &mut TcpStream) -> io::Result<()> {
        for number in 0.. {
            stream.write_all(&self.ask(number)).await?;
            if self.fault == ClientFault::RapidReset {
                stream.write_all(&frame(RST_STREAM, 0, 2 * number + 1, &8_u32.to_be_bytes())).await?;
            }
            if number % 32 == 31 {
                tokio::time::sleep(self.pace).await;
            }
        }
        Ok(())
    }
}

/// Sends `first`, then `then` again and again, and reads nothing.
async fn again_and_again(
    stream: &mut TcpStream,
    pace: Duration,
    first: &[u8],
    then: &[u8],
) -> io::Result<()> {
    stream.write_all(first).await?;
    loop {
        stream.write_all(then).await?;
        tokio::time::sleep(pace).await;
    }
}

/// Reads until the server closes.
async fn until_closed(stream: &mut TcpStream) -> io::Result<()> {
    while stream.read(&mut [0; 1 << 10]).await? > 0 {}
    Ok(())
}

/// Reads nothing, until the server resets the connection.
async fn until_gone(stream: &mut TcpStream) -> io::Result<()> {
    stream.ready(tokio::io::Interest::ERROR).await?;
    Ok(())
}

/// Sends requests, repeats a piece for ever, and answers settings and pings as a peer must.
async fn speak(stream: &mut TcpStream, pace: Duration, asks: &[u8], then: &[u8]) -> io::Result<()> {
    let (mut from, mut to) = stream.split();
    to.write_all(asks).await?;
    let mut pace = tokio::time::interval(pace);
    let (frames, mut heard) = tokio::sync::mpsc::channel(1);
    let listen = async {
        loop {
            let (kind, flags, _, payload) = read(&mut from).await?;
            if matches!(kind, SETTINGS | PING)
                && flags & 1 == 0
                && frames.send((kind, payload)).await.is_err()
            {
                return Ok(());
            }
        }
    };
    let talk = async {
        loop {
            tokio::select! {
                _ = pace.tick() => to.write_all(then).await?,
                Some((kind, payload)) = heard.recv() => {
                    let payload = if kind == PING { &payload[..] } else { &[] };
                    to.write_all(&frame(kind, 1, 0, payload)).await?;
                }
            }
        }
    };
    tokio::select! {
        ended = listen => ended,
        ended = talk => ended,
    }
}
