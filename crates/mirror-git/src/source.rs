use std::ops::ControlFlow;
use std::path::Path;

use mirror_index::sparse::{CONFIG_MAX_BYTES, ConfigError, DlTemplate, RegistryConfig};
use mirror_index::{DirIndex, Glance, IndexFile, MAX_FILE_BYTES, Visit, is_index_file};
use mirror_types::upstream;
use url::Url;

use crate::error::IndexError;
use crate::read::GitIndex;

/// The file of an index that has the address of its crates.
const CONFIG: &str = "config.json";

/// The bytes of a changed file, unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobId(pub(crate) String);

/// A file that differs between two trees of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `se/rd/serde`
    pub path: String,
    /// The blob in the earlier tree; `None` when it is new.
    pub before: Option<BlobId>,
    /// The blob now; `None` when it is gone.
    pub after: Option<BlobId>,
}

/// A local index.
#[derive(Debug)]
#[non_exhaustive]
pub enum IndexSource {
    /// A git repository; its objects are read, never its work tree.
    Git(Box<GitIndex>),
    /// A plain directory of index files.
    Dir(DirIndex),
}

impl IndexSource {
    /// Opens whatever index is at `path`. Files of more than [`MAX_FILE_BYTES`] are not read.
    ///
    /// # Errors
    /// When there is none or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        Self::open_with(path, MAX_FILE_BYTES)
    }

    /// Opens whatever index is at `path`. Files of more than `max_file_bytes` are not read.
    ///
    /// # Errors
    /// When there is none or it cannot be read.
    pub fn open_with(path: &Path, max_file_bytes: usize) -> Result<Self, IndexError> {
        if !path.is_dir() {
            return Err(IndexError::Missing { path: path.to_owned() });
        }
        let bare = path.join("objects").is_dir() && path.join("HEAD").is_file();
        if bare || path.join(".git").exists() {
            GitIndex::open(path, max_file_bytes).map(|index| Self::Git(Box::new(index)))
        } else {
            Ok(Self::Dir(DirIndex::new(path, max_file_bytes)))
        }
    }

    /// Opens the index at `path` and makes sure that it holds crates. Blocks.
    ///
    /// # Errors
    /// When there is none, when it holds no crate or something else, or cannot be read.
    pub fn open_index(path: &Path) -> Result<Self, IndexError> {
        let source = Self::open(path)?;
        let what = match source.glance()? {
            Glance::Index => return Ok(source),
            Glance::Empty => {
                "holds no crate: there is no file in a place such as se/rd/serde; check its path, \
                              and whether the disk is mounted"
                    .to_owned()
            }
            Glance::Foreign { files, path, what } => format!(
                "is none: {path} is {what}, and none of the {files} files that were looked at has a line of an index; \
                 clone the index, or name its sparse address"
            ),
        };
        Err(IndexError::NotAnIndex { path: path.to_owned(), what })
    }

    /// Looks at the first files until one has a line of an index, or is empty: usually the first one. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn glance(&self) -> Result<Glance, IndexError> {
        Glance::of(|visit| self.scan(visit))
    }

    /// Describes the index for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Git(index) => index.describe(),
            Self::Dir(_) => "plain directory".to_owned(),
        }
    }

    /// Returns the id of the tree that is read, when it has one: equal trees have equal records. Histories cannot be
    /// compared, because upstream squashes its own.
    #[must_use]
    pub fn tree_id(&self) -> Option<String> {
        match self {
            Self::Git(index) => Some(index.tree_id()),
            Self::Dir(_) => None,
        }
    }

    /// Returns the id of the commit that is read; `None` for a plain directory.
    #[must_use]
    pub fn commit_id(&self) -> Option<String> {
        match self {
            Self::Git(index) => Some(index.commit_id()),
            Self::Dir(_) => None,
        }
    }

    /// Returns the address that a git repository was cloned from, when it records one. It may contain secrets.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        match self {
            Self::Git(index) => index.origin(),
            Self::Dir(_) => None,
        }
    }

    /// Returns the address of the crates in its own `config.json`. `None` when it has no such file, or when the file
    /// names the registry whose addresses are built in ([`upstream::is_own_download_address`]). Blocks.
    ///
    /// # Errors
    /// When the file cannot be read, has more than 1 MiB or has no address that Cargo would understand.
    pub fn downloads(&self) -> Result<Option<DlTemplate>, IndexError> {
        let (root, found) = match self {
            Self::Git(index) => (index.path(), index.small_file(CONFIG, CONFIG_MAX_BYTES)?),
            Self::Dir(index) => (index.root(), index.small_file(CONFIG, CONFIG_MAX_BYTES)?),
        };
        let Some((bytes, data)) = found else { return Ok(None) };
        let read = || {
            if bytes > CONFIG_MAX_BYTES {
                return Err(ConfigError::Size { bytes });
            }
            let config = RegistryConfig::parse(&data)?;
            let own = upstream::is_own_download_address(config.dl());
            if own { Ok(None) } else { DlTemplate::parse(config.dl()).map(Some) }
        };
        read().map_err(|source| IndexError::Config { path: root.join(CONFIG), source })
    }

    /// Returns the host that a git repository was cloned from; `None` for one of this machine, and for anything
    /// else.
    #[must_use]
    pub fn origin_host(&self) -> Option<String> {
        host_of(&self.origin()?)
    }

    /// Passes every file to `visit`, in bytewise order of paths, until it breaks. One file is in
    /// memory at a time. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn scan(&self, visit: &mut dyn FnMut(IndexFile) -> ControlFlow<()>) -> Result<(), IndexError> {
        match self {
            Self::Git(index) => index.scan(visit),
            Self::Dir(index) => Ok(index.scan(visit)?),
        }
    }

    /// Passes every file to visitors, one of which `visitor` makes for each of `threads` threads, in the order that is
    /// fastest to read, until one of them breaks. Inflates each base in a pack of a git repository once. Memory: the
    /// paths and object ids of all files, the mapped packs, and a chain of deltas for each thread. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn scan_unordered<'v>(
        &self,
        threads: usize,
        visitor: &(dyn Fn() -> Visit<'v> + Sync),
    ) -> Result<(), IndexError> {
        match self {
            Self::Git(index) => index.scan_unordered(threads, visitor),
            Self::Dir(index) => Ok(index.scan_unordered(threads, visitor)?),
        }
    }

    /// Returns the files that differ between an earlier tree ([`IndexSource::tree_id`]) and the one that is read, in
    /// the order of the tree. `None` when the earlier one is no longer there. Time and memory grow with what changed.
    /// Blocks.
    #[must_use]
    pub fn compare(&self, since: &str) -> Option<Vec<Change>> {
        match self {
            Self::Git(index) => index.compare(since),
            Self::Dir(_) => None,
        }
    }

    /// Reads the bytes of a changed file. Blocks.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn blob(&self, blob: &BlobId) -> Result<Vec<u8>, IndexError> {
        match self {
            Self::Git(index) => index.blob(blob),
            Self::Dir(index) => Ok(index.file(&blob.0)?.unwrap_or_default()),
        }
    }

    /// Returns the file at a path ([`mirror_types::index_path`]), if it is in the index; never one that cannot be an
    /// index file, even if the caller has its path from an earlier version. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn file(&self, path: &str) -> Result<Option<IndexFile>, IndexError> {
        if !is_index_file(path) {
            return Ok(None);
        }
        let data = match self {
            Self::Git(index) => index.file(path)?,
            Self::Dir(index) => index.file(path)?,
        };
        Ok(data.map(|data| IndexFile { path: path.to_owned(), data }))
    }
}

/// Returns the host of an address as git understands it: a URL, or `user@host:path`.
fn host_of(origin: &str) -> Option<String> {
    if origin.contains("://") {
        return Url::parse(origin).ok()?.host_str().map(str::to_owned);
    }
    let (host, _) = origin.split_once(':').filter(|(host, _)| !host.contains('/'))?;
    Some(host.rsplit('@').next().unwrap_or(host).to_owned())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests make indexes to read")]
mod tests {
    use std::fs;

    use mirror_types::{CrateName, ReleaseId, Sha256, VersionText};

    use super::*;

    #[test]
    fn a_directory_says_itself_where_its_crates_are() {
        let dir = tempfile::tempdir().expect("dir");
        let downloads = || IndexSource::open(dir.path()).expect("index").downloads();
        assert_eq!(downloads().expect("none"), None);
        let state =
            |dl: &str| fs::write(dir.path().join(CONFIG), format!(r#"{{"dl":"{dl}"}}"#)).expect("written");
        for own in [
            format!("{}/", upstream::crates_base_url()),
            format!("https://{}/api/v1/crates", upstream::REGISTRY),
        ] {
            state(&own);
            assert_eq!(downloads().expect("own"), None, "{own}");
        }
        let (name, version) =
            (CrateName::new("Serde").expect("name"), VersionText::new("1.0.0").expect("version"));
        let id = ReleaseId { name, version };
        for (dl, url) in [
            ("https://h/dl", "https://h/dl/Serde/1.0.0/download"),
            ("http://h/{lowerprefix}/{crate}-{version}", "http://h/se/rd/Serde-1.0.0"),
        ] {
            state(dl);
            let template = downloads().expect(dl).expect(dl);
            assert_eq!(template.url(&id, &Sha256::from_bytes([0; 32])).expect(dl).as_str(), url);
        }
        for bad in ["ftp://h/dl", "https://h/{nothing}", ""] {
            state(bad);
            assert!(matches!(downloads(), Err(IndexError::Config { .. })), "{bad}");
        }
        fs::write(dir.path().join(CONFIG), vec![b' '; 2 << 20]).expect("written");
        let error = downloads().expect_err("large");
        assert!(
            matches!(&error, IndexError::Config { source: ConfigError::Size { bytes: 2_097_152 }, .. }),
            "{error}"
        );
    }

    #[test]
    fn hosts_are_found_as_git_finds_them() {
        for (origin, host) in [
            ("https://h.example/index", Some("h.example")),
            ("ssh://git@h.example:22/index", Some("h.example")),
            ("git@h.example:index", Some("h.example")),
            ("h.example:index", Some("h.example")),
            ("file:///srv/index", None),
            ("/srv/index", None),
            ("./a:b", None),
            ("../index", None),
        ] {
            assert_eq!(host_of(origin).as_deref(), host, "{origin}");
        }
    }
}
