//! Spools: places for large bodies while they arrive.

mod file;
mod memory;

use std::any::Any;
use std::io::{self, Read};

pub use file::{FileSpool, FileSpools};
pub use memory::{MemorySpool, MemorySpools};

/// Makes the places large bodies are written to.
pub trait SpoolFactory: Send + Sync {
    /// Opens a new, empty spool.
    ///
    /// # Errors
    /// When the place cannot be made; the request then fails with [`FailureKind::Spool`](crate::FailureKind).
    fn create(&self) -> io::Result<Box<dyn Spool>>;
}

/// A place one large body is written to. Calls block for as long as the write takes.
pub trait Spool: Send + Sync {
    /// Appends a chunk.
    ///
    /// # Errors
    /// When the bytes cannot be kept.
    fn write(&mut self, chunk: &[u8]) -> io::Result<()>;

    /// Forgets everything written so far.
    ///
    /// # Errors
    /// When the place cannot be emptied.
    fn restart(&mut self) -> io::Result<()>;

    /// Returns the concrete spool, which only its factory knows.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;

    /// Returns a reader of everything that was written, from the first byte on.
    ///
    /// # Errors
    /// `Unsupported` for spools that only their maker reads, by way of [`Spool::into_any`]; what the system says.
    fn into_reader(self: Box<Self>) -> io::Result<Box<dyn Read + Send>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
