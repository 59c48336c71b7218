//! Spools for large bodies: a file of the stage, or memory when nothing may be written.

use std::any::Any;
use std::io;
use std::sync::Arc;

use mirror_fetch::{Body, MemorySpool, MemorySpools, Spool, SpoolFactory, Verified};
use mirror_store::{StagedWriter, Store};

use crate::error::SyncError;

/// A large body that is written to disk as it arrives.
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

/// A body in memory on its way into stores. It counts against the memory budget until the last store has taken it.
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

/// Most bytes of large bodies in memory at a time, in a run that must not write.
const MAX_MEMORY_SPOOL_BYTES: usize = 64 << 20;

/// Makes the spools of a run that must not write: only index files are that large there.
pub(crate) fn memory_spools() -> MemorySpools {
    MemorySpools::new(MAX_MEMORY_SPOOL_BYTES)
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
    match spool.into_any().downcast::<MemorySpool>() {
        Ok(memory) => Ok(memory.into_bytes()),
        Err(other) => Ok(other.downcast::<Spooled>().map_err(|_| foreign())?.0.into_bytes()?),
    }
}
