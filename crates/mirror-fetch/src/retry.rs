//! The one retry layer: attempts, backoff, and failures that cost no retry.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use mirror_types::{CLIPPED_VALUE_BYTES, clipped};
use tokio::time::Instant;
use url::{Position, Url};

use crate::answer::Fetched;
use crate::attempt::{Ctx, Done, attempt};
use crate::failure::{Failure, FailureKind, Fault, RetryKind};
use crate::hash_batcher::HashBatcher;
use crate::options::{FetchOptions, Wait};
use crate::plus;
use crate::pool::{NO_SLOT, Origin};
use crate::proxy::Proxy;
use crate::request::FetchRequest;
use crate::shared::Core;

/// Most times that a request may return unsent before that counts as a failed attempt.
const MAX_UNSENT: u32 = 64;

/// Broken connections that do not count against a request on them; after that it gets its own connection. Without this,
/// one answer that breaks its connection could use up the retries of all requests beside it.
const MAX_SHARED: u32 = 2;

/// The time after which an origin that never answered is named.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// Counts a request in flight for as long as this value lives, also when it is dropped.
struct InFlight<'a>(&'a Core);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.observer.inflight(-1);
    }
}

pub(crate) async fn fetch(
    core: &Core,
    req: &FetchRequest,
    slot: &AtomicUsize,
    hedge: bool,
    batcher: Option<&HashBatcher>,
) -> Result<Fetched, Failure> {
    let started = SystemTime::now();
    if core.options.offline {
        let fault = Fault::new(FailureKind::Offline, "it is not held, and the run is offline");
        return Err(failed(req, &fault, 0, started));
    }
    core.observer.inflight(1);
    let _in_flight = InFlight(core);
    let avoid = if hedge { slot.load(Ordering::Relaxed) } else { NO_SLOT };
    let url = form_for(core, req);
    let mut tries = Tries { other_form: url != req.url, ..Tries::default() };
    let mut ctx = Ctx {
        core,
        req,
        url,
        batcher,
        resume: None,
        slot,
        avoid,
        brought_bytes: 0,
        waited: Duration::ZERO,
        alone: false,
    };
    loop {
        let began = Instant::now();
        let ended = announced(core, req, attempt(&mut ctx)).await;
        let took = began.elapsed().saturating_sub(ctx.waited);
        let fault = match ended {
            Ok(done) => {
                core.observer.attempt(Some(done.status), true, took);
                tracing::debug!(url = place(&ctx.url), status = done.status, ?took, "answered");
                note(core, done.size(), true, false);
                core.silence.answered();
                if let Some(origin) = origin_of_plus(core, req) {
                    origin.plus.learn(&ctx.url);
                }
                return Ok(fetched(done, tries.retries, started));
            }
            Err(fault) => fault,
        };
        core.silence.failed(&fault, ctx.brought_bytes);
        if tries.was_unsent(&fault).await {
            continue;
        }
        core.observer.attempt(fault.status, false, took);
        tracing::debug!(url = place(&ctx.url), error = fault.message, ?took, "failed");
        if !fault.mute {
            note(core, 0, false, fault.congested);
        }
        if fault.kind == FailureKind::WrongHash {
            ctx.resume = None;
        }
        let again = tries.in_other_form(&mut ctx, &fault)
            || tries.was_shared(&mut ctx, &fault).await
            || tries.go_on(&ctx, &fault).await;
        if !again {
            core.silence.gave_up(&fault);
            return Err(failed(req, &fault, tries.retries, started));
        }
    }
}

/// Carries an attempt out. While no origin has ever answered, the observer hears of one that stays silent.
async fn announced<T>(core: &Core, req: &FetchRequest, doing: impl Future<Output = T>) -> T {
    let mut doing = pin!(doing);
    if core.silence.is_unbroken() {
        if let Ok(done) = tokio::time::timeout(SILENT_AFTER, &mut doing).await {
            return done;
        }
        if core.silence.is_unbroken() {
            let proxy = core.pool.origin(&req.url, req.guarded).ok();
            let proxy = proxy.and_then(|origin| origin.target.proxy.as_ref().map(Proxy::place));
            let host = req.url.host_str().unwrap_or_default();
            core.observer.waits(&Wait::Silent { host, proxy: proxy.as_deref(), after: SILENT_AFTER });
        }
    }
    doing.await
}

/// The attempts at one request.
#[derive(Default)]
struct Tries {
    /// Attempts beyond the first that count.
    retries: u32,
    /// Unsent requests in a row.
    unsent: u32,
    /// Attempts that broke together with others on their connection.
    shared: u32,
    /// True if the other form of the address was tried.
    other_form: bool,
    of_kind: [u32; 32],
}

impl Tries {
    /// Waits a moment and returns true when the request was never sent: that is no attempt.
    async fn was_unsent(&mut self, fault: &Fault) -> bool {
        if !fault.unsent || self.unsent >= MAX_UNSENT {
            return false;
        }
        self.unsent += 1;
        if self.unsent > 4 {
            tokio::time::sleep(jitter(Duration::from_millis(20))).await;
        }
        true
    }

    /// Switches to the other form of the address, which this origin may accept.
    fn in_other_form(&mut self, ctx: &mut Ctx<'_>, fault: &Fault) -> bool {
        if self.other_form
            || fault.kind != FailureKind::HttpStatus
            || !matches!(fault.status, Some(400 | 403 | 404 | 410))
        {
            return false;
        }
        let other = origin_of_plus(ctx.core, ctx.req).and_then(|origin| origin.plus.alternative(&ctx.url));
        let Some(other) = other else { return false };
        self.other_form = true;
        ctx.url = other;
        true
    }

    /// Waits and returns true when the fault may be caused by another request on the same connection; the last time,
    /// the request goes alone.
    async fn was_shared(&mut self, ctx: &mut Ctx<'_>, fault: &Fault) -> bool {
        if !fault.shared || self.shared >= MAX_SHARED {
            return false;
        }
        self.shared += 1;
        ctx.alone = self.shared == MAX_SHARED;
        ctx.core.observer.retry();
        tokio::time::sleep(pause(&ctx.core.options, self.shared, None)).await;
        true
    }

    /// Waits and returns true when another attempt is allowed after the fault.
    async fn go_on(&mut self, ctx: &Ctx<'_>, fault: &Fault) -> bool {
        let options = &ctx.core.options;
        let seen = &mut self.of_kind[fault.kind as usize];
        *seen += 1;
        let allowed = match fault.kind.retry_kind(fault.status) {
            RetryKind::Never => 0,
            RetryKind::AtMost(n) => n,
            RetryKind::Budget => u32::MAX,
        };
        if self.retries >= options.retries || *seen > allowed {
            return false;
        }
        self.retries += 1;
        self.unsent = 0;
        ctx.core.observer.retry();
        let wait = pause(options, self.retries, fault.retry_after);
        let url = place(&ctx.req.url);
        tracing::debug!(url, error = fault.message, ?wait, "trying again");
        ctx.core.observer.waits(&Wait::Retry { url: &url, why: &fault.message, wait });
        tokio::time::sleep(wait).await;
        true
    }
}

/// Returns the address in the form that its origin is known to accept.
fn form_for(core: &Core, req: &FetchRequest) -> Url {
    let known = origin_of_plus(core, req).and_then(|origin| origin.plus.preferred(&req.url));
    known.unwrap_or_else(|| req.url.clone())
}

/// Returns the origin of an address with two forms.
fn origin_of_plus(core: &Core, req: &FetchRequest) -> Option<Arc<Origin>> {
    plus::matters(&req.url).then(|| core.pool.origin(&req.url, req.guarded).ok()).flatten()
}

fn note(core: &Core, bytes: u64, ok: bool, congested: bool) {
    if let Some(limit) = core.limiter.record(bytes, ok, congested) {
        core.observer.concurrency(limit);
    }
}

/// Returns a pause with full jitter under an exponential ceiling, never shorter than the pause that the origin asked
/// for.
fn pause(options: &FetchOptions, retry: u32, retry_after: Option<Duration>) -> Duration {
    let factor = 1_u32.checked_shl(retry.saturating_sub(1)).unwrap_or(u32::MAX);
    let ceiling = options.retry_base.saturating_mul(factor).min(options.retry_max);
    match retry_after {
        // The jitter keeps rejected requests from all returning at once.
        Some(asked) => asked + jitter(options.retry_base),
        None => jitter(ceiling),
    }
}

fn jitter(ceiling: Duration) -> Duration {
    ceiling.mul_f64(fastrand::f64())
}

fn fetched(done: Done, retries: u32, started: SystemTime) -> Fetched {
    let Done { status, headers, content, end_announced } = done;
    Fetched { status, headers, content, end_announced, retries, started, finished: SystemTime::now() }
}

/// Returns an address for messages: without the query, which may contain a secret.
fn place(url: &Url) -> String {
    let place = &url[Position::BeforeHost..Position::AfterPath];
    format!("{}://{}", url.scheme(), clipped(place, 2 * CLIPPED_VALUE_BYTES))
}

fn failed(req: &FetchRequest, fault: &Fault, retries: u32, started: SystemTime) -> Failure {
    let message = format!("{}: {}", place(&req.url), fault.message);
    Failure {
        kind: fault.kind,
        http_status: fault.status,
        retries,
        message,
        started,
        finished: SystemTime::now(),
        is_page: fault.is_page,
        is_empty: fault.is_empty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_within_bounds() {
        let options = FetchOptions::default();
        for retry in 1..80 {
            assert!(pause(&options, retry, None) <= options.retry_max);
            let asked = Duration::from_secs(9);
            let wait = pause(&options, retry, Some(asked));
            assert!(wait >= asked && wait <= asked + options.retry_base);
        }
    }
}
