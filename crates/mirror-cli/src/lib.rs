#![doc = include_str!("../README.md")]

mod args;
mod generate;
mod hints;
mod last_words;
mod repeats;
mod reports;
mod signals;
mod terminal;

pub use args::{duration, flags, parse};
pub use hints::{Program, check_hints, hint};
pub use last_words::complain;
pub use repeats::check_repeats;
pub use reports::{LogFlags, LogFormat, LogLevel};
pub use signals::{Signals, watch};
pub use terminal::{print, row, say};
