#![doc = include_str!("../README.md")]

mod error;
mod extract;
mod observe;
mod one;
mod open;
mod options;
mod output;
mod recheck;
mod work;

pub use error::ExtractError;
pub use extract::extract;
pub use mirror_bundle::BundleLimits;
pub use mirror_types::{CrateName, ReleaseId, VersionText};
pub use observe::{ExtractEvent, ExtractObserver};
pub use tokio_util::sync::CancellationToken;

pub use options::{ExtractOptions, ExtractOutcome, ExtractTask, Wanted};
