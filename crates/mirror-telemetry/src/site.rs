//! What the listener answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use mirror_console::{Guard, Refusal, content_security_policy, page};

use crate::events::{AnswerBody, Events};
use crate::listener::{MirrorViews, command_line};
use crate::metrics::metrics;
use crate::profile;
use crate::stats::RunStats;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const PROFILES: &str = include_str!("pprof.html");

/// The interval between two events, and between two samples of the history.
const EVERY: Duration = Duration::from_secs(1);
/// The interval between two looks at the disk, in events.
const DISK_EVERY: u64 = 10;
/// The time for which an answer about the mirror is good.
const FRESH: Duration = Duration::from_secs(3);
/// The time for which a count of the mirror is good.
const COUNT_FRESH: Duration = Duration::from_secs(10);
/// The share of a processor that counting the mirror may take, as 1 of so many parts.
const COUNT_SHARE: u32 = 50;
/// The longest wait of a scrape for a count of the mirror; later, it has the count before.
const COUNT_WAIT: Duration = Duration::from_secs(2);

/// An answer to a request.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: StatusCode::OK, kind, body: body.into() }
    }

    /// Refuses, with the reason.
    pub(crate) fn no(status: StatusCode, reason: &str) -> Self {
        Self { status, kind: TEXT, body: format!("{reason}\n").into_bytes() }
    }
}

type Looked = HashMap<&'static str, (Instant, String)>;

/// The answers about a run.
pub(crate) struct Site {
    stats: Arc<RunStats>,
    guard: Guard,
    mirror: Option<Arc<dyn MirrorViews>>,
    /// `None` once the run is over and its listener ends.
    events: Mutex<Option<Events>>,
    /// Answers about the mirror. Locked while one is made: one look at a time.
    looked: tokio::sync::Mutex<Looked>,
    /// The time until which the count of the mirror is good. Locked while it is counted.
    counted_until: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Site {
    pub(crate) fn new(stats: Arc<RunStats>, guard: Guard, mirror: Option<Arc<dyn MirrorViews>>) -> Self {
        let events = Mutex::new(Some(Events::new(&stats.status_json(mirror.is_some()))));
        Self { stats, guard, mirror, events, looked: Default::default(), counted_until: Default::default() }
    }

    /// Renders the status.
    pub(crate) fn status(&self) -> String {
        self.stats.status_json(self.mirror.is_some())
    }

    /// Sends the last status to all event streams and ends them.
    pub(crate) async fn close_events(&self, last: &str) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(events) = events {
            events.close(last).await;
        }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, request: &Request<Incoming>) -> Response<AnswerBody> {
        let path = request.uri().path();
        let refused = if matches!(*request.method(), Method::GET | Method::HEAD) {
            self.refusal(request).map(|refusal| Answer::no(StatusCode::FORBIDDEN, &refusal.to_string()))
        } else {
            Some(Answer::no(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered"))
        };
        let (status, kind, body) = match refused {
            None if path == "/api/events" && request.method() == Method::GET => self.stream(),
            refused => {
                let answer = match refused {
                    Some(answer) => answer,
                    None => self.route(path, request.uri().query().unwrap_or_default()).await,
                };
                (answer.status, answer.kind, AnswerBody::Text(Full::new(Bytes::from(answer.body))))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        let policy = match path {
            "/" => content_security_policy(),
            // The profiles' page and the flame graphs have styles and scripts of their own.
            _ if path.starts_with("/debug/") => {
                "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
            }
            _ => "default-src 'none'; frame-ancestors 'none'",
        };
        for (name, value) in [
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (header::CONTENT_SECURITY_POLICY, policy),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// Returns the reason to refuse a request. Metrics have no secrets, and Prometheus asks for them under any name.
    fn refusal(&self, request: &Request<Incoming>) -> Option<Refusal> {
        if request.uri().path() == "/metrics" && !self.guard.is_local() {
            return None;
        }
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        self.guard.check(authority, request.headers()).err()
    }

    fn stream(&self) -> (StatusCode, &'static str, AnswerBody) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(body) = events.as_ref().and_then(Events::open) {
            return (StatusCode::OK, "text/event-stream", body);
        }
        let text = "there are too many event streams; ask for /api/status instead\n";
        (
            StatusCode::SERVICE_UNAVAILABLE,
            TEXT,
            AnswerBody::Text(Full::new(Bytes::from_static(text.as_bytes()))),
        )
    }

    async fn route(&self, path: &str, query: &str) -> Answer {
        let stats = &*self.stats;
        match path {
            "/" => Answer::new(HTML, page()),
            "/metrics" => {
                self.count().await;
                Answer::new("text/plain; version=0.0.4; charset=utf-8", metrics(stats))
            }
            "/api/status" => Answer::new(JSON, self.status()),
            "/api/events" => Answer::new("text/event-stream", ""),
            "/api/history" => Answer::new(JSON, stats.history_json()),
            "/api/failures" => Answer::new(JSON, stats.failures_json()),
            "/api/verification" => Answer::new(JSON, stats.verification_json()),
            "/api/preflight" => Answer::new(JSON, stats.preflight_json()),
            "/api/storage" => self.look("storage", <dyn MirrorViews>::storage).await,
            "/api/runs" => self.look("runs", <dyn MirrorViews>::runs).await,
            "/debug/pprof" | "/debug/pprof/" => Answer::new(HTML, PROFILES),
            // Arguments separated by NUL bytes, as Go's tools expect them.
            "/debug/pprof/cmdline" => Answer::new(TEXT, command_line().join("\0")),
            "/debug/pprof/profile" => profile::protobuf(query).await,
            "/debug/pprof/flamegraph" => profile::flame_graph(query).await,
            "/debug/pprof/heap" => profile::heap().await,
            // The source system's name: what runs here are threads.
            "/debug/pprof/goroutine" => profile::thread_stacks(query).await,
            _ => path.strip_prefix("/debug/pprof/").and_then(profile::of_go).unwrap_or_else(|| {
                Answer::no(StatusCode::NOT_FOUND, "see /, /metrics, /api/status and /debug/pprof/")
            }),
        }
    }

    /// Counts the mirror for metrics, if that was long ago, on a thread where that may block. A scrape waits for it, but
    /// not for long: a large mirror must not make it fail.
    async fn count(&self) {
        let Some(mirror) = self.mirror.clone() else { return };
        let (stats, counted_until) = (Arc::clone(&self.stats), Arc::clone(&self.counted_until));
        let counting = async move {
            let mut until = counted_until.lock_owned().await;
            if until.is_some_and(|until| Instant::now() < until) {
                return;
            }
            let count = move || {
                let began = Instant::now();
                stats.set_disk(mirror.disk());
                stats.set_counted(mirror.counted());
                *until = Some(Instant::now() + COUNT_FRESH.max(began.elapsed() * COUNT_SHARE));
            };
            // It goes on when nobody waits for it.
            let _ = tokio::task::spawn_blocking(count).await;
        };
        let _ = tokio::time::timeout(COUNT_WAIT, counting).await;
    }

    /// Answers with something about the mirror, on a thread where that may block.
    async fn look(&self, what: &'static str, look: fn(&dyn MirrorViews) -> Result<String, String>) -> Answer {
        let Some(mirror) = self.mirror.clone() else {
            return Answer::no(StatusCode::NOT_FOUND, "this run has no mirror to show");
        };
        let mut looked = self.looked.lock().await;
        if let Some((at, text)) = looked.get(what).filter(|(at, _)| at.elapsed() < FRESH) {
            tracing::trace!(what, age = ?at.elapsed(), "answered again");
            return Answer::new(JSON, text.clone());
        }
        let done = tokio::task::spawn_blocking(move || look(&*mirror)).await;
        match done.unwrap_or_else(|_| Err("the look at the mirror was given up".to_owned())) {
            Ok(text) => {
                looked.insert(what, (Instant::now(), text.clone()));
                Answer::new(JSON, text)
            }
            Err(why) => Answer::no(StatusCode::SERVICE_UNAVAILABLE, &why),
        }
    }
}

/// Keeps the history, the room on the disk and the event streams current, until it is dropped.
pub(crate) async fn keep_current(site: Arc<Site>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        ticks.tick().await;
        if let Some(mirror) = site.mirror.clone().filter(|_| tick.is_multiple_of(DISK_EVERY)) {
            // A look at a disk that hangs must not hold up the rest.
            let stats = Arc::clone(&site.stats);
            tokio::task::spawn_blocking(move || stats.set_disk(mirror.disk()));
        }
        site.stats.sample();
        let status = site.status();
        let events = site.events.lock().unwrap_or_else(PoisonError::into_inner);
        match &*events {
            Some(events) => events.publish(&status),
            None => return,
        }
    }
}
