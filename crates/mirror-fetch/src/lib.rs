//! A job in, verified bytes out.
//!
//! [`Fetcher`] holds a small pool of HTTP/2 connections per origin (HTTP/1.1 keep-alive where HTTP/2 is not spoken),
//! follows redirects (to other origins only where the bytes are compared with a checksum, or the caller allows it), hashes
//! bodies, large ones while they stream, resumes spooled bodies, and owns the only retry layer.
//!
//! Memory: bodies held in memory count against [`FetchOptions::memory_budget_bytes`] until the [`Verified`] is dropped.
//! Bodies that do not fit go to a [`Spool`] that the caller provides: [`FileSpools`], [`MemorySpools`], or others. Nothing
//! here blocks except the spool.

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
mod stream;
mod watch;

pub use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue};
pub use mirror_fs::TempFile;
pub use mirror_types::Sha256;
pub use tokio::sync::mpsc;
pub use tokio_util::sync::CancellationToken;
pub use url::Url;

pub use answer::{Body, Content, Fetched, Verified};
pub use failure::{Failure, FailureKind, FetchSetupError, RetryKind};
pub use fetcher::Fetcher;
pub use options::{FetchObserver, FetchOptions, ProxySettings};
pub use proxy::{Proxies, UnusableProxy};
pub use request::FetchRequest;
pub use run::RunEnd;
pub use spool::{FileSpool, FileSpools, MemorySpool, MemorySpools, Spool, SpoolFactory};
pub use stream::FetchStream;
