//! Signatures over documents: SSHSIG and OpenPGP, made and checked.

mod allowed;
mod error;
mod files;
mod gpg;
mod keys;
mod pattern;
mod program;
mod revoked;
mod sign;
mod sshsig;
mod status;
mod trust;

pub use allowed::{AllowedSigners, AllowedSignersError};
pub use error::{PassedOver, Reason, SignatureError, SigningError};
pub use files::{
    MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Signatures, openpgp_signature_name, ssh_signature_name,
};
pub use gpg::{GpgKey, GpgKeyring};
pub use revoked::RevokedKeys;
pub use sign::{Passphrase, SshSigner};
pub use trust::{KeyId, Signer, Trust, verify};

/// The namespace of SSH signatures over snapshots and deliveries, so that a signature made for another purpose is none.
pub const NAMESPACE: &str = "mirror-snapshot";
