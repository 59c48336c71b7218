//! SSH signatures (OpenSSH's PROTOCOL.sshsig), checked in process.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mirror_types::clipped;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, PublicKey, SshSig};

use super::NAMESPACE;
use super::error::{PassedOver, Reason, SignatureError};
use super::files::MAX_SIGNATURE_BYTES;
use super::keys::{self, KeyFault, SECURITY_KEY_TRAILER_BYTES};
use super::trust::{Checked, KeyId, Signer, Trust};

/// A signature whose bytes are good: the key made it over the document, for this purpose.
pub(super) struct Good {
    pub(super) key: KeyData,
}

/// Returns the fingerprint of a key.
pub(super) fn key_id(key: &KeyData) -> KeyId {
    KeyId::Ssh(key.fingerprint(HashAlg::Sha256).to_string())
}

/// Checks a signature over a document, and whether its key is trusted.
pub(super) fn check(
    document: &[u8],
    armored: &[u8],
    signature: &str,
    trust: &Trust,
    at: SystemTime,
) -> Result<Checked, SignatureError> {
    let (key, fault) = match parse_and_verify(document, armored) {
        Ok(good) => (good.key, None),
        Err(Fault::Unsupported(key)) => (*key, Some(Reason::Unsupported)),
        Err(Fault::Bad(why)) => return Err(SignatureError::bad(signature, why)),
    };
    let passed_over = |reason| Ok(Err(PassedOver { key: key_id(&key), reason }));
    if trust.revoked.contains(&key) {
        return passed_over(Reason::Revoked);
    }
    match (trust.allowed_signers.find(&key, trust.identity.as_deref(), at), fault) {
        (Err(reason), _) => passed_over(reason),
        (Ok(_), Some(reason)) => passed_over(reason),
        (Ok(principals), None) => {
            Ok(Ok(Signer { key: key_id(&key), name: clipped(principals, mirror_types::CLIPPED_VALUE_BYTES) }))
        }
    }
}

/// Why the bytes of a signature are not good.
pub(super) enum Fault {
    /// They are of a kind of key that is not supported.
    Unsupported(Box<KeyData>),
    /// For this reason.
    Bad(&'static str),
}

/// Checks a signature over a document with the key in it, which may be anybody's.
pub(super) fn parse_and_verify(document: &[u8], armored: &[u8]) -> Result<Good, Fault> {
    if armored.len() as u64 > MAX_SIGNATURE_BYTES {
        return Err(Fault::Bad("it is too long"));
    }
    let not_one = Fault::Bad("it is not an armored SSH signature");
    let Ok(text) = std::str::from_utf8(armored) else { return Err(not_one) };
    let text = text.replace("\r\n", "\n");
    let text = text.trim_end_matches('\n');
    let Ok(signature) = SshSig::from_pem(text) else { return Err(not_one) };
    // One form only: what is not in it was changed. The library accepts lengths that do not fit what they stand for.
    if canonical(&signature).is_none_or(|canonical| canonical != text) {
        return Err(Fault::Bad("it is not in the form that ssh-keygen writes"));
    }
    if signature.version() != SshSig::VERSION || !signature.reserved().is_empty() {
        return Err(Fault::Bad("it has a version that is not supported"));
    }
    if signature.namespace() != NAMESPACE {
        return Err(Fault::Bad("it was made for another purpose: its namespace is not mirror-snapshot"));
    }
    let signed = SshSig::signed_data(NAMESPACE, signature.hash_alg(), document);
    let signed = signed.map_err(|_| Fault::Bad("its hash is not supported"))?;
    let key = signature.public_key().clone();
    match keys::verify(&key, &signed, signature.signature()) {
        Ok(()) => Ok(Good { key }),
        Err(KeyFault::Unsupported) => Err(Fault::Unsupported(Box::new(key))),
        Err(KeyFault::Bad) => Err(Fault::Bad("its key did not make it over these bytes")),
    }
}

/// Returns a signature as `ssh-keygen` writes it, without the last newline. The library writes those of ECDSA security
/// keys in another way.
fn canonical(signature: &SshSig) -> Option<String> {
    const LINE_BYTES: usize = 70;
    let bytes = signature.signature_bytes();
    let at = match signature.algorithm() {
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => {
            bytes.len().checked_sub(SECURITY_KEY_TRAILER_BYTES)?
        }
        _ => bytes.len(),
    };
    let mut inner = Vec::new();
    push_string(&mut inner, signature.algorithm().as_str().as_bytes())?;
    push_string(&mut inner, &bytes[..at])?;
    inner.extend_from_slice(&bytes[at..]);
    let mut blob = b"SSHSIG".to_vec();
    blob.extend_from_slice(&signature.version().to_be_bytes());
    push_string(&mut blob, &PublicKey::from(signature.public_key().clone()).to_bytes().ok()?)?;
    push_string(&mut blob, signature.namespace().as_bytes())?;
    push_string(&mut blob, signature.reserved())?;
    push_string(&mut blob, signature.hash_alg().as_str().as_bytes())?;
    push_string(&mut blob, &inner)?;
    let encoded = STANDARD.encode(blob);
    let mut text = "-----BEGIN SSH SIGNATURE-----\n".to_owned();
    for (at, c) in encoded.char_indices() {
        if at > 0 && at % LINE_BYTES == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str("\n-----END SSH SIGNATURE-----");
    Some(text)
}

/// Appends a string of RFC 4251.
fn push_string(to: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    to.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_be_bytes());
    to.extend_from_slice(bytes);
    Some(())
}
