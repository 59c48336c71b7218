#![doc = include_str!("../README.md")]

mod answer;
mod app;
mod body;
mod cache;
mod changelog;
mod client;
mod conditions;
mod connection;
mod console;
mod deliver;
mod error;
mod events;
mod export;
mod files;
mod freshness;
mod held_back;
mod http1;
mod http2;
mod metrics;
mod options;
mod page;
mod proper;
mod reply;
mod route;
mod samples;
mod search;
mod seats;
mod server;
mod source;
mod tls;
mod watch;

pub use error::ServeError;
pub use export::{ExportFormat, ExportOptions, ExportOutcome, export};
pub use freshness::{SnapshotRemains, SnapshotState};
pub use held_back::{HeldBackTotals, WithoutPubtime, advisories_age, next_due};
pub use mirror_repo::{Listing, Located, Mirror};
pub use mirror_store::CrateStore;
pub use mirror_types::{ADVISORIES_STALE_AFTER, Printable, ReleaseId, Rule};
pub use options::{ServeLimits, ServeOptions, TlsFiles};
pub use samples::Samples;
pub use server::{Server, public_url};
pub use tokio_util::sync::CancellationToken;

/// Opens the mirror at `root` for reading. `bundles_dir` is the directory of its bundles, if it differs from the
/// recorded one.
///
/// # Errors
/// When there is no mirror, its bundles are missing, or a file cannot be read.
pub fn open(root: &std::path::Path, bundles_dir: Option<&std::path::Path>) -> Result<Mirror, ServeError> {
    Ok(Mirror::open(root, bundles_dir)?)
}
