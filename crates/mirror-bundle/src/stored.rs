//! Frames with uncompressed data.
//!
//! Compressing data that is nearly empty gives a frame that looks like a bomb, and readers refuse a bundle for that.
//! Anyone may publish such a crate, so a member that shrinks suspiciously is stored instead: RFC 8878, sections 3.1.1.1
//! (frame header) and 3.1.1.2 (raw blocks).

use std::hash::Hasher as _;
use std::io::{self, Read, Write};

use twox_hash::XxHash64;

use crate::limits::BundleLimits;

/// Largest block, and the window: 2^17 bytes.
const BLOCK: usize = 1 << 17;
/// Content size of eight bytes, with a checksum.
const DESCRIPTOR: u8 = 0b1100_0100;
/// A window of 2^(10 + 7) bytes.
const WINDOW: u8 = 7 << 3;
/// Far below the ratio that readers refuse.
const HONEST_RATIO: u64 = 100;

/// Returns whether a frame of `len` bytes for `size` bytes is to be stored instead.
pub(crate) fn is_suspicious(size: u64, len: u64) -> bool {
    BundleLimits { ratio: HONEST_RATIO, ..BundleLimits::default() }.is_bomb(size, len)
}

/// Writes a frame with the `size` bytes of `input` uncompressed. Memory: one block.
pub(crate) fn store(input: &mut dyn Read, size: u64, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&0xfd2f_b528_u32.to_le_bytes())?;
    out.write_all(&[DESCRIPTOR, WINDOW])?;
    out.write_all(&size.to_le_bytes())?;
    let mut sum = XxHash64::with_seed(0);
    let mut block = vec![0; BLOCK];
    let mut left = size;
    loop {
        let n = BLOCK.min(usize::try_from(left).unwrap_or(BLOCK));
        input.read_exact(&mut block[..n])?;
        left -= n as u64;
        // Last block, type 0 (raw), size.
        let header = u32::from(left == 0) | u32::try_from(n << 3).unwrap_or(0);
        out.write_all(&header.to_le_bytes()[..3])?;
        out.write_all(&block[..n])?;
        sum.write(&block[..n]);
        if left == 0 {
            break;
        }
    }
    out.write_all(&sum.finish().to_le_bytes()[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zstd_reads_what_is_stored_and_notices_a_flip() {
        for size in [0, 1, 1_000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 1_000_000] {
            let plain: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).expect("small")).collect();
            let mut frame = Vec::new();
            store(&mut plain.as_slice(), size as u64, &mut frame).expect("store");
            assert_eq!(zstd::bulk::decompress(&frame, size + 1).expect("decode"), plain);
            assert_eq!(zstd::stream::decode_all(frame.as_slice()).expect("decode"), plain);
            if size > 0 {
                let middle = frame.len() / 2;
                frame[middle] ^= 1;
                assert!(zstd::bulk::decompress(&frame, size + 1).is_err(), "the checksum is checked");
            }
        }
    }

    #[test]
    fn too_little_input_is_an_error() {
        assert!(store(&mut [1_u8, 2].as_slice(), 3, &mut Vec::new()).is_err());
    }
}
