//! The closure of a selection: what builds of it need.

use std::ops::ControlFlow;

use mirror_git::IndexSource;
use mirror_index::{Closure, ClosureOptions, IndexFile, IndexLimits, LineFault, Selection};
use mirror_types::{CrateName, index_path};
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;
use crate::names::{named, spellings};
use crate::plan::Parsed;
use crate::source::sparse::SparseRegistry;

/// The index that has the files of a closure.
pub(crate) enum ClosedIndex {
    Sparse(Box<SparseRegistry>),
    Local(IndexSource),
}

impl ClosedIndex {
    /// Returns the index file of a crate. Blocks.
    pub(crate) fn file(&self, name: &CrateName) -> Result<Option<IndexFile>, SyncError> {
        match self {
            Self::Sparse(registry) => Ok(registry.file(name)),
            Self::Local(source) => local_file(source, name),
        }
    }
}

fn local_file(source: &IndexSource, name: &CrateName) -> Result<Option<IndexFile>, SyncError> {
    for spelling in std::iter::once(name.clone()).chain(spellings(name)) {
        if let Some(file) = source.file(&index_path(&spelling))? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Computes the closure over a local index. Blocks. Memory: the index files of what is needed.
pub(crate) fn close_local(
    source: &IndexSource,
    selection: &Selection,
    options: &ClosureOptions,
    limits: IndexLimits,
    faults: &mut dyn FnMut(LineFault),
    cancel: &CancellationToken,
) -> Result<Closure, SyncError> {
    let roots = match named(selection) {
        Some(names) => names,
        None => matching(source, selection, cancel)?,
    };
    let mut closure = Closure::new(selection.clone(), roots, options.clone());
    loop {
        let names = closure.next_needed();
        if names.is_empty() {
            return Ok(closure);
        }
        for name in names {
            if cancel.is_cancelled() {
                return Ok(closure);
            }
            closure.provide(&name, local_file(source, &name)?, &limits, faults);
        }
    }
}

/// Returns the crates of an index that match a selection with wildcards.
fn matching(
    source: &IndexSource,
    selection: &Selection,
    cancel: &CancellationToken,
) -> Result<Vec<CrateName>, SyncError> {
    let mut names = Vec::new();
    source.scan(&mut |file| {
        if crate::plan::wants_file(selection, &file.path) {
            let parsed = Parsed::of(&file.path, &file.data, &IndexLimits::default());
            names.extend(parsed.names().filter(|name| selection.wants_crate(name)).cloned());
        }
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(names)
}
