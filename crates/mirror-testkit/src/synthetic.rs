//! A registry index of any size, made from a seed: crate by crate, with only names and counts in memory.

mod index;
mod line;
mod names;
mod publish;

pub use index::{DayChanges, Scale, Synthetic, SyntheticRelease};
pub use publish::GitForm;
