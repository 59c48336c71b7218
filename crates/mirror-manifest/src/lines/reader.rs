use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use mirror_fs::{FileError, read_exact_at};
use mirror_types::index_path;

use super::format::{HEAD, file_of};
use super::row::{IndexFileRow, TextDigest};
use crate::catalogue::Catalogue;
use crate::error::ManifestError;

/// No index file is longer, packed or not: what says otherwise is damaged.
const MAX_BYTES: u64 = 256 << 20;
/// Bytes that are looked through at once.
const STEP: u64 = 1 << 20;

/// A file of lines, open for reading. Any number of threads may read.
#[derive(Debug)]
pub struct LinesReader {
    file: File,
    path: PathBuf,
    generation: u64,
}

pub(super) fn at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ManifestError + 'a {
    move |source| match mirror_fs::not_plain(&source) {
        Some(_) => ManifestError::Strange { path: path.to_owned() },
        None => ManifestError::Lines { doing, path: path.to_owned(), source },
    }
}

/// Says what was being done to the file of lines.
pub(super) fn log_fault(error: FileError) -> ManifestError {
    at(error.doing, &error.path)(error.source)
}

impl LinesReader {
    /// Opens the file that the rows of the catalogue are of, below `dir`, which is the mirror's
    /// `.mirror`. `None` when lines were never kept, or their file is gone. Takes no lock.
    ///
    /// # Errors
    /// When SQLite fails, or the file cannot be opened.
    pub fn open(dir: &Path, catalogue: &Catalogue) -> Result<Option<Self>, ManifestError> {
        let Some(state) = catalogue.lines_state()? else { return Ok(None) };
        let path = file_of(dir, state.generation);
        match mirror_fs::open_to_read(&path) {
            Ok(file) => Ok(Some(Self { file, path, generation: state.generation })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("open", &path)(error)),
        }
    }

    pub(super) fn of(file: File, path: &Path, generation: u64) -> Self {
        Self { file, path: path.to_owned(), generation }
    }

    /// The number in the file's name: rows of a catalogue that names another are not of this file.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the file begins as it should and holds `len` bytes.
    pub(super) fn holds(&self, len: u64) -> Result<bool, ManifestError> {
        let found = self.file.metadata().map_err(at("look at", &self.path))?.len();
        let mut head = [0; HEAD.len()];
        Ok(found >= len.max(HEAD.len() as u64)
            && read_exact_at(&self.file, &mut head, 0).is_ok()
            && head == *HEAD)
    }

    /// The text of an index file, as upstream has it. Blocks.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub fn read(&self, row: &IndexFileRow) -> Result<Vec<u8>, ManifestError> {
        let frame = self.frame(row)?;
        self.unpack(row, &frame)
    }

    /// Rows of what is in the file, made of the frames alone, up to the first that is none; of each path
    /// the last. Reads everything.
    pub(super) fn scan(&self) -> Result<Vec<IndexFileRow>, ManifestError> {
        let mut rows = HashMap::new();
        let len = self.file.metadata().map_err(at("look at", &self.path))?.len();
        let (mut begin, mut waiting) = (HEAD.len() as u64, Vec::new());
        let mut wanted = STEP;
        while begin < len {
            waiting.resize(usize::try_from(wanted.min(len - begin)).unwrap_or(0), 0);
            read_exact_at(&self.file, &mut waiting, begin).map_err(at("read", &self.path))?;
            let mut rest = waiting.as_slice();
            while let Ok(frame_len) = zstd::zstd_safe::find_frame_compressed_size(rest)
                && (1..=rest.len()).contains(&frame_len)
            {
                let frame_offset = begin + (waiting.len() - rest.len()) as u64;
                let (frame, behind) = rest.split_at(frame_len);
                if let Some(row) = row_of(frame, frame_offset) {
                    rows.insert(row.path.clone(), row);
                }
                rest = behind;
            }
            let taken = (waiting.len() - rest.len()) as u64;
            // Nothing whole in it: a larger frame, or none at all.
            wanted = if taken == 0 { wanted * 2 } else { STEP };
            if taken == 0 && (waiting.len() as u64 == len - begin || wanted > MAX_BYTES) {
                break;
            }
            begin += taken;
        }
        Ok(rows.into_values().collect())
    }

    pub(super) fn frame(&self, row: &IndexFileRow) -> Result<Vec<u8>, ManifestError> {
        let len = usize::try_from(row.frame_len.min(MAX_BYTES)).unwrap_or(0);
        let mut frame = vec![0; len];
        match read_exact_at(&self.file, &mut frame, row.frame_offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.bad(row)),
            read => read.map(|()| frame).map_err(at("read", &self.path)),
        }
    }

    pub(super) fn unpack(&self, row: &IndexFileRow, frame: &[u8]) -> Result<Vec<u8>, ManifestError> {
        let size = usize::try_from(row.size.min(MAX_BYTES)).unwrap_or(0);
        let text = zstd::bulk::decompress(frame, size).map_err(|_| self.bad(row))?;
        if TextDigest::of(&text) == row.digest { Ok(text) } else { Err(self.bad(row)) }
    }

    fn bad(&self, row: &IndexFileRow) -> ManifestError {
        ManifestError::BadLines { path: self.path.clone(), offset: row.frame_offset, file: row.path.clone() }
    }
}

/// What a frame is the text of, by its first line.
fn row_of(frame: &[u8], frame_offset: u64) -> Option<IndexFileRow> {
    let size = zstd::zstd_safe::get_frame_content_size(frame).ok()??;
    let text = zstd::bulk::decompress(frame, usize::try_from(size.min(MAX_BYTES)).ok()?).ok()?;
    Some(IndexFileRow {
        path: index_path(&mirror_index_line::crate_of(&text)?),
        digest: TextDigest::of(&text),
        size,
        frame_offset,
        frame_len: frame.len() as u64,
    })
}
