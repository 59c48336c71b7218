//! Bundles: many releases in few files, safe to append to over years, readable with ordinary tools. Blocking code.
//!
//! `bundle-0000.tar.zst` is a tar file of loose paths. Each member (tar header, data, padding) is one zstd
//! frame, with its size and a checksum, so that any frame decodes alone and all of them in a row are one tar
//! file for `tar --zstd`. A last frame holds the end of the archive; behind it the seek table of zstd's seekable
//! format is in a skippable frame. A manifest beside it lists every member with checksum, offset and length
//! ([`BundleMember`]); `bundles.index.jsonl` has a line for each sealed bundle ([`BundleIndexLine`]).
//! `docs/bundles.md` has all of it, and what to do with ordinary tools.
//!
//! [`BundleWriter`] appends and recovers. [`BundleReader`] reads one member by its offset, all in order, or runs of
//! frames on several threads, and an [`OpenMember`] is read as slowly as somebody takes it; also bundles of the source
//! system, which are one continuous stream. Reading works within [`BundleLimits`] and refuses what ordinary tools might
//! read in two ways; [`BundleFault`] has a name for each such thing.
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
mod growing;
mod limits;
mod member;
mod names;
mod open_bundles;
mod open_member;
mod pack;
mod reader;
mod record;
mod recover;
mod stored;
mod stream;
mod tar;
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
pub use writer::{BundleOptions, BundleWriter, MemberBody, NewMember, refuse_others};
pub use zframe::Frame;
