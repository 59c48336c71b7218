#![doc = include_str!("../README.md")]

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
