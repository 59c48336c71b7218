//! The destination of large bodies while they arrive: a file of the stage, or memory when nothing may be written.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mirror_fetch::{Body, Spool, SpoolFactory, Verified};
use mirror_store::{StagedWriter, Store};

use crate::error::SyncError;

/// A large body on its way to disk.
struct Spooled(StagedWriter);

impl Spool for Spooled {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.0.write(chunk).map_err(io::Error::other)
    }
    fn restart(&mut self) -> io::Result<()> {
        self.0.restart().map_err(io::Error::other)
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Makes spools in the store.
pub(crate) struct StoreSpools(pub(crate) Store);

impl SpoolFactory for StoreSpools {
    fn create(&self) -> io::Result<Box<dyn Spool>> {
        let writer = self.0.stage_file().map_err(io::Error::other)?;
        Ok(Box::new(Spooled(writer)))
    }
}

/// A body in memory on its way into stores. It counts against the memory budget until the last of them has taken it.
#[derive(Clone)]
pub(crate) struct Counted(Arc<Verified>);

impl Counted {
    pub(crate) fn new(body: Verified) -> Self {
        Self(Arc::new(body))
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        if let Body::Memory(bytes) = self.0.body() { bytes } else { &[] }
    }
}

/// Bytes of large bodies that a run which must not write holds at a time.
const MAX_MEMORY_SPOOL_BYTES: usize = 64 << 20;

/// A large body of a run that must not write: index files only.
struct InMemory {
    bytes: Vec<u8>,
    /// Of all of them together.
    used_bytes: Arc<AtomicUsize>,
}

impl InMemory {
    fn give_back(&self) {
        self.used_bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Spool for InMemory {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        let used_bytes = self.used_bytes.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
        if used_bytes > MAX_MEMORY_SPOOL_BYTES {
            self.used_bytes.fetch_sub(chunk.len(), Ordering::Relaxed);
            return Err(io::Error::other(format!(
                "a run that writes nothing holds {MAX_MEMORY_SPOOL_BYTES} bytes of large index files, and more came"
            )));
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }
    fn restart(&mut self) -> io::Result<()> {
        self.give_back();
        self.bytes.clear();
        Ok(())
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Makes spools in memory, which share one bound.
#[derive(Default)]
pub(crate) struct MemorySpools {
    used_bytes: Arc<AtomicUsize>,
}

impl SpoolFactory for MemorySpools {
    fn create(&self) -> io::Result<Box<dyn Spool>> {
        Ok(Box::new(InMemory { bytes: Vec::new(), used_bytes: self.used_bytes.clone() }))
    }
}

fn foreign() -> SyncError {
    SyncError::Internal("a spool came back that this run did not make".to_owned())
}

/// Returns the staged file behind a spool.
pub(crate) fn writer_of(spool: Box<dyn Spool>) -> Result<StagedWriter, SyncError> {
    spool.into_any().downcast::<Spooled>().map(|spooled| spooled.0).map_err(|_| foreign())
}

/// Reads the bytes behind a spool of either kind.
pub(crate) fn read_spool(spool: Box<dyn Spool>) -> Result<Vec<u8>, SyncError> {
    match spool.into_any().downcast::<InMemory>() {
        Ok(mut memory) => {
            memory.give_back();
            Ok(std::mem::take(&mut memory.bytes))
        }
        Err(other) => Ok(other.downcast::<Spooled>().map_err(|_| foreign())?.0.into_bytes()?),
    }
}
