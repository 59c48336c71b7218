//! Detects that no origin answers any more, in whatever way, so that a run need not wait for each of its requests in
//! turn.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::failure::{FailureKind, Fault};
use crate::limit::lock;
use crate::options::FetchOptions;

/// Requests that ended without an answer, in a row, before a run is given up.
const HOPELESS_REQUESTS: u32 = 20;
/// Attempts without an answer that count as much, once they went on for long enough.
const HOPELESS_ATTEMPTS: u32 = 60;
/// Bytes after which an attempt counts as cut off, and not as unanswered.
const ALIVE_BYTES: u64 = 64 << 10;

/// The failures since an origin last answered.
pub(crate) struct Silence {
    state: Mutex<State>,
    /// The longest time that a request without any answer takes to fail.
    mute: Duration,
    /// The same for a request with a dripping answer.
    dripping: Duration,
    /// The longest time of one attempt.
    attempt: Duration,
}

#[derive(Default)]
struct State {
    ever_answered: bool,
    since: Option<Instant>,
    attempts: u32,
    requests: u32,
    dripped: bool,
}

impl Silence {
    pub(crate) fn new(options: &FetchOptions) -> Self {
        let FetchOptions { connect_timeout, idle_timeout, total_timeout, retries, retry_max, .. } = options;
        let tries = retries.saturating_add(1);
        let waits = retry_max.saturating_mul(*retries);
        let of = |attempt: Duration| attempt.saturating_add(*connect_timeout).saturating_mul(tries) + waits;
        Self {
            state: Mutex::default(),
            mute: of(*idle_timeout),
            dripping: of(*total_timeout),
            attempt: total_timeout.saturating_add(*connect_timeout),
        }
    }

    pub(crate) fn answered(&self) {
        let mut state = lock(&self.state);
        if !state.ever_answered || state.since.is_some() {
            *state = State { ever_answered: true, ..State::default() };
        }
    }

    /// Returns whether an origin ever answered.
    pub(crate) fn is_unbroken(&self) -> bool {
        !lock(&self.state).ever_answered
    }

    /// Notes a failed attempt, and the bytes that it brought.
    pub(crate) fn failed(&self, fault: &Fault, brought_bytes: u64) {
        if !is_silence(fault) || brought_bytes >= ALIVE_BYTES {
            return self.answered();
        }
        let mut state = lock(&self.state);
        state.since.get_or_insert_with(Instant::now);
        state.attempts = state.attempts.saturating_add(1);
        state.dripped |= fault.kind == FailureKind::Timeout;
    }

    /// Notes a request that was given up without an answer.
    pub(crate) fn gave_up(&self, fault: &Fault) {
        if is_silence(fault) {
            let mut state = lock(&self.state);
            state.requests = state.requests.saturating_add(1);
        }
    }

    /// Returns whether it is pointless to continue.
    ///
    /// An origin that never answered gets less time than one that did: at the end of a run, the only requests left may
    /// be those that an origin ignores, and each of them must come to its own end.
    pub(crate) fn is_hopeless(&self, now: Instant) -> bool {
        let state = lock(&self.state);
        let Some(since) = state.since else { return false };
        let silent = now.saturating_duration_since(since);
        if !state.ever_answered {
            return state.requests >= HOPELESS_REQUESTS
                || (state.attempts >= HOPELESS_ATTEMPTS && silent >= self.attempt);
        }
        let patience = if state.dripped { self.dripping } else { self.mute };
        state.requests >= HOPELESS_REQUESTS && silent >= patience + patience / 2
    }
}

/// Returns whether a failure counts as silence: an origin that only ever answers "later" is silent, too.
fn is_silence(fault: &Fault) -> bool {
    fault.kind.is_unanswered() || matches!(fault.status, Some(429 | 503))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> FetchOptions {
        FetchOptions {
            retries: 1,
            retry_max: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(4),
            total_timeout: Duration::from_secs(20),
            ..FetchOptions::default()
        }
    }

    fn hopeless_after(silence: &Silence, secs: u64) -> bool {
        silence.is_hopeless(Instant::now() + Duration::from_secs(secs))
    }

    fn fault(kind: FailureKind) -> Fault {
        Fault::new(kind, "")
    }

    fn fail(silence: &Silence, kind: FailureKind, requests: u32) {
        for _ in 0..requests {
            silence.failed(&fault(kind), 0);
            silence.failed(&fault(kind), 0);
            silence.gave_up(&fault(kind));
        }
    }

    #[test]
    fn an_origin_that_never_answers_is_given_up_after_twenty_requests_or_some_time() {
        for kind in [FailureKind::Connect, FailureKind::Idle, FailureKind::Reset, FailureKind::Truncated] {
            let silence = Silence::new(&options());
            fail(&silence, kind, HOPELESS_REQUESTS - 1);
            assert!(!hopeless_after(&silence, 0));
            fail(&silence, kind, 1);
            assert!(hopeless_after(&silence, 0), "{}", kind.as_str());
        }
        let silence = Silence::new(&options());
        for _ in 0..HOPELESS_ATTEMPTS {
            silence.failed(&fault(FailureKind::Timeout), 3_000);
        }
        assert!(!hopeless_after(&silence, 0));
        assert!(hopeless_after(&silence, 22));
        silence.answered();
        assert!(!hopeless_after(&silence, 22));
    }

    #[test]
    fn an_origin_that_answered_once_is_given_up_when_every_request_has_had_its_time() {
        for (kind, patience) in [(FailureKind::Idle, 17), (FailureKind::Timeout, 65)] {
            let silence = Silence::new(&options());
            silence.answered();
            fail(&silence, kind, 500);
            assert!(
                !hopeless_after(&silence, patience - 2),
                "a thousand attempts may be left alone together"
            );
            assert!(hopeless_after(&silence, patience), "{}", kind.as_str());
        }
        let silence = Silence::new(&options());
        silence.answered();
        fail(&silence, FailureKind::Idle, HOPELESS_REQUESTS - 1);
        assert!(!hopeless_after(&silence, 3_600), "few requests are left alone");
    }

    #[test]
    fn later_is_no_answer() {
        let later = Fault { status: Some(429), ..fault(FailureKind::HttpStatus) };
        let silence = Silence::new(&options());
        for _ in 0..HOPELESS_REQUESTS {
            silence.failed(&later, 0);
            silence.gave_up(&later);
        }
        assert!(hopeless_after(&silence, 0));
        silence.answered();
        assert!(!hopeless_after(&silence, 0));
    }

    #[test]
    fn refusals_and_bodies_cut_off_are_answers() {
        use FailureKind as K;
        for kind in [K::HttpStatus, K::WrongHash, K::TooLarge, K::Redirect, K::Encoding] {
            let silence = Silence::new(&options());
            fail(&silence, kind, 100);
            assert!(!hopeless_after(&silence, 0), "{}", kind.as_str());
        }
        let silence = Silence::new(&options());
        fail(&silence, K::Idle, HOPELESS_REQUESTS);
        silence.failed(&fault(K::Truncated), ALIVE_BYTES);
        assert!(!hopeless_after(&silence, 0));
    }
}
