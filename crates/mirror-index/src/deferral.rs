use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use mirror_types::IndexRecord;

/// The decision that a release is wanted, but not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferral {
    /// The moment from which it may be fetched; `None`: never under this policy.
    pub until: Option<SystemTime>,
    /// The rule that holds it back, one word.
    pub why: Cow<'static, str>,
}

/// Holds selected releases back until a date. Pure: the same record at the same moment gets the same answer, and once
/// a release may be fetched, it may be fetched at every later moment.
pub trait DeferralPolicy: fmt::Debug + Send + Sync {
    /// Returns a text that distinguishes this policy from others: under another one, the next run looks at the whole
    /// index again.
    fn describe(&self) -> String;

    /// Decides about a release at the moment `now`; `None`: it may be fetched.
    fn deferral(&self, record: &IndexRecord, now: SystemTime) -> Option<Deferral>;
}
