#![expect(clippy::disallowed_methods, reason = "tests damage files of their own")]

mod crash;
mod damage;
mod old;
mod using;

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::error::ManifestError;
use crate::sqlite::files_of;
use crate::{Catalogue, Change, IndexCursor};

/// The index lines of a mirror, with the catalogue beside them.
struct Mirror {
    dir: tempfile::TempDir,
    catalogue: Catalogue,
}

fn text(name: &str, n: usize) -> Vec<u8> {
    format!("{{\"name\":\"{name}\",\"vers\":\"0.0.{n}\",\"x\":1.50}}\n").repeat(n % 7 + 1).into_bytes()
}

fn packed(files: &[(&str, Vec<u8>)]) -> Vec<PackedLines> {
    let mut packer = LinePacker::new().expect("packer");
    let pack = |(path, text): &(&str, Vec<u8>)| packer.pack(path, TextDigest::of(text), text).expect("pack");
    files.iter().map(pack).collect()
}

fn set_cursor(catalogue: &mut Catalogue) {
    let cursor = IndexCursor {
        tree: "here".to_owned(),
        selection: String::new(),
        selected: 1,
        yanked_skipped: 0,
        bad_files: [].into(),
    };
    catalogue.set_cursor(&cursor).expect("cursor");
}

impl Mirror {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("catalogue");
        Self { dir, catalogue }
    }

    fn open(&mut self, verify: bool) -> (IndexCacheWriter, IndexCacheReport) {
        IndexCacheWriter::open(self.dir.path(), &mut self.catalogue, verify).expect("open")
    }

    /// Commits as a run does: the cache, then the catalogue.
    fn keep(&mut self, writer: &mut IndexCacheWriter, files: &[(&str, Vec<u8>)]) {
        let state = writer.append(&packed(files)).expect("append");
        self.catalogue.apply(&[Change::IndexCache(state)]).expect("apply");
    }

    fn reader(&self) -> Result<Option<IndexCacheReader>, ManifestError> {
        IndexCacheReader::open(self.dir.path())
    }

    /// Returns the text of an index file, unless it is damaged or not in the cache.
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.reader().ok()??.read(path).ok()?
    }

    fn file(&self) -> PathBuf {
        index_cache_in(self.dir.path())
    }

    fn has_cursor(&self) -> bool {
        self.catalogue.cursor().expect("cursor").is_some()
    }

    /// Returns the contents of the cache's files, those beside the database included.
    fn files(&self) -> [Option<Vec<u8>>; 4] {
        files_of(&self.file()).map(|file| fs::read(file).ok())
    }

    fn put_files(&self, files: &[Option<Vec<u8>>; 4]) {
        for (file, bytes) in files_of(&self.file()).iter().zip(files) {
            match bytes {
                Some(bytes) => fs::write(file, bytes).expect("write"),
                None => mirror_fs::remove(file).expect("remove"),
            }
        }
    }
}
