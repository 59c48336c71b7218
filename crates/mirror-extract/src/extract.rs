use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::{Sender, bounded};
use globset::Glob;
use mirror_bundle::{BundleFiles, BundleReader, list_bundles, read_manifest};
use mirror_repo::bundle_lines;
use tokio_util::sync::CancellationToken;

use crate::error::{ExtractError, is_of_bundle};
use crate::observe::{ExtractEvent, ExtractObserver};
use crate::one;
use crate::open::Open;
use crate::options::{ExtractOptions, ExtractOutcome, ExtractTask};
use crate::output::{Show, listing, store_of};
use crate::work::{Task, Work};

/// Bytes of a bundle that one thread takes at a time.
const RUN_BYTES: u64 = 2 << 20;

/// Extracts, verifies or lists bundles. The output of [`ExtractTask::List`] goes to `show`: lines of bundle, size,
/// checksum (`-` when unknown) and path, separated by tabs. Blocks; uses threads of its own. When it is cancelled, it
/// commits what is staged and returns.
///
/// A fault in one bundle ends the reading of that bundle; the others are still read.
///
/// # Errors
/// When the options make no sense, the output is locked, or the disk refuses.
pub fn extract(
    options: &ExtractOptions,
    observer: &dyn ExtractObserver,
    cancel: &CancellationToken,
    show: Show<'_>,
) -> Result<ExtractOutcome, ExtractError> {
    let begun = Instant::now();
    let bundles = matching(options)?;
    let mut outcome = if let (ExtractTask::List, None) = (&options.task, &options.only) {
        list(options, &bundles, cancel, show)?
    } else if options.only.is_some() {
        one::extract(options, &bundles, observer, cancel, show)?
    } else {
        all(options, &bundles, observer, cancel)?
    };
    observer.event(ExtractEvent::Planned);
    outcome.elapsed = begun.elapsed();
    let counted =
        outcome.extracted + outcome.existing + outcome.verified + outcome.superseded + outcome.failed;
    if !outcome.interrupted && counted != outcome.members {
        return Err(ExtractError::Internal(format!(
            "{} members were read, {counted} came to an end",
            outcome.members
        )));
    }
    Ok(outcome)
}

/// Lists the bundles that the pattern names.
fn matching(options: &ExtractOptions) -> Result<Vec<BundleFiles>, ExtractError> {
    let ExtractOptions { bundles_dir, pattern, .. } = options;
    let glob = Glob::new(pattern)
        .map_err(|source| ExtractError::Pattern { pattern: pattern.clone(), source })?
        .compile_matcher();
    if !bundles_dir.is_dir() {
        return Err(ExtractError::NoDirectory { dir: bundles_dir.clone() });
    }
    let mut bundles = list_bundles(bundles_dir)?;
    bundles.retain(|one| {
        glob.is_match(&one.name) || one.path.file_name().is_some_and(|name| glob.is_match(name))
    });
    if bundles.is_empty() {
        return Err(ExtractError::NoBundles { dir: bundles_dir.clone(), pattern: pattern.clone() });
    }
    Ok(bundles)
}

/// Extracts everything, on several threads.
fn all(
    options: &ExtractOptions,
    bundles: &[BundleFiles],
    observer: &dyn ExtractObserver,
    cancel: &CancellationToken,
) -> Result<ExtractOutcome, ExtractError> {
    let store = store_of(bundles, options)?;
    let threads = match options.concurrency {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let (tasks, queue) = bounded::<Task>(threads * 2);
    // Reading continues during a commit: twice as many files as a batch has may wait.
    let (staged, commits) = bounded(64);
    let work = Work::new(options, store.clone(), observer, cancel.clone());
    std::thread::scope(|scope| {
        let committer = scope.spawn(|| work.commit_all(&commits));
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (queue, staged) = (queue.clone(), staged.clone());
                let work = &work;
                scope.spawn(move || work.run(&queue, &staged))
            })
            .collect();
        drop((queue, staged));
        plan(&work, bundles, &tasks);
        drop(tasks);
        let ended = workers.into_iter().map(std::thread::ScopedJoinHandle::join).all(|end| end.is_ok());
        if committer.join().is_err() || !ended {
            work.stop(ExtractError::Internal("a thread of the extraction panicked".to_owned()));
        }
    });
    let outcome = work.finish(bundles)?;
    if let (Some(store), false) = (&store, outcome.interrupted) {
        bundle_lines::take_along(bundles, store)?;
    }
    Ok(outcome)
}

/// Passes out the work, one bundle after the other; waits while the threads are busy.
fn plan(work: &Work<'_>, bundles: &[BundleFiles], tasks: &Sender<Task>) {
    for one in bundles {
        if work.is_stopped() {
            break;
        }
        let open = match Open::new(one.clone(), work.limits) {
            Ok(open) => Arc::new(open),
            Err(error) => {
                work.trouble(None, error.into());
                continue;
            }
        };
        work.count_bundle();
        if open.listed.is_none() {
            work.emit(ExtractEvent::NoManifest { bundle: &one.name });
        }
        let runs = open.map.as_ref().map(|map| map.runs(RUN_BYTES));
        work.emit(ExtractEvent::Selected(open.members().unwrap_or(0)));
        let pieces = runs.as_ref().map_or(1, Vec::len) as u64;
        open.left.store(pieces, Ordering::Relaxed);
        if pieces == 0 {
            work.end_of(&open);
        }
        let sent = match runs {
            Some(runs) => runs.into_iter().try_for_each(|run| tasks.send(Task::Run(open.clone(), run))),
            None => tasks.send(Task::Stream(open, tasks.clone())),
        };
        if sent.is_err() {
            break;
        }
    }
    work.emit(ExtractEvent::Planned);
}

/// Lists the members of the bundles, from their manifests where there are any.
fn list(
    options: &ExtractOptions,
    bundles: &[BundleFiles],
    cancel: &CancellationToken,
    show: Show<'_>,
) -> Result<ExtractOutcome, ExtractError> {
    let mut outcome = ExtractOutcome::default();
    for one in bundles {
        if cancel.is_cancelled() {
            outcome.interrupted = true;
            break;
        }
        outcome.bundles += 1;
        let counted = match &one.manifest {
            Some(manifest) => read_manifest(manifest, &mut |line| {
                outcome.members += 1;
                show(&listing(one, line.size, Some(&line.sha256), &line.bundle_member));
                Ok(())
            }),
            None => BundleReader::open(&one.path, options.limits)?
                .stream(&mut |member| {
                    outcome.members += 1;
                    show(&listing(one, member.size(), None, member.path()));
                    Ok(())
                })
                .map(|_| ()),
        };
        match counted {
            Err(error) if !is_of_bundle(error.kind()) => return Err(error.into()),
            Err(error) => {
                outcome.bad_bundles += 1;
                outcome.fail(one.name.clone(), error.to_string());
            }
            Ok(()) => {}
        }
    }
    outcome.existing = outcome.members;
    Ok(outcome)
}
