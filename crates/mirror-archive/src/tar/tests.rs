use proptest::prelude::*;

use super::header::{DIRECTORY, FILE, Header, PAX, SYMLINK, UNIT_BYTES};

fn decode(bytes: &[u8]) -> Result<Header, &'static str> {
    let unit = |at: usize| -> [u8; UNIT_BYTES] { bytes[at..at + UNIT_BYTES].try_into().unwrap() };
    let first = Header::decode(&unit(0))?;
    if first.kind != PAX {
        assert_eq!(bytes.len(), UNIT_BYTES);
        return Ok(first);
    }
    let records = usize::try_from(first.size_bytes).unwrap();
    let mut header = Header::decode(&unit(bytes.len() - UNIT_BYTES))?;
    header.apply(&bytes[UNIT_BYTES..UNIT_BYTES + records])?;
    Ok(header)
}

#[test]
fn plain_members_need_no_records() {
    let header = Header {
        name: b"a/b".to_vec(),
        size_bytes: 0o777_7777_7777,
        modified_s: 1,
        mode: 0o755,
        kind: FILE,
        ..Header::default()
    };
    assert_eq!(header.encode().len(), UNIT_BYTES);
    let large = Header { size_bytes: 0o1_0000_0000_0000, ..header.clone() };
    assert_eq!(large.encode().len(), 3 * UNIT_BYTES, "beyond 8 GiB");
    assert_eq!(decode(&large.encode()), Ok(large));
    let old = Header { modified_s: -1, ..header };
    assert_eq!(decode(&old.encode()), Ok(old));
}

/// Checks the lengths around which a record needs one digit more: its length counts its own digits.
#[test]
fn lengths_count_themselves() {
    for len in (101..115).chain(980..1010).chain(9_970..10_010) {
        let header = Header { name: vec![b'n'; len], kind: FILE, ..Header::default() };
        assert_eq!(decode(&header.encode()), Ok(header), "{len}");
    }
}

#[test]
fn damaged_headers_are_noticed() {
    let header = Header { name: b"a".to_vec(), kind: FILE, mode: 0o644, ..Header::default() };
    let bytes = header.encode();
    for at in 0..UNIT_BYTES {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let read = Header::decode(flipped.as_slice().try_into().unwrap());
            // Only the padding after the numbers may be read as the same.
            assert!(read.is_err() || (148..156).contains(&at), "byte {at}, bit {bit}: {read:?}");
        }
    }
    for records in
        ["", "5 a", "6 a=b\n", "x a=b\n", "+7 a=b\n", "9 size=x\n", "7 size\n", "13 path=abcde", "8 foo=b\n"]
    {
        let mut header = Header::default();
        assert_eq!(header.apply(records.as_bytes()).is_ok(), records.is_empty(), "{records:?}");
    }
}

proptest! {
    #[test]
    fn any_header_comes_back(
        name in proptest::collection::vec(1..=255_u8, 1..300),
        target in proptest::collection::vec(1..=255_u8, 1..300),
        size_bytes: u64,
        modified_s: i64,
        mode in 0..0o1000_u32,
        kind in prop_oneof![Just(FILE), Just(DIRECTORY), Just(SYMLINK)],
    ) {
        let header = Header { name, target, size_bytes, modified_s, mode, kind };
        prop_assert_eq!(decode(&header.encode()), Ok(header));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: [u8; UNIT_BYTES], records in proptest::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(mut header) = Header::decode(&bytes) {
            let _ = header.apply(&records);
        }
    }
}
