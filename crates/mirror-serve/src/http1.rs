//! Connections over HTTP/1.1.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::client::Client;

/// Serves requests until the client closes the connection.
pub(crate) async fn serve(
    client: Arc<Client>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<()> {
    let (limits, stop) = (client.limits, client.stop.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let client = Arc::clone(&client);
        async move {
            let (head, _) = request.into_parts();
            Ok::<_, Infallible>(client.answer(&head).await)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        // A clock before 1970 has no date for headers.
        .auto_date_header(SystemTime::now() >= SystemTime::UNIX_EPOCH)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes.max(8 << 10))
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}
