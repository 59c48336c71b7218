use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Step;

/// The data that a crash loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: the process was killed, and the system has everything.
    Nothing,
    /// Unsynced bytes and names: the power failed.
    Unsynced,
    /// Unsynced bytes, but no names: the power failed, on a file system that writes names first.
    Bytes,
    /// Half of the unsynced bytes, but no names.
    HalfOfBytes,
}

impl Loss {
    /// Every kind of loss.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Unsynced, Self::Bytes, Self::HalfOfBytes];
}

/// A directory tree in memory: its current state, and its durable part.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
}

#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Node {
    Dir,
    File(usize),
}

impl SimulatedDisk {
    /// Reads the tree below `root`, all of which counts as durable; a missing directory counts as empty. Leaves out
    /// links and special files.
    pub(super) fn of_tree(root: &Path) -> io::Result<Self> {
        let mut disk = Self::default();
        let mut dirs = vec![PathBuf::new()];
        while let Some(dir) = dirs.pop() {
            let entries = match fs::read_dir(root.join(&dir)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let (kind, path) = (entry.file_type()?, dir.join(entry.file_name()));
                if kind.is_dir() {
                    disk.names.insert(path.clone(), Node::Dir);
                    dirs.push(path);
                } else if kind.is_file() {
                    let bytes = fs::read(entry.path())?;
                    let node = disk.new_file(Content { durable: bytes.clone(), bytes });
                    disk.names.insert(path, node);
                }
            }
        }
        disk.durable_names.clone_from(&disk.names);
        Ok(disk)
    }

    fn new_file(&mut self, content: Content) -> Node {
        self.files.push(content);
        Node::File(self.files.len() - 1)
    }

    fn create(&mut self, path: &Path, bytes: &[u8]) {
        let node = self.new_file(Content { bytes: bytes.to_vec(), durable: Vec::new() });
        self.names.insert(path.to_owned(), node);
    }

    fn file(&mut self, path: &Path) -> &mut Content {
        match self.names.get(path) {
            Some(Node::File(number)) => &mut self.files[*number],
            _ => panic!("no file was made at {} through the simulator", path.display()),
        }
    }

    /// Makes one change.
    ///
    /// # Panics
    /// When the change needs a missing file.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::WriteNew(path, bytes) => self.create(path, bytes),
            Step::CreateNew(path) => self.create(path, b""),
            Step::Open(path) => {
                if !self.names.contains_key(path) {
                    self.create(path, b"");
                }
            }
            Step::Append(path, bytes) => self.file(path).bytes.extend_from_slice(bytes),
            Step::Cut(path, len) => {
                self.file(path).bytes.truncate(usize::try_from(*len).unwrap_or(usize::MAX));
            }
            Step::SyncFiles(paths) => {
                for path in paths {
                    let file = self.file(path);
                    file.durable.clone_from(&file.bytes);
                }
            }
            Step::CreateDir(path) => {
                self.names.insert(path.clone(), Node::Dir);
            }
            Step::Rename(from, to) => match self.names.remove(from) {
                Some(node) => {
                    self.names.insert(to.clone(), node);
                }
                None => panic!("nothing was made at {} through the simulator", from.display()),
            },
            Step::Remove(path) => {
                self.names.remove(path);
            }
            Step::SyncDirs(dirs) => dirs.iter().for_each(|dir| self.sync_dir(dir)),
        }
    }

    fn sync_dir(&mut self, dir: &Path) {
        let is_in_dir = |path: &Path| path.parent() == Some(dir);
        self.durable_names.retain(|path, _| !is_in_dir(path));
        let current = self.names.iter().filter(|(path, _)| is_in_dir(path));
        self.durable_names.extend(current.map(|(path, node)| (path.clone(), *node)));
    }

    /// Writes what is left after a crash at this moment into the directory `root`, which must be empty or absent.
    ///
    /// # Errors
    /// When the real disk refuses.
    pub fn lay_down(&self, loss: Loss, root: &Path) -> io::Result<()> {
        fs::create_dir_all(root)?;
        let names = if loss == Loss::Unsynced { &self.durable_names } else { &self.names };
        // In the order of paths, a directory comes before its contents.
        for (path, node) in names {
            let is_reachable = path
                .ancestors()
                .skip(1)
                .all(|above| above.as_os_str().is_empty() || matches!(names.get(above), Some(Node::Dir)));
            match node {
                _ if !is_reachable => {}
                Node::Dir => fs::create_dir(root.join(path))?,
                Node::File(number) => fs::write(root.join(path), self.files[*number].after(loss))?,
            }
        }
        Ok(())
    }
}

impl Content {
    fn after(&self, loss: Loss) -> &[u8] {
        match loss {
            Loss::Nothing => &self.bytes,
            Loss::HalfOfBytes if self.bytes.starts_with(&self.durable) => {
                &self.bytes[..(self.bytes.len() + self.durable.len()).div_ceil(2)]
            }
            Loss::Unsynced | Loss::Bytes | Loss::HalfOfBytes => &self.durable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns path and bytes of every file below `root`.
    fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
        let disk = SimulatedDisk::of_tree(root).expect("read");
        let file = |(path, node): (&PathBuf, &Node)| match node {
            Node::File(number) => Some((path.to_str()?.to_owned(), disk.files[*number].bytes.clone())),
            Node::Dir => None,
        };
        disk.names.iter().filter_map(file).collect()
    }

    fn left(disk: &SimulatedDisk, loss: Loss) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().expect("dir");
        disk.lay_down(loss, dir.path()).expect("lay down");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        files(dir.path()).into_iter().map(|(path, bytes)| (path, text(bytes))).collect()
    }

    fn shown(found: &[(String, String)]) -> Vec<(&str, &str)> {
        found.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect()
    }

    #[test]
    fn each_loss_takes_what_it_says() {
        let dir = tempfile::tempdir().expect("dir");
        fs::create_dir(dir.path().join("d")).expect("dir");
        fs::write(dir.path().join("d/old"), "old").expect("write");
        let mut disk = SimulatedDisk::of_tree(dir.path()).expect("read");
        for step in [
            Step::Open("d/log".into()),
            Step::SyncDirs(vec!["d".into()]),
            Step::Append("d/log".into(), b"synced".to_vec()),
            Step::SyncFiles(vec!["d/log".into()]),
            Step::Append("d/log".into(), b"1234".to_vec()),
            Step::WriteNew("d/new".into(), b"56".to_vec()),
            Step::Remove("d/old".into()),
        ] {
            disk.apply(&step);
        }
        for (loss, expected) in [
            (Loss::Nothing, &[("d/log", "synced1234"), ("d/new", "56")][..]),
            (Loss::Unsynced, &[("d/log", "synced"), ("d/old", "old")]),
            (Loss::Bytes, &[("d/log", "synced"), ("d/new", "")]),
            (Loss::HalfOfBytes, &[("d/log", "synced12"), ("d/new", "5")]),
        ] {
            assert_eq!(shown(&left(&disk, loss)), expected, "{loss:?}");
        }
        disk.apply(&Step::SyncDirs(vec!["d".into()]));
        assert_eq!(shown(&left(&disk, Loss::Unsynced)), [("d/log", "synced"), ("d/new", "")]);
        disk.apply(&Step::Cut("d/log".into(), 4));
        assert_eq!(shown(&left(&disk, Loss::HalfOfBytes)), [("d/log", "synced"), ("d/new", "5")]);
    }

    #[test]
    fn a_name_in_a_directory_without_a_durable_name_is_lost() {
        let mut disk = SimulatedDisk::default();
        for step in [
            Step::CreateDir("a".into()),
            Step::CreateDir("a/b".into()),
            Step::WriteNew("a/b/f".into(), b"x".to_vec()),
            Step::SyncFiles(vec!["a/b/f".into()]),
            Step::SyncDirs(vec!["a/b".into(), "a".into()]),
        ] {
            disk.apply(&step);
        }
        assert_eq!(shown(&left(&disk, Loss::Unsynced)), []);
        disk.apply(&Step::SyncDirs(vec!["".into()]));
        assert_eq!(shown(&left(&disk, Loss::Unsynced)), [("a/b/f", "x")]);
    }

    /// Covers the worst case of a file system: the new name is durable, and the removal of the old one is not.
    #[test]
    fn a_rename_between_directories_needs_both_of_them_synced() {
        let mut disk = SimulatedDisk::default();
        for step in [
            Step::CreateDir("a".into()),
            Step::CreateDir("b".into()),
            Step::WriteNew("a/f".into(), b"x".to_vec()),
            Step::SyncFiles(vec!["a/f".into()]),
            Step::SyncDirs(vec!["".into(), "a".into()]),
            Step::Rename("a/f".into(), "b/f".into()),
            Step::SyncDirs(vec!["b".into()]),
        ] {
            disk.apply(&step);
        }
        assert_eq!(shown(&left(&disk, Loss::Unsynced)), [("a/f", "x"), ("b/f", "x")]);
        disk.apply(&Step::SyncDirs(vec!["a".into()]));
        assert_eq!(shown(&left(&disk, Loss::Unsynced)), [("b/f", "x")]);
    }
}
