//! Signing and checking in a build without OpenPGP: both are refused before the directory is read.

use std::io::Read;
use std::path::Path;

use crate::error::ArchiveError;
use crate::passphrase::Passphrase;

/// A private key that can sign: there is none.
pub(crate) enum Signer {}

impl Signer {
    pub(crate) fn load(_: &Path, _: Option<&Passphrase>) -> Result<Self, ArchiveError> {
        Err(ArchiveError::NoOpenPgp)
    }

    pub(crate) fn generate(_: &str, _: Option<&Passphrase>) -> Result<Self, ArchiveError> {
        Err(ArchiveError::NoOpenPgp)
    }

    pub(crate) fn sign(&self, _: impl Read) -> Result<String, ArchiveError> {
        match *self {}
    }

    pub(crate) fn key_id(&self) -> String {
        match *self {}
    }

    pub(crate) fn fingerprint(&self) -> String {
        match *self {}
    }

    pub(crate) fn secret(&self) -> Result<String, ArchiveError> {
        match *self {}
    }

    pub(crate) fn public(&self) -> Result<String, ArchiveError> {
        match *self {}
    }
}

/// Public keys out of one file: they cannot be read.
pub(crate) enum Keys {}

/// A good signature.
pub(crate) struct Checked {
    pub(crate) fingerprint: String,
    pub(crate) user: String,
}

impl Keys {
    pub(crate) fn load(_: &Path) -> Result<Self, ArchiveError> {
        Err(ArchiveError::NoOpenPgp)
    }

    pub(crate) fn check(&self, _: &str, _: impl Read) -> Result<Checked, String> {
        match *self {}
    }
}
