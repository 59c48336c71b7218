//! Supervises work that may hang: it ends when the caller wants it or when nothing has moved for too long, whatever it
//! waits for.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gix::progress::prodash::Unit;
use gix::progress::{Count, Id, MessageLevel, NestedProgress, Progress, Step, StepShared};

use super::options::{UpdateObserver, UpdatePhase, UpdateStatus};

/// The interval between two checks.
const TICK: Duration = Duration::from_millis(50);
/// The time that work may take to stop when asked. After that it is abandoned: it writes only into a directory of its
/// own.
const GRACE: Duration = Duration::from_secs(1);

/// At the beginning of a fetch its remote counts and compresses, and reports that: signs of life as good as bytes, but
/// only for this long.
const PREPARING: Duration = Duration::from_secs(900);

/// The time that supervised work may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The longest time without any movement.
    pub(crate) idle: Duration,
    /// The end of the time for all of it.
    pub(crate) until: Option<Instant>,
}

/// The reason why supervised work returned no result.
#[derive(Debug)]
pub(crate) enum Halt {
    Stopped,
    Stalled(Duration),
    /// The work moved, but did not finish.
    Endless,
    Broken(String),
}

/// Runs `work` on a thread of its own.
pub(crate) fn supervised<T: Send + 'static>(
    observer: &dyn UpdateObserver,
    patience: Patience,
    work: impl FnOnce(&Meter, &AtomicBool) -> T + Send + 'static,
) -> Result<T, Halt> {
    let (meter, interrupt) = (Meter::default(), Arc::new(AtomicBool::new(false)));
    let (done, result) = sync_channel(1);
    let (seen, flag) = (meter.clone(), interrupt.clone());
    std::thread::Builder::new()
        .name("update-index".to_owned())
        .spawn(move || {
            let _ = done.send(work(&seen, &flag));
        })
        .map_err(|error| Halt::Broken(format!("no thread could be started: {error}")))?;
    let began = Instant::now();
    let (mut beat, mut moved) = (0, began);
    let halt = loop {
        match result.recv_timeout(TICK) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Halt::Broken("its thread ended without a result".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = meter.beat(began.elapsed() < PREPARING);
        if now != beat {
            (beat, moved) = (now, Instant::now());
        }
        observer.status(&meter.status());
        if observer.stopped() {
            break Halt::Stopped;
        }
        if moved.elapsed() >= patience.idle {
            break Halt::Stalled(patience.idle);
        }
        if patience.until.is_some_and(|until| Instant::now() >= until) {
            break Halt::Endless;
        }
    };
    interrupt.store(true, Relaxed);
    let _ = result.recv_timeout(GRACE);
    Err(halt)
}

/// The progress that gix reports.
#[derive(Clone, Default)]
pub(crate) struct Meter(Arc<Counters>);

#[derive(Default)]
struct Counters {
    children: Mutex<Vec<Child>>,
    /// Signs of life that are no numbers: names, messages.
    signs: AtomicU64,
    /// Trees that were read, a number that is bounded.
    listed: AtomicU64,
    packing: AtomicBool,
}

struct Child {
    id: Id,
    step: StepShared,
    max: Arc<AtomicUsize>,
}

/// The names that gix-pack uses in its progress.
pub(super) const READ_BYTES: Id = *b"BWRB";
pub(super) const READ_OBJECTS: Id = *b"IWIO";
const RESOLVED_OBJECTS: Id = *b"IWRO";

impl Meter {
    /// Returns a value that changes whenever anything moves: parts of the pack, and trees that are read. Messages of
    /// the remote count while it prepares; while packs are combined, there is no remote.
    fn beat(&self, preparing: bool) -> u64 {
        let all = preparing || self.0.packing.load(Relaxed);
        let counts = |id| all || matches!(id, READ_BYTES | READ_OBJECTS | RESOLVED_OBJECTS);
        let children = self.0.children.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = children.iter().filter(|child| counts(child.id));
        let steps = counted.map(|child| child.step.load(Relaxed)).fold(0, usize::wrapping_add);
        let signs = if all { self.0.signs.load(Relaxed) } else { 0 };
        (steps as u64).wrapping_add(signs).wrapping_add(self.0.listed.load(Relaxed))
    }

    fn sum(&self, id: Id) -> (u64, Option<u64>) {
        let children = self.0.children.lock().unwrap_or_else(PoisonError::into_inner);
        let of = children.iter().filter(|child| child.id == id);
        let (done, max) = of.fold((0, 0), |(done, max), child| {
            (done + child.step.load(Relaxed), max + child.max.load(Relaxed))
        });
        (done as u64, (max > 0).then_some(max as u64))
    }

    /// Returns the bytes and the objects of the pack received so far.
    pub(crate) fn received(&self) -> (u64, u64) {
        (self.sum(READ_BYTES).0, self.sum(READ_OBJECTS).0)
    }

    /// Shows packing as the phase from now on.
    pub(crate) fn packing(&self) {
        self.0.packing.store(true, Relaxed);
    }

    /// Counts a sign of life.
    pub(crate) fn sign(&self) {
        self.0.signs.fetch_add(1, Relaxed);
    }

    /// Counts a tree that was read.
    pub(crate) fn listed(&self) {
        self.0.listed.fetch_add(1, Relaxed);
    }

    fn status(&self) -> UpdateStatus {
        let (bytes, objects) = self.received();
        let (resolved, to_resolve) = self.sum(RESOLVED_OBJECTS);
        let packing = self.0.packing.load(Relaxed);
        let (phase, done, total) = if packing {
            (UpdatePhase::Packing, self.0.signs.load(Relaxed), None)
        } else if resolved > 0 {
            (UpdatePhase::Indexing, resolved, to_resolve)
        } else if bytes > 0 {
            (UpdatePhase::Receiving, objects, self.sum(READ_OBJECTS).1)
        } else {
            (UpdatePhase::Connecting, 0, None)
        };
        UpdateStatus { phase, done, total, bytes }
    }

    /// Makes a counter for gix.
    pub(crate) fn root(&self) -> Part {
        self.part(gix::progress::UNKNOWN)
    }

    /// Makes a counter for gix that ignores bytes read: they were received before.
    pub(crate) fn without_bytes(&self) -> Part {
        Part { bytes_count: false, ..self.root() }
    }

    /// Resets the counters.
    pub(crate) fn start_again(&self) {
        self.0.children.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn part(&self, id: Id) -> Part {
        let (step, max) = (StepShared::default(), Arc::default());
        let part = Part { meter: self.clone(), id, step, max, bytes_count: true };
        let child = Child { id, step: part.step.clone(), max: part.max.clone() };
        self.0.children.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        part
    }
}

/// One counter of a [`Meter`].
pub(crate) struct Part {
    meter: Meter,
    id: Id,
    step: StepShared,
    max: Arc<AtomicUsize>,
    bytes_count: bool,
}

impl Count for Part {
    fn set(&self, step: Step) {
        self.step.store(step, Relaxed);
    }
    fn step(&self) -> Step {
        self.step.load(Relaxed)
    }
    fn inc_by(&self, step: Step) {
        self.step.fetch_add(step, Relaxed);
    }
    fn counter(&self) -> StepShared {
        self.step.clone()
    }
}

impl Progress for Part {
    fn init(&mut self, max: Option<Step>, _: Option<Unit>) {
        self.set_max(max);
    }
    fn max(&self) -> Option<Step> {
        Some(self.max.load(Relaxed)).filter(|max| *max > 0)
    }
    fn set_max(&mut self, max: Option<Step>) -> Option<Step> {
        Some(self.max.swap(max.unwrap_or(0), Relaxed)).filter(|max| *max > 0)
    }
    fn set_name(&mut self, _: String) {
        self.meter.sign();
    }
    fn name(&self) -> Option<String> {
        None
    }
    fn id(&self) -> Id {
        self.id
    }
    fn message(&self, _: MessageLevel, _: String) {
        self.meter.sign();
    }
}

impl NestedProgress for Part {
    type SubProgress = Self;
    fn add_child(&mut self, _: impl Into<String>) -> Self {
        self.add_child_with_id(String::new(), gix::progress::UNKNOWN)
    }
    fn add_child_with_id(&mut self, _: impl Into<String>, id: Id) -> Self {
        let counts = self.bytes_count || id != READ_BYTES;
        let part = self.meter.part(if counts { id } else { gix::progress::UNKNOWN });
        Self { bytes_count: self.bytes_count, ..part }
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::QuietObserver;
    use super::*;

    struct StopAtOnce;
    impl UpdateObserver for StopAtOnce {
        fn stopped(&self) -> bool {
            true
        }
        fn status(&self, _: &UpdateStatus) {}
        fn event(&self, _: super::super::UpdateEvent) {}
    }

    fn hang(_: &Meter, interrupt: &AtomicBool) {
        while !interrupt.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn work_that_hangs_is_ended() {
        let short = Duration::from_millis(60);
        let stalled = supervised(&QuietObserver, idle(short), hang);
        assert!(matches!(stalled, Err(Halt::Stalled(after)) if after == short));
        let stopped = supervised(&StopAtOnce, idle(Duration::from_secs(60)), hang);
        assert!(matches!(stopped, Err(Halt::Stopped)));
    }

    fn idle(idle: Duration) -> Patience {
        Patience { idle, until: None }
    }

    #[test]
    fn work_that_moves_without_an_end_is_ended() {
        let endless = |meter: &Meter, interrupt: &AtomicBool| {
            while !interrupt.load(Relaxed) {
                meter.sign();
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let until = Some(Instant::now() + Duration::from_millis(200));
        let patience = Patience { until, ..idle(Duration::from_secs(60)) };
        assert!(matches!(supervised(&QuietObserver, patience, endless), Err(Halt::Endless)));
    }

    #[test]
    fn words_are_movement_only_while_a_remote_prepares() {
        let meter = Meter::default();
        let mut root = meter.root();
        let bytes = root.add_child_with_id("read", READ_BYTES);
        let (before, after) = (meter.beat(true), meter.beat(false));
        root.message(MessageLevel::Info, "counting".to_owned());
        root.inc();
        assert_eq!((meter.beat(true), meter.beat(false)), (before + 2, after));
        bytes.inc_by(5);
        meter.listed();
        assert_eq!(meter.beat(false), after + 6);
        root.inc();
        meter.packing();
        assert_eq!(meter.beat(false), meter.beat(true), "local work has no remote");
    }

    #[test]
    fn work_that_moves_may_take_its_time() {
        let slow = |meter: &Meter, interrupt: &AtomicBool| {
            let part = meter.root();
            for _ in 0..30 {
                std::thread::sleep(Duration::from_millis(10));
                part.inc();
            }
            !interrupt.load(Relaxed)
        };
        assert!(supervised(&QuietObserver, idle(Duration::from_millis(250)), slow).expect("no halt"));
    }

    #[test]
    fn phases_follow_the_counters() {
        let meter = Meter::default();
        assert_eq!(meter.status().phase, UpdatePhase::Connecting);
        let mut root = meter.root();
        let bytes = root.add_child_with_id("read", READ_BYTES);
        let mut objects = root.add_child_with_id("objects", READ_OBJECTS);
        objects.init(Some(10), None);
        bytes.inc_by(100);
        objects.inc_by(4);
        let status = meter.status();
        assert_eq!((status.phase, status.done, status.total), (UpdatePhase::Receiving, 4, Some(10)));
        assert_eq!((status.bytes, meter.received()), (100, (100, 4)));
        root.add_child_with_id("resolve", RESOLVED_OBJECTS).inc();
        assert_eq!(meter.status().phase, UpdatePhase::Indexing);
    }
}
