//! The fetcher against scripted local origins.

#![expect(clippy::disallowed_methods, reason = "tests write their own files")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod broken;
mod examples;
mod faults;
mod kit;
mod limits;
mod origin;
mod pool;
mod proxy;
mod resume;
mod secure;
