//! Answers where no CPU profile can be taken.

use std::time::Duration;

use http::StatusCode;

use crate::listener::Answer;

pub(super) async fn protobuf(_: Duration) -> Answer {
    let why = if cfg!(unix) {
        "CPU profiles are not built into this program"
    } else {
        "CPU profiles are taken on Unix systems only"
    };
    Answer::no(StatusCode::NOT_IMPLEMENTED, why)
}

pub(super) async fn flame_graph(time: Duration) -> Answer {
    protobuf(time).await
}
