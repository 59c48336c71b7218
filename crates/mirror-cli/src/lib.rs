//! What the programs share between a command line and an exit code: arguments, reports, signals, last words.

mod args;
mod repeats;
mod reports;
mod signals;
mod terminal;

pub use args::{duration, flags, parse};
pub use repeats::check_repeats;
pub use reports::{LogFlags, LogFormat, LogLevel};
pub use signals::{Watch, watch};
pub use terminal::{complain, print, row, say};
