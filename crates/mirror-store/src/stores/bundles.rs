use std::fs;
use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mirror_bundle::{
    BundleError, BundleFault, BundleMember, BundleOptions, BundleReader, BundleReport, BundleWriter,
    MAX_WINDOW_BYTES, Member, MemberBody, NewMember, OpenBundles, OpenMember, list_bundles, read_manifest,
    release_of,
};
use mirror_fs::{Fs, ReadAt};
use mirror_types::{Codec, Layout, Location, MemberLocation, ReleaseId, StoreId};

use super::crate_store::{
    Aside, CrateBody, CrateStore, Hashed, Listed, NewCrate, OpenCrate, Removal, StagedCrate, StoreBatch,
};
use crate::error::{StoreError, at};

/// Longest frame that is unpacked into memory, bytes.
const MAX_IN_MEMORY_BYTES: u64 = 1 << 20;

/// The bundles of a mirror: many releases in each file. A committed release stays where it is; committing it again adds
/// another copy.
///
/// Other threads compress what is added; see [`BundleWriter`]. Bytes of a dropped batch may be committed with the next
/// one.
#[derive(Debug)]
pub struct BundleStore {
    dir: PathBuf,
    layout: Layout,
    writer: Mutex<Writer>,
    open: OpenBundles,
}

/// The current writer.
#[derive(Debug)]
enum Writer {
    /// The bundles were opened for reading only.
    ReadOnly,
    /// No batch is open.
    Idle(Box<BundleWriter>),
    /// A batch, or the caller of `seal`, has the writer.
    Taken,
}

impl BundleStore {
    /// Opens a directory of bundles for writing, as [`BundleWriter::open`] does. New members have the paths of
    /// `layout`.
    ///
    /// # Errors
    /// As [`BundleWriter::open`].
    pub fn open(dir: &Path, layout: Layout, how: BundleOptions) -> Result<(Self, BundleReport), StoreError> {
        let (writer, report) = BundleWriter::open(dir, how)?;
        Ok((Self { writer: idle(writer), ..Self::to_read(dir, layout) }, report))
    }

    /// Opens a directory of bundles as [`BundleStore::open`] does, and changes it through `fs`: for tests that simulate
    /// faults.
    ///
    /// # Errors
    /// As [`BundleWriter::open`].
    pub fn open_on(
        fs: Arc<dyn Fs>,
        dir: &Path,
        layout: Layout,
        how: BundleOptions,
    ) -> Result<(Self, BundleReport), StoreError> {
        let (writer, report) = BundleWriter::open_on(fs, dir, how)?;
        Ok((Self { writer: idle(writer), ..Self::to_read(dir, layout) }, report))
    }

    /// Opens a directory of bundles for reading; takes no lock, writes nothing. A missing directory counts as empty.
    #[must_use]
    pub fn to_read(dir: &Path, layout: Layout) -> Self {
        let open = OpenBundles::new(dir.to_owned());
        Self { dir: dir.to_owned(), layout, writer: Mutex::new(Writer::ReadOnly), open }
    }

    /// Seals the partial bundle, whatever its size. Commits what was added before.
    ///
    /// # Errors
    /// As [`CrateStore::begin`] and [`StoreBatch::commit`].
    pub fn seal(&self) -> Result<(), StoreError> {
        let mut writer = self.take_writer()?;
        let sealed = writer.seal();
        self.set_writer(Writer::Idle(writer));
        sealed?;
        Ok(())
    }

    /// Ends writing, and releases the lock: from now on the bundles are read only.
    ///
    /// # Errors
    /// As [`CrateStore::begin`].
    pub fn close(&self) -> Result<(), StoreError> {
        let writer = self.take_writer()?;
        self.set_writer(Writer::ReadOnly);
        drop(writer);
        Ok(())
    }

    fn take_writer(&self) -> Result<Box<BundleWriter>, StoreError> {
        let mut state = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match mem::replace(&mut *state, Writer::Taken) {
            Writer::Idle(writer) => Ok(writer),
            Writer::Taken => Err(StoreError::BatchOpen { path: self.dir.clone() }),
            Writer::ReadOnly => {
                *state = Writer::ReadOnly;
                Err(StoreError::ReadOnly { path: self.dir.clone() })
            }
        }
    }

    fn set_writer(&self, writer: Writer) {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = writer;
    }

    fn member_at(&self, id: &ReleaseId, at: &Location) -> Result<MemberLocation, StoreError> {
        match at {
            Location::Member(member) if member.store == StoreId::BUNDLES && member.codec == Codec::Tar => {
                Ok(*member)
            }
            _ => Err(StoreError::OtherStore { id: id.clone() }),
        }
    }
}

impl CrateStore for BundleStore {
    fn id(&self) -> StoreId {
        StoreId::BUNDLES
    }

    /// Keeps the body as it is: bundles have no stage.
    fn stage(&self, new: NewCrate<'_>) -> Result<StagedCrate, StoreError> {
        let NewCrate { id, sha256, size, url, body } = new;
        let body = match body {
            CrateBody::Memory(bytes) => MemberBody::Memory(bytes),
            // The open file outlives its name.
            CrateBody::Spooled(spooled) => MemberBody::Reader(Box::new(spooled.reader()?)),
            CrateBody::Reader(source) => MemberBody::Reader(source),
        };
        let found = body.size();
        if found != size {
            return Err(StoreError::BodySize { id: id.clone(), found, said: size });
        }
        let memory_bytes = if matches!(body, MemberBody::Memory(_)) { size } else { 0 };
        let path = self.layout.path(id);
        let member = NewMember { id: id.clone(), path, url: url.to_owned(), sha256, body };
        Ok(StagedCrate::new(StoreId::BUNDLES, id, size, member).keeping(memory_bytes))
    }

    fn begin(self: Arc<Self>) -> Result<Box<dyn StoreBatch>, StoreError> {
        let writer = Some(self.take_writer()?);
        Ok(Box::new(BundleBatch { store: self, writer, added: 0 }))
    }

    fn open(&self, id: &ReleaseId, at: &Location) -> Result<Option<OpenCrate>, StoreError> {
        let member = self.member_at(id, at)?;
        let Some(bundle) = self.open.find(member)? else { return Ok(None) };
        if member.len <= MAX_IN_MEMORY_BYTES
            && let Some(bytes) = unpacked(&bundle.reader, id, member)?
        {
            return Ok(Some(OpenCrate::new(bytes, bundle.modified)));
        }
        let large = LargeMember::open(&bundle.reader, id, member)?;
        Ok(Some(OpenCrate::new(large, bundle.modified)))
    }

    /// Unpacks each member in its frame, and copies nothing. A missing bundle counts as damage.
    fn hash_each(&self, held: &[(&ReleaseId, &Location)]) -> Vec<Result<Hashed, StoreError>> {
        let hash = |(id, at): &(&ReleaseId, &Location)| {
            let found = self.open.hash(self.member_at(id, at)?, id)?;
            Ok(found.map_or(Hashed::Damaged, |(sha256, size)| Hashed::Bytes { sha256, size }))
        };
        held.iter().map(hash).collect()
    }

    /// Keeps the bytes: sealed bundles are never rewritten.
    fn remove(&self, held: &[(ReleaseId, Location)]) -> Result<Removal, StoreError> {
        held.iter().try_for_each(|(id, at)| self.member_at(id, at).map(drop))?;
        Ok(Removal::Kept)
    }

    /// Keeps the bytes where they are.
    fn set_aside(&self, id: &ReleaseId, at: &Location, _: Aside, _: &str) -> Result<Removal, StoreError> {
        self.member_at(id, at)?;
        Ok(Removal::Kept)
    }

    /// Reads the manifests; leaves out members of foreign bundles, which have no offsets.
    fn list(&self, visit: &mut dyn FnMut(Listed) -> ControlFlow<()>) -> Result<(), StoreError> {
        if !self.dir.is_dir() {
            return Ok(());
        }
        for bundle in list_bundles(&self.dir)? {
            let Some(manifest) = bundle.manifest.filter(|_| bundle.number.is_some()) else { continue };
            let len = fs::metadata(&bundle.path).map_err(at("look at", &bundle.path))?.len();
            let mut ended = false;
            read_manifest(&manifest, &mut |line| {
                if let Some(listed) = listed(&manifest, &line, len)? {
                    ended = ended || visit(listed).is_break();
                }
                Ok(())
            })?;
            if ended {
                break;
            }
        }
        Ok(())
    }
}

/// Returns the member of a line, when the line has its place in a bundle of `len` bytes.
fn listed(manifest: &Path, line: &BundleMember, len: u64) -> Result<Option<Listed>, BundleError> {
    let Some(at) = line.location() else { return Ok(None) };
    if at.offset.checked_add(at.len).is_none_or(|end| end > len) {
        return Ok(None);
    }
    let (id, _) = release_of(&line.bundle_member)
        .map_err(|fault| BundleError::damaged(manifest, Some(&line.bundle_member), Some(at.offset), fault))?;
    Ok(Some(Listed { id, location: at.into(), size: line.size, sha256: Some(line.sha256) }))
}

fn idle(writer: BundleWriter) -> Mutex<Writer> {
    Mutex::new(Writer::Idle(Box::new(writer)))
}

#[derive(Debug)]
struct BundleBatch {
    store: Arc<BundleStore>,
    /// The writer, given back when the batch ends.
    writer: Option<Box<BundleWriter>>,
    added: usize,
}

impl BundleBatch {
    fn writer(&mut self) -> Result<&mut BundleWriter, StoreError> {
        let ended = || StoreError::ReadOnly { path: self.store.dir.clone() };
        self.writer.as_deref_mut().ok_or_else(ended)
    }
}

impl Drop for BundleBatch {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.store.set_writer(Writer::Idle(writer));
        }
    }
}

impl StoreBatch for BundleBatch {
    fn add(&mut self, staged: StagedCrate) -> Result<(), StoreError> {
        let member = staged.into_body()?;
        self.writer()?.append(member)?;
        self.added += 1;
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<Vec<Location>, StoreError> {
        let placed = self.writer()?.commit()?;
        // Members of dropped batches come first.
        let own = placed.len().saturating_sub(self.added);
        Ok(placed[own..].iter().map(location_of).collect::<Result<_, _>>()?)
    }
}

fn location_of(member: &BundleMember) -> Result<Location, BundleError> {
    let nowhere = || misplaced(Path::new(&member.bundle_path), &member.bundle_member, 0);
    member.location().map(Location::from).ok_or_else(nowhere)
}

fn misplaced(path: &Path, member: &str, offset: u64) -> BundleError {
    BundleError::damaged(path, Some(member), Some(offset), BundleFault::Misplaced)
}

/// Unpacks the member of a frame, which must be `id`; `None` when it is too large for memory.
fn unpacked(
    reader: &BundleReader,
    id: &ReleaseId,
    at: MemberLocation,
) -> Result<Option<Vec<u8>>, BundleError> {
    let mut bytes = None;
    reader.read_at(at.offset, at.len, &mut |member: &mut Member<'_>| {
        if member.release() != id {
            return Err(misplaced(reader.path(), member.path(), at.offset));
        }
        bytes = member.bytes().map(<[u8]>::to_vec);
        Ok(())
    })?;
    Ok(bytes)
}

/// A member that is unpacked only as far as it is read. Reading forward is cheap; going back unpacks it from the
/// beginning.
#[derive(Debug)]
struct LargeMember {
    bundle: Arc<BundleReader>,
    at: MemberLocation,
    size: u64,
    stream: Mutex<OpenMember>,
}

impl LargeMember {
    fn open(bundle: &Arc<BundleReader>, id: &ReleaseId, at: MemberLocation) -> Result<Self, BundleError> {
        let stream = OpenMember::open(Arc::clone(bundle), at.offset, at.len, MAX_WINDOW_BYTES)?;
        if stream.release() != id {
            return Err(misplaced(bundle.path(), &stream.release().file_name(), at.offset));
        }
        Ok(Self { bundle: Arc::clone(bundle), at, size: stream.size(), stream: Mutex::new(stream) })
    }

    fn read(&self, out: &mut [u8], offset: u64) -> Result<(), BundleError> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if offset < stream.position() {
            *stream =
                OpenMember::open(Arc::clone(&self.bundle), self.at.offset, self.at.len, MAX_WINDOW_BYTES)?;
        }
        stream.skip_to(offset)?;
        stream.read_exact(out)
    }
}

impl ReadAt for LargeMember {
    fn len(&self) -> u64 {
        self.size
    }
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read(out, offset).map_err(|error| match error {
            BundleError::Io { source, .. } => source,
            error => io::Error::new(io::ErrorKind::InvalidData, error),
        })
    }
    /// Continues where the last read ended, when the frame is likely to be in memory.
    fn read_at_once(&self, out: &mut [u8], offset: u64) -> io::Result<bool> {
        let is_next = |stream: &OpenMember| stream.position() == offset && stream.is_at_hand();
        if !self.stream.try_lock().is_ok_and(|stream| is_next(&stream)) {
            return Ok(false);
        }
        self.read_exact_at(out, offset).map(|()| true)
    }
}
