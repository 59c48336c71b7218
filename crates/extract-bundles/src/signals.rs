//! SIGINT and SIGTERM stop the run cleanly; a second one ends the program at once, which is safe
//! too: nothing has a final name before it is whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;

/// Remembers which signal came.
#[derive(Clone)]
pub(crate) struct Watch(Arc<AtomicU8>);

impl Watch {
    /// The number of the signal that stopped the run.
    pub(crate) fn received(&self) -> Option<u8> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            number => Some(number),
        }
    }
}

/// Starts to watch. Inside a runtime.
pub(crate) fn watch(cancel: CancellationToken) -> Watch {
    let seen = Watch(Arc::new(AtomicU8::new(0)));
    let watch = seen.clone();
    tokio::spawn(async move {
        let number = next().await;
        seen.0.store(number, Ordering::Relaxed);
        tracing::warn!("stopping: what is under way is committed; again to stop at once");
        cancel.cancel();
        let number = next().await;
        #[expect(clippy::exit, reason = "a second signal asks for just that")]
        std::process::exit(128 + i32::from(number));
    });
    watch
}

#[cfg(unix)]
async fn next() -> u8 {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    }
}

#[cfg(not(unix))]
async fn next() -> u8 {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
    2
}
