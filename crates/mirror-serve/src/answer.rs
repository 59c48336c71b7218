//! One request, one answer.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use mirror_manifest::{Held, ManifestError};
use mirror_repo::{Located, MirrorState};
use mirror_types::{Printable, ReleaseId};

use crate::app::{App, Asker, Prepared, blocking};
use crate::body::ServeBody;
use crate::conditions::{Entity, GZIP_SUFFIX, Part, part, takes_gzip};
use crate::console::page_answer;
use crate::error::{Chain, ServeError};
use crate::freshness::SnapshotState;
use crate::held_back::HeldBackTotals;
use crate::metrics::Kind;
use crate::page::{self, Totals};
use crate::proper::improper;
use crate::reply::{
    Answer, as_api_error, bad_host, clip, config, entity_answer, gzip, json, set, text, typed,
};
use crate::route::Route;
use crate::search::{Query, search};
use crate::source::Source;

/// A date has whole seconds: an object that has just changed gets none.
const SETTLED: Duration = Duration::from_secs(2);
/// Longest text that is not counted in its connection's share.
const SHORT_BYTES: usize = 1 << 10;
/// The shortest interval between two counts of the held releases.
const COUNT_EVERY: Duration = Duration::from_secs(60);
/// The longest wait of a scrape for a count.
const COUNT_WAIT: Duration = Duration::from_secs(2);
/// The answer while nothing is offered.
const UNJUDGED: &str = "the policy of this mirror has not judged its new catalogue yet; the next run does\n";
/// The answer once the snapshot that is served is no longer known.
const FORGOTTEN: &str =
    "this server offers a snapshot that its mirror does not know any more; its operator must name another\n";
/// The wait before a release that is being replaced is looked for again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

impl App {
    /// Answers a request. Every failure has an answer, too.
    pub(crate) async fn answer(self: &Arc<Self>, head: &Parts, asker: &Asker) -> Answer {
        let work = asker.seat.work();
        let route = Route::of(head.uri.path());
        let kind = match route {
            Route::Index(_) | Route::Config => Kind::Index,
            Route::Crate(_) => Kind::Crate,
            Route::Search => Kind::Search,
            _ => Kind::Other,
        };
        let mut answer = if let Some(refusal) = improper(head) {
            refusal
        } else if matches!(head.method, Method::GET | Method::HEAD) {
            self.route(route, head, asker).await.unwrap_or_else(|error| {
                tracing::error!(path = %Printable(head.uri.path()), "{:#}", Chain(&error));
                match error {
                    ServeError::Manifest(ManifestError::Unjudged { .. }) => {
                        text(StatusCode::SERVICE_UNAVAILABLE, UNJUDGED)
                    }
                    ServeError::Manifest(ManifestError::UnknownSnapshot { .. }) => {
                        text(StatusCode::SERVICE_UNAVAILABLE, FORGOTTEN)
                    }
                    _ => text(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "the server cannot read its mirror; see its log\n",
                    ),
                }
            })
        } else {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            answer
        };
        if head.uri.path().starts_with("/api/") && !answer.status().is_success() {
            as_api_error(&mut answer);
        }
        let length = answer.body().left();
        if let Some(bytes) = length.filter(|_| answer.status() != StatusCode::NOT_MODIFIED) {
            answer.headers_mut().insert(header::CONTENT_LENGTH, bytes.into());
        }
        if head.method == Method::HEAD {
            *answer.body_mut() = ServeBody::Empty;
        }
        // While it waits for room, the server waits for the client.
        drop(work);
        if let ServeBody::Whole(text) = answer.body()
            && text.len() > SHORT_BYTES
        {
            let (text, room) = (text.clone(), asker.seat.room(text.len()).await);
            *answer.body_mut() = ServeBody::Whole(room.fill(text));
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
        let sent = if head.method == Method::HEAD { 0 } else { length.unwrap_or(0) };
        self.counters.answered(kind, status.as_u16(), sent);
        answer
    }

    async fn route(
        self: &Arc<Self>,
        route: Route,
        head: &Parts,
        asker: &Asker,
    ) -> Result<Answer, ServeError> {
        match route {
            Route::Index(path) => self.index(path, head, asker).await,
            Route::Crate(id) => self.download(id, head, asker).await,
            Route::Config => Ok(match self.base(head, asker) {
                Some(base) => json(config(&base)),
                None => bad_host(),
            }),
            Route::Page => Ok(page_answer()),
            Route::View(view) => self.view(view, head, asker).await,
            Route::Setup => match self.base(head, asker) {
                Some(base) => self.page(&base).await,
                None => Ok(bad_host()),
            },
            Route::Search => self.search(head).await,
            Route::Metrics => self.metrics().await,
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

    /// Returns the current index file at `path`; `None` when nothing of it is held.
    async fn prepared(self: &Arc<Self>, path: &str) -> Result<Option<Arc<Prepared>>, ServeError> {
        let state = self.mirror.state()?;
        let before = self.prepared.get(path);
        if let Some(prepared) = before.as_ref().filter(|known| known.generation == state.generation) {
            return Ok(Some(Arc::clone(prepared)));
        }
        let _place = self.preparing.acquire().await;
        let (app, path) = (Arc::clone(self), path.to_owned());
        blocking(move || app.prepare(&path, state, before.as_deref())).await
    }

    /// Returns the text of an index file again after a part was sent; the text must not have changed.
    pub(crate) async fn text_again(self: &Arc<Self>, path: &str, tag: &str, gzip: bool) -> io::Result<Bytes> {
        let prepared = self.prepared(path).await.map_err(io::Error::other)?;
        let same = prepared.filter(|prepared| prepared.tag == tag);
        let text = same.and_then(|same| if gzip { same.gzip.clone() } else { Some(same.plain.clone()) });
        text.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("the index file {path} is not what it was"))
        })
    }

    async fn index(
        self: &Arc<Self>,
        path: String,
        head: &Parts,
        asker: &Asker,
    ) -> Result<Answer, ServeError> {
        let Some(prepared) = self.prepared(&path).await? else {
            return self.nothing_of(path).await;
        };
        let modified = Some(prepared.since)
            .filter(|since| SystemTime::now().duration_since(*since).is_ok_and(|age| age >= SETTLED));
        let gzip = prepared.gzip.as_ref().filter(|_| takes_gzip(&head.headers));
        let body = gzip.unwrap_or(&prepared.plain);
        let entity = Entity { tag: &prepared.tag, modified, len: body.len() as u64 };
        let part = match part(&head.headers, entity) {
            // A range would refer to the packed bytes.
            Part::Range(_) | Part::Unsatisfiable if gzip.is_some() => Part::Whole,
            part => part,
        };
        let suffix = if gzip.is_some() { GZIP_SUFFIX } else { "" };
        let mut answer = entity_answer(&part, entity, suffix);
        if let Some(range) = part.range(entity.len) {
            let named = (path, prepared.tag.clone(), gzip.is_some());
            let (app, seat) = (Arc::clone(self), Arc::clone(&asker.seat));
            *answer.body_mut() = ServeBody::read(Source::index_file(app, seat, named, body.clone(), range));
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
        state: MirrorState,
        before: Option<&Prepared>,
    ) -> Result<Option<Arc<Prepared>>, ServeError> {
        let Some(listing) = self.mirror.listing_at(path)? else {
            self.prepared.remove(path);
            return Ok(None);
        };
        self.counters.prepared.increment(1);
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

    /// Returns the catalogue's current row of a release.
    pub(crate) fn held(&self, id: &ReleaseId) -> Result<Option<Held>, ServeError> {
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

    async fn download(
        self: &Arc<Self>,
        id: ReleaseId,
        head: &Parts,
        asker: &Asker,
    ) -> Result<Answer, ServeError> {
        let mut found = self.find(&id).await?;
        if found.is_none() && self.held(&id)?.is_some() {
            // A run that replaces it may have moved the old one away and not recorded the new one yet.
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            found = self.find(&id).await?;
            if found.is_none() {
                tracing::warn!(release = %id, "is held, but its bytes are not where the catalogue says");
                self.prepared.remove(&mirror_types::index_path(&id.name));
            }
        }
        let Some(found) = found else { return self.not_held(&id) };
        let modified = match &found.located {
            Located::Open(file) => file.modified(),
            Located::Bundled(_, _, modified) => *modified,
        };
        let tag = found.held.sha256.to_hex();
        let entity = Entity { tag: &tag, modified: Some(modified), len: found.held.size };
        let part = part(&head.headers, entity);
        let mut answer = entity_answer(&part, entity, "");
        if let Some(range) = part.range(entity.len) {
            *answer.body_mut() = if head.method == Method::HEAD {
                // Only its length is requested.
                ServeBody::HeadOnly(range.end - range.start)
            } else {
                let (app, seat) = (Arc::clone(self), Arc::clone(&asker.seat));
                ServeBody::read(Source::release(app, seat, id, found, range))
            };
        }
        set(&mut answer, header::CONTENT_TYPE, "application/gzip");
        set(&mut answer, header::CACHE_CONTROL, "public, max-age=31536000, immutable");
        Ok(answer)
    }

    /// Answers that no release of an index file is offered, and why where that is known.
    async fn nothing_of(self: &Arc<Self>, path: String) -> Result<Answer, ServeError> {
        let app = Arc::clone(self);
        let why = blocking(move || Ok(app.mirror.held_back_at(&path)?)).await?;
        Ok(match why {
            Some((id, decision)) => text(StatusCode::NOT_FOUND, format!("{id} is {decision}\n")),
            None => text(StatusCode::NOT_FOUND, "this mirror holds nothing of that crate\n"),
        })
    }

    /// Answers that a release is not held or not offered, and why where that is known.
    fn not_held(&self, id: &ReleaseId) -> Result<Answer, ServeError> {
        Ok(if self.mirror.is_deleted(id)? {
            text(StatusCode::NOT_FOUND, format!("{id} was deleted upstream; this mirror does not offer it\n"))
        } else if let Some(decision) = self.mirror.held_back(id)?
            // Other bytes of an offered release may be deferred: they are not why this one is missing.
            && self.mirror.held(id)?.is_none()
        {
            text(StatusCode::NOT_FOUND, format!("{id} is {decision}\n"))
        } else if let Some(serial) = self.mirror.snapshot() {
            text(StatusCode::NOT_FOUND, format!("{id} is not in snapshot {serial}, which is served here\n"))
        } else {
            text(StatusCode::NOT_FOUND, "this mirror does not hold that release\n")
        })
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
        let totals = self.totals().await?;
        let app = Arc::clone(self);
        let last_run = blocking(move || Ok(app.mirror.last_run()?)).await?;
        let html = page::render(base, &totals, last_run.as_deref(), SystemTime::now());
        let mut answer = typed("text/html; charset=utf-8", html);
        set(&mut answer, header::CACHE_CONTROL, "no-store");
        set(
            &mut answer,
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        );
        Ok(answer)
    }

    /// Renders the metrics. Counts what is held for them, but answers with the count before where that takes long: a
    /// large mirror must not make a scrape fail.
    async fn metrics(self: &Arc<Self>) -> Result<Answer, ServeError> {
        let generation = self.mirror.state()?.generation;
        let (counting, app) = (Arc::clone(self), Arc::clone(self));
        // A task of its own, which goes on when nobody waits for it.
        let counted = tokio::spawn(async move { counting.totals().await });
        if let Ok(Ok(Err(error))) = tokio::time::timeout(COUNT_WAIT, counted).await {
            tracing::debug!("could not count what is held for the metrics: {:#}", Chain(&error));
        }
        let disk = blocking(move || Ok(app.mirror.disk())).await?;
        let known = self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let totals = known.as_ref().map(|(.., totals)| &**totals);
        let rendered = self.counters.render(generation, disk, totals);
        Ok(typed("text/plain; version=0.0.4; charset=utf-8", rendered))
    }

    /// Returns the totals of what is held, counted at most once a minute.
    pub(crate) async fn totals(self: &Arc<Self>) -> Result<Arc<Totals>, ServeError> {
        let generation = self.mirror.state()?.generation;
        let known = || {
            let known = self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone();
            known.filter(|(of, at, _)| *of == generation || at.elapsed() < COUNT_EVERY)
        };
        if let Some((.., totals)) = known() {
            return Ok(totals);
        }
        let _one = self.counting.acquire().await;
        if let Some((.., totals)) = known() {
            return Ok(totals);
        }
        let mirror = Arc::clone(&self.mirror);
        let count = move || {
            let (held, unlisted) = (mirror.totals()?, mirror.unlisted_crates()?);
            let snapshot = SnapshotState::of(&mirror).unwrap_or_else(|error| {
                tracing::warn!("could not read the snapshot: {}", Chain(&error));
                None
            });
            let (held_back, numbers) = (HeldBackTotals::of(&mirror)?, mirror.numbers()?);
            Ok(Totals { held, unlisted, held_back, snapshot, numbers })
        };
        let totals = Arc::new(blocking(count).await?);
        let counted = Some((generation, Instant::now(), Arc::clone(&totals)));
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner) = counted;
        Ok(totals)
    }

    /// Returns the address at which the client reaches this server, without a slash at the end.
    fn base(&self, head: &Parts, asker: &Asker) -> Option<String> {
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
