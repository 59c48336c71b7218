use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// Repeats a piece until the client closes the connection.
pub(super) async fn endless<S: Stream>(stream: &mut S, piece: &[u8]) {
    while stream.write_all(piece).await.is_ok() && stream.flush().await.is_ok() {
        // Lets the other tasks of this thread run.
        tokio::task::yield_now().await;
    }
}
