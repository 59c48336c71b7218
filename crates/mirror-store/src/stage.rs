use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::PathBuf;
use std::sync::Arc;

use mirror_fs::{FileReader, Fs};

use crate::error::{StoreError, at};

/// Bytes below `.mirror/stage/`, without a final name. If they are dropped uncommitted, they are removed.
#[derive(Debug)]
pub struct Staged {
    pub(crate) temp: PathBuf,
    pub(crate) rel: String,
    pub(crate) size: u64,
    pub(crate) published: bool,
}

impl Staged {
    /// Returns the length of the file in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            let _ = mirror_fs::remove(&self.temp);
        }
    }
}

/// A writer of a large body into the stage.
#[derive(Debug)]
pub struct StagedWriter {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) file: File,
    pub(crate) temp: PathBuf,
    pub(crate) finished: bool,
}

impl StagedWriter {
    /// Appends a chunk. Blocks.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.fs.append(&self.file, &self.temp, chunk).map_err(at("write", &self.temp))
    }

    /// Discards what was written so far.
    ///
    /// # Errors
    /// When the file cannot be truncated.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.fs.cut(&self.file, &self.temp, 0).map_err(at("cut", &self.temp))
    }

    /// Returns a reader of what was written. It may outlive this writer.
    ///
    /// # Errors
    /// When it cannot be read back.
    pub fn reader(&self) -> Result<FileReader, StoreError> {
        let reader = self.file.try_clone().and_then(FileReader::of);
        let reader = reader.and_then(|reader| reader.ok_or(io::ErrorKind::InvalidInput.into()));
        reader.map_err(at("read back", &self.temp))
    }

    /// Returns what was written, and removes the file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn into_bytes(mut self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let read = self.file.rewind().and_then(|()| self.file.read_to_end(&mut bytes));
        read.map_err(at("read back", &self.temp))?;
        Ok(bytes)
    }

    /// Finishes the file, to be published as `rel`.
    ///
    /// # Errors
    /// When `rel` is not a plain relative path, or the disk refuses.
    pub fn finish(mut self, rel: &str) -> Result<Staged, StoreError> {
        crate::path::below(&self.temp, rel)?;
        let size = self.file.metadata().map_err(at("look at", &self.temp))?.len();
        self.finished = true;
        Ok(Staged { temp: self.temp.clone(), rel: rel.to_owned(), size, published: false })
    }
}

impl Drop for StagedWriter {
    fn drop(&mut self) {
        if !self.finished {
            let _ = mirror_fs::remove(&self.temp);
        }
    }
}
