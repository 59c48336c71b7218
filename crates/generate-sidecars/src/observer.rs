//! Counts the events of a run for progress and metrics, and logs them.

use std::sync::Arc;

use mirror_sidecar::generate::{SidecarEvent, SidecarObserver, SidecarPhase};
use mirror_telemetry::{Activity, Phase, RunStats};

/// Counts and logs the events of a run.
pub(crate) struct Reporter(pub(crate) Arc<RunStats>);

impl SidecarObserver for Reporter {
    fn event(&self, event: SidecarEvent<'_>) {
        self.count(&event);
        log(&event);
    }
}

impl Reporter {
    fn count(&self, event: &SidecarEvent<'_>) {
        let stats = &self.0;
        match event {
            SidecarEvent::Phase(phase) => self.phase(*phase),
            SidecarEvent::Selected(releases) => stats.planned(*releases),
            SidecarEvent::Written { sidecars, bytes } => stats.wrote(*sidecars, *bytes),
            SidecarEvent::Existing(sidecars) => stats.existing(*sidecars),
            _ => {}
        }
    }

    fn phase(&self, phase: SidecarPhase) {
        let text = "reading the index".to_owned();
        let measuring = phase == SidecarPhase::Measure;
        self.0.set_activity(measuring.then_some(Activity { text, done: 0, total: None }));
        if phase == SidecarPhase::Done {
            self.0.plan_finished();
            self.0.set_phase(Phase::Done);
        } else {
            self.0.set_phase(Phase::Index);
        }
    }
}

fn log(event: &SidecarEvent<'_>) {
    match event {
        SidecarEvent::IndexOpened { dir, what } => tracing::info!(index = %dir.display(), "{what}"),
        SidecarEvent::CacheOpened { mirror, files } => {
            tracing::info!(mirror = %mirror.display(), files, "cache of a sparse registry");
        }
        SidecarEvent::ManifestElsewhere { named, used } => tracing::warn!(
            named = %named.display(),
            used = %used.display(),
            "there is no such manifest; the one that the mirror remembers is read"
        ),
        SidecarEvent::ManifestTorn(manifest) => {
            tracing::warn!(manifest = %manifest.display(), "the manifest ends in a torn record; it is left out");
        }
        SidecarEvent::ManifestRead { manifest, records, releases } => {
            tracing::info!(manifest = %manifest.display(), records, "read what is held of {releases} releases");
        }
        SidecarEvent::LicencesRead(releases) => {
            tracing::info!("the catalogue of the mirror has the licences of {releases} releases");
        }
        SidecarEvent::OnlyChanged { files } => {
            tracing::info!(files, "only what changed in the index is looked at");
        }
        SidecarEvent::StaleKept => {
            tracing::debug!("sidecars that were there before stay as they are until they are refreshed");
        }
        _ => {}
    }
}
