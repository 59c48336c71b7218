//! The program as a person runs it.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod hostile;
mod program;
mod source;
mod tools;
mod world;
