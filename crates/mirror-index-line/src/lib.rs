//! The one reader of the lines of a registry index. No I/O.
//!
//! A line is a JSON object that says of one release its `name`, `vers`, `cksum` and whether it is `yanked`, and more,
//! as the registry's documentation has it (<https://doc.rust-lang.org/cargo/reference/registry-index.html>). Fields
//! that this crate does not know are no fault, and whatever keeps a line keeps it byte for byte.
//!
//! - [`IndexLine::skim`] reads those four fields, and passes over all others by their quotes and brackets. A fault
//!   inside of what it passes over is not found; a torn line always is.
//! - [`IndexLine::parse`] reads the same fields, and refuses a line that is no JSON to its last byte.
//! - [`IndexLine::requirements`], [`IndexLine::pubtime`] and others read the rest, once somebody asks;
//!   [`IndexLine::field`] returns any field as the line has it.
//! - [`CheckedLine::read`] is for writing a line into another document: it takes nothing on trust, text inside
//!   of unknown fields included.
//! - [`records`] yields those lines of a file that are of a release that can be mirrored.

mod checked;
mod error;
mod file;
mod line;
mod requirements;
mod scanner;
mod skim;
#[cfg(test)]
mod tests;

pub use checked::CheckedLine;
pub use error::{InvalidLine, LineError};
pub use file::{crate_of, is_like_a_line, lines, records};
pub use line::IndexLine;
pub use requirements::{Dependency, Requirements};
pub use scanner::{JsonText, MAX_DEPTH, Scanner};
