//! Every flipped bit is found: in a snapshot, in rows, in a signature.

use std::num::NonZeroUsize;

use mirror_snapshot::{
    AllowedSigners, NAMESPACE, Row, RowReader, Signatures, Snapshot, Trust, UnitDigests, digest_rows, verify,
};

use mirror_testkit::Ssh;

use crate::world::{CREATED, at, ok, rows, snapshot, text};

/// Returns the bytes with one bit of one of them flipped.
fn flipped(bytes: &[u8], at: usize, bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << bit;
    bytes
}

#[test]
fn in_a_snapshot() {
    let good = snapshot();
    for at in 0..good.as_bytes().len() {
        // Those of the unit digests are many, and all alike.
        let bits = if at < 1_000 { 0..8 } else { at % 8..at % 8 + 1 };
        for bit in bits {
            match Snapshot::parse(&flipped(good.as_bytes(), at, bit)) {
                Err(_) => {}
                // Some fields may have another value. Then it is another snapshot.
                Ok(other) => assert_ne!(other.digest(), good.digest(), "byte {at}, bit {bit}"),
            }
        }
    }
}

#[test]
fn in_rows() {
    let good = text(&rows());
    let digests = digest_rows(ok(&rows())).unwrap().0;
    for at in 0..good.len() {
        for bit in 0..8 {
            let bytes = flipped(good.as_bytes(), at, bit);
            let read: Result<Vec<Row>, _> = RowReader::new(&bytes[..]).collect();
            let other: Option<UnitDigests> = read.ok().and_then(|rows| Some(digest_rows(ok(&rows)).ok()?.0));
            assert_ne!(other, Some(digests.clone()), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn in_a_signature_and_in_what_it_signs() {
    let Some(ssh) = Ssh::new() else { return };
    let document = snapshot();
    for kind in ["ed25519", "ecdsa 256", "rsa 2048"] {
        let name = kind.replace(' ', "-");
        ssh.generate(&name, kind, "");
        let mut trust = Trust::default();
        trust.allowed_signers = AllowedSigners::parse(&ssh.allowed("", &[&name])).unwrap();
        let good = ssh.sign(&name, NAMESPACE, document.as_bytes());
        let counts = |bytes: &[u8], armored: Vec<u8>| {
            let mut signatures = Signatures::default();
            signatures.add_ssh(armored);
            verify(bytes, &signatures, &trust, NonZeroUsize::MIN, at(CREATED)).is_ok()
        };
        assert!(counts(document.as_bytes(), good.clone()));
        for at in 0..good.len() {
            for bit in 0..8 {
                let other = flipped(&good, at, bit);
                assert!(!counts(document.as_bytes(), other), "{kind}: byte {at}, bit {bit}");
            }
        }
        for at in (0..document.as_bytes().len()).step_by(31) {
            assert!(!counts(&flipped(document.as_bytes(), at, at % 8), good.clone()), "{kind}: byte {at}");
        }
    }
}
