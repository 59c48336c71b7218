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

/// Keeps the bytes of releases. All of it blocks; any number of threads may read and stage, one at a time adds.
///
/// Bytes pass through three states: staged, added to a batch, committed. What is committed is durable, and its
/// [`Location`] reads the same bytes for as long as nothing removes or replaces it, in later processes, too. What is
/// only staged is gone when it is dropped. What was added to a batch that was dropped, that failed, or whose process
/// ended, may be there after the store is opened again, or not: but never torn, and never under the name of another
/// release. [`CrateStore::list`] then lists what is there.
///
/// A release that is committed again may replace what was there (then both have the same location), or stand beside
/// it. The location that was returned last reads the bytes that were committed last.
///
/// Checksums are taken on trust: the fetcher has hashed the bytes.
///
/// A new store passes `contract::run` (feature `contract`).
pub trait CrateStore: fmt::Debug + Send + Sync {
    /// Returns the number of the store, which all its locations carry.
    fn id(&self) -> StoreId;

    /// Takes the bytes of a release into the store, on any thread; they have no name yet and are not durable.
    ///
    /// # Errors
    /// When the body is shorter than it says, or what the disk refuses.
    fn stage(&self, new: NewCrate<'_>) -> Result<StagedCrate, StoreError>;

    /// Begins a batch, which may outlive the caller's hold on the store.
    ///
    /// # Errors
    /// [`StoreError::BatchOpen`] when the store takes one batch at a time and another is open; when it was opened for
    /// reading only.
    fn begin(self: Arc<Self>) -> Result<Box<dyn StoreBatch>, StoreError>;

    /// Opens a release where a commit placed it; `None` when nothing is there any more.
    ///
    /// # Errors
    /// When the location is none of this store's, something else than the release is there, it is damaged, or cannot
    /// be read.
    fn open(&self, id: &ReleaseId, at: &Location) -> Result<Option<OpenCrate>, StoreError>;

    /// Returns the length of a release in bytes; `None` when nothing is at its place. Does not look whether the bytes
    /// are whole.
    ///
    /// # Errors
    /// As [`CrateStore::open`].
    fn size(&self, id: &ReleaseId, at: &Location) -> Result<Option<u64>, StoreError> {
        Ok(self.open(id, at)?.map(|open| open.len()))
    }

    /// Hashes releases where commits placed them, in their order. Reads all of their bytes; a store that can hash
    /// several at once, or need not copy them, does better than this. Blocks.
    fn hash_each(&self, held: &[(&ReleaseId, &Location)]) -> Vec<Result<Hashed, StoreError>> {
        held.iter().map(|(id, at)| hash_open(self.open(id, at), id)).collect()
    }

    /// Removes releases, durably. What is not there is no error.
    ///
    /// # Errors
    /// When a location is none of this store's, or the disk refuses; some may be gone then.
    fn remove(&self, held: &[(ReleaseId, Location)]) -> Result<Removal, StoreError>;

    /// Takes a release out of the tree that is served, and keeps its bytes for a person to look at; `run` tells apart
    /// what several runs set aside. Not durable at once. What is not there is no error.
    ///
    /// # Errors
    /// As [`CrateStore::remove`].
    fn set_aside(&self, id: &ReleaseId, at: &Location, why: Aside, run: &str) -> Result<Removal, StoreError>;

    /// Passes each release that is committed to `visit`, in no certain order, until it breaks. Reads no bodies.
    ///
    /// # Errors
    /// When the store cannot be listed.
    fn list(&self, visit: &mut dyn FnMut(Listed) -> ControlFlow<()>) -> Result<(), StoreError>;
}

/// Releases that become durable together. Dropped, it commits nothing; see [`CrateStore`].
pub trait StoreBatch: fmt::Debug + Send {
    /// Adds what was staged in this store. May wait for what was added before.
    ///
    /// # Errors
    /// [`StoreError::OtherStore`] for what another kind of store staged; the fault that stopped the store.
    fn add(&mut self, staged: StagedCrate) -> Result<(), StoreError>;

    /// Makes durable what was added; returns where each of it is, in the order of the calls.
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
    /// Wraps what reads the bytes, which were written at this time.
    pub fn new(source: impl ReadAt + 'static, modified: SystemTime) -> Self {
        Self { source: Box::new(source), modified }
    }

    /// Returns when the bytes were written, as far as the store knows.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        self.modified
    }

    /// Returns their number.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// Returns whether there are none.
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
    /// `InvalidData` when the store finds them damaged; what the source of the bytes says otherwise.
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

    /// Returns whether an error of reading means that the release is damaged, not that the disk refuses.
    #[must_use]
    pub fn is_damage(error: &io::Error) -> bool {
        matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
    }
}

/// Bytes that are read at once.
const PIECE_BYTES: usize = 128 << 10;

/// Passes the bytes of a source on, piece by piece, until `take` breaks.
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

/// The object found where a release should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// Nothing.
    Missing,
    /// Something that cannot be read as a release: the store knows that it is damaged.
    Damaged,
    /// Bytes.
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

/// A release to be kept.
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
    /// [`StoreError::BodySize`] when it has another length than it says; when it cannot be read.
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
    /// In the stage of a mirror: a loose tree there takes the file itself.
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

/// Bytes in a store, without a name. Dropped, they are gone.
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

    /// Notes that it keeps so many bytes in memory until it is committed.
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

    /// Returns how many bytes it keeps in memory, about.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Takes out what the store put in.
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

/// The fate of bytes that were to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// They are not in the store any more.
    Gone,
    /// They stay where they are: the store never writes again what it has sealed.
    Kept,
}

/// Why a release is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aside {
    /// Its bytes are not those of the index.
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
    /// Its checksum as the store was given it; `None` where the store does not write that down.
    pub sha256: Option<Sha256>,
}
