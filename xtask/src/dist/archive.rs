//! Writes the archive: a sorted tar with one time and one owner, compressed with zstd.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// One file of the archive.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) is_program: bool,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl Entry {
    /// Adds a generated text.
    pub(crate) fn file(text: String) -> Self {
        Self { is_program: false, content: Content::Bytes(text.into_bytes()) }
    }

    /// Adds a program that was built.
    pub(crate) fn program(path: PathBuf) -> Self {
        Self { is_program: true, content: Content::File(path) }
    }
}

/// Writes the archive; every path in it begins with `top`.
pub(crate) fn write(
    path: &Path,
    top: &str,
    entries: &BTreeMap<String, Entry>,
    mtime: u64,
    level: i32,
) -> anyhow::Result<()> {
    let doing = || format!("could not write {}", path.display());
    let file = File::create(path).with_context(doing)?;
    let mut packed = zstd::Encoder::new(BufWriter::new(file), level).with_context(doing)?;
    packed.include_checksum(true).with_context(doing)?;
    let mut tar = tar::Builder::new(packed);
    let mut directories = BTreeSet::new();
    for (place, entry) in entries {
        let place = format!("{top}/{place}");
        for (at, _) in place.match_indices('/') {
            let directory = &place[..=at];
            if directories.insert(directory.to_owned()) {
                let mut header = header(tar::EntryType::Directory, 0o755, 0, mtime);
                tar.append_data(&mut header, directory, std::io::empty()).with_context(doing)?;
            }
        }
        let mode = if entry.is_program { 0o755 } else { 0o644 };
        match &entry.content {
            Content::Bytes(bytes) => {
                let mut header = header(tar::EntryType::Regular, mode, bytes.len() as u64, mtime);
                tar.append_data(&mut header, &place, &bytes[..]).with_context(doing)?;
            }
            Content::File(source) => {
                let reading = || format!("could not read {}", source.display());
                let file = File::open(source).with_context(reading)?;
                let len = file.metadata().with_context(reading)?.len();
                let mut header = header(tar::EntryType::Regular, mode, len, mtime);
                tar.append_data(&mut header, &place, file).with_context(doing)?;
            }
        }
    }
    let packed = tar.into_inner().with_context(doing)?;
    packed.finish().and_then(|mut file| file.flush()).with_context(doing)
}

fn header(kind: tar::EntryType, mode: u32, size: u64, mtime: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(mtime);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// The contents of an archive: each path with its mode, its time and its bytes.
pub(crate) type Contents = BTreeMap<String, (u32, u64, Vec<u8>)>;

/// Reads an archive back.
pub(crate) fn read(path: &Path) -> anyhow::Result<Contents> {
    let doing = || format!("could not read {}", path.display());
    let unpacked = zstd::Decoder::new(File::open(path).with_context(doing)?).with_context(doing)?;
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(unpacked).entries().with_context(doing)? {
        let mut entry = entry.with_context(doing)?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).with_context(doing)?;
        let name = entry.path().with_context(doing)?.to_string_lossy().into_owned();
        let header = entry.header();
        let (mode, mtime) = (header.mode().with_context(doing)?, header.mtime().with_context(doing)?);
        found.insert(name, (mode, mtime, bytes));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(dir: &Path) -> BTreeMap<String, Entry> {
        let program = dir.join("program");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        let text = |text: &str| Entry::file(text.to_owned());
        BTreeMap::from([
            ("share/doc/b".to_owned(), text("b")),
            ("bin/program".to_owned(), Entry::program(program)),
            ("share/a".to_owned(), text("a")),
        ])
    }

    #[test]
    fn two_archives_of_the_same_files_are_equal() {
        let dir = tempfile::tempdir().unwrap();
        let write_one = |name: &str| {
            let path = dir.path().join(name);
            write(&path, "top", &entries(dir.path()), 1_700_000_000, 3).unwrap();
            std::fs::read(&path).unwrap()
        };
        assert_eq!(write_one("one"), write_one("two"));
    }

    #[test]
    fn an_archive_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar.zst");
        write(&path, "top", &entries(dir.path()), 1_700_000_000, 3).unwrap();
        let found = read(&path).unwrap();
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        let wanted = ["top/", "top/bin/", "top/bin/program", "top/share/", "top/share/a"];
        assert_eq!(names[..5], wanted);
        assert_eq!(found["top/bin/program"], (0o755, 1_700_000_000, b"#!/bin/sh\n".to_vec()));
        assert_eq!(found["top/share/doc/b"], (0o644, 1_700_000_000, b"b".to_vec()));
    }
}
