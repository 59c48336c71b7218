//! The progress of a mirror through its index: the tree that the last run went through as a whole.
//!
//! A later run compares trees and looks only at what differs, at what is in the failure ledger, at deferred releases
//! that are due, and at files whose lines were bad. That is sound: everything else was held or in one of the two lists
//! when the cursor moved, a release that is lost later enters the ledger first, and a release that is deferred later
//! removes the cursor.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::SystemTime;

use mirror_git::{Change, IndexSource};
use mirror_index::Shard;
use mirror_manifest::{Catalogue, DeferredCrate, IndexCursor, UpstreamRemoval};
use mirror_repo::MirrorWriter;
use mirror_types::{CrateName, ReleaseId, index_path};

use crate::error::SyncError;
use crate::options::{DownloadOptions, Storage};
use crate::plan::Totals;

/// Files that are read one by one; where more differ, reading the whole index in the order of its packs is faster.
const MAX_CHANGED_FILES: usize = 25_000;

/// The tree, and what was selected of it. The cursor moves only when every selected record of the tree is held, is in
/// the failure ledger, or is deferred.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    tree: String,
    selection: String,
    /// The share of the crates that the selection covers.
    shard: Shard,
}

/// The part of the index that a run has to look at.
pub(crate) struct IndexDelta {
    /// True if the trees are the same.
    pub(crate) unchanged: bool,
    pub(crate) changes: Vec<Change>,
    /// Paths of index files to read although they did not change, each with its crate where that is known.
    pub(crate) also: BTreeMap<String, Option<CrateName>>,
    /// Totals of the whole tree that the cursor names. Deferred releases are those of crates that are not looked at.
    pub(crate) totals: Totals,
}

impl Cursor {
    /// Returns the cursor as it will be after this run; `None` when the index has no trees to compare, or the run does
    /// not go through all of it.
    pub(crate) fn of(source: &IndexSource, options: &DownloadOptions, is_open: bool) -> Option<Self> {
        let is_part = options.closure.is_some() || options.as_of.is_some() || options.limit > 0;
        if !is_open || is_part || options.checksums.is_some() {
            return None;
        }
        // A run that wants several copies also looks at releases with one copy; otherwise any copy will do.
        let places = match (options.storage, options.copies().as_slice()) {
            (_, []) => String::new(),
            (Storage::Both, _) => ", both places".to_owned(),
            (_, copies) => {
                format!(", stores {}", copies.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(" "))
            }
        };
        // The rule for the newest versions has changed once: the counts of an older program do not hold.
        let pre = match (options.latest, options.include_prerelease) {
            (0, _) => "",
            (_, false) => " stable",
            (_, true) => " of all",
        };
        // Another policy may release what this one defers.
        let policy =
            options.policy.as_ref().map(|policy| format!(", policy {}", policy.identity(options.moment())));
        let policy = policy.unwrap_or_default();
        let selection = format!(
            "latest {}{pre}, yanked {}, shard {}{places}{policy}",
            options.latest, options.include_yanked, options.shard
        );
        Some(Self { tree: source.tree_id()?, selection, shard: options.shard })
    }

    /// Returns whether an index is at the tree of this cursor.
    pub(crate) fn is_at(&self, source: &IndexSource) -> bool {
        is_at(source, &self.tree)
    }

    /// Returns whether the tree that an earlier run went through is one of this index.
    pub(crate) fn is_of(source: &IndexSource, catalogue: &Catalogue) -> Result<bool, SyncError> {
        let left = catalogue.cursor()?;
        Ok(left.is_some_and(|left| is_at(source, &left.tree) || source.compare(&left.tree).is_some()))
    }

    /// Saves the cursor for the next run.
    pub(crate) fn leave(
        self,
        mirror: &mut MirrorWriter,
        totals: Totals,
        bad_files: BTreeSet<String>,
    ) -> Result<(), SyncError> {
        let (Self { tree, selection, .. }, Totals { selected, yanked_skipped, .. }) = (self, totals);
        Ok(mirror.set_cursor(&IndexCursor { tree, selection, selected, yanked_skipped, bad_files })?)
    }

    /// Returns what differs from the cursor that an earlier run left; `None` when the whole index has to be read.
    pub(crate) fn delta(
        &self,
        source: &IndexSource,
        catalogue: &Catalogue,
        lost: &[ReleaseId],
        now: SystemTime,
    ) -> Result<Option<IndexDelta>, SyncError> {
        let Some(old) = catalogue.cursor()?.filter(|old| old.selection == self.selection) else {
            return Ok(None);
        };
        let Some(changes) = source.compare(&old.tree).filter(|changes| changes.len() <= MAX_CHANGED_FILES)
        else {
            return Ok(None);
        };
        let mut also: BTreeMap<_, _> = old.bad_files.into_iter().map(|path| (path, None)).collect();
        let ledger = catalogue.ledger_crates()?;
        let ledger = ledger.iter().filter_map(|name| name.parse().ok());
        // The run that noticed a deletion may have read another index.
        let deleted = catalogue
            .removed_upstream()?
            .into_iter()
            .filter(|(_, kind, _)| *kind == UpstreamRemoval::Deleted);
        also.extend(deleted.map(|(id, ..)| (index_path(&id.name), Some(id.name))));
        also.extend(
            lost.iter().map(|id| id.name.clone()).chain(ledger).map(|name| (index_path(&name), Some(name))),
        );
        let mut deferred = catalogue.deferred_crates()?;
        deferred.retain(|of| of.name.parse().is_ok_and(|name| self.shard.contains(&name)));
        also.extend(due(&deferred, now));
        for change in &changes {
            also.remove(&change.path);
        }
        if changes.len() + also.len() > MAX_CHANGED_FILES {
            return Ok(None);
        }
        let unchanged = self.tree == old.tree;
        let deferred =
            not_looked_at(&deferred, &changes, &also) + self.without_date(catalogue, &changes, &also)?;
        let totals = Totals { selected: old.selected, yanked_skipped: old.yanked_skipped, deferred };
        Ok(Some(IndexDelta { unchanged, changes, also, totals }))
    }

    /// Counts the releases that are deferred without a date and whose index file is not looked at.
    fn without_date(
        &self,
        catalogue: &Catalogue,
        changes: &[Change],
        also: &BTreeMap<String, Option<CrateName>>,
    ) -> Result<u64, SyncError> {
        let contains = |name: &CrateName| self.shard.contains(name);
        let mut count = 0;
        if self.shard == Shard::default() {
            count = catalogue.deferred_without_date()?;
        } else {
            catalogue.each_deferred_group(&mut |name, releases| {
                if name.parse().is_ok_and(|name| contains(&name)) {
                    count += releases;
                }
            })?;
        }
        if count == 0 {
            return Ok(0);
        }
        for path in changes.iter().map(|change| &change.path).chain(also.keys()) {
            let file = path.rsplit('/').next().unwrap_or_default();
            for name in catalogue.crates_deferred_in(file)?.iter().filter_map(|name| name.parse().ok()) {
                if contains(&name) && index_path(&name) == *path {
                    let groups = catalogue.deferred_groups_of(&name)?;
                    count -= groups.iter().map(|group| group.versions.len() as u64).sum::<u64>().min(count);
                }
            }
        }
        Ok(count)
    }
}

fn is_at(source: &IndexSource, tree: &str) -> bool {
    source.tree_id().is_some_and(|now| now == tree)
}

/// Returns the index files of crates of which a deferred release may be fetched now.
fn due(deferred: &[DeferredCrate], now: SystemTime) -> impl Iterator<Item = (String, Option<CrateName>)> {
    let due = deferred.iter().filter(move |of| of.is_due(now));
    due.filter_map(|of| of.name.parse().ok()).map(|name| (index_path(&name), Some(name)))
}

/// Counts deferred releases of crates whose index file is not looked at.
fn not_looked_at(
    deferred: &[DeferredCrate],
    changes: &[Change],
    also: &BTreeMap<String, Option<CrateName>>,
) -> u64 {
    let changed: HashSet<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    let is_looked_at = |of: &DeferredCrate| {
        let path = of.name.parse::<CrateName>().map(|name| index_path(&name));
        path.is_ok_and(|path| changed.contains(path.as_str()) || also.contains_key(&path))
    };
    deferred.iter().filter(|of| !is_looked_at(of)).map(|of| of.releases).sum()
}
