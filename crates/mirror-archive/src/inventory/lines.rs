//! Reads the lines of a part of a file: bounded in length, counted, hashed on request.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::Digest as _;

use crate::error::ArchiveError;

/// Longest line that is accepted, bytes: the longest path with every byte escaped.
const MAX_LINE_BYTES: u64 = 256 * 1024;

/// A part of an open file. Several readers share the file, each at its own offset: opened again, it
/// might be another file than the one that was checked.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    file: Arc<Mutex<File>>,
    at: u64,
    end: u64,
}

impl Part {
    pub(super) fn new(file: File, len: u64) -> Self {
        Self { file: Arc::new(Mutex::new(file)), at: 0, end: len }
    }

    /// Returns the part of the same file from `at` to `end`.
    pub(super) fn range(&self, at: u64, end: u64) -> Self {
        Self { file: Arc::clone(&self.file), at, end }
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.at))?;
        let got = file.read(&mut buffer[..wanted])?;
        self.at += got as u64;
        Ok(got)
    }
}

/// Lines, each without its end.
pub(super) struct Lines {
    input: BufReader<Part>,
    line: Vec<u8>,
    /// True if `line` was peeked at and not yet taken.
    ahead: bool,
    /// Number of the last line that was taken, from 1.
    number: u64,
    /// The offset at which the line after it begins.
    offset: u64,
    /// The digest of all lines taken since it was set.
    pub(super) sha256: Option<sha2::Sha256>,
}

impl Lines {
    /// Reads lines from a part. `number` is that of the line before the first.
    pub(super) fn new(part: Part, number: u64) -> Self {
        let offset = part.at;
        let input = BufReader::with_capacity(64 * 1024, part);
        Self { input, line: Vec::new(), ahead: false, number, offset, sha256: None }
    }

    pub(super) fn fault(&self, why: impl Into<String>) -> ArchiveError {
        ArchiveError::Inventory { line: self.number + u64::from(self.ahead), why: why.into() }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next line without consuming it; an error at the end.
    pub(super) fn peek(&mut self) -> Result<&str, ArchiveError> {
        if !self.ahead {
            self.line.clear();
            self.ahead = true;
            let mut input = self.input.by_ref().take(MAX_LINE_BYTES);
            let read = input.read_until(b'\n', &mut self.line);
            let got = read.map_err(ArchiveError::io("reading", b"the inventory"))?;
            if self.line.pop() != Some(b'\n') {
                let why =
                    if got == 0 { "it ends too early" } else { "a line that is too long, or has no end" };
                return Err(self.fault(why));
            }
        }
        std::str::from_utf8(&self.line).map_err(|_| self.fault("not UTF-8"))
    }

    /// Takes the line that was peeked at.
    fn take(&mut self) {
        self.ahead = false;
        self.number += 1;
        self.offset += self.line.len() as u64 + 1;
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&self.line);
            sha256.update(b"\n");
        }
    }

    /// Consumes and returns the next line; an error at the end.
    pub(super) fn next(&mut self) -> Result<String, ArchiveError> {
        let line = self.peek()?.to_owned();
        self.take();
        Ok(line)
    }

    /// Consumes the next line, which must be this one.
    pub(super) fn expect(&mut self, wanted: &str) -> Result<(), ArchiveError> {
        if self.peek()? != wanted {
            return Err(self.fault(format!("expected {wanted:?}")));
        }
        self.take();
        Ok(())
    }

    /// Consumes the next line, which must begin with this, and returns the rest of it.
    pub(super) fn field(&mut self, key: &str) -> Result<String, ArchiveError> {
        let Some(value) = self.peek()?.strip_prefix(key).map(str::to_owned) else {
            return Err(self.fault(format!("expected {:?}", key.trim())));
        };
        self.take();
        Ok(value)
    }

    /// Consumes the next line if it begins with this, and returns the rest of it; consumes nothing otherwise, or at the
    /// end.
    pub(super) fn optional_field(&mut self, key: &str) -> Result<Option<String>, ArchiveError> {
        if self.ended()? || !self.peek()?.starts_with(key) {
            return Ok(None);
        }
        self.field(key).map(Some)
    }

    /// Consumes the next line if it is this one, and returns whether it was; never at the end.
    pub(super) fn optional(&mut self, wanted: &str) -> Result<bool, ArchiveError> {
        if self.ended()? || self.peek()? != wanted {
            return Ok(false);
        }
        self.take();
        Ok(true)
    }

    /// Returns whether nothing is left.
    pub(super) fn ended(&mut self) -> Result<bool, ArchiveError> {
        if self.ahead {
            return Ok(false);
        }
        let rest = self.input.fill_buf().map_err(ArchiveError::io("reading", b"the inventory"))?;
        Ok(rest.is_empty())
    }
}
