//! Profiles of the running program: of its CPU time, one at a time.

#[cfg(all(unix, feature = "profiles"))]
mod flame;
#[cfg(all(unix, feature = "profiles"))]
mod proto;
#[cfg(all(unix, feature = "profiles"))]
mod sampling;
#[cfg(not(all(unix, feature = "profiles")))]
#[path = "profile/absent.rs"]
mod sampling;

use std::time::Duration;

use http::StatusCode;

use crate::listener::Answer;

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
        Ok(time) => sampling::protobuf(time).await,
        Err(answer) => answer,
    }
}

/// Answers with a picture of where the time goes.
pub(crate) async fn flame_graph(query: &str) -> Answer {
    match seconds(query, 10) {
        Ok(time) => sampling::flame_graph(time).await,
        Err(answer) => answer,
    }
}
