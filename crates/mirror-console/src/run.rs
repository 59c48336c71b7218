//! The identity of a run, and its end.

use serde::Serialize;

/// What a run is about. Nothing in it is secret: addresses come without their credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunIdentity {
    /// The path of the mirror.
    pub mirror: String,
    /// The index, as a person would name it.
    pub index: String,
    /// The command line.
    pub command: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// True if nothing is written.
    pub is_dry_run: bool,
    /// True if held releases are hashed again.
    pub verifies: bool,
    /// Milliseconds since 1970 when it started.
    pub started_ms: u64,
}

/// The end of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Ended {
    /// The exit code of the program.
    pub exit_code: u8,
    /// The summary that the terminal shows, or the error.
    pub summary: String,
    /// The reason for which the run could not go on, in one line; empty when it came to its end.
    pub error: String,
    /// What to do about that, in one line; may be empty.
    pub advice: String,
    /// True if a person or the system stopped it.
    pub is_interrupted: bool,
    /// True if it gave up before it had tried everything; `error` says why.
    pub is_given_up: bool,
    /// Releases that are missing, and whose absence a person has acknowledged.
    pub acknowledged: u64,
    /// Milliseconds since 1970.
    pub ended_ms: u64,
}
