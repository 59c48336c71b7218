//! One attempt: a connection, a request, redirects, a verified body.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, LOCATION, RANGE, RETRY_AFTER, TRANSFER_ENCODING,
};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use mirror_types::{CLIPPED_VALUE_BYTES, Sha256, clipped};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use url::{Position, Url};

use crate::answer::{Content, Verified};
use crate::body::{Resume, Sink, kept, permits_for, validator};
use crate::deadlines::{Deadlines, PROGRESS_BYTES};
use crate::failure::{FailureKind, Fault};
use crate::hash_batcher::HashBatcher;
use crate::pool::Origin;
use crate::redirect::{MAX_HOPS, follow, is_local_host};
use crate::request::FetchRequest;
use crate::shared::{Core, RESERVE_BYTES};

/// Longest pause that an origin can request.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);
/// Largest error body that is read to its end, so that its connection stays usable.
const DRAIN_BYTES: usize = 16 << 10;

/// The result of a successful attempt.
pub(crate) struct Done {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
    pub(crate) end_announced: bool,
}

impl Done {
    /// Returns the number of body bytes that arrived.
    pub(crate) const fn size(&self) -> u64 {
        match &self.content {
            Content::Body(verified) => verified.size(),
            Content::NotModified | Content::HeadersOnly => 0,
        }
    }
}

/// The end of a request with a valid answer.
enum Exchanged {
    /// The answer counts.
    Done(Done),
    /// The answer is elsewhere: its `Location`.
    Redirect(Option<HeaderValue>),
    /// The origin does not continue the last attempt: the whole body has to be requested again.
    NoContinuation,
}

/// The state that attempts at one request share.
pub(crate) struct Ctx<'a> {
    pub(crate) core: &'a Core,
    pub(crate) req: &'a FetchRequest,
    /// The address of the request, in the form that its origin accepts.
    pub(crate) url: Url,
    /// The hash batcher for small bodies, when a driver polls it.
    pub(crate) batcher: Option<&'a HashBatcher>,
    /// The body so far of an interrupted attempt.
    pub(crate) resume: Option<Resume>,
    /// The slot in use, so that a hedge takes another one.
    pub(crate) slot: &'a AtomicUsize,
    pub(crate) avoid: usize,
    /// Body bytes that arrived in this attempt.
    pub(crate) brought_bytes: u64,
    /// The time for which limits of ours, or a pause that the origin asked for, held this attempt up.
    pub(crate) waited: Duration,
    /// True if the request gets a connection of its own, because connections broke under it more than once.
    pub(crate) alone: bool,
}

/// Sends the request, and repeats it for a redirect or a refused continuation.
pub(crate) async fn attempt(ctx: &mut Ctx<'_>) -> Result<Done, Fault> {
    let across_origins = ctx.req.across_origins || ctx.req.expect.is_some();
    let mut moved: Option<Url> = None;
    let mut hops = 0;
    (ctx.brought_bytes, ctx.waited) = (0, Duration::ZERO);
    while hops <= MAX_HOPS {
        let url = moved.clone().unwrap_or_else(|| ctx.url.clone());
        // A redirect may lead to this machine if the operator named this machine, or the same host.
        let named = is_local_host(&ctx.url) || url.host() == ctx.url.host();
        let origin = ctx.core.pool.origin(&url, ctx.req.guarded || !named)?;
        let exchanged = exchange(ctx, &origin, &url).await.map_err(|mut fault| {
            fault.mute = !origin.answers.load(Ordering::Relaxed)
                && matches!(fault.kind, FailureKind::Timeout | FailureKind::Idle | FailureKind::Reset);
            fault
        });
        match exchanged? {
            Exchanged::Done(done) => return Ok(done),
            Exchanged::Redirect(location) => {
                let location = location.as_ref().map(HeaderValue::as_bytes);
                moved = Some(follow(&ctx.url, &url, location, across_origins)?);
                hops += 1;
            }
            // This happens only once: nothing is left to continue.
            Exchanged::NoContinuation => {}
        }
    }
    Err(Fault::new(FailureKind::Redirect, format_args!("more than {MAX_HOPS} redirects")))
}

/// Sends one request.
async fn exchange(ctx: &mut Ctx<'_>, origin: &Arc<Origin>, url: &Url) -> Result<Exchanged, Fault> {
    let core = ctx.core;
    let (hold, mut lease) = loop {
        let hold = permission(ctx, origin).await?;
        let lease = match ctx.alone {
            true => core.pool.lease_alone(origin).await?,
            false => core.pool.lease(origin, ctx.avoid).await?,
        };
        if !origin.is_held() {
            break (hold, lease);
        }
        // A 429 arrived while this request waited for its turn: it has not been sent yet.
        lease.give_back();
    };
    ctx.slot.store(lease.slot(), Ordering::Relaxed);
    let request = build(ctx, origin, url, lease.is_h2())?;
    let conditional = ctx.req.expect.is_none()
        && [IF_NONE_MATCH, IF_MODIFIED_SINCE].iter().any(|name| request.headers().contains_key(name));
    let now = Instant::now();
    let (total, idle) = (core.options.total_timeout, core.options.idle_timeout);
    let sleep = pin!(tokio::time::sleep_until(Deadlines::first_alarm(now, total, idle)));
    let mut deadlines = Deadlines::new(sleep, now, total, idle);
    let outcome = match deadlines.guard(lease.send(request)).await {
        Ok(Ok(response)) => {
            deadlines.mark();
            lease.answered();
            if !origin.answers.load(Ordering::Relaxed) {
                origin.answers.store(true, Ordering::Relaxed);
            }
            receive(ctx, origin, response, conditional, hold, &mut deadlines).await
        }
        Ok(Err(fault)) | Err(fault) => Err(fault),
    };
    ctx.waited += deadlines.excused();
    match &outcome {
        Ok(_) => lease.give_back(),
        Err(fault) => {
            ctx.avoid = lease.slot();
            // A connection that brought no request an answer is not reused: it may be dead, or a flood of garbage.
            let dead =
                matches!(fault.kind, FailureKind::Idle | FailureKind::Timeout) && lease.is_silent_since(now);
            if fault.unsent || dead || fault.kind == FailureKind::Protocol {
                lease.retire();
            } else if fault.kind == FailureKind::HttpStatus {
                lease.give_back();
            }
        }
    }
    outcome
}

/// Waits until the origin, the rate limit and the memory allow one request. The origin is not to blame for this time.
async fn permission(ctx: &mut Ctx<'_>, origin: &Origin) -> Result<OwnedSemaphorePermit, Fault> {
    let (core, began) = (ctx.core, Instant::now());
    origin.wait_until_welcome().await;
    if let Some(rate) = &core.request_rate {
        rate.take(1).await;
    }
    // Memory is reserved before anything is sent, so a slow consumer holds back new requests.
    let hold = Arc::clone(&core.budget).acquire_many_owned(permits_for(RESERVE_BYTES)).await;
    ctx.waited += began.elapsed();
    hold.map_err(|_| Fault::new(FailureKind::Cancelled, "the fetcher is closed"))
}

fn build(ctx: &Ctx<'_>, origin: &Origin, url: &Url, h2: bool) -> Result<Request<Empty<Bytes>>, Fault> {
    let bad = |e: http::uri::InvalidUri| Fault::new(FailureKind::Address, e);
    // HTTP/2 and plain proxies need the whole address, an HTTP/1.1 origin only its path.
    let absolute = h2 || origin.target.asked_proxy().is_some();
    let from = if absolute { Position::BeforeScheme } else { Position::BeforePath };
    let uri: Uri = url[from..Position::AfterQuery].parse().map_err(bad)?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    if ctx.req.head {
        *request.method_mut() = Method::HEAD;
    }
    let headers = request.headers_mut();
    headers.clone_from(&ctx.core.headers);
    if !h2 {
        let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])
            .map_err(|e| Fault::new(FailureKind::Address, e))?;
        headers.insert(HOST, host);
    }
    if let Some(value) = origin.target.asked_proxy().and_then(|proxy| proxy.authorization.as_ref()) {
        headers.insert(http::header::PROXY_AUTHORIZATION, value.clone());
    }
    // The caller's headers, credentials above all, are for the origin that the caller named; validators may go
    // elsewhere.
    let named = url.origin() == ctx.req.url.origin();
    for (name, value) in &ctx.req.headers {
        if named || matches!(*name, IF_NONE_MATCH | IF_MODIFIED_SINCE) {
            headers.insert(name.clone(), value.clone());
        }
    }
    if let Some(value) = ctx.req.authorization.as_ref().filter(|_| named) {
        headers.insert(AUTHORIZATION, value.clone());
    }
    if let Some(resume) = &ctx.resume
        && let Ok(range) = HeaderValue::try_from(format!("bytes={}-", resume.sink.size()))
    {
        headers.insert(RANGE, range);
        headers.insert(IF_RANGE, resume.validator.clone());
    }
    Ok(request)
}

async fn receive(
    ctx: &mut Ctx<'_>,
    origin: &Origin,
    response: Response<Incoming>,
    conditional: bool,
    hold: OwnedSemaphorePermit,
    deadlines: &mut Deadlines<'_>,
) -> Result<Exchanged, Fault> {
    let core = ctx.core;
    let (parts, body) = response.into_parts();
    let status = Some(parts.status.as_u16());
    let with_status = |fault: Fault| Fault { status, ..fault };
    let answer = judge(ctx, origin, &parts, body, conditional, deadlines).await.map_err(with_status)?;
    let (body, resumed) = match answer {
        Answer::Settled(exchanged) => return Ok(exchanged),
        Answer::Body { body, resumed } => (body, resumed),
    };
    let length = body.size_hint().exact().or_else(|| content_length(&parts.headers));
    let cap = ctx.req.max_body_bytes.unwrap_or(u64::MAX).min(core.options.max_body_bytes);
    if length.is_some_and(|n| n > cap) {
        let text = format_args!("the body is announced as larger than {cap} bytes");
        return Err(with_status(Fault::new(FailureKind::TooLarge, text)));
    }
    let mut sink = match ctx.resume.take() {
        Some(resume) if resumed => resume.sink,
        Some(Resume { mut sink, .. }) => {
            sink.restart()?;
            sink
        }
        None => Sink::new(core, length, cap, hold)?,
    };
    let end_announced =
        length.is_some() || parts.version >= Version::HTTP_2 || parts.headers.contains_key(TRANSFER_ENCODING);
    let held_bytes = sink.size();
    let total = length.map(|n| n + held_bytes);
    if let Err(fault) = read_body(core, body, &mut sink, total, deadlines).await {
        ctx.brought_bytes = sink.size() - held_bytes;
        if !matches!(fault.kind, FailureKind::TooLarge | FailureKind::Spool) {
            ctx.resume = Resume::of(sink, validator(&parts.headers), total);
        }
        return Err(with_status(fault));
    }
    let whole = sink.finish(ctx.batcher).await?;
    let verified = Verified::compare(whole, ctx.req.expect)
        .map_err(|found| with_status(wrong_hash(ctx.req.expect, found, &parts.headers)))?;
    // It counts as whole, however many parts it arrived in.
    Ok(Exchanged::Done(Done {
        status: 200,
        headers: kept(&parts.headers),
        content: Content::Body(verified),
        end_announced,
    }))
}

/// The meaning of the head of an answer.
enum Answer {
    /// There is no body to read.
    Settled(Exchanged),
    /// The whole body follows, or the missing rest of one.
    Body { body: Incoming, resumed: bool },
}

/// Judges an answer by its head; drains bodies that were not asked for.
async fn judge(
    ctx: &mut Ctx<'_>,
    origin: &Origin,
    parts: &Parts,
    body: Incoming,
    conditional: bool,
    deadlines: &mut Deadlines<'_>,
) -> Result<Answer, Fault> {
    let status = parts.status;
    let empty = match status {
        StatusCode::OK if ctx.req.head => Some(Content::HeadersOnly),
        StatusCode::NOT_MODIFIED if conditional => Some(Content::NotModified),
        _ => None,
    };
    if let Some(content) = empty {
        let headers = kept(&parts.headers);
        let done = Done { status: status.as_u16(), headers, content, end_announced: true };
        return Ok(Answer::Settled(Exchanged::Done(done)));
    }
    if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        drain(body, deadlines).await;
        return Ok(Answer::Settled(Exchanged::Redirect(parts.headers.get(LOCATION).cloned())));
    }
    let resumed = status == StatusCode::PARTIAL_CONTENT && ctx.resume.is_some();
    if status != StatusCode::OK && !resumed {
        drain(body, deadlines).await;
        let about_range = matches!(status.as_u16(), 400 | 412 | 416 | 501);
        if about_range && ctx.resume.take().is_some() {
            return Ok(Answer::Settled(Exchanged::NoContinuation));
        }
        return Err(status_fault(origin, status, &parts.headers));
    }
    if resumed && !ctx.resume.as_ref().is_some_and(|resume| resume.continues(&parts.headers)) {
        drain(body, deadlines).await;
        ctx.resume = None;
        return Ok(Answer::Settled(Exchanged::NoContinuation));
    }
    check_encoding(&parts.headers)?;
    Ok(Answer::Body { body, resumed })
}

fn wrong_hash(expect: Option<Sha256>, (found, size): (Sha256, u64), headers: &HeaderMap) -> Fault {
    let kind = headers.get(CONTENT_TYPE).map_or_else(|| "none".to_owned(), shown);
    let expect = expect.map(Sha256::to_hex).unwrap_or_default();
    let mut fault = Fault::new(
        FailureKind::WrongHash,
        format_args!("SHA-256 is {found}, not {expect} ({size} bytes, content-type {kind})"),
    );
    fault.is_page = kind.to_ascii_lowercase().starts_with("text/html");
    fault.is_empty = size == 0;
    fault
}

/// Waits until one more large body may be received.
async fn large_permit(core: &Core, deadlines: &mut Deadlines<'_>) -> Result<OwnedSemaphorePermit, Fault> {
    let began = Instant::now();
    let permit = Arc::clone(&core.large).acquire_owned();
    let permit = tokio::time::timeout(core.options.total_timeout, permit).await;
    deadlines.excuse(began.elapsed());
    match permit {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) => Err(Fault::new(FailureKind::Cancelled, "the fetcher is closed")),
        Err(_) => Err(Fault::new(FailureKind::Timeout, "other large bodies took too long")),
    }
}

async fn read_body(
    core: &Core,
    mut body: Incoming,
    sink: &mut Sink,
    total: Option<u64>,
    deadlines: &mut Deadlines<'_>,
) -> Result<(), Fault> {
    loop {
        let frame = match deadlines.guard(body.frame()).await? {
            None => break,
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let mut fault = Fault::of_hyper(&error, "reading the body");
                // Part of an answer has arrived, so this was an attempt, whatever went wrong.
                fault.unsent = false;
                return Err(fault);
            }
        };
        let Some(data) = frame.data_ref() else { continue };
        if data.is_empty() {
            // In a flood of empty frames, the stream is always ready, and the timer never gets its turn.
            deadlines.check()?;
            tokio::task::yield_now().await;
            continue;
        }
        let n = data.len() as u64;
        core.observer.bytes(n);
        deadlines.bytes(n);
        if n < PROGRESS_BYTES {
            // The same is true for a flood of small frames.
            deadlines.check()?;
        }
        if sink.becomes_large(core, n) {
            let permit = large_permit(core, deadlines).await?;
            sink.allow_large(permit);
        }
        sink.push(core, data)?;
        if let Some(rate) = &core.byte_rate {
            let began = Instant::now();
            if rate.take(n).await {
                deadlines.excuse(began.elapsed());
            }
        }
    }
    match total {
        Some(total) if total != sink.size() => {
            let size = sink.size();
            Err(Fault::new(FailureKind::Truncated, format_args!("the body has {size} of {total} bytes")))
        }
        _ => Ok(()),
    }
}

/// Returns the value of a header for a message: the origin's text may be long and hostile.
fn shown(value: &HeaderValue) -> String {
    clipped(value.as_bytes(), CLIPPED_VALUE_BYTES)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Fault> {
    match headers.get(CONTENT_ENCODING) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"identity") => {
            let text = format_args!("unasked content encoding {}", shown(value));
            Err(Fault::new(FailureKind::Encoding, text))
        }
        _ => Ok(()),
    }
}

fn status_fault(origin: &Origin, status: StatusCode, headers: &HeaderMap) -> Fault {
    let unasked = match status.as_u16() {
        206 => ", though no part was asked for",
        304 => ", though nothing is held that it could speak of",
        _ => "",
    };
    let mut fault =
        Fault::new(FailureKind::HttpStatus, format_args!("HTTP status {}{unasked}", status.as_u16()));
    fault.congested = matches!(status.as_u16(), 429 | 503);
    fault.retry_after = headers.get(RETRY_AFTER).and_then(|v| retry_after(v, SystemTime::now()));
    if status == StatusCode::TOO_MANY_REQUESTS
        && let Some(wait) = fault.retry_after
    {
        origin.hold_until(Instant::now() + wait);
    }
    fault
}

/// Parses seconds or an HTTP date, and caps the result.
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Reads a short error body, so that HTTP/2 needs no reset and HTTP/1.1 keeps its connection.
async fn drain(mut body: Incoming, deadlines: &mut Deadlines<'_>) {
    let mut left = DRAIN_BYTES;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            let n = frame.data_ref().map_or(0, Bytes::len).max(1);
            if n > left {
                break;
            }
            left -= n;
        }
    };
    let limited = tokio::time::timeout(Duration::from_millis(500), read);
    if !matches!(deadlines.guard(limited).await, Ok(Ok(()))) {
        tracing::trace!("an error body was cut short");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_and_capped() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let of = |text: &str| retry_after(&HeaderValue::from_str(text).unwrap(), now).map(|d| d.as_secs());
        assert_eq!(of("7"), Some(7));
        assert_eq!(of("99999999999999999999999"), Some(120));
        assert_eq!(of(&httpdate::fmt_http_date(now + Duration::from_secs(30))), Some(30));
        assert_eq!(of(&httpdate::fmt_http_date(now - Duration::from_secs(30))), Some(0));
        assert_eq!(of("soon"), None);
        assert_eq!(of("-1"), None);
    }
}
