//! Runs the program as a person does.
#![expect(clippy::disallowed_methods, reason = "tests write their own files")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod hostile;
mod in_the_way;
mod pages;
mod program;
mod source;
mod tools;
mod world;
