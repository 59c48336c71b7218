#![doc = include_str!("../README.md")]

mod answer;
mod attempt;
mod body;
mod connect;
mod deadlines;
mod failure;
mod fair;
mod fetcher;
mod hash_batcher;
mod limit;
mod options;
mod plus;
mod pool;
mod proxy;
mod redirect;
mod request;
mod retry;
mod route;
mod run;
mod shared;
mod silence;
mod spool;
mod stream;

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
pub use options::{FetchObserver, FetchOptions, ProxySettings, Wait};
pub use proxy::{Proxies, ProxyFault, UnusableProxy};
pub use request::FetchRequest;
pub use run::RunEnd;
pub use spool::{FileSpool, FileSpools, MemorySpool, MemorySpools, Spool, SpoolFactory};
pub use stream::FetchStream;
