//! Signs inventories with OpenPGP, and checks their signatures.

mod certificate;
mod check;

pub(crate) use check::Keys;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use pgp::composed::{
    ArmorOptions, Deserializable as _, DetachedSignature, EncryptionCaps, KeyType, SecretKeyParamsBuilder,
    SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::types::{KeyDetails, Password, Timestamp};
use rand::rngs::OsRng;

use crate::error::ArchiveError;
use crate::passphrase::Passphrase;

/// Longest key file that is read, bytes.
const MAX_KEY_BYTES: u64 = 4 * 1024 * 1024;

/// A private key that can sign.
pub(crate) struct Signer {
    key: SignedSecretKey,
    password: Password,
    /// The subkey that signs; the primary key when there is none.
    subkey: Option<usize>,
}

/// Returns the time for signatures. Refuses a clock outside the range of OpenPGP times, on which the library would
/// panic.
pub(super) fn now() -> Result<Timestamp, String> {
    let clock = std::time::SystemTime::now();
    clock.try_into().map_err(|_| "this machine's clock is before 1970 or after 2106: set it".to_owned())
}

fn fault(what: impl Into<String>) -> ArchiveError {
    ArchiveError::Key(what.into())
}

fn read_bounded(path: &Path, what: &'static str) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(ArchiveError::input(what, path))?;
    file.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes).map_err(ArchiveError::input(what, path))?;
    if bytes.len() as u64 > MAX_KEY_BYTES {
        return Err(fault(format!("{} is too large for a key", path.display())));
    }
    Ok(bytes)
}

impl Signer {
    /// Reads an armored private key, finds the part of it that can sign, and tries the passphrase.
    pub(crate) fn load(path: &Path, passphrase: Option<&Passphrase>) -> Result<Self, ArchiveError> {
        let bytes = read_bounded(path, "reading the private key")?;
        let shown = path.display();
        let (key, _) = SignedSecretKey::from_armor_single(&*bytes)
            .map_err(ArchiveError::pgp(format!("{shown} holds no armored private key")))?;
        let now = now().map_err(fault)?;
        let subkey = certificate::signing_subkey(&key, now);
        if subkey.is_none() && !certificate::primary_signs(&key.to_public_key(), now) {
            return Err(fault(format!(
                "{shown} holds no private key that may sign today: it is revoked, expired, or for other uses"
            )));
        }
        let password = passphrase.map_or_else(Password::empty, |text| Password::from(text.bytes()));
        let signer = Self { key, password, subkey };
        signer.sign(&b""[..]).map_err(|_| match passphrase {
            Some(_) => fault(format!("the passphrase does not unlock {shown}")),
            None => ArchiveError::LockedKey(path.to_owned()),
        })?;
        Ok(signer)
    }

    /// Generates an Ed25519 key.
    pub(crate) fn generate(name: &str, passphrase: Option<&Passphrase>) -> Result<Self, ArchiveError> {
        const FAILED: &str = "generating a key failed";
        now().map_err(fault)?;
        let text = match passphrase {
            Some(text) => Some(
                String::from_utf8(text.bytes().to_vec())
                    .map_err(|_| fault("the passphrase of a new key must be UTF-8"))?,
            ),
            None => None,
        };
        let params = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .can_encrypt(EncryptionCaps::None)
            .primary_user_id(format!("archive-hasher: {name}"))
            .passphrase(text)
            .build()
            .map_err(ArchiveError::pgp(FAILED))?;
        let key = params.generate(OsRng).map_err(ArchiveError::pgp(FAILED))?;
        let password = passphrase.map_or_else(Password::empty, |text| Password::from(text.bytes()));
        Ok(Self { key, password, subkey: None })
    }

    /// Makes a detached, armored signature over everything that it reads from `data`. Blocks.
    pub(crate) fn sign(&self, data: impl Read) -> Result<String, ArchiveError> {
        now().map_err(fault)?;
        let hash = HashAlgorithm::Sha512;
        let (rng, password) = (OsRng, &self.password);
        let signature = match self.subkey {
            Some(at) => DetachedSignature::sign_binary_data(
                rng,
                &self.key.secret_subkeys[at].key,
                password,
                hash,
                data,
            ),
            None => DetachedSignature::sign_binary_data(rng, &self.key.primary_key, password, hash, data),
        };
        armor(&signature.map_err(ArchiveError::pgp("signing failed"))?)
    }

    /// Returns the id of the key that signs: `0x` and 16 digits.
    pub(crate) fn key_id(&self) -> String {
        match self.subkey {
            Some(at) => certificate::key_id(&self.key.secret_subkeys[at].key),
            None => certificate::key_id(&self.key.primary_key),
        }
    }

    /// Returns the fingerprint of the primary key, by which people know it.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{:X}", self.key.primary_key.fingerprint())
    }

    /// Returns the private key, armored.
    pub(crate) fn secret(&self) -> Result<String, ArchiveError> {
        let armored = self.key.to_armored_string(ArmorOptions::default());
        armored.map_err(ArchiveError::pgp("writing the private key failed"))
    }

    /// Returns the public key, armored.
    pub(crate) fn public(&self) -> Result<String, ArchiveError> {
        let armored = self.key.to_public_key().to_armored_string(ArmorOptions::default());
        armored.map_err(ArchiveError::pgp("writing the public key failed"))
    }
}

fn armor(signature: &DetachedSignature) -> Result<String, ArchiveError> {
    let armored = signature.to_armored_string(ArmorOptions::default());
    armored.map_err(ArchiveError::pgp("writing the signature failed"))
}

#[cfg(test)]
mod tests;
