#![doc = include_str!("../README.md")]

mod damage;
mod failures;
mod gauges;
mod guard;
mod history;
mod page;
mod reasons;
mod run;
mod verdict;

pub use damage::{DamageLog, DamageState};
pub use failures::{FailureLog, MAX_GROUPS, MAX_SHOWN};
pub use gauges::{CountedGauges, Gauge, MirrorGauges};
pub use guard::{Guard, Refusal};
pub use history::{History, Sample};
pub use page::{content_security_policy, page};
pub use reasons::{Reason, reason};
pub use run::{Ended, RunIdentity};
pub use verdict::{Facts, Level, Verdict, verdict};
