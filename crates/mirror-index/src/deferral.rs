use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use mirror_types::IndexRecord;

/// Says that a release is wanted, but not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferral {
    /// The moment from which it may be fetched; `None`: not as long as the policy stands.
    pub until: Option<SystemTime>,
    /// The rule that holds it back, in a word.
    pub why: Cow<'static, str>,
}

/// Holds selected releases back until a date. Pure: the same record at the same moment gets the same answer, and once
/// a release may be fetched, it may be fetched at every later moment.
pub trait DeferralPolicy: fmt::Debug + Send + Sync {
    /// Returns what tells it from other policies, in words: with another one, the next run looks at all of the index
    /// again.
    fn describe(&self) -> String;

    /// Decides about a release at the moment `now`; `None`: it may be fetched.
    fn deferral(&self, record: &IndexRecord, now: SystemTime) -> Option<Deferral>;
}
