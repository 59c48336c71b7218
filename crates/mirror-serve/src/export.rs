//! The mirror as files that need no server of ours.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mirror_store::{Staged, Store};
use mirror_types::{CrateName, Layout, ReleaseId, index_path};

use crate::answer::config;
use crate::error::ServeError;
use crate::listing::{Listing, lines};
use crate::mirror::Mirror;
use crate::places::Located;

/// Files that get their names at once.
const BATCH: usize = 2_000;
const BATCH_BYTES: u64 = 64 << 20;
const TELL_EVERY: Duration = Duration::from_secs(10);

/// In which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportFormat {
    /// A sparse registry for any web server: `index/` and `crates/`, reached at this address.
    Static {
        /// Without a slash at the end.
        base_url: String,
    },
    /// A directory for Cargo's `local-registry`: `index/`, and the releases beside it.
    LocalRegistry,
}

impl ExportFormat {
    /// Where a release is below the root.
    fn path(&self, id: &ReleaseId) -> String {
        match self {
            Self::Static { .. } => format!("crates/{}/{}", id.name, id.file_name()),
            Self::LocalRegistry => id.file_name(),
        }
    }
}

/// What is written where.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// Root of the mirror.
    pub mirror: PathBuf,
    /// Where its bundles are; `None`: where the mirror says, or beside it.
    pub bundles_dir: Option<PathBuf>,
    /// Where to.
    pub dir: PathBuf,
    /// In which form.
    pub format: ExportFormat,
    /// Loose files are copied, never linked.
    pub copy: bool,
}

/// What an export did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportOutcome {
    /// Crates that are listed.
    pub crates: u64,
    /// Releases that are listed.
    pub releases: u64,
    /// Releases that are other names of files of the mirror, made now.
    pub linked: u64,
    /// Releases that were copied or unpacked now.
    pub written: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Releases that were there already.
    pub kept: u64,
    /// Releases that are not listed any more and were removed.
    pub removed: u64,
    /// Stopped before the end; the same command goes on.
    pub interrupted: bool,
}

/// Writes the listed releases, then the index files that list them, then removes what is not listed any
/// more: at every moment what is listed is there. What an earlier export wrote stays where it is. `stop` is
/// asked between crates. Blocks.
///
/// # Errors
/// When there is no mirror, another export writes to the same place, or the disk refuses.
pub fn export(options: &ExportOptions, stop: &dyn Fn() -> bool) -> Result<ExportOutcome, ServeError> {
    let mirror = Mirror::open(&options.mirror, options.bundles_dir.as_deref())?;
    if options.dir.join(".mirror/catalogue.sqlite").exists() {
        return Err(ServeError::Usage(format!(
            "{} is a mirror itself; export to another directory",
            options.dir.display()
        )));
    }
    // Its lock, its stage and its order of steps; there is no layout to speak of.
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
    };
    if let ExportFormat::Static { base_url } = &options.format {
        let config = export.store.stage("index/config.json", config(base_url).as_bytes())?;
        export.store.commit(vec![config])?;
    }
    let mut listed = HashSet::new();
    let mut told = Instant::now();
    for path in mirror.index_paths()? {
        if stop() {
            export.outcome.interrupted = true;
            break;
        }
        if export.one(&path)? {
            listed.insert(path);
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
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
        export.sweep(&listed)?;
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
}

impl Export<'_> {
    /// Exports a crate; false when nothing of it is held.
    fn one(&mut self, path: &str) -> Result<bool, ServeError> {
        let Some(listing) = self.mirror.listing_at(path)? else { return Ok(false) };
        let rel = format!("index/{path}");
        let before = if self.store.has(&rel)? { self.store.read(&rel)? } else { Vec::new() };
        let mut old = releases(&before);
        let now = releases(&listing.text);
        for (id, cksum) in &now {
            // What was listed with this checksum was written then.
            let was = old.remove(id).is_some_and(|was| was == *cksum);
            let to = self.options.format.path(id);
            if was && self.store.has(&to)? {
                self.outcome.kept += 1;
            } else {
                self.release(id, &to)?;
            }
        }
        self.gone.extend(old.into_keys().map(|id| self.options.format.path(&id)));
        self.outcome.crates += 1;
        self.outcome.releases += now.len() as u64;
        if before != listing.text {
            self.index.push(self.store.stage(&rel, &listing.text)?);
        }
        if self.releases.len() + self.index.len() >= BATCH || self.bytes >= BATCH_BYTES {
            self.commit()?;
        }
        Ok(true)
    }

    fn release(&mut self, id: &ReleaseId, to: &str) -> Result<(), ServeError> {
        let lost = || ServeError::Internal(format!("{id} was there a moment ago; run the export again"));
        let held = self.mirror.held(id)?.ok_or_else(lost)?;
        let located = self.mirror.locate(id, &held)?.ok_or_else(lost)?;
        let staged = match &located {
            Located::Loose(_) => {
                let from = self.mirror.places().store();
                let path = from.layout().path(id);
                let (staged, linked) = self.store.stage_from(from, &path, to, !self.options.copy)?;
                self.outcome.linked += u64::from(linked);
                if !linked {
                    self.wrote(held.size);
                }
                staged
            }
            Located::Bundled(..) => {
                let staged = self.store.stage(to, &self.mirror.read(id, &located)?)?;
                self.wrote(held.size);
                staged
            }
        };
        self.releases.push(staged);
        Ok(())
    }

    fn wrote(&mut self, bytes: u64) {
        self.outcome.written += 1;
        self.outcome.bytes += bytes;
        self.bytes += bytes;
    }

    /// Releases first, then what lists them, then what nothing lists any more.
    fn commit(&mut self) -> Result<(), ServeError> {
        for batch in [&mut self.releases, &mut self.index] {
            if !batch.is_empty() {
                self.store.commit(std::mem::take(batch))?;
            }
        }
        self.outcome.removed += self.gone.len() as u64;
        self.store.remove(self.gone.drain(..))?;
        self.bytes = 0;
        Ok(())
    }

    /// Removes index files of crates of which nothing is held any more, and then their releases.
    fn sweep(&mut self, listed: &HashSet<String>) -> Result<(), ServeError> {
        let mut dirs = vec!["index".to_owned()];
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
                let old = releases(&self.store.read(&rel)?);
                self.store.remove([rel])?;
                self.gone.extend(old.into_keys().map(|id| self.options.format.path(&id)));
                self.commit()?;
            }
        }
        Ok(())
    }
}

/// The releases that a text lists, with their checksums.
fn releases(text: &[u8]) -> HashMap<ReleaseId, String> {
    let release = |line: crate::listing::Line<'_>| {
        let (name, version) = (line.name.parse().ok()?, line.vers.parse().ok()?);
        Some((ReleaseId { name, version }, line.cksum.into_owned()))
    };
    lines(text).filter_map(|(_, line)| release(line)).collect()
}

impl Listing {
    /// The releases that it lists.
    #[must_use]
    pub fn releases(&self) -> Vec<ReleaseId> {
        releases(&self.text).into_keys().collect()
    }
}
