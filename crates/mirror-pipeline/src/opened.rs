//! Opens the mirror of a run, and says what was found.

use mirror_repo::{LockedMirror, MirrorWriter, OpenReport};
use mirror_store::Store;
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;
use crate::options::DownloadOptions;

/// Takes the lock of the mirror.
pub(crate) fn lock(options: &DownloadOptions) -> Result<Store, PipelineError> {
    Ok(LockedMirror::lock(&options.mirror())?)
}

/// Opens the mirror whose lock is held, and says what was found, also when that fails.
pub(crate) fn open(
    store: Store,
    options: &DownloadOptions,
    cancel: &CancellationToken,
) -> Result<MirrorWriter, PipelineError> {
    let mut report = OpenReport::default();
    let opened = MirrorWriter::open_in(store, &options.mirror(), &|| cancel.is_cancelled(), &mut report);
    tell_opened(&report);
    Ok(opened?)
}

/// Says what was found and done when a mirror was opened.
pub(crate) fn tell_opened(report: &OpenReport) {
    tell_manifest(report);
    tell_bundles(report);
    if report.index_cache.lost {
        tracing::warn!("the mirror's index lines were gone or cut; the index is read again");
    }
    if report.index_cache.damaged > 0 {
        tracing::warn!(
            files = report.index_cache.damaged,
            "index lines were damaged; the index is read again"
        );
    }
    for id in &report.lost {
        tell_lost(id);
    }
}

/// Says that the file of a held release is gone.
pub(crate) fn tell_lost(id: &mirror_types::ReleaseId) {
    tracing::warn!(release = %id, "was held, but its file is gone or has another size");
}

fn tell_manifest(report: &OpenReport) {
    let manifest = report.manifest.display();
    if report.torn_bytes_cut > 0 {
        let bytes = report.torn_bytes_cut;
        tracing::warn!(%manifest, bytes, "the manifest ended in a torn record; it was cut");
    }
    match &report.copied_from {
        Some(from) if report.was_shared => tracing::warn!(
            shared = %from.display(),
            %manifest,
            "a manifest has records of several mirrors; it was left as it is, this mirror's records were copied, and \
             its catalogue is made again"
        ),
        Some(from) => {
            tracing::info!(from = %from.display(), %manifest, "the manifest begins with a copy of the one before");
        }
        None => {}
    }
    if report.catalogue_remade {
        tracing::warn!(
            "the catalogue was gone, empty, or of another manifest: it was made again from the manifest"
        );
    }
}

fn tell_bundles(report: &OpenReport) {
    if report.misplaced_members > 0 {
        tracing::warn!(
            releases = report.misplaced_members,
            "records speak of members that do not stand in the bundles; they are not held"
        );
    }
    if report.relisted_members > 0 || report.cut_bundle_bytes > 0 {
        tracing::warn!(
            members = report.relisted_members,
            cut_bytes = report.cut_bundle_bytes,
            "an earlier run ended while it wrote a bundle: whole members are kept, the rest was cut"
        );
    }
    for name in &report.completed_bundles {
        tracing::warn!(bundle = %name, "an earlier run ended while it sealed a bundle; that was completed");
    }
    for (name, members) in &report.members_without_place {
        tracing::warn!(
            bundle = %name,
            members,
            "its manifest has no offsets (the source system's have none): what is in it does not count as held; \
             extract-bundles makes loose files of it"
        );
    }
}
