//! Takes CPU profiles by sampling the stacks of all threads.

use std::time::Duration;

use http::StatusCode;

use super::flame::Flame;
use super::proto;
#[cfg(target_os = "linux")]
use super::threads;
use crate::site::Answer;

/// Samples per second of CPU time: a prime, so that samples do not coincide with common timers.
const FREQUENCY_HZ: i32 = 199;

pub(super) async fn protobuf(time: Duration) -> Answer {
    sampled(time, |report| Answer::new("application/octet-stream", proto::encoded(report))).await
}

pub(super) async fn flame_graph(time: Duration) -> Answer {
    sampled(time, |report| Answer::new("image/svg+xml", svg(report))).await
}

/// A running profiler. Dropping it ends the sampling and then allows the next profile; the order of
/// the fields matters.
struct Sampling {
    guard: pprof::ProfilerGuard<'static>,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

impl Sampling {
    /// Begins to sample. Blocks: the first start reads the program's symbols.
    fn begin(one: tokio::sync::MutexGuard<'static, ()>, frequency_hz: i32) -> Result<Self, String> {
        let guard = pprof::ProfilerGuardBuilder::default().frequency(frequency_hz).build();
        guard.map(|guard| Self { guard, _one: one }).map_err(|error| error.to_string())
    }
}

/// Takes the place of the only profile.
fn place() -> Result<tokio::sync::MutexGuard<'static, ()>, Answer> {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ONE.try_lock().map_err(|_| {
        Answer::no(StatusCode::CONFLICT, "another profile is being taken; try again when it is done")
    })
}

/// Refuses where stacks can only be taken of threads that run.
#[cfg(not(target_os = "linux"))]
pub(super) async fn thread_stacks(_: bool) -> Answer {
    Answer::no(StatusCode::NOT_IMPLEMENTED, "the stacks of threads are available only on Linux")
}

#[cfg(target_os = "linux")]
pub(super) async fn thread_stacks(is_text: bool) -> Answer {
    let one = match place() {
        Ok(one) => one,
        Err(busy) => return busy,
    };
    let taken = blocking(move || {
        // Threads are asked; the clock hardly adds to that.
        let sampling = Sampling::begin(one, 1)?;
        let count = threads::sample(&sampling.guard)?;
        let report = sampling.guard.report().build().map_err(|error| error.to_string())?;
        drop(sampling);
        let stacks = threads::newest(&report);
        Ok(match is_text {
            true => Answer::new("text/plain; charset=utf-8", threads::text(&stacks, count)),
            false => {
                let encoded = proto::encoded_threads(&stacks, report.timing.start_time);
                Answer::new("application/octet-stream", encoded)
            }
        })
    });
    taken.await.unwrap_or_else(|why| failed(&why))
}

fn failed(why: &str) -> Answer {
    Answer::no(StatusCode::INTERNAL_SERVER_ERROR, &format!("the profile could not be taken: {why}"))
}

async fn sampled(time: Duration, render: fn(&pprof::Report) -> Answer) -> Answer {
    let one = match place() {
        Ok(one) => one,
        Err(busy) => return busy,
    };
    let taken = async {
        // Reading symbols takes too long for a thread of the runtime, also for the report.
        let sampling = blocking(move || Sampling::begin(one, FREQUENCY_HZ)).await?;
        // hyper drops this future when the client goes away.
        tokio::time::sleep(time).await;
        blocking(move || {
            let report = sampling.guard.report().build().map_err(|error| error.to_string())?;
            drop(sampling);
            Ok(render(&report))
        })
        .await
    };
    taken.await.unwrap_or_else(|why| failed(&why))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

fn svg(report: &pprof::Report) -> String {
    let mut flame = Flame::default();
    for (stack, count) in &report.data {
        // Innermost first, and within a frame inlined functions first.
        let mut names: Vec<String> =
            stack.frames.iter().flat_map(|frame| frame.iter().map(pprof::Symbol::name)).collect();
        names.push(stack.thread_name.clone());
        names.reverse();
        flame.add(&names, u64::try_from(*count).unwrap_or(0));
    }
    flame.svg()
}
