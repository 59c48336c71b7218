//! One request, one answer.

use std::io::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;
use mirror_manifest::{Census, Held};
use mirror_types::{Printable, ReleaseId};
use tokio::sync::Semaphore;

use crate::body::{Budget, ServeBody};
use crate::cache::Cache;
use crate::conditions::{Entity, GZIP_SUFFIX, Part, part, takes_gzip};
use crate::error::ServeError;
use crate::metrics::{Counters, Kind};
use crate::mirror::{Mirror, State};
use crate::options::ServeOptions;
use crate::page;
use crate::places::Located;
use crate::route::Route;
use crate::search::{Query, search};

pub(crate) type Answer = Response<ServeBody>;

/// Texts below this are sent as they are.
const WORTH_GZIP: usize = 860;
/// A date has whole seconds: what was changed just now has none.
const SETTLED: Duration = Duration::from_secs(2);
/// Searches at a time: each looks at every name.
const SEARCHES: usize = 2;
/// Members of bundles at a time that are too large for memory: each has a thread, as long as its client takes.
const LARGE: usize = 8;
/// How often held releases are counted, at most.
const COUNT_EVERY: Duration = Duration::from_secs(60);
/// Until a release is looked for again that is being replaced.
const ONCE_MORE: Duration = Duration::from_millis(250);

/// An index file, prepared.
struct Prepared {
    generation: u64,
    tag: String,
    since: SystemTime,
    plain: Bytes,
    gzip: Option<Bytes>,
}

/// What all connections share.
pub(crate) struct App {
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) counters: Counters,
    pub(crate) budget: Budget,
    public_url: Option<String>,
    prepared: Cache<String, Prepared>,
    held: Cache<ReleaseId, (u64, Held)>,
    census: Mutex<Option<(u64, Instant, Census)>>,
    counting: Semaphore,
    searches: Semaphore,
    /// Places for preparing index files: as many as there are processors. More threads would not be faster, and
    /// each would have memory that it does not give back.
    preparing: Semaphore,
    /// Places for members of bundles that are too large for memory.
    pub(crate) large: Arc<Semaphore>,
}

/// What is known of a request beside its head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) tls: bool,
}

impl App {
    pub(crate) fn new(mirror: Mirror, options: &ServeOptions) -> Self {
        let cache = options.limits.cache_bytes;
        Self {
            mirror: Arc::new(mirror),
            counters: Counters::default(),
            budget: Budget::new(options.limits.body_bytes),
            public_url: options.public_url.clone(),
            prepared: Cache::new(cache / 8 * 7),
            held: Cache::new(cache / 8),
            census: Mutex::default(),
            counting: Semaphore::new(1),
            searches: Semaphore::new(SEARCHES),
            preparing: Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)),
            large: Arc::new(Semaphore::new(LARGE)),
        }
    }

    /// Answers; whatever goes wrong has an answer too.
    pub(crate) async fn answer(self: &Arc<Self>, head: &Parts, asker: Asker) -> Answer {
        let route = Route::of(head.uri.path());
        let kind = match route {
            Route::Index(_) | Route::Config => Kind::Index,
            Route::Crate(_) => Kind::Crate,
            Route::Search => Kind::Search,
            _ => Kind::Other,
        };
        let mut answer = if matches!(head.method, Method::GET | Method::HEAD) {
            self.route(route, head, asker).await.unwrap_or_else(|error| {
                tracing::error!(path = %Printable(head.uri.path()), "{:#}", Chain(&error));
                text(StatusCode::INTERNAL_SERVER_ERROR, "the server cannot read its mirror; see its log\n")
            })
        } else {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            answer
        };
        let bytes = answer.body().size_hint().exact().unwrap_or(0);
        if head.method == Method::HEAD && answer.status() != StatusCode::NOT_MODIFIED {
            answer.headers_mut().insert(header::CONTENT_LENGTH, bytes.into());
            *answer.body_mut() = ServeBody::Empty;
        }
        let status = answer.status();
        if status.is_client_error() {
            tracing::info!(
                status = status.as_u16(),
                method = %Printable(head.method.as_str()),
                path = %Printable(clip(head.uri.path())),
                "refused"
            );
        }
        let sent = if head.method == Method::HEAD { 0 } else { bytes };
        self.counters.answered(kind, status.as_u16(), sent);
        answer
    }

    async fn route(self: &Arc<Self>, route: Route, head: &Parts, asker: Asker) -> Result<Answer, ServeError> {
        match route {
            Route::Index(path) => self.index(path, head).await,
            Route::Crate(id) => self.download(id, head).await,
            Route::Config => Ok(match self.base(head, asker) {
                Some(base) => json(config(&base)),
                None => bad_host(),
            }),
            Route::Page => match self.base(head, asker) {
                Some(base) => self.page(&base).await,
                None => Ok(bad_host()),
            },
            Route::Search => self.search(head).await,
            Route::Metrics => {
                let state = self.mirror.state()?;
                let known = *self.census.lock().unwrap_or_else(PoisonError::into_inner);
                let rendered = self.counters.render(state.generation, known.map(|(.., census)| census));
                Ok(typed("text/plain; version=0.0.4; charset=utf-8", rendered))
            }
            Route::Health => Ok(match self.mirror.state() {
                Ok(_) => text(StatusCode::OK, "ok\n"),
                Err(error) => {
                    tracing::error!("not healthy: {:#}", Chain(&error));
                    text(StatusCode::SERVICE_UNAVAILABLE, "the catalogue cannot be read\n")
                }
            }),
            Route::Nothing => Ok(text(StatusCode::NOT_FOUND, "there is nothing here\n")),
        }
    }

    async fn index(self: &Arc<Self>, path: String, head: &Parts) -> Result<Answer, ServeError> {
        let state = self.mirror.state()?;
        let known = self.prepared.get(&path);
        let prepared = match known {
            Some(prepared) if prepared.generation == state.generation => prepared,
            before => {
                let _place = self.preparing.acquire().await;
                let app = Arc::clone(self);
                match blocking(move || app.prepare(&path, state, before.as_deref())).await? {
                    Some(prepared) => prepared,
                    None => {
                        return Ok(text(StatusCode::NOT_FOUND, "this mirror holds nothing of that crate\n"));
                    }
                }
            }
        };
        let modified = Some(prepared.since)
            .filter(|since| SystemTime::now().duration_since(*since).is_ok_and(|age| age >= SETTLED));
        let gzip = prepared.gzip.as_ref().filter(|_| takes_gzip(&head.headers));
        let body = gzip.unwrap_or(&prepared.plain);
        let entity = Entity { tag: &prepared.tag, modified, len: body.len() as u64 };
        let part = match part(&head.headers, entity) {
            // A range would be one of the packed bytes.
            Part::Range(_) | Part::Unsatisfiable if gzip.is_some() => Part::Whole,
            part => part,
        };
        let suffix = if gzip.is_some() { GZIP_SUFFIX } else { "" };
        let mut answer = entity_answer(&part, entity, suffix);
        match part {
            Part::Whole => *answer.body_mut() = ServeBody::of(body.clone()),
            Part::Range(range) => *answer.body_mut() = ServeBody::of(slice(body, &range)),
            _ => {}
        }
        set(&mut answer, header::CONTENT_TYPE, "text/plain; charset=utf-8");
        set(&mut answer, header::CACHE_CONTROL, "no-cache");
        set(&mut answer, header::VARY, "accept-encoding");
        if gzip.is_some() && answer.status() == StatusCode::OK {
            set(&mut answer, header::CONTENT_ENCODING, "gzip");
        }
        Ok(answer)
    }

    /// Prepares an index file and keeps it. Blocks.
    fn prepare(
        &self,
        path: &str,
        state: State,
        before: Option<&Prepared>,
    ) -> Result<Option<Arc<Prepared>>, ServeError> {
        let Some(listing) = self.mirror.listing_at(path)? else {
            self.prepared.remove(path);
            return Ok(None);
        };
        self.counters.prepared.fetch_add(1, Relaxed);
        let same = before.filter(|before| before.tag == listing.hash);
        let gzip = match same {
            Some(same) => same.gzip.clone(),
            None => gzip(&listing.text),
        };
        let since = same.map_or(state.since, |same| same.since);
        let generation = state.generation;
        let prepared = Prepared { generation, tag: listing.hash, since, plain: listing.text, gzip };
        let bytes = path.len()
            + prepared.tag.len()
            + prepared.plain.len()
            + prepared.gzip.as_ref().map_or(0, Bytes::len);
        let prepared = Arc::new(prepared);
        self.prepared.insert(path.to_owned(), Arc::clone(&prepared), bytes);
        Ok(Some(prepared))
    }

    /// What the catalogue says of a release in its state of now.
    fn held(&self, id: &ReleaseId) -> Result<Option<Held>, ServeError> {
        let generation = self.mirror.state()?.generation;
        if let Some(known) = self.held.get(id).filter(|known| known.0 == generation) {
            return Ok(Some(known.1.clone()));
        }
        let held = self.mirror.held(id)?;
        if let Some(held) = &held {
            let bytes = 2 * (id.name.as_str().len() + id.version.as_str().len()) + size_of::<Held>();
            self.held.insert(id.clone(), Arc::new((generation, held.clone())), bytes);
        }
        Ok(held)
    }

    async fn find(self: &Arc<Self>, id: &ReleaseId) -> Result<Option<(Held, Located)>, ServeError> {
        let Some(held) = self.held(id)? else { return Ok(None) };
        if let Some(located) = self.mirror.places().locate_at_once(id, &held) {
            return Ok(Some((held, located)));
        }
        let (app, id) = (Arc::clone(self), id.clone());
        blocking(move || Ok(app.mirror.locate(&id, &held)?.map(|located| (held, located)))).await
    }

    async fn download(self: &Arc<Self>, id: ReleaseId, head: &Parts) -> Result<Answer, ServeError> {
        let mut found = self.find(&id).await?;
        if found.is_none() && self.held(&id)?.is_some() {
            // A run that replaces it may have the old one out of the way and the new one not yet told.
            tokio::time::sleep(ONCE_MORE).await;
            found = self.find(&id).await?;
            if found.is_none() {
                tracing::warn!(release = %id, "is held, but its bytes are not where the catalogue says");
                self.prepared.remove(&mirror_types::index_path(&id.name));
            }
        }
        let Some((held, located)) = found else {
            return Ok(text(StatusCode::NOT_FOUND, "this mirror does not hold that release\n"));
        };
        let modified = match &located {
            Located::Loose(file) => file.modified(),
            Located::Bundled(_, _, modified) => *modified,
        };
        let tag = held.sha256.to_hex();
        let entity = Entity { tag: &tag, modified: Some(modified), len: held.size };
        let part = part(&head.headers, entity);
        let mut answer = entity_answer(&part, entity, "");
        let range = match part {
            Part::Whole => Some(0..held.size),
            Part::Range(range) => Some(range),
            _ => None,
        };
        if let Some(range) = range {
            *answer.body_mut() = if head.method == Method::HEAD {
                // Its length is all that is asked.
                ServeBody::Pieces { pieces: tokio::sync::mpsc::channel(1).1, left: range.end - range.start }
            } else {
                self.clone().body(id, located, held.size, range).await?
            };
        }
        set(&mut answer, header::CONTENT_TYPE, "application/gzip");
        set(&mut answer, header::CACHE_CONTROL, "public, max-age=31536000, immutable");
        Ok(answer)
    }

    async fn search(self: &Arc<Self>, head: &Parts) -> Result<Answer, ServeError> {
        let query = Query::of(head.uri.query().unwrap_or_default());
        let Ok(_place) = self.searches.acquire().await else {
            return Ok(text(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n"));
        };
        let mirror = Arc::clone(&self.mirror);
        let found = blocking(move || search(&mirror, &query)).await?;
        Ok(json(found.to_string()))
    }

    async fn page(self: &Arc<Self>, base: &str) -> Result<Answer, ServeError> {
        let census = self.census().await?;
        let app = Arc::clone(self);
        let last_run = blocking(move || app.mirror.last_run()).await?;
        let html = page::render(base, census, last_run.as_deref(), SystemTime::now());
        let mut answer = typed("text/html; charset=utf-8", html);
        set(&mut answer, header::CACHE_CONTROL, "no-store");
        set(
            &mut answer,
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        );
        Ok(answer)
    }

    /// What is held, counted at most once a minute.
    pub(crate) async fn census(self: &Arc<Self>) -> Result<Census, ServeError> {
        let generation = self.mirror.state()?.generation;
        let known = || {
            let known = *self.census.lock().unwrap_or_else(PoisonError::into_inner);
            known.filter(|(of, at, _)| *of == generation || at.elapsed() < COUNT_EVERY)
        };
        if let Some((.., census)) = known() {
            return Ok(census);
        }
        let _one = self.counting.acquire().await;
        if let Some((.., census)) = known() {
            return Ok(census);
        }
        let mirror = Arc::clone(&self.mirror);
        let census = blocking(move || mirror.census()).await?;
        let counted = Some((generation, Instant::now(), census));
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = counted;
        Ok(census)
    }

    /// The address by which the client reaches this server, without a slash at the end.
    fn base(&self, head: &Parts, asker: Asker) -> Option<String> {
        if let Some(url) = &self.public_url {
            return Some(url.clone());
        }
        let host = match head.uri.authority() {
            Some(authority) => authority.as_str(),
            None => head.headers.get(header::HOST)?.to_str().ok()?,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let scheme = if asker.tls { "https" } else { "http" };
        (!host.is_empty() && host.len() <= 255 && host.bytes().all(plain))
            .then(|| format!("{scheme}://{host}"))
    }
}

/// Runs blocking code where it holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServeError> + Send + 'static,
) -> Result<T, ServeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(ServeError::Internal(error.to_string())),
    }
}

/// `config.json` of the registry at `base`, when it is files: nobody answers a search there.
pub(crate) fn config_of_files(base: &str) -> String {
    let dl = format!("{base}/crates/{{crate}}/{{crate}}-{{version}}.crate");
    format!("{}\n", serde_json::json!({"dl": dl}))
}

/// `config.json` of the registry at `base`.
pub(crate) fn config(base: &str) -> String {
    let dl = format!("{base}/crates/{{crate}}/{{crate}}-{{version}}.crate");
    let config = serde_json::json!({"dl": dl, "api": base});
    format!("{config}\n")
}

/// Packs a text where that is worth it.
pub(crate) fn gzip(text: &[u8]) -> Option<Bytes> {
    if text.len() < WORTH_GZIP {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    encoder.write_all(text).ok()?;
    let mut packed = encoder.finish().ok()?;
    packed.shrink_to_fit();
    Some(packed.into())
}

fn slice(bytes: &Bytes, range: &std::ops::Range<u64>) -> Bytes {
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(range.start)..at(range.end))
}

/// Status and headers of an entity, or of a part of it; the body is still to come.
fn entity_answer(part: &Part, entity: Entity<'_>, suffix: &str) -> Answer {
    let mut answer = Response::new(ServeBody::Empty);
    *answer.status_mut() = match part {
        Part::Whole => StatusCode::OK,
        Part::Range(_) => StatusCode::PARTIAL_CONTENT,
        Part::NotModified => StatusCode::NOT_MODIFIED,
        Part::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
    };
    match part {
        Part::Range(range) => {
            let (first, last) = (range.start, range.end - 1);
            set(&mut answer, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{}", entity.len));
        }
        Part::Unsatisfiable => {
            set(&mut answer, header::CONTENT_RANGE, &format!("bytes */{}", entity.len));
        }
        _ => {}
    }
    set(&mut answer, header::ACCEPT_RANGES, "bytes");
    set(&mut answer, header::ETAG, &format!("\"{}{suffix}\"", entity.tag));
    if let Some(date) = entity.modified.and_then(http_date) {
        set(&mut answer, header::LAST_MODIFIED, &date);
    }
    answer
}

/// Returns a time as headers have it; `None` for one that they cannot have: files may have any.
fn http_date(time: SystemTime) -> Option<String> {
    /// The first second of the year 10,000.
    const END_S: u64 = 253_402_300_800;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() < END_S).then(|| httpdate::fmt_http_date(time))
}

fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

fn typed(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(ServeBody::of(body));
    set(&mut answer, header::CONTENT_TYPE, kind);
    set(&mut answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer
}

fn json(body: String) -> Answer {
    let mut answer = typed("application/json", body);
    set(&mut answer, header::CACHE_CONTROL, "no-cache");
    answer
}

/// An answer in words.
pub(crate) fn text(status: StatusCode, body: &'static str) -> Answer {
    let mut answer = typed("text/plain; charset=utf-8", body);
    *answer.status_mut() = status;
    answer
}

fn bad_host() -> Answer {
    text(StatusCode::BAD_REQUEST, "the request names no host that could be written into an answer\n")
}

fn clip(text: &str) -> &str {
    const MOST: usize = 300;
    let mut end = text.len().min(MOST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// An error with all of its reasons.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", Printable(self.0.to_string()))?;
        let mut error = self.0;
        while let Some(source) = error.source() {
            write!(f, ": {}", Printable(source.to_string()))?;
            error = source;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_worth_it_for_long_texts_only() {
        assert!(gzip(b"short").is_none());
        let packed = gzip(&b"{\"name\":\"serde\"}\n".repeat(200)).expect("packed");
        assert!(packed.len() < 200 && packed.starts_with(&[0x1f, 0x8b]));
    }

    #[test]
    fn the_configuration_is_what_cargo_reads() {
        let config: serde_json::Value = serde_json::from_str(&config("http://h:1")).expect("json");
        assert_eq!(config["dl"], "http://h:1/crates/{crate}/{crate}-{version}.crate");
        assert_eq!(config["api"], "http://h:1");
    }
}
