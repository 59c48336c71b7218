//! Up to four SHA-256 at a time on one core (FIPS 180-4). An instruction for two rounds has to wait for the one before
//! it; meanwhile, the processor can work on other streams.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};
use std::array::from_fn;

use mirror_types::Sha256;

/// Most streams at a time; more would need more registers than there are, and gain nothing.
const LANES: usize = 4;

type Block = [u8; 64];
type State = [u32; 8];

const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

#[rustfmt::skip]
const ROUND: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5], [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3], [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc], [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7], [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13], [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3], [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5], [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208], [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// Proof that this processor has the instructions.
#[derive(Clone, Copy)]
pub(crate) struct Lanes(());

/// An input that is being hashed.
struct Lane<'a> {
    /// Its index among the inputs.
    at: usize,
    state: State,
    /// Whole blocks still to be hashed.
    blocks: &'a [Block],
    /// The rest, padded, with the length after it.
    tail: [Block; 2],
    /// The part of the tail still to be hashed.
    tail_left: std::ops::Range<usize>,
}

impl<'a> Lane<'a> {
    fn new(at: usize, input: &'a [u8]) -> Self {
        let (blocks, rest) = input.as_chunks::<64>();
        // 0x80 and eight bytes of length follow the rest of the input.
        let len = if rest.len() + 9 <= 64 { 1 } else { 2 };
        let mut tail = [[0; 64]; 2];
        let flat = tail.as_flattened_mut();
        flat[..rest.len()].copy_from_slice(rest);
        flat[rest.len()] = 0x80;
        flat[len * 64 - 8..len * 64].copy_from_slice(&(input.len() as u64 * 8).to_be_bytes());
        Self { at, state: INITIAL, blocks, tail, tail_left: 0..len }
    }

    /// Returns the blocks to hash next, without a gap.
    fn next(&self) -> &[Block] {
        if self.blocks.is_empty() { &self.tail[self.tail_left.clone()] } else { self.blocks }
    }

    fn advance(&mut self, by: usize) {
        if self.blocks.is_empty() {
            self.tail_left.start += by;
        } else {
            self.blocks = &self.blocks[by..];
        }
    }

    fn is_done(&self) -> bool {
        self.blocks.is_empty() && self.tail_left.is_empty()
    }

    fn sum(&self) -> Sha256 {
        let mut bytes = [0; 32];
        for (to, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *to = word.to_be_bytes();
        }
        Sha256::from_bytes(bytes)
    }
}

impl Lanes {
    /// Returns the proof for this processor; `None` when it lacks the instructions.
    pub(crate) fn of_this_processor() -> Option<Self> {
        let has = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3");
        has.then_some(Self(()))
    }

    /// Returns the checksum of each of `inputs`.
    pub(crate) fn hash(self, inputs: &[&[u8]]) -> Vec<Sha256> {
        let mut sums = vec![Sha256::from_bytes([0; 32]); inputs.len()];
        // Long inputs first, so that the rest that remains alone at the end is short.
        let mut order: Vec<usize> = (0..inputs.len()).collect();
        order.sort_by_key(|&at| inputs[at].len());
        let mut next = || order.pop().map(|at| Lane::new(at, inputs[at]));
        let mut lanes: Vec<Lane<'_>> = (0..LANES).filter_map(|_| next()).collect();
        while !lanes.is_empty() {
            match &mut lanes[..] {
                [a, b, c, d] => self.step([a, b, c, d]),
                [a, b, c] => self.step([a, b, c]),
                [a, b] => self.step([a, b]),
                more => more.iter_mut().for_each(alone),
            }
            lanes.retain_mut(|lane| {
                if lane.is_done() {
                    sums[lane.at] = lane.sum();
                    match next() {
                        Some(another) => *lane = another,
                        None => return false,
                    }
                }
                true
            });
        }
        sums
    }

    /// Hashes as many blocks of each stream as all of them have without a gap.
    fn step<const N: usize>(self, mut lanes: [&mut Lane<'_>; N]) {
        let count = lanes.iter().map(|lane| lane.next().len()).min().unwrap_or(0);
        let states: [State; N] = {
            let blocks: [&[Block]; N] = from_fn(|i| &lanes[i].next()[..count]);
            let states: [State; N] = from_fn(|i| lanes[i].state);
            #[expect(unsafe_code, reason = "the value `self` exists only where the instructions do")]
            // SAFETY: `Self` is made by `of_this_processor` alone, which has asked for these features.
            unsafe {
                compress(states, blocks)
            }
        };
        for (lane, state) in lanes.iter_mut().zip(states) {
            lane.state = state;
            lane.advance(count);
        }
    }
}

/// Hashes a single stream with the library's code, which is faster than [`compress`] for one.
fn alone(lane: &mut Lane<'_>) {
    let count = lane.next().len();
    let mut state = lane.state;
    sha2::block_api::compress256(&mut state, lane.next());
    lane.state = state;
    lane.advance(count);
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn four(words: [u32; 4]) -> __m128i {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm_set_epi32(d, c, b, a)
}

/// Takes the blocks of each stream into its state; all have equally many. The instructions want the words
/// A, B, E, F of a state in one register and C, D, G, H in another.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress<const N: usize>(states: [State; N], blocks: [&[Block]; N]) -> [State; N] {
    let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let zero = _mm_setzero_si128();
    let mut abef = states.map(|[a, b, _, _, e, f, _, _]| four([f, e, b, a]));
    let mut cdgh = states.map(|[_, _, c, d, _, _, g, h]| four([h, g, d, c]));
    for at in 0..blocks.first().map_or(0, |blocks| blocks.len()) {
        let before = (abef, cdgh);
        // Sixteen words of the message schedule of each stream.
        let mut words = [[zero; 4]; N];
        for (words, blocks) in words.iter_mut().zip(blocks) {
            for (word, bytes) in words.iter_mut().zip(blocks[at].as_chunks::<16>().0) {
                let value = u128::from_le_bytes(*bytes).cast_signed();
                #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
                let loaded = _mm_set_epi64x((value >> 64) as i64, value as i64);
                *word = _mm_shuffle_epi8(loaded, big_endian);
            }
        }
        for (round, constants) in ROUND.iter().enumerate() {
            let constants = four(*constants);
            for n in 0..N {
                let [w0, w1, w2, w3] = from_fn(|i| words[n][(round + i) % 4]);
                let word = if round < 4 {
                    w0
                } else {
                    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
                    _mm_sha256msg2_epu32(sum, w3)
                };
                words[n][round % 4] = word;
                let added = _mm_add_epi32(word, constants);
                cdgh[n] = _mm_sha256rnds2_epu32(cdgh[n], abef[n], added);
                abef[n] = _mm_sha256rnds2_epu32(abef[n], cdgh[n], _mm_shuffle_epi32::<0x0e>(added));
            }
        }
        for n in 0..N {
            abef[n] = _mm_add_epi32(abef[n], before.0[n]);
            cdgh[n] = _mm_add_epi32(cdgh[n], before.1[n]);
        }
    }
    from_fn(|n| {
        let (x, y) = (abef[n], cdgh[n]);
        let [a, b, e, f] = [
            _mm_extract_epi32::<3>(x),
            _mm_extract_epi32::<2>(x),
            _mm_extract_epi32::<1>(x),
            _mm_extract_epi32::<0>(x),
        ];
        let [c, d, g, h] = [
            _mm_extract_epi32::<3>(y),
            _mm_extract_epi32::<2>(y),
            _mm_extract_epi32::<1>(y),
            _mm_extract_epi32::<0>(y),
        ];
        [a, b, c, d, e, f, g, h].map(i32::cast_unsigned)
    })
}
