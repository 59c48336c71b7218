//! Reads the log in which earlier versions kept index lines, to convert it.
//!
//! `.mirror/index.N.lines` begins with [`HEAD`]. One zstd frame for each index file follows, in the order of writing;
//! the last frame of a file counts. When much of a log was dead, a log with the next number was begun; it has the
//! newest frames.

use std::io;
use std::path::{Path, PathBuf};

use mirror_fs::read_exact_at;
use mirror_types::index_path;

use super::database::at;
use super::digest::TextDigest;
use super::packer::PackedLines;
use super::reader::MAX_BYTES;
use crate::error::ManifestError;

/// The beginning of a log; the number is the version of its format.
pub(super) const HEAD: &[u8] = b"mirror-index-lines 1\n";
/// Bytes of a log that are searched at once.
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

/// Passes the lines in a log to `visit`, in order, up to where it is torn. Leaves out frames that do not show whose
/// lines they have. Returns whether it is a log of this format.
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
        // No whole frame in the window: a larger one, or none at all.
        wanted = if taken == 0 { wanted * 2 } else { WINDOW_BYTES };
        if taken == 0 && (window.len() as u64 == len - begin || wanted > MAX_BYTES) {
            break;
        }
        begin += taken;
    }
    Ok(true)
}

/// Returns the lines in a frame; the first line has the name of the crate.
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
