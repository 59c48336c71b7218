//! The sources of sidecars: a local index, or a mirror's cache of a sparse registry.

use std::ops::ControlFlow;
use std::path::Path;

use mirror_git::IndexSource;
use mirror_index::Visit;
use mirror_index::sparse::{self, CacheEntry, CacheState, DlTemplate, RegistryConfig};
use mirror_store::Store;
use mirror_types::{Address, Layout, upstream};

use super::error::GenerateError;
use super::observe::{SidecarEvent, SidecarObserver};
use super::options::{SidecarOptions, SidecarSource};
use super::render::Urls;

pub(super) enum Feed {
    Local(IndexSource),
    Cache(SparseCache),
}

/// The index files that a mirror keeps of one sparse registry.
pub(super) struct SparseCache {
    store: Store,
    /// The directory below `.mirror`.
    dir: String,
    /// The paths, in bytewise order.
    paths: Vec<String>,
}

const CONFIG: &str = "config.json";

/// Opens the source, and finds the address of its crates. Writes nothing.
pub(super) fn open(
    options: &SidecarOptions,
    observer: &dyn SidecarObserver,
) -> Result<(Feed, Urls), GenerateError> {
    let base = options.crates_base_url.as_ref().map(|base| urls_of(&base.to_string())).transpose()?;
    match &options.source {
        SidecarSource::Local(dir) => {
            let source = IndexSource::open_index(dir)?;
            observer.event(SidecarEvent::IndexOpened { dir, what: &source.describe() });
            let urls = match base {
                Some(base) => base,
                None => match source.downloads()? {
                    Some(own) => Urls::Template(own),
                    None => urls_of(&upstream::crates_base_url())?,
                },
            };
            Ok((Feed::Local(source), urls))
        }
        SidecarSource::SparseCache { mirror, registry } => {
            let cache = SparseCache::open(mirror, registry.as_ref())?;
            observer.event(SidecarEvent::CacheOpened { mirror, files: cache.paths.len() });
            let urls = base.map_or_else(|| cache.urls(), Ok)?;
            Ok((Feed::Cache(cache), urls))
        }
    }
}

/// Checks a base of download URLs.
fn urls_of(base: &str) -> Result<Urls, GenerateError> {
    let template = DlTemplate::from_base(base)?;
    let marked = base.contains('{');
    Ok(if marked { Urls::Template(template) } else { Urls::Base(base.trim_end_matches('/').to_owned()) })
}

impl Feed {
    /// Passes every file to `visit`, in bytewise order of paths, until it breaks.
    pub(super) fn in_order(
        &self,
        visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), GenerateError> {
        match self {
            Self::Local(source) => Ok(source.scan(&mut |file| visit(&file.path, &file.data))?),
            Self::Cache(cache) => cache.scan(visit),
        }
    }

    /// Passes every file to a visitor of one of several threads, in the order that is fastest to read.
    pub(super) fn fastest<'v>(
        &self,
        threads: usize,
        visitor: &(dyn Fn() -> Visit<'v> + Sync),
    ) -> Result<(), GenerateError> {
        match self {
            Self::Local(source) => Ok(source.scan_unordered(threads, visitor)?),
            Self::Cache(cache) => cache.scan(&mut visitor()),
        }
    }

    /// Returns the index and its tree, when it has trees to compare.
    pub(super) fn trees(&self) -> Option<(&IndexSource, String)> {
        let Self::Local(source) = self else { return None };
        Some((source, source.tree_id()?))
    }
}

impl SparseCache {
    fn open(mirror: &Path, registry: Option<&Address>) -> Result<Self, GenerateError> {
        let nothing = |what| Err(GenerateError::NothingKept { mirror: mirror.to_owned(), what });
        let Some(store) = Store::open_read_only(mirror, Layout::default())? else {
            return nothing("a sparse registry");
        };
        let all = store.list_state("sparse")?;
        let mut kept: Vec<&str> = all.iter().filter_map(|path| Some(path.split_once('/')?.0)).collect();
        kept.dedup();
        let dir = match (registry, &*kept) {
            (Some(url), _) => sparse::cache_dir_of(&sparse::root(url)?),
            (None, [only]) => format!("sparse/{only}"),
            (None, []) => return nothing("a sparse registry"),
            (None, _) => {
                return Err(GenerateError::SeveralRegistries {
                    mirror: mirror.to_owned(),
                    count: kept.len(),
                });
            }
        };
        let prefix = format!("{}/", dir.trim_start_matches("sparse/"));
        let paths: Vec<String> = all
            .iter()
            .filter_map(|path| path.strip_prefix(&prefix))
            .filter(|path| *path != CONFIG)
            .map(str::to_owned)
            .collect();
        if paths.is_empty() {
            return nothing("that registry");
        }
        Ok(Self { store, dir, paths })
    }

    fn load(&self, path: &str) -> Result<Option<Vec<u8>>, GenerateError> {
        let Some(bytes) = self.store.read_state(&format!("{}/{path}", self.dir))? else { return Ok(None) };
        Ok(match CacheEntry::decode(&bytes) {
            Ok(CacheEntry { state: CacheState::Present(data), .. }) => Some(data),
            Ok(CacheEntry { state: CacheState::Gone, .. }) => None,
            // A reader finds no good line in it, and reports the file. The rest of a damaged entry may look good.
            Err(_) => Some(b"a damaged entry of the cache".to_vec()),
        })
    }

    /// Returns the download URLs of the registry.
    fn urls(&self) -> Result<Urls, GenerateError> {
        let Some(config) = self.load(CONFIG)? else {
            return Err(GenerateError::NoAddress);
        };
        Ok(Urls::Template(DlTemplate::parse(RegistryConfig::parse(&config)?.dl())?))
    }

    fn scan(&self, visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>) -> Result<(), GenerateError> {
        for path in &self.paths {
            let Some(data) = self.load(path)? else { continue };
            if visit(path, &data).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mirror_types::Advice;

    use super::super::{SidecarMode, generate};
    use super::*;

    fn keep(store: &Store, dir: &str, path: &str, state: CacheState) {
        let entry = CacheEntry { etag: None, last_modified: None, state };
        store.write_state(&format!("{dir}/{path}"), &entry.encode()).expect("kept");
    }

    fn mirror(root: &Path, registries: &[&str]) {
        let store = Store::open(root, Layout::Shard, false).expect("mirror");
        for url in registries {
            let dir = sparse::cache_dir_of(&sparse::root(&(*url).into()).expect("url"));
            let config = format!(r#"{{"dl":"{url}{{prefix}}/{{crate}}/{{version}}/{{sha256-checksum}}"}}"#);
            keep(&store, &dir, CONFIG, CacheState::Present(config.into_bytes()));
            let line = |name: &str, version: &str| {
                format!(r#"{{"name":"{name}","vers":"{version}","cksum":"{}"}}"#, "ab".repeat(32))
            };
            let serde = format!("{}\n{}\n", line("serde", "1.0.0+x"), line("serde", "1.0.1"));
            keep(&store, &dir, "se/rd/serde", CacheState::Present(serde.into_bytes()));
            keep(&store, &dir, "3/a/abc", CacheState::Present(line("abc", "0.1.0").into_bytes()));
            keep(&store, &dir, "go/ne/gone", CacheState::Gone);
        }
    }

    fn options(root: &Path, registry: Option<&str>) -> SidecarOptions {
        SidecarOptions {
            source: SidecarSource::SparseCache {
                mirror: root.to_owned(),
                registry: registry.map(Into::into),
            },
            mode: SidecarMode::Jsonl { path: root.join("s.jsonl"), layout_of: root.to_owned() },
            manifest: None,
            include_yanked: false,
            limit: 0,
            concurrency: 8,
            crates_base_url: None,
            refresh: false,
            offered: false,
            with_licence: false,
        }
    }

    fn urls(root: &Path, registry: Option<&str>) -> Result<Vec<String>, GenerateError> {
        let outcome = generate(&options(root, registry), &(), &|| false)?;
        assert_eq!(outcome.selected, 3);
        let text = std::fs::read_to_string(root.join("s.jsonl")).expect("read");
        let value = |line| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
        Ok(text.lines().map(|line| value(line)["crate_url"].as_str().expect("URL").to_owned()).collect())
    }

    #[test]
    fn the_cache_of_a_sparse_registry_is_an_index_too() {
        let dir = tempfile::tempdir().expect("dir");
        mirror(dir.path(), &["https://one/"]);
        let sum = "ab".repeat(32);
        let expected = [
            format!("https://one/3/a/abc/0.1.0/{sum}"),
            format!("https://one/se/rd/serde/1.0.0+x/{sum}"),
            format!("https://one/se/rd/serde/1.0.1/{sum}"),
        ];
        assert_eq!(urls(dir.path(), None).expect("sidecars"), expected);
        // The same as files.
        let files = SidecarOptions {
            mode: SidecarMode::Files { out: dir.path().to_owned() },
            ..options(dir.path(), None)
        };
        let outcome = generate(&files, &(), &|| false).expect("sidecars");
        assert_eq!(outcome.written, 3);
        let text = std::fs::read_to_string(dir.path().join("s/er/serde-1.0.1.crate.json")).expect("read");
        assert!(text.contains(&expected[2]), "{text}");
    }

    #[test]
    fn one_of_several_registries_is_named() {
        let dir = tempfile::tempdir().expect("dir");
        let nothing = urls(dir.path(), None).expect_err("nothing");
        assert_eq!(nothing.advice(), Some(Advice::NameTheIndex), "{nothing}");
        mirror(dir.path(), &["https://one/", "https://two/"]);
        let which = urls(dir.path(), None).expect_err("which");
        assert!(which.to_string().contains("keeps 2"), "{which}");
        assert_eq!(which.advice(), Some(Advice::NameTheRegistry));
        assert!(urls(dir.path(), Some("https://two/")).expect("sidecars")[0].starts_with("https://two/"));
        assert!(urls(dir.path(), Some("https://three/")).is_err());
    }
}
