//! Serves a mirror to Cargo: the sparse index of what is held, downloads out of the loose tree and out of
//! bundles, search. Read-only.
//!
//! A request is never joined to a path. Its parts are parsed as a crate name and a version, looked up in the
//! catalogue, and what the catalogue says is read. An index file lists a release only when the catalogue
//! holds it with the checksum of its line and its bytes are where the catalogue says.
//!
//! [`Mirror`] has the look-ups (blocking code), [`Server`] answers requests with them.

mod answer;
mod app;
mod body;
mod cache;
mod client;
mod conditions;
mod connection;
mod deliver;
mod error;
mod export;
mod files;
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
pub use mirror_repo::{Listing, Located, Mirror};
pub use mirror_store::CrateStore;
pub use mirror_types::{Printable, ReleaseId};
pub use options::{ServeLimits, ServeOptions, TlsFiles};
pub use samples::Samples;
pub use server::{Server, public_url};
pub use tokio_util::sync::CancellationToken;

/// Opens the mirror at `root` to be read. `bundles_dir`: where its bundles are, if not where the mirror says.
///
/// # Errors
/// When there is none, its bundles are missing, or what is there cannot be read.
pub fn open(root: &std::path::Path, bundles_dir: Option<&std::path::Path>) -> Result<Mirror, ServeError> {
    Ok(Mirror::open(root, bundles_dir)?)
}
