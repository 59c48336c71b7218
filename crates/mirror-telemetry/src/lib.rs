#![doc = include_str!("../README.md")]

#[cfg(feature = "progress")]
mod bar;
#[cfg(feature = "listener")]
mod console;
#[cfg(feature = "listener")]
mod events;
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
#[cfg(feature = "listener")]
mod site;
mod stats;
#[cfg(feature = "progress")]
mod work;
#[cfg(feature = "progress")]
mod wrap;

#[cfg(feature = "listener")]
pub use console::{DiskSpace, Preflight};
#[cfg(feature = "listener")]
pub use listener::{ListenError, ListenOptions, Listener, MirrorViews, command_line};
pub use logging::{
    LogFormat, LogLevel, LogOptions, Logging, ProgressHandle, TelemetryError, flush_log, init_logging,
};
#[cfg(feature = "listener")]
pub use mirror_console::{CountedGauges, Ended, RunIdentity};
#[cfg(feature = "progress")]
pub use progress::{Progress, ProgressOptions};
pub use stats::{Activity, Offer, Phase, RunStats, Snapshot};
#[cfg(feature = "progress")]
pub use work::{WorkDone, WorkProgress};
#[cfg(feature = "progress")]
pub use wrap::{Stream, fitted};
