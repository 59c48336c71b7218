#![doc = include_str!("../README.md")]

mod accept;
mod contents;
mod diff;
mod digest;
mod document;
mod error;
mod row;
#[cfg(feature = "signatures")]
mod signatures;
mod time;
mod unit;

pub use accept::{Acceptance, CLOCK_TOLERANCE, Held, Refusal, accept, accept_chain};
pub use contents::{Contents, Counts, Gap, GapKind, GitId, IndexState, InvalidGitId, MAX_REASON_BYTES};
pub use diff::{Change, Diff, compare, diff};
pub use digest::{RowCounts, UnitDigester, digest_rows, digest_unit};
pub use document::{
    FORMAT, MAX_GAP_BYTES, MAX_GAPS, MAX_NUMBER, MAX_SNAPSHOT_BYTES, Snapshot, snapshot_file_name,
};
pub use error::SnapshotError;
pub use row::{MAX_ROW_BYTES, Row, RowError, RowReader, RowState, row_order};
#[cfg(feature = "signatures")]
pub use signatures::{
    AllowedSigners, AllowedSignersError, GpgKey, GpgKeyring, KeyId, MAX_SIGNATURE_BYTES, MAX_SIGNATURES,
    NAMESPACE, PassedOver, Passphrase, Reason, RevokedKeys, SignatureError, Signatures, Signer, SigningError,
    SshSigner, Trust, openpgp_signature_name, ssh_signature_name, verify,
};
pub use unit::{UNITS, Unit, UnitDigests};
