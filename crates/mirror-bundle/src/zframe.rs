//! Frames of zstd (RFC 8878) and the seek table of its seekable format. Headers are checked before any byte is
//! unpacked.

use zstd::zstd_safe;

use crate::fault::BundleFault;
use crate::limits::BundleLimits;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Bytes that are enough for the header of any frame.
pub(crate) const HEAD: usize = 18;
const SKIPPABLE: u32 = 0x184d_2a50;
/// The skippable frame in which the seekable format has its table.
const TABLE_MAGIC: u32 = 0x184d_2a5e;
const FOOTER_MAGIC: u32 = 0x8f92_eab1;
pub(crate) const FOOTER: usize = 9;
/// Header of a skippable frame.
pub(crate) const SKIPPABLE_HEAD: usize = 8;

/// The place of one frame, and its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its offset in the bundle, in bytes.
    pub offset: u64,
    /// Its length in the bundle, in bytes.
    pub len: u32,
    /// The number of its unpacked bytes.
    pub size: u32,
}

/// The kind of frame at a place of a bundle.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// A data frame, with its unpacked size when it states that.
    Data { size: Option<u64> },
    /// The seek table, with this many bytes after its header.
    Table { len: u32 },
    /// Too few bytes to decide.
    Short,
}

fn le(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &b| value << 8 | u64::from(b))
}

fn le32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Reads the first bytes of a frame.
pub(crate) fn head(bytes: &[u8], limits: &BundleLimits) -> Result<Head, BundleFault> {
    if bytes.len() < 4 {
        let begins = |magic: [u8; 4]| magic.starts_with(bytes);
        let known = begins(MAGIC) || begins(TABLE_MAGIC.to_le_bytes());
        return if known { Ok(Head::Short) } else { Err(BundleFault::NotAFrame) };
    }
    let magic = le32(bytes);
    if magic & !0xf == SKIPPABLE {
        if magic != TABLE_MAGIC {
            return Err(BundleFault::SkippableFrame);
        }
        let len = bytes.get(4..8).map(le32);
        return Ok(len.map_or(Head::Short, |len| Head::Table { len }));
    }
    if bytes[..4] != MAGIC {
        return Err(BundleFault::NotAFrame);
    }
    let Some(&descriptor) = bytes.get(4) else { return Ok(Head::Short) };
    if descriptor & 0b1000 != 0 {
        return Err(BundleFault::Damaged("a reserved bit of its header is set".to_owned()));
    }
    if descriptor & 0b11 != 0 {
        return Err(BundleFault::Dictionary);
    }
    let single = descriptor & 0b10_0000 != 0;
    let window_len = usize::from(!single);
    let size_len = match descriptor >> 6 {
        0 => usize::from(single),
        flag => 1 << flag,
    };
    let Some(fields) = bytes.get(5..5 + window_len + size_len) else { return Ok(Head::Short) };
    let size = (size_len > 0).then(|| le(&fields[window_len..]) + if size_len == 2 { 256 } else { 0 });
    let window = if single {
        size.unwrap_or(0)
    } else {
        let (exponent, mantissa) = (fields[0] >> 3, u64::from(fields[0] & 7));
        let base = 1_u64 << (10 + u32::from(exponent));
        base + base / 8 * mantissa
    };
    if window > limits.window() {
        return Err(BundleFault::Window { window, limit: limits.window() });
    }
    Ok(Head::Data { size })
}

/// Returns the length of the frame at the beginning of `bytes`; `None` when it is incomplete.
pub(crate) fn frame_len(bytes: &[u8]) -> Option<usize> {
    zstd_safe::find_frame_compressed_size(bytes).ok().filter(|&len| len <= bytes.len())
}

/// Returns the seek table of `frames`, as a skippable frame.
pub(crate) fn table(frames: &[Frame]) -> Vec<u8> {
    let content = frames.len() * 8 + FOOTER;
    let mut out = Vec::with_capacity(content + SKIPPABLE_HEAD);
    out.extend_from_slice(&TABLE_MAGIC.to_le_bytes());
    out.extend_from_slice(&u32::try_from(content).unwrap_or(u32::MAX).to_le_bytes());
    for frame in frames {
        out.extend_from_slice(&frame.len.to_le_bytes());
        out.extend_from_slice(&frame.size.to_le_bytes());
    }
    out.extend_from_slice(&u32::try_from(frames.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.push(0);
    out.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
    out
}

/// Reads the footer of a seek table from the last nine bytes of a file: the number of entries, and the bytes of one
/// entry. `None` when they are no footer.
pub(crate) fn footer(bytes: &[u8]) -> Result<Option<(u32, usize)>, BundleFault> {
    if bytes.len() != FOOTER || le32(&bytes[5..]) != FOOTER_MAGIC {
        return Ok(None);
    }
    match bytes[4] {
        0 => Ok(Some((le32(bytes), 8))),
        0x80 => Ok(Some((le32(bytes), 12))),
        _ => Err(BundleFault::SeekTable("its descriptor has reserved bits")),
    }
}

/// Reads the content of a table (after the header of the skippable frame): consecutive frames from the beginning of the
/// bundle.
pub(crate) fn read_table(content: &[u8]) -> Result<Vec<Frame>, BundleFault> {
    let wrong = || BundleFault::SeekTable("its length does not fit its entries");
    let at = content.len().checked_sub(FOOTER).ok_or_else(wrong)?;
    let (count, entry) = footer(&content[at..])?.ok_or(BundleFault::SeekTable("it has no footer"))?;
    if at != count as usize * entry {
        return Err(wrong());
    }
    let mut offset = 0;
    let mut frames = Vec::with_capacity(count as usize);
    for entry in content[..at].chunks_exact(entry) {
        let frame = Frame { offset, len: le32(entry), size: le32(&entry[4..]) };
        offset += u64::from(frame.len);
        frames.push(frame);
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_and_sizes() {
        let limits = BundleLimits::default();
        let head_of = |bytes: &[u8]| head(bytes, &limits);
        let frame = |rest: &[u8]| [&MAGIC[..], rest].concat();
        assert_eq!(head_of(&frame(&[0x20, 5])), Ok(Head::Data { size: Some(5) }));
        assert_eq!(head_of(&frame(&[0x60, 0, 1])), Ok(Head::Data { size: Some(512) }));
        assert_eq!(head_of(&frame(&[0, 17 << 3])), Ok(Head::Data { size: None }));
        let over = BundleFault::Window { window: (1 << 27) + (1 << 24), limit: 1 << 27 };
        assert_eq!(head_of(&frame(&[0, 17 << 3 | 1])), Err(over));
        let single = BundleFault::Window { window: 1 << 28, limit: 1 << 27 };
        assert_eq!(head_of(&frame(&[0xa0, 0, 0, 0, 16])), Err(single));
        assert_eq!(head_of(&frame(&[1, 0, 0])), Err(BundleFault::Dictionary));
        assert_eq!(head_of(&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]), Err(BundleFault::SkippableFrame));
        assert_eq!(head_of(&[0x5e, 0x2a, 0x4d, 0x18, 9, 0, 0, 0]), Ok(Head::Table { len: 9 }));
        assert_eq!(head_of(b"BZh9xxxx"), Err(BundleFault::NotAFrame));
        assert_eq!(head_of(&MAGIC[..2]), Ok(Head::Short));
    }

    proptest! {
        #[test]
        fn tables_round_trip(lens in proptest::collection::vec((1_u32..1 << 30, 0_u32..1 << 30), 0..50)) {
            let mut offset = 0;
            let frames: Vec<Frame> = lens.into_iter().map(|(len, size)| {
                let frame = Frame { offset, len, size };
                offset += u64::from(len);
                frame
            }).collect();
            let bytes = table(&frames);
            prop_assert_eq!(head(&bytes, &BundleLimits::default()), Ok(Head::Table { len: u32::try_from(bytes.len() - 8).expect("len") }));
            prop_assert_eq!(read_table(&bytes[SKIPPABLE_HEAD..]), Ok(frames));
            prop_assert_eq!(frame_len(&bytes), Some(bytes.len()));
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = head(&bytes, &BundleLimits::default());
            let _ = read_table(&bytes);
            let _ = head(&[&MAGIC[..], &bytes].concat(), &BundleLimits::default());
        }

        #[test]
        fn every_frame_of_zstd_is_understood(data in proptest::collection::vec(any::<u8>(), 0..70_000), level in 1..20) {
            let frame = zstd::bulk::compress(&data, level).expect("compress");
            prop_assert_eq!(head(&frame[..HEAD.min(frame.len())], &BundleLimits::default()), Ok(Head::Data { size: Some(data.len() as u64) }));
            prop_assert_eq!(frame_len(&frame), Some(frame.len()));
            prop_assert_eq!(frame_len(&frame[..frame.len() - 1]), None);
        }
    }
}
