//! Known gaps: releases that upstream lists and cannot deliver, as a person's file and a mirror have them.

use std::path::Path;

use mirror_repo::{Gap, ListedGap, OpenOptions};
use mirror_types::Layout;

use crate::error::SyncError;
use crate::given::{MAX_TEXT_BYTES, read_text};

/// Reads a file of acknowledged gaps.
///
/// # Errors
/// When it cannot be read, is no TOML, or has an unknown key; the error names the nearest known one.
pub fn read_gaps(path: &Path) -> Result<Vec<Gap>, SyncError> {
    let text = read_text("the acknowledged gaps", path, MAX_TEXT_BYTES)?;
    mirror_repo::parse_gaps(&text)
        .map_err(|why| SyncError::Usage(format!("the acknowledged gaps {}: {why}", path.display())))
}

/// Records the gaps that a person acknowledged, without a run. Takes the lock of the mirror.
///
/// # Errors
/// When another run holds the mirror, the catalogue is damaged, or the disk refuses.
pub fn acknowledge_gaps(out: &Path, layout: Layout, asked: bool, gaps: &[Gap]) -> Result<(), SyncError> {
    let layout = asked.then_some(layout);
    let mut options = OpenOptions::default();
    options.root = out.to_owned();
    options.layout = layout;
    Ok(mirror_repo::acknowledge_gaps(&options, gaps)?)
}

/// Lists the gaps of a mirror, by release: those that a person acknowledged, and those in the failure ledger because
/// upstream answered 403, 404, 410 or 451. Writes nothing.
///
/// # Errors
/// When there is no mirror, or its catalogue cannot be read.
pub fn list_gaps(out: &Path, layout: Layout) -> Result<Vec<ListedGap>, SyncError> {
    Ok(mirror_repo::list_gaps(out, layout)?)
}
