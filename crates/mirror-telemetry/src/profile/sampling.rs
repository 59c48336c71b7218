//! Takes CPU profiles by sampling the stacks of all threads.

use std::time::Duration;

use http::StatusCode;

use super::flame::Flame;
use super::proto;
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

async fn sampled(time: Duration, render: fn(&pprof::Report) -> Answer) -> Answer {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let Ok(one) = ONE.try_lock() else {
        return Answer::no(StatusCode::CONFLICT, "another profile is being taken; try again when it is done");
    };
    let taken = async {
        // The first start reads the program's symbols, and so does the report: too long for a
        // thread of the runtime.
        let sampling = blocking(move || {
            let guard = pprof::ProfilerGuardBuilder::default().frequency(FREQUENCY_HZ).build();
            guard.map(|guard| Sampling { guard, _one: one }).map_err(|error| error.to_string())
        })
        .await?;
        // hyper drops this future when the client goes away.
        tokio::time::sleep(time).await;
        blocking(move || {
            let report = sampling.guard.report().build().map_err(|error| error.to_string())?;
            drop(sampling);
            Ok(render(&report))
        })
        .await
    };
    taken.await.unwrap_or_else(|why: String| {
        Answer::no(StatusCode::INTERNAL_SERVER_ERROR, &format!("the profile could not be taken: {why}"))
    })
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
