use std::any::Any;
use std::io;

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
}
