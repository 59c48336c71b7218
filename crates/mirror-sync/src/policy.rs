//! The policy of a mirror: read from files, and explained.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mirror_policy::{Finding, LoadedPolicy, Policy, Verdict};
use mirror_repo::Mirror;
use mirror_types::{CrateName, HeldBack, ReleaseId, VersionText, index_path};

use crate::advisories::read_advisories;
use crate::error::SyncError;
use crate::licences::Licences;
use crate::offer::Releases;

/// The name of the policy file in the root of a mirror.
pub const POLICY_FILE: &str = "policy.toml";

/// A policy file that was read, and its advisory database, which was not.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PolicyFile {
    /// The policy.
    pub policy: Policy,
    /// The path of the advisory database, if there is one.
    pub database: Option<PathBuf>,
}

/// Reads the policy at `path`, and finds the advisory database that it names or that `database` names in its place.
/// `None` reads the mirror's own policy, if there is one. Blocks.
///
/// # Errors
/// When the file cannot be read, or is not valid.
pub fn read_policy(
    out: &Path,
    path: Option<&Path>,
    database: Option<&Path>,
) -> Result<Option<PolicyFile>, SyncError> {
    let own = out.join(POLICY_FILE);
    let path = match path {
        Some(path) => Some(path),
        None => own.is_file().then_some(own.as_path()),
    };
    let policy = match (path, database) {
        (Some(path), _) => Policy::load(path)?,
        (None, Some(_)) => Policy::default(),
        (None, None) => return Ok(None),
    };
    if policy.offers_deleted() {
        let what = path.unwrap_or(Path::new(POLICY_FILE)).display();
        return Err(SyncError::Usage(format!(
            "the policy {what} has offer-deleted = true, and a mirror keeps no index lines of what upstream deleted, so \
             that it could not be offered; remove that line"
        )));
    }
    let named = || {
        let from = path.and_then(Path::parent).unwrap_or(Path::new(""));
        policy.advisory_database().map(|text| from.join(text))
    };
    let database: Option<PathBuf> = database.map(Path::to_owned).or_else(named);
    Ok(Some(PolicyFile { policy, database }))
}

/// Reads a policy as [`read_policy`] does, and its advisory database. Blocks.
///
/// # Errors
/// When a file cannot be read, or is not valid.
pub fn load_policy(
    out: &Path,
    path: Option<&Path>,
    database: Option<&Path>,
) -> Result<Option<LoadedPolicy>, SyncError> {
    let Some(PolicyFile { policy, database }) = read_policy(out, path, database)? else { return Ok(None) };
    let advisories = database.as_deref().map(read_advisories).transpose()?.unwrap_or_default();
    Ok(Some(LoadedPolicy::new(policy, advisories)))
}

/// The decision of policy about one release of a mirror, and what led to it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explained {
    /// The release.
    pub id: ReleaseId,
    /// True if the mirror holds it.
    pub is_held: bool,
    /// True if upstream deleted it.
    pub is_deleted: bool,
    /// The decision that is in force: what a server of the mirror says.
    pub in_force: Option<HeldBack>,
    /// The decision of the policy at this moment; a run puts it in force.
    pub verdict: Verdict,
    /// The finding of each rule.
    pub findings: Vec<Finding>,
    /// The ids of advisories that are reported and do not hold it back.
    pub reports: Vec<String>,
}

/// Explains what decides about the releases of a crate, or about one of them, from what the mirror holds: its catalogue
/// and its index lines. Writes nothing. Blocks.
///
/// # Errors
/// When there is no mirror, or it cannot be read.
pub fn explain(
    out: &Path,
    policy: &LoadedPolicy,
    name: &CrateName,
    version: Option<&VersionText>,
    now: SystemTime,
) -> Result<Vec<Explained>, SyncError> {
    let mirror = Mirror::open(out, None)?;
    let text = mirror.index_text(&index_path(name))?.unwrap_or_default();
    let catalogue = mirror.catalogue()?;
    let releases = Releases::read(&catalogue, name, &text, &catalogue.held_of(name)?, true)?;
    let licences = Licences::new(catalogue.licences_of(name)?);
    let candidates = releases.candidates(&licences, now);
    let evaluations = policy.of_crate(name).evaluate_all(&candidates, now);
    let mut explained = Vec::new();
    for (candidate, evaluation) in candidates.iter().zip(evaluations) {
        let id = candidate.record.id.clone();
        if version.is_some_and(|version| *version != id.version) {
            continue;
        }
        explained.push(Explained {
            is_held: candidate.size_bytes.is_some(),
            is_deleted: candidate.deleted.is_some(),
            in_force: catalogue.held_back(&id)?,
            verdict: evaluation.verdict,
            findings: evaluation.findings,
            reports: evaluation.reports.iter().map(|advisory| advisory.id().to_owned()).collect(),
            id,
        });
    }
    Ok(explained)
}
