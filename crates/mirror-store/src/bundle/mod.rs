//! Bundles: many releases in few files, safe to append to over years, readable with ordinary tools.
//!
//! # Format
//! `bundle-0000.tar.zst` is a tar file of loose paths. Each member (tar header, data, padding) is one zstd
//! frame, with its size and a checksum, so that any frame decodes alone and all of them in a row are one tar
//! file for `tar --zstd`. A last frame holds the end of the archive; behind it the seek table of zstd's seekable
//! format stands in a skippable frame. A manifest beside it lists every member with checksum, offset and length
//! ([`BundleMember`]); `bundles.index.jsonl` has a line for each sealed bundle ([`BundleIndexLine`]).
//! `docs/bundles.md` has all of it, and what to do with ordinary tools.
//!
//! # Writing
//! ```text
//! let (mut writer, report) = BundleWriter::open(dir, BundleOptions::default())?;  // lock, recovery
//! // report.relisted: members of an earlier run that had not been told as committed
//! writer.append(NewMember { id, path, url, sha256, body: MemberBody::Memory(Box::new(bytes)) })?;  // many
//! let placed: Vec<BundleMember> = writer.commit()?;   // durable; in the order of the calls
//! // now speak of them in manifest and catalogue: bundle_path, frame_offset, frame_len
//! drop(writer);       // the bundle keeps growing in the next run; or writer.seal()? before
//! ```
//! `append` hands members in handfuls to threads that compress; one thread appends the frames in the order of
//! the calls. `commit` syncs the bundle, then appends the lines of its manifest and syncs those. What is
//! listed is therefore durable; a run that is killed leaves at most whole or torn frames behind what is
//! listed, which the next `open` lists or cuts. A bundle of at least [`BundleOptions::bundle_bytes`] is
//! sealed, at a commit or between two members, and never touched again. The same path twice also begins a new bundle.
//!
//! A run should leave its bundle growing (`.partial`), or nights with a few new releases would leave
//! thousands of small bundles. Readers take growing bundles as far as their manifest lists them.
//!
//! Memory: what waits ([`BundleOptions::queue_bytes`]), a few buffers, and some 50 bytes for each member of
//! the growing bundle.
//!
//! # Reading
//! [`BundleReader`] reads one member by its offset, all in order, or runs of frames on several threads, and an
//! [`OpenMember`] is read as slowly as somebody takes it; also
//! bundles of the source system, which are one continuous stream. It works within [`BundleLimits`] and refuses
//! what ordinary tools might read in two ways; [`BundleFault`] has a name for each such thing.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod cuts;
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

pub use fault::BundleFault;
pub use find::find_members;
pub use limits::{BundleLimits, MAX_MEMBER_BYTES, MAX_MEMBERS, MAX_RATIO, MAX_WINDOW_BYTES};
pub use member::Member;
pub(crate) use names::release_of;
pub use names::{BundleFiles, list_bundles};
pub use open_bundles::{OpenBundle, OpenBundles};
pub use open_member::OpenMember;
pub use reader::{BundleReader, FrameBuffers, FrameMap};
pub use record::{BundleIndexLine, BundleMember, first_member, read_index, read_manifest};
pub use recover::BundleReport;
pub use writer::{BundleOptions, BundleWriter, MemberBody, NewMember, refuse_others};
pub use zframe::Frame;
