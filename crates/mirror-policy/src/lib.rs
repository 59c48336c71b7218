#![doc = include_str!("../README.md")]

mod advisories;
mod advisory;
mod candidate;
mod crate_policy;
mod digest;
mod error;
mod evaluation;
mod facts;
mod licences;
mod load;
mod loaded;
mod names;
mod parse;
mod policy;
mod units;
mod versions;
mod waiver;

pub use advisories::{
    Advisories, AdvisoryFault, AdvisoryReader, DatabaseCommit, MAX_ADVISORIES, MAX_ADVISORY_BYTES,
    MAX_DATABASE_BYTES,
};
pub use advisory::{Advisory, AdvisoryKind};
pub use candidate::{Candidate, Licence};
pub use crate_policy::CratePolicy;
pub use error::{AdvisoriesError, PolicyError, PolicyFault};
pub use evaluation::{Decision, Evaluation, Finding, Verdict};
pub use facts::Facts;
pub use load::MAX_POLICY_BYTES;
pub use loaded::LoadedPolicy;
pub use mirror_types::{ADVISORIES_STALE_AFTER, HeldBack, IndexRecord, Rule, Sha256};
pub use policy::{OnAdvisory, Policy, SAMPLE};
pub use waiver::Waiver;
