//! SIGINT and SIGTERM stop the run cleanly: temporary files go. A second one ends the program at
//! once: nothing has a final name before it is whole, and the next run removes what is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mirror_archive::Monitor;

/// Remembers which signal came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<AtomicU8>);

impl Watch {
    /// The number of the signal that stopped the run.
    pub(crate) fn received(&self) -> Option<u8> {
        Some(self.0.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }
}

/// Starts to watch, on a thread of its own.
pub(crate) fn watch(monitor: Arc<Monitor>) -> std::io::Result<Watch> {
    let watch = Watch::default();
    let seen = watch.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (ready, waiting) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let mut signals = Signals::new();
            let _ = ready.send(());
            let number = signals.next().await;
            seen.0.store(number, Ordering::Relaxed);
            tracing::warn!("stopping; again to stop at once");
            monitor.cancel();
            let number = signals.next().await;
            #[expect(clippy::exit, reason = "a second signal asks for just that")]
            std::process::exit(128 + i32::from(number));
        });
    })?;
    // From here on a signal no longer kills.
    let _ = waiting.recv();
    Ok(watch)
}

#[cfg(unix)]
struct Signals(Option<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)>);

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self(signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?))).ok())
    }

    async fn next(&mut self) -> u8 {
        let Some((interrupt, terminate)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) -> u8 {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        2
    }
}
