//! A sparse registry: its index files are refreshed with conditional requests into a cache below
//! `.mirror/sparse/`, and planned from there.

use std::collections::{BTreeMap, HashMap};

use http::{HeaderName, HeaderValue};
use mirror_fetch::{Body, Content, FailureKind, FetchRequest, Fetched, Fetcher, RunEnd};
use mirror_index::sparse::{self, Answer, CacheEntry, DlTemplate, RegistryConfig};
use mirror_index::{Closure, IndexFile, IndexLimits, LineFault};
use mirror_store::Store;
use mirror_types::{Address, CrateName, Printable, index_path, redacted};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::error::PipelineError;
use crate::spool::read_spool;

/// The registry, as far as a run needs it.
pub(crate) struct SparseRegistry {
    root: Url,
    cache_dir: String,
    store: Option<Store>,
    /// Whether answers may be written to the cache.
    keep: bool,
    offline: bool,
    fetcher: Fetcher,
    /// Fresh entries of a run that must not write.
    memory: HashMap<String, CacheEntry>,
    /// Crates whose index file could not be refreshed, with the reason.
    pub(crate) failed: BTreeMap<CrateName, String>,
}

impl SparseRegistry {
    pub(crate) fn new(
        root: &Address,
        store: Option<Store>,
        keep: bool,
        offline: bool,
        fetcher: Fetcher,
    ) -> Result<Self, PipelineError> {
        let root = Self::root(root)?;
        let cache_dir = Self::cache_dir_of(&root);
        Ok(Self {
            root,
            cache_dir,
            store,
            keep,
            offline,
            fetcher,
            memory: HashMap::new(),
            failed: BTreeMap::new(),
        })
    }

    /// Where a mirror keeps what it knows of a registry, below `.mirror`. Credentials are no part of it.
    pub(crate) fn cache_dir_of(root: &Url) -> String {
        let safe: String = redacted(root.as_str())
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .collect();
        format!("sparse/{}", safe.trim_matches('-').replace("..", "-"))
    }

    /// The address of a registry, `sparse+` or not, with a slash at the end.
    pub(crate) fn root(address: &Address) -> Result<Url, PipelineError> {
        let text = address.reveal();
        let text = text.strip_prefix("sparse+").unwrap_or(text);
        let with_slash = if text.ends_with('/') { text.to_owned() } else { format!("{text}/") };
        Url::parse(&with_slash)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                PipelineError::Usage(format!(
                    "--index-url {} is not an http or https URL",
                    Printable(address.to_string())
                ))
            })
    }

    fn load(&self, path: &str) -> Option<CacheEntry> {
        if let Some(entry) = self.memory.get(path) {
            return Some(entry.clone());
        }
        let bytes = self.store.as_ref()?.read_state(&format!("{}/{path}", self.cache_dir)).ok()??;
        CacheEntry::decode(&bytes).ok()
    }

    fn save(&mut self, path: &str, entry: CacheEntry) -> Result<(), PipelineError> {
        match &self.store {
            Some(store) if self.keep => {
                store.write_state(&format!("{}/{path}", self.cache_dir), &entry.encode())?;
            }
            _ => {
                self.memory.insert(path.to_owned(), entry);
            }
        }
        Ok(())
    }

    /// Answers of an index that the operator named may be elsewhere, as for Cargo.
    fn request(url: Url, entry: Option<&CacheEntry>) -> FetchRequest {
        sparse::conditional_headers(entry).into_iter().fold(
            FetchRequest::new(url).across_origins(),
            |request, (name, value)| match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(value)) => request.with_header(name, value),
                _ => request,
            },
        )
    }

    /// The registry's own `dl` template.
    pub(crate) async fn template(&mut self) -> Result<DlTemplate, PipelineError> {
        let cached = self.load("config.json");
        let entry = if self.offline {
            cached
        } else {
            let url = sparse::config_url(&self.root);
            match self.fetcher.fetch(Self::request(url.clone(), cached.as_ref())).await {
                Ok(fetched) => match answer(fetched)? {
                    Answer::Updated(entry) => {
                        self.save("config.json", entry.clone())?;
                        Some(entry)
                    }
                    Answer::Unchanged => cached,
                    _ => None,
                },
                Err(failure) if failure.kind == FailureKind::Proxy => {
                    return Err(PipelineError::Usage(failure.message));
                }
                Err(failure) => {
                    return Err(PipelineError::Origin(format!(
                        "could not read the registry's configuration {}: {failure}. Check --index-url and the \
                         network, or use --offline to work from the cache",
                        redacted(url.as_str())
                    )));
                }
            }
        };
        let Some(CacheEntry { state: sparse::CacheState::Present(bytes), .. }) = entry else {
            let hint = if self.offline { "run once without --offline" } else { "check --index-url" };
            return Err(PipelineError::Origin(format!(
                "there is no config.json of {}: {hint}",
                redacted(self.root.as_str())
            )));
        };
        Ok(DlTemplate::parse(RegistryConfig::parse(&bytes)?.dl())?)
    }

    /// Whether downloads go to another host than the index, which the operator did not name.
    pub(crate) fn leads_elsewhere(&self, template: &DlTemplate) -> bool {
        template.host() != self.root.host_str().map(str::to_owned)
    }

    /// Brings the index files of `names` into the cache, many requests at a time.
    pub(crate) async fn refresh(
        &mut self,
        names: Vec<CrateName>,
        cancel: &CancellationToken,
    ) -> Result<(), PipelineError> {
        if self.offline || names.is_empty() {
            return Ok(());
        }
        let (jobs, job_queue) = mpsc::channel(64);
        let (results, mut answers) = mpsc::channel(64);
        let requests: Vec<_> = names
            .into_iter()
            .map(|name| {
                let request = Self::request(
                    sparse::index_url(&self.root, &name),
                    self.load(&index_path(&name)).as_ref(),
                );
                (name, request)
            })
            .collect();
        let feed = tokio::spawn(async move {
            for job in requests {
                if jobs.send(job).await.is_err() {
                    break;
                }
            }
        });
        let fetcher = self.fetcher.clone();
        let token = cancel.clone();
        let run = tokio::spawn(async move { fetcher.run(job_queue, results, token).await });
        while let Some((name, result)) = answers.recv().await {
            let path = index_path(&name);
            match result {
                Ok(fetched) => match answer(fetched)? {
                    Answer::Updated(entry) => self.save(&path, entry)?,
                    Answer::Unchanged => {}
                    _ => {
                        self.failed.insert(name, "the registry's answer makes no sense".to_owned());
                    }
                },
                Err(failure) if failure.is_gone() => {
                    self.save(
                        &path,
                        CacheEntry { etag: None, last_modified: None, state: sparse::CacheState::Gone },
                    )?;
                }
                Err(failure) if failure.kind == FailureKind::Proxy => {
                    return Err(PipelineError::Usage(failure.message));
                }
                Err(failure) => {
                    self.failed.insert(name, failure.to_string());
                }
            }
        }
        let internal = |error: tokio::task::JoinError| PipelineError::Internal(error.to_string());
        feed.await.map_err(internal)?;
        match run.await.map_err(internal)? {
            RunEnd::Done => Ok(()),
            RunEnd::Silent => {
                let last = self.failed.values().next_back().map_or("no answer", String::as_str);
                Err(PipelineError::Origin(format!(
                    "the registry answers no more: {last}. Check the network, then run the same command again"
                )))
            }
        }
    }

    /// The index file of a crate, from what was refreshed before; `None` when there is none, or when
    /// what is kept could not be refreshed: the crate is reported as failed then, whole.
    pub(crate) fn file(&self, name: &CrateName) -> Option<IndexFile> {
        if self.failed.contains_key(name) {
            return None;
        }
        let path = index_path(name);
        match self.load(&path)?.state {
            sparse::CacheState::Present(data) => Some(IndexFile { path, data }),
            sparse::CacheState::Gone => None,
        }
    }

    /// Everything that could satisfy a dependency of what `closure` begins with.
    pub(crate) async fn close(
        &mut self,
        closure: &mut Closure,
        faults: &mut (dyn FnMut(LineFault) + Send),
        cancel: &CancellationToken,
    ) -> Result<(), PipelineError> {
        loop {
            let names = closure.next_needed();
            if names.is_empty() || cancel.is_cancelled() {
                return Ok(());
            }
            self.refresh(names.clone(), cancel).await?;
            for name in names {
                closure.provide(&name, self.file(&name), &IndexLimits::default(), faults);
            }
        }
    }
}

fn answer(fetched: Fetched) -> Result<Answer, PipelineError> {
    let text =
        |name: &str| fetched.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (etag, modified) = (text("etag"), text("last-modified"));
    let body = match fetched.content {
        Content::Body(verified) => match verified.into_body() {
            Body::Memory(bytes) => bytes.to_vec(),
            Body::Spooled(spool) => read_spool(spool)?,
        },
        Content::NotModified | Content::HeadersOnly => Vec::new(),
    };
    Ok(sparse::interpret(fetched.status, etag.as_deref(), modified.as_deref(), body))
}
