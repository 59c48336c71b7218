use std::path::{Path, PathBuf};

/// The data that every benchmark needs.
pub(crate) struct Bench<'a> {
    pub(crate) work: &'a Path,
    /// True if it is on tmpfs.
    pub(crate) in_memory: bool,
    /// The program under test.
    pub(crate) program: PathBuf,
    /// The folder of another version's programs.
    pub(crate) before: Option<PathBuf>,
    /// `serve-mirror`, and the example that serves a mirror of many crates.
    pub(crate) server: PathBuf,
    pub(crate) many_crates: PathBuf,
    /// The example that does only the necessary part of a download.
    pub(crate) floor: PathBuf,
    /// `archive-hasher`, and the example that times one digest.
    pub(crate) archiver: PathBuf,
    pub(crate) digest: PathBuf,
    pub(crate) archive_mib: u64,
    pub(crate) bundle_mib: u64,
    pub(crate) rounds: usize,
    pub(crate) releases: usize,
    pub(crate) index_releases: usize,
    pub(crate) held_releases: usize,
}

impl Bench<'_> {
    /// Returns a program of the other version, if one was named.
    pub(crate) fn before(&self, name: &str) -> Option<PathBuf> {
        self.before.as_ref().map(|dir| dir.join(name))
    }
}
