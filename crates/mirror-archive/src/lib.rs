#![doc = include_str!("../README.md")]

mod create;
mod detached;
mod disk;
mod engine;
mod entry;
mod error;
mod hashes;
mod inventory;
mod monitor;
mod names;
mod observe;
mod passphrase;
mod publish;
mod record;
#[cfg(feature = "openpgp")]
mod sign;
#[cfg(not(feature = "openpgp"))]
#[path = "sign/absent.rs"]
mod sign;
mod source;
mod tar;
mod tasks;
mod verify;
mod walk;
mod zip;

pub use create::{CreateOptions, Created, Signing, UsedKey, create};
pub use detached::{FileSignature, sign_file};
pub use error::{ArchiveError, Given};
pub use hashes::{HashKind, Hasher};
pub use monitor::{Done, Monitor};
pub use names::shown;
pub use observe::{ArchiveEvent, ArchiveObserver};
pub use passphrase::Passphrase;
pub use verify::{Against, Finding, SignatureState, Verified, VerifyOptions, verify};
