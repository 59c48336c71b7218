//! Reading single members of bundles.

use std::collections::HashMap;
use std::path::PathBuf;

use mirror_store::StoreError;
use mirror_store::bundle::{BundleLimits, BundleReader, Member, list_bundles};
use mirror_types::{FaultKind, MemberLocation, ReleaseId, Sha256};

/// Reads single members of bundles.
pub(crate) struct Shelf {
    dir: PathBuf,
    open: HashMap<u32, BundleReader>,
}

impl Shelf {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, open: HashMap::new() }
    }

    /// Gives the member at a place to `visit`. False when the bundle is damaged there, or another release is.
    pub(crate) fn read(
        &mut self,
        id: &ReleaseId,
        at: MemberLocation,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let end = at.offset.saturating_add(at.len);
        let stale = self.open.get(&at.bundle).is_none_or(|reader| reader.len() < end);
        if stale {
            match self.find(at.bundle)? {
                Some(reader) => self.open.insert(at.bundle, reader),
                None => return Ok(false),
            };
        }
        let Some(reader) = self.open.get(&at.bundle) else { return Ok(false) };
        let mut right = false;
        let read = reader.read_at(at.offset, at.len, &mut |member| {
            right = member.release() == id;
            if right { visit(member) } else { Ok(()) }
        });
        match read {
            Ok(()) => Ok(right),
            Err(error) if error.kind() == FaultKind::Integrity => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Hash and size of a member; `None` when the bundle is damaged there.
    pub(crate) fn hash(
        &mut self,
        id: &ReleaseId,
        at: MemberLocation,
    ) -> Result<Option<(Sha256, u64)>, StoreError> {
        let mut found = None;
        let right = self.read(id, at, &mut |member| {
            found = Some((member.sha256()?, member.size()));
            Ok(())
        })?;
        Ok(found.filter(|_| right))
    }

    /// A bundle that is being sealed loses its suffix at any moment.
    fn find(&self, number: u32) -> Result<Option<BundleReader>, StoreError> {
        const TRIES: u32 = 3;
        for tries in 1.. {
            let files = list_bundles(&self.dir)?;
            let Some(files) = files.into_iter().find(|files| files.number == Some(number)) else { break };
            match BundleReader::open(&files.path, BundleLimits::default()) {
                Ok(reader) => return Ok(Some(reader)),
                Err(error) if tries == TRIES => return Err(error),
                Err(_) => {}
            }
        }
        Ok(None)
    }
}
