//! Profiles of the running program: of its CPU time, one at a time, and of its heap.

#[cfg(all(unix, feature = "profiles"))]
mod flame;
#[cfg(all(unix, feature = "profiles"))]
mod proto;
#[cfg(all(unix, feature = "profiles"))]
mod sampling;
#[cfg(not(all(unix, feature = "profiles")))]
#[path = "profile/absent.rs"]
mod sampling;
#[cfg(all(target_os = "linux", feature = "profiles"))]
mod threads;

use std::time::Duration;

use http::StatusCode;

use crate::site::Answer;

/// The longest profile, seconds.
pub(crate) const LONGEST_S: u64 = 300;

/// Parses `seconds=N` of a query.
fn seconds(query: &str, default: u64) -> Result<Duration, Answer> {
    let given = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "seconds");
    let seconds = match given {
        None => Some(default),
        Some((_, text)) => text.parse().ok().filter(|n| (1..=LONGEST_S).contains(n)),
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

/// Answers with a flame graph.
pub(crate) async fn flame_graph(query: &str) -> Answer {
    match seconds(query, 10) {
        Ok(time) => sampling::flame_graph(time).await,
        Err(answer) => answer,
    }
}

/// Answers with the stacks of all threads: as `go tool pprof` reads them or, with `debug=N`, as text.
pub(crate) async fn thread_stacks(query: &str) -> Answer {
    let debug = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "debug");
    sampling::thread_stacks(debug.is_some_and(|(_, level)| level != "0")).await
}

/// Answers for a profile of Go's runtime that has no counterpart here; `None` for a name that is none of them.
pub(crate) fn of_go(name: &str) -> Option<Answer> {
    let why = match name {
        "trace" => {
            "there are no execution traces, which record Go's scheduler: profile and flamegraph show where CPU time goes, \
             goroutine shows where every thread is"
        }
        "threadcreate" => "what creates threads is not recorded; goroutine has the stacks of all threads",
        "block" | "mutex" => {
            "waits for locks and channels are not recorded; goroutine shows where threads wait at this moment"
        }
        "allocs" => "allocations that were freed are not recorded; heap shows what is allocated now",
        "symbol" => "profiles have the names of their functions, so there are no addresses to look up",
        _ => return None,
    };
    Some(Answer::no(StatusCode::NOT_IMPLEMENTED, why))
}

/// Answers with a heap profile that `go tool pprof` reads.
#[cfg(all(target_os = "linux", feature = "heap-profiles"))]
pub(crate) async fn heap() -> Answer {
    let heap = match jemalloc_pprof::PROF_CTL.as_ref() {
        Some(heap) if heap.lock().await.activated() => heap,
        _ => {
            return Answer::no(
                StatusCode::NOT_IMPLEMENTED,
                "the allocator takes no samples in this process: start it with _RJEM_MALLOC_CONF=prof:true in its environment",
            );
        }
    };
    let dumped = tokio::task::spawn_blocking(|| heap.blocking_lock().dump_pprof()).await;
    match dumped.map_err(Into::into).flatten() {
        Ok(profile) => Answer::new("application/octet-stream", profile),
        Err(error) => Answer::no(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("the heap profile could not be taken: {error:#}"),
        ),
    }
}

/// Refuses, because this build has no heap profiler.
#[cfg(not(all(target_os = "linux", feature = "heap-profiles")))]
pub(crate) async fn heap() -> Answer {
    Answer::no(
        StatusCode::NOT_IMPLEMENTED,
        "this program was built without heap profiles; its feature `jemalloc` adds them on Linux",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_as_a_form_writes_them() {
        let read =
            |query: &str| seconds(query, 30).map(|time| time.as_secs()).map_err(|answer| answer.status);
        let table = [
            ("", Ok(30)),
            ("debug=1", Ok(30)),
            ("xseconds=5", Ok(30)),
            ("seconds=5", Ok(5)),
            ("debug=1&seconds=300", Ok(300)),
            ("%73econds=%31%30", Ok(10)),
            ("seconds=1&seconds=2", Ok(1)),
            ("seconds", Err(StatusCode::BAD_REQUEST)),
            ("seconds=", Err(StatusCode::BAD_REQUEST)),
            ("seconds=0", Err(StatusCode::BAD_REQUEST)),
            ("seconds=301", Err(StatusCode::BAD_REQUEST)),
            ("seconds=+5", Err(StatusCode::BAD_REQUEST)),
        ];
        for (query, wanted) in table {
            assert_eq!(read(query), wanted, "{query}");
        }
    }
}
