//! Checks a directory or a tar against an inventory. Reads only.

use std::cmp::Ordering;
use std::fs::File;
use std::io::Read as _;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use mirror_types::Advice;
use sha2::Digest as _;

use crate::engine;
use crate::entry::{Entry, EntryKind};
use crate::error::{ArchiveError, Given};
use crate::hashes::{HashKind, hex};
use crate::inventory::{Inventory, Records, TarFacts};
use crate::monitor::Monitor;
use crate::names::{is_transient, shown, walk_order};
use crate::observe::ArchiveEvent;
use crate::record::What;
use crate::sign::Keys;
use crate::source::{Sink, Tree};
use crate::tar::Unpacker;
use crate::tasks::Work;
use crate::walk;

/// Longest detached signature that is read, bytes.
const MAX_SIGNATURE_BYTES: u64 = 64 * 1024;

/// The settings of a check.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// The inventory.
    pub inventory: PathBuf,
    /// The directory or tar to compare it with.
    pub against: Against,
    /// The file of the key that must have signed; `None` takes `{prefix}.public.asc` beside the inventory.
    pub public_key: Option<PathBuf>,
    /// True to skip the signature.
    pub skip_signature: bool,
    /// Digests of the whole to recompute, where the inventory has them. The digests of each file are
    /// always computed.
    pub hashes: Vec<HashKind>,
    /// Threads that hash; at least 1 is used.
    pub workers: usize,
}

impl VerifyOptions {
    /// Makes options that check the signature, the digests of each file, and the BLAKE3 of the whole.
    #[must_use]
    pub fn new(inventory: PathBuf, against: Against) -> Self {
        Self {
            inventory,
            against,
            public_key: None,
            skip_signature: false,
            hashes: vec![HashKind::Blake3],
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The object that an inventory is compared with.
#[derive(Debug, Clone)]
pub enum Against {
    /// None: only the inventory and its signature are checked.
    Nothing,
    /// A directory.
    Dir(PathBuf),
    /// A tar.
    Tar(PathBuf),
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// An entry differs.
    Changed {
        /// Its path, bytes.
        path: Vec<u8>,
        /// The respect in which it differs.
        how: &'static str,
    },
    /// An entry is missing.
    Missing(Vec<u8>),
    /// An entry is not in the inventory.
    Extra(Vec<u8>),
    /// A digest of the whole differs.
    Hash(HashKind),
    /// The tar is damaged outside of its contents.
    Tar(String),
    /// The signature is bad.
    Signature {
        /// The reason, in one line.
        why: String,
        /// Advice for a person.
        advice: Option<Advice>,
    },
}

impl Finding {
    /// Returns advice for a person that goes beyond the message.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Signature { advice, .. } => *advice,
            _ => None,
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Changed { path, how } => write!(f, "changed    {} ({how})", shown(path)),
            Self::Missing(path) => write!(f, "missing    {}", shown(path)),
            Self::Extra(path) => write!(f, "extra      {}", shown(path)),
            Self::Hash(kind) => write!(f, "digest     {kind} of the whole differs"),
            Self::Tar(why) => write!(f, "tar        {why}"),
            Self::Signature { why, .. } => write!(f, "signature  {why}"),
        }
    }
}

/// The result of checking the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureState {
    /// There is none.
    Unsigned,
    /// It was not checked.
    Skipped,
    /// It is good.
    Good {
        /// Fingerprint of the key.
        fingerprint: String,
        /// The first user id of the key.
        user: String,
        /// True if the caller named the key. Otherwise the key came with the inventory, and proves only that both
        /// belong together.
        known_key: bool,
        /// True if the detached signature was present and good, too.
        detached: bool,
    },
    /// It is bad; a [`Finding`] says why.
    Bad,
}

/// The result of a check.
#[derive(Debug)]
pub struct Verified {
    /// The signature.
    pub signature: SignatureState,
    /// Files that were compared.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Digests of the whole that were recomputed.
    pub hashes: Vec<HashKind>,
    /// Entries that differ.
    pub changed: u64,
    /// Entries that are missing.
    pub missing: u64,
    /// Entries that are not in the inventory.
    pub extra: u64,
    /// Other faults.
    pub other: u64,
}

impl Verified {
    /// Returns whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.changed + self.missing + self.extra + self.other == 0
    }
}

/// Counts findings and passes them on.
struct Findings<'a> {
    report: &'a mut dyn FnMut(&Finding),
    changed: u64,
    missing: u64,
    extra: u64,
    other: u64,
}

impl Findings<'_> {
    fn add(&mut self, finding: &Finding) {
        *match finding {
            Finding::Changed { .. } => &mut self.changed,
            Finding::Missing(_) => &mut self.missing,
            Finding::Extra(_) => &mut self.extra,
            Finding::Hash(_) | Finding::Tar(_) | Finding::Signature { .. } => &mut self.other,
        } += 1;
        (self.report)(finding);
    }

    fn all(&self) -> u64 {
        self.changed + self.missing + self.extra + self.other
    }
}

/// Checks an inventory, its signature, and what it describes. Each finding goes to `report` at once.
/// Blocks; uses `workers` threads besides the calling one; writes nothing.
///
/// # Errors
/// [`ArchiveError::Inventory`] for a damaged inventory; see [`ArchiveError`] for the others. A
/// difference is a [`Finding`], not an error.
pub fn verify(
    options: &VerifyOptions,
    monitor: &Monitor,
    report: &mut dyn FnMut(&Finding),
) -> Result<Verified, ArchiveError> {
    let inventory = Inventory::open(&options.inventory)?;
    monitor.check()?;
    let mut findings = Findings { report, changed: 0, missing: 0, extra: 0, other: 0 };
    let signature = check_signature(options, &inventory, &mut findings)?;
    monitor.check()?;
    let (files, bytes) = (inventory.head.files, inventory.head.bytes);
    monitor.emit(ArchiveEvent::Comparing { files, bytes });
    let wanted: Vec<HashKind> = inventory.head.hashes.iter().map(|(kind, _)| *kind).collect();
    let kinds: Vec<_> = wanted.into_iter().filter(|kind| options.hashes.contains(kind)).collect();
    let (files, bytes, hashes) = match &options.against {
        Against::Nothing => (0, 0, Vec::new()),
        Against::Dir(dir) => {
            let (files, bytes, whole) = check_dir(dir, options, &inventory, &kinds, monitor, &mut findings)?;
            (files, bytes, if whole { kinds } else { Vec::new() })
        }
        Against::Tar(tar) => {
            let (files, bytes) = check_tar(tar, options, &inventory, &kinds, monitor, &mut findings)?;
            (files, bytes, kinds)
        }
    };
    let Findings { changed, missing, extra, other, .. } = findings;
    Ok(Verified { signature, files, bytes, hashes, changed, missing, extra, other })
}

fn beside(inventory: &Path, extension: &str) -> PathBuf {
    inventory.with_extension(extension)
}

fn check_signature(
    options: &VerifyOptions,
    inventory: &Inventory,
    findings: &mut Findings<'_>,
) -> Result<SignatureState, ArchiveError> {
    if options.skip_signature {
        return Ok(SignatureState::Skipped);
    }
    let mut detached_at = options.inventory.as_os_str().to_owned();
    detached_at.push(".asc");
    let detached = read_detached(Path::new(&detached_at))?;
    let Some(signed) = &inventory.signed else {
        if detached.is_none() && options.public_key.is_none() {
            return Ok(SignatureState::Unsigned);
        }
        let why = "the inventory holds no signature, but one was expected";
        findings.add(&Finding::Signature { why: why.to_owned(), advice: None });
        return Ok(SignatureState::Bad);
    };
    let (file, known_key) = match &options.public_key {
        Some(file) => (file.clone(), true),
        None => (beside(&options.inventory, "public.asc"), false),
    };
    if !known_key && !file.exists() {
        return Err(ArchiveError::NoPublicKey { fingerprint: shown(signed.fingerprint.as_bytes()) });
    }
    let keys = Keys::load(&file)?;
    let good = keys.check(&signed.armored, inventory.unsigned_document()).and_then(|checked| {
        if checked.fingerprint != signed.fingerprint {
            return Err("it names a key other than the one that made it".to_owned());
        }
        match &detached {
            Some(armored) => keys
                .check(armored, inventory.document())
                .map_err(|why| format!("the detached signature: {why}")),
            None => Ok(checked),
        }
    });
    match good {
        Ok(checked) => Ok(SignatureState::Good {
            fingerprint: checked.fingerprint,
            user: checked.user,
            known_key,
            detached: detached.is_some(),
        }),
        Err(mut why) => {
            if !known_key {
                why.push_str(&format!("; it was checked with {}", file.display()));
            }
            let advice = (!known_key).then_some(Advice::NameThePublicKey);
            findings.add(&Finding::Signature { why, advice });
            Ok(SignatureState::Bad)
        }
    }
}

fn read_detached(at: &Path) -> Result<Option<String>, ArchiveError> {
    let file = match File::open(at) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ArchiveError::input("opening the signature", at)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_SIGNATURE_BYTES).read_to_end(&mut bytes).map_err(ArchiveError::io_at("reading", at))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Compares entries with those of the inventory as they arrive.
struct Comparer<'a, 'b> {
    records: Peekable<Records>,
    findings: &'a mut Findings<'b>,
    /// The metadata in the tar, which the inventory describes separately; `None` once it was compared.
    toml: Option<&'a TarFacts>,
    /// True if transient files of a mirror do not arrive here. Inventories of earlier versions list them.
    without_transient: bool,
    /// True if the inventory lists such files; its digests of the whole cover them, too.
    listed_transient: bool,
    files: u64,
    bytes: u64,
}

impl Comparer<'_, '_> {
    /// Reports every record before `path` as missing. Returns whether `path` itself has a record.
    fn skip_to(&mut self, path: Option<&[u8]>) -> Result<bool, ArchiveError> {
        while let Some(next) = self.records.peek() {
            let order = match (next, path) {
                (Err(_), _) | (_, None) => Ordering::Less,
                (Ok(record), Some(path)) => walk_order(&record.path, path),
            };
            if order != Ordering::Less {
                return Ok(order == Ordering::Equal);
            }
            let record = self.records.next().ok_or(ArchiveError::Internal("a record vanished"))??;
            if self.without_transient && is_transient(&record.path) {
                self.listed_transient = true;
            } else {
                self.findings.add(&Finding::Missing(record.path));
            }
        }
        Ok(false)
    }

    fn is_toml(&mut self, entry: &Entry) -> bool {
        let Some(tar) = self.toml.filter(|_| entry.is_metadata) else { return false };
        self.toml = None;
        if !entry.is_file() || entry.digests.sha256.get() != Some(&tar.toml_sha256) {
            self.findings.add(&Finding::Changed { path: entry.path.clone(), how: "contents" });
        }
        true
    }
}

impl Sink for Comparer<'_, '_> {
    fn entry(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        if self.is_toml(entry) {
            return Ok(());
        }
        if entry.is_file() {
            self.files += 1;
            self.bytes += entry.size_bytes;
        }
        if !self.skip_to(Some(&entry.path))? {
            self.findings.add(&Finding::Extra(entry.path.clone()));
            return Ok(());
        }
        let record = self.records.next().ok_or(ArchiveError::Internal("a record vanished"))??;
        if let Some(how) = difference(&record.what, entry) {
            self.findings.add(&Finding::Changed { path: record.path, how });
        }
        Ok(())
    }
}

fn difference(what: &What, entry: &Entry) -> Option<&'static str> {
    match (what, &entry.kind) {
        (What::File(file), EntryKind::File) => {
            let same = entry.digests.sha256.get() == Some(&file.sha256)
                && entry.digests.blake3.get() == Some(&file.blake3);
            if file.size_bytes != entry.size_bytes { Some("size") } else { (!same).then_some("contents") }
        }
        (What::Directory, EntryKind::Directory) => None,
        (What::Symlink(target), EntryKind::Symlink(now)) => (target != now).then_some("target"),
        _ => Some("kind"),
    }
}

fn tasks(kinds: &[HashKind]) -> Vec<Work> {
    let whole = kinds.iter().map(|kind| Work::Whole(kind.hasher()));
    whole.chain(Work::each()).collect()
}

/// Compares the digests of the whole, unless another finding already explains why they differ.
fn check_whole(done: Vec<Work>, inventory: &Inventory, findings: &mut Findings<'_>) {
    if findings.all() > 0 {
        return;
    }
    for task in done {
        let Work::Whole(hasher) = task else { continue };
        let kind = hasher.kind();
        if !inventory.head.hashes.contains(&(kind, hasher.finish())) {
            findings.add(&Finding::Hash(kind));
        }
    }
}

fn check_dir(
    dir: &Path,
    options: &VerifyOptions,
    inventory: &Inventory,
    kinds: &[HashKind],
    monitor: &Monitor,
    findings: &mut Findings<'_>,
) -> Result<(u64, u64, bool), ArchiveError> {
    let dir = dir.canonicalize().map_err(ArchiveError::open(Given::Directory, dir))?;
    if !dir.is_dir() {
        return Err(ArchiveError::WrongKind { given: Given::Directory, path: dir });
    }
    let (files, bytes) = walk::survey(&dir, |_| monitor.check())?;
    monitor.expect(files, bytes);
    let records = inventory.records().peekable();
    let toml = inventory.head.tar.as_ref();
    let comparer = Comparer {
        records,
        findings,
        toml,
        without_transient: true,
        listed_transient: false,
        files: 0,
        bytes: 0,
    };
    let name = toml.map(|facts| facts.toml.as_str());
    let mut tree = Tree::new(&dir, monitor, comparer)?.with_metadata(name);
    let done = engine::run(&mut tree, tasks(kinds), options.workers, monitor)?;
    tree.sink.skip_to(None)?;
    let Comparer { findings, listed_transient, files, bytes, .. } = tree.sink;
    if listed_transient {
        monitor.emit(ArchiveEvent::TransientListed);
        return Ok((files, bytes, false));
    }
    check_whole(done, inventory, findings);
    Ok((files, bytes, true))
}

fn check_tar(
    path: &Path,
    options: &VerifyOptions,
    inventory: &Inventory,
    kinds: &[HashKind],
    monitor: &Monitor,
    findings: &mut Findings<'_>,
) -> Result<(u64, u64), ArchiveError> {
    let Some(facts) = &inventory.head.tar else {
        return Err(ArchiveError::NoTar);
    };
    let file = File::open(path).map_err(ArchiveError::open(Given::Tar, path))?;
    let metadata = file.metadata().map_err(ArchiveError::input("looking at the tar", path))?;
    if !metadata.is_file() {
        return Err(ArchiveError::WrongKind { given: Given::Tar, path: path.to_owned() });
    }
    monitor.expect(inventory.head.files + 1, metadata.len());
    let records = inventory.records().peekable();
    let comparer = Comparer {
        records,
        findings,
        toml: Some(facts),
        without_transient: false,
        listed_transient: false,
        files: 0,
        bytes: 0,
    };
    let mut unpacker = Unpacker::new(file, &facts.toml, monitor, comparer);
    let mut tasks = tasks(kinds);
    tasks.push(Work::Raw(sha2::Sha256::new()));
    let mut done = engine::run(&mut unpacker, tasks, options.workers, monitor)?;
    if let Some((offset, why)) = unpacker.damage {
        unpacker
            .sink
            .findings
            .add(&Finding::Tar(format!("{why}, at byte {offset}; the rest was not compared")));
    } else {
        unpacker.sink.skip_to(None)?;
        if unpacker.sink.toml.is_some() {
            unpacker.sink.findings.add(&Finding::Missing(facts.toml.clone().into_bytes()));
        }
    }
    let Comparer { findings, files, bytes, .. } = unpacker.sink;
    let raw = match done.pop() {
        Some(Work::Raw(sha256)) => sha256.finalize(),
        _ => return Err(ArchiveError::Internal("the tar was not hashed")),
    };
    if metadata.len() != facts.size_bytes || raw[..] != facts.sha256 {
        let (len, wanted) = (metadata.len(), facts.size_bytes);
        findings.add(&Finding::Tar(format!(
            "it is not the tar that the inventory describes: {len} bytes with SHA-256 {}, not {wanted} bytes with {}",
            hex(&raw),
            hex(&facts.sha256)
        )));
    }
    check_whole(done, inventory, findings);
    Ok((files, bytes))
}
