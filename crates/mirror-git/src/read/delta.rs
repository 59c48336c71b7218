//! Deltas of a pack: copies out of a base, and new bytes.
//!
//! The format is described in git's own documentation, `gitformat-pack`, under "Deltified
//! representation".

/// The delta is damaged and cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a delta of the pack is damaged")]
pub(crate) struct Damaged;

/// The outcome of applying a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    Made,
    /// The object would have this many bytes.
    TooLarge(u64),
}

/// Makes the object that `delta` describes out of `base`; empties `out` first. Takes no memory for an object of more
/// than `max_bytes`.
pub(crate) fn apply(
    base: &[u8],
    delta: &[u8],
    max_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<Applied, Damaged> {
    let mut delta = delta;
    let (base_len, size) = sizes(&mut delta)?;
    if base_len != base.len() {
        return Err(Damaged);
    }
    out.clear();
    if size > max_bytes {
        return Ok(Applied::TooLarge(size as u64));
    }
    out.reserve(size);
    while let Some(command) = command(&mut delta)? {
        let bytes = match command {
            Command::Own(bytes) => bytes,
            Command::Copy { offset, len } => {
                base.get(offset..).and_then(|rest| rest.get(..len)).ok_or(Damaged)?
            }
        };
        if out.len() + bytes.len() > size {
            return Err(Damaged);
        }
        out.extend_from_slice(bytes);
    }
    if out.len() == size { Ok(Applied::Made) } else { Err(Damaged) }
}

/// Takes the sizes of the base and of the object from the beginning of a delta.
pub(crate) fn sizes(delta: &mut &[u8]) -> Result<(usize, usize), Damaged> {
    Ok((number(delta)?, number(delta)?))
}

/// One instruction of a delta.
pub(crate) enum Command<'d> {
    /// These bytes follow.
    Own(&'d [u8]),
    /// A part of the base follows.
    Copy { offset: usize, len: usize },
}

/// Takes a command from the beginning of a delta, after its sizes; `None` at its end.
#[inline]
pub(crate) fn command<'d>(delta: &mut &'d [u8]) -> Result<Option<Command<'d>>, Damaged> {
    Ok(match next(delta) {
        None => None,
        Some(0) => return Err(Damaged),
        Some(len @ 1..=0x7f) => {
            let (own, rest) = delta.split_at_checked(usize::from(len)).ok_or(Damaged)?;
            *delta = rest;
            Some(Command::Own(own))
        }
        Some(flags) => {
            let offset = packed(delta, flags, 0..4)?;
            let len = match packed(delta, flags, 4..7)? {
                0 => 0x1_0000,
                len => len,
            };
            Some(Command::Copy { offset, len })
        }
    })
}

#[inline]
fn next(from: &mut &[u8]) -> Option<u8> {
    let (first, rest) = from.split_first()?;
    *from = rest;
    Some(*first)
}

/// Reads a size: seven bits a byte, the lowest first.
fn number(from: &mut &[u8]) -> Result<usize, Damaged> {
    let mut value = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = next(from).ok_or(Damaged)?;
        let bits = usize::from(byte & 0x7f);
        value |= bits.checked_shl(shift).filter(|moved| moved >> shift == bits).ok_or(Damaged)?;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Damaged)
}

/// Reads the bytes of an offset or a length that `command` says are present, the lowest first.
#[inline]
fn packed(from: &mut &[u8], command: u8, flags: std::ops::Range<u32>) -> Result<usize, Damaged> {
    let first = flags.start;
    let mut value = 0;
    for flag in flags {
        if command & 1 << flag != 0 {
            value |= usize::from(next(from).ok_or(Damaged)?) << (8 * (flag - first));
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 20;

    fn size(mut value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
            let low = (value & 0x7f) as u8;
            value >>= 7;
            bytes.push(if value > 0 { low | 0x80 } else { low });
            if value == 0 {
                return bytes;
            }
        }
    }

    #[test]
    fn copies_and_own_bytes() {
        let base: Vec<u8> = (0..70_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        // Copy 3 from 1; own "xy"; copy 0x10000 (length left out) from 2.
        let delta = [size(70_000), size(3 + 2 + 0x1_0000), vec![0x91, 1, 3, 2, b'x', b'y', 0x81, 2]].concat();
        let mut out = Vec::new();
        apply(&base, &delta, MAX, &mut out).expect("applies");
        assert_eq!(out, [&base[1..4], b"xy", &base[2..2 + 0x1_0000]].concat());
        assert_eq!(apply(&base, &delta, 100, &mut out), Ok(Applied::TooLarge(65_541)));
        assert!(out.is_empty());
    }

    #[test]
    fn damage_is_refused() {
        for bad in [
            vec![],
            vec![3],
            vec![2, 1, 1, b'x'],
            vec![3, 1, 0],
            vec![3, 2, 1, b'x'],
            vec![3, 1, 2, b'x'],
            vec![3, 1, 0x91, 3, 1],
            vec![3, 1, 0x91],
            vec![0xff; 12],
        ] {
            assert_eq!(apply(b"abc", &bad, MAX, &mut Vec::new()), Err(Damaged), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn anything_may_come(base: Vec<u8>, delta: Vec<u8>) {
            let mut out = Vec::new();
            let _ = apply(&base, &[size(base.len()), delta].concat(), MAX, &mut out);
            prop_assert!(out.len() <= MAX);
        }
    }
}
