//! A thread with a runtime of its own.

use std::net::TcpListener as StdListener;
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

/// Runs tasks on a thread of their own, until it is dropped.
pub(crate) struct Worker {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts `work`, which ends once its token is cancelled. Tasks that it spawns run on the same thread, and end with
    /// it.
    ///
    /// # Panics
    /// On its own thread, when no runtime can be made: this is test code.
    pub(crate) fn start(work: impl AsyncFnOnce(CancellationToken) + Send + 'static) -> Self {
        Self::start_on(Builder::new_current_thread(), work)
    }

    /// Starts `work`, with `threads` more for the tasks that it spawns.
    ///
    /// # Panics
    /// As for [`Worker::start`].
    pub(crate) fn start_with(
        threads: usize,
        work: impl AsyncFnOnce(CancellationToken) + Send + 'static,
    ) -> Self {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads);
        Self::start_on(builder, work)
    }

    fn start_on(mut builder: Builder, work: impl AsyncFnOnce(CancellationToken) + Send + 'static) -> Self {
        let stop = CancellationToken::new();
        let token = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = builder.enable_all().build().expect("runtime");
            runtime.block_on(work(token));
            runtime.shutdown_background();
        });
        Self { stop, thread: Some(thread) }
    }
}

/// Spawns a task for every connection, which `serve` makes, until `stop` is cancelled.
///
/// # Panics
/// When the runtime does not take the listener: this is test code.
pub(crate) async fn accept_each<Task: Future<Output = ()> + Send + 'static>(
    listener: StdListener,
    stop: &CancellationToken,
    mut serve: impl FnMut(TcpStream) -> Task,
) {
    let listener = TcpListener::from_std(listener).expect("listener");
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((tcp, _)) = accepted else { continue };
        tokio::spawn(serve(tcp));
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
