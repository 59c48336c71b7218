use std::borrow::Cow;

use proptest::prelude::*;

use crate::*;

fn file(name: &[u8]) -> Header<'_> {
    Header {
        name: Cow::Borrowed(name),
        target: Cow::Borrowed(b""),
        size_bytes: 0,
        modified_s: 0,
        mode: MODE,
        kind: EntryType::Regular,
    }
}

fn encode(header: &Header<'_>) -> Vec<u8> {
    let mut out = b"before".to_vec();
    header.encode_into(&mut out, |name| [b"PaxHeaders/", name].concat());
    assert_eq!(out.len(), 6 + header.encoded_bytes());
    out.split_off(6)
}

fn read(block: &[u8]) -> Result<Header<'_>, HeaderFault> {
    CheckedBlock::new(block.try_into().unwrap()).and_then(|block| block.header())
}

fn decode(bytes: &[u8]) -> Header<'_> {
    let first = read(&bytes[..BLOCK_BYTES]).unwrap();
    if first.kind != EntryType::XHeader {
        assert_eq!(bytes.len(), BLOCK_BYTES);
        return first;
    }
    let records = usize::try_from(first.size_bytes).unwrap();
    let mut header = read(&bytes[bytes.len() - BLOCK_BYTES..]).unwrap();
    header.apply(&bytes[BLOCK_BYTES..BLOCK_BYTES + records]).unwrap();
    header
}

/// Writes the checksum of a changed block again.
fn summed(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Bundles and archives are reproducible: what was written in one version is written in the next.
#[test]
fn the_bytes_of_a_header_stay_as_they_are() {
    let mut expected = [0; BLOCK_BYTES];
    for (at, field) in [
        (0, &b"s/er/serde-1.0.0.crate"[..]),
        (100, b"0000644\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, b"00000000005\0"),
        (136, b"00000000000\0"),
        (148, b"012624\0 "),
        (156, b"0"),
        (257, b"ustar\x0000"),
        (329, b"0000000\0"),
        (337, b"0000000\0"),
    ] {
        expected[at..at + field.len()].copy_from_slice(field);
    }
    assert_eq!(encode(&Header { size_bytes: 5, ..file(b"s/er/serde-1.0.0.crate") }), expected);
    let link = Header { target: Cow::Borrowed(b"t"), kind: EntryType::Symlink, mode: 0o777, ..file(b"l") };
    let bytes = encode(&link);
    assert_eq!((&bytes[100..108], &bytes[156..159]), (&b"0000777\0"[..], &b"2t\0"[..]));
}

#[test]
fn the_bytes_of_records_stay_as_they_are() {
    let name = [b'n'; 101];
    let bytes = encode(&Header { size_bytes: 1 << 33, modified_s: -1, ..file(&name) });
    assert_eq!(bytes.len(), 3 * BLOCK_BYTES);
    let header = read(&bytes[..BLOCK_BYTES]).unwrap();
    assert_eq!((header.kind, header.mode), (EntryType::XHeader, 0o644));
    assert_eq!(*header.name, *[&b"PaxHeaders/"[..], &name[..89]].concat());
    let records = format!("111 path={}\n19 size=8589934592\n12 mtime=-1\n", "n".repeat(101));
    assert_eq!(usize::try_from(header.size_bytes).unwrap(), records.len());
    assert_eq!(&bytes[BLOCK_BYTES..BLOCK_BYTES + records.len()], records.as_bytes());
    let rest = read(&bytes[2 * BLOCK_BYTES..]).unwrap();
    assert_eq!((&*rest.name, rest.size_bytes, rest.modified_s), (&name[..100], 0, 0));
}

#[test]
fn plain_members_need_no_records() {
    let header = Header { size_bytes: 0o777_7777_7777, modified_s: 1, mode: 0o755, ..file(b"a/b") };
    assert_eq!(encode(&header).len(), BLOCK_BYTES);
    let large = Header { size_bytes: 0o1_0000_0000_0000, ..header.clone() };
    assert_eq!(encode(&large).len(), 3 * BLOCK_BYTES, "beyond 8 GiB");
    assert_eq!(decode(&encode(&large)), large);
    let old = Header { modified_s: -1, ..header };
    assert_eq!(decode(&encode(&old)), old);
}

/// Checks the lengths around which a record needs one digit more: its length counts its own digits.
#[test]
fn lengths_count_themselves() {
    for len in (101..115).chain(980..1010).chain(9_970..10_010) {
        let name = vec![b'n'; len];
        assert_eq!(decode(&encode(&file(&name))), file(&name), "{len}");
    }
}

#[test]
fn damaged_headers_are_noticed() {
    let bytes = encode(&file(b"a"));
    for at in 0..BLOCK_BYTES {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            // Only the padding after the sum may be read as the same.
            let read = read(&flipped);
            assert!(read.is_err() || (148..156).contains(&at), "byte {at}, bit {bit}: {read:?}");
        }
    }
}

/// An attacker hides a member from one program, or shows it another one, with fields that programs read differently.
#[test]
fn what_programs_read_in_two_ways_is_refused() {
    let with = |at: usize, field: &[u8]| {
        let mut bytes = encode(&Header { size_bytes: 5, ..file(b"name") });
        bytes[at..at + field.len()].copy_from_slice(field);
        read(&summed(bytes)).map(|_| ())
    };
    let size = |field: &[u8; 12]| with(124, field);
    assert_eq!(with(0, b"name"), Ok(()));
    assert_eq!(size(b"00000000005 "), Ok(()));
    assert_eq!(size(b"5 \0 \0\0\0\0\0\0\0\0"), Ok(()));
    for field in [b"\x80\0\0\0\0\0\0\0\0\0\0\x05", b"-0000000005\0", b"+0000000005\0", b" 0000000005\0"] {
        assert_eq!(size(field), Err(HeaderFault::Size), "{field:?}");
    }
    for field in
        [b"5\x000000000000", b"00000000008\0", b"\0\0\0\0\0\0\0\0\0\0\0\0", b"5x\0\0\0\0\0\0\0\0\0\0"]
    {
        assert_eq!(size(field), Err(HeaderFault::Size), "{field:?}");
    }
    for at in [100, 108, 116, 136] {
        assert_eq!(with(at, b"\x80"), Err(HeaderFault::Number), "{at}");
    }
    for at in [329, 337] {
        assert_eq!(with(at, b"\0\0\0\0\0\0\0\0"), Ok(()), "{at}");
        assert_eq!(with(at, b"x"), Err(HeaderFault::Device), "{at}");
    }
    for at in [0, 157, 345] {
        assert_eq!(with(at, b"a\0b"), Err(HeaderFault::Name), "{at}");
    }
    for magic in [&b"ustar  \0"[..], b"ustar\x0001", b"\0\0\0\0\0\0\0\0"] {
        assert_eq!(with(257, magic), Err(HeaderFault::Format));
    }
    let mut sum = encode(&file(b"a"));
    sum[148] = 0x80;
    assert_eq!(read(&sum), Err(HeaderFault::Checksum));
}

#[test]
fn a_prefix_stands_before_the_name() {
    let mut bytes = encode(&file(b"name"));
    bytes[345..348].copy_from_slice(b"a/b");
    assert_eq!(*read(&summed(bytes)).unwrap().name, *b"a/b/name");
}

#[test]
fn the_type_is_known_before_the_format() {
    let mut bytes = encode(&file(b"name"));
    bytes[156] = b'L';
    bytes[257..265].copy_from_slice(b"ustar  \0");
    let bytes = summed(bytes);
    let block = CheckedBlock::new(bytes.as_slice().try_into().unwrap()).unwrap();
    assert_eq!((block.kind(), block.is_of_old_kind()), (EntryType::GNULongName, false));
    assert_eq!(block.header(), Err(HeaderFault::Format));
}

#[test]
fn records_that_are_none_are_refused() {
    for bytes in [
        "5 a",
        "6 a=b\n",
        "x a=b\n",
        "+6 a=b\n",
        "06 a=b\n",
        "0 a=b\n",
        " a=b\n",
        "=",
        "9 size=x\n",
        "7 size\n",
        "13 path=abcde",
        "99 a=b\n",
        "99999999999999999999999 a=b\n",
        "6 a=b\n\n",
        "10 size=+1\n",
        "8 foo=b\n",
    ] {
        assert!(file(b"a").apply(bytes.as_bytes()).is_err(), "{bytes:?}");
    }
    assert_eq!(file(b"a").apply(b"8 foo=b\n"), Err(RecordFault::Key));
    assert_eq!(file(b"a").apply(b""), Ok(()));
    let all: Vec<_> = records(b"6 a=b\n7 c==\n\nrest").collect();
    assert_eq!(all.len(), 3, "nothing is read behind what is malformed");
    assert_eq!(all[..2], [Ok((&b"a"[..], &b"b"[..])), Ok((b"c", b"=\n"))]);
    assert_eq!(all[2], Err(RecordFault::Malformed));
}

/// Why records are read here and not by the `tar` crate: a file's name may have a newline in it.
#[test]
fn a_newline_does_not_end_a_record() {
    let name = [&[b'n'; 100][..], b"\n1"].concat();
    let bytes = encode(&file(&name));
    assert_eq!(decode(&bytes), file(&name));
    let theirs = tar::PaxExtensions::new(&bytes[BLOCK_BYTES..]).next().unwrap();
    assert!(theirs.is_err(), "the tar crate can read it: its reader might stand in for ours");
}

proptest! {
    #[test]
    fn any_header_comes_back(
        name in proptest::collection::vec(1..=255_u8, 1..300),
        target in proptest::collection::vec(1..=255_u8, 1..300),
        size_bytes: u64,
        modified_s: i64,
        mode in 0..0o1000_u32,
        kind in prop_oneof![Just(EntryType::Regular), Just(EntryType::Directory), Just(EntryType::Symlink)],
    ) {
        let header = Header { name: name.into(), target: target.into(), size_bytes, modified_s, mode, kind };
        let bytes = encode(&header);
        prop_assert_eq!(decode(&bytes), header);
    }

    /// The `tar` crate reads what is written here, and writes the same records.
    #[test]
    fn the_tar_crate_agrees(name in "[a-z/]{1,300}", size_bytes in 0_u64..1 << 40, modified_s in 0_u32..) {
        let header = Header { size_bytes, modified_s: modified_s.into(), ..file(name.as_bytes()) };
        let bytes = encode(&header);
        let theirs = tar::Header::from_byte_slice(&bytes[bytes.len() - BLOCK_BYTES..]);
        let sum = bytes[bytes.len() - BLOCK_BYTES..].iter().enumerate();
        let sum = sum.map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) });
        prop_assert_eq!(theirs.cksum().unwrap(), sum.sum::<u32>());
        prop_assert_eq!(theirs.mtime().unwrap(), u64::from(modified_s));
        if bytes.len() > BLOCK_BYTES {
            let records = bytes[BLOCK_BYTES..bytes.len() - BLOCK_BYTES].to_vec();
            let read = tar::PaxExtensions::new(&records).map_while(Result::ok);
            let read: Vec<_> = read.map(|one| (one.key().unwrap().to_owned(), one.value_bytes().to_vec())).collect();
            let mut builder = tar::Builder::new(Vec::new());
            builder.append_pax_extensions(read.iter().map(|(key, value)| (key.as_str(), &value[..]))).unwrap();
            let written = builder.into_inner().unwrap();
            prop_assert_eq!(&written[BLOCK_BYTES..written.len() - END.len()], records);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(block: [u8; BLOCK_BYTES], bytes in proptest::collection::vec(any::<u8>(), 0..100), ustar: bool) {
        let mut block = block.to_vec();
        if ustar {
            block[257..265].copy_from_slice(b"ustar\x0000");
        }
        let _ = read(&summed(block)).map(|_| ());
        let _ = file(b"a").apply(&bytes);
    }

    #[test]
    fn padding_fills_a_block(size: u64) {
        let padding = padding(size);
        prop_assert!(padding < BLOCK_BYTES);
        prop_assert_eq!((size % 512 + padding as u64) % 512, 0);
    }
}
