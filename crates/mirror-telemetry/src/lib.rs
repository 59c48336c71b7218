#![doc = include_str!("../README.md")]

#[cfg(unix)]
mod flame;
mod lines;
mod listener;
mod logging;
mod metrics;
mod profile;
#[cfg(unix)]
mod profile_proto;
mod progress;
mod stats;
mod work;

pub use listener::{ListenError, Listener};
pub use logging::{
    LogFormat, LogLevel, LogOptions, Logging, ProgressHandle, TelemetryError, flush_log, init_logging,
};
pub use progress::{Progress, ProgressOptions};
pub use stats::{Activity, Phase, RunStats, Snapshot};
pub use work::{WorkDone, WorkProgress};
