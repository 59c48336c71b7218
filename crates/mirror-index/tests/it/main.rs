//! The local index against repositories that the real git made.
#![expect(clippy::disallowed_methods, reason = "tests make their own files")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod git;
