#![expect(clippy::disallowed_methods, reason = "tests write their own files")]

use super::*;

fn files(signer: &Signer) -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (secret, public) = (dir.path().join("secret.asc"), dir.path().join("public.asc"));
    std::fs::write(&secret, signer.secret().unwrap()).unwrap();
    std::fs::write(&public, signer.public().unwrap()).unwrap();
    (dir, secret, public)
}

#[test]
fn a_generated_key_signs_and_can_be_loaded_again() {
    let signer = Signer::generate("test", None).unwrap();
    let (_dir, secret, public) = files(&signer);
    let again = Signer::load(&secret, None).unwrap();
    assert_eq!(again.fingerprint(), signer.fingerprint());
    assert!(again.key_id().starts_with("0x") && signer.fingerprint().ends_with(&again.key_id()[2..]));
    let keys = Keys::load(&public).unwrap();
    let signature = again.sign(&b"data"[..]).unwrap();
    let checked = keys.check(&signature, &b"data"[..]).unwrap();
    assert_eq!(
        (checked.fingerprint, checked.user),
        (signer.fingerprint(), "archive-hasher: test".to_owned())
    );
    assert!(keys.check(&signature, &b"dato"[..]).unwrap_err().contains("does not match"));
    assert!(keys.check("nothing", &b"data"[..]).unwrap_err().contains("cannot be read"));
    let stranger = Signer::generate("stranger", None).unwrap();
    let strange = stranger.sign(&b"data"[..]).unwrap();
    assert!(keys.check(&strange, &b"data"[..]).unwrap_err().contains("another key (0x"));
}

#[test]
fn a_passphrase_is_required_and_tried_when_the_key_is_loaded() {
    let passphrase = Passphrase::new("correct horse");
    let signer = Signer::generate("test", Some(&passphrase)).unwrap();
    let (_dir, secret, public) = files(&signer);
    let error = Signer::load(&secret, None).err().unwrap().to_string();
    assert!(error.contains("needs a passphrase"), "{error}");
    let error = Signer::load(&secret, Some(&Passphrase::new("wrong"))).err().unwrap().to_string();
    assert!(error.contains("does not unlock"), "{error}");
    let signature = Signer::load(&secret, Some(&passphrase)).unwrap().sign(&b"data"[..]).unwrap();
    Keys::load(&public).unwrap().check(&signature, &b"data"[..]).unwrap();
    assert_eq!(format!("{passphrase:?}"), "Passphrase(...)");
}

#[test]
fn a_file_without_a_key_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "no key").unwrap();
    assert!(Signer::load(&path, None).err().unwrap().to_string().contains("no armored private key"));
    assert_eq!(Keys::load(&path).err().unwrap().kind(), mirror_types::FaultKind::Usage);
    std::fs::write(&path, vec![b'x'; 5 * 1024 * 1024]).unwrap();
    assert!(Keys::load(&path).err().unwrap().to_string().contains("too large"));
    assert_eq!(Keys::load(&dir.path().join("none")).err().unwrap().kind(), mirror_types::FaultKind::Usage);
}

/// Checks that a signature over a key does not pass for one over a file.
#[test]
fn only_signatures_over_files_count() {
    let signer = Signer::generate("test", None).unwrap();
    let (_dir, _, public) = files(&signer);
    let of_user = signer.key.details.users[0].signatures[0].clone();
    let armored = armor(&DetachedSignature::new(of_user)).unwrap();
    let error = Keys::load(&public).unwrap().check(&armored, &b"data"[..]).unwrap_err();
    assert_eq!(error, "it is not a signature over a file");
}
