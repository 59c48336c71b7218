//! Inflates deflated bytes in bounded memory.

use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use flate2::{Decompress, FlushDecompress, Status};

use super::supervise::Meter;

/// Reads the contents of one zlib stream, and of its source not a byte more.
pub(super) struct Inflated<R> {
    source: R,
    state: Decompress,
    ended: bool,
}

impl<R: BufRead> Inflated<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, state: Decompress::new(true), ended: false }
    }

    /// Begins another stream with the state of one that was read.
    pub(super) fn again(source: R, mut state: Decompress) -> Self {
        state.reset(true);
        Self { source, state, ended: false }
    }

    pub(super) fn into_state(self) -> Decompress {
        self.state
    }
}

impl<R: BufRead> Read for Inflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let input = self.source.fill_buf()?;
            let is_end = input.is_empty();
            let (taken, given) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(input, buffer, FlushDecompress::None)?;
            let taken = usize::try_from(self.state.total_in() - taken).unwrap_or_default();
            let given = usize::try_from(self.state.total_out() - given).unwrap_or_default();
            self.source.consume(taken);
            self.ended = status == Status::StreamEnd;
            if self.ended || given > 0 {
                return Ok(given);
            }
            if is_end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Reads exactly the stated number of bytes; counts signs of life, and ends when the work is to be stopped.
pub(super) struct Exact<'a, R> {
    source: R,
    left: u64,
    meter: &'a Meter,
    interrupt: &'a AtomicBool,
}

impl<'a, R: Read> Exact<'a, R> {
    pub(super) fn new(source: R, bytes: u64, meter: &'a Meter, interrupt: &'a AtomicBool) -> Self {
        Self { source, left: bytes, meter, interrupt }
    }

    pub(super) fn into_inner(self) -> R {
        self.source
    }
}

impl<R: Read> Read for Exact<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.interrupt.load(Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        self.meter.listed();
        let read = self.source.read(buffer)?;
        self.left = match self.left.checked_sub(read as u64) {
            Some(left) if read > 0 || left == 0 || buffer.is_empty() => left,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "an object has not the size that it says",
                ));
            }
        };
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn deflated(data: &[u8]) -> Vec<u8> {
        let mut to = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        to.write_all(data).expect("memory");
        to.finish().expect("memory")
    }

    proptest! {
        #[test]
        fn streams_that_follow_each_other_are_read_apart(one: Vec<u8>, two: Vec<u8>, step in 1_usize..40) {
            let both = [deflated(&one), deflated(&two)].concat();
            let mut source = io::BufReader::with_capacity(step, &both[..]);
            let mut state = Decompress::new(true);
            for wanted in [&one, &two] {
                let mut data = Vec::new();
                let mut stream = Inflated::again(&mut source, state);
                stream.read_to_end(&mut data).expect("whole");
                prop_assert_eq!(&data, wanted);
                state = stream.into_state();
            }
            prop_assert_eq!(source.read(&mut [0]).expect("memory"), 0);
        }
    }

    #[test]
    fn what_is_cut_or_has_another_size_is_an_error() {
        let whole = deflated(&[7; 1000]);
        for len in 0..whole.len() {
            assert!(Inflated::new(&whole[..len]).read_to_end(&mut Vec::new()).is_err(), "{len}");
        }
        let (meter, interrupt) = (Meter::default(), AtomicBool::new(false));
        for (size, fits) in [(999, false), (1000, true), (1001, false)] {
            let mut exact = Exact::new(Inflated::new(&whole[..]), size, &meter, &interrupt);
            assert_eq!(exact.read_to_end(&mut Vec::new()).is_ok(), fits, "{size}");
        }
        interrupt.store(true, Relaxed);
        assert!(Exact::new(&[0_u8; 9][..], 9, &meter, &interrupt).read(&mut [0]).is_err());
    }
}
