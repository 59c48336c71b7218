//! CPU profiles of the running program, one at a time.

use std::time::Duration;

use http::StatusCode;

use crate::listener::Answer;

/// Samples a second of CPU time; no divisor of common timers.
#[cfg(unix)]
const FREQUENCY_HZ: i32 = 199;
/// The longest profile.
pub(crate) const LONGEST_S: u64 = 300;

/// Parses `seconds=N` of a query.
fn seconds(query: &str, default: u64) -> Result<Duration, Answer> {
    let given = query.split('&').find_map(|pair| pair.strip_prefix("seconds="));
    let seconds = match given {
        None => Some(default),
        Some(text) => text.parse().ok().filter(|n| (1..=LONGEST_S).contains(n)),
    };
    seconds.map(Duration::from_secs).ok_or_else(|| {
        Answer::no(StatusCode::BAD_REQUEST, &format!("seconds must be a number from 1 to {LONGEST_S}"))
    })
}

/// Answers with a profile that `go tool pprof` reads.
pub(crate) async fn protobuf(query: &str) -> Answer {
    match seconds(query, 30) {
        Ok(time) => sampled(time, imp::protobuf).await,
        Err(answer) => answer,
    }
}

/// Answers with a picture of where the time goes.
pub(crate) async fn flame_graph(query: &str) -> Answer {
    match seconds(query, 10) {
        Ok(time) => sampled(time, imp::flame_graph).await,
        Err(answer) => answer,
    }
}

/// The profiler at work. Dropped wherever it is, sampling ends and the next profile may begin, in
/// this order.
#[cfg(unix)]
struct Sampling {
    guard: pprof::ProfilerGuard<'static>,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

#[cfg(unix)]
async fn sampled(time: Duration, render: fn(&pprof::Report) -> Result<Answer, String>) -> Answer {
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
        // When the client goes away, hyper drops all this.
        tokio::time::sleep(time).await;
        blocking(move || {
            let report = sampling.guard.report().build().map_err(|error| error.to_string())?;
            drop(sampling);
            render(&report)
        })
        .await
    };
    taken.await.unwrap_or_else(|why| {
        Answer::no(StatusCode::INTERNAL_SERVER_ERROR, &format!("the profile could not be taken: {why}"))
    })
}

#[cfg(unix)]
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

#[cfg(unix)]
mod imp {
    use crate::flame::Flame;
    use crate::listener::Answer;
    use crate::profile_proto;

    pub(super) fn protobuf(report: &pprof::Report) -> Result<Answer, String> {
        Ok(Answer::new("application/octet-stream", profile_proto::encoded(report)))
    }

    pub(super) fn flame_graph(report: &pprof::Report) -> Result<Answer, String> {
        let mut flame = Flame::default();
        for (stack, count) in &report.data {
            // Innermost first, and within a frame what was inlined first.
            let mut names: Vec<String> =
                stack.frames.iter().flat_map(|frame| frame.iter().map(pprof::Symbol::name)).collect();
            names.push(stack.thread_name.clone());
            names.reverse();
            flame.add(&names, u64::try_from(*count).unwrap_or(0));
        }
        Ok(Answer::new("image/svg+xml", flame.svg()))
    }
}

#[cfg(not(unix))]
async fn sampled(_: Duration, render: fn() -> Answer) -> Answer {
    render()
}

#[cfg(not(unix))]
mod imp {
    use super::*;

    pub(super) fn protobuf() -> Answer {
        Answer::no(StatusCode::NOT_IMPLEMENTED, "CPU profiles are taken on Unix systems only")
    }

    pub(super) fn flame_graph() -> Answer {
        protobuf()
    }
}
