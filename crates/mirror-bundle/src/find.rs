use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};
use mirror_types::{CrateName, VersionText};

use crate::error::{BundleError, at};
use crate::fault::BundleFault;
use crate::record::BundleMember;

/// Bytes of a manifest that are searched at once; also the longest line.
const CHUNK_BYTES: usize = 1 << 20;
/// Largest manifest that one thread searches alone, bytes.
const MAX_SEARCHED_ALONE_BYTES: u64 = 8 << 20;

/// Returns the members of one crate, or of one release, in a bundle's manifest, in its order. Parses only lines that
/// contain the name, and searches large manifests with several threads until a release is found: one of 160 MB takes
/// milliseconds. Memory: 2 MiB for each processor. Blocks.
///
/// # Errors
/// When the file cannot be read, or a line that has the name is no record.
pub fn find_members(
    manifest: &Path,
    name: &CrateName,
    version: Option<&VersionText>,
) -> Result<Vec<BundleMember>, BundleError> {
    let needle = match version {
        Some(version) => format!("/{name}-{version}.crate\""),
        None => format!("\"{name}\""),
    };
    let len = std::fs::metadata(manifest).map_err(at("look at", manifest))?.len();
    let threads = match len {
        ..MAX_SEARCHED_ALONE_BYTES => 1,
        _ => thread::available_parallelism().map_or(1, |n| n.get() as u64),
    };
    let search = Search {
        manifest,
        finder: Finder::new(needle.as_bytes()),
        name,
        version,
        found: AtomicBool::new(false),
    };
    if threads == 1 {
        return search.part(0..u64::MAX);
    }
    let border = |n: u64| if n == threads { u64::MAX } else { len / threads * n };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|n| border(n)..border(n + 1))
            .map(|range| scope.spawn(|| search.part(range)))
            .collect();
        let mut all = Vec::new();
        for part in parts {
            let ended = |_| at("search", manifest)(std::io::Error::other("a thread ended badly"));
            all.extend(part.join().map_err(ended)??);
        }
        Ok(all)
    })
}

/// The subject of a search, shared by all threads.
struct Search<'a> {
    manifest: &'a Path,
    finder: Finder<'a>,
    name: &'a CrateName,
    version: Option<&'a VersionText>,
    /// True if a release was found, which is in a manifest only once.
    found: AtomicBool,
}

impl Search<'_> {
    /// Searches the lines that begin within `range` of the file.
    fn part(&self, range: Range<u64>) -> Result<Vec<BundleMember>, BundleError> {
        let manifest = self.manifest;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let mut file = mirror_fs::patient(|| File::open(manifest)).map_err(at("open", manifest))?;
        // A line that began earlier belongs to the previous part.
        let mut base = range.start.saturating_sub(1);
        let mut skip = range.start > 0;
        file.seek(SeekFrom::Start(base)).map_err(at("read", manifest))?;
        let mut found = Vec::new();
        let mut buffer = vec![0; 2 * CHUNK_BYTES];
        let mut have = 0;
        loop {
            let n = file.read(&mut buffer[have..]).map_err(at("read", manifest))?;
            have += n;
            let mut start = 0;
            if skip && let Some(end) = memchr(b'\n', &buffer[..have]) {
                (start, skip) = (end + 1, false);
            }
            // A last line without its newline is incomplete.
            let whole = memrchr(b'\n', &buffer[start..have]).map(|end| start + end + 1);
            let Some(mut end) = whole.filter(|_| !skip) else {
                if n == 0 {
                    return Ok(found);
                }
                if have == buffer.len() && start == 0 {
                    let fault = BundleFault::Line { line: 0, reason: "it is too long".to_owned() };
                    return Err(BundleError::damaged(manifest, None, None, fault));
                }
                buffer.copy_within(start..have, 0);
                (have, base) = (have - start, base + start as u64);
                continue;
            };
            // The last line of this part is the one with the last byte of the range.
            let last =
                usize::try_from(range.end.saturating_sub(base)).unwrap_or(usize::MAX).saturating_sub(1);
            let mut done = n == 0;
            if last < end {
                end = memchr(b'\n', &buffer[last..end]).map_or(end, |at| last + at + 1);
                done = true;
            }
            if start < end {
                self.lines(&buffer[start..end], &mut found)?;
            }
            if done || self.found.load(Ordering::Relaxed) {
                return Ok(found);
            }
            buffer.copy_within(end..have, 0);
            (have, base) = (have - end, base + end as u64);
        }
    }

    fn lines(&self, text: &[u8], found: &mut Vec<BundleMember>) -> Result<(), BundleError> {
        lines_with(text, &self.finder, &mut |line| {
            let member: BundleMember = serde_json::from_slice(line).map_err(|error| {
                let fault = BundleFault::Line { line: 0, reason: error.to_string() };
                BundleError::damaged(self.manifest, None, None, fault)
            })?;
            if is_of(&member, self.name, self.version) {
                found.push(member);
                if self.version.is_some() {
                    self.found.store(true, Ordering::Relaxed);
                }
            }
            Ok(())
        })
    }
}

fn is_of(member: &BundleMember, name: &CrateName, version: Option<&VersionText>) -> bool {
    crate::names::release_of(&member.bundle_member)
        .is_ok_and(|(id, _)| id.name == *name && version.is_none_or(|version| id.version == *version))
}

/// Passes every line with the needle to `take`, once.
fn lines_with(
    text: &[u8],
    needle: &Finder<'_>,
    take: &mut dyn FnMut(&[u8]) -> Result<(), BundleError>,
) -> Result<(), BundleError> {
    let mut from = 0;
    while let Some(hit) = needle.find(&text[from..]).map(|at| from + at) {
        let start = memrchr(b'\n', &text[..hit]).map_or(0, |at| at + 1);
        let end = memchr(b'\n', &text[hit..]).map_or(text.len(), |at| hit + at);
        take(&text[start..end])?;
        from = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_found_wherever_it_stands() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("m");
        let mut text = String::new();
        for n in 0..20_000 {
            let name = format!("name-{n}");
            let (sum, short) = ("0".repeat(64), format!("n/am/{name}"));
            for version in ["1.0.0", "1.0.1"] {
                text += &format!(
                    "{{\"crate\":\"{name}\",\"bundle_path\":\"b\",\"bundle_member\":\"{short}-{version}.crate\",\
                     \"size\":{n},\"sha256\":\"{sum}\"}}\n"
                );
            }
        }
        text += "{\"crate\":\"name-7\",\"bundle_me";
        std::fs::write(&path, &text).expect("write");
        assert!(text.len() > 2 * CHUNK_BYTES);
        for n in [0, 7, 9_999, 19_999] {
            let name: CrateName = format!("name-{n}").parse().expect("name");
            let both = find_members(&path, &name, None).expect("find");
            assert_eq!(both.iter().map(|one| one.size).collect::<Vec<_>>(), [n, n]);
            let version = "1.0.1".parse().expect("version");
            let one = find_members(&path, &name, Some(&version)).expect("find");
            assert_eq!(one.len(), 1);
            assert!(one[0].bundle_member.ends_with("-1.0.1.crate"));
        }
        assert_eq!(find_members(&path, &"name".parse().expect("name"), None).expect("find"), []);
    }

    /// Checks that each line belongs to one part, wherever a file is divided.
    #[test]
    fn parts_share_the_lines_among_them() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("m");
        let sum = "0".repeat(64);
        let mut text = String::new();
        for n in 0..30 {
            let pad = "x".repeat(n * 7 % 23);
            text += &format!(
                "{{\"url\":\"{pad}\",\"crate\":\"aaaa\",\"bundle_path\":\"b\",\
                 \"bundle_member\":\"a/aa/aaaa-1.0.{n}.crate\",\"size\":{n},\"sha256\":\"{sum}\"}}\n"
            );
        }
        std::fs::write(&path, &text).expect("write");
        let name: CrateName = "aaaa".parse().expect("name");
        let search = Search {
            manifest: &path,
            finder: Finder::new(b"\"aaaa\""),
            name: &name,
            version: None,
            found: AtomicBool::new(false),
        };
        for border in 0..=text.len() as u64 {
            let (first, second) =
                (search.part(0..border).expect("part"), search.part(border..u64::MAX).expect("part"));
            let sizes: Vec<u64> = first.iter().chain(&second).map(|one| one.size).collect();
            assert_eq!(sizes, (0..30).collect::<Vec<_>>(), "divided at {border}");
        }
    }

    #[test]
    fn a_large_manifest_is_searched_by_all() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("m");
        let sum = "0".repeat(64);
        let mut text = String::new();
        for n in 0..70_000 {
            text += &format!(
                "{{\"crate\":\"name-{n}\",\"bundle_path\":\"b\",\"bundle_member\":\"n/am/name-{n}-1.0.0.crate\",\
                 \"size\":{n},\"sha256\":\"{sum}\"}}\n"
            );
        }
        std::fs::write(&path, &text).expect("write");
        assert!(text.len() as u64 > MAX_SEARCHED_ALONE_BYTES);
        let version = "1.0.0".parse().expect("version");
        for n in [0, 1, 34_999, 35_000, 35_001, 69_999] {
            let name: CrateName = format!("name-{n}").parse().expect("name");
            for version in [None, Some(&version)] {
                let found = find_members(&path, &name, version).expect("find");
                assert_eq!(found.iter().map(|one| one.size).collect::<Vec<_>>(), [n]);
            }
        }
        assert_eq!(find_members(&path, &"nobody".parse().expect("name"), None).expect("find"), []);
    }
}
