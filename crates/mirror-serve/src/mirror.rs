//! A mirror, opened to be read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use mirror_manifest::{Catalogue, Census, Held, LinesReader, ManifestError};
use mirror_repo::{BUNDLES, RecordedPlaces};
use mirror_store::{Store, StoreError};
use mirror_types::{CrateName, Layout, ReleaseId, index_path};

use crate::error::ServeError;
use crate::listing::{Listing, Versions};
use crate::places::{Located, Places};

/// Connections to the catalogue that are kept for the next request, at most.
const SPARE: usize = 4;

/// A mirror, opened to be read: what is held, its index lines, its bytes. Takes no lock and writes nothing;
/// a run of the downloader may go on meanwhile. Everything blocks. Any number of threads may ask.
pub struct Mirror {
    root: PathBuf,
    database: PathBuf,
    places: Places,
    /// Replaced when somebody puts another catalogue in its place.
    catalogues: RwLock<Arc<Pool>>,
    watch: Mutex<Watch>,
}

/// Connections to one and the same catalogue.
#[derive(Default)]
struct Pool {
    spare: Mutex<Vec<Catalogue>>,
    lines: Mutex<Option<Arc<LinesReader>>>,
}

/// Notices changes.
struct Watch {
    catalogue: Catalogue,
    seen: i64,
    file: Option<Mark>,
    now: State,
}

/// A state of the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// Counts the states that were seen.
    pub(crate) generation: u64,
    /// Nothing was changed since then.
    pub(crate) since: SystemTime,
}

/// What tells a file from one that was put in its place; where nothing else tells of changes, those too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    number: u64,
    changed: Option<SystemTime>,
    /// Length and last change of the file and of its log, for a catalogue that cannot tell of changes itself.
    content: Option<[Option<(u64, SystemTime)>; 2]>,
}

impl Mark {
    fn of(path: &Path, frozen: bool) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&meta);
        #[cfg(not(unix))]
        let number = 0;
        let stamp = |path: &Path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.len(), meta.modified().ok()?))
        };
        let content = frozen.then(|| [stamp(path), stamp(&log_of(path))]);
        Some(Self { number, changed: meta.created().ok(), content })
    }
}

impl State {
    fn next(self) -> Self {
        Self { generation: self.generation + 1, since: SystemTime::now() }
    }
}

fn log_of(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// When anything was written into a catalogue last.
fn last_write(database: &Path) -> SystemTime {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    modified(database).max(modified(&log_of(database))).unwrap_or(SystemTime::UNIX_EPOCH)
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the mirror at {}", self.root.display())
    }
}

impl Mirror {
    /// Opens the mirror at `root`. `bundles_dir`: where its bundles are; else where the mirror says that
    /// they were written, or else `bundles` beside the root.
    ///
    /// # Errors
    /// When there is none, its bundles are missing, or what is there cannot be read.
    pub fn open(root: &Path, bundles_dir: Option<&Path>) -> Result<Self, ServeError> {
        let none = || ServeError::NoMirror { path: root.to_owned() };
        let database = root.join(".mirror/catalogue.sqlite");
        let store = Store::open_read_only(root, Layout::Shard)?.ok_or_else(none)?;
        let (file, frozen) = (Mark::of(&database, false), Mark::of(&database, true));
        let catalogue = Catalogue::open_read_only(&database)?.ok_or_else(none)?;
        let file = if catalogue.is_frozen() { frozen } else { file };
        let bundles_dir = bundles_of(root, bundles_dir, &catalogue)?;
        let now = State { generation: 1, since: last_write(&database) };
        let watch = Mutex::new(Watch { seen: catalogue.changes()?, catalogue, file, now });
        Ok(Self {
            root: root.to_owned(),
            database,
            places: Places::new(store, bundles_dir),
            catalogues: RwLock::default(),
            watch,
        })
    }

    /// The root of the mirror.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where its bundles are.
    #[must_use]
    pub fn bundles_dir(&self) -> &Path {
        self.places.bundles_dir()
    }

    /// The layout of its loose tree.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.places.store().layout()
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// A number that grows with every change of the mirror. Cheap: no file is read.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn generation(&self) -> Result<u64, ServeError> {
        Ok(self.state()?.generation)
    }

    /// The state that the mirror is in now.
    pub(crate) fn state(&self) -> Result<State, ServeError> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.catalogue.is_frozen() {
            self.look(&mut watch)?;
        }
        let seen = watch.catalogue.changes()?;
        if seen != watch.seen {
            watch.seen = seen;
            watch.now = watch.now.next();
        }
        Ok(watch.now)
    }

    /// Looks whether another catalogue was put in the place of the one that is open, and opens it then.
    /// To be called now and then.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn look_again(&self) -> Result<(), ServeError> {
        self.look(&mut self.watch.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn look(&self, watch: &mut Watch) -> Result<(), ServeError> {
        let (plain, frozen) = (Mark::of(&self.database, false), Mark::of(&self.database, true));
        let now = if watch.catalogue.is_frozen() { frozen } else { plain };
        if now.is_none() || now == watch.file {
            return Ok(());
        }
        let Some(catalogue) = Catalogue::open_read_only(&self.database)? else { return Ok(()) };
        let file = if catalogue.is_frozen() { frozen } else { plain };
        let replaced = plain.map(|mark| mark.number) != watch.file.map(|mark| mark.number);
        *watch = Watch { seen: catalogue.changes()?, catalogue, file, now: watch.now.next() };
        *self.catalogues.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        if replaced {
            tracing::info!("the catalogue was replaced; the new one is served");
        }
        Ok(())
    }

    /// Returns the marks of a catalogue that cannot tell of changes; `None` for one that can.
    fn frozen_mark(&self) -> Option<Mark> {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.catalogue.is_frozen() { Mark::of(&self.database, true) } else { None }
    }

    /// Answers with a connection of its own. What was read of a catalogue that was written meanwhile, and of which
    /// the reader cannot know that, is read again.
    pub(crate) fn ask<T>(
        &self,
        mut look: impl FnMut(&Catalogue, &LinesOf<'_>) -> Result<T, ServeError>,
    ) -> Result<T, ServeError> {
        /// Between two looks, a little more each time.
        const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
        const TRIES: u32 = 8;
        for again in 1..TRIES {
            let before = self.frozen_mark();
            let answer = self.state().and_then(|_| self.ask_once(&mut look));
            if before.is_none() || before == self.frozen_mark() {
                return answer;
            }
            std::thread::sleep(PAUSE * again);
        }
        self.state()?;
        self.ask_once(&mut look)
    }

    fn ask_once<T>(
        &self,
        look: &mut impl FnMut(&Catalogue, &LinesOf<'_>) -> Result<T, ServeError>,
    ) -> Result<T, ServeError> {
        let pool = Arc::clone(&self.catalogues.read().unwrap_or_else(PoisonError::into_inner));
        let spare = || pool.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = spare().pop();
        let catalogue = match kept {
            Some(catalogue) => catalogue,
            None => {
                let none = || ServeError::NoMirror { path: self.root.clone() };
                let catalogue = Catalogue::open_read_only(&self.database)?.ok_or_else(none)?;
                catalogue.keep_little()?;
                catalogue
            }
        };
        let lines = LinesOf { dir: self.places.store().state_dir(), pool: &pool };
        let answer = look(&catalogue, &lines);
        let mut spare = spare();
        // A frozen one would not see the next change.
        if spare.len() < SPARE && !catalogue.is_frozen() {
            spare.push(catalogue);
        }
        answer
    }

    /// The index file of a crate as far as it is held, by the name in lower case or not; `None` when
    /// nothing is.
    ///
    /// # Errors
    /// When what is kept cannot be read.
    pub fn listing(&self, name: &CrateName) -> Result<Option<Listing>, ServeError> {
        self.listing_at(&index_path(name))
    }

    /// The same, by the path in the index.
    pub(crate) fn listing_at(&self, path: &str) -> Result<Option<Listing>, ServeError> {
        self.listing_with(path, &mut |id, held| {
            // One file that is in the way must not hide the others.
            Ok(self.places.is_there(&id, held).unwrap_or_else(|error| {
                tracing::warn!(release = %id, "is held, but cannot be looked at: {error}");
                false
            }))
        })
    }

    /// The same, with what is offered and what `takes` takes.
    pub(crate) fn listing_with(
        &self,
        path: &str,
        takes: &mut dyn FnMut(ReleaseId, &Held) -> Result<bool, ServeError>,
    ) -> Result<Option<Listing>, ServeError> {
        self.ask(|catalogue, lines| {
            catalogue.consistently(|| {
                let Some(row) = catalogue.index_file(path)? else { return Ok(None) };
                let Some(lines) = lines.open(catalogue)? else { return Ok(None) };
                let text = lines.read(&row)?;
                Listing::of(&text, &mut |name| held(catalogue, name), &mut |name, version, held| {
                    let (Ok(name), Ok(version)) = (name.parse(), version.parse()) else { return Ok(false) };
                    takes(ReleaseId { name, version }, held)
                })
            })
        })
    }

    /// Returns where a release is held that is offered: upstream did not delete it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn held(&self, id: &ReleaseId) -> Result<Option<Held>, ServeError> {
        self.ask(|catalogue, _| Ok(catalogue.offered_release(id)?))
    }

    /// Tells whether upstream deleted a release.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn is_deleted(&self, id: &ReleaseId) -> Result<bool, ServeError> {
        self.ask(|catalogue, _| Ok(catalogue.is_deleted(id)?))
    }

    /// The bytes that the catalogue speaks of; `None` when they are not there.
    ///
    /// # Errors
    /// When they cannot be looked at.
    pub fn locate(&self, id: &ReleaseId, held: &Held) -> Result<Option<Located>, ServeError> {
        self.places.locate(id, held)
    }

    /// All of the bytes of a release. Memory: their size.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(&self, id: &ReleaseId, located: &Located) -> Result<Vec<u8>, ServeError> {
        match located {
            Located::Loose(file) => {
                let mut bytes = vec![0; usize::try_from(file.len()).unwrap_or(0)];
                file.read_exact_at(&mut bytes, 0).map_err(|source| StoreError::Io {
                    doing: "read",
                    path: self.places.store().layout().path(id).into(),
                    source,
                })?;
                Ok(bytes)
            }
            Located::Bundled(reader, frame, _) => {
                let mut bytes = Vec::new();
                let is_it = self.places.read_frame(reader, *frame, id, &mut |piece| {
                    bytes.extend_from_slice(piece);
                    Ok::<_, StoreError>(())
                })?;
                if is_it {
                    Ok(bytes)
                } else {
                    Err(ServeError::Internal(format!("{id} is not where the catalogue says")))
                }
            }
        }
    }

    /// Counts what is held; takes time by its number.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn census(&self) -> Result<Census, ServeError> {
        self.ask(|catalogue, _| Ok(catalogue.census()?))
    }

    /// When a run of the downloader came to its end last, RFC 3339.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn last_run(&self) -> Result<Option<String>, ServeError> {
        self.ask(|catalogue, _| Ok(catalogue.last_run()?))
    }

    /// The paths of the index files that are kept, in their order. Memory: some 40 bytes for each.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn index_paths(&self) -> Result<Vec<String>, ServeError> {
        self.ask(|catalogue, _| {
            let mut paths = Vec::new();
            catalogue.index_files(&mut |row| paths.push(row.path))?;
            Ok(paths)
        })
    }
}

fn held(catalogue: &Catalogue, name: &str) -> Result<Versions, ServeError> {
    let Ok(name) = name.parse::<CrateName>() else { return Ok(Versions::new()) };
    Ok(catalogue.offered_of(&name)?.into_iter().map(|row| (row.version.clone(), row)).collect())
}

/// The file of index lines that belongs to a state of the catalogue.
pub(crate) struct LinesOf<'a> {
    dir: PathBuf,
    pool: &'a Pool,
}

impl LinesOf<'_> {
    fn open(&self, catalogue: &Catalogue) -> Result<Option<Arc<LinesReader>>, ManifestError> {
        let mut open = self.pool.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = catalogue.lines_generation()?;
        if open.as_ref().map(|lines| lines.generation()) != generation {
            *open = LinesReader::open(&self.dir, catalogue)?.map(Arc::new);
        }
        Ok(open.clone())
    }
}

/// Where the bundles are; they must be there when something is held in them.
fn bundles_of(root: &Path, given: Option<&Path>, catalogue: &Catalogue) -> Result<PathBuf, ServeError> {
    let dir = match given {
        Some(dir) => dir.to_owned(),
        None => {
            // Where the mirror remembers them. One that was carried elsewhere may have them inside, or beside it.
            let remembered = RecordedPlaces::of(root)?.map(|places| places.bundles);
            let kept = catalogue.bundles_dir()?;
            let beside = root.parent().unwrap_or(Path::new("")).join(BUNDLES);
            let inside = root.join(BUNDLES);
            let mut places = remembered.into_iter().chain(kept).chain([inside.clone(), beside]);
            places.find(|dir| dir.is_dir()).unwrap_or(inside)
        }
    };
    if !dir.is_dir() && !catalogue.bundles()?.is_empty() {
        return Err(ServeError::NoBundles { path: dir });
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_a_frozen_catalogue_change_with_its_file_and_its_log() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("catalogue.sqlite");
        #[expect(clippy::disallowed_methods, reason = "a test's own files")]
        let write = |path: &Path, bytes: &[u8]| std::fs::write(path, bytes).expect("written");
        write(&path, b"first");
        let (plain, first) = (Mark::of(&path, false), Mark::of(&path, true));
        assert_eq!(first, Mark::of(&path, true));
        write(&log_of(&path), b"log");
        let logged = Mark::of(&path, true);
        assert_ne!(first, logged, "a log appeared");
        write(&path, b"second");
        assert_ne!(logged, Mark::of(&path, true), "the file grew");
        assert_eq!(plain, Mark::of(&path, false), "the same file, which tells of changes itself");
    }
}
