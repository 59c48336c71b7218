//! Rechecks paths that are in more than one bundle, or where another file exists: the last bundle counts.

use mirror_bundle::{BundleFiles, BundleLimits, BundleMember, Member, find_members};
use mirror_store::{Store, StoreError};
use mirror_types::Printable;

use crate::error::ExtractError;
use crate::observe::ExtractEvent;
use crate::open::visit_members;
use crate::options::ExtractOutcome;
use crate::work::{Recheck, Work, blocked};

impl Work<'_> {
    /// Resolves what was left to recheck, and returns the outcome.
    pub(crate) fn finish(self, bundles: &[BundleFiles]) -> Result<ExtractOutcome, ExtractError> {
        let mut rechecks =
            std::mem::take(&mut *self.rechecks.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        rechecks.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some(store) = self.store.clone()
            && !self.is_stopped()
        {
            for recheck in &rechecks {
                let resolved = self.resolve(&store, bundles, recheck)?;
                let mut outcome = self.outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match resolved {
                    Resolved::Same => outcome.existing += 1,
                    Resolved::Superseded => outcome.superseded += 1,
                    Resolved::Written(bytes) => {
                        outcome.extracted += 1;
                        outcome.bytes += bytes;
                    }
                    Resolved::Failed(why, in_the_way) => {
                        outcome.failed += 1;
                        outcome.in_the_way += u64::from(in_the_way);
                        self.emit(ExtractEvent::Failed { path: &recheck.path, why: &why });
                        outcome.fail(recheck.path.clone(), why);
                    }
                }
            }
        }
        self.end()
    }

    fn resolve(
        &self,
        store: &Store,
        bundles: &[BundleFiles],
        recheck: &Recheck,
    ) -> Result<Resolved, ExtractError> {
        let lines = lines_of(bundles, recheck)?;
        if let Some(error) = blocked(store, &recheck.path)? {
            return Ok(Resolved::Failed(error.to_string(), false));
        }
        let held = store.hash(&recheck.path)?;
        let Some((last, line)) = lines.last() else {
            let why =
                "the file that is there has other bytes than the bundle, which has no manifest to decide by";
            return Ok(Resolved::Failed(why.to_owned(), true));
        };
        let is_last = recheck.bundle == last.path;
        match held {
            Some(held) if held == (line.sha256, line.size) => {
                Ok(if is_last { Resolved::Same } else { Resolved::Superseded })
            }
            // An earlier bundle wrote it, in this run or another: the last one replaces it.
            Some((sha256, _)) if lines.iter().any(|(_, line)| line.sha256 == sha256) || self.overwrite => {
                if !is_last {
                    return Ok(Resolved::Superseded);
                }
                write(store, last, line, self.limits)?;
                Ok(Resolved::Written(line.size))
            }
            Some(_) => {
                let why = format!("the file that is there has other bytes than {}", Printable(&last.name));
                Ok(Resolved::Failed(why, true))
            }
            None if is_last => {
                write(store, last, line, self.limits)?;
                Ok(Resolved::Written(line.size))
            }
            None => Ok(Resolved::Superseded),
        }
    }
}

enum Resolved {
    Same,
    Superseded,
    Written(u64),
    /// The reason, and whether a file with other bytes is in the way.
    Failed(String, bool),
}

/// Returns every line for the path, in the order of the bundles.
fn lines_of<'a>(
    bundles: &'a [BundleFiles],
    recheck: &Recheck,
) -> Result<Vec<(&'a BundleFiles, BundleMember)>, StoreError> {
    let mut lines = Vec::new();
    for one in bundles {
        let Some(manifest) = &one.manifest else { continue };
        let found = find_members(manifest, &recheck.id.name, Some(&recheck.id.version))?;
        lines.extend(
            found.into_iter().filter(|line| line.bundle_member == recheck.path).map(|line| (one, line)),
        );
    }
    Ok(lines)
}

/// Writes one member over an existing file.
pub(crate) fn write(
    store: &Store,
    bundle: &BundleFiles,
    line: &BundleMember,
    limits: BundleLimits,
) -> Result<(), StoreError> {
    let mut staged = None;
    let mut take = |member: &mut Member<'_>| {
        if member.path() == line.bundle_member && staged.is_none() {
            let mut writer = store.stage_file()?;
            member.read(&mut |piece| writer.write(piece))?;
            staged = Some(writer.finish(&line.bundle_member)?);
        }
        Ok(())
    };
    visit_members(bundle, Some(line), limits, &mut take)?;
    store.commit(staged.into_iter().collect())
}
