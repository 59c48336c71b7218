//! The licences of held releases: from the catalogue, and from the bytes where it does not have them.

use std::collections::HashMap;
use std::ops::ControlFlow;

use mirror_manifest::{Held, LicenceRow, StatedLicence};
use mirror_policy::Licence;
use mirror_repo::Stores;
use mirror_store::{OpenCrate, StoreError};
use mirror_types::{CrateName, FaultKind, IndexRecord, ReleaseId, Sha256};

use crate::error::SyncError;
use crate::package::licence_of;

/// The known licences of a crate's held releases, by version. A licence belongs to bytes.
#[derive(Debug, Default)]
pub(crate) struct Licences(HashMap<String, (Sha256, StatedLicence)>);

impl Licences {
    /// Takes the rows of one crate.
    pub(crate) fn new(rows: Vec<LicenceRow>) -> Self {
        let row = |row: LicenceRow| (row.id.version.to_string(), (row.sha256, row.licence));
        Self(rows.into_iter().map(row).collect())
    }

    pub(crate) fn add(&mut self, row: &LicenceRow) {
        self.0.insert(row.id.version.to_string(), (row.sha256, row.licence.clone()));
    }

    /// Returns the licence of the bytes that `record` has the checksum of.
    pub(crate) fn of(&self, record: &IndexRecord) -> Licence<'_> {
        match self.0.get(record.id.version.as_str()) {
            Some((sha256, licence)) if *sha256 == record.cksum => match licence {
                StatedLicence::Text(text) => Licence::Stated(text),
                StatedLicence::Missing => Licence::Missing,
                StatedLicence::Unreadable(reason) => Licence::Unreadable(reason),
            },
            _ => Licence::Unknown,
        }
    }
}

/// Reads the licence of a held release from the first store with whole bytes; `None` where there is none. Blocks.
/// Memory: the release, where its store keeps it compressed.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn read_licence(
    stores: &Stores,
    name: &CrateName,
    held: &Held,
) -> Result<Option<LicenceRow>, SyncError> {
    let Ok(version) = held.version.parse() else { return Ok(None) };
    let id = ReleaseId { name: name.clone(), version };
    for (store, at) in stores.of(&held.locations) {
        let open = match store.open(&id, at) {
            Ok(Some(open)) if open.len() == held.size => open,
            Ok(_) => continue,
            // A run that verifies what is held repairs it.
            Err(error) if error.kind() == FaultKind::Integrity => continue,
            Err(error) => return Err(error.into()),
        };
        let read = licence_of(&id, |take| {
            open.pieces(&mut |piece| {
                if take(piece) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        });
        match read {
            Ok(licence) => return Ok(Some(LicenceRow { id, sha256: held.sha256, licence })),
            Err(error) if OpenCrate::is_damage(&error) => {}
            Err(source) => {
                return Err(StoreError::Io { doing: "read", path: id.file_name().into(), source }.into());
            }
        }
    }
    Ok(None)
}
