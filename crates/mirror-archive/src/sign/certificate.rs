//! Finds the permitted uses of a key in the signatures that its owner made over it.

use pgp::composed::{SignedPublicKey, SignedPublicSubKey, SignedSecretKey};
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, SecretParams, Tag, Timestamp};

pub(super) fn key_id(key: &impl KeyDetails) -> String {
    format!("0x{}", key.legacy_key_id().to_string().to_uppercase())
}

/// Returns whether the primary key may make a signature at this time.
pub(super) fn primary_signs(key: &SignedPublicKey, at: Timestamp) -> bool {
    if !key.details.revocation_signatures.is_empty() {
        return false;
    }
    let primary = &key.primary_key;
    let direct =
        key.details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
    let of_users = key.details.users.iter().flat_map(|user| {
        let signatures = user.signatures.iter();
        signatures.filter(|signature| signature.verify_certification(primary, Tag::UserId, &user.id).is_ok())
    });
    // Either kind may carry flags and expiry; the newest of all self-signatures counts.
    newest(direct.chain(of_users))
        .is_some_and(|signature| signature.key_flags().sign() && is_current(signature, primary, at))
}

/// Returns whether a subkey may make a signature at this time.
pub(super) fn subkey_signs(key: &SignedPublicKey, subkey: &SignedPublicSubKey, at: Timestamp) -> bool {
    let revoked = subkey.signatures.iter().any(|signature| is_of(signature, SignatureType::SubkeyRevocation));
    let primary = &key.primary_key;
    let bindings = subkey.signatures.iter().filter(|signature| {
        is_of(signature, SignatureType::SubkeyBinding)
            && signature.verify_subkey_binding(primary, &subkey.key).is_ok()
    });
    let may = newest(bindings).is_some_and(|binding| {
        // Without the subkey's own signature, anybody's key could be claimed as a subkey.
        let agreed = binding.embedded_signature();
        binding.key_flags().sign()
            && is_current(binding, &subkey.key, at)
            && agreed.is_some_and(|own| own.verify_primary_key_binding(&subkey.key, primary).is_ok())
    });
    may && !revoked && key.details.revocation_signatures.is_empty()
}

/// Finds the newest subkey whose private part is present and which may sign now.
pub(super) fn signing_subkey(key: &SignedSecretKey, now: Timestamp) -> Option<usize> {
    let public = key.to_public_key();
    let usable = key.secret_subkeys.iter().enumerate().filter(|(_, subkey)| {
        is_there(subkey.key.secret_params()) && subkey_signs(&public, &subkey.signed_public_key(), now)
    });
    usable.max_by_key(|(_, subkey)| subkey.key.created_at().as_secs()).map(|(at, _)| at)
}

/// Returns whether a private key is present: gpg writes a stub in place of one that is kept elsewhere.
fn is_there(params: &SecretParams) -> bool {
    match params {
        SecretParams::Plain(_) => true,
        SecretParams::Encrypted(params) => {
            !matches!(params.string_to_key_params(), pgp::types::S2kParams::Unprotected)
        }
    }
}

fn is_of(signature: &Signature, kind: SignatureType) -> bool {
    signature.typ() == Some(kind)
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created().map(Timestamp::as_secs))
}

/// Returns whether a key has not expired at this time, by its newest binding.
fn is_current(binding: &Signature, key: &impl KeyDetails, at: Timestamp) -> bool {
    let created = u64::from(key.created_at().as_secs());
    let until = match binding.key_expiration_time().map(|time| u64::from(time.as_secs())) {
        None | Some(0) => u64::MAX,
        Some(seconds) => created + seconds,
    };
    (created..until).contains(&u64::from(at.as_secs()))
}
