//! The lines of the index, byte for byte as upstream has them: what a mirror is served from.
//!
//! `.mirror/index.N.lines` begins with [`HEAD`](format::HEAD); behind it stands one zstd frame for each index file, in
//! the order in which they were read. The catalogue's table `index_files` says which frame is a file's
//! newest. A frame is durable before a row points to it, so what a crash leaves behind the last row is cut
//! by the next run. When more than half of the file is of no use any more, what is left is written into a
//! file of the next number: whoever reads the old one can go on.

mod format;
mod packer;
mod reader;
mod row;
mod writer;

pub use packer::{LinePacker, PackedLines};
pub use reader::LinesReader;
pub use row::{IndexFileRow, TextDigest};
pub use writer::{LinesReport, LinesWriter};
