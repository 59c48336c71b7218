use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use mirror_fs::{FileLock, Fs, LocalFs, ReadAt, SyncMode};
use mirror_types::{MirrorId, ReleaseId, Sha256};

use crate::error::{BundleError, at, lock};
use crate::fault::BundleFault;
use crate::limits::MAX_MEMBER_BYTES;
use crate::names;
use crate::pack::{Budget, Job, Loaded, Packed, pack_all};
use crate::partial::PartialBundle;
use crate::record::{BundleMember, FORMAT, first_member};
use crate::recover::{BundleReport, Recovery};

/// Most members that travel to a thread together: one wake-up instead of many.
const BATCH_MEMBERS: usize = 32;
/// Most bytes that travel together.
const BATCH_BYTES: u64 = 256 << 10;

/// The settings for writing bundles.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BundleOptions {
    /// A bundle of this many bytes is sealed, and the next one begun.
    pub bundle_bytes: u64,
    /// Level of zstd. Default -1: crates are already compressed, so it packs the tar headers and the few others as well
    /// as level 1 does, in half the time.
    pub level: i32,
    /// Threads that compress; 0 means one for each processor, at most four.
    pub threads: usize,
    /// Most members that may wait to be compressed and written.
    pub queue_items: usize,
    /// Most bytes of members that may wait.
    pub queue_bytes: u64,
    /// The base of the URLs of members that recovery lists again; see [`ReleaseId::readable_url`].
    pub base_url: String,
    /// Hash all members of a partial bundle that is continued. By default only the last one is hashed, because reading
    /// gigabytes would make every run slow; `extract-bundles --verify` finds later decay.
    pub verify_committed: bool,
    /// The mirror that the bundles belong to; bundles of another one are refused.
    pub mirror: Option<MirrorId>,
}

impl Default for BundleOptions {
    fn default() -> Self {
        Self {
            bundle_bytes: 8 << 30,
            level: -1,
            threads: 0,
            queue_items: 2_048,
            queue_bytes: 64 << 20,
            base_url: mirror_types::upstream::crates_base_url(),
            verify_committed: false,
            mirror: None,
        }
    }
}

/// The data of a new member.
pub enum MemberBody {
    /// In memory.
    Memory(Box<dyn AsRef<[u8]> + Send>),
    /// Read while it is compressed and appended, in constant memory.
    Reader(Box<dyn ReadAt>),
}

impl MemberBody {
    /// Returns the length of the data in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => (**bytes).as_ref().len() as u64,
            Self::Reader(source) => source.len(),
        }
    }
}

impl std::fmt::Debug for MemberBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory(_) => write!(f, "{} bytes", self.size()),
            Self::Reader(source) => source.fmt(f),
        }
    }
}

/// A member to be appended. Its checksum is trusted: the fetcher has hashed the bytes.
#[derive(Debug)]
pub struct NewMember {
    /// The release.
    pub id: ReleaseId,
    /// Its path in the layout of the mirror.
    pub path: String,
    /// The address that it came from, readable form.
    pub url: String,
    /// Checksum of the data.
    pub sha256: Sha256,
    /// The data.
    pub body: MemberBody,
}

enum Message {
    Packed(Receiver<std::io::Result<Packed>>),
    Large(Box<BundleMember>, Box<dyn ReadAt>),
    Commit { seal: bool, answer: Sender<Result<Vec<BundleMember>, BundleError>> },
}

/// Appends members to rolling bundles in one directory. Blocking code; one writer at a time holds the lock.
///
/// ```text
/// let (mut writer, report) = BundleWriter::open(dir, BundleOptions::default())?;  // lock, recovery
/// // report.relisted: members of an earlier run that had not been reported as committed
/// writer.append(NewMember { id, path, url, sha256, body: MemberBody::Memory(Box::new(bytes)) })?;  // many
/// let placed: Vec<BundleMember> = writer.commit()?;   // durable; in the order of the calls
/// // now record them in manifest and catalogue: bundle_path, frame_offset, frame_len
/// drop(writer);       // the bundle is appended to in the next run; or writer.seal()? before
/// ```
/// `append` hands members in chunks to threads that compress; one thread appends the frames in the order of
/// the calls. `commit` syncs the bundle, then appends the lines of its manifest and syncs those. What is
/// listed is therefore durable; a run that is killed leaves at most whole or torn frames behind what is
/// listed, which the next `open` lists or cuts. A bundle of at least [`BundleOptions::bundle_bytes`] is
/// sealed, at a commit or between two members, and never touched again. The same path twice also begins a new bundle.
///
/// A run should leave its bundle partial (`.partial`), or incremental runs with a few new releases would leave
/// thousands of small bundles. Readers take partial bundles as far as their manifest lists them.
///
/// Memory: the waiting members ([`BundleOptions::queue_bytes`]), a few buffers, and some 50 bytes for each member of
/// the partial bundle.
#[derive(Debug)]
pub struct BundleWriter {
    jobs: Option<Sender<Job>>,
    messages: Option<Sender<Message>>,
    budget: Arc<Budget>,
    broken: Arc<AtomicBool>,
    batch: MemberBatch,
    threads: Vec<JoinHandle<()>>,
    dir: PathBuf,
    mirror: Option<MirrorId>,
    _lock: FileLock,
}

/// Refuses a directory in which a bundle names another mirror as its owner. Reads the first line of each bundle's
/// manifest; blocks. A missing directory is no error.
///
/// # Errors
/// `OthersBundles`, or when a manifest cannot be read.
pub fn refuse_others(dir: &Path, mirror: MirrorId) -> Result<(), BundleError> {
    if !dir.is_dir() {
        return Ok(());
    }
    for bundle in names::list_bundles(dir)? {
        let Some(manifest) = &bundle.manifest else { continue };
        let owner = first_member(manifest)?.and_then(|member| member.mirror);
        if let Some(owner) = owner.filter(|owner| *owner != mirror) {
            return Err(BundleError::OthersBundles { dir: dir.to_owned(), owner, mirror });
        }
    }
    Ok(())
}

#[derive(Default)]
struct MemberBatch {
    members: Vec<Loaded>,
    bytes: u64,
}

impl std::fmt::Debug for MemberBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} members", self.members.len())
    }
}

impl BundleWriter {
    /// Opens a directory of bundles, or makes it: takes the lock, repairs what an interrupted run left, continues the
    /// partial bundle or the numbering.
    ///
    /// # Errors
    /// `Locked` when another writer holds it; an integrity fault when a committed member is damaged; when the disk
    /// refuses.
    pub fn open(dir: &Path, options: BundleOptions) -> Result<(Self, BundleReport), BundleError> {
        Self::open_on(Arc::new(LocalFs::new(SyncMode::EachFile)), dir, options)
    }

    /// Opens a directory of bundles as [`BundleWriter::open`] does, and changes it through `fs`: for tests that
    /// simulate faults.
    ///
    /// # Errors
    /// As [`BundleWriter::open`].
    pub fn open_on(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: BundleOptions,
    ) -> Result<(Self, BundleReport), BundleError> {
        mirror_fs::make_root(dir).map_err(at("create", dir))?;
        let lock = lock(dir, &dir.join(names::LOCK))?;
        if let Some(mirror) = options.mirror {
            refuse_others(dir, mirror)?;
        }
        let mut recovery = Recovery {
            fs: &fs,
            dir,
            base_url: &options.base_url,
            verify_committed: options.verify_committed,
            level: options.level,
            mirror: options.mirror,
            report: BundleReport::default(),
        };
        let (partial, next) = recovery.run()?;
        let report = recovery.report;
        let budget = Arc::new(Budget::new(options.queue_bytes));
        let broken = Arc::new(AtomicBool::new(false));
        let threads = match options.threads {
            0 => thread::available_parallelism().map_or(1, usize::from).min(4),
            n => n,
        };
        let waiting = (options.queue_items / BATCH_MEMBERS).max(2);
        let (jobs, job_queue) = bounded::<Job>(waiting);
        let (messages, message_queue) = bounded::<Message>(waiting);
        let mut handles = Vec::new();
        for _ in 0..threads {
            let (queue, level) = (job_queue.clone(), options.level);
            handles.push(spawn("bundle-pack", dir, move || pack_all(&queue, level))?);
        }
        let mirror = options.mirror;
        let appender = Appender {
            fs,
            dir: dir.to_owned(),
            options,
            partial,
            next,
            placed: Vec::new(),
            budget: budget.clone(),
            broken: broken.clone(),
            fault: None,
        };
        handles.push(spawn("bundle-append", dir, move || appender.run(&message_queue))?);
        let writer = Self {
            jobs: Some(jobs),
            messages: Some(messages),
            mirror,
            budget,
            broken,
            batch: MemberBatch::default(),
            threads: handles,
            dir: dir.to_owned(),
            _lock: lock,
        };
        Ok((writer, report))
    }

    /// Takes a member. Other threads compress and append it, in the order of the calls; waits when too much is queued.
    /// Not durable before [`BundleWriter::commit`].
    ///
    /// # Errors
    /// When the path is not that of the release in either layout; the fault that stopped the appender.
    pub fn append(&mut self, member: NewMember) -> Result<(), BundleError> {
        let NewMember { id, path, url, sha256, body } = member;
        if !names::release_of(&path).is_ok_and(|_| names::is_path_of(&path, &id)) {
            return Err(BundleError::UnsafePath { path });
        }
        let size = body.size();
        // A member that readers would refuse is not written. The limit also fits the seek table.
        if size > MAX_MEMBER_BYTES {
            let fault = BundleFault::TooLarge { size, limit: MAX_MEMBER_BYTES };
            return Err(BundleError::damaged(&self.dir, Some(&path), None, fault));
        }
        let line = BundleMember {
            url,
            crate_name: id.name.to_string(),
            version: Some(id.version.to_string()),
            bundle_path: String::new(),
            bundle_member: path,
            size,
            sha256,
            frame_offset: None,
            frame_len: None,
            format: Some(FORMAT),
            mirror: self.mirror,
        };
        match body {
            MemberBody::Memory(bytes) => {
                if !self.budget.try_take(size) {
                    // Members in this batch would never be written while this waits for them.
                    self.dispatch()?;
                    self.budget.take(size);
                }
                self.batch.members.push((line, bytes));
                self.batch.bytes += size;
                if self.batch.members.len() >= BATCH_MEMBERS || self.batch.bytes >= BATCH_BYTES {
                    self.dispatch()?;
                }
            }
            MemberBody::Reader(source) => {
                self.dispatch()?;
                self.send(Message::Large(Box::new(line), source))?;
            }
        }
        if self.broken.load(Ordering::Relaxed) { self.ask(false).map(|_| ()) } else { Ok(()) }
    }

    /// Makes all appended members durable: the data first, then the lines of the manifest. Returns, in the order of the
    /// calls, the places of the members appended since the last commit. Blocks.
    ///
    /// # Errors
    /// When the disk refuses. The writer cannot be used any more then: drop it; the next one recovers what was
    /// committed.
    pub fn commit(&mut self) -> Result<Vec<BundleMember>, BundleError> {
        self.dispatch()?;
        self.ask(false)
    }

    /// Commits, and seals the partial bundle, whatever its size. The next member begins another one.
    ///
    /// # Errors
    /// As [`BundleWriter::commit`].
    pub fn seal(&mut self) -> Result<Vec<BundleMember>, BundleError> {
        self.dispatch()?;
        self.ask(true)
    }

    fn dispatch(&mut self) -> Result<(), BundleError> {
        let MemberBatch { members, .. } = std::mem::take(&mut self.batch);
        if members.is_empty() {
            return Ok(());
        }
        let (done, packed) = bounded(1);
        // The appender gets its message first, which keeps the order; it waits for the frames.
        self.send(Message::Packed(packed))?;
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Job { members, done }).is_ok());
        if sent { Ok(()) } else { Err(self.ended()) }
    }

    fn send(&self, message: Message) -> Result<(), BundleError> {
        let sent = self.messages.as_ref().is_some_and(|messages| messages.send(message).is_ok());
        if sent { Ok(()) } else { Err(self.ended()) }
    }

    fn ask(&self, seal: bool) -> Result<Vec<BundleMember>, BundleError> {
        let (answer, answered) = bounded(1);
        self.send(Message::Commit { seal, answer })?;
        answered.recv().unwrap_or_else(|_| Err(self.ended()))
    }

    fn ended(&self) -> BundleError {
        at("append to a bundle in", &self.dir)(std::io::Error::other("a thread of the writer ended"))
    }
}

/// Leaves uncommitted members in the file; the next writer lists those that are whole.
impl Drop for BundleWriter {
    fn drop(&mut self) {
        self.jobs = None;
        self.messages = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn spawn(
    name: &str,
    dir: &Path,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, BundleError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(at("start a thread for", dir))
}

/// The one thread that writes.
struct Appender {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: BundleOptions,
    partial: Option<PartialBundle>,
    next: u32,
    /// Committed, but not yet returned.
    placed: Vec<BundleMember>,
    budget: Arc<Budget>,
    broken: Arc<AtomicBool>,
    fault: Option<BundleError>,
}

impl Appender {
    fn run(mut self, messages: &Receiver<Message>) {
        for message in messages {
            let done = match message {
                Message::Packed(packed) => match packed.recv() {
                    Ok(packed) => self.packed(packed),
                    Err(_) => Err(self.stopped("a thread that compresses ended")),
                },
                Message::Large(member, large) => self.large(*member, &*large),
                Message::Commit { seal, answer } => {
                    let committed = self.commit(seal);
                    if committed.is_err() {
                        self.give_up();
                    }
                    let _ = answer.send(committed);
                    Ok(())
                }
            };
            if let Err(error) = done {
                self.give_up();
                self.fault.get_or_insert(error);
            }
        }
    }

    fn stopped(&self, why: &str) -> BundleError {
        at("append to a bundle in", &self.dir)(std::io::Error::other(why.to_owned()))
    }

    fn give_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
        self.budget.lift();
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn packed(&mut self, packed: std::io::Result<Packed>) -> Result<(), BundleError> {
        let Packed { data, members, bytes } = packed.map_err(at("compress for a bundle in", &self.dir))?;
        self.budget.give_back(bytes);
        if self.is_broken() {
            return Ok(());
        }
        let mut start = 0;
        let mut run = Vec::with_capacity(members.len());
        let mut end = 0;
        for (member, len, size) in members {
            // A path may occur only once in a bundle; a full bundle takes no more.
            let full = self.len() + (end - start) as u64 >= self.options.bundle_bytes;
            if full || self.holds(&member.bundle_member, &run) {
                self.write(&data[start..end], std::mem::take(&mut run))?;
                self.roll()?;
                start = end;
            }
            end += len as usize;
            run.push((member, len, size));
        }
        self.write(&data[start..end], run)
    }

    fn holds(&self, path: &str, run: &[(BundleMember, u32, u32)]) -> bool {
        run.iter().any(|(member, ..)| member.bundle_member == path)
            || self.partial.as_ref().is_some_and(|partial| partial.seen.contains(path))
    }

    fn len(&self) -> u64 {
        self.partial.as_ref().map_or(0, |partial| partial.bundle.len())
    }

    fn partial(&mut self) -> Result<&mut PartialBundle, BundleError> {
        match &mut self.partial {
            Some(partial) => Ok(partial),
            none => {
                let partial = PartialBundle::open(&self.fs, &self.dir, self.next)?;
                self.next += 1;
                Ok(none.insert(partial))
            }
        }
    }

    fn write(&mut self, data: &[u8], run: Vec<(BundleMember, u32, u32)>) -> Result<(), BundleError> {
        if run.is_empty() { Ok(()) } else { self.partial()?.append(data, run) }
    }

    fn large(&mut self, member: BundleMember, large: &dyn ReadAt) -> Result<(), BundleError> {
        if self.is_broken() {
            return Ok(());
        }
        if self.len() >= self.options.bundle_bytes || self.holds(&member.bundle_member, &[]) {
            self.roll()?;
        }
        let level = self.options.level;
        self.partial()?.append_large(member, large, level)
    }

    /// Commits, and seals the partial bundle.
    fn roll(&mut self) -> Result<(), BundleError> {
        if let Some(mut partial) = self.partial.take() {
            self.placed.extend(partial.commit()?);
            partial.seal(self.options.level)?;
        }
        Ok(())
    }

    fn commit(&mut self, seal: bool) -> Result<Vec<BundleMember>, BundleError> {
        if self.is_broken() {
            let fault = self.fault.take();
            return Err(fault.unwrap_or_else(|| self.stopped("it failed before; run the same command again")));
        }
        if let Some(partial) = &mut self.partial {
            let placed = partial.commit()?;
            self.placed.extend(placed);
        }
        if self.partial.as_ref().is_some_and(|partial| partial.extent.entries > 0)
            && (seal || self.len() >= self.options.bundle_bytes)
        {
            self.roll()?;
        }
        Ok(std::mem::take(&mut self.placed))
    }
}
