use std::convert::Infallible;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// Makes a member of a tar file, in the form that Cargo writes.
pub(crate) fn member(name: &str, body: &[u8]) -> Vec<u8> {
    of_kind(b'0', name, body)
}

fn of_kind(kind: u8, name: &str, body: &[u8]) -> Vec<u8> {
    let mut header = vec![0_u8; BLOCK_BYTES];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..135].copy_from_slice(format!("{:011o}", body.len()).as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar  \0");
    let padding = vec![0; body.len().next_multiple_of(BLOCK_BYTES) - body.len()];
    [header, body.to_vec(), padding].concat()
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

/// Packs members as a release.
pub(crate) fn packed(members: &[Vec<u8>]) -> Vec<u8> {
    zipped(&[members.concat(), vec![0; 2 * BLOCK_BYTES]].concat())
}

/// Reads the licence in pieces; returns it with the number of bytes that were taken.
fn licence(release: &[u8], piece_bytes: usize) -> (StatedLicence, usize) {
    let id = ReleaseId { name: "a".parse().expect("name"), version: "1.0.0".parse().expect("version") };
    let mut taken = 0;
    let read = licence_of(&id, |take| {
        for piece in release.chunks(piece_bytes) {
            taken += piece.len();
            if !take(piece) {
                break;
            }
        }
        Ok::<_, Infallible>(())
    });
    let Ok(licence) = read;
    (licence, taken)
}

fn of(members: &[Vec<u8>]) -> StatedLicence {
    licence(&packed(members), 4096).0
}

fn manifest(body: &str) -> Vec<u8> {
    member("a-1.0.0/Cargo.toml", body.as_bytes())
}

fn mit() -> StatedLicence {
    StatedLicence::Text("MIT".to_owned())
}

/// Returns the reason for which a licence could not be read.
fn reason(licence: StatedLicence) -> String {
    match licence {
        StatedLicence::Unreadable(reason) => reason,
        other => panic!("{other:?}"),
    }
}

const MIT: &str = "[package]\nname = \"a\"\nlicense = \"MIT\"\n";

#[test]
fn a_licence_is_read_however_the_release_is_cut() {
    let release = packed(&[member("a-1.0.0/README.md", &[b'x'; 700]), manifest(MIT)]);
    for piece_bytes in [1, 7, 512, 1000, 1 << 20] {
        assert_eq!(licence(&release, piece_bytes).0, mit());
    }
}

#[test]
fn a_release_may_state_no_licence() {
    for text in [
        "[package]\n",
        "[package]\nlicense-file = \"LICENSE\"\n",
        "[package]\nlicense = \" \"\n",
        "[package]\n[dependencies.b]\nlicense = \"MIT\"\n",
    ] {
        assert_eq!(of(&[manifest(text)]), StatedLicence::Missing, "{text}");
    }
    assert_eq!(of(&[manifest("[project]\nlicense = \"MIT\"\n")]), mit());
}

#[test]
fn only_the_manifest_at_the_root_counts() {
    for name in ["a-1.0.0/b/Cargo.toml", "a-1.0.1/Cargo.toml", "Cargo.toml", "a-1.0.0/Cargo.toml.orig"] {
        assert_eq!(reason(of(&[member(name, MIT.as_bytes())])), "the release has none", "{name}");
    }
    assert_eq!(reason(of(&[of_kind(b'2', "a-1.0.0/Cargo.toml", b"")])), "the release has none");
}

#[test]
fn a_manifest_that_cannot_be_read_has_a_reason() {
    assert_eq!(reason(of(&[member("a-1.0.0/Cargo.toml", b"\xff")])), "it is not UTF-8");
    for text in ["", "[package\n", "[package]\nlicense = 1\n", "package = []"] {
        assert!(!reason(of(&[manifest(text)])).is_empty(), "{text}");
    }
    let hostile = reason(of(&[manifest(&format!("[package]\n\"\\u001b{}\" = =", "x".repeat(9000)))]));
    assert!(hostile.len() <= MAX_REASON_CHARS && !hostile.contains(char::is_control), "{hostile}");
    let deep = format!("[package]\nx = {}", "[".repeat(1 << 20));
    assert!(!reason(of(&[manifest(&deep)])).is_empty());
}

#[test]
fn nothing_is_unpacked_behind_the_manifest() {
    let noise: Vec<u8> = (0..1 << 20).map(|_| fastrand::u8(..)).collect();
    let release = packed(&[manifest(MIT), member("a-1.0.0/noise", &noise)]);
    let (found, taken) = licence(&release, 4096);
    assert_eq!(found, mit());
    assert!(taken <= 128 << 10, "{taken} of {}", release.len());
}

#[test]
fn long_names_belong_to_the_next_file() {
    let named = |name: &str| of_kind(b'L', "././@LongLink", format!("{name}\0").as_bytes());
    let pax = |records: &str| of_kind(b'x', "PaxHeaders/x", records.as_bytes());
    let short = || member("short", MIT.as_bytes());
    assert_eq!(of(&[named("a-1.0.0/Cargo.toml"), short()]), mit());
    assert_eq!(of(&[pax("27 path=a-1.0.0/Cargo.toml\n"), short()]), mit());
    // A file under another name must not be taken for the manifest.
    let other = "[package]\nlicense = \"ISC\"\n";
    assert_eq!(of(&[named("a-1.0.0/other"), manifest(other), manifest(MIT)]), mit());
    assert_eq!(of(&[pax("22 path=a-1.0.0/other\n"), manifest(other), manifest(MIT)]), mit());
    // The size in the records counts.
    let mut lying = member("a-1.0.0/x", &[b'x'; 1024]);
    lying[124..135].copy_from_slice(b"00000000000");
    assert_eq!(of(&[pax("13 size=1024\n"), lying, manifest(MIT)]), mit());
    assert!(reason(of(&[pax("13 size=here\n"), manifest(MIT)])).contains("size"));
    assert!(reason(of(&[pax("99 path=short\n"), manifest(MIT)])).contains("records"));
    let long = "x".repeat(100 << 10);
    assert!(reason(of(&[named(&long), manifest(MIT)])).contains("bytes"));
}

#[test]
fn hostile_releases_are_bounded() {
    let sized = |size: &[u8; 11]| {
        let mut header = manifest("");
        header[124..135].copy_from_slice(size);
        header
    };
    assert!(reason(of(&[sized(b"77777777777")])).contains("Cargo.toml has 8589934591 bytes"));
    assert!(reason(of(&[sized(b"not a size!")])).contains("size"));
    assert_eq!(reason(of(&[sized(b"00000010000")])), "the release ends too early");
    let mut binary = manifest(MIT);
    binary[124] = 0xff;
    assert!(reason(of(&[binary])).contains("size"));
    // A member that never ends.
    let mut endless = member("a-1.0.0/x", b"");
    endless[124..135].copy_from_slice(b"77777777777");
    assert_eq!(reason(of(&[endless])), "the release ends too early");
    let pax = of_kind(b'x', "x", b"29 size=18446744073709551615\n");
    assert_eq!(reason(of(&[pax, member("a-1.0.0/x", b""), manifest(MIT)])), "the release ends too early");
    // Too much of everything: 9 members of 64 MiB.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    let large = member("a-1.0.0/x", &vec![0; 64 << 20]);
    (0..9).for_each(|_| bomb.write_all(&large).expect("written"));
    bomb.write_all(&manifest(MIT)).expect("written");
    let bomb = bomb.finish().expect("finished");
    assert!(reason(licence(&bomb, 1 << 20).0).contains("unpacks to more than"));
}

#[test]
fn what_is_no_release_has_no_licence() {
    let whole = packed(&[member("a-1.0.0/x", &[7; 5000]), manifest(MIT)]);
    for bytes in [&b""[..], b"\x1f\x8b", b"no gzip at all", &whole[..whole.len() / 3], &zipped(b"no tar")] {
        reason(licence(bytes, 100).0);
    }
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        licence(&bytes, random.usize(1..600));
        let mut tar = [member("a-1.0.0/x", b"x"), manifest(MIT)].concat();
        let at = random.usize(..tar.len());
        tar[at] = random.u8(..);
        licence(&zipped(&tar), random.usize(1..600));
    }
}
