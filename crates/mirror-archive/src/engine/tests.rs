use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::entry::{Digests, EntryKind};

/// Yields blocks of one byte, which contain their number.
struct Numbers {
    next: u8,
    end: u8,
    retired: Vec<u8>,
}

impl Numbers {
    fn to(end: u8) -> Self {
        Self { next: 0, end, retired: Vec::new() }
    }
}

impl Source for Numbers {
    fn fill(&mut self, block: &mut Block) -> Result<bool, ArchiveError> {
        if self.next == self.end {
            return Ok(false);
        }
        assert_eq!((block.len(), block.pieces.len()), (0, 0), "a used block comes back empty");
        block.room()[0] = self.next;
        block.filled(1);
        self.next += 1;
        Ok(true)
    }

    fn retire(&mut self, block: &Block) -> Result<(), ArchiveError> {
        self.retired.push(block.data()[0]);
        Ok(())
    }
}

/// Records the blocks that it saw, and pauses at each.
struct Seen<'a> {
    numbers: Vec<u8>,
    pause: Duration,
    at_once: &'a Mutex<i32>,
    fail_at: Option<u8>,
}

impl Task for Seen<'_> {
    fn block(&mut self, block: &Block) -> Result<(), ArchiveError> {
        *self.at_once.lock().unwrap() += 1;
        std::thread::sleep(self.pause);
        let number = block.data()[0];
        self.numbers.push(number);
        *self.at_once.lock().unwrap() -= 1;
        match self.fail_at {
            Some(at) if at == number => Err(ArchiveError::Internal("asked for")),
            _ => Ok(()),
        }
    }
}

fn seen<'a>(at_once: &'a Mutex<i32>, pauses_us: &[u64]) -> Vec<Seen<'a>> {
    let pause = |us: &u64| Duration::from_micros(*us);
    pauses_us
        .iter()
        .map(|us| Seen { numbers: Vec::new(), pause: pause(us), at_once, fail_at: None })
        .collect()
}

#[test]
fn every_task_sees_every_block_in_order() {
    for workers in [1, 2, 3, 16] {
        let at_once = Mutex::new(0);
        let mut numbers = Numbers::to(100);
        let tasks =
            run(&mut numbers, seen(&at_once, &[0, 300, 10, 0, 50]), workers, &Monitor::new()).unwrap();
        let all: Vec<u8> = (0..100).collect();
        assert_eq!(numbers.retired, all);
        assert!(tasks.iter().all(|task| task.numbers == all), "{workers} workers");
        assert_eq!(tasks.len(), 5);
    }
}

#[test]
fn a_run_without_blocks_or_without_tasks_ends() {
    let at_once = Mutex::new(0);
    let tasks = run(&mut Numbers::to(0), seen(&at_once, &[0, 0]), 2, &Monitor::new()).unwrap();
    assert!(tasks.iter().all(|task| task.numbers.is_empty()));
    let mut numbers = Numbers::to(60);
    assert!(run(&mut numbers, seen(&at_once, &[]), 2, &Monitor::new()).unwrap().is_empty());
    assert_eq!(numbers.retired.len(), 60, "without tasks a block is done at once");
}

#[test]
fn a_task_that_fails_ends_the_run() {
    let at_once = Mutex::new(0);
    let mut tasks = seen(&at_once, &[0, 0, 100]);
    tasks[1].fail_at = Some(40);
    let error = run(&mut Numbers::to(200), tasks, 2, &Monitor::new()).err();
    assert!(matches!(error, Some(ArchiveError::Internal("asked for"))), "{error:?}");
}

#[test]
fn a_run_stops_on_request() {
    let at_once = Mutex::new(0);
    let monitor = Monitor::new();
    monitor.cancel();
    let error = run(&mut Numbers::to(200), seen(&at_once, &[0]), 2, &monitor).err();
    assert!(matches!(error, Some(ArchiveError::Interrupted)), "{error:?}");
}

#[test]
fn a_panic_does_not_leave_the_others_waiting() {
    struct Panics;
    impl Task for Panics {
        fn block(&mut self, _: &Block) -> Result<(), ArchiveError> {
            panic!("asked for");
        }
    }
    let result = std::panic::catch_unwind(|| {
        let _ = run(&mut Numbers::to(200), vec![Panics, Panics], 2, &Monitor::new());
    });
    assert!(result.is_err());
}

#[test]
fn a_block_is_full_by_bytes_or_by_entries() {
    let mut block = Block::new();
    assert!(!block.is_full());
    block.filled(BLOCK_BYTES);
    assert!(block.is_full() && block.room().is_empty());
    block.clear();
    let entry = Arc::new(Entry {
        path: b"e".to_vec(),
        kind: EntryKind::File,
        size_bytes: 0,
        modified_s: 0,
        mode: 0,
        is_metadata: false,
        digests: Digests::default(),
    });
    for _ in 0..MAX_PIECES {
        assert!(!block.is_full());
        block.pieces.push(Piece { entry: Arc::clone(&entry), range: 0..0, first: true, last: true });
    }
    assert!(block.is_full());
}
