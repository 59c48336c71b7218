//! CPU profiles of the running program, one at a time.

use std::time::Duration;

use http::StatusCode;

use crate::listener::Answer;

/// Samples a second of CPU time; no divisor of common timers.
#[cfg(unix)]
const FREQUENCY_HZ: i32 = 199;
const LONGEST_S: u64 = 300;

/// `seconds=N` of a query.
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

/// A profile that `go tool pprof` reads.
pub(crate) async fn protobuf(query: &str) -> Answer {
    match seconds(query, 30) {
        Ok(time) => sampled(time, imp::protobuf).await,
        Err(answer) => answer,
    }
}

/// A picture of where the time goes.
pub(crate) async fn flame_graph(query: &str) -> Answer {
    match seconds(query, 10) {
        Ok(time) => sampled(time, imp::flame_graph).await,
        Err(answer) => answer,
    }
}

#[cfg(unix)]
async fn sampled(time: Duration, render: fn(&pprof::Report) -> Result<Answer, String>) -> Answer {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let Ok(_one) = ONE.try_lock() else {
        return Answer::no(StatusCode::CONFLICT, "another profile is being taken; try again when it is done");
    };
    let failed = |why: &str| {
        Answer::no(StatusCode::INTERNAL_SERVER_ERROR, &format!("the profile could not be taken: {why}"))
    };
    // Dropped when the client goes away: sampling ends with it.
    let guard = match pprof::ProfilerGuardBuilder::default().frequency(FREQUENCY_HZ).build() {
        Ok(guard) => guard,
        Err(error) => return failed(&error.to_string()),
    };
    tokio::time::sleep(time).await;
    // Symbols are looked up here, which takes a while.
    let rendered = tokio::task::spawn_blocking(move || {
        let report = guard.report().build().map_err(|error| error.to_string())?;
        drop(guard);
        render(&report)
    });
    match rendered.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => failed(&why),
        Err(error) => failed(&error.to_string()),
    }
}

#[cfg(unix)]
mod imp {
    use pprof::protos::Message as _;

    use crate::flame::Flame;
    use crate::listener::Answer;

    pub(super) fn protobuf(report: &pprof::Report) -> Result<Answer, String> {
        let profile = report.pprof().map_err(|error| error.to_string())?;
        Ok(Answer::new("application/octet-stream", profile.encode_to_vec()))
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
