#![doc = include_str!("../README.md")]
#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests write their own files"))]

#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod cuts;
mod error;
mod fault;
mod find;
mod limits;
mod member;
mod names;
mod open_bundles;
mod open_member;
mod pack;
mod partial;
mod reader;
mod record;
mod recover;
mod stored;
mod stream;
mod tar;
mod tar_frames;
mod writer;
mod zframe;

pub use error::BundleError;
pub use fault::BundleFault;
pub use find::find_members;
pub use limits::{BundleLimits, MAX_MEMBER_BYTES, MAX_MEMBERS, MAX_RATIO, MAX_WINDOW_BYTES};
pub use member::Member;
pub use names::{BundleFiles, list_bundles, release_of};
pub use open_bundles::{OpenBundle, OpenBundles};
pub use open_member::OpenMember;
pub use reader::{BundleReader, FrameBuffers, FrameMap};
pub use record::{BundleIndexLine, BundleMember, first_member, read_index, read_manifest};
pub use recover::BundleReport;
pub use tar_frames::TarFrames;
pub use writer::{BundleOptions, BundleWriter, MemberBody, NewMember, refuse_others};
pub use zframe::Frame;
