//! The program as a person runs it, and what other people's programs make of its outputs.
//!
//! Tests that need a stock tool say so and pass without it; with `MIRROR_REQUIRE_TOOLS` set, as
//! `.ci/run` does, they fail.
#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "tests write their own files")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod digests;
mod faults;
mod flips;
mod names;
mod signing;
mod verifying;
mod world;
