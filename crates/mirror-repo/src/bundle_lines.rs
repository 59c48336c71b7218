//! Writes the index lines of a bundle's releases to a file beside it, so that bundles without their mirror can be
//! served.
//!
//! `bundle-NNNN.index.jsonl` begins with a head line (format, bundle, end). The index lines of the members follow, byte
//! for byte, without those that upstream deleted. The file is rewritten while the bundle is appended to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use mirror_bundle::{BundleFiles, list_bundles};
use mirror_index_line::{IndexLine, records};
use mirror_manifest::{Catalogue, Change, IndexCacheReader, IndexCacheWriter, LinePacker, TextDigest};
use mirror_store::{OutputFile, Store};
use mirror_types::{BundleNumber, IndexRecord, ReleaseId, Sha256, index_path, last_of_each};
use serde::{Deserialize, Serialize};

use crate::error::RepoError;

/// The version of the format that is written and read.
const FORMAT: u32 = 1;
const SUFFIX: &str = ".index.jsonl";
/// The directory, below `.mirror`, for the index lines of bundles that a mirror was extracted from.
const TAKEN_ALONG: &str = "index-lines";
/// Longest line that is read, bytes. The registry's longest has some 300,000.
const MAX_LINE_BYTES: u64 = 8 << 20;
/// Longest file that is copied along, bytes: a bundle of 8 GiB has some 30 MiB of lines.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Most bytes of lines in memory at once.
const MAX_LINES_BYTES: u64 = 128 << 20;

/// The head line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// Always 1.
    format: u32,
    /// The bundle's name when it is sealed.
    bundle: String,
    /// The end of the members that the lines cover, bytes into the bundle.
    end: u64,
}

/// Returns the valid lines of an index file, in its order, with their records: the last good line of each release.
fn counting(text: &[u8]) -> Vec<(IndexRecord, &[u8])> {
    let mut lines: Vec<_> = records(text).collect();
    last_of_each(&mut lines, |(record, _)| &record.id);
    lines
}

/// Makes the error for a line that cannot be written.
fn unwritable(path: &Path) -> impl Fn(serde_json::Error) -> RepoError + use<> {
    let path = path.to_owned();
    move |error| RepoError::Io { doing: "write index lines to", path: path.clone(), source: error.into() }
}

fn fail(path: &Path) -> impl Fn(std::io::Error) -> RepoError + use<> {
    let path = path.to_owned();
    move |source| match mirror_fs::not_plain(&source) {
        Some(_) => {
            mirror_store::StoreError::Strange { path: path.clone(), expected: "a regular file" }.into()
        }
        None => RepoError::Io { doing: "read the index lines beside a bundle,", path: path.clone(), source },
    }
}

/// Returns the path of the file of index lines that belongs to a bundle.
fn path_of(bundle: &BundleFiles) -> Option<PathBuf> {
    let stem = bundle.name.strip_suffix(BundleNumber::SUFFIX)?;
    Some(bundle.path.parent().unwrap_or(Path::new("")).join(format!("{stem}{SUFFIX}")))
}

/// Opens the file of a bundle, behind its head; `None` when there is none, or a later version wrote it.
fn open(path: &Path) -> Result<Option<(Head, impl std::io::BufRead + use<>)>, RepoError> {
    let file = match mirror_fs::open_to_read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(path)(error)),
    };
    let mut file = BufReader::new(file);
    let mut head = String::new();
    let read = file.by_ref().take(MAX_LINE_BYTES).read_line(&mut head);
    let head =
        read.ok().and_then(|_| serde_json::from_str::<Head>(&head).ok()).filter(|head| head.format == FORMAT);
    if head.is_none() {
        tracing::warn!(file = %path.display(), "is no file of index lines that this version reads; it is passed over");
    }
    Ok(head.map(|head| (head, file)))
}

/// Writes the index lines of all bundles that were appended to since their lines were written, and of those that hold
/// one of `changed`. Memory: the lines of one bundle. Blocks.
///
/// # Errors
/// When the catalogue or a file cannot be read, or the disk refuses.
pub fn write(
    catalogue: &Catalogue,
    state: &Path,
    dir: &Path,
    changed: &[ReleaseId],
) -> Result<(), RepoError> {
    let mut again = HashSet::new();
    for id in changed {
        again
            .extend(catalogue.held_release(id)?.and_then(|held| held.locations.member()).map(|at| at.bundle));
    }
    let known: HashMap<u32, u64> = catalogue.bundles()?.into_iter().collect();
    let Some(cache) = IndexCacheReader::open(state)? else { return Ok(()) };
    for bundle in list_bundles(dir)? {
        let (Some(number), Some(path)) = (bundle.number, path_of(&bundle)) else { continue };
        let Some(end) = known.get(&number).copied() else { continue };
        if again.contains(&number) || open(&path)?.is_none_or(|(head, _)| head.end != end) {
            let head = Head { format: FORMAT, bundle: bundle.name.clone(), end };
            write_one(catalogue, &cache, number, &head, &path)?;
        }
    }
    Ok(())
}

fn write_one(
    catalogue: &Catalogue,
    cache: &IndexCacheReader,
    number: u32,
    head: &Head,
    path: &Path,
) -> Result<(), RepoError> {
    let mut members: BTreeMap<String, HashMap<ReleaseId, Sha256>> = BTreeMap::new();
    catalogue.members_of(number, &mut |id, sha256, _| {
        members.entry(index_path(&id.name)).or_default().insert(id, sha256);
    })?;
    let mut text = serde_json::to_vec(head).map_err(unwritable(path))?;
    text.push(b'\n');
    for (file, members) in members {
        let Some(lines) = cache.read(&file)? else { continue };
        for (IndexRecord { id, cksum, .. }, line) in counting(&lines) {
            if members.get(&id) == Some(&cksum) && !catalogue.is_deleted(&id)? {
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        }
    }
    let output = OutputFile::begin(path)?;
    output.write_at(0, &text)?;
    Ok(output.publish()?)
}

/// Copies the index lines beside bundles into the mirror that their members are extracted to, where a rebuild of the
/// catalogue reads them. Memory: one of the files. Blocks.
///
/// # Errors
/// When a file cannot be read, or the disk refuses.
pub fn take_along(bundles: &[BundleFiles], store: &Store) -> Result<(), RepoError> {
    for bundle in bundles {
        let Some(path) = path_of(bundle) else { continue };
        let Some((head, file)) = open(&path)? else { continue };
        let mut text = serde_json::to_vec(&head).map_err(unwritable(&path))?;
        text.push(b'\n');
        file.take(MAX_FILE_BYTES).read_to_end(&mut text).map_err(fail(&path))?;
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            store.write_state(&format!("{TAKEN_ALONG}/{name}"), &text)?;
        }
    }
    Ok(())
}

/// Stores the index lines beside the bundles in `dir`, and those that an extraction copied along, in the index cache of
/// a mirror, for index files that it lacks. Later bundles win over earlier ones. Returns the number of index files that
/// were stored. Memory: a part of the lines at a time. Blocks.
///
/// # Errors
/// When a file cannot be read, the catalogue cannot be changed, or the disk refuses.
pub fn take_in(
    catalogue: &mut Catalogue,
    cache: &mut IndexCacheWriter,
    store: &Store,
    dir: &Path,
) -> Result<u64, RepoError> {
    let mut files = Vec::new();
    for dir in [store.state_dir().join(TAKEN_ALONG), dir.to_owned()] {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        let named = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("bundle") && name.ends_with(SUFFIX) && name != "bundles.index.jsonl"
        };
        let mut found: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(named).collect();
        found.sort();
        files.extend(found);
    }
    let bytes: u64 = files.iter().map(|path| std::fs::metadata(path).map_or(0, |meta| meta.len())).sum();
    let (parts, state) = (bytes / MAX_LINES_BYTES + 1, RandomState::new());
    let mut taken = 0;
    for part in 0..parts {
        let mut found: BTreeMap<String, BTreeMap<ReleaseId, Vec<u8>>> = BTreeMap::new();
        for path in &files {
            read(path, &mut |id, line| {
                let file = index_path(&id.name);
                if state.hash_one(&file) % parts == part {
                    found.entry(file).or_default().insert(id, line.to_vec());
                }
            })?;
        }
        taken += keep(catalogue, cache, store.state_dir().as_ref(), found)?;
    }
    Ok(taken)
}

/// Passes the lines of a file to `visit`.
fn read(path: &Path, visit: &mut dyn FnMut(ReleaseId, &[u8])) -> Result<(), RepoError> {
    let Some((_, mut file)) = open(path)? else { return Ok(()) };
    let mut line = Vec::new();
    loop {
        line.clear();
        if file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(fail(path))? == 0 {
            return Ok(());
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Some(id) = IndexLine::parse(text).ok().and_then(|line| line.release()) {
            visit(id, text);
        }
    }
}

fn keep(
    catalogue: &mut Catalogue,
    cache: &mut IndexCacheWriter,
    cache_dir: &Path,
    found: BTreeMap<String, BTreeMap<ReleaseId, Vec<u8>>>,
) -> Result<u64, RepoError> {
    let no_memory =
        |source| RepoError::Io { doing: "pack index lines of", path: cache_dir.to_owned(), source };
    let mut packer = LinePacker::new().map_err(no_memory)?;
    let mut packed = Vec::new();
    for (path, releases) in found {
        if cache.has(&path)? {
            continue;
        }
        let mut text = Vec::new();
        for line in releases.into_values() {
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
        packed.push(packer.pack(&path, TextDigest::of(&text), &text).map_err(no_memory)?);
    }
    if !packed.is_empty() {
        let state = cache.append(&packed)?;
        catalogue.apply(&[Change::IndexCache(state)])?;
    }
    Ok(packed.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_good_lines_of_a_release_the_last_counts() {
        let line = |version: &str, sum: &str, more: &str| {
            format!("{{\"name\":\"a\",\"vers\":\"{version}\",\"cksum\":\"{sum}\"{more}}}\n")
        };
        let (one, two) = ("01".repeat(32), "AB".repeat(32));
        let lines = [
            line("1.0.0", &one, ",\"yanked\":false"),
            line("1.1.0", &one, ""),
            line("1.0.0", &two, ",\"yanked\":true"),
            line("1.0.0", "12", ""),
            line("1.1.0", &one, ",\"yanked\":true"),
            "nonsense\n".to_owned(),
        ];
        let text = lines.concat();
        let counted: Vec<_> = counting(text.as_bytes()).into_iter().map(|(_, line)| line).collect();
        assert_eq!(counted, [&lines[2], &lines[4]].map(|line| line.trim_end().as_bytes()));
    }

    #[test]
    fn a_file_of_a_later_version_is_passed_over_and_bad_lines_too() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("bundle-0000.index.jsonl");
        let line = r#"{"name":"a","vers":"1.0.0","cksum":"00","x":1}"#;
        let lines = |head: &str| {
            #[expect(clippy::disallowed_methods, reason = "a test's own file")]
            std::fs::write(
                &path,
                format!("{head}\nnonsense\n{{\"name\":\"..\",\"vers\":\"1.0.0\",\"cksum\":\"\"}}\n{line}"),
            )
            .expect("write");
            let mut seen = Vec::new();
            read(&path, &mut |id, text| seen.push(format!("{id} {}", String::from_utf8_lossy(text))))
                .expect("read");
            seen
        };
        assert_eq!(
            lines(r#"{"format":1,"bundle":"bundle-0000.tar.zst","end":7}"#),
            [format!("a 1.0.0 {line}")]
        );
        assert_eq!(lines(r#"{"format":2,"bundle":"bundle-0000.tar.zst","end":7}"#), [""; 0]);
        assert_eq!(lines("torn"), [""; 0]);
    }
}
