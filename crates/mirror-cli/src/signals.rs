//! SIGINT and SIGTERM stop a run cleanly; a second one ends the program at once, which is safe
//! too: nothing has a final name before it is whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mirror_types::ExitStatus;

/// Remembers which signal came.
#[derive(Debug, Clone, Default)]
pub struct Signals(Arc<AtomicU8>);

impl Signals {
    /// Returns the exit code of a run that ended like this: when it was stopped, it tells by which signal.
    #[must_use]
    pub fn exit_code(&self, status: ExitStatus) -> u8 {
        match self.0.load(Ordering::Relaxed) {
            number if number > 0 && status == ExitStatus::Interrupted => 128 + number,
            _ => status.code(),
        }
    }
}

/// Starts to watch, on a thread of its own. The first signal is logged with `stopping`, which says what
/// becomes of what is under way, and calls `stop`.
///
/// # Errors
/// When the thread cannot be started.
pub fn watch(stopping: &'static str, stop: impl FnOnce() + Send + 'static) -> std::io::Result<Signals> {
    let signals = Signals::default();
    let seen = signals.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (ready, waiting) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let mut incoming = Incoming::new();
            let _ = ready.send(());
            let number = incoming.next().await;
            seen.0.store(number, Ordering::Relaxed);
            // First what it asks for: a log that hangs must not keep the run going.
            stop();
            std::thread::spawn(move || tracing::warn!("{stopping}; again to stop at once"));
            let number = incoming.next().await;
            #[expect(clippy::exit, reason = "a second signal asks for just that")]
            std::process::exit(128 + i32::from(number));
        });
    })?;
    // From here on a signal no longer kills.
    let _ = waiting.recv();
    Ok(signals)
}

#[cfg(unix)]
struct Incoming(Option<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)>);

#[cfg(unix)]
impl Incoming {
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
struct Incoming;

#[cfg(not(unix))]
impl Incoming {
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

#[cfg(test)]
mod tests {
    use super::*;
    use ExitStatus as E;

    #[test]
    fn only_a_run_that_was_stopped_tells_the_signal() {
        let signals = Signals::default();
        assert_eq!((signals.exit_code(E::Complete), signals.exit_code(E::Interrupted)), (0, 130));
        signals.0.store(15, Ordering::Relaxed);
        assert_eq!(
            (
                signals.exit_code(E::Complete),
                signals.exit_code(E::Records),
                signals.exit_code(E::Interrupted)
            ),
            (0, 3, 143)
        );
    }
}
