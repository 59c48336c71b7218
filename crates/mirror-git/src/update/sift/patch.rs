//! Applies a delta whose base or result is too large for memory.

use std::fs::File;
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};

use crate::read::delta::{self, Command, Damaged};

/// The object that a delta copies from.
pub(super) enum Base {
    Memory(Vec<u8>),
    File(File),
}

/// Reads the object that a delta makes. Checks neither its size nor that of the base.
pub(super) struct Patched<D> {
    base: Box<dyn Source>,
    delta: D,
    /// Bytes still to be copied from the base, from its current position.
    copying: u64,
    /// Bytes still to be copied from the delta itself.
    own: u64,
}

trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

impl<D: BufRead> Patched<D> {
    pub(super) fn new(base: Base, mut delta: D) -> io::Result<Self> {
        let base: Box<dyn Source> = match base {
            Base::Memory(bytes) => Box::new(Cursor::new(bytes)),
            Base::File(file) => Box::new(file),
        };
        for _size in 0..2 {
            while byte(&mut delta)?.ok_or_else(damaged)? & 0x80 != 0 {}
        }
        Ok(Self { base, delta, copying: 0, own: 0 })
    }

    /// Moves on to the next command; returns whether there is one.
    fn next(&mut self) -> io::Result<bool> {
        let Some(first) = byte(&mut self.delta)? else { return Ok(false) };
        if first & 0x80 == 0 {
            self.own = u64::from(first);
            return if first == 0 { Err(damaged()) } else { Ok(true) };
        }
        let mut command = [first; 8];
        let len = 1 + (first & 0x7f).count_ones() as usize;
        self.delta.read_exact(&mut command[1..len])?;
        let Ok(Some(Command::Copy { offset, len })) = delta::command(&mut &command[..len]) else {
            return Err(damaged());
        };
        self.base.seek(SeekFrom::Start(offset as u64))?;
        self.copying = len as u64;
        Ok(true)
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Damaged)
}

/// Reads a byte; `None` at the end.
fn byte(from: &mut impl BufRead) -> io::Result<Option<u8>> {
    let first = from.fill_buf()?.first().copied();
    from.consume(usize::from(first.is_some()));
    Ok(first)
}

impl<D: BufRead> Read for Patched<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.copying + self.own == 0 && !self.next()? {
            return Ok(0);
        }
        let (source, left): (&mut dyn Read, _) = match self.own {
            0 => (&mut self.base, &mut self.copying),
            _ => (&mut self.delta, &mut self.own),
        };
        let read = source.take(*left).read(buffer)?;
        *left -= read as u64;
        if read == 0 { Err(damaged()) } else { Ok(read) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Checks that the streaming and the in-memory implementation agree for any input.
        #[test]
        fn both_ways_agree(base: Vec<u8>, commands: Vec<u8>, size in 0_u8..60) {
            let len = u8::try_from(base.len().min(100)).expect("small");
            let base = base[..usize::from(len)].to_vec();
            let delta = [&[len, size][..], &commands].concat();
            let mut out = Vec::new();
            let applied = delta::apply(&base, &delta, 1 << 20, &mut out);
            let mut read = Vec::new();
            let mut patched = Patched::new(Base::Memory(base), &delta[..]).expect("sizes are there");
            let streamed = patched.read_to_end(&mut read);
            match applied {
                Ok(_) => prop_assert!(streamed.is_ok() && read == out),
                Err(_) => prop_assert!(streamed.is_err() || read.len() != usize::from(size)),
            }
        }
    }
}
