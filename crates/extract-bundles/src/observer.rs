//! Counts the events of an extraction for the progress bar, and logs them.

use std::sync::Arc;

use mirror_extract::{ExtractEvent, ExtractObserver};
use mirror_telemetry::RunStats;

/// Counts and logs the events of an extraction.
pub(crate) struct Reporter(pub(crate) Arc<RunStats>);

impl ExtractObserver for Reporter {
    fn event(&self, event: ExtractEvent<'_>) {
        self.count(&event);
        log(&event);
    }
}

impl Reporter {
    fn count(&self, event: &ExtractEvent<'_>) {
        let stats = &self.0;
        match event {
            ExtractEvent::Selected(members) => stats.planned(*members),
            ExtractEvent::Planned => stats.plan_finished(),
            ExtractEvent::Extracted { files, bytes } => stats.extracted(*files, *bytes),
            ExtractEvent::Existing => stats.existing(1),
            ExtractEvent::Verified => stats.verified_existing(),
            ExtractEvent::BundleFailed(_) | ExtractEvent::Blocked(_) | ExtractEvent::Failed { .. } => {
                stats.error();
            }
            _ => {}
        }
    }
}

fn log(event: &ExtractEvent<'_>) {
    match event {
        ExtractEvent::NoManifest { bundle } => {
            tracing::warn!(%bundle, "has no manifest: its members cannot be checked against one");
        }
        ExtractEvent::PartialEnd { bundle, fault } => {
            tracing::warn!(%bundle, "still grows; its last frame is not whole: {fault}");
        }
        ExtractEvent::BundleFailed(error) => {
            tracing::error!("{error}; nothing more of this bundle is used");
        }
        ExtractEvent::Blocked(error) => tracing::error!("{error}; the release was not written"),
        _ => {}
    }
}
