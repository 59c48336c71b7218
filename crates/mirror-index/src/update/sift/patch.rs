//! A delta is applied to a base that is too large for memory, or makes what is.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use crate::git::delta::{self, Command, Damaged};

/// What a delta copies from.
pub(super) enum Base {
    Memory(Vec<u8>),
    File(File),
}

/// Reads the object that a delta makes. Checks neither its size nor that of the base.
pub(super) struct Patched<'d> {
    base: Box<dyn Source>,
    delta: &'d [u8],
    /// Bytes that are yet to be copied out of the base, from where it stands.
    copying: u64,
    /// Bytes of the delta's own.
    own: &'d [u8],
}

trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

impl<'d> Patched<'d> {
    pub(super) fn new(base: Base, delta: &'d [u8]) -> Result<Self, Damaged> {
        let base: Box<dyn Source> = match base {
            Base::Memory(bytes) => Box::new(Cursor::new(bytes)),
            Base::File(file) => Box::new(file),
        };
        let mut commands = delta;
        delta::sizes(&mut commands)?;
        Ok(Self { base, delta: commands, copying: 0, own: &[] })
    }
}

impl Read for Patched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let damaged = |error: Damaged| io::Error::new(io::ErrorKind::InvalidData, error);
        while self.copying == 0 && self.own.is_empty() {
            match delta::command(&mut self.delta).map_err(damaged)? {
                None => return Ok(0),
                Some(Command::Own(bytes)) => self.own = bytes,
                Some(Command::Copy { offset, len }) => {
                    self.base.seek(SeekFrom::Start(offset as u64))?;
                    self.copying = len as u64;
                }
            }
        }
        if !self.own.is_empty() {
            return self.own.read(buffer);
        }
        let read = self.base.by_ref().take(self.copying).read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            return Err(damaged(Damaged));
        }
        self.copying -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The one that streams and the one that works in memory make the same of anything.
        #[test]
        fn both_ways_agree(base: Vec<u8>, commands: Vec<u8>, size in 0_u8..60) {
            let len = u8::try_from(base.len().min(100)).expect("small");
            let base = base[..usize::from(len)].to_vec();
            let delta = [&[len, size][..], &commands].concat();
            let mut out = Vec::new();
            let applied = delta::apply(&base, &delta, 1 << 20, &mut out);
            let mut read = Vec::new();
            let mut patched = Patched::new(Base::Memory(base), &delta).expect("sizes are there");
            let streamed = patched.read_to_end(&mut read);
            match applied {
                Ok(_) => prop_assert!(streamed.is_ok() && read == out),
                Err(_) => prop_assert!(streamed.is_err() || read.len() != usize::from(size)),
            }
        }
    }
}
