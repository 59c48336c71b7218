#![doc = include_str!("../README.md")]

#[cfg(feature = "progress")]
mod bar;
mod lines;
#[cfg(feature = "listener")]
mod listener;
mod logging;
#[cfg(feature = "listener")]
mod metrics;
#[cfg(feature = "listener")]
mod profile;
#[cfg(feature = "progress")]
mod progress;
mod stats;
#[cfg(feature = "progress")]
mod work;

#[cfg(feature = "listener")]
pub use listener::{ListenError, Listener};
pub use logging::{
    LogFormat, LogLevel, LogOptions, Logging, ProgressHandle, TelemetryError, flush_log, init_logging,
};
#[cfg(feature = "progress")]
pub use progress::{Progress, ProgressOptions};
pub use stats::{Activity, Offer, Phase, RunStats, Snapshot};
#[cfg(feature = "progress")]
pub use work::{WorkDone, WorkProgress};
