use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use mirror_types::{Advice, Cause, FaultKind};

use super::trust::KeyId;
use crate::time::shown;

/// The reason why a good signature does not count. The later one of two weighs more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// The key is not among those that are trusted.
    Unknown,
    /// The key, or its size, is of a kind that is not supported.
    Unsupported,
    /// The key may only sign for another purpose.
    OtherNamespace,
    /// The key belongs to another identity than the one that is asked for.
    OtherIdentity,
    /// The key, or the signature, is not valid at this time.
    OutsideValidity {
        /// The time from which it is valid; `None` when that is not limited or not known.
        after: Option<SystemTime>,
        /// The time until which it is valid; `None` when that is not limited or not known.
        before: Option<SystemTime>,
    },
    /// The key is revoked.
    Revoked,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "is not among the trusted keys",
            Self::Unsupported => "is of a kind or size that is not supported",
            Self::OtherNamespace => "may only sign for another purpose",
            Self::OtherIdentity => "belongs to another identity",
            Self::Revoked => "is revoked",
            Self::OutsideValidity { after, before } => {
                f.write_str("is not valid at this time")?;
                if let Some(after) = after {
                    write!(f, "; it is from {}", shown(*after))?;
                }
                if let Some(before) = before {
                    write!(f, "; it is until {}", shown(*before))?;
                }
                return Ok(());
            }
        })
    }
}

/// A good signature that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// The key that made it.
    pub key: KeyId,
    /// The reason why it does not count.
    pub reason: Reason,
}

impl std::fmt::Display for PassedOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.key, self.reason)
    }
}

/// Why the signatures of a document are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The document has no signature. Ask the sender for one.
    #[error("there is no signature")]
    NoSignature,
    /// A signature is damaged, was made over other bytes, or for another purpose. Take another copy of document and
    /// signature.
    #[error("the {signature} is bad: {why}")]
    Bad {
        /// The name of the signature.
        signature: String,
        /// The reason.
        why: String,
    },
    /// No signature was made by a trusted key. Find out whose key it is.
    #[error("the signature does not count: {key} {}", Reason::Unknown)]
    UnknownKey {
        /// The key of the first signature.
        key: KeyId,
    },
    /// The key is known, and not valid at this time. The sender needs a new key, or this clock is wrong.
    #[error("the signature does not count: {0}")]
    OutsideValidity(PassedOver),
    /// The key is revoked. Do not use the document.
    #[error("the signature does not count: {key} {}", Reason::Revoked)]
    Revoked {
        /// The key.
        key: KeyId,
    },
    /// The key is known, and may not sign this: it is for another purpose or identity, or of an unsupported kind.
    #[error("the signature does not count: {0}")]
    NotAllowed(PassedOver),
    /// Fewer keys signed than must. Ask the sender for the other signatures.
    #[error("{have} of {need} required signatures count{}", listed(passed_over))]
    TooFew {
        /// The number of distinct keys whose signatures count.
        have: usize,
        /// The number that is required.
        need: usize,
        /// The signatures that do not count.
        passed_over: Vec<PassedOver>,
    },
    /// There are OpenPGP signatures alone, and no keyring to check them by.
    #[error("there is an OpenPGP signature, and no keyring to check it by")]
    NoKeyring,
    /// There are more signatures than are read.
    #[error("{} has more than {most} signatures", document.display())]
    TooMany {
        /// The document.
        document: PathBuf,
        /// The most that are read.
        most: usize,
    },
    /// A file could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The keyring cannot be read. Check its path and who may read it.
    #[error("reading the keyring {}", path.display())]
    Keyring {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A program that checks signatures could not be started, or failed. Install it.
    #[error("could not check the signature with {program}")]
    Program {
        /// The program.
        program: &'static str,
        /// The reason, in the program's words where it has any.
        source: Cause,
    },
}

fn listed(passed_over: &[PassedOver]) -> String {
    passed_over.iter().map(|one| format!("; {one}")).collect()
}

impl SignatureError {
    /// Returns the kind of fault.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Read { .. } => FaultKind::Storage,
            Self::NoKeyring | Self::Keyring { .. } | Self::Program { .. } => FaultKind::Usage,
            Self::NoSignature
            | Self::Bad { .. }
            | Self::UnknownKey { .. }
            | Self::OutsideValidity(_)
            | Self::Revoked { .. }
            | Self::NotAllowed(_)
            | Self::TooFew { .. }
            | Self::TooMany { .. } => FaultKind::Refused,
        }
    }

    /// Returns advice for a person, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        matches!(self, Self::NoKeyring | Self::Keyring { .. }).then_some(Advice::NameThePublicKey)
    }

    pub(super) fn bad(signature: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Bad { signature: signature.into(), why: why.into() }
    }

    pub(super) fn program(program: &'static str) -> impl FnOnce(Cause) -> Self {
        move |source| Self::Program { program, source }
    }
}

/// Why a document could not be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// The key file cannot be read. Check its path and who may read it.
    #[error("reading the key {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is neither a private key nor a public one of OpenSSH. Name another file.
    #[error("{} is neither a private nor a public key of OpenSSH", .0.display())]
    NotAKey(PathBuf),
    /// The private key is locked. Give its passphrase.
    #[error("{} needs a passphrase", .0.display())]
    LockedKey(PathBuf),
    /// The passphrase does not unlock the key. Give another.
    #[error("the passphrase does not unlock {}", .0.display())]
    WrongPassphrase(PathBuf),
    /// A locked key of this kind is used through an agent: add it to one, and name its public key.
    #[error("{} is a locked key of a kind that only an agent can use: add it to one and name its public key", .0.display())]
    NeedsAgent(PathBuf),
    /// The private key is damaged: its halves do not fit each other.
    #[error("{} is damaged: the halves of the key do not fit each other", .0.display())]
    DamagedKey(PathBuf),
    /// A program that signs could not be started, or refused. The source has its words.
    #[error("could not sign with {program}")]
    Program {
        /// The program.
        program: &'static str,
        /// The reason, in the program's words where it has any.
        source: Cause,
    },
    /// A program made something else than a signature of the key over the document.
    #[error("{program} made a signature that is not good")]
    BadSignature {
        /// The program.
        program: &'static str,
        /// The fault that was found.
        source: Box<SignatureError>,
    },
    /// A fault of this program, or of a library. Report it.
    #[error("internal error: could not sign")]
    Internal(#[source] Cause),
}

impl SigningError {
    /// Returns the kind of fault.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Internal(_) => FaultKind::Internal,
            Self::Read { .. }
            | Self::NotAKey(_)
            | Self::LockedKey(_)
            | Self::WrongPassphrase(_)
            | Self::NeedsAgent(_)
            | Self::DamagedKey(_)
            | Self::Program { .. }
            | Self::BadSignature { .. } => FaultKind::Usage,
        }
    }

    /// Returns advice for a person, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        matches!(self, Self::LockedKey(_)).then_some(Advice::GivePassphrase)
    }

    pub(super) fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(Cause::new(error))
    }

    pub(super) fn program(program: &'static str) -> impl FnOnce(Cause) -> Self {
        move |source| Self::Program { program, source }
    }
}
