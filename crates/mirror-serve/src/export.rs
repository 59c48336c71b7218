//! Exports the mirror as files that need no server of ours.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mirror_checksum::Hasher;
use mirror_index_line::records;
use mirror_manifest::Held;
use mirror_repo::{Listing, Mirror};
use mirror_store::{CrateStore, Staged, Store};
use mirror_types::{CrateName, Layout, Printable, ReleaseId, Sha256, StoreId, index_path};

use crate::changelog::Changelog;
use crate::error::ServeError;
use crate::held_back::HeldBackTotals;
use crate::reply::{config_of_files, gzip};

/// Files that are committed at once.
const BATCH: usize = 2_000;
const BATCH_BYTES: u64 = 64 << 20;
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// The form of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportFormat {
    /// A sparse registry for any web server, which serves it at this address: `index/` and `crates/`.
    Static {
        /// The address, without a slash at the end.
        base_url: String,
    },
    /// A directory for Cargo's `local-registry`: `index/`, and the releases beside it.
    LocalRegistry,
}

impl ExportFormat {
    /// Returns the path of a release below the root.
    fn path(&self, id: &ReleaseId) -> String {
        match self {
            Self::Static { .. } => format!("crates/{}/{}", id.name, id.file_name()),
            Self::LocalRegistry => id.file_name(),
        }
    }
}

/// The settings of an export.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExportOptions {
    /// Root of the mirror.
    pub mirror: PathBuf,
    /// The directory of its bundles; `None` takes the one that the mirror records, or the one beside it.
    pub bundles_dir: Option<PathBuf>,
    /// The serial of the snapshot whose state is exported; `None` exports what is offered now.
    pub snapshot: Option<u64>,
    /// Stores beside its loose tree and its bundles that hold something.
    pub stores: Vec<Arc<dyn CrateStore>>,
    /// The target directory.
    pub dir: PathBuf,
    /// The form.
    pub format: ExportFormat,
    /// True if loose files are copied, never linked.
    pub copy: bool,
}

impl ExportOptions {
    /// Exports the mirror at a root into a directory, with links where possible.
    #[must_use]
    pub fn new(mirror: PathBuf, dir: PathBuf, format: ExportFormat) -> Self {
        Self { mirror, bundles_dir: None, snapshot: None, stores: Vec::new(), dir, format, copy: false }
    }
}

/// The result of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportOutcome {
    /// Crates that the export lists.
    pub crates: u64,
    /// Releases that the export lists.
    pub releases: u64,
    /// Releases that were linked to files of the mirror in this run.
    pub linked: u64,
    /// Releases that were copied or unpacked in this run.
    pub written: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Releases that were already there.
    pub kept: u64,
    /// Releases that were removed, because the export does not list them any more.
    pub removed: u64,
    /// Releases that the mirror should hold, and does not have with the right bytes in their place, with the reason.
    /// The export lists only those that it has itself.
    pub missing: Vec<(ReleaseId, String)>,
    /// Other releases and crates that the export leaves out, with the reason; not acknowledged gaps.
    pub left_out: Vec<(String, &'static str)>,
    /// Releases that policy holds back, and that the export therefore leaves out; not counted if it was stopped.
    pub held_back: HeldBackTotals,
    /// True if it was stopped before the end; the same command continues it.
    pub interrupted: bool,
}

/// Writes the listed releases, then the index files that list them, then removes what is not listed any more: at every
/// moment, every listed release is there. Files of an earlier export stay where they are. Calls `stop` between crates.
/// Blocks.
///
/// # Errors
/// When there is no mirror, another export writes to the same place, or the disk refuses.
pub fn export(options: &ExportOptions, stop: &dyn Fn() -> bool) -> Result<ExportOutcome, ServeError> {
    let mirror = Mirror::open_with(&options.mirror, options.bundles_dir.as_deref(), &options.stores)?
        .at_snapshot(options.snapshot)?;
    if options.dir.join(".mirror/catalogue.sqlite").exists() {
        return Err(ServeError::ExportIntoMirror { dir: options.dir.clone() });
    }
    // The store provides the lock, the stage and the order of steps; its layout does not matter.
    let store = Store::open(&options.dir, Layout::Cargo, false)?;
    let mut export = Export {
        options,
        mirror: &mirror,
        store,
        outcome: ExportOutcome::default(),
        releases: Vec::new(),
        index: Vec::new(),
        gone: Vec::new(),
        bytes: 0,
        listed: HashSet::new(),
        state: RandomState::new(),
        changelog: Changelog::at(SystemTime::now()),
    };
    if let ExportFormat::Static { base_url } = &options.format {
        let config = export.store.stage("index/config.json", config_of_files(base_url).as_bytes())?;
        export.store.commit(vec![config])?;
    }
    let mut listed = HashSet::new();
    let mut reported = Instant::now();
    for path in mirror.index_paths()? {
        if stop() {
            export.outcome.interrupted = true;
            break;
        }
        if export.one(&path)? {
            listed.insert(path);
        }
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            tracing::info!(
                crates = export.outcome.crates,
                releases = export.outcome.releases,
                written = export.outcome.written + export.outcome.linked,
                "exporting"
            );
        }
    }
    export.commit()?;
    if !export.outcome.interrupted {
        export.remove_unlisted(&listed)?;
        export.left_out()?;
        export.outcome.held_back = HeldBackTotals::of(&mirror)?;
    }
    Ok(export.outcome)
}

struct Export<'a> {
    options: &'a ExportOptions,
    mirror: &'a Mirror,
    store: Store,
    outcome: ExportOutcome,
    releases: Vec<Staged>,
    index: Vec<Staged>,
    /// Paths that no index file lists any more.
    gone: Vec<String>,
    bytes: u64,
    /// Hashes of the listed releases.
    listed: HashSet<u64>,
    state: RandomState,
    changelog: Changelog,
}

impl Export<'_> {
    /// Exports a crate; returns false when nothing of it is held.
    fn one(&mut self, path: &str) -> Result<bool, ServeError> {
        let rel = format!("index/{path}");
        let before = self.read(&rel)?;
        let mut old = releases(&before);
        let mirror = self.mirror;
        let listing = mirror.listing_with(path, &mut |id, held| {
            // A release that was listed with this checksum was written by an earlier export.
            let was = old.get(&id) == Some(&held.sha256);
            self.take(&id, held, was)
        })?;
        let Some(listing) = listing else { return Ok(false) };
        let now = releases(&listing.text);
        for id in now.keys() {
            old.remove(id);
            self.listed.insert(self.hash(&id.to_string()));
        }
        self.gone.extend(old.into_keys().map(|id| self.options.format.path(&id)));
        self.outcome.crates += 1;
        self.outcome.releases += now.len() as u64;
        self.index_file(&rel, &before, &listing)?;
        if self.releases.len() + self.index.len() >= BATCH || self.bytes >= BATCH_BYTES {
            self.commit()?;
        }
        Ok(true)
    }

    /// Reads a file of the export; empty when there is none.
    fn read(&self, rel: &str) -> Result<Vec<u8>, ServeError> {
        Ok(if self.store.has(rel)? { self.store.read(rel)? } else { Vec::new() })
    }

    /// Writes an index file and, for web servers that can send it, its packed form.
    fn index_file(&mut self, rel: &str, before: &[u8], listing: &Listing) -> Result<(), ServeError> {
        let same = before == listing.text;
        if matches!(self.options.format, ExportFormat::Static { .. }) {
            let packed = packed_path(rel);
            let there = self.store.has(&packed)?;
            if !(same && there) {
                match gzip(&listing.text) {
                    Some(gzip) => self.index.push(self.store.stage(&packed, &gzip)?),
                    // An outdated packed form must not remain.
                    None if there => self.store.remove([packed])?,
                    None => {}
                }
            }
        }
        if !same {
            let name = rel.rsplit('/').next().unwrap_or_default();
            // A new crate is in nobody's cache.
            if !before.is_empty() {
                self.changelog.changes(name, &listing.text);
            }
            self.index.push(self.store.stage(rel, &listing.text)?);
        }
        Ok(())
    }

    /// Puts a release into the export, with the right bytes; returns false when that is impossible. `was`: an earlier
    /// export wrote it.
    fn take(&mut self, id: &ReleaseId, held: &Held, was: bool) -> Result<bool, ServeError> {
        let to = self.options.format.path(id);
        // A file that was truncated since is written again.
        let there = was && self.store.size(&to)? == Some(held.size);
        let wrong = match self.mirror.is_there(id, held) {
            Ok(true) if there => {
                self.outcome.kept += 1;
                return Ok(true);
            }
            Ok(true) => self.release(id, held, &to)?,
            Ok(false) => Some("its bytes are not where they should be, or of another length".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        let Some(why) = wrong else { return Ok(true) };
        tracing::warn!(release = %id, "is held, and cannot be exported: {}", Printable(&why));
        self.outcome.missing.push((id.clone(), why));
        // The export may have what the mirror lost.
        let kept = there && self.store.hash(&to)?.is_some_and(|(sha256, _)| sha256 == held.sha256);
        self.outcome.kept += u64::from(kept);
        Ok(kept)
    }

    /// Stages a release; returns the fault of its bytes in the mirror, if there is one.
    fn release(&mut self, id: &ReleaseId, held: &Held, to: &str) -> Result<Option<String>, ServeError> {
        const WRONG: &str = "its bytes do not have the checksum of the index";
        let (mirror, path) = (self.mirror, self.mirror.layout().path(id));
        let from = mirror.store();
        if held.locations.is_loose() && from.size(&path).is_ok_and(|size| size == Some(held.size)) {
            match from.hash(&path) {
                Ok(Some((sha256, _))) if sha256 == held.sha256 => {
                    let (staged, linked) = self.store.stage_from(from, &path, to, !self.options.copy)?;
                    self.outcome.linked += u64::from(linked);
                    if !linked {
                        self.wrote(held.size);
                    }
                    self.releases.push(staged);
                    return Ok(None);
                }
                // Another store may have it as well.
                Ok(_) if held.locations.iter().len() == 1 => return Ok(Some(WRONG.to_owned())),
                Err(error) if held.locations.iter().len() == 1 => return Ok(Some(error.to_string())),
                _ => {}
            }
        }
        let mut elsewhere = held.clone();
        elsewhere.locations.remove(StoreId::LOOSE);
        let read = match mirror.locate(id, &elsewhere) {
            Ok(Some(located)) => mirror.read(id, &located),
            Ok(None) if elsewhere.locations.member().is_some() => {
                return Ok(Some("its bundle does not have it".to_owned()));
            }
            Ok(None) => return Ok(Some("it is not where the catalogue says".to_owned())),
            Err(error) => Err(error),
        };
        let bytes = match read {
            Ok(bytes) if Hasher::of(&bytes) == held.sha256 => bytes,
            Ok(_) => return Ok(Some(WRONG.to_owned())),
            Err(error) => return Ok(Some(error.to_string())),
        };
        self.releases.push(self.store.stage(to, &bytes)?);
        self.wrote(held.size);
        Ok(None)
    }

    /// Returns a hash of a text that is the same within one export.
    fn hash(&self, text: &str) -> u64 {
        self.state.hash_one(text)
    }

    /// Names what is missing in the export: held releases without a line in the index, and unavailable releases that no
    /// person acknowledged.
    fn left_out(&mut self) -> Result<(), ServeError> {
        let mut named: HashSet<String> = self.outcome.missing.iter().map(|(id, _)| id.to_string()).collect();
        let (listed, state) = (&self.listed, &self.state);
        let mut left_out = Vec::new();
        self.mirror.ask(|catalogue| {
            catalogue.releases(&mut |name, version| {
                let id = format!("{name} {version}");
                if !listed.contains(&state.hash_one(&id)) && named.insert(id.clone()) {
                    left_out.push((id, "is held, and no line of the index is known for its bytes"));
                }
            })?;
            let gaps = catalogue.acknowledged_gaps()?;
            for (name, version, _) in catalogue.failures()? {
                let id = match version.is_empty() {
                    true => name.clone(),
                    false => format!("{name} {version}"),
                };
                if !listed.contains(&state.hash_one(&id))
                    && !gaps.iter().any(|gap| gap.name == name && gap.version == version)
                    && named.insert(id.clone())
                {
                    left_out.push((id, "is in the failure ledger: it could not be fetched"));
                }
            }
            Ok(())
        })?;
        for (what, why) in &left_out {
            tracing::warn!("{} is left out: it {why}", Printable(what));
        }
        self.outcome.left_out = left_out;
        Ok(())
    }

    fn wrote(&mut self, bytes: u64) {
        self.outcome.written += 1;
        self.outcome.bytes += bytes;
        self.bytes += bytes;
    }

    /// Commits releases first, then the log of changes and the index files, then removes what is not listed any more.
    fn commit(&mut self) -> Result<(), ServeError> {
        if !self.releases.is_empty() {
            self.store.commit(std::mem::take(&mut self.releases))?;
        }
        self.log_changes()?;
        if !self.index.is_empty() {
            self.store.commit(std::mem::take(&mut self.index))?;
        }
        self.outcome.removed += self.gone.len() as u64;
        self.store.remove(self.gone.drain(..))?;
        self.bytes = 0;
        Ok(())
    }

    /// Writes which index files are about to change, where clients may read that.
    fn log_changes(&mut self) -> Result<(), ServeError> {
        if matches!(self.options.format, ExportFormat::Static { .. })
            && let Some(log) = self.changelog.stage(&self.store)?
        {
            self.store.commit(vec![log])?;
        }
        Ok(())
    }

    /// Removes index files of crates that are not held any more, and then their releases.
    fn remove_unlisted(&mut self, listed: &HashSet<String>) -> Result<(), ServeError> {
        let (mut dirs, mut unlisted) = (vec!["index".to_owned()], Vec::new());
        while let Some(dir) = dirs.pop() {
            let Some(found) = self.store.list_dir(&dir)? else { continue };
            dirs.extend(self.store.list_dirs(&dir)?);
            for file in found.files {
                let rel = format!("{dir}/{file}");
                let path = rel.strip_prefix("index/").unwrap_or_default();
                let ours = file.parse::<CrateName>().is_ok_and(|name| index_path(&name) == path);
                if !ours || listed.contains(path) {
                    continue;
                }
                self.changelog.goes(&file);
                unlisted.push(rel);
            }
        }
        self.log_changes()?;
        for rel in unlisted {
            let old = releases(&self.store.read(&rel)?);
            self.store.remove([packed_path(&rel), rel])?;
            self.gone.extend(old.into_keys().map(|id| self.options.format.path(&id)));
            self.commit()?;
        }
        Ok(())
    }
}

/// Returns the path of the packed form of an index file. No crate can have such a name.
fn packed_path(rel: &str) -> String {
    format!("{rel}.gz")
}

/// Returns the releases in an index file, with their checksums.
fn releases(text: &[u8]) -> HashMap<ReleaseId, Sha256> {
    records(text).map(|(record, _)| (record.id, record.cksum)).collect()
}
