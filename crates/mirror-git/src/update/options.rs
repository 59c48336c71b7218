use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mirror_types::{Address, upstream};

/// The amount of history in a new clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum History {
    /// The newest commit alone. A repository that is shallow stays so.
    #[default]
    Shallow,
    /// All of it.
    Full,
}

type ProxyOf = dyn Fn(&str) -> Result<Option<Address>, String> + Send + Sync;

/// Says through which proxy an address is reached over HTTP; by default through none. The environment is read by the
/// caller, so that one run has one meaning of it.
#[derive(Clone, Default)]
pub struct ProxyRule(Option<Arc<ProxyOf>>);

impl ProxyRule {
    /// Asks `rule` for the proxy of an address; it says why when there is one that cannot be used.
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
pub struct UpdateOptions {
    /// The address to fetch from, when the operator names one; else the repository's own origin.
    pub url: Option<Address>,
    /// The default address of a new clone.
    pub default_url: String,
    /// For new clones.
    pub history: History,
    /// A PEM file of roots to trust beside the system's.
    pub cacert: Option<PathBuf>,
    /// Named to the remote in git's protocol. (The HTTP header of that name is gix's own.)
    pub user_agent: String,
    /// Through which proxy the remote is reached.
    pub proxies: ProxyRule,
    /// Longest time for connecting over HTTP. (git:// has 5 s; ssh as it is configured.)
    pub connect_timeout: Duration,
    /// Longest time in which nothing arrives and nothing is worked on.
    pub idle_timeout: Duration,
    /// Attempts after the first when the network fails.
    pub retries: u32,
    /// First wait before another attempt; doubles.
    pub retry_base: Duration,
    /// Longest wait.
    pub retry_max: Duration,
    /// Largest object that is worked on in memory, bytes. A larger file of the index is stored and not read.
    pub max_object_bytes: usize,
    /// Packs beside the largest that are kept before they are put together.
    pub packs_most: usize,
}

/// From the product's upstream, as patient with a server as a person is who waits for a first clone.
impl Default for UpdateOptions {
    fn default() -> Self {
        Self {
            url: None,
            default_url: upstream::git_index_url(),
            history: History::Shallow,
            cacert: None,
            user_agent: concat!("mirror-git/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxies: ProxyRule::default(),
            connect_timeout: Duration::from_secs(10),
            // Servers may think for a while before they send a pack.
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
    /// Looking at what is there.
    Examining,
    /// Asking the remote what it has, and waiting while it makes a pack of it.
    Connecting,
    /// The pack arrives.
    Receiving,
    /// Deltas are resolved, the pack is indexed.
    Indexing,
    /// Files of a checkout are written.
    CheckingOut,
    /// Old packs become one.
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
    /// Objects, or files, of this phase that are done.
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
    /// The work begins.
    Started {
        /// The address, without credentials.
        url: String,
        /// True if a clone is made.
        clone: bool,
        /// The commit that is there, in hex.
        old: Option<String>,
    },
    /// The network failed; another attempt follows after a wait.
    Retrying {
        /// Why, in one line.
        why: String,
        /// The time until then.
        wait: Duration,
    },
    /// Something a person may want to know.
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

/// Says nothing and never stops.
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
    /// The commit that was there, in hex; `None` after a clone.
    pub old: Option<String>,
    /// The commit that is there now.
    pub new: String,
    /// The branch that HEAD is at, in full (`refs/heads/…`).
    pub branch: String,
    /// True if the old commit is no ancestor of the new one; `None` where history does not tell. After a clone there is
    /// no old one: `Some(false)`.
    pub forced: Option<bool>,
    /// True if the repository has only the newest commits.
    pub shallow: bool,
    /// Bytes of the pack that was received.
    pub received_bytes: u64,
    /// Objects in it.
    pub received_objects: u64,
    /// Files of a checkout that were written or removed.
    pub checked_out: u64,
    /// Packs that became one; they stay until the next update.
    pub packs_replaced: u64,
    /// Time taken.
    pub elapsed: Duration,
}
