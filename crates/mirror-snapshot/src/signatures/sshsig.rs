//! SSH signatures (OpenSSH's PROTOCOL.sshsig), checked in process.

use std::time::SystemTime;

use mirror_types::clipped;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, LineEnding, SshSig};

use super::NAMESPACE;
use super::error::{PassedOver, Reason, SignatureError};
use super::files::MAX_SIGNATURE_BYTES;
use super::keys::{self, KeyFault};
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
    // One form only: what is not in it may have been changed. The library cannot write signatures of this kind.
    if signature.algorithm() != Algorithm::SkEcdsaSha2NistP256 {
        let canonical = signature.to_pem(LineEnding::LF);
        if canonical.is_ok_and(|canonical| canonical.trim_end() != text) {
            return Err(Fault::Bad("it is not in the form that ssh-keygen writes"));
        }
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
