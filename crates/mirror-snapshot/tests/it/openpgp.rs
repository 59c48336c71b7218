//! OpenPGP signatures, with gpg.

use std::num::NonZeroUsize;
use std::process::Command;
use std::time::{Duration, SystemTime};

use mirror_snapshot::{
    AllowedSigners, GpgKey, GpgKeyring, KeyId, NAMESPACE, SignatureError, Signatures, Signer, SigningError,
    Trust, verify,
};
use mirror_testkit::{Gpg, Ssh, run};
use mirror_types::{Advice, FaultKind};

use crate::world::snapshot;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn sign(gpg: &Gpg, key: &str) -> Vec<u8> {
    let signer = GpgKey::new(key).with_home(gpg.home().to_owned());
    let (armored, id) = signer.sign(snapshot().as_bytes()).unwrap();
    assert_eq!(id, KeyId::OpenPgp(key.to_owned()));
    armored.into_bytes()
}

fn keyring_of(gpg: &Gpg, more: &[&str], keys: &[&str]) -> GpgKeyring {
    GpgKeyring::new(gpg.keyring(more, keys))
}

fn check_at(
    document: &[u8],
    signature: &[u8],
    keyring: &GpgKeyring,
    need: usize,
    at: SystemTime,
) -> Result<Vec<Signer>, SignatureError> {
    let mut signatures = Signatures::default();
    signatures.add_openpgp(signature);
    let mut trust = Trust::default();
    trust.keyring = Some(keyring.clone());
    verify(document, &signatures, &trust, NonZeroUsize::new(need).unwrap(), at)
}

fn check(signature: &[u8], keyring: &GpgKeyring, need: usize) -> Result<Vec<Signer>, SignatureError> {
    check_at(snapshot().as_bytes(), signature, keyring, need, SystemTime::now())
}

#[test]
fn gpg_signs_and_its_signatures_count() {
    let Some(gpg) = Gpg::new() else { return };
    let key = gpg.generate("a", "never");
    let signature = sign(&gpg, &key);
    assert!(signature.starts_with(b"-----BEGIN PGP SIGNATURE-----\n"));
    let signer = Signer { key: KeyId::OpenPgp(key.clone()), name: "a <a@example.org>".to_owned() };
    for armor in [&[][..], &["--armor"]] {
        let keyring = keyring_of(&gpg, armor, &[&key]);
        assert_eq!(check(&signature, &keyring, 1).unwrap(), std::slice::from_ref(&signer), "{armor:?}");
    }
    let keybox = GpgKeyring::new(gpg.path("pubring.kbx"));
    assert_eq!(check(&signature, &keybox, 1).unwrap(), [signer]);

    // The command of docs/snapshot.md.
    let keyring = gpg.path(&format!("keyring-{key}"));
    gpg.run(&["--armor", "--output", keyring.to_str().unwrap(), "--export", &key]).expect(0);
    gpg.run(&["--dearmor", "--output", gpg.path("keys.gpg").to_str().unwrap(), keyring.to_str().unwrap()])
        .expect(0);
    std::fs::write(gpg.path("snapshot-1.json"), snapshot().as_bytes()).unwrap();
    std::fs::write(gpg.path("snapshot-1.json.asc"), &signature).unwrap();
    let mut command = Command::new("gpg");
    command.current_dir(gpg.home());
    command.args(["--no-default-keyring", "--keyring", "./keys.gpg", "--trust-model", "always"]);
    run(command.args(["--verify", "snapshot-1.json.asc", "snapshot-1.json"])).expect(0);
}

#[test]
fn a_signature_of_a_subkey_counts_for_its_primary_key() {
    let Some(gpg) = Gpg::new() else { return };
    gpg.run(&["--passphrase", "", "--quick-generate-key", "a <a@example.org>", "ed25519", "cert", "never"])
        .expect(0);
    let fingerprints = || {
        let listed = gpg.run(&["--with-colons", "--list-keys"]).expect(0).stdout;
        let lines = listed.lines().filter(|line| line.starts_with("fpr"));
        lines.filter_map(|line| line.split(':').nth(9).map(str::to_owned)).collect::<Vec<_>>()
    };
    let primary = fingerprints().remove(0);
    gpg.run(&["--passphrase", "", "--quick-add-key", &primary, "ed25519", "sign", "never"]).expect(0);
    let subkey = fingerprints().remove(1);
    let key = GpgKey::new(&primary).with_home(gpg.home().to_owned());
    let (armored, id) = key.sign(snapshot().as_bytes()).unwrap();
    assert_eq!(id, KeyId::OpenPgp(subkey));
    let signers = check(armored.as_bytes(), &keyring_of(&gpg, &[], &[&primary]), 1).unwrap();
    assert_eq!(signers[0].key, KeyId::OpenPgp(primary));
}

#[test]
fn signatures_that_are_bad_or_by_other_keys_are_refused() {
    let Some(gpg) = Gpg::new() else { return };
    let (a, b) = (gpg.generate("a", "never"), gpg.generate("b", "never"));
    let (of_a, only_b) = (sign(&gpg, &a), keyring_of(&gpg, &[], &[&b]));
    let keyring = keyring_of(&gpg, &[], &[&a, &b]);
    let other = check_at(b"{}", &of_a, &keyring, 1, SystemTime::now()).expect_err("other bytes");
    let message = "the OpenPGP signature 1 is bad: its key did not make it over these bytes";
    assert_eq!((other.to_string().as_str(), other.kind()), (message, FaultKind::Refused));
    let unknown = check(&of_a, &only_b, 1).expect_err("unknown");
    assert!(
        matches!(&unknown, SignatureError::UnknownKey { key: KeyId::OpenPgp(id) } if *id == a),
        "{unknown}"
    );
    let junk = check(b"junk", &keyring, 1).expect_err("junk");
    assert_eq!(junk.to_string(), "the OpenPGP signature 1 is bad: it is not an OpenPGP signature");
    // A signed message is no detached signature: gpg would check what is in it, and not the document.
    std::fs::write(gpg.path("message"), b"another text").unwrap();
    let path = gpg.path("message");
    gpg.run(&["--local-user", &a, "--sign", path.to_str().unwrap()]).expect(0);
    let inline = std::fs::read(gpg.path("message.gpg")).unwrap();
    assert!(check(&inline, &keyring, 1).is_err());
    gpg.run(&["--local-user", &a, "--clearsign", path.to_str().unwrap()]).expect(0);
    let clear = std::fs::read(gpg.path("message.asc")).unwrap();
    assert!(check(&clear, &keyring, 1).is_err());
    let missing = check(&of_a, &GpgKeyring::new(gpg.path("missing")), 1).expect_err("missing");
    assert!(matches!(missing, SignatureError::Keyring { .. }), "{missing}");
    assert_eq!((missing.kind(), missing.advice()), (FaultKind::Usage, Some(Advice::NameThePublicKey)));
    std::fs::write(gpg.path("empty"), b"").unwrap();
    assert!(check(&of_a, &GpgKeyring::new(gpg.path("empty")), 1).is_err());
}

#[test]
fn keys_that_are_expired_revoked_or_from_the_future_do_not_count() {
    let Some(gpg) = Gpg::new() else { return };
    let now = SystemTime::now();
    let (week, gone) = (gpg.generate("week", "7d"), gpg.generate("gone", "never"));
    let (of_week, of_gone) = (sign(&gpg, &week), sign(&gpg, &gone));
    let keyring = keyring_of(&gpg, &[], &[&week, &gone]);
    let at = |signature: &[u8], at| check_at(snapshot().as_bytes(), signature, &keyring, 1, at);
    assert!(at(&of_week, now + DAY).is_ok());
    assert!(matches!(at(&of_week, now + 8 * DAY), Err(SignatureError::OutsideValidity(_))));
    assert!(matches!(at(&of_week, now - 8 * DAY), Err(SignatureError::OutsideValidity(_))));
    assert!(at(&of_gone, now + 8 * DAY).is_ok());

    // gpg makes a certificate for this with each key, with a colon in front of it.
    let certificate = gpg.path(&format!("openpgp-revocs.d/{gone}.rev"));
    let text = std::fs::read_to_string(&certificate).unwrap().replace(":-----BEGIN", "-----BEGIN");
    std::fs::write(&certificate, text).unwrap();
    gpg.run(&["--import", certificate.to_str().unwrap()]).expect(0);
    let keyring = keyring_of(&gpg, &[], &[&gone]);
    let error = check(&of_gone, &keyring, 1).expect_err("revoked");
    assert!(matches!(&error, SignatureError::Revoked { key: KeyId::OpenPgp(id) } if *id == gone), "{error}");
}

#[test]
fn a_file_may_hold_several_signatures_and_both_kinds_count_together() {
    let Some(gpg) = Gpg::new() else { return };
    let (a, b) = (gpg.generate("a", "never"), gpg.generate("b", "never"));
    let (keyring, only_a) = (keyring_of(&gpg, &[], &[&a, &b]), keyring_of(&gpg, &[], &[&a]));
    let document = gpg.path("document");
    std::fs::write(&document, snapshot().as_bytes()).unwrap();
    let document = document.to_str().unwrap();
    gpg.run(&["--armor", "--local-user", &a, "--local-user", &b, "--detach-sign", document]).expect(0);
    let both = std::fs::read(gpg.path("document.asc")).unwrap();
    assert_eq!(check(&both, &keyring, 2).unwrap().len(), 2);
    assert_eq!(check(&both, &only_a, 1).unwrap().len(), 1);
    assert!(matches!(check(&both, &only_a, 2), Err(SignatureError::TooFew { have: 1, need: 2, .. })));

    let mut signatures = Signatures::default();
    signatures.add_openpgp(sign(&gpg, &a));
    let mut trust = Trust::default();
    let decide = |signatures: &Signatures, trust: &Trust, need| {
        let need = NonZeroUsize::new(need).unwrap();
        verify(snapshot().as_bytes(), signatures, trust, need, SystemTime::now())
    };
    let error = decide(&signatures, &trust, 1).expect_err("no keyring");
    assert_eq!(
        (error.to_string().as_str(), error.kind()),
        ("there is an OpenPGP signature, and no keyring to check it by", FaultKind::Usage)
    );
    let Some(ssh) = Ssh::new() else { return };
    ssh.generate("s", "ed25519", "");
    signatures.add_ssh(ssh.sign("s", NAMESPACE, snapshot().as_bytes()));
    trust.allowed_signers = AllowedSigners::parse(&ssh.allowed("", &["s"])).unwrap();
    assert_eq!(decide(&signatures, &trust, 1).unwrap().len(), 1, "OpenPGP is not asked for");
    trust.keyring = Some(only_a);
    let signers = decide(&signatures, &trust, 2).unwrap();
    assert!(matches!(signers[0].key, KeyId::Ssh(_)) && matches!(signers[1].key, KeyId::OpenPgp(_)));
}

#[test]
fn a_key_that_gpg_does_not_have_signs_nothing() {
    let Some(gpg) = Gpg::new() else { return };
    let error = GpgKey::new("nobody").with_home(gpg.home().to_owned()).sign(b"x").expect_err("no key");
    assert!(matches!(error, SigningError::Program { program: "gpg", .. }), "{error}");
    assert_eq!(error.kind(), FaultKind::Usage);
    let words = std::error::Error::source(&error).unwrap().to_string();
    assert!(words.contains("nobody"), "{words}");
}
