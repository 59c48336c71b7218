use std::any::Any;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Spool, SpoolFactory};

/// Makes spools in memory, which share one bound. Clones share it, too.
#[derive(Debug, Clone)]
pub struct MemorySpools {
    max_bytes: usize,
    /// Bytes in all of them together.
    used_bytes: Arc<AtomicUsize>,
}

impl MemorySpools {
    /// Makes spools that hold at most `max_bytes` together; a body beyond that fails.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, used_bytes: Arc::default() }
    }
}

impl SpoolFactory for MemorySpools {
    fn create(&self) -> io::Result<Box<dyn Spool>> {
        Ok(Box::new(MemorySpool { bytes: Vec::new(), of: self.clone() }))
    }
}

/// A large body in memory. It counts against the bound of its [`MemorySpools`] until its bytes are taken out.
#[derive(Debug)]
pub struct MemorySpool {
    bytes: Vec<u8>,
    of: MemorySpools,
}

impl MemorySpool {
    /// Takes the bytes out.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.take()
    }

    fn take(&mut self) -> Vec<u8> {
        self.of.used_bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for MemorySpool {
    fn drop(&mut self) {
        self.take();
    }
}

impl Spool for MemorySpool {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        let MemorySpools { max_bytes, used_bytes } = &self.of;
        let used = used_bytes.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
        if used > *max_bytes {
            used_bytes.fetch_sub(chunk.len(), Ordering::Relaxed);
            return Err(io::Error::other(format!(
                "large bodies may take {max_bytes} bytes of memory together, and more came"
            )));
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.take();
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }

    fn into_reader(self: Box<Self>) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.into_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spools_share_the_bound_and_give_back_what_they_took() {
        let spools = MemorySpools::new(10);
        let (mut one, mut other) = (spools.create().expect("one"), spools.create().expect("other"));
        one.write(b"123456").expect("below the bound");
        other.write(b"1234").expect("at the bound");
        assert!(other.write(b"5").is_err(), "above it");
        one.restart().expect("restart");
        other.write(b"56").expect("there is room again");
        drop(one);
        let other = other.into_any().downcast::<MemorySpool>().expect("a spool of these");
        assert_eq!(other.into_bytes(), b"123456");
        let mut last = spools.clone().create().expect("last");
        last.write(b"0123456789").expect("nothing is in use");
        let mut read = Vec::new();
        last.into_reader().expect("reader").read_to_end(&mut read).expect("read");
        assert_eq!(read, b"0123456789");
    }
}
