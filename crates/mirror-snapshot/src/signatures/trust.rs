use std::fmt;
use std::num::NonZeroUsize;
use std::time::SystemTime;

use super::allowed::AllowedSigners;
use super::error::{PassedOver, Reason, SignatureError};
use super::files::Signatures;
use super::gpg::GpgKeyring;
use super::revoked::RevokedKeys;
use super::sshsig;

/// The keys whose signatures count. Nothing is trusted by default.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Trust {
    /// Keys of SSH signatures.
    pub allowed_signers: AllowedSigners,
    /// The identity that must have signed, as `ssh-keygen -Y verify -I` takes it: an entry of the allowed signers counts
    /// only if its principals match. `None` for any. OpenPGP signatures have no identity in this sense.
    pub identity: Option<String>,
    /// Keys of SSH signatures that no longer count, though they are allowed.
    pub revoked: RevokedKeys,
    /// Keys of OpenPGP signatures: all in this keyring.
    pub keyring: Option<GpgKeyring>,
}

/// The fingerprint of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyId {
    /// Of an SSH key, as `ssh-keygen -l` shows it: `SHA256:` and base64.
    Ssh(String),
    /// Of an OpenPGP key, the primary one where signatures are checked: 40 or 64 upper-case hexadecimal digits; the 16 of a key id where no more is known.
    OpenPgp(String),
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh(fingerprint) => write!(f, "SSH key {fingerprint}"),
            Self::OpenPgp(fingerprint) => write!(f, "OpenPGP key {fingerprint}"),
        }
    }
}

/// A key whose signature counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The key.
    pub key: KeyId,
    /// The principals of its entry among the allowed signers, or the user id of the OpenPGP key; printable.
    pub name: String,
}

/// The result for one signature over the right bytes.
pub(super) type Checked = Result<Signer, PassedOver>;

/// Checks the signatures of a document, and returns the distinct keys whose signatures count; at least `threshold`, or
/// else an error. `at` is the time at which keys must be valid. Signatures that do not count are passed over when enough
/// others do; one that is damaged, or was made over other bytes, is refused always. SSH signatures are checked in process,
/// OpenPGP signatures by the program `gpg`, which gets a temporary directory. Blocks.
///
/// # Errors
/// When there is no signature, one is bad, or too few count: then the error has the weightiest reason, or, when some
/// count, all reasons.
pub fn verify(
    document: &[u8],
    signatures: &Signatures,
    trust: &Trust,
    threshold: NonZeroUsize,
    at: SystemTime,
) -> Result<Vec<Signer>, SignatureError> {
    if signatures.is_empty() {
        return Err(SignatureError::NoSignature);
    }
    let mut results: Vec<Checked> = Vec::new();
    for (armored, number) in signatures.ssh.iter().zip(1..) {
        results.push(sshsig::check(document, armored, &format!("SSH signature {number}"), trust, at)?);
    }
    match &trust.keyring {
        Some(keyring) if !signatures.openpgp.is_empty() => {
            results.extend(keyring.check(document, &signatures.openpgp, at)?);
        }
        None if signatures.ssh.is_empty() => return Err(SignatureError::NoKeyring),
        _ => {}
    }
    let (mut signers, mut passed_over) = (Vec::<Signer>::new(), Vec::new());
    for result in results {
        match result {
            Ok(signer) if signers.iter().any(|known| known.key == signer.key) => {}
            Ok(signer) => signers.push(signer),
            Err(reason) => passed_over.push(reason),
        }
    }
    if signers.len() >= threshold.get() {
        return Ok(signers);
    }
    Err(refusal(signers.len(), threshold.get(), passed_over))
}

/// Returns the error for too few signatures.
fn refusal(have: usize, need: usize, passed_over: Vec<PassedOver>) -> SignatureError {
    // The first of the weightiest.
    let weightiest = passed_over.iter().rev().max_by_key(|one| one.reason).cloned();
    match weightiest {
        Some(one) if have == 0 => match one.reason {
            Reason::Unknown => SignatureError::UnknownKey { key: one.key },
            Reason::Revoked => SignatureError::Revoked { key: one.key },
            Reason::OutsideValidity { .. } => SignatureError::OutsideValidity(one),
            Reason::Unsupported | Reason::OtherNamespace | Reason::OtherIdentity => {
                SignatureError::NotAllowed(one)
            }
        },
        _ => SignatureError::TooFew { have, need, passed_over },
    }
}
