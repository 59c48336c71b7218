//! The driver: many requests in one task, and hedges for the last of them.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::answer::Fetched;
use crate::failure::Failure;
use crate::hash_batcher::HashBatcher;
use crate::pool::NO_SLOT;
use crate::request::FetchRequest;
use crate::shared::Core;

/// Finished requests that may wait for the receiver before no more jobs are taken.
const MAX_WAITING_RESULTS: usize = 16;
/// The number of last requests that are hedged.
const HEDGED_REQUESTS: usize = 16;
const TICK: Duration = Duration::from_millis(250);
const HEDGE_AFTER: Duration = Duration::from_secs(2);

/// The end of a run of the fetcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum RunEnd {
    /// Every job has its result, or the receiver was closed.
    Done,
    /// No origin answered any more, for so many requests and so long that it was pointless to continue. Jobs in
    /// progress have no result.
    Silent,
}

type Outcome = Result<Fetched, Failure>;

/// A request in progress, possibly with a hedge.
struct Flight<T> {
    job: T,
    shared: Arc<Shared>,
    began: Instant,
    copies: u8,
    /// A request is hedged only once: a failing one must end.
    hedged: bool,
}

struct Shared {
    req: FetchRequest,
    slot: AtomicUsize,
}

/// The state of the driver's loop.
struct Driver<'a, T, F> {
    flights: HashMap<u64, Flight<T>>,
    running: FuturesUnordered<F>,
    outbox: VecDeque<(T, Outcome)>,
    results: &'a mpsc::Sender<(T, Outcome)>,
    /// The smoothed duration of a request.
    typical: Duration,
}

async fn one(
    core: Arc<Core>,
    batcher: Arc<HashBatcher>,
    id: u64,
    shared: Arc<Shared>,
    hedge: bool,
) -> (u64, Outcome) {
    (id, crate::retry::fetch(&core, &shared.req, &shared.slot, hedge, Some(&batcher)).await)
}

impl<T: Send + 'static, F: Future<Output = (u64, Outcome)>> Driver<'_, T, F> {
    /// Takes an outcome. Returns `false` when the receiver is closed.
    fn finish(&mut self, id: u64, outcome: Outcome) -> bool {
        let Some(flight) = self.flights.get_mut(&id) else { return true };
        flight.copies -= 1;
        if outcome.is_err() && flight.copies > 0 {
            return true;
        }
        let Some(flight) = self.flights.remove(&id) else { return true };
        if outcome.is_ok() {
            self.typical = (self.typical * 7 + flight.began.elapsed()) / 8;
        }
        let result = (flight.job, outcome);
        if !self.outbox.is_empty() {
            self.outbox.push_back(result);
            return true;
        }
        match self.results.try_send(result) {
            Ok(()) => true,
            Err(TrySendError::Full(result)) => {
                self.outbox.push_back(result);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }

    /// Starts a second copy of a request that takes far longer than usual.
    fn hedge(&mut self, start: impl Fn(u64, Arc<Shared>, bool) -> F) {
        if self.flights.len() > HEDGED_REQUESTS {
            return;
        }
        let patience = HEDGE_AFTER.max(self.typical * 4);
        for (id, flight) in &mut self.flights {
            if !flight.hedged && flight.began.elapsed() > patience {
                flight.hedged = true;
                flight.copies += 1;
                self.running.push(start(*id, Arc::clone(&flight.shared), true));
            }
        }
    }
}

pub(crate) async fn run<T: Send + 'static>(
    core: &Arc<Core>,
    mut jobs: mpsc::Receiver<(T, FetchRequest)>,
    results: mpsc::Sender<(T, Outcome)>,
    cancel: CancellationToken,
) -> RunEnd {
    let batcher = Arc::new(HashBatcher::default());
    let start = |id, shared, hedge| one(Arc::clone(core), Arc::clone(&batcher), id, shared, hedge);
    let mut driver = Driver {
        flights: HashMap::new(),
        running: FuturesUnordered::new(),
        outbox: VecDeque::new(),
        results: &results,
        typical: Duration::ZERO,
    };
    let mut open = true;
    let mut next_id = 0;
    let mut cancelled = pin!(cancel.cancelled());
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (flying, waiting) = (driver.flights.len(), driver.outbox.len());
        if !open && flying == 0 && waiting == 0 {
            return RunEnd::Done;
        }
        let room = open && waiting < MAX_WAITING_RESULTS && flying < core.limiter.current();
        tokio::select! {
            biased;
            () = &mut cancelled => return RunEnd::Done,
            permit = results.reserve(), if waiting > 0 => {
                let Ok(permit) = permit else { return RunEnd::Done };
                if let Some(result) = driver.outbox.pop_front() {
                    permit.send(result);
                }
            }
            Some((id, outcome)) = driver.running.next(), if !driver.running.is_empty() => {
                if !driver.finish(id, outcome) {
                    return RunEnd::Done;
                }
            }
            // Below the branch that fills the batcher: `idle` must be polled after it.
            () = batcher.idle() => batcher.flush(),
            job = jobs.recv(), if room => match job {
                None => open = false,
                Some((job, req)) => {
                    let shared = Arc::new(Shared { req, slot: AtomicUsize::new(NO_SLOT) });
                    let flight = Flight { job, shared: Arc::clone(&shared), began: Instant::now(), copies: 1, hedged: false };
                    driver.flights.insert(next_id, flight);
                    driver.running.push(start(next_id, shared, false));
                    next_id += 1;
                }
            },
            _ = tick.tick(), if flying > 0 => {
                if core.silence.is_hopeless(Instant::now()) {
                    tracing::warn!("nobody answers any more; the downloads are given up");
                    return RunEnd::Silent;
                }
                if !open {
                    driver.hedge(start);
                }
            }
        }
    }
}
