//! What is on disk when a commit is cut short: by a power cut after any step, or by a step that
//! fails. A disk that writes its steps down stands for one that forgets whatever was not synced.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use mirror_types::Layout;

use crate::Store;
use crate::disk::{Disk, SyncMode};
#[cfg(unix)]
use mirror_types::FaultKind;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Write(PathBuf),
    SyncFiles(Vec<PathBuf>),
    CreateDir(PathBuf),
    Rename(PathBuf, PathBuf),
    SyncDirs(Vec<PathBuf>),
    /// `commit` returned: all of it is promised to be durable.
    Promised(Vec<PathBuf>),
}

/// Does everything for real, writes it down, and fails when asked to.
#[derive(Debug, Clone)]
struct Watched {
    mode: SyncMode,
    steps: Arc<Mutex<Vec<Step>>>,
    /// The number of the step that fails, with what.
    fails: Option<(usize, i32)>,
}

impl Watched {
    fn new(mode: SyncMode, fails: Option<(usize, i32)>) -> Self {
        Self { mode, steps: Arc::default(), fails }
    }

    fn step(&self, step: Step) -> io::Result<()> {
        let mut steps = self.steps.lock().expect("lock");
        steps.push(step);
        match self.fails {
            Some((at, errno)) if at == steps.len() - 1 => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    fn steps(&self) -> Vec<Step> {
        self.steps.lock().expect("lock").clone()
    }
}

impl Disk for Watched {
    fn write_new(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.step(Step::Write(path.to_owned()))?;
        self.mode.write_new(path, data)
    }
    fn sync_files(&self, root: &Path, files: &[&Path]) -> io::Result<()> {
        self.step(Step::SyncFiles(files.iter().map(|file| file.to_path_buf()).collect()))?;
        self.mode.sync_files(root, files)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.step(Step::CreateDir(path.to_owned()))?;
        self.mode.create_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename(from.to_owned(), to.to_owned()))?;
        self.mode.rename(from, to)
    }
    fn sync_dirs(&self, root: &Path, dirs: &[PathBuf]) -> io::Result<()> {
        self.step(Step::SyncDirs(dirs.to_vec()))?;
        self.mode.sync_dirs(root, dirs)
    }
}

const PATHS: [&str; 6] = [
    "s/er/serde-1.0.0.crate",
    "s/er/serde-1.0.1.crate",
    "ab/ab-0.1.0.crate",
    "1/se/1serde-1.0.0.crate",
    "s/er/serde_json-1.0.0.crate",
    "t/ok/tokio-1.0.0.crate",
];

/// Two commits; gives what happened, and the error of the commit that failed.
fn two_commits(root: &Path, disk: &Watched) -> Option<crate::StoreError> {
    drop(Store::open(root, Layout::Shard, false).expect("open"));
    let store = Store::on(Box::new(disk.clone()), root, Layout::Shard, None);
    for batch in PATHS.chunks(3) {
        let mut staged = Vec::new();
        for path in batch {
            match store.stage(path, path.as_bytes()) {
                Ok(one) => staged.push(one),
                Err(error) => return Some(error),
            }
        }
        if let Err(error) = store.commit(staged) {
            return Some(error);
        }
        let finals = batch.iter().map(|path| root.join(path)).collect();
        disk.steps.lock().expect("lock").push(Step::Promised(finals));
    }
    None
}

/// The worst that a disk may do with a prefix of the steps: keep a name and forget its bytes,
/// forget a name whose directory was not synced.
fn assert_safe(prefix: &[Step]) {
    let mut durable = HashSet::new();
    let mut unsynced_names: HashMap<PathBuf, HashSet<PathBuf>> = HashMap::new();
    for step in prefix {
        match step {
            Step::Write(_) => {}
            Step::SyncFiles(files) => durable.extend(files.iter().cloned()),
            Step::CreateDir(path) => {
                let parent = path.parent().expect("a parent").to_owned();
                unsynced_names.entry(parent).or_default().insert(path.clone());
            }
            Step::Rename(from, to) => {
                assert!(durable.contains(from), "{} may have its name without its bytes", to.display());
                let parent = to.parent().expect("a parent").to_owned();
                unsynced_names.entry(parent).or_default().insert(to.clone());
            }
            Step::SyncDirs(dirs) => {
                for dir in dirs {
                    // `root.join("")` ends with a slash; components compare equal.
                    unsynced_names.retain(|parent, _| parent != dir);
                }
            }
            Step::Promised(finals) => {
                for path in finals {
                    for part in path.ancestors() {
                        let forgotten = unsynced_names.values().any(|names| names.contains(part));
                        assert!(
                            !forgotten,
                            "{} was promised, {} is not durable",
                            path.display(),
                            part.display()
                        );
                    }
                }
            }
        }
    }
}

fn modes() -> Vec<SyncMode> {
    vec![
        SyncMode::EachFile,
        #[cfg(target_os = "linux")]
        SyncMode::FileSystem,
    ]
}

#[test]
fn after_a_power_cut_no_name_is_without_its_bytes_and_what_was_promised_is_there() {
    for mode in modes() {
        let dir = tempfile::tempdir().expect("dir");
        let disk = Watched::new(mode, None);
        assert!(two_commits(dir.path(), &disk).is_none());
        let steps = disk.steps();
        assert!(steps.len() > 15, "{steps:?}");
        for end in 0..=steps.len() {
            assert_safe(&steps[..end]);
        }
    }
}

/// EIO: the kernel has dropped the bytes and will say so only once.
#[cfg(unix)]
#[test]
fn a_step_that_fails_ends_the_commit_and_is_not_tried_again() {
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    for mode in modes() {
        let dir = tempfile::tempdir().expect("dir");
        let whole = Watched::new(mode, None);
        assert!(two_commits(dir.path(), &whole).is_none());
        let count = whole.steps().iter().filter(|step| !matches!(step, Step::Promised(_))).count();
        // A promise is no step that can fail, so the numbers run over both.
        for at in 0..count + 2 {
            if matches!(whole.steps().get(at), None | Some(Step::Promised(_))) {
                continue;
            }
            for errno in [EIO, ENOSPC] {
                let dir = tempfile::tempdir().expect("dir");
                let disk = Watched::new(mode, Some((at, errno)));
                let error = two_commits(dir.path(), &disk).expect("the step fails");
                assert_eq!(error.kind(), FaultKind::Storage, "{error}");
                assert_eq!(error.to_string().contains("disk is full"), errno == ENOSPC, "{error}");
                let steps = disk.steps();
                assert_eq!(steps.len(), at + 1, "nothing was done after the fault");
                assert_safe(&steps[..at]);
                // The next run finds whole files only, and an empty stage.
                let store = Store::open(dir.path(), Layout::Shard, false).expect("open again");
                for path in PATHS {
                    if let Some((_, size)) = store.hash(path).expect("hash") {
                        assert_eq!(size, path.len() as u64, "{path} is torn");
                    }
                }
                let left = std::fs::read_dir(dir.path().join(".mirror/stage")).expect("list").count();
                assert_eq!(left, 0);
            }
        }
    }
}
