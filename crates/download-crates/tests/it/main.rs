//! Runs the program as a person does, against a local origin.
#![expect(clippy::disallowed_methods, reason = "tests write their own files")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod advisories;
mod answers;
mod audit;
mod bundled;
mod bundled_trust;
mod catalogue_damage;
mod certificates;
mod closure;
mod crash;
mod faults;
mod git_floods;
mod given_up;
#[cfg(all(target_os = "linux", feature = "jemalloc"))]
mod heap;
mod hostile;
mod hostile_origins;
mod incremental;
mod index_cache;
mod logs;
mod pages;
mod planted;
mod policy;
mod proxies;
mod prune_crash;
mod real_index;
mod removed;
mod rerun;
mod secrets;
mod snapshots;
mod sources;
mod storage;
mod terminal;
mod trees;
mod trust;
mod unverified;
mod update;
mod world;
