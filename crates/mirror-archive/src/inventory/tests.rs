#![expect(clippy::disallowed_methods, reason = "tests write their own files")]

use proptest::prelude::*;

use super::head::undate;
use super::*;
use crate::error::ArchiveError;
use crate::names::walk_order;
use crate::record::{FileRecord, Record, Spool, What};

fn file(path: &[u8], size_bytes: u64) -> Record {
    let what = What::File(FileRecord {
        size_bytes,
        modified_s: 86_400 * 365,
        sha256: [0xab; 32],
        blake3: [0x01; 32],
    });
    Record { path: path.to_vec(), what }
}

fn directory(path: &[u8]) -> Record {
    Record { path: path.to_vec(), what: What::Directory }
}

fn link(path: &[u8], target: &[u8]) -> Record {
    Record { path: path.to_vec(), what: What::Symlink(target.to_vec()) }
}

/// Returns names that YAML, TOML, a terminal or a careless parser would take for something else.
fn hostile() -> Vec<Record> {
    let mut records: Vec<Record> = [
        "yes",
        "NULL",
        "~",
        "1e3",
        "0x10",
        "- x",
        "-rf",
        "a: b",
        "a #b",
        "[a]",
        "{a",
        "&a",
        "*a",
        "!!str a",
        "? a",
        "|",
        ">",
        "%TAG",
        "@a",
        "`a",
        "'a'",
        "\"a\"",
        "a\\nb",
        "a\nb",
        "a\tb",
        " a ",
        "a\r",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{1f600}",
        "e\u{301}",
        "2026-01-01",
        "files:",
        "checksum:",
        "./...".trim_start_matches("./"),
    ]
    .map(|name| file(name.as_bytes(), 1))
    .to_vec();
    records.push(file(b"\xff\xfe%41", 2));
    records.push(file(b"%FF", 2));
    records.push(file(&[b'n'; 250], 3));
    records.push(directory(b"dir\xff"));
    records.push(file(b"dir\xff/f", 0));
    records.push(link(b"link", b"./%FF"));
    records.push(link(b"link\xff", b"\xff"));
    let mut long = Vec::new();
    for _ in 0..12 {
        long = crate::names::join(&long, "\u{e9}\u{7f}".repeat(60).as_bytes());
        records.push(directory(&long));
    }
    records.push(file(&[&*long, b"/f"].concat(), 4));
    records.push(link(&[&*long, b"/l"].concat(), b"x"));
    records
}

fn head(hashes: Vec<(crate::HashKind, String)>, spool: &Spool) -> Head {
    Head {
        date: date(1_700_000_000).unwrap(),
        generator: "test 1".to_owned(),
        name: b"a\xffb".to_vec(),
        files: spool.files,
        directories: spool.directories,
        symlinks: spool.symlinks,
        bytes: spool.bytes,
        hashes,
        tar: Some(TarFacts {
            name: "p.tar".to_owned(),
            size_bytes: 1024,
            sha256: [7; 32],
            toml: "p.toml".to_owned(),
            toml_size_bytes: 5,
            toml_sha256: [8; 32],
        }),
        zip: Some(ZipFacts { name: "p.zip".to_owned(), size_bytes: 22, sha256: [9; 32] }),
    }
}

struct Written {
    dir: tempfile::TempDir,
    records: Vec<Record>,
    head: Head,
    yaml: Vec<u8>,
    toml: String,
    signature_at: u64,
}

fn written(mut records: Vec<Record>, hashes: Vec<(crate::HashKind, String)>) -> Written {
    records.sort_by(|a, b| walk_order(&a.path, &b.path));
    records.dedup_by(|a, b| a.path == b.path);
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(tempfile::tempfile().unwrap());
    for record in &records {
        spool.push(record).unwrap();
    }
    let head = head(hashes, &spool);
    let (mut yaml, mut toml) = (Vec::new(), Vec::new());
    let signature_at = write_yaml(&mut yaml, &head, &mut spool).unwrap();
    write_toml(&mut toml, &head, &mut spool).unwrap();
    Written { dir, records, head, yaml, toml: String::from_utf8(toml).unwrap(), signature_at }
}

impl Written {
    fn open(&self, yaml: &[u8]) -> Result<Inventory, ArchiveError> {
        let path = self.dir.path().join("p.yaml");
        std::fs::write(&path, yaml).unwrap();
        Inventory::open(&path)
    }

    fn check(&self, yaml: &[u8]) -> Inventory {
        let inventory = self.open(yaml).unwrap();
        assert_eq!(inventory.head, self.head);
        let records: Vec<Record> = inventory.records().map(Result::unwrap).collect();
        assert_eq!(records, self.records);
        inventory
    }
}

#[test]
fn every_record_is_read_back() {
    let hashes = vec![(crate::HashKind::Xxh3, "0".repeat(16)), (crate::HashKind::Sha256, "1".repeat(64))];
    let written = written(hostile(), hashes);
    let inventory = written.check(&written.yaml.clone());
    assert!(inventory.signed.is_none());
}

#[test]
fn an_empty_directory_has_an_inventory_too() {
    let written = written(Vec::new(), Vec::new());
    written.check(&written.yaml.clone());
    let table: ::toml::Table = written.toml.parse().unwrap();
    assert!(table["files"].as_table().unwrap().is_empty());
    assert!(table["directories"].as_array().unwrap().is_empty());
}

#[test]
fn a_signature_is_inserted_and_left_out_again() {
    use std::io::Read as _;
    let written = written(hostile(), Vec::new());
    let armored = "-----BEGIN PGP SIGNATURE-----\n\nabc\n=def\n-----END PGP SIGNATURE-----\n";
    let mut signed = Vec::new();
    insert_signature(&mut &*written.yaml, written.signature_at, "0x1", "AB", armored, &mut signed).unwrap();
    let inventory = written.check(&signed);
    let block = inventory.signed.clone().unwrap();
    assert_eq!((&*block.key_id, &*block.fingerprint, &*block.armored), ("0x1", "AB", armored));
    let mut read = Vec::new();
    inventory.unsigned_document().read_to_end(&mut read).unwrap();
    assert_eq!(read, written.yaml);
    read.clear();
    inventory.document().read_to_end(&mut read).unwrap();
    assert_eq!(read, signed);
}

#[test]
fn toml_names_every_file() {
    let written = written(hostile(), Vec::new());
    let table: ::toml::Table = written.toml.parse().unwrap();
    let files = table["files"].as_table().unwrap();
    let mut wanted = 0;
    for record in written.records.iter().filter(|record| matches!(record.what, What::File(_))) {
        let (key, escaped) = crate::names::key(&record.path);
        assert_eq!(files[&*key].get("escaped").is_some(), escaped, "{key}");
        wanted += 1;
    }
    assert_eq!(files.len(), wanted);
    assert_eq!(table["symlinks"]["link"]["target"].as_str(), Some("./%FF"));
}

/// Checks that every byte of an unsigned inventory matters.
#[test]
fn flipped_bits_are_found() {
    let records = vec![file(b"a", 1), file(b"\xff", 2), directory(b"d"), link(b"l", b"t")];
    let written = written(records, vec![(crate::HashKind::Xxh64, "0123456789abcdef".to_owned())]);
    for at in 0..written.yaml.len() {
        for bit in [at % 8, (at / 8 + 5) % 8] {
            let mut flipped = written.yaml.clone();
            flipped[at] ^= 1 << bit;
            let error = written.open(&flipped).expect_err("a flipped bit");
            assert_eq!(error.kind(), mirror_types::FaultKind::Integrity, "byte {at}, bit {bit}: {error}");
        }
    }
    for len in 0..written.yaml.len() {
        assert!(written.open(&written.yaml[..len]).is_err(), "cut at {len}");
    }
    assert!(written.open(&[&*written.yaml, b"\n"].concat()).is_err());
}

/// Covers inventories by a hostile author, whose checksums match.
#[test]
fn an_inventory_that_lies_about_itself_is_refused() {
    use sha2::Digest as _;
    let written = written(vec![file(b"a", 1), file(b"b", 2), directory(b"d")], Vec::new());
    let text = String::from_utf8(written.yaml.clone()).unwrap();
    let body = &text[..text.find("checksum:").unwrap()];
    let sealed = |body: &str| {
        let sum = crate::hashes::hex(&sha2::Sha256::digest(body));
        written.open(format!("{body}checksum:\n  sha256: \"{sum}\"\n").as_bytes())
    };
    sealed(body).unwrap();
    let lies = [
        ("total_files: 2", "total_files: 3"),
        ("total_size_bytes: 3", "total_size_bytes: 4"),
        ("total_size_bytes: 3", "total_size_bytes: 03"),
        ("\"b\"", "\"a\""),
        ("\"b\"", "\"../b\""),
        ("\"b\"", "\"/b\""),
        ("\"b\"", "\"./b\""),
        ("\"b\"", "b"),
        ("\"b\"", "\"\\u0062\""),
        ("size: 2", "size: 18446744073709551615"),
        ("1971-01-01", "1971-02-30"),
        ("schemaVersion: 1", "schemaVersion: 2"),
        ("- \"d\"", "- \"d\"\n  - \"d\""),
        ("directories:", "directories: []\n"),
    ];
    for (truth, lie) in lies {
        let lied = body.replacen(truth, lie, 1);
        assert_ne!(lied, body, "{truth}");
        assert!(sealed(&lied).is_err(), "{lie}");
    }
    let long = body.replacen("\"b\"", &format!("\"b{}\"", "x".repeat(400_000)), 1);
    assert!(sealed(&long).unwrap_err().to_string().contains("too long"));
}

#[test]
fn dates_have_one_form() {
    assert_eq!(date(0).as_deref(), Some("1970-01-01 00:00:00"));
    assert_eq!(date(-1).as_deref(), Some("1969-12-31 23:59:59"));
    assert_eq!(undate("2023-11-14 22:13:20"), Some(1_700_000_000));
    for text in [
        "2023-11-14",
        "2023-11-14 22:13:60",
        "2023-13-14 22:13:20",
        " 2023-11-14 22:13:20",
        "2023-11-4 22:13:20",
    ] {
        assert_eq!(undate(text), None, "{text}");
    }
    assert_eq!((date(i64::MAX), date(i64::MIN), date(-62_167_219_201)), (None, None, None));
}

fn any_record() -> impl Strategy<Value = Record> {
    let part = prop_oneof![
        "[^/\0]{1,6}".prop_map(String::into_bytes),
        proptest::collection::vec((1..=255_u8).prop_filter("separator", |byte| *byte != b'/'), 1..6),
    ];
    let path = proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join(&b'/'));
    let path = path.prop_filter("plain", |path| crate::names::is_plain(path));
    let what = prop_oneof![
        (any::<u64>(), -60_000_000_000..250_000_000_000_i64, any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(
            |(size, modified_s, sha256, blake3)| {
                What::File(FileRecord { size_bytes: size >> 10, modified_s, sha256, blake3 })
            }
        ),
        Just(What::Directory),
        proptest::collection::vec(1..=255_u8, 1..20).prop_map(What::Symlink),
    ];
    (path, what).prop_map(|(path, what)| Record { path, what })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_records_are_read_back(records in proptest::collection::vec(any_record(), 0..20)) {
        let written = written(records, Vec::new());
        written.check(&written.yaml);
        prop_assert!(written.toml.parse::<::toml::Table>().is_ok());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(at in 0..2000_usize, with in proptest::collection::vec(any::<u8>(), 0..30)) {
        let written = written(vec![file(b"a", 1), directory(b"d"), link(b"l", b"t")], Vec::new());
        let mut yaml = written.yaml.clone();
        let at = at.min(yaml.len());
        let end = (at + with.len()).min(yaml.len());
        yaml.splice(at..end, with);
        let _ = written.open(&yaml);
    }
}
