//! Reads stored objects that are too large for memory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::hash::Kind::Sha1;
use gix::odb::loose;
use gix_pack::data::entry::Header;

use super::inflate::Inflated;

/// Longest header of a loose object: `blob 123` and a NUL.
const MAX_HEADER_BYTES: u64 = 32;

/// A blob that is read piece by piece.
pub(super) struct Blob {
    pub(super) size_bytes: u64,
    pub(super) bytes: Box<dyn Read>,
}

/// Returns the object directories of a repository, its own first.
pub(super) fn object_dirs(repo: &gix::Repository) -> gix::error::Result<Vec<PathBuf>> {
    let store = repo.objects.store_ref();
    let mut object_dirs = vec![store.path().to_owned()];
    object_dirs.extend(store.alternate_db_paths()?);
    Ok(object_dirs)
}

/// Returns the path of a loose object.
pub(super) fn path_of(objects: &Path, id: ObjectId) -> PathBuf {
    loose::Store::at(objects, Sha1).object_path(&id)
}

/// Lists the loose objects of more than `max_bytes`.
pub(super) fn large_files(objects: &Path, max_bytes: u64) -> gix::error::Result<BTreeSet<ObjectId>> {
    let store = loose::Store::at(objects, Sha1);
    let mut large = BTreeSet::new();
    for id in store.iter() {
        let id = id.map_err(gix::Error::from_error)?;
        if store.try_header(&id)?.is_some_and(|(size, _)| size > max_bytes) {
            large.insert(id);
        }
    }
    Ok(large)
}

/// Opens a blob below one of `object_dirs` that is loose, or whole in a pack. A blob that a pack stores as a difference
/// to another cannot be read like this: that is [`io::ErrorKind::Unsupported`].
pub(super) fn open(object_dirs: &[PathBuf], id: ObjectId) -> io::Result<Blob> {
    for dir in object_dirs {
        match File::open(path_of(dir, id)) {
            Ok(file) => return of_file(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    for dir in object_dirs {
        let Ok(packs) = std::fs::read_dir(dir.join("pack")) else { continue };
        for path in packs.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "idx")
                && let Some(offset) = offset_in(&path, id)
            {
                return of_pack(&path.with_extension("pack"), offset);
            }
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn of_file(file: File) -> io::Result<Blob> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the header of the object is damaged");
    let mut bytes = BufReader::new(Inflated::new(BufReader::new(file)));
    let mut header = Vec::new();
    bytes.by_ref().take(MAX_HEADER_BYTES).read_until(0, &mut header)?;
    let size = header.strip_prefix(b"blob ").and_then(|rest| rest.strip_suffix(b"\0")).ok_or_else(damaged)?;
    let size = std::str::from_utf8(size).ok().and_then(|size| size.parse().ok()).ok_or_else(damaged)?;
    Ok(Blob { size_bytes: size, bytes: Box::new(bytes) })
}

fn offset_in(index: &Path, id: ObjectId) -> Option<u64> {
    let index = gix_pack::index::File::at(index, Sha1).ok()?;
    index.lookup(id).map(|entry| index.pack_offset_at_index(entry))
}

fn of_pack(path: &Path, offset: u64) -> io::Result<Blob> {
    let mut pack = File::open(path)?;
    pack.seek(SeekFrom::Start(offset))?;
    let mut pack = BufReader::new(pack);
    let entry = gix_pack::data::Entry::from_read(&mut pack, offset, Sha1.len_in_bytes())?;
    if entry.header != Header::Blob {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(Blob { size_bytes: entry.decompressed_size, bytes: Box::new(Inflated::new(pack)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_in_a_file_of_its_own_is_read() {
        let dir = tempfile::tempdir().expect("dir");
        let repo = gix::init_bare(dir.path()).expect("repository");
        let data: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let id = repo.write_blob(&data).expect("written").detach();
        let object_dirs = object_dirs(&repo).expect("directories");
        let mut blob = open(&object_dirs, id).expect("there");
        let mut read = Vec::new();
        blob.bytes.read_to_end(&mut read).expect("whole");
        assert!(blob.size_bytes == 400_000 && read == data);
        let absent = ObjectId::from_hex(&[b'1'; 40]).expect("hex");
        assert_eq!(open(&object_dirs, absent).err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    }
}
