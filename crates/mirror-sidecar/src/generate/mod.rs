//! Sidecars of every release of an index, as files beside the crates, as one JSONL or as one tar. Blocking code.

mod error;
mod files;
mod jsonl;
mod licences;
mod manifest;
mod observe;
mod offered;
mod options;
mod render;
mod source;
mod state;
mod tar;
#[cfg(test)]
mod tests;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use mirror_index::IndexLimits;
use mirror_types::Layout;

pub use error::GenerateError;
pub use observe::{SidecarEvent, SidecarObserver, SidecarPhase};
pub use options::{ManifestRead, SidecarMode, SidecarOptions, SidecarOutcome, SidecarSource, Stopped};

use licences::Licences;
use manifest::Enrichment;
use offered::Offered;
use render::Rules;
use work::Work;

/// Writes the sidecars that `options` describe. Streams; memory grows with the number of crates, and by some 25 bytes
/// for each release (40 more with a manifest, 16 more for offered releases alone, 24 more with licences). Stops cleanly soon after `is_stopped` returns true. Blocks.
///
/// # Errors
/// When the run could not begin or could not continue. Bad lines of the index are no error; they are in
/// the [`SidecarOutcome`].
pub fn generate(
    options: &SidecarOptions,
    observer: &dyn SidecarObserver,
    is_stopped: &Stopped<'_>,
) -> Result<SidecarOutcome, GenerateError> {
    let began = Instant::now();
    observer.event(SidecarEvent::Phase(SidecarPhase::Open));
    let (feed, urls) = source::open(options, observer)?;
    let (facts, read) = match &options.manifest {
        Some(path) => Enrichment::read(&remembered(path, &options.mode, observer)?, is_stopped, observer)
            .map(|(facts, read)| (Some(facts), Some(read)))?,
        None => (None, None),
    };
    let mirror = options.mode.mirror();
    let offered = if options.offered { Some(Offered::read(mirror)?) } else { None };
    let licences = if options.with_licence { Some(Licences::read(mirror)?) } else { None };
    if let Some(licences) = &licences {
        observer.event(SidecarEvent::LicencesRead(licences.len()));
    }
    let work = Work {
        options,
        observer,
        is_stopped,
        rules: Rules {
            urls,
            layout: Layout::Shard,
            include_yanked: options.include_yanked,
            limits: IndexLimits::default(),
            facts,
            licences,
            offered,
        },
        tally: Mutex::default(),
        failed: Mutex::default(),
    };
    let mut outcome = match &options.mode {
        SidecarMode::Files { out } => files::write(work, &feed, out)?,
        SidecarMode::Jsonl { path, layout_of } => jsonl::write(work, &feed, path, layout_of)?,
        SidecarMode::Tar { path, layout_of } => tar::write(work, &feed, path, layout_of)?,
    };
    outcome.manifest = read;
    outcome.interrupted = is_stopped();
    outcome.elapsed = began.elapsed();
    outcome.check()?;
    observer.event(SidecarEvent::Phase(SidecarPhase::Done));
    Ok(outcome)
}

/// Returns the named manifest or, if it does not exist, the one that the mirror remembers: earlier versions kept it in
/// the working directory.
fn remembered(
    named: &Path,
    mode: &SidecarMode,
    observer: &dyn SidecarObserver,
) -> Result<PathBuf, GenerateError> {
    let mirror = mode.mirror();
    if !named.exists()
        && let Some(places) = mirror_repo::RecordedPlaces::of(mirror)?
        && places.manifest.is_file()
    {
        observer.event(SidecarEvent::ManifestElsewhere { named, used: &places.manifest });
        return Ok(places.manifest);
    }
    Ok(named.to_owned())
}
