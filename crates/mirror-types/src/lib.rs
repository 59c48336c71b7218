#![doc = include_str!("../README.md")]

mod address;
mod advice;
mod bundle_number;
mod cause;
mod fault;
mod held_back;
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
pub use held_back::{ADVISORIES_STALE_AFTER, HeldBack, Rule, UnknownRule};
pub use layout::{Layout, UnknownLayout, index_path, index_prefix};
pub use location::{Codec, Location, Locations, MemberLocation, StoreId};
pub use mirror_id::{InvalidMirrorId, MirrorId};
pub use name::{
    CrateName, InvalidName, InvalidVersion, MAX_NAME_BYTES, MAX_VERSION_BYTES, ReleaseId, VersionText,
};
pub use record::{IndexRecord, last_of_each};
pub use sha256::{InvalidSha256, Sha256};
pub use text::{
    CLIPPED_MESSAGE_BYTES, CLIPPED_VALUE_BYTES, Printable, clipped, disk_advice, human_bytes, human_time,
    near, nearest,
};
pub use unexpected::Unexpected;
