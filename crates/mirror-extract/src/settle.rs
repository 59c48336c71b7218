//! Paths that are in more than one bundle, or where another file is: the last bundle counts.

use mirror_bundle::{BundleFiles, BundleLimits, BundleMember, Member, find_members};
use mirror_store::{Store, StoreError};
use mirror_types::Printable;

use crate::error::ExtractError;
use crate::observe::ExtractEvent;
use crate::open::visit_members;
use crate::options::ExtractOutcome;
use crate::work::{Doubt, Work, blocked};

impl Work<'_> {
    /// Settles what was left in doubt, and tells what came of it all.
    pub(crate) fn finish(self, bundles: &[BundleFiles]) -> Result<ExtractOutcome, ExtractError> {
        let mut doubts =
            std::mem::take(&mut *self.doubts.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        doubts.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some(store) = self.store.clone()
            && !self.is_stopped()
        {
            for doubt in &doubts {
                let settled = self.settle(&store, bundles, doubt)?;
                let mut outcome = self.outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match settled {
                    Settled::Same => outcome.existing += 1,
                    Settled::Superseded => outcome.superseded += 1,
                    Settled::Written(bytes) => {
                        outcome.extracted += 1;
                        outcome.bytes += bytes;
                    }
                    Settled::Failed(why, in_the_way) => {
                        outcome.failed += 1;
                        outcome.in_the_way += u64::from(in_the_way);
                        self.tell(ExtractEvent::Failed { path: &doubt.path, why: &why });
                        outcome.fail(doubt.path.clone(), why);
                    }
                }
            }
        }
        self.end()
    }

    fn settle(&self, store: &Store, bundles: &[BundleFiles], doubt: &Doubt) -> Result<Settled, ExtractError> {
        let lines = lines_of(bundles, doubt)?;
        if let Some(error) = blocked(store, &doubt.path)? {
            return Ok(Settled::Failed(error.to_string(), false));
        }
        let held = store.hash(&doubt.path)?;
        let Some((last, line)) = lines.last() else {
            let why =
                "the file that is there has other bytes than the bundle, which has no manifest to decide by";
            return Ok(Settled::Failed(why.to_owned(), true));
        };
        let is_last = doubt.bundle == last.path;
        match held {
            Some(held) if held == (line.sha256, line.size) => {
                Ok(if is_last { Settled::Same } else { Settled::Superseded })
            }
            // Written from an earlier bundle, by this run or another: the last one replaces it.
            Some((sha256, _)) if lines.iter().any(|(_, line)| line.sha256 == sha256) || self.overwrite => {
                if !is_last {
                    return Ok(Settled::Superseded);
                }
                write(store, last, line, self.limits)?;
                Ok(Settled::Written(line.size))
            }
            Some(_) => {
                let why = format!("the file that is there has other bytes than {}", Printable(&last.name));
                Ok(Settled::Failed(why, true))
            }
            None if is_last => {
                write(store, last, line, self.limits)?;
                Ok(Settled::Written(line.size))
            }
            None => Ok(Settled::Superseded),
        }
    }
}

enum Settled {
    Same,
    Superseded,
    Written(u64),
    /// Why, and whether a file with other bytes is what stands there.
    Failed(String, bool),
}

/// Returns every line about the path, in the order of the bundles.
fn lines_of<'a>(
    bundles: &'a [BundleFiles],
    doubt: &Doubt,
) -> Result<Vec<(&'a BundleFiles, BundleMember)>, StoreError> {
    let mut lines = Vec::new();
    for one in bundles {
        let Some(manifest) = &one.manifest else { continue };
        let found = find_members(manifest, &doubt.id.name, Some(&doubt.id.version))?;
        lines.extend(
            found.into_iter().filter(|line| line.bundle_member == doubt.path).map(|line| (one, line)),
        );
    }
    Ok(lines)
}

/// Writes one member over what is there.
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
