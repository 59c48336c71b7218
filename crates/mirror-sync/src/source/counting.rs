//! Counts the work while it is being done.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mirror_git::IndexSource;
use mirror_index::{IndexLimits, Selection};
use tokio_util::sync::CancellationToken;

use super::read_file::totals_of;
use crate::observe::{SyncEvent, SyncObserver};
use crate::options::Upstream;
use crate::tally::PlanProgress;

/// Counts the selected releases on a thread of its own: the planner cannot run ahead of the downloads, and a person
/// wants to know how long they will take. Runs only when the downloads take longer than a moment.
pub(crate) fn counting(
    upstream: &Upstream,
    selection: &Selection,
    observer: &Arc<dyn SyncObserver>,
    progress: Arc<PlanProgress>,
    cancel: &CancellationToken,
) -> Box<dyn FnOnce() + Send> {
    let (upstream, selection) = (upstream.clone(), selection.clone());
    let (observer, cancel) = (Arc::clone(observer), cancel.clone());
    const MOMENT: Duration = Duration::from_secs(3);
    const LOOK: Duration = Duration::from_millis(50);
    let count = move || {
        let Upstream::Local(dir) = upstream else { return };
        let begun = Instant::now();
        while begun.elapsed() < MOMENT {
            if progress.is_over() || cancel.is_cancelled() {
                return;
            }
            std::thread::sleep(LOOK);
        }
        // The planner meets the same error and reports it.
        let Ok(source) = IndexSource::open(&dir) else { return };
        let (selected, mut limits) = (AtomicU64::new(0), IndexLimits::default());
        limits.reads_published = selection.as_of.is_some();
        let scanned = source.scan_unordered(1, &|| {
            Box::new(|path, data| {
                selected.fetch_add(totals_of(&selection, path, data, &limits), Ordering::Relaxed);
                if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        });
        if scanned.is_ok() && !cancel.is_cancelled() {
            observer.event(SyncEvent::Expected(selected.into_inner()));
        }
    };
    Box::new(move || {
        if let Err(error) = std::thread::Builder::new().name("count".to_owned()).spawn(count) {
            tracing::debug!("the selected releases are not counted: {error}");
        }
    })
}
