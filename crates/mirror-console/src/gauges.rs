//! The numbers of a mirror that metrics show, during a run as between runs.

/// The numbers of a mirror for `/metrics`; what is not known is left out there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirrorGauges {
    /// Bytes of the file system of the mirror.
    pub disk_bytes: Option<u64>,
    /// Bytes of it that a run may still write.
    pub disk_free_bytes: Option<u64>,
    /// Files that still fit; `None` also where there is no limit.
    pub disk_free_files: Option<u64>,
    /// The numbers counted in the mirror; `None` before that, or when there is no mirror yet.
    pub counted: Option<CountedGauges>,
}

/// The numbers that have to be counted in a mirror.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CountedGauges {
    /// Bytes of releases that are loose files.
    pub loose_bytes: u64,
    /// Bytes of bundles.
    pub bundle_bytes: u64,
    /// Complete bundles.
    pub sealed_bundles: u64,
    /// Bundles that the next run continues.
    pub partial_bundles: u64,
    /// Milliseconds since 1970 at which the last run came to its end, whatever failed in it.
    pub last_run_ms: Option<u64>,
    /// Milliseconds since 1970 at which the last run ended that left nothing missing.
    pub last_success_ms: Option<u64>,
}

/// A metric with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauge {
    /// Its name.
    pub name: &'static str,
    /// Its meaning, in one line.
    pub help: &'static str,
    /// Name and value of its label.
    pub label: Option<(&'static str, &'static str)>,
    /// Its value.
    pub value: u64,
}

impl MirrorGauges {
    /// Lists the metrics that are known.
    #[must_use]
    pub fn list(&self) -> Vec<Gauge> {
        let mut known = Vec::new();
        let mut add = |name, help, value: Option<u64>| {
            known.extend(value.map(|value| Gauge { name, help, label: None, value }));
        };
        add("crates_mirror_disk_size_bytes", "Size of the mirror's file system.", self.disk_bytes);
        let help = "Bytes that a run may still write to the mirror's file system.";
        add("crates_mirror_disk_free_bytes", help, self.disk_free_bytes);
        let help = "Files that still fit on the mirror's file system.";
        add("crates_mirror_disk_free_files", help, self.disk_free_files);
        let Some(counted) = self.counted else { return known };
        let help = "Time at which the last run came to its end, whatever failed in it.";
        add("crates_mirror_last_run_timestamp_seconds", help, counted.last_run_ms.map(|ms| ms / 1_000));
        let help = "Time at which the last run ended that left nothing missing.";
        add(
            "crates_mirror_last_success_timestamp_seconds",
            help,
            counted.last_success_ms.map(|ms| ms / 1_000),
        );
        let mut add_labelled = |name, help, label, value| {
            known.push(Gauge { name, help, label: Some(label), value });
        };
        let (name, help) = ("crates_mirror_stored_bytes", "Bytes of loose files and of bundles.");
        add_labelled(name, help, ("place", "loose"), counted.loose_bytes);
        add_labelled(name, help, ("place", "bundles"), counted.bundle_bytes);
        let (name, help) = ("crates_mirror_bundles", "Bundles by state.");
        add_labelled(name, help, ("state", "sealed"), counted.sealed_bundles);
        add_labelled(name, help, ("state", "partial"), counted.partial_bundles);
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(gauges: &MirrorGauges, name: &str, label: Option<&str>) -> Option<u64> {
        let found = |gauge: &&Gauge| gauge.name == name && gauge.label.map(|(_, value)| value) == label;
        gauges.list().iter().find(found).map(|gauge| gauge.value)
    }

    #[test]
    fn what_is_not_known_is_not_shown_as_nothing() {
        assert_eq!(MirrorGauges::default().list(), []);
        let counted = CountedGauges { loose_bytes: 7, last_run_ms: Some(9_999), ..CountedGauges::default() };
        let gauges =
            MirrorGauges { disk_free_bytes: Some(0), counted: Some(counted), ..MirrorGauges::default() };
        for (name, label, found) in [
            ("crates_mirror_disk_free_bytes", None, Some(0)),
            ("crates_mirror_disk_size_bytes", None, None),
            ("crates_mirror_last_run_timestamp_seconds", None, Some(9)),
            ("crates_mirror_last_success_timestamp_seconds", None, None),
            ("crates_mirror_stored_bytes", Some("loose"), Some(7)),
            ("crates_mirror_stored_bytes", Some("bundles"), Some(0)),
            ("crates_mirror_bundles", Some("partial"), Some(0)),
        ] {
            assert_eq!(value(&gauges, name, label), found, "{name}");
        }
    }
}
