use std::any::Any;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use mirror_checksum::Hasher;
use mirror_fs::{FileReader, ReadAt};
use mirror_types::{FaultKind, Location, ReleaseId, Sha256, StoreId};

use crate::error::{StoreError, at};
use crate::stage::StagedWriter;

/// Keeps the bytes of releases. Everything blocks; any number of threads may read and stage, one at a time adds.
///
/// Bytes pass through three states: staged, added to a batch, committed. Committed bytes are durable, and their
/// [`Location`] reads the same bytes, in later processes too, until the release is removed or replaced. Staged bytes
/// are gone when they are dropped. Bytes in a batch that was dropped, that failed, or whose process ended, may or may
/// not be there when the store is opened again: but never torn, and never under the name of another release.
/// [`CrateStore::list`] then lists what is there.
///
/// A release that is committed again may replace the old one (then both have the same location), or be added beside it.
/// The location that was returned last reads the bytes that were committed last.
///
/// Stores trust the given checksums: the fetcher has hashed the bytes.
///
/// A new store must pass `contract::run` (feature `contract`).
pub trait CrateStore: fmt::Debug + Send + Sync {
    /// Returns the number of the store, which all its locations carry.
    fn id(&self) -> StoreId;

    /// Stages the bytes of a release, on any thread; they have no name yet and are not durable.
    ///
    /// # Errors
    /// When the body is shorter than stated, or the disk refuses.
    fn stage(&self, new: NewCrate<'_>) -> Result<StagedCrate, StoreError>;

    /// Begins a batch, which may outlive the caller's hold on the store.
    ///
    /// # Errors
    /// [`StoreError::BatchOpen`] when the store takes one batch at a time and another is open; when it was opened for
    /// reading only.
    fn begin(self: Arc<Self>) -> Result<Box<dyn StoreBatch>, StoreError>;

    /// Opens a release at its location; `None` when nothing is there any more.
    ///
    /// # Errors
    /// When the location belongs to another store, another object is there, or the release is damaged or cannot be
    /// read.
    fn open(&self, id: &ReleaseId, at: &Location) -> Result<Option<OpenCrate>, StoreError>;

    /// Returns the length of a release in bytes; `None` when nothing is at its location. Does not check the bytes.
    ///
    /// # Errors
    /// As [`CrateStore::open`].
    fn size(&self, id: &ReleaseId, at: &Location) -> Result<Option<u64>, StoreError> {
        Ok(self.open(id, at)?.map(|open| open.len()))
    }

    /// Hashes releases at their locations, in order. Reads all of their bytes; a store that can hash several at once,
    /// or without copying, overrides this. Blocks.
    fn hash_each(&self, held: &[(&ReleaseId, &Location)]) -> Vec<Result<Hashed, StoreError>> {
        held.iter().map(|(id, at)| hash_open(self.open(id, at), id)).collect()
    }

    /// Removes releases, durably. A missing release is no error.
    ///
    /// # Errors
    /// When a location belongs to another store, or the disk refuses; some releases may be gone then.
    fn remove(&self, held: &[(ReleaseId, Location)]) -> Result<Removal, StoreError>;

    /// Takes a release out of the tree that is served, and keeps its bytes for a person to look at; `run` distinguishes
    /// what several runs set aside. Not durable at once. A missing release is no error.
    ///
    /// # Errors
    /// As [`CrateStore::remove`].
    fn set_aside(&self, id: &ReleaseId, at: &Location, why: Aside, run: &str) -> Result<Removal, StoreError>;

    /// Passes each committed release to `visit`, in no particular order, until it breaks. Reads no bodies.
    ///
    /// # Errors
    /// When the store cannot be listed.
    fn list(&self, visit: &mut dyn FnMut(Listed) -> ControlFlow<()>) -> Result<(), StoreError>;
}

/// Releases that become durable together. If it is dropped, nothing is committed; see [`CrateStore`].
pub trait StoreBatch: fmt::Debug + Send {
    /// Adds a release that was staged in this store. May wait for earlier ones.
    ///
    /// # Errors
    /// [`StoreError::OtherStore`] for a release that another kind of store staged; the fault that stopped the store.
    fn add(&mut self, staged: StagedCrate) -> Result<(), StoreError>;

    /// Makes the added releases durable; returns their locations, in the order of the calls.
    ///
    /// # Errors
    /// When the disk refuses. Nothing is promised then, and the store may be unusable until it is opened again.
    fn commit(self: Box<Self>) -> Result<Vec<Location>, StoreError>;
}

/// A release, open for reading by position. Any number of threads may read.
#[derive(Debug)]
pub struct OpenCrate {
    source: Box<dyn ReadAt>,
    modified: SystemTime,
}

impl OpenCrate {
    /// Wraps a source of the bytes, which were written at `modified`.
    pub fn new(source: impl ReadAt + 'static, modified: SystemTime) -> Self {
        Self { source: Box::new(source), modified }
    }

    /// Returns the time at which the bytes were written, as far as the store knows.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        self.modified
    }

    /// Returns the number of bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// Returns whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// Reads all of the bytes. Memory: their number. Blocks.
    ///
    /// # Errors
    /// As [`OpenCrate::hash`].
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.len()).map_err(|_| io::ErrorKind::OutOfMemory)?];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Reads all of the bytes, and hashes them. Blocks.
    ///
    /// # Errors
    /// `InvalidData` when the store finds the bytes damaged; else the error of their source.
    pub fn hash(&self) -> io::Result<Sha256> {
        let mut hasher = Hasher::default();
        self.pieces(&mut |piece| {
            hasher.update(piece);
            ControlFlow::Continue(())
        })?;
        Ok(hasher.finish())
    }

    /// Reads the bytes, and passes them on piece by piece until `take` breaks. Memory: one piece. Blocks.
    ///
    /// # Errors
    /// As [`OpenCrate::hash`].
    pub fn pieces(&self, take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
        pieces(&*self.source, take)
    }

    /// Returns whether an error of reading means damage, rather than a refusal of the disk.
    #[must_use]
    pub fn is_damage(error: &io::Error) -> bool {
        matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
    }
}

/// Bytes read at once.
const PIECE_BYTES: usize = 128 << 10;

/// Passes the bytes of a source to `take`, piece by piece, until it breaks.
pub(super) fn pieces(source: &dyn ReadAt, take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
    let len = source.len();
    let mut piece = vec![0; usize::try_from(len).map_or(PIECE_BYTES, |len| len.min(PIECE_BYTES))];
    let mut offset = 0;
    while offset < len {
        let left = usize::try_from(len - offset).unwrap_or(usize::MAX);
        let part = &mut piece[..left.min(PIECE_BYTES)];
        source.read_exact_at(part, offset)?;
        if take(part).is_break() {
            break;
        }
        offset += part.len() as u64;
    }
    Ok(())
}

/// The result of hashing a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// Nothing is there.
    Missing,
    /// Something is there that cannot be read as a release: the store knows that it is damaged.
    Damaged,
    /// The bytes were hashed.
    Bytes {
        /// Their checksum.
        sha256: Sha256,
        /// Their number.
        size: u64,
    },
}

fn hash_open(opened: Result<Option<OpenCrate>, StoreError>, id: &ReleaseId) -> Result<Hashed, StoreError> {
    match opened {
        Ok(None) => Ok(Hashed::Missing),
        Err(error) if error.kind() == FaultKind::Integrity => Ok(Hashed::Damaged),
        Err(error) => Err(error),
        Ok(Some(open)) => match open.hash() {
            Ok(sha256) => Ok(Hashed::Bytes { sha256, size: open.len() }),
            Err(error) if OpenCrate::is_damage(&error) => Ok(Hashed::Damaged),
            Err(error) => Err(at("hash", id.file_name().as_ref())(error)),
        },
    }
}

impl From<FileReader> for OpenCrate {
    fn from(file: FileReader) -> Self {
        let modified = file.modified();
        Self::new(file, modified)
    }
}

impl ReadAt for OpenCrate {
    fn len(&self) -> u64 {
        self.source.len()
    }
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.source.read_exact_at(out, offset)
    }
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.source.read_at(out, offset)
    }
    fn read_at_once(&self, out: &mut [u8], offset: u64) -> io::Result<bool> {
        self.source.read_at_once(out, offset)
    }
}

/// A new release.
#[derive(Debug)]
pub struct NewCrate<'a> {
    /// The release.
    pub id: &'a ReleaseId,
    /// Checksum of its bytes.
    pub sha256: Sha256,
    /// Length in bytes.
    pub size: u64,
    /// The address that it came from, readable form.
    pub url: &'a str,
    /// The bytes.
    pub body: CrateBody,
}

impl NewCrate<'_> {
    /// Reads the whole body into memory.
    ///
    /// # Errors
    /// [`StoreError::BodySize`] when its length differs from the stated one; when it cannot be read.
    pub fn read(self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        match self.body {
            CrateBody::Memory(body) => bytes.extend_from_slice((*body).as_ref()),
            CrateBody::Spooled(spooled) => bytes = spooled.into_bytes()?,
            CrateBody::Reader(source) => {
                let read = pieces(&*source, &mut |piece| {
                    bytes.extend_from_slice(piece);
                    ControlFlow::Continue(())
                });
                read.map_err(at("read the body of", self.id.file_name().as_ref()))?;
            }
        }
        match bytes.len() as u64 {
            found if found == self.size => Ok(bytes),
            found => Err(StoreError::BodySize { id: self.id.clone(), found, said: self.size }),
        }
    }
}

/// The bytes of a new release.
pub enum CrateBody {
    /// In memory.
    Memory(Box<dyn AsRef<[u8]> + Send>),
    /// In the stage of a mirror: its loose tree takes over the file itself.
    Spooled(StagedWriter),
    /// Read by position, perhaps later: a file, or a release that another store has open.
    Reader(Box<dyn ReadAt>),
}

impl fmt::Debug for CrateBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "{} bytes", (**bytes).as_ref().len()),
            Self::Spooled(_) => f.write_str("a spooled file"),
            Self::Reader(source) => source.fmt(f),
        }
    }
}

/// Bytes in a store, without a name. They are gone when this is dropped.
pub struct StagedCrate {
    store: StoreId,
    id: ReleaseId,
    size: u64,
    memory_bytes: u64,
    body: Box<dyn Any + Send>,
}

impl StagedCrate {
    /// Wraps what a store needs to add a release to a batch.
    pub fn new(store: StoreId, id: &ReleaseId, size: u64, body: impl Any + Send) -> Self {
        Self { store, id: id.clone(), size, memory_bytes: 0, body: Box::new(body) }
    }

    /// Sets the number of bytes that it keeps in memory until it is committed.
    #[must_use]
    pub fn keeping(self, memory_bytes: u64) -> Self {
        Self { memory_bytes, ..self }
    }

    /// Returns the store that staged it.
    #[must_use]
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Returns the release.
    #[must_use]
    pub fn id(&self) -> &ReleaseId {
        &self.id
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the approximate number of bytes that it keeps in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Takes out the body that the store put in.
    ///
    /// # Errors
    /// [`StoreError::OtherStore`] when another kind of store staged it.
    pub fn into_body<T: Any>(self) -> Result<T, StoreError> {
        match self.body.downcast() {
            Ok(body) => Ok(*body),
            Err(_) => Err(StoreError::OtherStore { id: self.id }),
        }
    }
}

impl fmt::Debug for StagedCrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.id, self.size)
    }
}

/// The fate of bytes to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// They are not in the store any more.
    Gone,
    /// They stay where they are: the store never rewrites a sealed bundle.
    Kept,
}

/// The reason why a release is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aside {
    /// Its bytes differ from those of the index.
    Quarantine,
    /// Other bytes were published under its name.
    Replaced,
}

impl Aside {
    /// Returns the name of its directory in the mirror's state.
    #[must_use]
    pub const fn dir(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::Replaced => "replaced",
        }
    }
}

/// A release in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The release.
    pub id: ReleaseId,
    /// Its location.
    pub location: Location,
    /// Its length in bytes.
    pub size: u64,
    /// The checksum that the store was given; `None` where the store does not record it.
    pub sha256: Option<Sha256>,
}
