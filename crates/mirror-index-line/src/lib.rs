#![doc = include_str!("../README.md")]

mod checked;
mod error;
mod file;
mod line;
mod published;
mod requirements;
mod scanner;
mod skim;
#[cfg(test)]
mod tests;
mod yanked;

pub use checked::CheckedLine;
pub use error::{InvalidLine, LineError};
pub use file::{crate_of, is_like_a_line, lines, records};
pub use line::IndexLine;
pub use requirements::{Dependency, Requirements};
pub use scanner::MAX_DEPTH;
pub use yanked::with_yanked;
