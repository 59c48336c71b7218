//! An open bundle with its manifest.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mirror_bundle::{
    BundleError, BundleFault, BundleFiles, BundleLimits, BundleMember, BundleReader, FrameMap, Member,
    read_manifest,
};
use mirror_store::StoreError;
use mirror_types::Sha256;

/// The manifest's entry for a member.
pub(crate) struct Listed {
    size: u64,
    pub(crate) sha256: Sha256,
    frame_offset: Option<u64>,
    found: AtomicBool,
}

/// A bundle that is being read.
pub(crate) struct Open {
    pub(crate) files: BundleFiles,
    pub(crate) reader: BundleReader,
    /// `None` for a bundle of one stream.
    pub(crate) map: Option<FrameMap>,
    /// `None` without a manifest.
    pub(crate) listed: Option<HashMap<Box<str>, Listed>>,
    /// Pieces of work that are not done yet.
    pub(crate) left: AtomicU64,
    /// True if a fault was reported; the rest of the bundle is skipped.
    pub(crate) bad: AtomicBool,
}

impl Open {
    /// Opens the bundle and reads its manifest. A partial bundle is read as far as its manifest goes.
    pub(crate) fn new(files: BundleFiles, limits: BundleLimits) -> Result<Self, BundleError> {
        let reader = BundleReader::open(&files.path, limits)?;
        let (mut listed, mut lines) = (None, Vec::new());
        if let Some(manifest) = &files.manifest {
            let mut members = HashMap::new();
            read_manifest(manifest, &mut |line| {
                let one = Listed {
                    size: line.size,
                    sha256: line.sha256,
                    frame_offset: line.frame_offset,
                    found: AtomicBool::new(false),
                };
                if members.insert(line.bundle_member.as_str().into(), one).is_some() {
                    return Err(fault(manifest, &line.bundle_member, BundleFault::Duplicate));
                }
                if !files.sealed {
                    lines.push(line);
                }
                Ok(())
            })?;
            listed = Some(members);
        }
        let map = match (&listed, files.sealed) {
            (Some(_), false) => reader.frame_map_of(&lines)?,
            (_, true) => reader.frame_map()?,
            (None, false) => None,
        };
        let (left, bad) = (AtomicU64::new(0), AtomicBool::new(false));
        Ok(Self { files, reader, map, listed, left, bad })
    }

    /// Returns the number of members, when it is known beforehand.
    pub(crate) fn members(&self) -> Option<u64> {
        let by_manifest = self.listed.as_ref().map(|listed| listed.len() as u64);
        self.map.as_ref().map(FrameMap::members).or(by_manifest)
    }

    /// Compares a member with its line in the manifest, if there is a manifest.
    pub(crate) fn check(&self, member: &Member<'_>, sha256: Sha256) -> Result<(), BundleError> {
        let Some(listed) = &self.listed else { return Ok(()) };
        let wrong = |what| fault(&self.files.path, member.path(), what);
        let line = listed.get(member.path()).ok_or_else(|| wrong(BundleFault::NotInManifest))?;
        line.found.store(true, Ordering::Relaxed);
        if line.size != member.size() {
            Err(wrong(BundleFault::Size { found: member.size(), listed: line.size }))
        } else if line.sha256 != sha256 {
            Err(wrong(BundleFault::Checksum))
        } else if line.frame_offset.is_some_and(|offset| offset != member.frame_offset()) {
            Err(wrong(BundleFault::Misplaced))
        } else {
            Ok(())
        }
    }

    /// Returns a fault for a member that the manifest lists and that was not found.
    pub(crate) fn missing(&self) -> Option<BundleError> {
        let listed = self.listed.as_ref()?;
        let mut missing: Vec<_> = listed
            .iter()
            .filter(|(_, line)| !line.found.load(Ordering::Relaxed))
            .map(|(path, _)| path)
            .collect();
        missing.sort();
        missing.first().map(|path| fault(&self.files.path, path, BundleFault::NotInBundle))
    }
}

fn fault(path: &Path, member: &str, fault: BundleFault) -> BundleError {
    BundleError::damaged(path, Some(member), None, fault)
}

/// Passes the members of a bundle to `visit`: the one in the frame that a line names, or all of them.
pub(crate) fn visit_members(
    bundle: &BundleFiles,
    line: Option<&BundleMember>,
    limits: BundleLimits,
    visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let reader = BundleReader::open(&bundle.path, limits)?;
    match line.and_then(|line| line.frame_offset.zip(line.frame_len)) {
        Some((offset, len)) => reader.read_at(offset, len, visit),
        None => reader.stream(visit).map(drop),
    }
}
