//! Releases that are offered although an advisory is about them, because the policy only reports it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mirror_manifest::{Catalogue, HeldBackCount};
use mirror_policy::{Advisory, Candidate, LoadedPolicy};
use mirror_types::{CrateName, FailedRecord, IndexRecord, KEPT_FAILURES, ReleaseId, Sha256, VersionText};

use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver};
use crate::options::DownloadOptions;
use crate::outcome::Reported;

/// Counts what the policy of a run holds back and what it only reports, and tells the observer. Returns both. Blocks.
///
/// # Errors
/// When the catalogue fails.
pub(crate) fn survey(
    catalogue: &Catalogue,
    options: &DownloadOptions,
    observer: &dyn SyncObserver,
) -> Result<(Vec<HeldBackCount>, Reported), SyncError> {
    let held_back = catalogue.held_back_counts()?;
    let mut reports = Reports::new(options.policy.as_ref());
    reports.add_offered(catalogue)?;
    let reported = reports.finish();
    if let Some(policy) = &options.policy {
        let advisories = (!policy.advisories().is_empty()).then_some(reported.releases);
        observer.event(SyncEvent::Judged { held_back: &held_back, reported: advisories });
    }
    Ok((held_back, reported))
}

/// Collects such releases. Costs nothing where no advisory counts; memory: the releases with an advisory.
pub(crate) struct Reports {
    policy: Arc<LoadedPolicy>,
    /// False where the policy reports nothing.
    is_on: bool,
    /// The crate that was asked about last, and whether there are advisories about it: releases come by crate.
    last: Option<(CrateName, bool)>,
    found: BTreeMap<ReleaseId, String>,
}

impl Reports {
    pub(crate) fn new(policy: Option<&Arc<LoadedPolicy>>) -> Self {
        let policy = policy.cloned().unwrap_or_default();
        let is_on = !policy.advisories().is_empty();
        Self { policy, is_on, last: None, found: BTreeMap::new() }
    }

    /// Adds a release that is to be offered, if an advisory is about it.
    pub(crate) fn add(&mut self, id: &ReleaseId) {
        if !self.is_on {
            return;
        }
        let is_known = match &self.last {
            Some((name, is_known)) if *name == id.name => *is_known,
            _ => {
                let is_known = !self.policy.advisories().of(&id.name).is_empty();
                self.last = Some((id.name.clone(), is_known));
                is_known
            }
        };
        if is_known {
            self.judge(id);
        }
    }

    /// Adds what a mirror offers. Looks only at the crates that advisories are about. Blocks.
    ///
    /// # Errors
    /// When the catalogue fails.
    pub(crate) fn add_offered(&mut self, catalogue: &Catalogue) -> Result<(), SyncError> {
        let policy = Arc::clone(&self.policy);
        for name in policy.advisories().names() {
            // A mirror may spell it another way.
            for name in catalogue.crates_of_file(&name.as_str().to_ascii_lowercase())? {
                let Ok(name) = name.parse::<CrateName>() else { continue };
                for release in catalogue.offered_of(&name)? {
                    if let Ok(version) = release.held.version.parse::<VersionText>() {
                        self.judge(&ReleaseId { name: name.clone(), version });
                    }
                }
            }
        }
        Ok(())
    }

    fn judge(&mut self, id: &ReleaseId) {
        // An advisory goes by name and version alone.
        let cksum = Sha256::from_bytes([0; 32]);
        let record = IndexRecord { id: id.clone(), cksum, yanked: false, published: None };
        let of_crate = self.policy.of_crate(&id.name);
        let ids: Vec<&str> = of_crate.reports(&Candidate::new(&record)).map(Advisory::id).collect();
        if !ids.is_empty() {
            self.found.insert(id.clone(), ids.join(", "));
        }
    }

    /// Returns the number of releases that were found, and the first of them.
    pub(crate) fn finish(self) -> Reported {
        let releases = self.found.len() as u64;
        let record = |(id, why): (ReleaseId, String)| FailedRecord { what: id.to_string(), why };
        Reported { releases, first: self.found.into_iter().take(KEPT_FAILURES).map(record).collect() }
    }
}
