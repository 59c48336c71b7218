use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mirror_checksum::Hasher;
use mirror_types::{ADVISORIES_STALE_AFTER, CrateName, Printable, Sha256, one_line};

use crate::advisory::Advisory;
use crate::error::AdvisoriesError;
use crate::names::ByName;

/// Longest file of an advisory, bytes. The largest in the database have a few KiB.
pub const MAX_ADVISORY_BYTES: usize = 1 << 20;
/// Most files of advisories in a database. RustSec's has some thousand.
pub const MAX_ADVISORIES: usize = 50_000;
/// Most bytes of all of them. Those of RustSec's have some MiB.
pub const MAX_DATABASE_BYTES: u64 = 64 << 20;
/// Most files and directories that are looked at, whatever they are.
const MAX_ENTRIES: usize = 200_000;
/// Version of the canonical form behind [`Advisories::digest`].
const DIGEST_FORMAT: u32 = 1;

/// A file of an advisory database that could not be read as an advisory. Its advisory does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdvisoryFault {
    /// The path in the database.
    pub path: String,
    /// The fault.
    pub reason: String,
}

impl fmt::Display for AdvisoryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Printable(&self.path), Printable(&self.reason))
    }
}

/// The commit of a git clone that a database was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseCommit {
    /// Its id, in hex.
    pub id: String,
    /// The moment at which it was made, as it records it.
    pub time: SystemTime,
}

impl DatabaseCommit {
    /// Returns its age at the moment `now`; zero for one that claims to be younger.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.time).unwrap_or_default()
    }

    /// Returns whether it is older than [`ADVISORIES_STALE_AFTER`] at the moment `now`.
    #[must_use]
    pub fn is_stale(&self, now: SystemTime) -> bool {
        self.age(now) > ADVISORIES_STALE_AFTER
    }
}

/// The advisories of a database, by crate. Withdrawn ones are left out. Holds all of them in memory, which takes about
/// 1 KiB for each.
#[derive(Debug, Clone, Default)]
pub struct Advisories {
    by_name: ByName<Advisory>,
    len: usize,
    faults: Vec<AdvisoryFault>,
    commit: Option<DatabaseCommit>,
}

impl Advisories {
    /// Makes them of the files of a database: paths from its root, with `/` between the parts, and contents. Files other
    /// than `crates/NAME/RUSTSEC-*.md` and `.toml` are passed over. The order of the files does not matter, except that of
    /// two files with one id only the first counts.
    #[must_use]
    pub fn from_files<P: AsRef<str>, B: AsRef<[u8]>>(files: impl IntoIterator<Item = (P, B)>) -> Self {
        let mut reader = Reader::default();
        for (path, bytes) in files {
            reader.read(path.as_ref(), bytes.as_ref());
        }
        reader.finish()
    }

    /// Reads the directory of a database. Blocks. Follows no links below `crates`.
    ///
    /// # Errors
    /// When it is not there or has no directory `crates`, the disk refuses, or it has more than [`MAX_ADVISORIES`] files of advisories or
    /// more than [`MAX_DATABASE_BYTES`] in them.
    pub fn load(dir: &Path) -> Result<Self, AdvisoriesError> {
        let crates = dir.join("crates");
        if !dir.exists() {
            return Err(AdvisoriesError::Missing { path: dir.to_owned() });
        }
        if !crates.is_dir() {
            return Err(AdvisoriesError::NoDatabase { path: dir.to_owned() });
        }
        let mut reader = AdvisoryReader::new(dir);
        for (name, of_crate) in entries(&crates)? {
            let is_dir = of_crate.symlink_metadata().map_err(read_error(&of_crate))?.is_dir();
            for (file, path) in if is_dir { entries(&of_crate)? } else { Vec::new() } {
                let shown = format!("crates/{}/{}", name.to_string_lossy(), file.to_string_lossy());
                if !AdvisoryReader::wants(&shown) {
                    continue;
                }
                if !path.symlink_metadata().map_err(read_error(&path))?.is_file() {
                    reader.fault(&shown, "it is no file")?;
                    continue;
                }
                let mut bytes = Vec::new();
                let read = File::open(&path)
                    .and_then(|file| file.take(MAX_ADVISORY_BYTES as u64 + 1).read_to_end(&mut bytes));
                read.map_err(read_error(&path))?;
                reader.read(&shown, &bytes)?;
            }
        }
        Ok(reader.finish(None))
    }

    /// Returns the commit that they were read from; `None` where they do not come from a git clone.
    #[must_use]
    pub fn commit(&self) -> Option<&DatabaseCommit> {
        self.commit.as_ref()
    }

    /// Returns the advisories about a crate, ordered by id, whatever their versions. Costs one lookup.
    #[must_use]
    pub fn of(&self, name: &CrateName) -> &[Advisory] {
        self.by_name.of(name)
    }

    /// Yields the crates that they are about, each once.
    pub fn names(&self) -> impl Iterator<Item = &CrateName> {
        self.by_name.lists().filter_map(|of_crate| of_crate.first().map(Advisory::package))
    }

    /// Returns their number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the files that could not be read as advisories, ordered by path.
    #[must_use]
    pub fn faults(&self) -> &[AdvisoryFault] {
        &self.faults
    }

    /// Returns a digest of everything in them that decides about a release: ids, crates, kinds and versions. Two databases
    /// that decide alike have the same.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        let mut lines: Vec<String> = self.by_name.values().map(Advisory::canonical).collect();
        lines.sort_unstable();
        let mut hasher = Hasher::default();
        hasher.update(format!("mirror-advisories {DIGEST_FORMAT}\n").as_bytes());
        for line in lines {
            hasher.update(line.as_bytes());
        }
        hasher.finish()
    }
}

/// Makes [`Advisories`] of files one by one, within the bounds of a database. For databases that are no directory.
pub struct AdvisoryReader {
    reader: Reader,
    database: PathBuf,
    entries: usize,
    files: usize,
    bytes: u64,
}

impl AdvisoryReader {
    /// Begins with the database at a path, which errors name.
    #[must_use]
    pub fn new(database: &Path) -> Self {
        Self { reader: Reader::default(), database: database.to_owned(), entries: 0, files: 0, bytes: 0 }
    }

    /// Returns whether a file is one of an advisory by its path from the root, with `/` between the parts.
    #[must_use]
    pub fn wants(path: &str) -> bool {
        id_in(path).is_some()
    }

    /// Counts entries of a directory that was listed.
    ///
    /// # Errors
    /// When there are more than 200,000 of them, as where directories hold each other.
    pub fn listed(&mut self, entries: usize) -> Result<(), AdvisoriesError> {
        self.entries = self.entries.saturating_add(entries);
        if self.entries <= MAX_ENTRIES {
            return Ok(());
        }
        Err(self.too_large(format!("more than {MAX_ENTRIES} files and directories")))
    }

    /// Adds a file. What is no advisory, or larger than [`MAX_ADVISORY_BYTES`], is a fault of the database.
    ///
    /// # Errors
    /// When there are more than [`MAX_ADVISORIES`] files, or more than [`MAX_DATABASE_BYTES`] in them.
    pub fn read(&mut self, path: &str, bytes: &[u8]) -> Result<(), AdvisoriesError> {
        self.admit(bytes.len())?;
        self.reader.read(path, bytes);
        Ok(())
    }

    /// Adds a fault: the advisory at `path` cannot be read for a reason.
    ///
    /// # Errors
    /// When there are more than [`MAX_ADVISORIES`] files.
    pub fn fault(&mut self, path: &str, reason: &str) -> Result<(), AdvisoriesError> {
        self.admit(0)?;
        self.reader.fault(path, reason);
        Ok(())
    }

    /// Ends, and returns the advisories. `commit` is where they come from.
    #[must_use]
    pub fn finish(self, commit: Option<DatabaseCommit>) -> Advisories {
        Advisories { commit, ..self.reader.finish() }
    }

    fn admit(&mut self, bytes: usize) -> Result<(), AdvisoriesError> {
        self.files += 1;
        self.bytes += bytes as u64;
        let what = if self.files > MAX_ADVISORIES {
            format!("more than {MAX_ADVISORIES} advisories")
        } else if self.bytes > MAX_DATABASE_BYTES {
            format!("advisories of more than {MAX_DATABASE_BYTES} bytes")
        } else {
            return Ok(());
        };
        Err(self.too_large(what))
    }

    fn too_large(&self, what: String) -> AdvisoriesError {
        AdvisoriesError::TooLarge { path: self.database.clone(), what }
    }
}

/// Collects advisories and faults.
#[derive(Default)]
struct Reader {
    advisories: Advisories,
    ids: HashSet<String>,
}

impl Reader {
    fn read(&mut self, path: &str, bytes: &[u8]) {
        let Some(Place { package, id, is_markdown }) = id_in(path) else { return };
        let parsed = if bytes.len() > MAX_ADVISORY_BYTES {
            Err(format!("it is larger than {MAX_ADVISORY_BYTES} bytes"))
        } else {
            std::str::from_utf8(bytes)
                .map_err(|_| "it is not UTF-8".to_owned())
                .and_then(|text| Advisory::parse(package, id, text, is_markdown))
        };
        match parsed {
            Err(reason) => self.fault(path, &reason),
            Ok(_) if !self.ids.insert(id.to_owned()) => {
                self.fault(path, "another file has the same id");
            }
            Ok(advisory) if advisory.is_withdrawn() => {}
            Ok(advisory) => {
                self.advisories.len += 1;
                let package = advisory.package().clone();
                self.advisories.by_name.add(&package, advisory);
            }
        }
    }

    fn fault(&mut self, path: &str, reason: &str) {
        self.advisories.faults.push(AdvisoryFault { path: path.to_owned(), reason: one_line(reason) });
    }

    fn finish(mut self) -> Advisories {
        for of_crate in self.advisories.by_name.values_mut() {
            of_crate.sort_by(|one, other| one.id().cmp(other.id()));
        }
        self.advisories.faults.sort_by(|one, other| one.path.cmp(&other.path));
        self.advisories
    }
}

/// The parts of an advisory's path.
struct Place<'a> {
    package: &'a str,
    id: &'a str,
    is_markdown: bool,
}

/// Parses the path of an advisory; `None` for every other file.
fn id_in(path: &str) -> Option<Place<'_>> {
    let (package, file) = path.strip_prefix("./").unwrap_or(path).strip_prefix("crates/")?.split_once('/')?;
    let (id, extension) = file.rsplit_once('.')?;
    let is_markdown = match extension {
        "md" => true,
        "toml" => false,
        _ => return None,
    };
    (id.starts_with("RUSTSEC-") && !id.contains('/')).then_some(Place { package, id, is_markdown })
}

/// Lists a directory, ordered by name.
fn entries(dir: &Path) -> Result<Vec<(std::ffi::OsString, PathBuf)>, AdvisoriesError> {
    let list = || -> io::Result<Vec<_>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            all.push((entry.file_name(), entry.path()));
        }
        all.sort_by(|(one, _), (other, _)| OsStr::cmp(one, other));
        Ok(all)
    };
    list().map_err(read_error(dir))
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> AdvisoriesError {
    let path = path.to_owned();
    move |source| AdvisoriesError::Read { path, source }
}
