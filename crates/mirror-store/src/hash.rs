use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use mirror_checksum::Hasher;
use mirror_types::Sha256;

use crate::Store;
use crate::error::{StoreError, at};
use crate::path::below;

/// The checksum of a file and its size, bytes; `None` when there is no file.
type Found = Option<(Sha256, u64)>;

/// Largest file that is hashed together with others, bytes; a larger one is hashed alone, piece by piece.
const MAX_TOGETHER_BYTES: usize = 512 << 10;
const PIECE: usize = 128 << 10;

thread_local! {
    /// Reading a small file must not cost a new buffer. The buffers grow as needed.
    static BUFFERS: RefCell<[Vec<u8>; Store::HASHED_TOGETHER]> = RefCell::default();
}

/// An open file.
struct Open {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Store {
    /// Files that [`hash_each`](Self::hash_each) hashes together: more than the processor hashes at once, since their
    /// lengths differ.
    pub const HASHED_TOGETHER: usize = 8;

    /// Hashes a held file; `None` when there is none. Blocks.
    ///
    /// # Errors
    /// When it is not a regular file or cannot be read.
    pub fn hash(&self, rel: &str) -> Result<Option<(Sha256, u64)>, StoreError> {
        match self.open_to_hash(rel)? {
            Some(open) => BUFFERS.with_borrow_mut(|buffers| alone(open, &mut buffers[0])).map(Some),
            None => Ok(None),
        }
    }

    /// Hashes held files, in order: like [`hash`](Self::hash) for each, but in about half the time where they are small
    /// and the processor can hash several at once. Keeps up to 4 MiB of memory for each calling thread. Blocks.
    pub fn hash_each(&self, rels: &[&str]) -> Vec<Result<Option<(Sha256, u64)>, StoreError>> {
        let mut found = Vec::with_capacity(rels.len());
        for some in rels.chunks(Self::HASHED_TOGETHER) {
            BUFFERS.with_borrow_mut(|buffers| self.hash_some(some, buffers, &mut found));
        }
        found
    }

    fn hash_some(
        &self,
        rels: &[&str],
        buffers: &mut [Vec<u8>; Store::HASHED_TOGETHER],
        found: &mut Vec<Result<Found, StoreError>>,
    ) {
        let base = found.len();
        let mut small = Vec::with_capacity(rels.len());
        for (rel, buffer) in rels.iter().zip(buffers.iter_mut()) {
            let one = self.open_to_hash(rel).and_then(|open| match open {
                None => Ok(None),
                Some(mut open) if open.size <= MAX_TOGETHER_BYTES as u64 => match whole(&mut open, buffer)? {
                    Some(len) => {
                        small.push((found.len(), len));
                        Ok(None)
                    }
                    // The file is being written to.
                    None => self.open_to_hash(rel)?.map(|open| alone(open, buffer)).transpose(),
                },
                Some(open) => alone(open, buffer).map(Some),
            });
            found.push(one);
        }
        let bytes: Vec<&[u8]> = small.iter().map(|&(at, len)| &buffers[at - base][..len]).collect();
        for ((at, len), sum) in small.iter().zip(mirror_checksum::each(&bytes)) {
            found[*at] = Ok(Some((sum, *len as u64)));
        }
    }

    fn open_to_hash(&self, rel: &str) -> Result<Option<Open>, StoreError> {
        let path = below(self.root(), rel)?;
        let strange = |path: &Path| StoreError::Strange { path: path.to_owned(), expected: "a regular file" };
        let file = match mirror_fs::patient(|| mirror_fs::open_to_read(&path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let link = fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_file());
                return Err(if link { strange(&path) } else { at("open", &path)(error) });
            }
        };
        let meta = file.metadata().map_err(at("look at", &path))?;
        if !meta.is_file() {
            return Err(strange(&path));
        }
        Ok(Some(Open { path, file, size: meta.len() }))
    }
}

/// Fills a buffer as far as possible; returns 0 at the end.
fn read(open: &mut Open, buffer: &mut [u8]) -> Result<usize, StoreError> {
    loop {
        match open.file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map_err(at("read", &open.path)),
        }
    }
}

/// Reads a file into the beginning of `buffer`. `None` when it has grown.
fn whole(open: &mut Open, buffer: &mut Vec<u8>) -> Result<Option<usize>, StoreError> {
    // One byte more distinguishes the end from a file that grows.
    let room = usize::try_from(open.size).unwrap_or(MAX_TOGETHER_BYTES) + 1;
    if buffer.len() < room {
        buffer.resize(room, 0);
    }
    let mut len = 0;
    while len < room {
        match read(open, &mut buffer[len..room])? {
            0 => return Ok(Some(len)),
            n => len += n,
        }
    }
    Ok(None)
}

/// Hashes a file piece by piece.
fn alone(mut open: Open, buffer: &mut Vec<u8>) -> Result<(Sha256, u64), StoreError> {
    if buffer.len() < PIECE {
        buffer.resize(PIECE, 0);
    }
    let mut hasher = Hasher::default();
    let mut size = 0;
    loop {
        match read(&mut open, &mut buffer[..PIECE])? {
            0 => return Ok((hasher.finish(), size)),
            n => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mirror_types::Layout;
    use sha2::Digest as _;

    use super::*;

    #[test]
    fn together_as_alone() {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store::open(dir.path(), Layout::Shard, true).expect("store");
        let sizes = [
            0,
            1,
            64,
            MAX_TOGETHER_BYTES - 1,
            20_000,
            MAX_TOGETHER_BYTES,
            MAX_TOGETHER_BYTES + 1,
            3 * MAX_TOGETHER_BYTES + 7,
            5,
            100_000,
            63,
        ];
        let mut rels = Vec::new();
        for (i, size) in sizes.into_iter().enumerate() {
            let bytes: Vec<u8> = (0..=u8::MAX).cycle().skip(i).take(size).collect();
            fs::write(dir.path().join(format!("{i}.crate")), bytes).expect("write");
            rels.push(format!("{i}.crate"));
        }
        fs::create_dir(dir.path().join("dir.crate")).expect("dir");
        rels.insert(2, "none.crate".to_owned());
        rels.insert(5, "dir.crate".to_owned());
        rels.insert(6, "../outside".to_owned());
        let rels: Vec<&str> = rels.iter().map(String::as_str).collect();
        let found = store.hash_each(&rels);
        assert_eq!(found.len(), rels.len());
        for (rel, found) in rels.into_iter().zip(found) {
            match (store.hash(rel), found) {
                (Ok(alone), Ok(together)) => {
                    assert_eq!(alone, together, "{rel}");
                    let there = fs::read(dir.path().join(rel)).ok();
                    let right = there.map(|bytes| {
                        (Sha256::from_bytes(sha2::Sha256::digest(&bytes).into()), bytes.len() as u64)
                    });
                    assert_eq!(together, right, "{rel}");
                }
                (Err(alone), Err(together)) => assert_eq!(alone.kind(), together.kind(), "{rel}"),
                (alone, together) => panic!("{rel}: {alone:?}, {together:?}"),
            }
        }
    }

    #[test]
    fn a_file_that_grows_is_seen() {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store::open(dir.path(), Layout::Shard, true).expect("store");
        let path = dir.path().join("a.crate");
        fs::write(&path, b"longer").expect("write");
        let mut open = store.open_to_hash("a.crate").expect("open").expect("there");
        open.size = 3;
        assert_eq!(whole(&mut open, &mut Vec::new()).expect("read"), None);
        // A file that was truncated is hashed as it is.
        let mut open = store.open_to_hash("a.crate").expect("open").expect("there");
        open.size = 100;
        assert_eq!(whole(&mut open, &mut Vec::new()).expect("read"), Some(6));
    }
}
