use std::path::{Path, PathBuf};

/// Begins the file; the number is the version of its format.
pub(super) const HEAD: &[u8] = b"mirror-index-lines 1\n";

pub(super) fn file_of(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("index.{generation}.lines"))
}

/// The generation in the name of a file of lines.
pub(super) fn generation_of(name: &str) -> Option<u64> {
    name.strip_prefix("index.")?.strip_suffix(".lines")?.parse().ok()
}
