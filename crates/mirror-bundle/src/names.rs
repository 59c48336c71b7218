//! Names of the files in a directory of bundles.

use std::path::{Path, PathBuf};

use mirror_types::{BundleNumber, Layout, ReleaseId};

use crate::error::{BundleError, at};
use crate::fault::BundleFault;

/// The suffix of partial files.
pub(crate) const PARTIAL: &str = BundleNumber::PARTIAL;
/// The index of all sealed bundles.
pub(crate) const INDEX: &str = "bundles.index.jsonl";
/// The lock of the one writer.
pub(crate) const LOCK: &str = ".bundles.lock";

/// Returns `bundle-0000.tar.zst`.
pub(crate) fn bundle(number: u32) -> String {
    BundleNumber::new(number).file_name()
}

/// Returns the path of a bundle, sealed or partial, in a directory of bundles.
pub(crate) fn bundle_path(dir: &Path, number: u32, is_sealed: bool) -> PathBuf {
    dir.join(if is_sealed { bundle(number) } else { bundle(number) + PARTIAL })
}

/// Returns `bundle-0000.manifest.jsonl.partial`: the manifest of a partial bundle.
pub(crate) fn partial_manifest(number: u32) -> String {
    format!("{}.manifest.jsonl{PARTIAL}", BundleNumber::new(number))
}

/// Returns `bundle-0000-{min}-to-{max}.manifest.jsonl`.
pub(crate) fn manifest(number: u32, min: &str, max: &str) -> String {
    format!("{}-{}-to-{}.manifest.jsonl", BundleNumber::new(number), label(min), label(max))
}

/// Returns a crate name as part of a file name: lower case; `.`, `_` and space become `-`.
pub(crate) fn label(name: &str) -> String {
    let name = name.trim();
    if name.is_empty() {
        return "unknown".to_owned();
    }
    name.to_lowercase().replace(['.', '_', ' '], "-")
}

/// Returns the last part of a path of any system: the name by which a manifest identifies its bundle, wherever that is
/// now.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// One bundle of a directory, with the files that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleFiles {
    /// Its number, when it is named `bundle-NNNN`.
    pub number: Option<u32>,
    /// Its name without `.partial`, as in manifests.
    pub name: String,
    /// True if it is complete; otherwise more members may follow.
    pub sealed: bool,
    /// The bundle itself.
    pub path: PathBuf,
    /// Its manifest, when there is one.
    pub manifest: Option<PathBuf>,
}

/// Lists the bundles of a directory, by number and name; those without a number come last. Blocks.
///
/// # Errors
/// When the directory cannot be listed.
pub fn list_bundles(dir: &Path) -> Result<Vec<BundleFiles>, BundleError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(at("list", dir))? {
        let entry = entry.map_err(at("list", dir))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    let manifest_of = |number: u32| {
        let is_one = |name: &&String| {
            BundleNumber::split(name).is_some_and(|(found, rest)| {
                found.get() == number
                    && rest.strip_suffix(PARTIAL).unwrap_or(rest).ends_with(".manifest.jsonl")
                    && (rest.starts_with('-') || rest.starts_with(".manifest"))
            })
        };
        // A final name sorts before a partial one (`-` before `.`).
        names.iter().find(is_one).map(|name| dir.join(name))
    };
    let mut bundles: Vec<BundleFiles> = names
        .iter()
        .filter_map(|name| {
            let plain = name.strip_suffix(PARTIAL).unwrap_or(name);
            let stem = plain.strip_suffix(BundleNumber::SUFFIX)?;
            let number = BundleNumber::of_path(plain).map(BundleNumber::get);
            let manifest = match number {
                Some(number) => manifest_of(number),
                None => Some(dir.join(format!("{stem}.manifest.jsonl"))).filter(|path| path.is_file()),
            };
            let sealed = plain == name;
            Some(BundleFiles { number, name: plain.to_owned(), sealed, path: dir.join(name), manifest })
        })
        .collect();
    bundles.sort_by(|a, b| {
        let key = |one: &BundleFiles| (one.number.unwrap_or(u32::MAX), one.name.clone());
        key(a).cmp(&key(b))
    });
    Ok(bundles)
}

/// Returns the release whose file has this path, and the layout. A strict grammar: every accepted path is safe to join
/// to a directory.
///
/// # Errors
/// When the path is not that of a release; the fault says why.
pub fn release_of(path: &str) -> Result<(ReleaseId, Layout), BundleFault> {
    if path.starts_with('/') {
        return Err(BundleFault::AbsolutePath);
    }
    if path.contains(['\\', ':']) {
        return Err(BundleFault::Backslash);
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(BundleFault::ParentPath);
    }
    let id = ReleaseId::of_file(file_name(path)).ok_or(BundleFault::NotARelease)?;
    let layout = [Layout::Shard, Layout::Cargo].into_iter().find(|layout| layout.path(&id) == path);
    Ok((id, layout.ok_or(BundleFault::NotARelease)?))
}

/// Returns the path of a member that is read, with its release and layout. The first release of the Go system names
/// members `HOST/{name}-{version}.crate`, after their origin; their place is that in the source system's layout.
pub(crate) fn member_of(path: String) -> Result<(String, ReleaseId, Layout), (String, BundleFault)> {
    let by_host = path.split_once('/').filter(|(host, _)| is_host(host));
    if let Some(id) = by_host.and_then(|(_, file)| ReleaseId::of_file(file)) {
        return Ok((Layout::Shard.path(&id), id, Layout::Shard));
    }
    match release_of(&path) {
        Ok((id, layout)) => Ok((path, id, layout)),
        Err(fault) => Err((path, fault)),
    }
}

/// Returns whether a directory is named like a host of a URL: with a dot, which no crate's name has, or a port.
fn is_host(text: &str) -> bool {
    const LONGEST: usize = 253;
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let labels = name.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    });
    let marked = name.contains('.') || name == "localhost" || port.is_some();
    labels && marked && name.len() <= LONGEST && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Returns whether `path` is that of `id` in either layout.
pub(crate) fn is_path_of(path: &str, id: &ReleaseId) -> bool {
    [Layout::Shard, Layout::Cargo].into_iter().any(|layout| layout.path(id) == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_releases_and_nothing_else() {
        for (path, shown, layout) in [
            ("s/er/serde-1.0.0.crate", "serde 1.0.0", Layout::Shard),
            ("se/rd/serde/serde-1.0.0.crate", "serde 1.0.0", Layout::Cargo),
            ("a-/fo/a-foo-0.1.0+build.1.crate", "a-foo 0.1.0+build.1", Layout::Shard),
            ("a/bc/abcd-1-2.0.0.crate", "abcd-1 2.0.0", Layout::Shard),
            ("2/ab/ab-1.0.0.crate", "ab 1.0.0", Layout::Cargo),
        ] {
            let (id, found) = release_of(path).expect(path);
            assert_eq!((id.to_string().as_str(), found), (shown, layout));
        }
        for (path, fault) in [
            ("/s/er/serde-1.0.0.crate", BundleFault::AbsolutePath),
            ("../s/er/serde-1.0.0.crate", BundleFault::ParentPath),
            ("s/./er/serde-1.0.0.crate", BundleFault::ParentPath),
            ("s//er/serde-1.0.0.crate", BundleFault::ParentPath),
            ("s\\er\\serde-1.0.0.crate", BundleFault::Backslash),
            ("C:/er/serde-1.0.0.crate", BundleFault::Backslash),
            ("serde-1.0.0.crate", BundleFault::NotARelease),
            ("x/er/serde-1.0.0.crate", BundleFault::NotARelease),
            (".mirror/lock", BundleFault::NotARelease),
            ("s/er/serde-1.0.0.crate.json", BundleFault::NotARelease),
            ("s/er/serde-1.0.0\u{e9}.crate", BundleFault::NotARelease),
        ] {
            assert_eq!(release_of(path).expect_err(path), fault, "{path}");
        }
    }

    #[test]
    fn members_of_the_first_go_release_are_named_by_their_host() {
        for host in ["static.example.org", "localhost", "localhost:8080", "127.0.0.1:8080", "a-b.c"] {
            let read = member_of(format!("{host}/a-foo-0.1.0+build.1.crate")).expect(host);
            assert_eq!(read.0, "a-/fo/a-foo-0.1.0+build.1.crate");
            assert_eq!((read.1.to_string().as_str(), read.2), ("a-foo 0.1.0+build.1", Layout::Shard));
        }
        for path in [
            "serde/serde-1.0.0.crate",
            "../serde-1.0.0.crate",
            "./serde-1.0.0.crate",
            "a..b/serde-1.0.0.crate",
            ".a/serde-1.0.0.crate",
            "a.b:x/serde-1.0.0.crate",
            "C:/serde-1.0.0.crate",
            "C:1/../serde-1.0.0.crate",
            "a.b/c/serde-1.0.0.crate",
            "a.b/serde.crate",
            "/a.b/serde-1.0.0.crate",
            "a.b/",
            "é.b/serde-1.0.0.crate",
        ] {
            assert!(member_of(path.to_owned()).is_err(), "{path}");
        }
        let own = member_of("s/er/serde-1.0.0.crate".to_owned()).expect("ours");
        assert_eq!(own.0, "s/er/serde-1.0.0.crate");
    }

    #[test]
    fn labels_and_file_names() {
        assert_eq!(manifest(3, "Serde_X.y", "zstd"), "bundle-0003-serde-x-y-to-zstd.manifest.jsonl");
        assert_eq!(file_name(r"S:\Rust\bundles\bundle-0000.tar.zst"), "bundle-0000.tar.zst");
    }

    #[test]
    fn a_directory_is_listed_with_manifests() {
        let dir = tempfile::tempdir().expect("dir");
        for name in [
            "bundle-0001.tar.zst.partial",
            "bundle-0001.manifest.jsonl.partial",
            "bundle-0000.tar.zst",
            "bundle-0000-a-to-b.manifest.jsonl",
            "other.tar.zst",
            "bundles.index.jsonl",
        ] {
            std::fs::write(dir.path().join(name), "").expect("write");
        }
        let found = list_bundles(dir.path()).expect("list");
        let shown: Vec<_> =
            found.iter().map(|one| (one.number, one.sealed, one.manifest.is_some())).collect();
        assert_eq!(shown, [(Some(0), true, true), (Some(1), false, true), (None, true, false)]);
    }
}
