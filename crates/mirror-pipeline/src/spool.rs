//! Where large bodies go while they arrive: a file of the stage, or memory when nothing may be
//! written.

use std::any::Any;
use std::io;

use mirror_fetch::{Body, Spool, SpoolFactory, Verified};
use mirror_store::{StagedWriter, Store};

use crate::error::PipelineError;

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

/// A body in memory on its way into a bundle. It counts against the memory budget until it is there.
pub(crate) struct Counted(pub(crate) Verified);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        if let Body::Memory(bytes) = self.0.body() { bytes } else { &[] }
    }
}

/// A large body of a run that must not write: index files only.
struct InMemory(Vec<u8>);

impl Spool for InMemory {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(chunk);
        Ok(())
    }
    fn restart(&mut self) -> io::Result<()> {
        self.0.clear();
        Ok(())
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Makes spools in memory.
pub(crate) struct MemorySpools;

impl SpoolFactory for MemorySpools {
    fn create(&self) -> io::Result<Box<dyn Spool>> {
        Ok(Box::new(InMemory(Vec::new())))
    }
}

fn foreign() -> PipelineError {
    PipelineError::Internal("a spool came back that this run did not make".to_owned())
}

/// The staged file behind a spool.
pub(crate) fn writer_of(spool: Box<dyn Spool>) -> Result<StagedWriter, PipelineError> {
    spool.into_any().downcast::<Spooled>().map(|spooled| spooled.0).map_err(|_| foreign())
}

/// The bytes behind a spool, whichever it is.
pub(crate) fn read_spool(spool: Box<dyn Spool>) -> Result<Vec<u8>, PipelineError> {
    match spool.into_any().downcast::<InMemory>() {
        Ok(memory) => Ok(memory.0),
        Err(other) => Ok(other.downcast::<Spooled>().map_err(|_| foreign())?.0.into_bytes()?),
    }
}
