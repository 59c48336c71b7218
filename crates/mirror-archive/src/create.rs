//! Makes an inventory, a signature, a tar and a ZIP in one pass over a directory.

use std::io::{BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::Digest as _;

use crate::engine;
use crate::entry::Entry;
use crate::error::{ArchiveError, Given};
use crate::hashes::HashKind;
use crate::inventory::{Head, TarFacts, ZipFacts, date, insert_signature, write_toml, write_yaml};
use crate::monitor::Monitor;
use crate::names::shown;
use crate::observe::ArchiveEvent;
use crate::passphrase::Passphrase;
use crate::publish::{self, Lock, Temp};
use crate::record::{Record, Spool};
use crate::sign::Signer;
use crate::source::{Sink, Tree};
use crate::tar::{Packed, Packer};
use crate::tasks::Work;
use crate::walk;
use crate::zip::Zipper;

/// The settings for archiving a directory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CreateOptions {
    /// The directory.
    pub dir: PathBuf,
    /// The directory for the outputs; `None` puts them beside the archived directory.
    pub out_dir: Option<PathBuf>,
    /// The name of the outputs; `None` takes that of the directory.
    pub prefix: Option<String>,
    /// Digests of the whole directory.
    pub hashes: Vec<HashKind>,
    /// Threads that hash; at least 1 is used.
    pub workers: usize,
    /// True to pack the directory into a tar, too.
    pub tar: bool,
    /// True to pack the directory into a ZIP, too.
    pub zip: bool,
    /// The key to sign with, if any.
    pub signing: Signing,
}

impl CreateOptions {
    /// Makes options that inventory a directory with all digests and pack it into a tar, beside it and unsigned.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            out_dir: None,
            prefix: None,
            hashes: HashKind::ALL.to_vec(),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            tar: true,
            zip: false,
            signing: Signing::No,
        }
    }
}

/// The key to sign with.
#[derive(Debug, Clone)]
pub enum Signing {
    /// None: the outputs are not signed.
    No,
    /// An armored private key.
    Key {
        /// Its file.
        file: PathBuf,
        /// The passphrase that unlocks it.
        passphrase: Option<Passphrase>,
    },
    /// The key in `{prefix}.secret.asc`. If there is none, a new Ed25519 key is generated and kept there.
    Own {
        /// The passphrase that unlocks it.
        passphrase: Option<Passphrase>,
    },
}

/// The result of a run.
#[derive(Debug)]
pub struct Created {
    /// The inventory.
    pub inventory: PathBuf,
    /// The detached signature.
    pub signature: Option<PathBuf>,
    /// The tar.
    pub tar: Option<PathBuf>,
    /// The ZIP.
    pub zip: Option<PathBuf>,
    /// The key that signed.
    pub key: Option<UsedKey>,
    /// Regular files.
    pub files: u64,
    /// Directories below the directory.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of all regular files.
    pub bytes: u64,
    /// Digests of the whole directory, hexadecimal.
    pub hashes: Vec<(HashKind, String)>,
    /// Notes for a person.
    pub notes: Vec<String>,
}

/// The key that signed.
#[derive(Debug)]
pub struct UsedKey {
    /// Fingerprint of the primary key.
    pub fingerprint: String,
    /// The secret and the public file, if the key is kept with the outputs.
    pub own: Option<(PathBuf, PathBuf)>,
    /// True if this run generated it.
    pub new: bool,
}

/// Extensions of all files that a run may have under a temporary name.
const OUTPUTS: [&str; 9] =
    ["entries", "members", "tar", "zip", "unsigned", "yaml", "yaml.asc", "secret.asc", "public.asc"];

/// The archives of a run, under temporary names.
struct Archives {
    tar: Option<Temp>,
    zip: Option<Temp>,
}

impl Archives {
    fn begin(options: &CreateOptions, targets: &Targets) -> Result<Self, ArchiveError> {
        let begin = |wanted: bool, name| wanted.then(|| Temp::beside(&targets.path(name), false)).transpose();
        Ok(Self { tar: begin(options.tar, "tar")?, zip: begin(options.zip, "zip")? })
    }

    fn sync(&self) -> Result<(), ArchiveError> {
        self.tar.iter().chain(&self.zip).try_for_each(Temp::sync)
    }
}

/// The outputs of a run.
struct Targets {
    directory: PathBuf,
    prefix: String,
}

impl Targets {
    fn path(&self, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", self.prefix))
    }

    fn toml(&self) -> String {
        format!("{}.toml", self.prefix)
    }
}

/// Reads a directory once; hashes and inventories it, and packs and signs it if asked to. Blocks; uses
/// `workers` threads besides the calling one. Publishes nothing unless everything is complete.
///
/// # Errors
/// See [`ArchiveError`]; nothing was published then, unless publishing itself failed.
pub fn create(options: &CreateOptions, monitor: &Monitor) -> Result<Created, ArchiveError> {
    let dir = options.dir.canonicalize().map_err(ArchiveError::open(Given::Directory, &options.dir))?;
    if !dir.is_dir() {
        return Err(ArchiveError::WrongKind { given: Given::Directory, path: options.dir.clone() });
    }
    let targets = targets(options, &dir)?;
    let given = given_signer(options)?;
    survey(&dir, options, &targets, monitor)?;
    publish::make_directory(&targets.directory)?;
    let _lock = Lock::take(&targets.directory, &targets.prefix)?;
    for extension in OUTPUTS {
        publish::remove_leftover(&targets.path(extension))?;
    }
    // Under the lock: another run may just have generated a key.
    let (signer, key) = match given {
        Some(signer) => {
            let key = UsedKey { fingerprint: signer.fingerprint(), own: None, new: false };
            (Some(signer), Some(key))
        }
        None => own_signer(options, &targets)?,
    };
    let spooled = Temp::beside(&targets.path("entries"), true)?;
    let mut spool = Spool::new(spooled.handle()?);
    let archives = Archives::begin(options, &targets)?;
    let head = read_all(&dir, options, &targets, &mut spool, &archives, monitor)?;
    monitor.check()?;
    monitor.emit(ArchiveEvent::WritingInventory);
    let documents = documents(&targets, &head, &mut spool, signer.as_ref().zip(key.as_ref()), monitor)?;
    archives.sync()?;
    monitor.check()?;
    publish_all(&targets, documents, archives, key, head)
}

/// Checks names and sizes, so that a refusal comes before anything is written.
fn survey(
    dir: &Path,
    options: &CreateOptions,
    targets: &Targets,
    monitor: &Monitor,
) -> Result<(), ArchiveError> {
    let toml = targets.toml();
    let (files, bytes) = walk::survey(dir, |path| {
        monitor.check()?;
        if options.tar && path == toml.as_bytes() {
            return Err(ArchiveError::NameTaken { name: shown(path) });
        }
        Ok(())
    })?;
    monitor.expect(files, bytes);
    monitor.emit(ArchiveEvent::Reading { dir, files, bytes });
    Ok(())
}

/// Makes the single pass: spools entries, runs their contents through all tasks, and completes the archives.
fn read_all(
    dir: &Path,
    options: &CreateOptions,
    targets: &Targets,
    spool: &mut Spool,
    archives: &Archives,
    monitor: &Monitor,
) -> Result<Head, ArchiveError> {
    let now = Timestamp::now().as_second();
    let mut tasks: Vec<Work> = options.hashes.iter().map(|kind| Work::Whole(kind.hasher())).collect();
    tasks.extend(Work::each());
    if let Some(tar) = &archives.tar {
        tasks.push(Work::Pack(Box::new(Packer::new(tar.handle()?))));
    }
    // Gone when the pass is over: it is in the ZIP then.
    let members = archives.zip.as_ref().map(|_| Temp::beside(&targets.path("members"), false)).transpose()?;
    if let Some((zip, members)) = archives.zip.as_ref().zip(members.as_ref()) {
        tasks.push(Work::Zip(Box::new(Zipper::new(zip.handle()?, members.handle()?))));
    }
    let mut tree = Tree::new(dir, monitor, Collector { spool, monitor })?;
    let done = engine::run(&mut tree, tasks, options.workers, monitor)?;
    let spool = tree.sink.spool;
    let mut head = head(dir, now, spool)?;
    let mut packer = None;
    for task in done {
        match task {
            Work::Whole(hasher) => head.hashes.push((hasher.kind(), hasher.finish())),
            Work::Pack(pack) => packer = Some(pack),
            Work::Zip(zipper) => {
                let Packed { size_bytes, sha256 } = zipper.finish()?;
                head.zip = Some(ZipFacts { name: format!("{}.zip", targets.prefix), size_bytes, sha256 });
            }
            Work::EachSha256(_) | Work::EachBlake3(_) | Work::Raw(_) => {}
        }
    }
    if let Some(packer) = packer {
        head.tar = Some(pack_metadata(*packer, targets, &head, spool, now)?);
    }
    Ok(head)
}

/// Spools finished entries.
struct Collector<'a> {
    spool: &'a mut Spool,
    monitor: &'a Monitor,
}

impl Sink for Collector<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        if entry.is_file() && date(entry.modified_s).is_none() {
            let source = std::io::Error::other("its modification time is outside the years 0 to 9999");
            return Err(ArchiveError::Io { what: "recording", path: entry.path.clone(), source });
        }
        self.monitor.emit(ArchiveEvent::Archived { path: &entry.path, bytes: entry.size_bytes });
        self.spool.push(&Record::of(entry)?)
    }
}

fn targets(options: &CreateOptions, dir: &Path) -> Result<Targets, ArchiveError> {
    let prefix = match &options.prefix {
        Some(prefix) => prefix.clone(),
        None => match dir.file_name().map(|name| name.to_str()) {
            Some(Some(name)) => name.to_owned(),
            Some(None) => {
                return Err(ArchiveError::Unnamed { why: "the name of the directory is not UTF-8" });
            }
            None => {
                return Err(ArchiveError::Unnamed { why: "the directory has no name" });
            }
        },
    };
    let has = |c: char| c == '/' || c == '\\' || c.is_control();
    if prefix.is_empty()
        || prefix.len() > 200
        || prefix.contains(has)
        || prefix.starts_with("..")
        || prefix == "."
    {
        return Err(ArchiveError::BadName { name: prefix });
    }
    let directory = match &options.out_dir {
        Some(directory) => directory.clone(),
        None => dir.parent().map(Path::to_owned).ok_or(ArchiveError::NothingBeside)?,
    };
    // The directory may not exist yet; its nearest existing parent shows where it will be.
    let mut there = std::path::absolute(&directory).map_err(ArchiveError::input("finding", &directory))?;
    while !there.exists() && there.pop() {}
    let real = there.canonicalize().map_err(ArchiveError::input("finding", &there))?;
    if real.starts_with(dir) {
        return Err(ArchiveError::OutputInside(directory));
    }
    Ok(Targets { directory, prefix })
}

/// Loads and tries the given key, before anything is read or written.
fn given_signer(options: &CreateOptions) -> Result<Option<Signer>, ArchiveError> {
    match &options.signing {
        Signing::Key { file, passphrase } => Signer::load(file, passphrase.as_ref()).map(Some),
        Signing::No | Signing::Own { .. } => Ok(None),
    }
}

/// Returns the key of an earlier run, or a new one that is not saved yet.
fn own_signer(
    options: &CreateOptions,
    targets: &Targets,
) -> Result<(Option<Signer>, Option<UsedKey>), ArchiveError> {
    let Signing::Own { passphrase } = &options.signing else { return Ok((None, None)) };
    let (secret, public) = (targets.path("secret.asc"), targets.path("public.asc"));
    let new = !secret.exists();
    let signer = if new {
        Signer::generate(&targets.prefix, passphrase.as_ref())?
    } else {
        Signer::load(&secret, passphrase.as_ref())?
    };
    let key = UsedKey { fingerprint: signer.fingerprint(), own: Some((secret, public)), new };
    Ok((Some(signer), Some(key)))
}

fn head(dir: &Path, now: i64, spool: &Spool) -> Result<Head, ArchiveError> {
    let name = dir.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
    Ok(Head {
        date: date(now).ok_or(ArchiveError::Internal("this machine's clock has no date"))?,
        generator: concat!("archive-hasher ", env!("CARGO_PKG_VERSION")).to_owned(),
        name,
        files: spool.files,
        directories: spool.directories,
        symlinks: spool.symlinks,
        bytes: spool.bytes,
        hashes: Vec::new(),
        tar: None,
        zip: None,
    })
}

/// Adds the legacy metadata to the tar and ends it.
fn pack_metadata(
    mut packer: Packer,
    targets: &Targets,
    head: &Head,
    spool: &mut Spool,
    now: i64,
) -> Result<TarFacts, ArchiveError> {
    let mut measure = Measure { sha256: sha2::Sha256::new(), size_bytes: 0 };
    write_toml(&mut measure, head, spool)?;
    let (toml, size_bytes) = (targets.toml(), measure.size_bytes);
    packer.file(toml.as_bytes(), size_bytes, now, |out| {
        let mut out = BufWriter::new(out);
        write_toml(&mut out, head, spool)?;
        out.flush().map_err(ArchiveError::io("writing the metadata to", b"the tar"))
    })?;
    let Packed { size_bytes, sha256 } = packer.finish()?;
    Ok(TarFacts {
        name: format!("{}.tar", targets.prefix),
        size_bytes,
        sha256,
        toml,
        toml_size_bytes: measure.size_bytes,
        toml_sha256: measure.sha256.finalize().into(),
    })
}

struct Measure {
    sha256: sha2::Sha256,
    size_bytes: u64,
}

impl std::io::Write for Measure {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.sha256.update(data);
        self.size_bytes += data.len() as u64;
        Ok(data.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The documents of a run, synced, under temporary names.
struct Documents {
    inventory: Temp,
    signature: Option<Temp>,
    secret: Option<Temp>,
    public: Option<Temp>,
}

fn documents(
    targets: &Targets,
    head: &Head,
    spool: &mut Spool,
    signer: Option<(&Signer, &UsedKey)>,
    monitor: &Monitor,
) -> Result<Documents, ArchiveError> {
    let failed = || ArchiveError::io("writing", b"the inventory");
    let plain = Temp::beside(&targets.path(if signer.is_some() { "unsigned" } else { "yaml" }), false)?;
    let mut out = BufWriter::new(plain.handle()?);
    let at = write_yaml(&mut out, head, spool)?;
    out.flush().map_err(failed())?;
    monitor.check()?;
    let Some((signer, key)) = signer else {
        plain.sync()?;
        return Ok(Documents { inventory: plain, signature: None, secret: None, public: None });
    };
    let rewound = |temp: &Temp| -> Result<std::io::BufReader<std::fs::File>, ArchiveError> {
        let mut file = temp.handle()?;
        file.rewind().map_err(failed())?;
        Ok(std::io::BufReader::new(file))
    };
    let block = signer.sign(rewound(&plain)?)?;
    let inventory = Temp::beside(&targets.path("yaml"), false)?;
    let mut out = BufWriter::new(inventory.handle()?);
    insert_signature(&mut rewound(&plain)?, at, &signer.key_id(), &signer.fingerprint(), &block, &mut out)
        .and_then(|()| out.flush())
        .map_err(failed())?;
    inventory.sync()?;
    monitor.check()?;
    let armored = signer.sign(rewound(&inventory)?)?;
    let signature = small(&targets.path("yaml.asc"), &armored, false)?;
    // A given key is never written to the outputs.
    let (mut secret, mut public) = (None, None);
    if let Some((secret_at, public_at)) = &key.own {
        if key.new {
            secret = Some(small(secret_at, &signer.secret()?, true)?);
        }
        public = Some(small(public_at, &signer.public()?, false)?);
    }
    Ok(Documents { inventory, signature: Some(signature), secret, public })
}

/// Writes a small file under a temporary name, and syncs it.
pub(crate) fn small(target: &Path, text: &str, secret: bool) -> Result<Temp, ArchiveError> {
    let temp = Temp::beside(target, secret)?;
    temp.handle()?.write_all(text.as_bytes()).map_err(ArchiveError::io_at("writing", target))?;
    temp.sync()?;
    Ok(temp)
}

/// Returns what a person should know about the key that signed.
fn notes_on_keys(targets: &Targets, key: Option<&UsedKey>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(UsedKey { own: Some((secret, _)), new: true, .. }) = key {
        notes.push(format!(
            "{} is the private key: keep it on this machine, and send only the other files",
            secret.display()
        ));
    }
    let own_public = targets.path("public.asc");
    if key.is_some_and(|key| key.own.is_none()) && own_public.exists() {
        notes.push(format!(
            "{} belongs to an earlier run, not to the key that signed; send receivers the public key of that one",
            own_public.display()
        ));
    }
    notes
}

/// Publishes everything, the inventory last: until then, a check against the old one finds the difference.
fn publish_all(
    targets: &Targets,
    documents: Documents,
    archives: Archives,
    key: Option<UsedKey>,
    head: Head,
) -> Result<Created, ArchiveError> {
    let mut notes = notes_on_keys(targets, key.as_ref());
    if let Some(UsedKey { own: Some((secret, public)), new, .. }) = &key {
        if *new && let Some(temp) = documents.secret {
            temp.publish(secret)?;
        }
        if (*new || !public.exists())
            && let Some(temp) = documents.public
        {
            temp.publish(public)?;
        }
    }
    let tar = publish_archive(archives.tar, targets.path("tar"), &mut notes)?;
    let zip = publish_archive(archives.zip, targets.path("zip"), &mut notes)?;
    let signature_at = targets.path("yaml.asc");
    let signature = match documents.signature {
        Some(temp) => {
            temp.publish(&signature_at)?;
            Some(signature_at)
        }
        None => {
            publish::remove(&signature_at)
                .map_err(ArchiveError::io_at("removing the outdated signature", &signature_at))?;
            None
        }
    };
    let inventory = targets.path("yaml");
    documents.inventory.publish(&inventory)?;
    publish::sync_directory(&targets.directory)?;
    let Head { files, directories, symlinks, bytes, hashes, .. } = head;
    Ok(Created { inventory, signature, tar, zip, key, files, directories, symlinks, bytes, hashes, notes })
}

/// Publishes an archive if this run made one, and returns its path; otherwise notes an old one, which stays.
fn publish_archive(
    made: Option<Temp>,
    at: PathBuf,
    notes: &mut Vec<String>,
) -> Result<Option<PathBuf>, ArchiveError> {
    if let Some(temp) = made {
        temp.publish(&at)?;
        return Ok(Some(at));
    }
    if at.exists() {
        notes.push(format!("{} is older than this inventory, which does not describe it", at.display()));
    }
    Ok(None)
}
