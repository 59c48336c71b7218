use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mirror_types::{Address, upstream};

use super::error::INDEX;

/// The amount of history in a new clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum History {
    /// The newest commit alone. A shallow repository stays shallow.
    #[default]
    Shallow,
    /// The whole history.
    Full,
}

type ProxyOf = dyn Fn(&str) -> Result<Option<Address>, String> + Send + Sync;

/// Chooses the proxy for an address over HTTP; by default none. The caller reads the environment, so that it has one
/// meaning for the whole run.
#[derive(Clone, Default)]
pub struct ProxyRule(Option<Arc<ProxyOf>>);

impl ProxyRule {
    /// Makes a rule of a function that returns the proxy for an address; its error says why a proxy cannot be used.
    pub fn new(rule: impl Fn(&str) -> Result<Option<Address>, String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(rule)))
    }

    pub(crate) fn of(&self, url: &str) -> Result<Option<Address>, String> {
        self.0.as_ref().map_or(Ok(None), |rule| rule(url))
    }
}

impl std::fmt::Debug for ProxyRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProxyRule")
    }
}

/// The settings for cloning and updating.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UpdateOptions {
    /// The word for the repository in errors and notices: `index`.
    pub what: &'static str,
    /// The address to fetch from that the operator names; `None` takes the repository's own origin.
    pub url: Option<Address>,
    /// The default address of a new clone.
    pub default_url: String,
    /// The history that a new clone fetches.
    pub history: History,
    /// A PEM file of roots to trust beside the system's.
    pub cacert: Option<PathBuf>,
    /// Sent to the remote in git's protocol. (The HTTP header of that name is gix's own.)
    pub user_agent: String,
    /// The rule for the proxy to the remote.
    pub proxies: ProxyRule,
    /// Longest time for connecting over HTTP. (git:// has 5 s; ssh as it is configured.)
    pub connect_timeout: Duration,
    /// Longest time in which nothing arrives and no work is done.
    pub idle_timeout: Duration,
    /// Attempts after the first when the network fails.
    pub retries: u32,
    /// First wait before another attempt; doubles.
    pub retry_base: Duration,
    /// Longest wait.
    pub retry_max: Duration,
    /// Largest object to be processed in memory, bytes. A larger file of the index is stored and not read.
    pub max_object_bytes: usize,
    /// Most packs beside the largest before they are combined.
    pub packs_most: usize,
}

/// Fetches from the product's upstream, and waits for a server as long as a person would for a first clone.
impl Default for UpdateOptions {
    fn default() -> Self {
        Self {
            what: INDEX,
            url: None,
            default_url: upstream::git_index_url(),
            history: History::Shallow,
            cacert: None,
            user_agent: concat!("mirror-git/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxies: ProxyRule::default(),
            connect_timeout: Duration::from_secs(10),
            // Servers may compute for a while before they send a pack.
            idle_timeout: Duration::from_secs(120),
            retries: 6,
            retry_base: Duration::from_millis(500),
            retry_max: Duration::from_secs(30),
            max_object_bytes: mirror_index::MAX_FILE_BYTES,
            // Three weeks of daily runs.
            packs_most: 20,
        }
    }
}

/// A stage of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdatePhase {
    /// Examining the index.
    Examining,
    /// Asking the remote what it has, and waiting while it makes a pack.
    Connecting,
    /// Receiving the pack.
    Receiving,
    /// Resolving deltas and indexing the pack.
    Indexing,
    /// Writing the files of a checkout.
    CheckingOut,
    /// Combining old packs.
    Packing,
}

impl UpdatePhase {
    /// Returns its name, for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Examining => "examining the index",
            Self::Connecting => "waiting for the remote",
            Self::Receiving => "receiving",
            Self::Indexing => "indexing",
            Self::CheckingOut => "checking out",
            Self::Packing => "packing",
        }
    }
}

/// The progress of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateStatus {
    /// Its phase.
    pub phase: UpdatePhase,
    /// Objects or files of this phase that are done.
    pub done: u64,
    /// The total, when that is known.
    pub total: Option<u64>,
    /// Bytes received so far.
    pub bytes: u64,
}

/// One event of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateEvent {
    /// The update begins.
    Started {
        /// The address, without credentials.
        url: String,
        /// True if a clone is made.
        clone: bool,
        /// The commit before, in hex.
        old: Option<String>,
    },
    /// The network failed; another attempt follows after a wait.
    Retrying {
        /// The reason, in one line.
        why: String,
        /// The time until the next attempt.
        wait: Duration,
    },
    /// A notice for a person.
    Notice(String),
}

/// Receives the progress of an update, and decides whether it continues. Called from the thread that called
/// [`update_index`](crate::update_index), some ten times a second: must not block.
pub trait UpdateObserver {
    /// Returns whether to stop. Called often.
    fn stopped(&self) -> bool;
    /// Receives the progress.
    fn status(&self, status: &UpdateStatus);
    /// Receives an event.
    fn event(&self, event: UpdateEvent);
}

/// An observer that ignores everything and never stops the update.
#[derive(Debug, Clone, Copy, Default)]
pub struct QuietObserver;

impl UpdateObserver for QuietObserver {
    fn stopped(&self) -> bool {
        false
    }
    fn status(&self, _: &UpdateStatus) {}
    fn event(&self, _: UpdateEvent) {}
}

/// The outcome of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// The address, without credentials.
    pub url: String,
    /// The commit before, in hex; `None` after a clone.
    pub old: Option<String>,
    /// The commit now.
    pub new: String,
    /// The branch that HEAD is at, in full (`refs/heads/…`).
    pub branch: String,
    /// True if the old commit is no ancestor of the new one; `None` where the history does not show it. `Some(false)`
    /// after a clone.
    pub forced: Option<bool>,
    /// True if the repository has only the newest commits.
    pub shallow: bool,
    /// Bytes of the pack that was received.
    pub received_bytes: u64,
    /// Objects in it.
    pub received_objects: u64,
    /// Files of a checkout that were written or removed.
    pub checked_out: u64,
    /// Packs that were combined; they stay until the next update.
    pub packs_replaced: u64,
    /// Time taken.
    pub elapsed: Duration,
}
