//! A registry index of any size, made from a seed: crate by crate, nothing of it kept in memory but
//! names and counts.

mod index;
mod line;
mod names;
mod publish;

pub use index::{DayChanges, Scale, Synthetic, SyntheticRelease};
pub use publish::GitForm;
