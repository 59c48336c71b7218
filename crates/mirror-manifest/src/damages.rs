//! Random damage to files, for tests of databases.

use proptest::prelude::*;

/// One damage, at a random place in a file of any length.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Flip(prop::sample::Index, u8),
    Overwrite(prop::sample::Index, Vec<u8>),
    Zero(prop::sample::Index, usize),
    Cut(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
}

/// Makes damage that changes, zeroes or cuts bytes where they are.
pub(crate) fn in_place() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (at(), prop::collection::vec(any::<u8>(), 1..64))
            .prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
        (at(), 1..9000_usize).prop_map(|(at, len)| Damage::Zero(at, len)),
        at().prop_map(Damage::Cut),
    ]
}

/// Makes damage of these kinds, and swapped pages.
pub(crate) fn any_kind() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![4 => in_place(), 1 => (at(), at()).prop_map(|(a, b)| Damage::Swap(a, b))]
}

impl Damage {
    /// Damages a file in memory.
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        const PAGE: usize = 4096;
        let len = bytes.len();
        if len == 0 {
            return;
        }
        match self {
            Self::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Self::Overwrite(at, with) => {
                let at = at.index(len);
                let end = (at + with.len()).min(len);
                bytes[at..end].copy_from_slice(&with[..end - at]);
            }
            Self::Zero(at, count) => {
                let at = at.index(len);
                bytes[at..(at + count).min(len)].fill(0);
            }
            Self::Cut(at) => bytes.truncate(at.index(len)),
            // With fewer than two pages, there is nothing to swap.
            Self::Swap(..) if len < PAGE => {}
            Self::Swap(a, b) => {
                let (a, b) = (a.index(len / PAGE) * PAGE, b.index(len / PAGE) * PAGE);
                for at in 0..PAGE {
                    bytes.swap(a + at, b + at);
                }
            }
        }
    }
}
