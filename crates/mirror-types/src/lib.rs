//! The checked vocabulary that every other crate of the mirror speaks. No I/O.
//!
//! - [`CrateName`], [`VersionText`], [`ReleaseId`]: text that is safe to put into a path or a URL.
//! - [`Sha256`]: a checksum, as in the `cksum` field of the index.
//! - [`IndexRecord`]: what the mirror needs to know of one line of the index.
//! - [`MirrorId`]: tells one mirror from another.
//! - [`BundleNumber`]: after which the files of a bundle are named.
//! - [`Layout`]: where a release lies below the mirror root.
//! - [`Location`], [`Locations`]: where the bytes of a release are held.
//! - [`Address`]: an address that may carry a secret, and does not show it.
//! - [`FaultKind`], [`ExitStatus`]: what went wrong, and how a program ends.
//! - [`Advice`], [`Cause`]: what a person can do about it, and what others said of it.
//! - [`Unexpected`]: a fault of the program that another library noticed.
//! - [`upstream`]: the product's defaults for the registry that it mirrors.

mod address;
mod advice;
mod bundle_number;
mod cause;
mod fault;
mod layout;
mod location;
mod mirror_id;
mod name;
mod record;
mod sha256;
mod text;
mod unexpected;
pub mod upstream;

pub use address::{Address, redacted};
pub use advice::Advice;
pub use bundle_number::BundleNumber;
pub use cause::{Cause, chain, one_line};
pub use fault::{ExitStatus, FailedRecord, FaultKind, KEPT_FAILURES};
pub use layout::{Layout, UnknownLayout, index_path, index_prefix};
pub use location::{Codec, Location, Locations, MemberLocation, StoreId};
pub use mirror_id::{InvalidMirrorId, MirrorId};
pub use name::{
    CrateName, InvalidName, InvalidVersion, MAX_NAME_BYTES, MAX_VERSION_BYTES, ReleaseId, VersionText,
};
pub use record::{IndexRecord, last_of_each};
pub use sha256::{InvalidSha256, Sha256};
pub use text::{CLIPPED_MESSAGE_BYTES, CLIPPED_VALUE_BYTES, Printable, clipped, disk_advice, human_bytes};
pub use unexpected::Unexpected;
