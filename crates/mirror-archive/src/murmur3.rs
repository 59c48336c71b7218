//! Murmur3, the 128-bit variant for 64-bit machines, fed piece by piece.

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;
const BLOCK_BYTES: usize = 16;

/// Not a cryptographic digest: it finds accidents, not attacks.
#[derive(Debug, Clone)]
pub(crate) struct Murmur3 {
    h1: u64,
    h2: u64,
    len_bytes: u64,
    tail: [u8; BLOCK_BYTES],
}

impl Murmur3 {
    pub(crate) fn new(seed: u32) -> Self {
        let seed = u64::from(seed);
        Self { h1: seed, h2: seed, len_bytes: 0, tail: [0; BLOCK_BYTES] }
    }

    pub(crate) fn update(&mut self, mut data: &[u8]) {
        let held = self.held();
        self.len_bytes += data.len() as u64;
        if held > 0 {
            let taken = data.len().min(BLOCK_BYTES - held);
            self.tail[held..held + taken].copy_from_slice(&data[..taken]);
            data = &data[taken..];
            if held + taken < BLOCK_BYTES {
                return;
            }
            let block = self.tail;
            self.mix(&block);
        }
        let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
        for block in blocks {
            self.mix(block);
        }
        self.tail[..rest.len()].copy_from_slice(rest);
    }

    fn held(&self) -> usize {
        usize::from(self.len_bytes.to_le_bytes()[0]) % BLOCK_BYTES
    }

    #[inline]
    fn mix(&mut self, block: &[u8; BLOCK_BYTES]) {
        let (k1, k2) = words(block);
        self.h1 ^= scramble_low(k1);
        self.h1 = self.h1.rotate_left(27).wrapping_add(self.h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        self.h2 ^= scramble_high(k2);
        self.h2 = self.h2.rotate_left(31).wrapping_add(self.h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }

    /// Returns both halves, the first one first.
    pub(crate) fn finish(&self) -> (u64, u64) {
        let mut last = [0; BLOCK_BYTES];
        let held = self.held();
        last[..held].copy_from_slice(&self.tail[..held]);
        // Words of zeros scramble to zero, so a whole last block needs no case of its own.
        let (k1, k2) = words(&last);
        let mut h1 = self.h1 ^ scramble_low(k1) ^ self.len_bytes;
        let mut h2 = self.h2 ^ scramble_high(k2) ^ self.len_bytes;
        h1 = h1.wrapping_add(h2);
        h2 = h2.wrapping_add(h1);
        h1 = avalanche(h1);
        h2 = avalanche(h2);
        h1 = h1.wrapping_add(h2);
        (h1, h2.wrapping_add(h1))
    }
}

fn words(block: &[u8; BLOCK_BYTES]) -> (u64, u64) {
    let both = u128::from_le_bytes(*block);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    (both as u64, (both >> 64) as u64)
}

fn scramble_low(k: u64) -> u64 {
    k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn scramble_high(k: u64) -> u64 {
    k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn avalanche(mut k: u64) -> u64 {
    k ^= k >> 33;
    k = k.wrapping_mul(0xff51_afd7_ed55_8ccd);
    k ^= k >> 33;
    k = k.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ (k >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn little_endian(seed: u32, data: &[u8]) -> [u8; 16] {
        let mut hash = Murmur3::new(seed);
        hash.update(data);
        let (h1, h2) = hash.finish();
        let mut out = [0; 16];
        out[..8].copy_from_slice(&h1.to_le_bytes());
        out[8..].copy_from_slice(&h2.to_le_bytes());
        out
    }

    /// Checks the verification value that the author's test suite gives for this variant: digests of keys of 0 to 255
    /// bytes under falling seeds, digested once more.
    #[test]
    fn the_published_verification_value() {
        let key: Vec<u8> = (0..=255).collect();
        let all: Vec<u8> = (0..256_u32).flat_map(|i| little_endian(256 - i, &key[..i as usize])).collect();
        let last = little_endian(0, &all);
        assert_eq!(u32::from_le_bytes([last[0], last[1], last[2], last[3]]), 0x6384_ba69);
    }

    #[test]
    fn pieces_make_no_difference() {
        let data: Vec<u8> = (0..200_u8).collect();
        let whole = little_endian(0, &data);
        for piece in 1..40 {
            let mut hash = Murmur3::new(0);
            data.chunks(piece).for_each(|chunk| hash.update(chunk));
            assert_eq!(hash.finish().0.to_le_bytes(), whole[..8], "pieces of {piece}");
        }
    }
}
