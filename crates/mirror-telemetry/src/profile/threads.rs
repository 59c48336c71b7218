//! Takes the stack of every thread once, also of those that wait.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use pprof::{Frames, Report};

/// Most rounds in which threads are asked: two that answer at the same moment get in each other's way.
const ROUNDS: usize = 5;
/// The pause between two threads, and the wait for the last of them.
const BETWEEN: Duration = Duration::from_micros(200);
const WAIT: Duration = Duration::from_millis(10);

/// Makes every thread of this process sample its own stack, while `guard` samples. Returns the number of threads. Blocks
/// for some milliseconds.
pub(super) fn sample(guard: &pprof::ProfilerGuard<'_>) -> Result<usize, String> {
    let mut threads = 0;
    for _ in 0..ROUNDS {
        let ids = thread_ids().map_err(|error| format!("the threads could not be listed: {error}"))?;
        threads = ids.len();
        for id in ids {
            ask(id);
            std::thread::sleep(BETWEEN);
        }
        std::thread::sleep(WAIT);
        let report = guard.report().build_unresolved().map_err(|error| error.to_string())?;
        let mut answered: Vec<u64> = report.data.keys().map(|frames| frames.thread_id).collect();
        answered.sort_unstable();
        answered.dedup();
        if answered.len() >= threads {
            break;
        }
    }
    Ok(threads)
}

/// Lists the threads of this process.
fn thread_ids() -> std::io::Result<Vec<i32>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        ids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(ids)
}

/// Sends a thread the signal on which it samples its stack. One that has ended meanwhile gets none.
fn ask(thread: i32) {
    let process = std::process::id();
    #[expect(unsafe_code, reason = "no library offers a signal to a thread by its number")]
    // SAFETY: the arguments are numbers. The kernel refuses those that name no thread of this process, and the profiler
    // has installed a handler for the signal.
    unsafe {
        libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGPROF);
    }
}

/// Returns the newest stack of each thread, by its name.
pub(super) fn newest(report: &Report) -> Vec<&Frames> {
    let mut newest: HashMap<u64, &Frames> = HashMap::new();
    for frames in report.data.keys() {
        let known = newest.entry(frames.thread_id).or_insert(frames);
        if known.sample_timestamp < frames.sample_timestamp {
            *known = frames;
        }
    }
    let mut newest: Vec<&Frames> = newest.into_values().collect();
    newest
        .sort_by(|one, other| (&one.thread_name, one.thread_id).cmp(&(&other.thread_name, other.thread_id)));
    newest
}

/// Renders stacks for people, the innermost function first.
pub(super) fn text(stacks: &[&Frames], threads: usize) -> String {
    let mut text = format!("{threads} threads, {} stacks\n", stacks.len());
    for stack in stacks {
        let _ = writeln!(text, "\nthread {}", stack.thread_name);
        for symbol in stack.frames.iter().flatten() {
            let _ = write!(text, "    {}", symbol.name());
            if symbol.lineno() > 0 {
                let _ = write!(text, " ({}:{})", symbol.filename(), symbol.lineno());
            }
            text.push('\n');
        }
    }
    text
}
