use std::io;

use mirror_types::Printable;

/// A fault of a bundle. Each kind of attack or damage has a name of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleFault {
    /// The path begins with a slash.
    #[error("its path is absolute")]
    AbsolutePath,
    /// The path has a part `..` or `.`, or an empty part.
    #[error("its path has a part that is empty, `.` or `..`")]
    ParentPath,
    /// The path has a backslash or a drive letter.
    #[error("its path has a backslash or a colon, which separate directories elsewhere")]
    Backslash,
    /// The path is not that of a release in either layout.
    #[error("its path is not that of a release in the layouts shard or cargo")]
    NotARelease,
    /// A symbolic or hard link.
    #[error("it is a link; bundles hold regular files only")]
    Link,
    /// A device.
    #[error("it is a device; bundles hold regular files only")]
    Device,
    /// A named pipe.
    #[error("it is a named pipe; bundles hold regular files only")]
    Fifo,
    /// A directory.
    #[error("it is a directory; bundles hold regular files only")]
    Directory,
    /// A sparse file, of GNU's kind or of PAX.
    #[error("it is a sparse file, whose size and content are not what they seem")]
    Sparse,
    /// GNU's long names, which hide the header that follows.
    #[error("it uses GNU's long names; long names are written as a PAX path")]
    GnuLongName,
    /// A PAX header for all that follows.
    #[error("it is a global PAX header, which changes the members after it")]
    PaxGlobal,
    /// A PAX record with another key than a path.
    #[error("its PAX header has the record {}, which may change what the member is", Printable(.0))]
    PaxKey(String),
    /// A PAX record that contradicts the header.
    #[error("its PAX header has another {0} than the header")]
    PaxOverride(&'static str),
    /// A malformed PAX header.
    #[error("its PAX header is malformed")]
    PaxMalformed,
    /// A type of entry that is none of these.
    #[error("its type {0:#04x} does not belong in a bundle")]
    ForeignType(u8),
    /// The same path occurs twice in one bundle.
    #[error("its path is in the bundle twice")]
    Duplicate,
    /// The header's checksum is wrong.
    #[error("the checksum of its header is wrong")]
    HeaderChecksum,
    /// A header that is no plain ustar header.
    #[error("its header is not plain ustar: {0}")]
    Header(&'static str),
    /// The padding of the last block is not zero.
    #[error("the padding after its data is not zero")]
    Padding,
    /// The size exceeds the caller's limit.
    #[error("it has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// More members than the caller's limit.
    #[error("the bundle has more than {0} members")]
    TooMany(u64),
    /// Unpacks to far more bytes than it has.
    #[error("a frame unpacks to far more bytes than a bundle of crates would")]
    Bomb,
    /// A frame needs more memory than every decoder allows.
    #[error("a frame needs a window of {window} bytes, more than the limit of {limit}")]
    Window {
        /// Window in bytes.
        window: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A frame refers to a dictionary.
    #[error("a frame needs a dictionary")]
    Dictionary,
    /// A skippable frame that is not the seek table at the end.
    #[error("a skippable frame is where none belongs; tools would skip what it hides")]
    SkippableFrame,
    /// There is no zstd frame where one should begin.
    #[error("no zstd frame begins here")]
    NotAFrame,
    /// The file ends in the middle.
    #[error("the bundle ends in the middle of it")]
    Torn,
    /// zstd does not accept the frame.
    #[error("the frame is damaged: {0}")]
    Damaged(String),
    /// The two zero blocks at the end of every tar file are missing.
    #[error("the end of the archive (two blocks of zeros) is missing; the bundle was cut")]
    MissingTrailer,
    /// Something follows the end of the archive.
    #[error("something follows the end of the archive")]
    TrailingData,
    /// The seek table contradicts the frames.
    #[error("the seek table is wrong: {0}")]
    SeekTable(&'static str),
    /// A frame holds something other than one whole member.
    #[error("the frame does not hold exactly one member")]
    FrameShape,
    /// The manifest of the bundle does not list the member.
    #[error("it is not in the bundle's manifest")]
    NotInManifest,
    /// The manifest lists a member that the bundle does not have.
    #[error("the bundle's manifest lists it, the bundle does not have it")]
    NotInBundle,
    /// The bytes differ from those in the manifest.
    #[error("its bytes do not have the checksum of the bundle's manifest")]
    Checksum,
    /// The size differs from that in the manifest.
    #[error("it has {found} bytes, the bundle's manifest says {listed}")]
    Size {
        /// The size in the bundle.
        found: u64,
        /// The size in the manifest.
        listed: u64,
    },
    /// The manifest has another place for the member.
    #[error("it is not where the bundle's manifest says")]
    Misplaced,
    /// A line of a manifest or of the index is of a later format.
    #[error("it has format {found}, this version knows {known}; use a newer version")]
    Newer {
        /// The format.
        found: u32,
        /// The newest known format.
        known: u32,
    },
    /// A line of a manifest or of the index is no record.
    #[error("line {line} is no record ({reason})")]
    Line {
        /// Counted from 1.
        line: u64,
        /// The reason.
        reason: String,
    },
    /// The data of a new member is not as long as announced.
    #[error("{found} bytes came, {said} were announced")]
    ShortBody {
        /// Bytes that were read.
        found: u64,
        /// Bytes announced.
        said: u64,
    },
}

/// A fault of the bundle, or of the disk.
#[derive(Debug)]
pub(crate) enum Trouble {
    Fault(BundleFault),
    /// A fault of the member with this path.
    Of(String, BundleFault),
    Io(io::Error),
}

impl From<BundleFault> for Trouble {
    fn from(fault: BundleFault) -> Self {
        Self::Fault(fault)
    }
}

/// Faults travel through `Read` inside of an `io::Error`.
impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.downcast::<BundleFault>() {
            Ok(fault) => Self::Fault(fault),
            Err(error) => Self::Io(error),
        }
    }
}

impl From<BundleFault> for io::Error {
    fn from(fault: BundleFault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}
