use std::ops::ControlFlow;

use mirror_index::{IndexLimits, Selection, parse_file};
use mirror_manifest::PackedLines;
use mirror_types::{CrateName, IndexRecord, ReleaseId};
use url::Url;

use super::totals::Totals;
use crate::error::SyncError;

/// The input of a plan: index files, or what stands in for them.
pub(crate) trait Index: Send {
    /// Passes items to `take`, in order, until it breaks. Blocks.
    fn read(&mut self, take: &mut (dyn FnMut(Item) -> ControlFlow<()> + Send)) -> Result<(), SyncError>;
}

/// One item of an index.
#[derive(Debug)]
pub(crate) enum Item {
    /// A file, with all of its crates.
    File(Parsed),
    /// Records that a closure chose of a crate, with the index file that has them.
    Chosen { file: Option<Parsed>, records: Vec<IndexRecord> },
    /// Releases of a crate that a list names.
    Listed { name: CrateName, entries: Vec<(ReleaseId, Url)> },
    /// There is no file at this path.
    NoFile(String),
    /// A registry that was asked for a crate has its file only at this path; `None`: it has none.
    OnlyFile { name: CrateName, path: Option<String> },
    /// A file of an earlier tree is gone.
    FileGone(Parsed),
    /// A crate is gone.
    CrateGone(CrateName),
    /// A crate exists, whatever is chosen of it.
    Exists(CrateName),
    /// The file of a crate could not be fetched.
    Unread { name: CrateName, why: String },
    /// No version of a crate that was named satisfies a requirement.
    Unmatched { name: CrateName, requirement: String },
    /// A bad line that belongs to no index file.
    BadLine(String),
    /// Totals of files that did not change since an earlier run read them.
    Unchanged(Totals),
}

/// An index file, parsed.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) path: String,
    /// The records of a crate follow each other; a file may hold two spellings of one name.
    pub(crate) crates: Vec<Vec<IndexRecord>>,
    pub(crate) bad_lines: u64,
    /// The first bad lines.
    pub(crate) faults: Vec<String>,
    /// Its lines, unless the mirror keeps them already.
    pub(crate) lines: Option<Box<PackedLines>>,
}

/// Bad lines of one file that are reported one by one.
const MAX_TOLD_FAULTS: usize = 20;

impl Parsed {
    pub(crate) fn of(path: &str, data: &[u8], limits: &IndexLimits) -> Self {
        let (mut bad_lines, mut faults) = (0, Vec::new());
        let records = parse_file(path, data, limits, &mut |fault| {
            bad_lines += 1;
            if faults.len() < MAX_TOLD_FAULTS {
                faults.push(fault.to_string());
            }
        });
        Self { path: path.to_owned(), crates: by_spelling(records), bad_lines, faults, lines: None }
    }

    /// Adds the lines that the mirror does not keep yet.
    pub(crate) fn with(self, lines: Option<Box<PackedLines>>) -> Self {
        Self { lines, ..self }
    }

    /// Returns whether no line was bad.
    pub(crate) fn is_whole(&self) -> bool {
        self.bad_lines == 0
    }

    /// Returns the name of the crate, or both of its spellings.
    pub(crate) fn names(&self) -> impl Iterator<Item = &CrateName> {
        self.crates.iter().filter_map(|records| records.first()).map(|record| &record.id.name)
    }

    /// Counts what is selected of the file.
    pub(crate) fn totals(self, selection: &Selection) -> Totals {
        let mut totals = Totals::default();
        for records in self.crates {
            if records.first().is_some_and(|record| selection.wants_crate(&record.id.name)) {
                let selected = selection.select(records);
                totals.selected += (selected.records.len() + selected.checksum_conflicts.len()) as u64;
                totals.yanked_skipped += selected.yanked_skipped as u64;
            }
        }
        totals
    }
}

fn by_spelling(records: Vec<IndexRecord>) -> Vec<Vec<IndexRecord>> {
    let Some(first) = records.first() else { return Vec::new() };
    if records.iter().all(|record| record.id.name == first.id.name) {
        return vec![records];
    }
    let mut crates: Vec<Vec<IndexRecord>> = Vec::new();
    for record in records {
        match crates.iter_mut().find(|others| others[0].id.name == record.id.name) {
            Some(others) => others.push(record),
            None => crates.push(vec![record]),
        }
    }
    crates
}

/// Returns whether the file at `path` may hold a wanted crate: the file name is the crate's in lower case, and a
/// selection ignores case.
pub(crate) fn wants_file(selection: &Selection, path: &str) -> bool {
    let name = path.rsplit('/').next().and_then(|name| name.parse().ok());
    name.is_none_or(|name| selection.wants_crate(&name))
}
