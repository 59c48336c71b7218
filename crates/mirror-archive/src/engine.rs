//! One reader, many tasks: every block that is read goes through every task, in order.
//!
//! The reader fills blocks and hands them out. Each worker repeatedly takes the task that is furthest
//! behind and gives it its next block. This balances the load whatever the tasks cost, as long as no
//! single task takes more than one worker's share. A block that all tasks have seen goes back to the
//! reader, in order. Memory: [`BLOCKS`] blocks of [`BLOCK_BYTES`].

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::entry::Entry;
use crate::error::ArchiveError;
use crate::monitor::Monitor;

/// The capacity of a block.
pub(crate) const BLOCK_BYTES: usize = 512 * 1024;
/// The number of blocks.
const BLOCKS: usize = 24;
/// Most pieces in a block. Without a limit, a million empty files would fill memory.
const MAX_PIECES: usize = 4096;

/// A part of an entry's content.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) entry: Arc<Entry>,
    /// Its place in the block.
    pub(crate) range: Range<usize>,
    /// True if the entry begins with it.
    pub(crate) first: bool,
    /// True if the entry ends with it.
    pub(crate) last: bool,
}

/// Bytes that were read, and the entries that they belong to.
#[derive(Debug)]
pub(crate) struct Block {
    buffer: Vec<u8>,
    len: usize,
    pub(crate) pieces: Vec<Piece>,
}

impl Block {
    fn new() -> Self {
        Self { buffer: vec![0; BLOCK_BYTES], len: 0, pieces: Vec::new() }
    }

    /// Makes an empty block outside a run.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self::new()
    }

    /// Returns the filled part.
    pub(crate) fn data(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the part that is still free.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.len..]
    }

    /// Notes that `bytes` of the free part were filled.
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.len = (self.len + bytes).min(BLOCK_BYTES);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == BLOCK_BYTES || self.pieces.len() >= MAX_PIECES
    }

    fn clear(&mut self) {
        self.len = 0;
        self.pieces.clear();
    }
}

/// A source of blocks.
pub(crate) trait Source {
    /// Fills an empty block; returns `false` at the end, with the block still empty.
    fn fill(&mut self, block: &mut Block) -> Result<bool, ArchiveError>;
    /// Takes a block that all tasks have seen, in order.
    fn retire(&mut self, block: &Block) -> Result<(), ArchiveError>;
}

/// Work that is done with every block.
pub(crate) trait Task: Send {
    fn block(&mut self, block: &Block) -> Result<(), ArchiveError>;
}

struct Slot<T> {
    /// `None` while a worker has it.
    task: Option<T>,
    /// The number of its next block.
    next: u64,
    spent: Duration,
}

struct State<T> {
    /// Blocks that not all tasks have seen, with the number of tasks that have not.
    blocks: VecDeque<(Arc<Block>, usize)>,
    /// Number of the first of them.
    first: u64,
    slots: Vec<Slot<T>>,
    ended: bool,
    failed: Option<ArchiveError>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    work: Condvar,
    room: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: ArchiveError) {
        self.lock().failed.get_or_insert(error);
        self.work.notify_all();
        self.room.notify_all();
    }
}

/// Fails the run when its thread panics; otherwise the other threads would wait for ever.
struct Alarm<'a, T>(&'a Shared<T>);

impl<T> Drop for Alarm<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(ArchiveError::Internal("a thread panicked"));
        }
    }
}

/// Reads everything from `source` on the calling thread, runs `tasks` on `workers` threads, and
/// returns the tasks.
pub(crate) fn run<T: Task>(
    source: &mut impl Source,
    tasks: Vec<T>,
    workers: usize,
    monitor: &Monitor,
) -> Result<Vec<T>, ArchiveError> {
    let slots = tasks.into_iter().map(|task| Slot { task: Some(task), next: 0, spent: Duration::ZERO });
    let state =
        State { blocks: VecDeque::new(), first: 0, slots: slots.collect(), ended: false, failed: None };
    let shared = Shared { state: Mutex::new(state), work: Condvar::new(), room: Condvar::new() };
    let workers = workers.clamp(1, shared.lock().slots.len().max(1));
    std::thread::scope(|scope| {
        for number in 0..workers {
            let shared = &shared;
            let started =
                std::thread::Builder::new().name(format!("hash-{number}")).spawn_scoped(scope, move || {
                    let _alarm = Alarm(shared);
                    work(shared);
                });
            if let Err(error) = started {
                shared.fail(ArchiveError::io("starting a thread for", b"hashing")(error));
            }
        }
        let _alarm = Alarm(&shared);
        if let Err(error) = read(source, &shared, monitor) {
            shared.fail(error);
        }
    });
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(error) => Err(error),
        None => Ok(state.slots.into_iter().filter_map(|slot| slot.task).collect()),
    }
}

fn read<T: Task>(
    source: &mut impl Source,
    shared: &Shared<T>,
    monitor: &Monitor,
) -> Result<(), ArchiveError> {
    let mut free: Vec<Block> = Vec::new();
    let mut made = 0;
    loop {
        monitor.check()?;
        let mut block = match free.pop() {
            Some(block) => block,
            None if made < BLOCKS => {
                made += 1;
                Block::new()
            }
            None => {
                if !retire(source, shared, &mut free)? {
                    return Ok(());
                }
                continue;
            }
        };
        if !source.fill(&mut block)? {
            break;
        }
        let mut state = shared.lock();
        let tasks = state.slots.len();
        state.blocks.push_back((Arc::new(block), tasks));
        drop(state);
        shared.work.notify_all();
    }
    shared.lock().ended = true;
    shared.work.notify_all();
    while !shared.lock().blocks.is_empty() {
        monitor.check()?;
        if !retire(source, shared, &mut free)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Waits until the oldest block is done, and retires all that are; returns `false` after a failure.
fn retire<T>(
    source: &mut impl Source,
    shared: &Shared<T>,
    free: &mut Vec<Block>,
) -> Result<bool, ArchiveError> {
    let mut done = Vec::new();
    let mut state = shared.lock();
    while done.is_empty() {
        if state.failed.is_some() {
            return Ok(false);
        }
        while state.blocks.front().is_some_and(|(_, left)| *left == 0) {
            state.first += 1;
            done.extend(state.blocks.pop_front().map(|(block, _)| block));
        }
        if done.is_empty() {
            state = shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
    drop(state);
    for block in done {
        source.retire(&block)?;
        // The last worker drops its reference before it reports that it is done.
        let mut block = Arc::try_unwrap(block).unwrap_or_else(|_| Block::new());
        block.clear();
        free.push(block);
    }
    Ok(true)
}

fn work<T: Task>(shared: &Shared<T>) {
    let mut state = shared.lock();
    loop {
        if state.failed.is_some() {
            return;
        }
        let Some(at) = furthest_behind(&state) else {
            let end = state.first + state.blocks.len() as u64;
            if state.ended && state.slots.iter().all(|slot| slot.next == end) {
                return;
            }
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let number = state.slots[at].next;
        let index = usize::try_from(number - state.first).unwrap_or(usize::MAX);
        let Some(mut task) = state.slots[at].task.take() else { continue };
        let block = Arc::clone(&state.blocks[index].0);
        drop(state);
        let begun = Instant::now();
        let result = task.block(&block);
        let spent = begun.elapsed();
        drop(block);
        if let Err(error) = result {
            shared.fail(error);
            return;
        }
        state = shared.lock();
        let slot = &mut state.slots[at];
        (slot.task, slot.next) = (Some(task), number + 1);
        slot.spent += spent;
        let index = usize::try_from(number - state.first).unwrap_or(usize::MAX);
        state.blocks[index].1 -= 1;
        if index == 0 && state.blocks[0].1 == 0 {
            shared.room.notify_all();
        }
        // Another worker may wait for this task, or for the end.
        shared.work.notify_all();
    }
}

/// Picks the idle task whose next block has the lowest number; among equals the most expensive, because long work
/// should not start last.
fn furthest_behind<T>(state: &State<T>) -> Option<usize> {
    let end = state.first + state.blocks.len() as u64;
    let ready = state.slots.iter().enumerate().filter(|(_, slot)| slot.task.is_some() && slot.next < end);
    ready.min_by_key(|(_, slot)| (slot.next, std::cmp::Reverse(slot.spent))).map(|(at, _)| at)
}

#[cfg(test)]
mod tests;
