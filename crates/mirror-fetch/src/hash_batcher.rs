//! The hash batcher: small bodies wait for each other to be hashed together, which takes half the time.

use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use mirror_types::Sha256;
use tokio::sync::oneshot;

/// Bodies that are hashed together: more than the processor hashes at once, since their lengths differ.
const BATCH_BODIES: usize = 12;

/// A body, and the channel on which its checksum is awaited.
type Pending = (Bytes, oneshot::Sender<(Bytes, Sha256)>);

/// Small bodies of one driver. They wait until there are enough of them, or until the driver has nothing else to do,
/// which it checks at each turn; they never wait for the network.
#[derive(Default)]
pub(crate) struct HashBatcher(Mutex<Vec<Pending>>);

impl HashBatcher {
    /// Returns the body and its checksum; `None` when the batcher was dropped.
    pub(crate) async fn hash(&self, body: Bytes) -> Option<(Bytes, Sha256)> {
        let (answer, sum) = oneshot::channel();
        let count = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push((body, answer));
            waiting.len()
        };
        if count >= BATCH_BODIES {
            self.flush();
        }
        sum.await.ok()
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Completes one turn after a body arrived to be hashed, so that all bodies that were ready by then are included.
    /// Must be polled by the task that polls the callers of [`hash`](Self::hash), and after them: they do not wake it.
    pub(crate) async fn idle(&self) {
        poll_fn(|_| if self.is_empty() { Poll::Pending } else { Poll::Ready(()) }).await;
        tokio::task::yield_now().await;
    }

    /// Hashes the pending bodies.
    pub(crate) fn flush(&self) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let bodies: Vec<&[u8]> = waiting.iter().map(|(body, _)| &body[..]).collect();
        let sums = mirror_checksum::each(&bodies);
        for ((body, answer), sum) in waiting.into_iter().zip(sums) {
            // The receiver of a cancelled request is gone.
            let _ = answer.send((body, sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn enough_of_them_are_hashed_at_once_and_fewer_when_asked() {
        let batcher = HashBatcher::default();
        let body = |i: usize| Bytes::from(vec![0xa5; 1_000 + 100 * i]);
        let right = |i: usize, answer: Option<(Bytes, Sha256)>| {
            let (got, sum) = answer.expect("hashed, and alive");
            assert_eq!((got, sum), (body(i), mirror_checksum::each(&[&body(i)])[0]));
        };
        let mut hashes: Vec<_> =
            (0..BATCH_BODIES + 2).map(|i| Some(Box::pin(batcher.hash(body(i))))).collect();
        let mut poll = |i: usize| hashes[i].as_mut().expect("kept").now_or_never();
        for i in 0..BATCH_BODIES - 1 {
            assert!(poll(i).is_none(), "{i}");
        }
        // The last body completes the batch.
        right(BATCH_BODIES - 1, poll(BATCH_BODIES - 1).flatten());
        (0..BATCH_BODIES - 1).for_each(|i| right(i, poll(i).flatten()));
        assert!(batcher.is_empty());
        // A cancelled body does no harm.
        assert!(poll(BATCH_BODIES).is_none());
        assert!(poll(BATCH_BODIES + 1).is_none());
        hashes[BATCH_BODIES] = None;
        assert!(!batcher.is_empty());
        batcher.flush();
        right(BATCH_BODIES + 1, hashes[BATCH_BODIES + 1].as_mut().expect("kept").now_or_never().flatten());
    }

    #[tokio::test]
    async fn a_single_body_is_hashed_when_there_is_nothing_else_to_do() {
        let batcher = HashBatcher::default();
        let mut hash = Box::pin(batcher.hash(Bytes::from_static(b"abc")));
        let mut idle = Box::pin(batcher.idle());
        // There is no body when the wait begins.
        assert!((&mut idle).now_or_never().is_none());
        let (_, sum) = loop {
            tokio::select! {
                biased;
                done = &mut hash => break done.expect("alive"),
                () = &mut idle => batcher.flush(),
            }
        };
        assert_eq!(sum.to_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_driver_that_ends_leaves_no_caller_waiting() {
        let batcher = HashBatcher::default();
        let (answer, sum) = oneshot::channel();
        batcher.0.lock().expect("lock").push((Bytes::new(), answer));
        drop(batcher);
        assert!(sum.now_or_never().expect("answered").is_err());
    }
}
