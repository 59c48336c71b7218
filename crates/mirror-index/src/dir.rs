use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::error::IndexError;
use crate::record::IndexFile;
use crate::source::skipped;

/// A plain directory of index files.
#[derive(Debug)]
pub struct DirIndex {
    root: PathBuf,
}

impl DirIndex {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn scan(&self, visit: &mut dyn FnMut(IndexFile) -> ControlFlow<()>) -> Result<(), IndexError> {
        walk(&self.root, "", visit).map(|_| ())
    }
}

/// Walks in the order of git's trees, in which a directory sorts as if its name ended in `/`.
/// Links are not followed.
fn walk(
    dir: &Path,
    prefix: &str,
    visit: &mut dyn FnMut(IndexFile) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, IndexError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| IndexError::Io { path, source }
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail(dir))? {
        let entry = entry.map_err(fail(dir))?;
        let kind = entry.file_type().map_err(fail(&entry.path()))?;
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        if skipped(&name) || !(kind.is_dir() || kind.is_file()) {
            continue;
        }
        if kind.is_dir() {
            name.push('/');
        }
        entries.push(name);
    }
    entries.sort_unstable();
    for name in entries {
        let path = dir.join(&name);
        let shown = format!("{prefix}{name}");
        let flow = if name.ends_with('/') {
            walk(&path, &shown, visit)?
        } else {
            let data = fs::read(&path).map_err(fail(&path))?;
            visit(IndexFile { path: shown, data })
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}
