//! A thread with a runtime of its own.

use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

/// Runs tasks on a thread of their own, until it is dropped.
pub(super) struct Worker {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts `work`, which ends once its token is cancelled. Tasks that it spawned end with it.
    ///
    /// # Panics
    /// On its own thread, when there is no runtime to be had: this is test code.
    pub(super) fn start(work: impl AsyncFnOnce(CancellationToken) + Send + 'static) -> Self {
        let stop = CancellationToken::new();
        let token = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(work(token));
            runtime.shutdown_background();
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
