//! A job in, verified bytes out.
//!
//! [`Fetcher`] holds a small pool of HTTP/2 connections per origin (HTTP/1.1 keep-alive where HTTP/2 is
//! not spoken), follows redirects (to other origins only where the bytes are compared with a checksum, or the caller allows it), hashes bodies, large ones while they stream, resumes spooled bodies,
//! and owns the only retry layer. It writes no files: large bodies go to a [`Spool`] the caller provides.
//!
//! Memory: bodies held in memory count against [`FetchOptions::memory_budget_bytes`] until the [`Verified`] is
//! dropped; bodies that do not fit are spooled. Nothing here blocks except the caller's [`Spool`].

mod answer;
mod attempt;
mod body;
mod connect;
mod desk;
mod failure;
mod fair;
mod fetcher;
mod limit;
mod options;
mod plus;
mod pool;
mod proxy;
mod redirect;
mod request;
mod retry;
mod run;
mod shared;
mod silence;
mod spool;
mod watch;

pub use answer::{Body, Content, Fetched, Verified};
pub use failure::{Failure, FailureKind, FetchSetupError, RetryKind};
pub use fetcher::Fetcher;
pub use options::{FetchObserver, FetchOptions, ProxySettings};
pub use proxy::{Proxies, UnusableProxy};
pub use request::FetchRequest;
pub use run::RunEnd;
pub use spool::{Spool, SpoolFactory};
