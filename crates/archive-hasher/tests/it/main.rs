//! The program as a person runs it, and what other people's programs make of its outputs.
//!
//! Tests that need a stock tool say so and pass without it; with `MIRROR_REQUIRE_TOOLS` set, as
//! `.ci/run` does, they fail.
#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "tests write their own files")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(target_os = "linux")]
mod digests;
mod faults;
mod flips;
// Names that are not UTF-8, or composed and decomposed, are not for every file system.
#[cfg(target_os = "linux")]
mod names;
mod signing;
mod verifying;
mod world;
