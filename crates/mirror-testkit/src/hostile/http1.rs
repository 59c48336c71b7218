//! Broken HTTP/1.1.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::stream::{Stream, endless};

/// The fault of an answer of HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http1Fault {
    /// Reads the request and closes.
    Close,
    /// Reads the request and answers nothing.
    Silence,
    /// `100 Continue` for ever.
    EndlessContinue,
    /// `103 Early Hints` with long headers for ever.
    EndlessHints,
    /// A status line that never ends.
    EndlessStatusLine,
    /// A header line that never ends.
    EndlessHeaderLine,
    /// Headers that never end.
    EndlessHeaders,
    /// The head, a byte at a time.
    DrippingHead,
    /// The body, a byte at a time.
    DrippingBody,
    /// Long headers around bytes that are wrong.
    LongHeaders,
    /// A body without length that never ends.
    EndlessBody,
    /// A chunked body that never ends.
    EndlessChunks,
    /// A chunk extension that never ends.
    EndlessExtension,
    /// Trailers that never end.
    EndlessTrailers,
    /// A body announced as larger than any.
    HugeLength,
    /// Two lengths.
    TwoLengths,
    /// A length, and chunks.
    LengthAndChunks,
    /// A length that is no number.
    BadLength,
    /// A chunk length that is none.
    BadChunk,
    /// Half a body.
    HalfBody,
    /// An empty body.
    EmptyBody,
    /// `304` without a condition in the request.
    NotModified,
    /// `206` without a range in the request.
    Partial,
    /// `204`.
    NoContent,
    /// Another body.
    WrongBody,
    /// The wrong body, followed by a second answer.
    TwoAnswers,
    /// A content encoding that was not requested.
    Gzip,
    /// A redirect to itself.
    RedirectToItself,
    /// A redirect with a `Location` of 60 KB.
    LongLocation,
    /// A redirect to a file of this machine.
    RedirectToFile,
    /// `429`, again and again.
    ComeBack,
    /// HTTP/0.9, no head at all.
    NoHead,
    /// Terminal escapes wherever a peer can put text.
    Escapes,
    /// A protocol switch that was not requested.
    Switching,
}

impl Http1Fault {
    /// All faults.
    pub const ALL: [Self; 34] = [
        Self::Close,
        Self::Silence,
        Self::EndlessContinue,
        Self::EndlessHints,
        Self::EndlessStatusLine,
        Self::EndlessHeaderLine,
        Self::EndlessHeaders,
        Self::DrippingHead,
        Self::DrippingBody,
        Self::LongHeaders,
        Self::EndlessBody,
        Self::EndlessChunks,
        Self::EndlessExtension,
        Self::EndlessTrailers,
        Self::HugeLength,
        Self::TwoLengths,
        Self::LengthAndChunks,
        Self::BadLength,
        Self::BadChunk,
        Self::HalfBody,
        Self::EmptyBody,
        Self::NotModified,
        Self::Partial,
        Self::NoContent,
        Self::WrongBody,
        Self::TwoAnswers,
        Self::Gzip,
        Self::RedirectToItself,
        Self::LongLocation,
        Self::RedirectToFile,
        Self::ComeBack,
        Self::NoHead,
        Self::Escapes,
        Self::Switching,
    ];
}

/// The part after the head of an answer.
enum Rest {
    /// The next request is answered on the same connection.
    Nothing,
    /// The connection is closed.
    End,
    /// The connection stays open, and nothing comes.
    Silence,
    /// This piece for ever.
    Endless(Vec<u8>),
    /// This piece, a byte at a time, for ever.
    Drip(&'static [u8]),
}

const DRIP: Duration = Duration::from_millis(20);

pub(super) async fn serve<S: Stream>(mut stream: S, fault: Http1Fault) -> io::Result<()> {
    loop {
        let path = request(&mut stream).await?;
        let (head, rest) = answer(fault, &path);
        stream.write_all(&head).await?;
        stream.flush().await?;
        match rest {
            Rest::Nothing => {}
            Rest::End => return stream.shutdown().await,
            Rest::Silence => std::future::pending().await,
            Rest::Endless(piece) => {
                endless(&mut stream, &piece).await;
                return Ok(());
            }
            Rest::Drip(piece) => loop {
                for byte in piece {
                    stream.write_all(&[*byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(DRIP).await;
                }
            },
        }
    }
}

/// Reads the head of a request; returns its path.
async fn request<S: Stream>(stream: &mut S) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
        if head.len() > 64 << 10 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let head = String::from_utf8_lossy(&head);
    Ok(head.split(' ').nth(1).unwrap_or("/").to_owned())
}

fn answer(fault: Http1Fault, path: &str) -> (Vec<u8>, Rest) {
    use Http1Fault as F;
    let ok =
        |headers: &str, body: &[u8]| [format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes(), body].concat();
    let bare = |text: &str| text.as_bytes().to_vec();
    let status = |line: &str| format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    let long = "y".repeat(28_000);
    let endless = |text: &str| Rest::Endless(text.as_bytes().repeat(1 + (8 << 10) / text.len()));
    match fault {
        F::Close => (Vec::new(), Rest::End),
        F::Silence => (Vec::new(), Rest::Silence),
        F::EndlessContinue => (Vec::new(), endless("HTTP/1.1 100 Continue\r\n\r\n")),
        F::EndlessHints => {
            (Vec::new(), endless(&format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", &long[..4_000])))
        }
        F::EndlessStatusLine => (bare("HTTP/1.1 200 "), endless("very well ")),
        F::EndlessHeaderLine => (bare("HTTP/1.1 200 OK\r\nX: "), endless("yyyyyyyyyyyyyyyy")),
        F::EndlessHeaders => (bare("HTTP/1.1 200 OK\r\n"), endless("X-Flood: yyyyyyyyyyyyyyyy\r\n")),
        F::DrippingHead => (bare("HTTP/1.1 200 OK\r\n"), Rest::Drip(b"X: y\r\n")),
        F::DrippingBody => (ok("Content-Length: 100000\r\n", b""), Rest::Drip(b"y")),
        F::LongHeaders => {
            let headers = format!("Content-Length: 3\r\nETag: \"{long}\"\r\nContent-Type: {long}\r\n");
            (ok(&headers, b"bad"), Rest::Nothing)
        }
        F::EndlessBody => (ok("", b""), endless("yyyyyyyyyyyyyyyy")),
        F::EndlessChunks => {
            (ok("Transfer-Encoding: chunked\r\n", b""), endless("10\r\nyyyyyyyyyyyyyyyy\r\n"))
        }
        F::EndlessExtension => (ok("Transfer-Encoding: chunked\r\n", b"10;x="), endless("yyyyyyyyyyyyyyyy")),
        F::EndlessTrailers => {
            (ok("Transfer-Encoding: chunked\r\n", b"1\r\ny\r\n0\r\n"), endless("X-Flood: yyyyyyyy\r\n"))
        }
        F::HugeLength => (ok("Content-Length: 9223372036854775807\r\n", b""), endless("yyyyyyyyyyyyyyyy")),
        F::TwoLengths => (ok("Content-Length: 3\r\nContent-Length: 4\r\n", b"bad!"), Rest::Silence),
        F::LengthAndChunks => (
            ok("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"3\r\nbad\r\n0\r\n\r\n"),
            Rest::Silence,
        ),
        F::BadLength => (ok("Content-Length: -3\r\n", b"bad"), Rest::Silence),
        F::BadChunk => (ok("Transfer-Encoding: chunked\r\n", b"ffffffffffffffffff\r\nbad"), Rest::Silence),
        F::HalfBody => (ok("Content-Length: 1000\r\n", b"bad"), Rest::End),
        F::EmptyBody => (ok("Content-Length: 0\r\n", b""), Rest::Nothing),
        F::NotModified => (bare("HTTP/1.1 304 Not Modified\r\nETag: \"kept\"\r\n\r\n"), Rest::Nothing),
        F::Partial => {
            let headers =
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2/3\r\nContent-Length: 3\r\n\r\nbad";
            (bare(headers), Rest::Nothing)
        }
        F::NoContent => (bare("HTTP/1.1 204 No Content\r\n\r\n"), Rest::Nothing),
        F::WrongBody => (ok("Content-Length: 3\r\n", b"bad"), Rest::Nothing),
        F::TwoAnswers => {
            let twice = [ok("Content-Length: 3\r\n", b"bad"), ok("Content-Length: 3\r\n", b"two")].concat();
            (twice, Rest::Nothing)
        }
        F::Gzip => (ok("Content-Encoding: gzip\r\nContent-Length: 3\r\n", b"bad"), Rest::Nothing),
        F::RedirectToItself => (status(&format!("302 Found\r\nLocation: {path}")), Rest::Nothing),
        F::LongLocation => (status(&format!("302 Found\r\nLocation: /{long}{long}")), Rest::Nothing),
        F::RedirectToFile => (status("302 Found\r\nLocation: file:///etc/passwd"), Rest::Nothing),
        F::ComeBack => (status("429 Later\r\nRetry-After: 1"), Rest::Nothing),
        F::NoHead => (bare("<html>welcome</html>\n"), Rest::End),
        F::Escapes => {
            let evil = "\u{1b}[2J\u{7}\u{202e}\t";
            let headers = format!(
                "Content-Length: 3\r\nContent-Type: {}\r\nContent-Encoding: x{}\r\n",
                &evil[1..4],
                &evil[5..]
            );
            (ok(&headers, b"bad"), Rest::Nothing)
        }
        F::Switching => (
            bare("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            Rest::Silence,
        ),
    }
}
