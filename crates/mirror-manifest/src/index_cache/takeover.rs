//! The log in which earlier versions kept index lines, read to be taken over.
//!
//! `.mirror/index.N.lines` begins with [`HEAD`]. Behind it stands one zstd frame for each index file, in the order in
//! which they were written; the last one of a file counts. A file of the next number was begun when much of one was
//! dead; it has the newest frames.

use std::io;
use std::path::{Path, PathBuf};

use mirror_fs::read_exact_at;
use mirror_types::index_path;

use super::database::at;
use super::digest::TextDigest;
use super::packer::PackedLines;
use super::reader::MAX_BYTES;
use crate::error::ManifestError;

/// Begins a log; the number is the version of its format.
pub(super) const HEAD: &[u8] = b"mirror-index-lines 1\n";
/// Bytes of a log that are looked through at once.
const WINDOW_BYTES: u64 = 1 << 20;

/// Returns the logs below a mirror's `.mirror`, oldest first.
pub(super) fn logs(dir: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at("list the directory of", dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(at("list the directory of", dir))?.path();
        found.extend(generation_of(&path).map(|generation| (generation, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Returns the number in the name of a log.
fn generation_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("index.")?.strip_suffix(".lines")?.parse().ok()
}

/// Passes the lines in a log to `visit`, in its order, up to where it is torn; what a frame does not say whose lines
/// it has is left out. Returns whether it is a log of this format.
pub(super) fn read(
    path: &Path,
    visit: &mut dyn FnMut(PackedLines) -> Result<(), ManifestError>,
) -> Result<bool, ManifestError> {
    let file = mirror_fs::open_to_read(path).map_err(at("open", path))?;
    let len = file.metadata().map_err(at("look at", path))?.len();
    let mut head = [0; HEAD.len()];
    if len < HEAD.len() as u64 {
        return Ok(false);
    }
    read_exact_at(&file, &mut head, 0).map_err(at("read", path))?;
    if head != *HEAD {
        return Ok(false);
    }
    let (mut begin, mut window, mut wanted) = (HEAD.len() as u64, Vec::new(), WINDOW_BYTES);
    while begin < len {
        window.resize(usize::try_from(wanted.min(len - begin)).unwrap_or(0), 0);
        read_exact_at(&file, &mut window, begin).map_err(at("read", path))?;
        let mut rest = window.as_slice();
        while let Ok(frame_len) = zstd::zstd_safe::find_frame_compressed_size(rest)
            && (1..=rest.len()).contains(&frame_len)
        {
            let (frame, behind) = rest.split_at(frame_len);
            unpacked(frame).map_or(Ok(()), &mut *visit)?;
            rest = behind;
        }
        let taken = (window.len() - rest.len()) as u64;
        // Nothing whole in it: a larger frame, or none at all.
        wanted = if taken == 0 { wanted * 2 } else { WINDOW_BYTES };
        if taken == 0 && (window.len() as u64 == len - begin || wanted > MAX_BYTES) {
            break;
        }
        begin += taken;
    }
    Ok(true)
}

/// Returns the lines in a frame; their first says whose they are.
fn unpacked(frame: &[u8]) -> Option<PackedLines> {
    let size = zstd::zstd_safe::get_frame_content_size(frame).ok()??;
    let text = zstd::bulk::decompress(frame, usize::try_from(size.min(MAX_BYTES)).ok()?).ok()?;
    Some(PackedLines {
        path: index_path(&mirror_index_line::crate_of(&text)?),
        digest: TextDigest::of(&text),
        size,
        frame: frame.to_vec(),
    })
}
