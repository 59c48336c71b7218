use std::io::Read;
use std::path::Path;

use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey};
use pgp::packet::SignatureType;
use pgp::types::KeyDetails as _;

use super::{certificate, fault, read_bounded};
use crate::error::ArchiveError;
use crate::names::shown;

/// The time by which a signature may be ahead of this machine's clock, seconds.
const CLOCK_SLACK_S: u64 = 24 * 3600;

/// Public keys from one file.
pub(crate) struct Keys(Vec<SignedPublicKey>);

/// A good signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Fingerprint of the primary key.
    pub(crate) fingerprint: String,
    /// Its first user id, safe to print.
    pub(crate) user: String,
}

impl Keys {
    /// Reads public keys, armored or binary.
    pub(crate) fn load(path: &Path) -> Result<Self, ArchiveError> {
        let bytes = read_bounded(path, "reading the public key")?;
        let shown = path.display();
        let (keys, _) = SignedPublicKey::from_reader_many(&*bytes)
            .map_err(ArchiveError::pgp(format!("{shown} holds no public key")))?;
        let keys: Vec<_> = keys.filter_map(Result::ok).collect();
        if keys.is_empty() {
            return Err(fault(format!("{shown} holds no public key")));
        }
        Ok(Self(keys))
    }

    /// Checks an armored signature over everything read from `data`; the error says why it is bad.
    pub(crate) fn check(&self, armored: &str, data: impl Read) -> Result<Checked, String> {
        let (signature, _) = DetachedSignature::from_armor_single(armored.as_bytes())
            .map_err(|error| format!("it cannot be read: {error}"))?;
        let signature = signature.signature;
        if signature.typ() != Some(SignatureType::Binary) {
            return Err("it is not a signature over a file".to_owned());
        }
        let created = signature.created().ok_or("it has no creation time")?;
        if u64::from(created.as_secs()) > u64::from(super::now()?.as_secs()) + CLOCK_SLACK_S {
            return Err("it was made in the future; is this machine's clock right?".to_owned());
        }
        // The data can be read once, so the key is chosen first.
        let made_by = |fingerprint: &pgp::types::Fingerprint, id: &pgp::types::KeyId| {
            signature.issuer_fingerprint().contains(&fingerprint)
                || (signature.issuer_fingerprint().is_empty() && signature.issuer_key_id().contains(&id))
        };
        for key in &self.0 {
            let primary = &key.primary_key;
            let found = || Checked {
                fingerprint: format!("{:X}", primary.fingerprint()),
                user: key.details.users.first().map_or_else(String::new, |user| shown(user.id.id())),
            };
            let bad = |error| format!("it does not match the signed data: {error}");
            if made_by(&primary.fingerprint(), &primary.legacy_key_id()) {
                if !certificate::primary_signs(key, created) {
                    return Err("its key was not allowed to sign, had expired, or is revoked".to_owned());
                }
                return signature.verify(primary, data).map(|()| found()).map_err(bad);
            }
            for subkey in &key.public_subkeys {
                if !made_by(&subkey.key.fingerprint(), &subkey.key.legacy_key_id()) {
                    continue;
                }
                if !certificate::subkey_signs(key, subkey, created) {
                    return Err("its key was not allowed to sign, had expired, or is revoked".to_owned());
                }
                return signature.verify(&subkey.key, data).map(|()| found()).map_err(bad);
            }
        }
        let by = signature.issuer_key_id().first().map_or_else(String::new, |id| format!(" (0x{id})"));
        Err(format!("it was made by another key{}", by.to_uppercase().replace("0X", "0x")))
    }
}
