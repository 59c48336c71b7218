//! Serves a mirror to Cargo: the sparse index of what is held, downloads out of the loose tree and out of
//! bundles, search. Read-only.
//!
//! A request is never joined to a path. Its parts are parsed as a crate name and a version, looked up in the
//! catalogue, and what the catalogue says is read. An index file lists a release only when the catalogue
//! holds it with the checksum of its line and its bytes are where the catalogue says.
//!
//! [`Mirror`] has the look-ups (blocking code), [`Server`] answers requests with them.

mod answer;
mod body;
mod cache;
mod conditions;
mod connection;
mod deliver;
mod error;
mod export;
mod files;
mod http1;
mod http2;
mod listing;
mod metrics;
mod mirror;
mod options;
mod page;
mod places;
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
pub use listing::Listing;
pub use mirror::Mirror;
pub use mirror_types::{Printable, ReleaseId};
pub use options::{ServeLimits, ServeOptions, TlsFiles};
pub use places::Located;
pub use samples::Samples;
pub use server::{Server, public_url};
