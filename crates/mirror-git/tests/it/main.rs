//! The local index against repositories that the real git made; clones and updates, from the real
//! `git daemon` and the real `git http-backend`.
#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "tests write their own files")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod checkouts;
mod examples;
mod fixture;
mod floods;
mod large_objects;
mod network;
mod oversize;
mod packing;
mod reading;
mod remotes;
mod repositories;
