#![doc = include_str!("../README.md")]

mod args;
mod generate;
mod help;
mod hints;
mod last_words;
mod layers;
mod repeats;
mod reports;
mod signals;
mod terminal;
mod variables;

pub use args::{duration, effective, flags, parse};
pub use hints::{Program, check_hints, hint};
pub use last_words::complain;
pub use layers::{Origin, Setting, check_sample};
pub use repeats::check_repeats;
pub use reports::{Colour, LogFlags, LogFormat, LogLevel};
pub use signals::{Signals, watch};
pub use terminal::{print, print_summary, row, say};
pub use variables::check_variables;
