//! Logging, counters, the status listener, progress.

mod listener;
mod logging;
mod progress;
mod stats;

pub use listener::{ListenError, Listener, install_metrics};
pub use logging::{LogFormat, LogLevel, LogOptions, ProgressHandle, TelemetryError, init_logging};
pub use progress::{Progress, ProgressOptions};
pub use stats::{Phase, RunStats, Snapshot};
