//! What is left of bundles when a run is cut short between any two steps: by a kill, by a power cut that
//! forgets what was not synced, or by a step that fails.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::contract::{append_all, contents, open_unsynced, releases, small, sum};
use super::disk::{BundleDisk, Real};
use super::*;
use mirror_types::FaultKind;

#[derive(Debug, Clone)]
enum Step {
    Open(PathBuf),
    Append(PathBuf, Vec<u8>),
    Cut(PathBuf, u64),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    SyncDir,
    /// `commit` returned with these: all of them are promised to be durable.
    Promised(Vec<BundleMember>),
}

/// Does everything for real, writes it down, and fails when asked to.
#[derive(Debug, Clone, Default)]
struct Watched {
    steps: Arc<Mutex<Vec<Step>>>,
    /// The number of the step that fails, with what.
    fails: Option<(usize, i32)>,
}

impl Watched {
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

fn name(path: &Path) -> PathBuf {
    PathBuf::from(path.file_name().expect("a name"))
}

impl BundleDisk for Watched {
    fn open(&self, path: &Path) -> io::Result<fs::File> {
        self.step(Step::Open(name(path)))?;
        Real.open(path)
    }
    fn append(&self, file: &mut fs::File, path: &Path, data: &[u8]) -> io::Result<()> {
        self.step(Step::Append(name(path), data.to_vec()))?;
        Real.append(file, path, data)
    }
    fn cut(&self, file: &fs::File, path: &Path, len: u64) -> io::Result<()> {
        self.step(Step::Cut(name(path), len))?;
        Real.cut(file, path, len)
    }
    fn sync(&self, _: &fs::File, path: &Path) -> io::Result<()> {
        self.step(Step::Sync(name(path)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename(name(from), name(to)))?;
        Real.rename(from, to)
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.step(Step::SyncDir)
    }
}

/// Three runs with several commits, small bundles: growing, rolling, sealing, continuing.
fn three_runs(dir: &Path, disk: &Watched) -> Result<(), crate::StoreError> {
    let options = BundleOptions { bundle_bytes: 12_000, threads: 1, ..small() };
    for run in releases(30).chunks(10) {
        let (mut writer, _) = BundleWriter::on(Arc::new(disk.clone()), dir, options.clone())?;
        for batch in run.chunks(4) {
            for (id, data) in batch {
                writer.append(super::contract::member(id, data.clone()))?;
            }
            let placed = writer.commit()?;
            disk.steps.lock().expect("lock").push(Step::Promised(placed));
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Loss {
    /// The process was killed: the system has all of it.
    Nothing,
    /// Neither bytes nor names that were not synced.
    Unsynced,
    /// Names are there, their bytes are not.
    Bytes,
    /// Half of the bytes that were not synced are there.
    Half,
}

/// A disk in the head: bytes and names, as they are and as they are durable.
#[derive(Default)]
struct Model {
    bytes: Vec<(Vec<u8>, Vec<u8>)>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Open(path) => {
                let next = self.bytes.len();
                if *self.names.entry(path.clone()).or_insert(next) == next {
                    self.bytes.push((Vec::new(), Vec::new()));
                }
            }
            Step::Append(path, data) => self.file(path).0.extend_from_slice(data),
            Step::Cut(path, len) => self.file(path).0.truncate(usize::try_from(*len).expect("fits")),
            Step::Sync(path) => {
                let file = self.file(path);
                file.1.clone_from(&file.0);
            }
            Step::Rename(from, to) => {
                let file = self.names.remove(from).expect("a file");
                self.names.insert(to.clone(), file);
            }
            Step::SyncDir => self.durable_names.clone_from(&self.names),
            Step::Promised(_) => {}
        }
    }

    fn file(&mut self, path: &Path) -> &mut (Vec<u8>, Vec<u8>) {
        let at = self.names[path];
        &mut self.bytes[at]
    }

    fn lay_down(&self, dir: &Path, loss: Loss) {
        let names = if matches!(loss, Loss::Unsynced) { &self.durable_names } else { &self.names };
        for (name, &at) in names {
            let (bytes, durable) = &self.bytes[at];
            let left = match loss {
                Loss::Nothing => bytes.as_slice(),
                Loss::Unsynced | Loss::Bytes => durable,
                Loss::Half if bytes.starts_with(durable) => {
                    &bytes[..(bytes.len() + durable.len()).div_ceil(2)]
                }
                Loss::Half => durable,
            };
            fs::write(dir.join(name), left).expect("write");
        }
    }
}

/// Opens what was left, and finds everything that was promised; every sealed bundle is in the index, as it is.
fn assert_kept(dir: &Path, promised: &[BundleMember], what: &str) {
    let (mut writer, _) = open_unsynced(dir, small());
    let more = &releases(33)[30..];
    append_all(&mut writer, more);
    writer.seal().expect("seal");
    drop(writer);
    let mut found = BTreeMap::new();
    let index = read_index(dir).expect("index");
    let bundles = list_bundles(dir).expect("list");
    assert_eq!(index.len(), bundles.len(), "{what}");
    for one in &bundles {
        assert!(one.sealed, "{what}: {}", one.name);
        let line = index.iter().find(|line| line.bundle_path.ends_with(&one.name)).expect("a line");
        assert_eq!(line.sha256, Some(sum(&fs::read(&one.path).expect("read"))), "{what}");
        let members = contents(&one.path);
        let mut listed = Vec::new();
        read_manifest(one.manifest.as_ref().expect("a manifest"), &mut |line| {
            listed.push((line.bundle_member, line.sha256));
            Ok(())
        })
        .expect("manifest");
        let hashed: Vec<_> = members.iter().map(|(path, data)| (path.clone(), sum(data))).collect();
        assert_eq!(hashed, listed, "{what}");
        found.extend(hashed);
    }
    for member in promised {
        assert_eq!(
            found.get(&member.bundle_member),
            Some(&member.sha256),
            "{what}: {}",
            member.bundle_member
        );
    }
}

fn promised(steps: &[Step]) -> Vec<BundleMember> {
    let mut all = Vec::new();
    for step in steps {
        if let Step::Promised(placed) = step {
            all.extend(placed.iter().cloned());
        }
    }
    all
}

#[test]
fn after_any_step_a_kill_or_a_power_cut_loses_nothing_that_was_promised() {
    let dir = tempfile::tempdir().expect("dir");
    let disk = Watched::default();
    three_runs(dir.path(), &disk).expect("runs");
    let steps = disk.steps();
    assert_eq!(promised(&steps).len(), 30);
    assert!(steps.len() > 60, "{}", steps.len());
    let mut model = Model::default();
    for (at, step) in steps.iter().enumerate() {
        model.apply(step);
        for loss in [Loss::Nothing, Loss::Unsynced, Loss::Bytes, Loss::Half] {
            let left = tempfile::tempdir().expect("dir");
            model.lay_down(left.path(), loss);
            assert_kept(
                left.path(),
                &promised(&steps[..=at]),
                &format!("{loss:?} after step {at}: {step:.60?}"),
            );
        }
    }
}

/// EIO and a full disk: the run ends with the fault, and the next one has everything that was promised.
#[cfg(unix)]
#[test]
fn a_step_that_fails_ends_the_run_and_is_not_tried_again() {
    let dir = tempfile::tempdir().expect("dir");
    let whole = Watched::default();
    three_runs(dir.path(), &whole).expect("runs");
    for at in 0..whole.steps().len() {
        for errno in [5, 28] {
            let dir = tempfile::tempdir().expect("dir");
            let disk = Watched { fails: Some((at, errno)), ..Watched::default() };
            let ended = three_runs(dir.path(), &disk);
            let steps = disk.steps();
            match ended {
                // A promise is no step that can fail; a last fault may go unseen when nothing was asked since.
                Ok(()) => assert!(matches!(steps[at], Step::Promised(_)), "step {at} failed unseen"),
                Err(error) => {
                    assert_eq!(error.kind(), FaultKind::Storage, "{error}");
                    assert_eq!(error.to_string().contains("disk is full"), errno == 28, "{error}");
                    assert_eq!(steps.len(), at + 1, "nothing was done after the fault");
                }
            }
            assert_kept(dir.path(), &promised(&steps), &format!("step {at} failed with {errno}"));
        }
    }
}
