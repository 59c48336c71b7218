//! Spools: destinations for large bodies while they arrive.

mod file;
mod memory;

use std::any::Any;
use std::io::{self, Read};

pub use file::{FileSpool, FileSpools};
pub use memory::{MemorySpool, MemorySpools};

/// Makes spools for large bodies.
pub trait SpoolFactory: Send + Sync {
    /// Opens a new, empty spool.
    ///
    /// # Errors
    /// When the spool cannot be made; the request then fails with [`FailureKind::Spool`](crate::FailureKind).
    fn create(&self) -> io::Result<Box<dyn Spool>>;
}

/// A destination for one large body. Calls block for as long as the write takes.
pub trait Spool: Send + Sync {
    /// Appends a chunk.
    ///
    /// # Errors
    /// When the bytes cannot be stored.
    fn write(&mut self, chunk: &[u8]) -> io::Result<()>;

    /// Discards everything written so far.
    ///
    /// # Errors
    /// When the spool cannot be emptied.
    fn restart(&mut self) -> io::Result<()>;

    /// Returns the spool as its concrete type, which only its factory knows.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;

    /// Returns a reader of everything that was written, from the first byte.
    ///
    /// # Errors
    /// `Unsupported` for spools that only their maker reads, through [`Spool::into_any`]; otherwise the error of the
    /// system.
    fn into_reader(self: Box<Self>) -> io::Result<Box<dyn Read + Send>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
