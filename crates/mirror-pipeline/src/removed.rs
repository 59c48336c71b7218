//! What upstream deleted, from the run that saw it: held on, not offered any more.

use std::time::SystemTime;

use mirror_manifest::{
    Catalogue, Change, LinesWriter, ManifestRecord, ManifestWriter, PackedLines, REMOVED_UPSTREAM,
    SCHEMA_VERSION, Withdrawal, rfc3339,
};
use mirror_types::{ReleaseId, redacted};

use crate::cursor::Cursor;
use crate::error::PipelineError;
use crate::options::{DownloadOptions, Upstream};
use crate::outcome::Outcome;
use crate::prune::is_mass;
use crate::source::Input;

/// Releases that a mirror holds before a mass disappearance is looked for: in a smaller one a single crate would be.
const GUARDED_FROM: u64 = 1_000;
/// Releases whose records are appended at once.
const BATCH: usize = 5_000;
/// Releases that are told one by one.
const TOLD_MOST: usize = 20;

/// Returns what tells the source of a run from others: the registry, where the repository was cloned from, or else
/// its path. `None` for a list, which has none. Nothing secret is in it.
fn identity(input: &Input, options: &DownloadOptions) -> Result<Option<String>, PipelineError> {
    let text = match (input, &options.upstream) {
        (Input::List { .. }, _) | (_, Upstream::List(_)) => return Ok(None),
        (_, Upstream::Sparse(url)) => format!("sparse+{}", mirror_index::sparse::root(url)?),
        (Input::Local(source), Upstream::Local(dir)) => {
            let asked = options.update.as_ref().and_then(|update| update.url.as_ref());
            match asked.map(|url| url.reveal().to_owned()).or_else(|| source.origin()) {
                Some(origin) => format!("git+{origin}"),
                None => {
                    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.clone());
                    format!("path+{}", dir.display())
                }
            }
        }
        (Input::Sparse { .. }, Upstream::Local(_)) => return Ok(None),
    };
    Ok(Some(redacted(&text)))
}

/// Returns the bit of the source of a run; 0, in which nothing was ever seen, when it was not recorded.
pub(crate) fn bit_of(
    catalogue: Option<&Catalogue>,
    input: &Input,
    options: &DownloadOptions,
) -> Result<u64, PipelineError> {
    match (catalogue, identity(input, options)?) {
        (Some(catalogue), Some(identity)) => Ok(catalogue.source_bit(&identity)?.unwrap_or(0)),
        _ => Ok(0),
    }
}

/// Records the source of a run in the catalogue and returns its bit. What a mirror holds that never recorded one was
/// seen in it when the tree of its cursor is a tree of this source.
pub(crate) fn record_source(
    catalogue: &mut Catalogue,
    input: &Input,
    options: &DownloadOptions,
) -> Result<u64, PipelineError> {
    let Some(identity) = identity(input, options)? else { return Ok(0) };
    if let Some(bit) = catalogue.source_bit(&identity)? {
        return Ok(bit);
    }
    let bit = catalogue.record_source(&identity)?;
    if bit == 1
        && let Input::Local(source) = input
        && Cursor::is_of(source, catalogue)?
    {
        catalogue.see_all(bit)?;
    }
    Ok(bit)
}

/// A record of a release that is held and comes from or goes to where it is not offered.
pub(crate) fn removal_record(id: &ReleaseId, status: &str, run_id: &str) -> ManifestRecord {
    let now = rfc3339(SystemTime::now());
    ManifestRecord {
        schema_version: SCHEMA_VERSION,
        started_at: now.clone(),
        finished_at: now,
        error: (status == REMOVED_UPSTREAM)
            .then(|| "upstream deleted it; it is held and not offered".to_owned()),
        status: status.to_owned(),
        crate_name: Some(id.name.to_string()),
        version: Some(id.version.to_string()),
        run_id: Some(run_id.to_owned()),
        ..ManifestRecord::default()
    }
}

/// Where it is written down.
pub(crate) struct Books<'a> {
    pub(crate) catalogue: &'a mut Catalogue,
    pub(crate) manifest: &'a mut ManifestWriter,
    pub(crate) lines: &'a mut LinesWriter,
    pub(crate) run_id: &'a str,
}

impl Books<'_> {
    /// Hides `removed`, and takes in the index lines that lack them; or, when they are a mass and that was not
    /// accepted, none of it. Durable on return.
    pub(crate) fn hide(
        &mut self,
        removed: &[ReleaseId],
        deferred: &[PackedLines],
        accept_mass: bool,
        outcome: &mut Outcome,
    ) -> Result<(), PipelineError> {
        if removed.is_empty() {
            return Ok(());
        }
        let held = self.catalogue.count()?;
        if !accept_mass && held > GUARDED_FROM && is_mass(removed.len() as u64, held) {
            tracing::error!(
                releases = removed.len(),
                "so many disappeared upstream at once that it looks like a fault there: they are offered on"
            );
            outcome.removal_refused = removed.len() as u64;
            return Ok(());
        }
        for id in removed.iter().take(TOLD_MOST) {
            tracing::warn!(release = %id, "was deleted upstream; it stays held and is not offered any more");
        }
        if removed.len() > TOLD_MOST {
            tracing::warn!(
                "{} more were deleted upstream; the manifest names them all",
                removed.len() - TOLD_MOST
            );
        }
        for chunk in removed.chunks(BATCH) {
            let records: Vec<_> =
                chunk.iter().map(|id| removal_record(id, REMOVED_UPSTREAM, self.run_id)).collect();
            let len = self.manifest.append(&records)?;
            self.manifest.sync()?;
            let now = rfc3339(SystemTime::now());
            let withdrawn = chunk.iter().map(|id| Change::Withdrawn {
                id: id.clone(),
                kind: Withdrawal::Deleted,
                seen: now.clone(),
            });
            let changes: Vec<_> = withdrawn.chain([Change::ManifestLen(len)]).collect();
            self.catalogue.apply(&changes)?;
        }
        if !deferred.is_empty() {
            let rows = self.lines.append(deferred)?;
            self.catalogue.apply(&rows.into_iter().map(Change::IndexFile).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
