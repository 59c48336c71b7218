//! What sidecars are made from: a local index, or what a mirror keeps of a sparse registry.

use std::ops::ControlFlow;
use std::path::Path;

use mirror_index::sparse::{CacheEntry, CacheState, DlTemplate, RegistryConfig};
use mirror_index::{IndexSource, Visit};
use mirror_store::Store;
use mirror_types::{Layout, upstream};

use super::options::{SidecarOptions, SidecarSource};
use super::render::Urls;
use crate::error::PipelineError;
use crate::sparse::SparseRegistry;

pub(super) enum Feed {
    Local(IndexSource),
    Cache(SparseCache),
}

/// The index files that a mirror keeps of one sparse registry.
pub(super) struct SparseCache {
    store: Store,
    /// Below `.mirror`.
    dir: String,
    /// In bytewise order.
    paths: Vec<String>,
}

const CONFIG: &str = "config.json";

/// Opens the source, and says where its crates come from. Touches nothing.
pub(super) fn open(options: &SidecarOptions) -> Result<(Feed, Urls), PipelineError> {
    let base = options.crates_base_url.as_deref().map(urls_of).transpose()?;
    match &options.source {
        SidecarSource::Local(dir) => {
            let source = IndexSource::open(dir)?;
            tracing::info!(index = %dir.display(), "{}", source.describe());
            Ok((Feed::Local(source), base.map_or_else(|| urls_of(&upstream::crates_base_url()), Ok)?))
        }
        SidecarSource::SparseCache { mirror, registry } => {
            let cache = SparseCache::open(mirror, registry.as_deref())?;
            let urls = base.map_or_else(|| cache.urls(), Ok)?;
            Ok((Feed::Cache(cache), urls))
        }
    }
}

/// Checks a base of download URLs.
fn urls_of(base: &str) -> Result<Urls, PipelineError> {
    let template = DlTemplate::from_base(base)?;
    let marked = base.contains('{');
    Ok(if marked { Urls::Template(template) } else { Urls::Base(base.trim_end_matches('/').to_owned()) })
}

impl Feed {
    /// Gives every file to `visit`, in bytewise order of paths, until it breaks.
    pub(super) fn in_order(
        &self,
        visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), PipelineError> {
        match self {
            Self::Local(source) => Ok(source.scan(&mut |file| visit(&file.path, &file.data))?),
            Self::Cache(cache) => cache.scan(visit),
        }
    }

    /// Gives every file to a visitor of one of several threads, in the order that is read fastest.
    pub(super) fn fastest<'v>(
        &self,
        threads: usize,
        visitor: &(dyn Fn() -> Visit<'v> + Sync),
    ) -> Result<(), PipelineError> {
        match self {
            Self::Local(source) => Ok(source.scan_unordered(threads, visitor)?),
            Self::Cache(cache) => cache.scan(&mut visitor()),
        }
    }

    /// The index, when it has trees to compare.
    pub(super) fn trees(&self) -> Option<(&IndexSource, String)> {
        let Self::Local(source) = self else { return None };
        Some((source, source.tree_id()?))
    }
}

impl SparseCache {
    fn open(mirror: &Path, registry: Option<&str>) -> Result<Self, PipelineError> {
        let nothing = |hint: &str| {
            Err(PipelineError::Usage(format!(
                "{} keeps nothing of {hint}; give --index-dir, or fill the mirror with download-crates first",
                mirror.display()
            )))
        };
        let Some(store) = Store::open_read_only(mirror, Layout::default())? else {
            return nothing("a sparse registry");
        };
        let all = store.list_state("sparse")?;
        let mut kept: Vec<&str> = all.iter().filter_map(|path| Some(path.split_once('/')?.0)).collect();
        kept.dedup();
        let dir = match (registry, &*kept) {
            (Some(url), _) => SparseRegistry::cache_dir_of(&SparseRegistry::root(url)?),
            (None, [only]) => format!("sparse/{only}"),
            (None, []) => return nothing("a sparse registry"),
            (None, _) => {
                return Err(PipelineError::Usage(format!(
                    "{} keeps {} sparse registries; choose one with --index-url sparse+URL",
                    mirror.display(),
                    kept.len()
                )));
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
        tracing::info!(mirror = %mirror.display(), files = paths.len(), "cache of a sparse registry");
        Ok(Self { store, dir, paths })
    }

    fn load(&self, path: &str) -> Result<Option<Vec<u8>>, PipelineError> {
        let Some(bytes) = self.store.read_state(&format!("{}/{path}", self.dir))? else { return Ok(None) };
        Ok(match CacheEntry::decode(&bytes) {
            Ok(CacheEntry { state: CacheState::Present(data), .. }) => Some(data),
            Ok(CacheEntry { state: CacheState::Gone, .. }) => None,
            // Whoever reads it finds no good line in it, and names the file.
            Err(_) => Some(bytes),
        })
    }

    /// Where the registry has its crates.
    fn urls(&self) -> Result<Urls, PipelineError> {
        let Some(config) = self.load(CONFIG)? else {
            return Err(PipelineError::Usage(
                "the cache has no config.json that says where crates come from; give --crates-base-url"
                    .to_owned(),
            ));
        };
        Ok(Urls::Template(DlTemplate::parse(RegistryConfig::parse(&config)?.dl())?))
    }

    fn scan(&self, visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>) -> Result<(), PipelineError> {
        for path in &self.paths {
            let Some(data) = self.load(path)? else { continue };
            if visit(path, &data).is_break() {
                break;
            }
        }
        Ok(())
    }
}
