//! A sparse registry: its index files are refreshed with conditional requests into a cache below
//! `.mirror/sparse/`, and planned from there.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};
use mirror_fetch::{Body, Content, Failure, FailureKind, FetchRequest, Fetched, Fetcher, RunEnd};
use mirror_index::sparse::{self, Answer, AnswerLimits, CacheEntry, CacheState, DlTemplate, RegistryConfig};
use mirror_index::{Closure, IndexFile, IndexLimits, LineFault};
use mirror_store::Store;
use mirror_types::{Address, Cause, CrateName, Unexpected, index_path, redacted};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::error::SyncError;
use crate::names::spellings;
use crate::spool::read_spool;

/// The result of the request for a crate's index file.
pub(crate) enum FileAnswer {
    /// The index file.
    Present(IndexFile),
    /// The registry has no such crate.
    Gone,
    /// The reason why the file could not be fetched.
    Failed(String),
}

/// A callback for the registry's answer about each crate.
pub(crate) type Each<'e> = dyn FnMut(&CrateName, FileAnswer) -> Result<(), SyncError> + Send + 'e;

/// The registry, as far as a run needs it.
pub(crate) struct SparseRegistry {
    root: Url,
    cache_dir: String,
    store: Option<Store>,
    /// True if answers may be written to the cache.
    keep: bool,
    offline: bool,
    limits: AnswerLimits,
    fetcher: Fetcher,
    /// Crates whose index file could not be refreshed, with the reason.
    pub(crate) failed: BTreeMap<CrateName, String>,
}

impl SparseRegistry {
    pub(crate) fn new(
        root: &Address,
        store: Option<Store>,
        keep: bool,
        offline: bool,
        limits: AnswerLimits,
        fetcher: Fetcher,
    ) -> Result<Self, SyncError> {
        let root = sparse::root(root)?;
        let cache_dir = sparse::cache_dir_of(&root);
        Ok(Self { root, cache_dir, store, keep, offline, limits, fetcher, failed: BTreeMap::new() })
    }

    fn load(&self, path: &str) -> Option<CacheEntry> {
        let bytes = self.store.as_ref()?.read_state(&format!("{}/{path}", self.cache_dir)).ok()??;
        CacheEntry::decode(&bytes).ok()
    }

    fn save(&self, path: &str, entry: &CacheEntry) -> Result<(), SyncError> {
        if let Some(store) = self.store.as_ref().filter(|_| self.keep) {
            store.write_state(&format!("{}/{path}", self.cache_dir), &entry.encode())?;
        }
        Ok(())
    }

    /// An index that the operator named may redirect its answers elsewhere, as Cargo allows.
    fn request(url: Url, entry: Option<&CacheEntry>) -> FetchRequest {
        sparse::conditional_headers(entry).into_iter().fold(
            FetchRequest::new(url).across_origins(),
            |request, (name, value)| match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(value)) => request.with_header(name, value),
                _ => request,
            },
        )
    }

    /// Returns the registry's own `dl` template.
    pub(crate) async fn template(&mut self) -> Result<DlTemplate, SyncError> {
        let cached = self.load(CONFIG);
        if self.offline {
            // Without a cached configuration, the registry has to be asked once.
            let Some(CacheEntry { state: CacheState::Present(bytes), .. }) = cached else {
                return Err(SyncError::NeverFetched { url: self.shown_config() });
            };
            return Ok(DlTemplate::parse(RegistryConfig::parse(&bytes)?.dl())?);
        }
        let request = Self::request(sparse::config_url(&self.root), cached.as_ref())
            .with_max_body_bytes(self.limits.max_config_bytes);
        let fetched = self.fetcher.fetch(request).await.map_err(|failure| match failure.kind {
            FailureKind::Proxy => SyncError::Usage(failure.message),
            _ => self.no_config(failure),
        })?;
        let end_announced = fetched.end_announced;
        let (mut entry, fresh) = match answer(fetched)? {
            Answer::Updated(entry) => (entry, true),
            Answer::Unchanged => {
                (cached.ok_or_else(|| self.no_config("the cache lost it meanwhile"))?, false)
            }
            _ => return Err(self.no_config("the answer makes no sense")),
        };
        let CacheState::Present(bytes) = &entry.state else {
            return Err(self.no_config("the registry has none"));
        };
        let template = DlTemplate::parse(RegistryConfig::parse(bytes)?.dl())?;
        // Only a usable configuration is kept.
        if fresh {
            if !end_announced {
                (entry.etag, entry.last_modified) = (None, None);
            }
            self.save(CONFIG, &entry)?;
        }
        Ok(template)
    }

    fn no_config(&self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SyncError {
        SyncError::RegistryConfig { url: self.shown_config(), source: Cause::new(why) }
    }

    /// Returns the address of the registry's configuration without secrets.
    fn shown_config(&self) -> String {
        redacted(sparse::config_url(&self.root).as_str())
    }

    /// Returns whether downloads go to another host than the index, and the operator did not name it.
    pub(crate) fn leads_elsewhere(&self, template: &DlTemplate) -> bool {
        template.host() != self.root.host_str().map(str::to_owned)
    }

    /// Brings the index files of `names` into the cache, with many requests at a time, and passes each to `each` as it
    /// arrives: the file; nothing, when the registry has no such crate in any spelling; or the reason why it could not
    /// be fetched. Memory: the answers in flight. A run that must not write keeps nothing.
    pub(crate) async fn refresh(
        &mut self,
        names: Vec<CrateName>,
        cancel: &CancellationToken,
        each: &mut Each<'_>,
    ) -> Result<(), SyncError> {
        if self.offline {
            for name in names {
                let known = self.file(&name);
                let answer = match known {
                    None if !self.was_asked(&name) => {
                        let why = "it was never fetched, and this run is offline".to_owned();
                        self.failed.insert(name.clone(), why.clone());
                        FileAnswer::Failed(why)
                    }
                    Some(file) => FileAnswer::Present(file),
                    None => FileAnswer::Gone,
                };
                each(&name, answer)?;
            }
            return Ok(());
        }
        self.in_rounds(names, None, cancel, each).await
    }

    /// Does the same past the caches on the way, which may have answered with old files. A crate for which that fails is
    /// passed as it was.
    async fn refresh_past_caches(
        &mut self,
        names: Vec<CrateName>,
        cancel: &CancellationToken,
        each: &mut Each<'_>,
    ) -> Result<(), SyncError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.in_rounds(names, Some(now.as_secs()), cancel, each).await
    }

    async fn in_rounds(
        &mut self,
        names: Vec<CrateName>,
        past_caches: Option<u64>,
        cancel: &CancellationToken,
        each: &mut Each<'_>,
    ) -> Result<(), SyncError> {
        let mut round: Vec<Asked> = names.into_iter().map(Asked::new).collect();
        while !round.is_empty() && !cancel.is_cancelled() {
            round = self.ask(round, past_caches, cancel, each).await?;
        }
        Ok(())
    }

    /// Asks for each crate in one spelling; returns those with further spellings. `past_caches`: the time in seconds,
    /// when caches on the way are not to answer.
    async fn ask(
        &mut self,
        round: Vec<Asked>,
        past_caches: Option<u64>,
        cancel: &CancellationToken,
        each: &mut Each<'_>,
    ) -> Result<Vec<Asked>, SyncError> {
        let (jobs, job_queue) = mpsc::channel(64);
        let (results, mut answers) = mpsc::channel(64);
        let requests: Vec<_> = round
            .into_iter()
            .map(|asked| {
                let known = self.load(&index_path(&asked.spelling));
                let url = sparse::index_url(&self.root, &asked.spelling);
                let url = past_caches.into_iter().fold(url, sparse::past_caches);
                let request =
                    Self::request(url, known.as_ref()).with_max_body_bytes(self.limits.max_index_file_bytes);
                (asked, request)
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
        let mut again = Vec::new();
        while let Some((mut asked, result)) = answers.recv().await {
            // Waiting answers may be large.
            if cancel.is_cancelled() {
                break;
            }
            match self.take(&asked.spelling, result, past_caches.is_some())? {
                FileAnswer::Gone if asked.next() => again.push(asked),
                FileAnswer::Gone | FileAnswer::Failed(_) if past_caches.is_some() => {
                    let known = self.file(&asked.name);
                    each(&asked.name, known.map_or(FileAnswer::Gone, FileAnswer::Present))?;
                }
                taken => {
                    match &taken {
                        FileAnswer::Failed(why) => {
                            self.failed.insert(asked.name.clone(), why.clone());
                        }
                        // It may have failed before.
                        FileAnswer::Present(_) => {
                            self.failed.remove(&asked.name);
                        }
                        FileAnswer::Gone => {}
                    }
                    each(&asked.name, taken)?;
                }
            }
        }
        drop(answers);
        feed.await.map_err(Unexpected::could_not("ask for index files"))?;
        match run.await.map_err(Unexpected::could_not("fetch index files"))? {
            RunEnd::Done => Ok(again),
            RunEnd::Silent => {
                let last = self.failed.values().next_back().map_or("no answer", String::as_str);
                Err(SyncError::Silent { source: Cause::new(last) })
            }
        }
    }

    /// Stores an answer in the cache; returns the result for the crate. `is_second`: the crate was asked for before in
    /// this run. Then "not found" counts only where nothing is known: a server may have no file for a URL with a query.
    fn take(
        &self,
        spelling: &CrateName,
        result: Result<Fetched, Failure>,
        is_second: bool,
    ) -> Result<FileAnswer, SyncError> {
        let path = index_path(spelling);
        let gone = CacheEntry { etag: None, last_modified: None, state: CacheState::Gone };
        let fetched = match result {
            Ok(fetched) => fetched,
            Err(failure) if failure.is_gone() => {
                if !(is_second && self.load(&path).is_some()) {
                    self.save(&path, &gone)?;
                }
                return Ok(FileAnswer::Gone);
            }
            Err(failure) if failure.kind == FailureKind::Proxy => {
                return Err(SyncError::Usage(failure.message));
            }
            Err(failure) => return Ok(FileAnswer::Failed(failure.to_string())),
        };
        let end_announced = fetched.end_announced;
        let known = self.load(&path);
        let entry = match answer(fetched)? {
            Answer::Updated(mut entry) => {
                let limits = IndexLimits::default();
                let checked =
                    sparse::check_index_file(&path, &mut entry, end_announced, known.as_ref(), &limits);
                if let Err(bad) = checked {
                    return Ok(FileAnswer::Failed(bad.to_string()));
                }
                self.save(&path, &entry)?;
                entry
            }
            Answer::Unchanged => match known {
                Some(known) => known,
                None => {
                    let why = "what was kept of it is damaged; the next run asks in full".to_owned();
                    return Ok(FileAnswer::Failed(why));
                }
            },
            Answer::Gone(_) | Answer::Failed => {
                return Ok(FileAnswer::Failed("the registry's answer makes no sense".to_owned()));
            }
        };
        Ok(match entry.state {
            CacheState::Present(data) => FileAnswer::Present(IndexFile { path, data }),
            CacheState::Gone => FileAnswer::Gone,
        })
    }

    /// Returns the index file of a crate, as it was refreshed before; `None` when there is none, or when it could not
    /// be refreshed: then the whole crate is reported as failed.
    pub(crate) fn file(&self, name: &CrateName) -> Option<IndexFile> {
        if self.failed.contains_key(name) {
            return None;
        }
        std::iter::once(name.clone()).chain(spellings(name)).find_map(|spelling| {
            let path = index_path(&spelling);
            match self.load(&path)?.state {
                CacheState::Present(data) => Some(IndexFile { path, data }),
                CacheState::Gone => None,
            }
        })
    }

    /// Returns whether the registry has ever answered for a crate, even with "not found".
    fn was_asked(&self, name: &CrateName) -> bool {
        let mut spelled = std::iter::once(name.clone()).chain(spellings(name));
        spelled.any(|spelling| self.load(&index_path(&spelling)).is_some())
    }

    /// Reads every crate that could satisfy a dependency, starting with those that `closure` names.
    pub(crate) async fn close(
        &mut self,
        closure: &mut Closure,
        limits: IndexLimits,
        faults: &mut (dyn FnMut(LineFault) + Send),
        cancel: &CancellationToken,
    ) -> Result<(), SyncError> {
        loop {
            let (needed, doubted) = match closure.next_needed() {
                needed if needed.is_empty() => (needed, closure.next_doubted()),
                needed => (needed, Vec::new()),
            };
            if (needed.is_empty() && doubted.is_empty()) || cancel.is_cancelled() {
                return Ok(());
            }
            let mut provide = |name: &CrateName, file| {
                let file = match file {
                    FileAnswer::Present(file) => Some(file),
                    FileAnswer::Gone | FileAnswer::Failed(_) => None,
                };
                closure.provide(name, file, &limits, faults);
                Ok(())
            };
            match doubted.is_empty() {
                true => self.refresh(needed, cancel, &mut provide).await?,
                false => self.refresh_past_caches(doubted, cancel, &mut provide).await?,
            }
        }
    }
}

/// A crate that is asked for, in one spelling after the other.
struct Asked {
    name: CrateName,
    spelling: CrateName,
    others: std::vec::IntoIter<CrateName>,
}

impl Asked {
    fn new(name: CrateName) -> Self {
        let others = spellings(&name).into_iter();
        Self { spelling: name.clone(), name, others }
    }

    /// Moves on to the next spelling; returns `false` when there is none.
    fn next(&mut self) -> bool {
        let next = self.others.next();
        next.map(|spelling| self.spelling = spelling).is_some()
    }
}

/// The path of a registry's configuration.
const CONFIG: &str = "config.json";

fn answer(fetched: Fetched) -> Result<Answer, SyncError> {
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
