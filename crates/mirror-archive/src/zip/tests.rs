use std::sync::Arc;

use super::*;
use crate::entry::Digests;

fn entry(path: &str, size_bytes: u64) -> Arc<Entry> {
    Arc::new(Entry {
        path: path.as_bytes().to_vec(),
        kind: EntryKind::File,
        size_bytes,
        modified_s: 1_700_000_001,
        mode: 0o644,
        is_metadata: false,
        digests: Digests::default(),
    })
}

/// Passes blocks through a writer, and returns the file and the hash of it.
fn zipped(pass: impl FnOnce(&mut Zipper)) -> (Vec<u8>, [u8; 32]) {
    let out = tempfile::NamedTempFile::new().expect("file");
    let mut zipper = Zipper::new(out.reopen().expect("file"), tempfile::tempfile().expect("file"));
    pass(&mut zipper);
    let packed = zipper.finish().expect("finished");
    let bytes = std::fs::read(out.path()).expect("read");
    assert_eq!(packed.size_bytes, bytes.len() as u64);
    (bytes, packed.sha256)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[test]
fn more_members_than_16_bits_count_are_counted_elsewhere() {
    let (bytes, sha256) = zipped(|zipper| {
        for at in 0..70_000 {
            let mut block = Block::for_tests();
            let piece = Piece { entry: entry(&format!("{at}"), 0), range: 0..0, first: true, last: true };
            block.pieces.push(piece);
            zipper.block(&block).expect("written");
        }
    });
    assert_eq!(sha256, <[u8; 32]>::from(sha2::Sha256::digest(&bytes)));
    let end = &bytes[bytes.len() - 22..];
    assert_eq!((&end[..4], number(&end[10..12])), (&b"PK\x05\x06"[..], 0xffff));
    let large = &bytes[bytes.len() - 22 - 20 - 56..];
    assert_eq!((&large[..4], number(&large[32..40])), (&b"PK\x06\x06"[..], 70_000));
    let (size, offset) = (number(&large[40..48]), number(&large[48..56]));
    assert_eq!(size + offset, bytes.len() as u64 - 98);
    let offset = usize::try_from(offset).expect("small");
    assert_eq!(bytes[offset..offset + 4], *b"PK\x01\x02");
}

#[test]
fn a_file_in_several_blocks_is_followed_by_its_checksum() {
    let text: Vec<u8> = (0..200_000_u32).map(|at| u8::try_from(at % 251).expect("small")).collect();
    let (bytes, _) = zipped(|zipper| {
        let large = entry("large", 200_000);
        for (at, data) in text.chunks(100_000).enumerate() {
            let mut block = Block::for_tests();
            block.room()[..data.len()].copy_from_slice(data);
            block.filled(data.len());
            let range = 0..data.len();
            block.pieces.push(Piece { entry: Arc::clone(&large), range, first: at == 0, last: at == 1 });
            zipper.block(&block).expect("written");
        }
    });
    // Each half is a block of 65,535 bytes and one with the rest, each with a head of five bytes.
    let contents = 30 + 5 + 9;
    let packed = 200_000 + 4 * 5;
    let descriptor = &bytes[contents + packed..contents + packed + 16];
    assert_eq!(descriptor[..4], *b"PK\x07\x08");
    assert_eq!(number(&descriptor[4..8]), u64::from(crc32fast::hash(&text)));
    assert_eq!((number(&descriptor[8..12]), number(&descriptor[12..])), (packed as u64, 200_000));
    assert_eq!([bytes[contents], bytes[contents + packed - 34_465 - 5]], [0, 1], "the last block is marked");
}

#[test]
fn sizes_beyond_32_bits_are_in_an_extra_field() {
    const LARGE: u64 = 5 << 30;
    let mut member = Member::new(&entry("large", LARGE), Method::Deflated, LARGE + 1);
    let local = member.local_header();
    assert_eq!((&local[18..26], number(&local[28..30])), (&[0xff; 8][..], 9 + 20));
    (member.size_bytes, member.packed_bytes) = (LARGE, LARGE + 5);
    let descriptor = member.descriptor();
    assert_eq!((number(&descriptor[8..16]), number(&descriptor[16..])), (LARGE + 5, LARGE));
    let central = member.central_header();
    let extra = &central[46 + 5 + 9..];
    assert_eq!((number(&extra[..2]), number(&extra[2..4])), (1, 24));
    let numbers: Vec<u64> = extra[4..].chunks(8).map(number).collect();
    assert_eq!(numbers, [LARGE, LARGE + 5, LARGE + 1]);
}

#[test]
fn a_file_without_an_end_is_an_error() {
    let mut zipper = Zipper::new(tempfile::tempfile().expect("file"), tempfile::tempfile().expect("file"));
    let mut block = Block::for_tests();
    block.pieces.push(Piece { entry: entry("cut", 10), range: 0..0, first: true, last: false });
    zipper.block(&block).expect("written");
    assert!(zipper.finish().is_err());
}
