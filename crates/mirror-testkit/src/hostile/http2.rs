//! Broken HTTP/2: frames written by hand.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::stream::{Stream, endless};

/// The fault of a peer of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2Fault {
    /// Never sends a frame.
    Silence,
    /// Settings, and nothing else.
    SettingsOnly,
    /// Settings for ever.
    EndlessSettings,
    /// Pings for ever.
    EndlessPings,
    /// Window updates for ever.
    EndlessWindowUpdates,
    /// Frames of an unknown kind for ever.
    EndlessUnknown,
    /// Priorities for ever.
    EndlessPriorities,
    /// Pushes that were not requested, for ever.
    EndlessPushes,
    /// Each stream is reset.
    ResetAll,
    /// Each stream is refused: the request may be sent again for free.
    RefuseAll,
    /// Goes away at once, with a long reason.
    GoAway,
    /// Allows no streams.
    NoStreams,
    /// `100` for ever.
    EndlessContinue,
    /// Headers without an end.
    EndlessContinuation,
    /// Small headers that unpack to many.
    HeaderBomb,
    /// The head, then empty data for ever.
    EndlessEmptyData,
    /// The head, then padding for ever.
    EndlessPadding,
    /// The head, then a byte at a time.
    DrippingBody,
    /// A body that never ends, windows or not.
    EndlessBody,
    /// An empty body.
    EmptyBody,
    /// `304` without a condition in the request.
    NotModified,
    /// Data before a head.
    DataFirst,
    /// A frame longer than allowed.
    LongFrame,
    /// No frames at all: text.
    Text,
}

impl Http2Fault {
    /// All faults.
    pub const ALL: [Self; 24] = [
        Self::Silence,
        Self::SettingsOnly,
        Self::EndlessSettings,
        Self::EndlessPings,
        Self::EndlessWindowUpdates,
        Self::EndlessUnknown,
        Self::EndlessPriorities,
        Self::EndlessPushes,
        Self::ResetAll,
        Self::RefuseAll,
        Self::GoAway,
        Self::NoStreams,
        Self::EndlessContinue,
        Self::EndlessContinuation,
        Self::HeaderBomb,
        Self::EndlessEmptyData,
        Self::EndlessPadding,
        Self::DrippingBody,
        Self::EndlessBody,
        Self::EmptyBody,
        Self::NotModified,
        Self::DataFirst,
        Self::LongFrame,
        Self::Text,
    ];
}

const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0x5a;
const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// The statuses 200 and 304, from the static table.
const OK: &[u8] = &[0x88];
const NOT_MODIFIED: &[u8] = &[0x8b];
/// `:status: 100`
const CONTINUE: &[u8] = &[0x08, 3, b'1', b'0', b'0'];
const PREFACE_BYTES: usize = 24;
const DRIP: Duration = Duration::from_millis(20);

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(super) async fn serve<S: Stream>(mut stream: S, fault: Http2Fault) -> io::Result<()> {
    use Http2Fault as F;
    let mut preface = [0; PREFACE_BYTES];
    stream.read_exact(&mut preface).await?;
    let settings = match fault {
        F::Silence => std::future::pending().await,
        F::Text => b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        F::NoStreams => frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0]),
        _ => frame(SETTINGS, 0, 0, &[]),
    };
    stream.write_all(&settings).await?;
    stream.flush().await?;
    loop {
        let (kind, flags, id, payload) = read(&mut stream).await?;
        match kind {
            SETTINGS if flags & 1 == 0 => stream.write_all(&frame(SETTINGS, 1, 0, &[])).await?,
            PING if flags & 1 == 0 => stream.write_all(&frame(PING, 1, 0, &payload)).await?,
            HEADERS => answer(&mut stream, fault, id).await?,
            _ => {}
        }
        stream.flush().await?;
    }
}

pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let [a, b, c, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await?;
    Ok((kind, flags, u32::from_be_bytes(id) & (u32::MAX >> 1), payload))
}

async fn answer<S: Stream>(stream: &mut S, fault: Http2Fault, id: u32) -> io::Result<()> {
    use Http2Fault as F;
    let head = frame(HEADERS, END_HEADERS, id, OK);
    let (first, forever) = match fault {
        F::Silence | F::SettingsOnly | F::NoStreams | F::Text => return Ok(()),
        F::ResetAll => (frame(RST_STREAM, 0, id, &2_u32.to_be_bytes()), None),
        F::RefuseAll => (frame(RST_STREAM, 0, id, &7_u32.to_be_bytes()), None),
        F::GoAway => {
            let payload = [&[0; 8][..], &b"\x1b[2J go away ".repeat(1_000)].concat();
            stream.write_all(&frame(GOAWAY, 0, 0, &payload)).await?;
            return stream.shutdown().await;
        }
        F::EmptyBody => (frame(HEADERS, END_HEADERS | END_STREAM, id, OK), None),
        F::NotModified => (frame(HEADERS, END_HEADERS | END_STREAM, id, NOT_MODIFIED), None),
        F::DataFirst => (frame(DATA, END_STREAM, id, b"bad"), None),
        F::LongFrame => (frame(DATA, 0, id, &[b'y'; 1 << 20]), None),
        F::HeaderBomb => (bomb(id), None),
        F::DrippingBody => {
            stream.write_all(&head).await?;
            loop {
                stream.write_all(&frame(DATA, 0, id, b"y")).await?;
                stream.flush().await?;
                tokio::time::sleep(DRIP).await;
            }
        }
        F::EndlessSettings => (Vec::new(), Some(frame(SETTINGS, 0, 0, &[]))),
        F::EndlessPings => (Vec::new(), Some(frame(PING, 0, 0, b"12345678"))),
        F::EndlessWindowUpdates => (Vec::new(), Some(frame(WINDOW_UPDATE, 0, id, &1_u32.to_be_bytes()))),
        F::EndlessUnknown => (Vec::new(), Some(frame(UNKNOWN, 0, id, &[b'y'; 1 << 10]))),
        F::EndlessPriorities => (Vec::new(), Some(frame(PRIORITY, 0, id + 2, &[0, 0, 0, 0, 16]))),
        F::EndlessPushes => {
            let promise = [&2_u32.to_be_bytes()[..], OK].concat();
            (Vec::new(), Some(frame(PUSH_PROMISE, END_HEADERS, id, &promise)))
        }
        F::EndlessContinue => (Vec::new(), Some(frame(HEADERS, END_HEADERS, id, CONTINUE))),
        F::EndlessContinuation => (frame(HEADERS, 0, id, OK), Some(frame(CONTINUATION, 0, id, &field(0)))),
        F::EndlessEmptyData => (head, Some(frame(DATA, 0, id, &[]))),
        F::EndlessPadding => (head, Some(frame(DATA, PADDED, id, &[&[255][..], &[0; 255]].concat()))),
        F::EndlessBody => (head, Some(frame(DATA, 0, id, &[b'y'; 16 << 10]))),
    };
    stream.write_all(&first).await?;
    if let Some(piece) = forever {
        let pieces = piece.repeat(1 + (8 << 10) / piece.len());
        endless(stream, &pieces).await;
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    Ok(())
}

/// Encodes a header that is not indexed.
pub(super) fn field(number: u8) -> Vec<u8> {
    [&[0, 2, b'x', b'a' + number % 26, 32][..], &[b'y'; 32]].concat()
}

/// Puts one header of 4,000 bytes into the dynamic table, and then thousands of references to it: 16 KB that unpack to
/// 60 MB.
pub(super) fn bomb(id: u32) -> Vec<u8> {
    // Literal with incremental indexing; its length 4,000 as a prefix of seven bits and two more bytes.
    let mut block = [OK, &[0x40, 1, b'x', 0x7f, 0xa1, 0x1e], &[b'y'; 4_000]].concat();
    // The first entry of the dynamic table.
    block.resize(16 << 10, 0xbe);
    frame(HEADERS, END_HEADERS, id, &block)
}
