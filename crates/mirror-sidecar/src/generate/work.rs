use std::path::Path;
use std::sync::{Mutex, PoisonError};

use mirror_store::Store;
use mirror_types::{KEPT_FAILURES, Layout};

use super::error::GenerateError;
use super::observe::{SidecarEvent, SidecarObserver};
use super::options::{SidecarOptions, SidecarOutcome, Stopped};
use super::render::{Rules, Tally};

/// The state that all threads of a run share.
pub(super) struct Work<'a> {
    pub(super) options: &'a SidecarOptions,
    pub(super) observer: &'a dyn SidecarObserver,
    pub(super) is_stopped: &'a Stopped<'a>,
    pub(super) rules: Rules,
    pub(super) tally: Mutex<Tally>,
    /// The first error of any thread.
    pub(super) failed: Mutex<Option<GenerateError>>,
}

impl Work<'_> {
    /// Names paths in the layout of the mirror at a root, or in the default one where there is none.
    pub(super) fn take_layout_of(&mut self, root: &Path) -> Result<(), GenerateError> {
        let mirror = Store::open_read_only(root, Layout::default())?;
        self.rules.layout = mirror.map_or_else(Layout::default, |mirror| mirror.layout());
        Ok(())
    }

    /// Returns the number of threads: at most one for each processor.
    pub(super) fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        cores.min(self.options.concurrency).max(1)
    }

    pub(super) fn emit(&self, event: SidecarEvent<'_>) {
        self.observer.event(event);
    }

    pub(super) fn fail(&self, error: GenerateError) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Adds the counts of a thread.
    pub(super) fn add(&self, tally: Tally) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(tally);
    }

    /// Returns the totals, or the first error.
    pub(super) fn end(&self) -> Result<SidecarOutcome, GenerateError> {
        if let Some(error) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let tally = std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner));
        let mut faults = tally.faults;
        faults.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Ok(SidecarOutcome {
            selected: tally.selected,
            written: tally.written,
            existing: tally.existing,
            refreshed: tally.refreshed,
            yanked_refreshed: tally.yanked_refreshed,
            yanked_skipped: tally.yanked_skipped,
            not_offered: tally.not_offered,
            bytes: tally.bytes,
            bad_lines: tally.bad_lines,
            first_bad_lines: faults.iter().take(KEPT_FAILURES).map(ToString::to_string).collect(),
            ..SidecarOutcome::default()
        })
    }
}
