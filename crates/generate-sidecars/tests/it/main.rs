//! Runs the program as a person does.
#![expect(clippy::disallowed_methods, reason = "tests write their own files")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod crash;
mod enrich;
mod faults;
mod incremental;
mod outputs;
mod packed;
mod pages;
mod real_index;
mod world;
