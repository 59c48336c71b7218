//! Connections over HTTP/2. A body is read only as far as its stream and its connection can take it at the moment.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Request, header};
use mirror_listen::EventStream;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::ServeBody;
use crate::client::Client;
use crate::seats::MIN_PROGRESS_BYTES;

/// The time after which a stream that makes no progress frees its memory.
const REST_AFTER: Duration = Duration::from_secs(1);
/// Most bytes of a stream that wait for the socket.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// Serves requests until the client closes the connection.
pub(crate) async fn serve(
    client: Arc<Client>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(), h2::Error> {
    let limits = client.limits;
    let mut connection = Builder::new()
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .handshake::<_, Bytes>(stream)
        .await?;
    let mut stopping = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                None => return Ok(()),
                Some(asked) => {
                    let (request, respond) = asked?;
                    tokio::spawn(answer(Arc::clone(&client), request, respond));
                }
            },
            () = client.stop.cancelled(), if !stopping => {
                stopping = true;
                connection.graceful_shutdown();
            }
        }
    }
}

/// Answers one request. The end of the connection ends it, too.
async fn answer(client: Arc<Client>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (head, body) = request.into_parts();
    drop(body);
    let asked = Arc::clone(&client);
    // Boxed: it is large, and finished long before the last byte is sent.
    let answer = Box::pin(async move { asked.answer(&head).await });
    let answer = tokio::select! {
        answer = answer => answer,
        _ = poll_fn(|context| respond.poll_reset(context)) => return,
    };
    let (mut head, body) = answer.into_parts();
    if let Some(date) = date() {
        head.headers.insert(header::DATE, date);
    }
    let is_empty = body.left() == Some(0);
    let Ok(stream) = respond.send_response(http::Response::from_parts(head, ()), is_empty) else { return };
    let all_sent = match body {
        _ if is_empty => true,
        ServeBody::Events(events) => send_events(&client, stream, events).await,
        body => send(&client, stream, body).await,
    };
    if all_sent {
        client.seat().moved(MIN_PROGRESS_BYTES);
    }
}

/// Returns the time in the form of headers; a clock before 1970 has none.
fn date() -> Option<HeaderValue> {
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    HeaderValue::try_from(httpdate::fmt_http_date(now)).ok()
}

/// Sends a body; returns false when it is not sent to its end.
async fn send(client: &Client, mut stream: SendStream<Bytes>, mut body: ServeBody) -> bool {
    let mut begun = false;
    while let Some(left) = body.left().filter(|left| *left > 0) {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(SEND_BUFFER_BYTES);
        stream.reserve_capacity(wanted);
        let room = match stream.capacity() {
            0 => {
                let patience = if begun { REST_AFTER } else { Duration::ZERO };
                room(&mut stream, &mut body, patience, client.limits.idle_time).await
            }
            room => Some(room),
        };
        let Some(room) = room else {
            stream.send_reset(Reason::CANCEL);
            return false;
        };
        let Ok(piece) = body.next(room).await else {
            stream.send_reset(Reason::INTERNAL_ERROR);
            return false;
        };
        let bytes = piece.len() as u64;
        // A body that ends too early must not look complete.
        if bytes == 0 || stream.send_data(piece, body.left() == Some(0)).is_err() {
            stream.send_reset(Reason::INTERNAL_ERROR);
            return false;
        }
        client.seat().moved(bytes);
        begun = true;
    }
    true
}

/// Sends events as they come; returns false when their reader is gone or takes nothing. Reserves room only for what there
/// is to send: other streams of the connection need it meanwhile.
async fn send_events(client: &Client, mut stream: SendStream<Bytes>, mut events: EventStream) -> bool {
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = poll_fn(|context| stream.poll_reset(context)) => return false,
        };
        let Some(mut event) = event else { return stream.send_data(Bytes::new(), true).is_ok() };
        while !event.is_empty() {
            stream.reserve_capacity(event.len());
            let room = match stream.capacity() {
                0 => {
                    let capacity = poll_fn(|context| stream.poll_capacity(context));
                    tokio::time::timeout(client.limits.idle_time, capacity).await.ok().flatten()
                }
                room => Some(Ok(room)),
            };
            let Some(Ok(room)) = room else {
                stream.send_reset(Reason::CANCEL);
                return false;
            };
            let piece = event.split_to(room.min(event.len()));
            let bytes = piece.len() as u64;
            if stream.send_data(piece, false).is_err() {
                return false;
            }
            client.seat().moved(bytes);
        }
    }
}

/// Waits until the stream can take bytes. Frees the body's memory after `patience`; `None` when the stream takes
/// nothing within `idle_time`, or is gone.
async fn room(
    stream: &mut SendStream<Bytes>,
    body: &mut ServeBody,
    patience: Duration,
    idle_time: Duration,
) -> Option<usize> {
    let mut capacity = poll_fn(|context| stream.poll_capacity(context));
    let soon = tokio::time::timeout(patience, &mut capacity).await;
    let known = match soon {
        Ok(known) => known,
        Err(_) => {
            body.rest();
            tokio::time::timeout(idle_time, &mut capacity).await.ok()?
        }
    };
    known?.ok()
}
