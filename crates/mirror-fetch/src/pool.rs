//! Connections per origin: slots of HTTP/2 connections, or a set of idle HTTP/1.1 ones.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use url::{Host, Position, Url};

use crate::connect::{Conn, Connector, H1, H2, Target};
use crate::failure::{FailureKind, Fault, FetchSetupError};
use crate::limit::lock;
use crate::options::FetchOptions;
use crate::plus::KnownForm;
use crate::redirect::is_local_host;
use crate::route::local_address;

/// Most streams of a connection before another one is worth opening.
const STREAMS_PER_CONN: usize = 64;
/// A slot with fewer requests than this takes more before the next slot connects.
const FILL_FIRST: usize = 8;
const MAX_H1_CONNS: usize = 64;
/// Most requests at a time with a connection of their own, because theirs broke again and again.
const ALONE_CONNS: usize = 4;
/// Marks "no slot".
pub(crate) const NO_SLOT: usize = usize::MAX;

pub(crate) struct Pool {
    connector: Connector,
    /// Plain and guarded origins, by `scheme://authority`.
    origins: [Mutex<HashMap<String, Arc<Origin>>>; 2],
    conns: usize,
    streams: usize,
    h1_conns: usize,
}

pub(crate) struct Origin {
    pub(crate) target: Target,
    slots: Box<[Slot]>,
    streams: Arc<Semaphore>,
    speaks_h1: AtomicBool,
    h1_idle: Mutex<Vec<H1>>,
    h1_conns: Arc<Semaphore>,
    alone: Arc<Semaphore>,
    /// Set by 429: nothing is sent to this origin before.
    not_before: Mutex<Option<Instant>>,
    held: AtomicBool,
    pub(crate) plus: KnownForm,
    /// True if the origin ever began to answer.
    pub(crate) answers: AtomicBool,
}

#[derive(Default)]
struct Slot {
    active: AtomicUsize,
    /// The time at which an answer last began on it.
    answered: Mutex<Option<Instant>>,
    state: Mutex<SlotState>,
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct SlotState {
    sender: Option<H2>,
    /// Counts connections, so that a late error cannot retire a newer one.
    generation: u64,
    /// Counts failed attempts to connect: all requests that waited for one share its outcome.
    failures: u64,
    fault: Option<Fault>,
}

impl Pool {
    pub(crate) fn new(options: &FetchOptions) -> Result<Self, FetchSetupError> {
        let concurrency = options.concurrency.max(1);
        let auto = concurrency.div_ceil(STREAMS_PER_CONN).clamp(2, 8);
        let (conns, h1_conns) = match options.max_conns_per_host {
            0 => (auto, concurrency.min(MAX_H1_CONNS)),
            n => (n.min(256), n.min(concurrency)),
        };
        let bound = if options.conns_bound == 0 { usize::MAX } else { options.conns_bound };
        let (conns, h1_conns) = (conns.min(bound), h1_conns.min(bound));
        Ok(Self {
            connector: Connector::new(options)?,
            origins: Default::default(),
            conns,
            // There is room for hedges beyond the concurrency.
            streams: concurrency + concurrency.min(16),
            h1_conns,
        })
    }

    pub(crate) fn origin(&self, url: &Url, guarded: bool) -> Result<Arc<Origin>, Fault> {
        let key = &url[..Position::BeforePath];
        let mut map = lock(&self.origins[usize::from(guarded)]);
        if let Some(origin) = map.get(key) {
            return Ok(Arc::clone(origin));
        }
        let origin = Arc::new(self.make_origin(url, guarded)?);
        map.insert(key.to_owned(), Arc::clone(&origin));
        Ok(origin)
    }

    fn make_origin(&self, url: &Url, guarded: bool) -> Result<Origin, Fault> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            other => {
                return Err(Fault::new(FailureKind::Address, format_args!("{other}: not http or https")));
            }
        };
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err(Fault::new(FailureKind::Address, "an address without a host")),
        };
        // A proxy resolves names itself, so hosts that are local by name are refused here.
        if guarded && is_local_host(url) {
            return Err(local_address(&host));
        }
        let port = url.port_or_known_default().unwrap_or(if https { 443 } else { 80 });
        let proxy = self.connector.proxy(https, &host, port)?;
        Ok(Origin {
            target: Target { https, host, port, guarded, proxy },
            slots: (0..self.conns).map(|_| Slot::default()).collect(),
            streams: Arc::new(Semaphore::new(self.streams)),
            speaks_h1: AtomicBool::new(!https),
            h1_idle: Mutex::default(),
            h1_conns: Arc::new(Semaphore::new(self.h1_conns)),
            alone: Arc::new(Semaphore::new(ALONE_CONNS)),
            not_before: Mutex::default(),
            held: AtomicBool::new(false),
            plus: KnownForm::default(),
            answers: AtomicBool::new(false),
        })
    }

    /// Leases a connection for one request, on another slot than `avoid` if possible.
    pub(crate) async fn lease(&self, origin: &Arc<Origin>, avoid: usize) -> Result<Lease, Fault> {
        if origin.speaks_h1.load(Ordering::Acquire) {
            return self.lease_h1(origin, None).await;
        }
        let permit = permit(&origin.streams).await?;
        let mut lease = Lease {
            origin: Arc::clone(origin),
            conn: None,
            slot: origin.pick(avoid),
            generation: 0,
            reused: false,
            permit: Some(permit),
        };
        let slot = &origin.slots[lease.slot];
        let seen_failures = {
            let mut state = lock(&slot.state);
            if lease.take_ready(&mut state) {
                return Ok(lease);
            }
            state.failures
        };
        let connecting = slot.connecting.lock().await;
        {
            let mut state = lock(&slot.state);
            if lease.take_ready(&mut state) {
                return Ok(lease);
            }
            if let Some(fault) = state.fault.clone().filter(|_| state.failures != seen_failures) {
                return Err(fault);
            }
        }
        // During the wait above, the origin may have turned out to lack HTTP/2.
        if origin.speaks_h1.load(Ordering::Acquire) {
            drop((connecting, lease));
            return self.lease_h1(origin, None).await;
        }
        match self.fill(slot, origin).await? {
            None => {
                lease.take_ready(&mut lock(&slot.state));
                lease.reused = false;
                if lease.conn.is_none() {
                    return Err(Fault::new(FailureKind::Reset, "the connection closed at once"));
                }
                Ok(lease)
            }
            Some(sender) => {
                drop((connecting, lease));
                self.lease_h1(origin, Some(sender)).await
            }
        }
    }

    /// Connects a slot. An origin without HTTP/2 gets a connection for one request at a time instead.
    async fn fill(&self, slot: &Slot, origin: &Origin) -> Result<Option<H1>, Fault> {
        match self.connect(origin).await {
            Ok(Conn::H2(sender)) => {
                let mut state = lock(&slot.state);
                state.generation += 1;
                state.sender = Some(sender);
                Ok(None)
            }
            Ok(Conn::H1(sender)) => {
                origin.speaks_h1.store(true, Ordering::Release);
                Ok(Some(sender))
            }
            Err(fault) => {
                let mut state = lock(&slot.state);
                state.failures += 1;
                state.fault = Some(fault.clone());
                Err(fault)
            }
        }
    }

    /// Leases a connection for this request alone: if it breaks, no other request is affected.
    pub(crate) async fn lease_alone(&self, origin: &Arc<Origin>) -> Result<Lease, Fault> {
        if origin.speaks_h1.load(Ordering::Acquire) {
            return self.lease_h1(origin, None).await;
        }
        let permit = permit(&origin.alone).await?;
        Ok(Lease {
            origin: Arc::clone(origin),
            conn: Some(self.connect(origin).await?),
            slot: NO_SLOT,
            generation: 0,
            reused: false,
            permit: Some(permit),
        })
    }

    /// Connects. Boxed, because connecting is rare and its state would be part of that of every request.
    async fn connect(&self, origin: &Origin) -> Result<Conn, Fault> {
        Box::pin(self.connector.connect(&origin.target)).await
    }

    async fn lease_h1(&self, origin: &Arc<Origin>, fresh: Option<H1>) -> Result<Lease, Fault> {
        let permit = permit(&origin.h1_conns).await?;
        let mut lease = Lease {
            origin: Arc::clone(origin),
            conn: fresh.map(Conn::H1),
            slot: NO_SLOT,
            generation: 0,
            reused: false,
            permit: Some(permit),
        };
        while lease.conn.is_none() {
            let Some(mut idle) = lock(&origin.h1_idle).pop() else { break };
            if !idle.is_closed() && idle.ready().await.is_ok() {
                lease.conn = Some(Conn::H1(idle));
                lease.reused = true;
            }
        }
        if lease.conn.is_none() {
            lease.conn = Some(self.connect(origin).await?);
        }
        Ok(lease)
    }
}

async fn permit(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fault> {
    Arc::clone(semaphore)
        .acquire_owned()
        .await
        .map_err(|_| Fault::new(FailureKind::Cancelled, "the connection pool is closed"))
}

impl Origin {
    /// Counts a request on a slot: the first that is not busy yet, else the least busy.
    fn pick(&self, avoid: usize) -> usize {
        let usable = |i: usize| i != avoid || self.slots.len() == 1;
        let active = |i: usize| self.slots[i].active.load(Ordering::Relaxed);
        let all = || (0..self.slots.len()).filter(|&i| usable(i));
        let slot =
            all().find(|&i| active(i) < FILL_FIRST).or_else(|| all().min_by_key(|&i| active(i))).unwrap_or(0);
        self.slots[slot].active.fetch_add(1, Ordering::Relaxed);
        slot
    }

    /// Holds all requests to this origin back until `until`.
    pub(crate) fn hold_until(&self, until: Instant) {
        let mut not_before = lock(&self.not_before);
        *not_before = Some(not_before.map_or(until, |old| old.max(until)));
        self.held.store(true, Ordering::Release);
    }

    /// Returns whether the origin asked for a pause that may not be over.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Waits for the end of a pause that the origin asked for.
    pub(crate) async fn wait_until_welcome(&self) {
        while self.held.load(Ordering::Acquire) {
            let until = {
                let mut not_before = lock(&self.not_before);
                let until = not_before.filter(|at| *at > Instant::now());
                if until.is_none() {
                    *not_before = None;
                    self.held.store(false, Ordering::Release);
                }
                until
            };
            if let Some(at) = until {
                tokio::time::sleep_until(at).await;
            }
        }
    }
}

/// The right to send one request on one connection.
pub(crate) struct Lease {
    origin: Arc<Origin>,
    conn: Option<Conn>,
    slot: usize,
    generation: u64,
    reused: bool,
    permit: Option<OwnedSemaphorePermit>,
}

impl Lease {
    fn take_ready(&mut self, state: &mut SlotState) -> bool {
        if state.sender.as_ref().is_some_and(H2::is_closed) {
            state.sender = None;
        }
        self.generation = state.generation;
        self.conn = state.sender.clone().map(Conn::H2);
        self.reused = self.conn.is_some();
        self.reused
    }

    /// Notes that an answer began on this connection.
    pub(crate) fn answered(&self) {
        if let Some(slot) = self.origin.slots.get(self.slot) {
            *lock(&slot.answered) = Some(Instant::now());
        }
    }

    /// Returns whether no answer began on this connection since then, for any request.
    pub(crate) fn is_silent_since(&self, then: Instant) -> bool {
        let slot = self.origin.slots.get(self.slot);
        slot.is_some_and(|slot| lock(&slot.answered).is_none_or(|last| last < then))
    }

    pub(crate) const fn slot(&self) -> usize {
        self.slot
    }

    pub(crate) const fn is_h2(&self) -> bool {
        matches!(self.conn, Some(Conn::H2(_)))
    }

    /// Sends. A fault is `unsent` when the peer cannot have acted on the request.
    pub(crate) async fn send(&mut self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, Fault> {
        let is_h2 = self.is_h2();
        let outcome = match &mut self.conn {
            Some(Conn::H2(sender)) => sender.try_send_request(request).await,
            Some(Conn::H1(sender)) => sender.try_send_request(request).await,
            None => return Err(Fault::new(FailureKind::Reset, "no connection").unsent()),
        };
        outcome.map_err(|mut error| {
            let recovered = error.take_message().is_some();
            let mut fault = Fault::of_hyper(error.error(), "sending the request");
            // There was no body that could be cut off.
            if fault.kind == FailureKind::Truncated {
                fault.kind = FailureKind::Reset;
            }
            // hyper takes the I/O error out of the HTTP/2 error: the connection broke under all its streams.
            fault.shared |= is_h2 && error.error().source().is_some_and(<dyn Error>::is::<io::Error>);
            // A kept-alive HTTP/1.1 connection may close just as the next request leaves.
            let stale = self.slot == NO_SLOT && self.reused && error.error().is_incomplete_message();
            if recovered || stale { fault.unsent() } else { fault }
        })
    }

    /// Retires a connection: no further request goes to it, and those on it may finish.
    pub(crate) fn retire(&mut self) {
        self.conn = None;
        if let Some(slot) = self.origin.slots.get(self.slot) {
            let mut state = lock(&slot.state);
            if state.generation == self.generation {
                state.sender = None;
            }
        }
    }

    /// Returns a connection whose response was read to its end, so that an HTTP/1.1 connection can be reused.
    pub(crate) fn give_back(mut self) {
        if let Some(Conn::H1(sender)) = self.conn.take()
            && !sender.is_closed()
        {
            lock(&self.origin.h1_idle).push(sender);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(slot) = self.origin.slots.get(self.slot) {
            slot.active.fetch_sub(1, Ordering::Relaxed);
        }
        drop(self.permit.take());
    }
}
