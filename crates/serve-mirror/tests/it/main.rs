//! Runs the program as a person does, with requests of the real Cargo and of hostile clients.
#![expect(clippy::disallowed_methods, reason = "tests write their own files")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod at_snapshot;
mod cargo;
mod client;
mod crowd;
mod export;
mod follows;
mod held_back;
mod hostile;
mod http;
mod live;
mod offered;
mod other_store;
mod pages;
mod quiet;
mod snapshots;
mod world;
#[path = "../../../mirror-store/tests/it/zip_store.rs"]
mod zip_store;
