//! Sidecars: a line of the index with a few facts beside its own fields, as JSON. Pure functions; with the feature `generate`,
//! also what writes the sidecars of a whole index.
//!
//! A sidecar has every field of its line, unknown ones included. Numbers and strings stay as they are
//! written in the line: nothing is read as a float, nothing is escaped anew. A key that stands twice
//! counts as it stands last, as it does for most readers of JSON.

mod document;
mod facts;
#[cfg(feature = "generate")]
pub mod generate;
mod line;
#[cfg(test)]
mod tests;

pub use facts::Facts;
pub use line::{Line, splice};
pub use mirror_index_line::{LineError, MAX_DEPTH};
