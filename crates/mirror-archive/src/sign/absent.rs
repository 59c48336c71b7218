//! Refuses to sign and to check in a build without OpenPGP, before the directory is read.

use std::io::Read;
use std::path::Path;

use crate::error::ArchiveError;
use crate::passphrase::Passphrase;

/// A private key that can sign. In this build there is none.
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

/// Public keys from one file. In this build there are none.
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
