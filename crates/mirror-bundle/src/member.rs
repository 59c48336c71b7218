use std::io::Read;
use std::path::Path;

use mirror_checksum::Hasher;
use mirror_types::{Layout, ReleaseId, Sha256};

use crate::error::{BundleError, at};
use crate::fault::{BundleFault, Trouble};
use crate::tar::{self, Entry};

/// A member that is being read from a bundle. Its data can be read once.
pub struct Member<'a> {
    pub(crate) bundle: &'a Path,
    pub(crate) entry: Entry,
    pub(crate) frame_offset: u64,
    pub(crate) data: Data<'a>,
}

pub(crate) enum Data<'a> {
    Slice(&'a [u8]),
    Stream { input: &'a mut dyn Read, left: u64 },
}

impl std::fmt::Debug for Member<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.entry.path, self.entry.size)
    }
}

impl<'a> Member<'a> {
    /// Makes a member of data that was read before, so that another thread can process it.
    #[must_use]
    pub fn in_memory(
        bundle: &'a Path,
        (path, id, layout): (String, ReleaseId, Layout),
        frame_offset: u64,
        data: &'a [u8],
    ) -> Self {
        let entry = Entry { path, id, layout, size: data.len() as u64 };
        Self { bundle, entry, frame_offset, data: Data::Slice(data) }
    }

    /// Returns its path: that of a release in either layout, safe to join to a directory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.entry.path
    }

    /// Returns the release that its path belongs to.
    #[must_use]
    pub fn release(&self) -> &ReleaseId {
        &self.entry.id
    }

    /// Returns the layout that its path belongs to.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.entry.layout
    }

    /// Returns the size of its data in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entry.size
    }

    /// Returns the offset of its frame in the bundle, in bytes. In a bundle of one stream, that is 0 for all.
    #[must_use]
    pub fn frame_offset(&self) -> u64 {
        self.frame_offset
    }

    /// Returns its data if that is in memory; reads nothing.
    #[must_use]
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self.data {
            Data::Slice(bytes) => Some(bytes),
            Data::Stream { .. } => None,
        }
    }

    /// Passes the data to `take`, piece by piece. Pieces are at most 128 KiB unless the member is in memory. Blocks.
    ///
    /// # Errors
    /// When the bundle is damaged or cannot be read; what `take` returns.
    pub fn read<E: From<BundleError>>(
        &mut self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (path, offset) = (self.entry.path.clone(), self.frame_offset);
        let wrong = |trouble| with_place(self.bundle, Some(&path), Some(offset), trouble);
        match &mut self.data {
            Data::Slice(bytes) => take(bytes),
            Data::Stream { input, left } => {
                let mut buffer = vec![0; (128 << 10).min(usize::try_from(*left).unwrap_or(usize::MAX))];
                while *left > 0 {
                    let want = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let piece = &mut buffer[..want];
                    input.read_exact(piece).map_err(|error| wrong(tar::torn(error)))?;
                    *left -= piece.len() as u64;
                    take(piece)?;
                }
                Ok(())
            }
        }
    }

    /// Reads all of the data. Memory: the size of the member.
    ///
    /// # Errors
    /// When the bundle is damaged or cannot be read.
    pub fn read_all(&mut self) -> Result<Vec<u8>, BundleError> {
        let mut all = Vec::with_capacity(usize::try_from(self.entry.size.min(8 << 20)).unwrap_or(0));
        self.read(&mut |piece| {
            all.extend_from_slice(piece);
            Ok::<_, BundleError>(())
        })?;
        Ok(all)
    }

    /// Computes the checksum of the data.
    ///
    /// # Errors
    /// When the bundle is damaged or cannot be read.
    pub fn sha256(&mut self) -> Result<Sha256, BundleError> {
        let mut hasher = Hasher::default();
        self.read(&mut |piece| {
            hasher.update(piece);
            Ok::<_, BundleError>(())
        })?;
        Ok(hasher.finish())
    }

    /// Passes over the data that was not read, and over the padding.
    pub(crate) fn finish(mut self) -> Result<(), BundleError> {
        self.read(&mut |_| Ok::<_, BundleError>(()))?;
        match self.data {
            Data::Slice(_) => Ok(()),
            Data::Stream { input, .. } => {
                let mut input = input;
                tar::skip_padding(&mut input, self.entry.size).map_err(|trouble| {
                    with_place(self.bundle, Some(&self.entry.path), Some(self.frame_offset), trouble)
                })
            }
        }
    }
}

/// Adds the bundle and the place to a fault.
pub(crate) fn with_place(
    path: &Path,
    member: Option<&str>,
    offset: Option<u64>,
    trouble: Trouble,
) -> BundleError {
    match trouble {
        Trouble::Fault(fault) => BundleError::damaged(path, member, offset, fault),
        Trouble::Of(member, fault) => BundleError::damaged(path, Some(&member), offset, fault),
        Trouble::Io(source) => at("read", path)(source),
    }
}

/// Hashes of 16 bytes of the paths seen so far: a collision would only make a bundle be refused.
#[derive(Debug, Default)]
pub(crate) struct Seen(std::collections::HashSet<[u8; 16]>);

impl Seen {
    pub(crate) fn key(path: &str) -> [u8; 16] {
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(path.as_bytes()).as_bytes()[..16]);
        key
    }

    /// Inserts a path, and returns whether it is new.
    pub(crate) fn insert(&mut self, path: &str) -> bool {
        self.0.insert(Self::key(path))
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.0.contains(&Self::key(path))
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Refuses a path that occurred before, and more paths than the limit.
    pub(crate) fn check(&mut self, path: &str, most: u64) -> Result<(), BundleFault> {
        if !self.insert(path) {
            Err(BundleFault::Duplicate)
        } else if self.len() > most {
            Err(BundleFault::TooMany(most))
        } else {
            Ok(())
        }
    }
}
