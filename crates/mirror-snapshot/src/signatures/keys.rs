//! The arithmetic of SSH keys, done by ring: ssh-key reads and writes their formats.

use mirror_checksum::Hasher;
use ring::rand::SystemRandom;
use ring::signature::{
    self as ring_signature, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
};
use ssh_key::private::{EcdsaKeypair, KeypairData};
use ssh_key::public::{EcdsaPublicKey, KeyData, RsaPublicKey};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, Mpint, Signature};

/// Why a signature is not one of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyFault {
    /// The key is of a kind or size that is not supported, so that nothing is known of the signature.
    Unsupported,
    /// The signature is not one of this key over these bytes.
    Bad,
}

/// Flags and counter behind the signature of a security key.
pub(super) const SECURITY_KEY_TRAILER_BYTES: usize = 5;

/// Checks a signature of a key over bytes.
pub(super) fn verify(key: &KeyData, signed: &[u8], signature: &Signature) -> Result<(), KeyFault> {
    let bytes = signature.as_bytes();
    match (key, signature.algorithm()) {
        (KeyData::Ed25519(key), Algorithm::Ed25519) => of(&ED25519, &key.0, signed, bytes),
        (KeyData::Ecdsa(key), Algorithm::Ecdsa { curve }) if key.curve() == curve => {
            ecdsa(key, signed, bytes)
        }
        (KeyData::Rsa(key), Algorithm::Rsa { hash: Some(hash) }) => rsa(key, hash, signed, bytes),
        (KeyData::SkEd25519(key), Algorithm::SkEd25519) => {
            let (signed, bytes) = of_security_key(key.application(), signed, bytes)?;
            of(&ED25519, &key.public_key().0, &signed, bytes)
        }
        (KeyData::SkEcdsaSha2NistP256(key), Algorithm::SkEcdsaSha2NistP256) => {
            let (signed, bytes) = of_security_key(key.application(), signed, bytes)?;
            ecdsa(&EcdsaPublicKey::NistP256(*key.ec_point()), &signed, bytes)
        }
        (
            KeyData::Ed25519(_)
            | KeyData::Ecdsa(_)
            | KeyData::Rsa(_)
            | KeyData::SkEd25519(_)
            | KeyData::SkEcdsaSha2NistP256(_),
            _,
        ) => Err(KeyFault::Bad),
        _ => Err(KeyFault::Unsupported),
    }
}

fn of(
    algorithm: &'static dyn ring_signature::VerificationAlgorithm,
    key: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> Result<(), KeyFault> {
    UnparsedPublicKey::new(algorithm, key).verify(signed, signature).map_err(|_| KeyFault::Bad)
}

fn ecdsa(key: &EcdsaPublicKey, signed: &[u8], signature: &[u8]) -> Result<(), KeyFault> {
    let (algorithm, size): (&'static dyn ring_signature::VerificationAlgorithm, _) = match key.curve() {
        EcdsaCurve::NistP256 => (&ECDSA_P256_SHA256_FIXED, 32),
        EcdsaCurve::NistP384 => (&ECDSA_P384_SHA384_FIXED, 48),
        EcdsaCurve::NistP521 => return Err(KeyFault::Unsupported),
    };
    let fixed = fixed(signature, size).ok_or(KeyFault::Bad)?;
    of(algorithm, key.as_sec1_bytes(), signed, &fixed)
}

fn rsa(key: &RsaPublicKey, hash: HashAlg, signed: &[u8], signature: &[u8]) -> Result<(), KeyFault> {
    let positive = |number: &Mpint| number.as_positive_bytes().map(<[u8]>::to_vec).ok_or(KeyFault::Bad);
    let components = RsaPublicKeyComponents { n: positive(&key.n)?, e: positive(&key.e)? };
    let bits = components.n.len() * 8;
    let algorithm = match hash {
        _ if !(2048..=8192).contains(&bits) => return Err(KeyFault::Unsupported),
        HashAlg::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
        HashAlg::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        _ => return Err(KeyFault::Unsupported),
    };
    components.verify(algorithm, signed, signature).map_err(|_| KeyFault::Bad)
}

/// Returns the bytes that a security key signed, and its signature without what is behind it (PROTOCOL.u2f). The flags,
/// which say whether a person touched the key, are not looked at, as `ssh-keygen -Y verify` does not.
fn of_security_key<'a>(
    application: &str,
    signed: &[u8],
    signature: &'a [u8],
) -> Result<(Vec<u8>, &'a [u8]), KeyFault> {
    let at = signature.len().checked_sub(SECURITY_KEY_TRAILER_BYTES).ok_or(KeyFault::Bad)?;
    let (signature, trailer) = signature.split_at(at);
    let application = Hasher::of(application.as_bytes());
    let message = Hasher::of(signed);
    Ok(([application.as_bytes(), trailer, message.as_bytes()].concat(), signature))
}

/// Returns the two numbers of an ECDSA signature, each with `size` bytes.
fn fixed(mut signature: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut fixed = Vec::with_capacity(2 * size);
    for _ in 0..2 {
        let (len, rest) = signature.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
        let number = Mpint::from_bytes(number).ok()?;
        let number = number.as_positive_bytes()?;
        fixed.resize(fixed.len() + size.checked_sub(number.len())?, 0);
        fixed.extend_from_slice(number);
        signature = rest;
    }
    signature.is_empty().then_some(fixed)
}

/// Returns whether [`sign`] knows keys of this kind. RSA is left to `ssh-keygen`: ring wants numbers that OpenSSH does not
/// store, and the library that computes them has an unfixed flaw (RUSTSEC-2023-0071).
pub(super) fn can_sign(key: &KeyData) -> bool {
    match key {
        KeyData::Ed25519(_) => true,
        KeyData::Ecdsa(key) => key.curve() != EcdsaCurve::NistP521,
        _ => false,
    }
}

/// Signs bytes; `None` when the halves of the key do not fit each other, or the kind is not supported.
pub(super) fn sign(key: &KeypairData, bytes: &[u8]) -> Option<Signature> {
    match key {
        KeypairData::Ed25519(pair) => {
            let seed = Wiped(pair.private.to_bytes());
            let pair = Ed25519KeyPair::from_seed_and_public_key(&seed.0, &pair.public.0).ok()?;
            Signature::new(Algorithm::Ed25519, pair.sign(bytes).as_ref()).ok()
        }
        KeypairData::Ecdsa(pair) => {
            let algorithm = match pair {
                EcdsaKeypair::NistP256 { .. } => &ECDSA_P256_SHA256_FIXED_SIGNING,
                EcdsaKeypair::NistP384 { .. } => &ECDSA_P384_SHA384_FIXED_SIGNING,
                EcdsaKeypair::NistP521 { .. } => return None,
            };
            let random = SystemRandom::new();
            let (private, public) = (pair.private_key_bytes(), pair.public_key_bytes());
            let ring =
                EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, public, &random).ok()?;
            let signature = ring.sign(&random, bytes).ok()?;
            let mut numbers = Vec::new();
            let (r, s) = signature.as_ref().split_at(signature.as_ref().len() / 2);
            for number in [r, s] {
                let number = Mpint::from_positive_bytes(number).ok()?;
                numbers.extend_from_slice(&u32::try_from(number.as_bytes().len()).ok()?.to_be_bytes());
                numbers.extend_from_slice(number.as_bytes());
            }
            Signature::new(Algorithm::Ecdsa { curve: pair.curve() }, numbers).ok()
        }
        _ => None,
    }
}

/// A private number that is overwritten when it is dropped.
struct Wiped([u8; 32]);

impl Drop for Wiped {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}
