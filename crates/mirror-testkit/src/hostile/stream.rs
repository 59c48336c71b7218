use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// Sends the same again and again, until the client has enough.
pub(super) async fn endless<S: Stream>(stream: &mut S, piece: &[u8]) {
    while stream.write_all(piece).await.is_ok() && stream.flush().await.is_ok() {
        // Others of this thread have their turn.
        tokio::task::yield_now().await;
    }
}
