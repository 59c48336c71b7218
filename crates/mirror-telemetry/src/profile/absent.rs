//! Refuses CPU profiles in builds that cannot take them.

use std::time::Duration;

use http::StatusCode;

use crate::site::Answer;

pub(super) async fn protobuf(_: Duration) -> Answer {
    let why = if cfg!(unix) {
        "this program was built without CPU profiles"
    } else {
        "CPU profiles are available only on Unix systems"
    };
    Answer::no(StatusCode::NOT_IMPLEMENTED, why)
}

pub(super) async fn thread_stacks(_: bool) -> Answer {
    let why = if cfg!(unix) {
        "this program was built without profiles"
    } else {
        "the stacks of threads are available only on Linux"
    };
    Answer::no(StatusCode::NOT_IMPLEMENTED, why)
}

pub(super) async fn flame_graph(time: Duration) -> Answer {
    protobuf(time).await
}
