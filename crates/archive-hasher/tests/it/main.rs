//! Runs the program as a person does, and reads its outputs with other programs.
//!
//! Tests that need a missing stock tool report that and pass; with `MIRROR_REQUIRE_TOOLS` set, as `.ci/run` does, they
//! fail.
#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "tests write their own files")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(target_os = "linux")]
mod digests;
mod faults;
mod flips;
// Some file systems refuse names that are not UTF-8, or treat composed and decomposed ones alike.
#[cfg(target_os = "linux")]
mod names;
mod pages;
mod signing;
mod verifying;
mod world;
mod zips;
