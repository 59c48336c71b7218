//! Index files on their way from the threads that read them to the planner.

use std::ops::ControlFlow;

use crate::plan::Parsed;

/// Files that a reader hands over at once.
pub(crate) const HANDFUL: usize = 64;

/// Parsed files on their way to the planner: one wake-up for many.
pub(crate) struct Handful {
    pub(crate) files: Vec<Parsed>,
    pub(crate) to: crossbeam_channel::Sender<Vec<Parsed>>,
}

impl Handful {
    pub(crate) fn add(&mut self, parsed: Parsed) -> ControlFlow<()> {
        self.files.push(parsed);
        if self.files.len() < HANDFUL {
            return ControlFlow::Continue(());
        }
        let full = std::mem::replace(&mut self.files, Vec::with_capacity(HANDFUL));
        if self.to.send(full).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

impl Drop for Handful {
    fn drop(&mut self) {
        let _ = self.to.send(std::mem::take(&mut self.files));
    }
}
