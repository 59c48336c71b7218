use super::*;

fn digest(kind: HashKind, data: &[u8]) -> String {
    let mut hasher = kind.hasher();
    hasher.update(data);
    hasher.finish()
}

/// Returns the pattern of the test vectors of KangarooTwelve: bytes 00 to FA, repeated.
fn pattern(len: usize) -> Vec<u8> {
    (0..=0xfa_u8).cycle().take(len).collect()
}

/// Checks the vectors of RFC 9861, section 5.
#[test]
fn kangaroo_twelve_matches_published_vectors() {
    let vectors = [
        (0, "1ac2d450fc3b4205d19da7bfca1b37513c0803577ac7167f06fe2ce1f0ef39e5"),
        (1, "2bda92450e8b147f8a7cb629e784a058efca7cf7d8218e02d345dfaa65244a1f"),
        (17, "6bf75fa2239198db4772e36478f8e19b0f371205f6a9a93a273f51df37122888"),
        (289, "0c315ebcdedbf61426de7dcf8fb725d1e74675d7f5327a5067f367b108ecb67c"),
        (4913, "cb552e2ec77d9910701d578b457ddf772c12e322e4ee7fe417f92c758f0d59d0"),
        (83_521, "8701045e22205345ff4dda05555cbb5c3af1a771c2b89baef37db43d9998b9fe"),
    ];
    for (len, wanted) in vectors {
        assert_eq!(digest(HashKind::Kangaroo12, &pattern(len)), wanted, "{len} bytes");
    }
}

/// Checks the vectors that the authors of Whirlpool published.
#[test]
fn whirlpool_matches_published_vectors() {
    let empty = "19fa61d75522a466 9b44e39c1d2e1726 c530232130d407f8 9afee0964997f7a7 \
                 3e83be698b288feb cf88e3e03c4f0757 ea8964e59b63d937 08b138cc42a66eb3";
    let abc = "4e2448a4c6f486bb 16b6562c73b4020b f3043e3a731bce72 1ae1b303d97e6d4c \
               7181eebdb6c57e27 7d0e34957114cbd6 c797fc9d95d8b582 d225292076d4eef5";
    assert_eq!(digest(HashKind::Whirlpool, b""), empty.replace(' ', ""));
    assert_eq!(digest(HashKind::Whirlpool, b"abc"), abc.replace(' ', ""));
}

/// Checks the vectors that the authors of RIPEMD-160 published.
#[test]
fn ripemd_160_matches_published_vectors() {
    let vectors: [(&[u8], &str); 4] = [
        (b"", "9c1185a5c5e9fc54612808977ee8f548b2258d31"),
        (b"abc", "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"),
        (b"message digest", "5d0689ef49d2fae572b881b123a85ffa21595f36"),
        (&[b'a'; 1_000_000], "52783243c1697bdbe16d37f97f68f08325dc1528"),
    ];
    for (data, wanted) in vectors {
        assert_eq!(digest(HashKind::Ripemd160, data), wanted);
    }
}

/// Checks the verification value that the author's test suite gives for this variant of Murmur3: digests of keys of 0
/// to 255 bytes under decreasing seeds, digested once more, in the byte order of a little-endian machine.
#[test]
fn murmur3_matches_its_verification_value() {
    let digest = |seed: u32, data: &[u8]| {
        let mut hash = mur3::Hasher128::with_seed(seed);
        data.chunks(7).for_each(|piece| hash.write(piece));
        let (h1, h2) = hash.finish128();
        [h1.to_le_bytes(), h2.to_le_bytes()].concat()
    };
    let key: Vec<u8> = (0..=255).collect();
    let all: Vec<u8> = (0..256_u32).flat_map(|i| digest(256 - i, &key[..i as usize])).collect();
    assert_eq!(digest(0, &all)[..4], 0x6384_ba69_u32.to_le_bytes());
}

/// Checks the vectors of FIPS 180 and 202, RFC 7693 (with 32 bytes: the reference implementation), the specifications
/// of BLAKE3 and xxHash.
#[test]
fn the_other_digests_match_published_vectors() {
    let vectors = [
        (HashKind::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (HashKind::Sha3, "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
        (HashKind::Blake2b, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"),
        (HashKind::Blake3, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        (HashKind::Xxh64, "44bc2cf5ad770999"),
    ];
    for (kind, wanted) in vectors {
        assert_eq!(digest(kind, b"abc"), wanted, "{kind}");
    }
    assert_eq!(digest(HashKind::Xxh64, b""), "ef46db3751d8e999");
    assert_eq!(digest(HashKind::Xxh3, b""), "2d06800538d394c2");
    assert!(digest(HashKind::Sha512, b"abc").starts_with("ddaf35a193617abacc417349ae204131"));
    assert_eq!(digest(HashKind::Murmur3, b""), "0".repeat(32));
    assert_eq!(digest(HashKind::Murmur3, b"abc"), "b4963f3f3fad78673ba2744126ca2d52");
}

#[test]
fn splitting_the_input_changes_no_digest() {
    let data = pattern(70_000);
    for kind in HashKind::ALL {
        let mut hasher = kind.hasher();
        let mut rest = &*data;
        for len in (1..).map(|n| n * 37 % 9001) {
            let (now, later) = rest.split_at(len.min(rest.len()));
            hasher.update(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(hasher.finish(), digest(kind, &data), "{kind}");
        assert_eq!(digest(kind, b"x").len(), 2 * kind.len_bytes(), "{kind}");
    }
}

#[test]
fn lists_of_keys_are_parsed() {
    assert_eq!(HashKind::parse_list("all").expect("all"), HashKind::ALL);
    assert_eq!(HashKind::parse_list("none, ").expect("none"), []);
    let two = HashKind::parse_list("sha256,blake3 ,sha256").expect("two");
    assert_eq!(two, [HashKind::Blake3, HashKind::Sha256]);
    let error = HashKind::parse_list("sha256,md5").expect_err("md5");
    assert!(error.to_string().contains("\"md5\" is not a digest; choose from kangaroo12, blake3"), "{error}");
}

#[test]
fn hexadecimal_has_one_form() {
    assert_eq!(unhex(&hex(&[0, 0xaf, 0xff])), Some([0, 0xaf, 0xff]));
    for text in ["00AF", "0af", "00+f", "zz00", "00af0"] {
        assert_eq!(unhex::<2>(text), None, "{text}");
    }
}
