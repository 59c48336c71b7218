//! A folder with a directory to archive, the program, and stock tools.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) use mirror_testkit::{Ended, has, run};

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_archive-hasher");

pub(crate) struct World(pub(crate) tempfile::TempDir);

impl World {
    /// Makes a folder with an empty directory `t`.
    pub(crate) fn empty() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(world.path("t")).unwrap();
        world
    }

    /// Makes a folder whose `t` has some files, an empty file, an empty directory and links.
    pub(crate) fn small() -> Self {
        let world = Self::empty();
        for directory in ["t/d", "t/d/e", "t/empty"] {
            std::fs::create_dir(world.path(directory)).unwrap();
        }
        for (path, text) in
            [("a", "first"), ("d/b", "second"), ("d/e/c", "third"), ("d-", "fourth"), ("z", "")]
        {
            world.write(path, text.as_bytes());
        }
        std::os::unix::fs::symlink("d/b", world.path("t/link")).unwrap();
        std::os::unix::fs::symlink("nowhere", world.path("t/broken")).unwrap();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file in the directory `t`.
    pub(crate) fn write(&self, path: &str, data: &[u8]) {
        std::fs::write(self.path("t").join(path), data).unwrap();
    }

    /// Returns the command that runs the program in this folder with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BIN);
        command.current_dir(self.0.path()).args(arguments).env_remove("ARCHIVE_HASHER_PASSPHRASE");
        command
    }

    /// Archives `t` into `out`.
    pub(crate) fn create(&self, arguments: &[&str]) -> Ended {
        run(self.command(&["--dir", "t", "--out-dir", "out"]).args(arguments))
    }

    pub(crate) fn verify(&self, arguments: &[&str]) -> Ended {
        run(self.command(&["verify", "--inventory", "out/t.yaml"]).args(arguments))
    }

    /// Lists the files in `out`.
    pub(crate) fn outputs(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path("out")) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Returns the digests in the inventory, read line by line.
    pub(crate) fn digests(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.path("out/t.yaml")).unwrap();
        let lines = text.lines().skip_while(|line| *line != "hashes:").skip(1);
        let lines = lines.take_while(|line| line.starts_with("  "));
        let pairs = lines.filter_map(|line| line.trim().split_once(": "));
        pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect()
    }
}

/// Returns an interpreter with PyYAML and tomllib.
pub(crate) fn python() -> Option<&'static str> {
    const IMPORTS: [&str; 2] = ["-c", "import yaml, tomllib, tarfile, hashlib"];
    let works = |program: &&str| {
        let status = Command::new(program).args(IMPORTS).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(works);
    if found.is_none() {
        has("python3", &IMPORTS);
    }
    found
}

/// Runs a script and returns its standard output.
#[track_caller]
pub(crate) fn script(interpreter: &str, text: &str, arguments: &[&Path]) -> String {
    let ended = run(Command::new(interpreter).arg("-c").arg(text).args(arguments).env("PYTHONUTF8", "1"));
    ended.expect(0).stdout
}

/// Returns the first word that a stock tool prints.
#[track_caller]
pub(crate) fn first_word(program: &str, arguments: &[&str], file: &Path) -> String {
    let ended = run(Command::new(program).args(arguments).arg(file)).expect(0);
    ended.stdout.split_whitespace().next().unwrap().to_owned()
}

/// Returns the last word, for tools that print the name before the sum.
#[track_caller]
pub(crate) fn last_word(program: &str, arguments: &[&str], file: &Path) -> String {
    let ended = run(Command::new(program).args(arguments).arg(file)).expect(0);
    ended.stdout.split_whitespace().next_back().unwrap().to_owned()
}
