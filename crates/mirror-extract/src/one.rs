//! Extracts one crate from a directory of bundles: reads only the frames that hold it, where the manifest lists them.

use std::collections::BTreeMap;

use mirror_bundle::{
    BundleError, BundleFault, BundleFiles, BundleMember, BundleReader, Member, find_members, read_index,
};
use mirror_store::{Staged, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::error::{ExtractError, is_of_bundle};
use crate::observe::{ExtractEvent, ExtractObserver};
use crate::open::visit_members;
use crate::options::{ExtractOptions, ExtractOutcome, ExtractTask, Wanted};
use crate::output::{Show, listing, store_of};

/// The place of a wanted member; of several bundles with the same path, the last one counts.
struct Found<'a> {
    bundle: &'a BundleFiles,
    line: Option<BundleMember>,
}

pub(crate) fn extract(
    options: &ExtractOptions,
    bundles: &[BundleFiles],
    observer: &dyn ExtractObserver,
    cancel: &CancellationToken,
    show: Show<'_>,
) -> Result<ExtractOutcome, ExtractError> {
    let Some(wanted) = &options.only else { return Ok(ExtractOutcome::default()) };
    let mut outcome = ExtractOutcome { bundles: bundles.len() as u64, ..ExtractOutcome::default() };
    let found = find(options, wanted, bundles, cancel, &mut outcome)?;
    outcome.not_found = found.is_empty() && !cancel.is_cancelled();
    observer.event(ExtractEvent::Selected(found.len() as u64));
    let store = if found.is_empty() {
        None
    } else {
        let with_it: Vec<BundleFiles> = found.values().take(1).map(|found| found.bundle.clone()).collect();
        store_of(&with_it, options)?
    };
    let mut staged = Vec::new();
    for (path, found) in &found {
        if cancel.is_cancelled() {
            break;
        }
        outcome.members += 1;
        outcome.unlisted += u64::from(found.line.is_none());
        if matches!(options.task, ExtractTask::List) {
            outcome.existing += 1;
            let (size, sum) = found.line.as_ref().map_or((0, None), |line| (line.size, Some(&line.sha256)));
            show(&listing(found.bundle, size, sum, path));
            continue;
        }
        match take(options, store.as_ref(), path, found) {
            Ok(Taken::Staged(one, bytes)) => {
                staged.push(one);
                outcome.bytes += bytes;
            }
            Ok(Taken::Existing) => outcome.existing += 1,
            Ok(Taken::Verified) => outcome.verified += 1,
            Ok(Taken::Differs) => {
                outcome.failed += 1;
                outcome.in_the_way += 1;
                let why = "the file that is there has other bytes";
                outcome.fail(path.clone(), why.to_owned());
            }
            Err(error) if is_of_bundle(error.kind()) => {
                outcome.failed += 1;
                outcome.fail(path.clone(), error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(store) = store {
        let files = staged.len() as u64;
        store.commit(staged)?;
        observer.event(ExtractEvent::Extracted { files, bytes: outcome.bytes });
        outcome.extracted = files;
    }
    outcome.interrupted = cancel.is_cancelled();
    Ok(outcome)
}

fn find<'a>(
    options: &ExtractOptions,
    wanted: &Wanted,
    bundles: &'a [BundleFiles],
    cancel: &CancellationToken,
    outcome: &mut ExtractOutcome,
) -> Result<BTreeMap<String, Found<'a>>, ExtractError> {
    let index = read_index(&options.bundles_dir).unwrap_or_default();
    let mut found = BTreeMap::new();
    for one in bundles {
        if cancel.is_cancelled() {
            break;
        }
        // A sealed bundle has no crates before its first one or after its last one.
        let named = |path: &str| path.rsplit(['/', '\\']).next() == Some(one.name.as_str());
        let elsewhere = index.iter().rfind(|line| named(&line.bundle_path)).is_some_and(|line| {
            one.sealed && !(line.crate_min.as_str()..=line.crate_max.as_str()).contains(&wanted.name.as_str())
        });
        if elsewhere {
            continue;
        }
        let looked = match &one.manifest {
            Some(manifest) => find_members(manifest, &wanted.name, wanted.version.as_ref()).map(|lines| {
                for line in lines {
                    found.insert(line.bundle_member.clone(), Found { bundle: one, line: Some(line) });
                }
            }),
            None => BundleReader::open(&one.path, options.limits)?
                .stream(&mut |member| {
                    if wanted.takes(member.release()) {
                        found.insert(member.path().to_owned(), Found { bundle: one, line: None });
                    }
                    Ok(())
                })
                .map(|_| ()),
        };
        match looked {
            Err(error) if !is_of_bundle(error.kind()) => return Err(error.into()),
            Err(error) => {
                outcome.bad_bundles += 1;
                outcome.fail(one.name.clone(), error.to_string());
            }
            Ok(()) => {}
        }
    }
    Ok(found)
}

enum Taken {
    Staged(Staged, u64),
    Existing,
    Verified,
    Differs,
}

/// Reads one member, from its frame alone when its place is known.
fn take(
    options: &ExtractOptions,
    store: Option<&Store>,
    path: &str,
    found: &Found<'_>,
) -> Result<Taken, StoreError> {
    let mut taken = None;
    let mut visit = |member: &mut Member<'_>| {
        if member.path() == path {
            taken = Some(one(options, store, member, found)?);
        }
        Ok(())
    };
    visit_members(found.bundle, found.line.as_ref(), options.limits, &mut visit)?;
    taken.ok_or_else(|| fault(found, path, BundleFault::Misplaced))
}

fn fault(found: &Found<'_>, path: &str, fault: BundleFault) -> StoreError {
    BundleError::damaged(&found.bundle.path, Some(path), None, fault).into()
}

fn one(
    options: &ExtractOptions,
    store: Option<&Store>,
    member: &mut Member<'_>,
    found: &Found<'_>,
) -> Result<Taken, StoreError> {
    let data = member.read_all()?;
    let mut hasher = mirror_checksum::Hasher::default();
    hasher.update(&data);
    let sha256 = hasher.finish();
    if found.line.as_ref().is_some_and(|line| line.sha256 != sha256) {
        return Err(fault(found, member.path(), BundleFault::Checksum));
    }
    let Some(store) = store else { return Ok(Taken::Verified) };
    let overwrite = matches!(options.task, ExtractTask::Extract { overwrite: true, .. });
    store.check_way(member.path())?;
    match store.hash(member.path())? {
        Some(held) if !overwrite && held == (sha256, member.size()) => Ok(Taken::Existing),
        Some(_) if !overwrite => Ok(Taken::Differs),
        _ => Ok(Taken::Staged(store.stage(member.path(), &data)?, member.size())),
    }
}
