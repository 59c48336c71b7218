//! The room for a mirror, and what is missing.

use std::path::Path;

use mirror_sync::{DownloadOptions, Outcome, Storage, human_bytes};

/// Bytes below which a run is refused before it begins: the empty catalogue alone needs a part of them.
const LEAST_BYTES: u64 = 1 << 20;
/// Files below which a run is refused before it begins.
const LEAST_FILES: u64 = 100;
/// The part of a block that the end of a file leaves unused, on average.
const UNUSED_BYTES_PER_FILE: u64 = 2_048;

/// The room on the file system of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    /// Files that can be created; `None` where the file system has no such limit.
    pub(crate) files: Option<u64>,
}

impl Room {
    /// Asks the file system on which `out` is, or is to be; `None` where the system does not tell.
    pub(crate) fn at(out: &Path) -> Option<Self> {
        let space = mirror_repo::disk_space(out).ok().flatten()?;
        Some(Self { bytes: space.free, files: space.inodes_free })
    }

    /// Returns what is missing for a run to begin at all.
    pub(crate) fn refusal(self, out: &Path) -> Option<String> {
        let out = out.display();
        if self.bytes < LEAST_BYTES {
            return Some(format!(
                "{} are free where the mirror {out} is, and a run needs {} to begin; free space, or choose another --out",
                human_bytes(self.bytes),
                human_bytes(LEAST_BYTES)
            ));
        }
        let files = self.files.filter(|files| *files < LEAST_FILES)?;
        Some(format!(
            "{files} more files can be created where the mirror {out} is, and a run needs {LEAST_FILES} to begin; remove \
             files, choose another --out, or keep releases in bundles with --bundle"
        ))
    }

    /// Asks the file system to which a run writes most.
    pub(crate) fn of(options: &DownloadOptions) -> Option<Self> {
        let bundles = options.bundles_out.as_deref().filter(|_| options.storage == Storage::Bundle);
        Self::at(bundles.unwrap_or(&options.out))
    }

    /// Compares with what downloads need; writes what is free and what is missing.
    pub(crate) fn compared(self, need: Need) -> Vec<(&'static str, String)> {
        let files = need.files;
        let mut rows = vec![("free space", self.compared_bytes(need))];
        if let Some(free) = self.files {
            rows.push((
                "free files",
                match files.saturating_sub(free) {
                    0 => format!("{free} (enough for {files})"),
                    missing => {
                        format!("{free}, and {files} are needed: {missing} are missing; --bundle needs few")
                    }
                },
            ));
        }
        rows
    }

    fn compared_bytes(self, need: Need) -> String {
        let free = human_bytes(self.bytes);
        let Some(needed) = need.bytes else {
            return format!("{free} (how much is needed is unknown)");
        };
        match needed.saturating_sub(self.bytes) {
            0 => format!("{free} (enough for {})", human_bytes(needed)),
            missing => format!(
                "{free}, and up to {} are needed: {} are missing",
                human_bytes(needed),
                human_bytes(missing)
            ),
        }
    }
}

/// The most that the downloads of a run need of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// Bytes; `None` when nothing is known of the sizes.
    pub(crate) bytes: Option<u64>,
    /// New files.
    pub(crate) files: u64,
}

impl Need {
    /// Returns what the result of a dry run needs.
    pub(crate) fn of(outcome: &Outcome, storage: Storage) -> Self {
        let nothing = (outcome.would_fetch == 0).then_some(0);
        let most = nothing.or(outcome.estimate.map(|estimate| estimate.most_bytes));
        Self::new(most, outcome.would_fetch, storage)
    }

    fn new(bytes: Option<u64>, releases: u64, storage: Storage) -> Self {
        let files = if storage == Storage::Bundle { 0 } else { releases };
        let copies = if storage == Storage::Both { 2 } else { 1 };
        let unused = files.saturating_mul(UNUSED_BYTES_PER_FILE);
        Self { bytes: bytes.map(|bytes| bytes.saturating_mul(copies).saturating_add(unused)), files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn what_is_missing_is_said_in_bytes_and_files() {
        let room = Room { bytes: GIB, files: Some(1_000) };
        let enough = room.compared(Need::new(Some(GIB / 2), 10, Storage::Loose));
        assert!(enough[0].1.starts_with("1.0 GiB (enough for 512.0 MiB"), "{enough:?}");
        assert_eq!(enough[1].1, "1000 (enough for 10)");
        let both = room.compared(Need::new(Some(GIB), 1_500, Storage::Both));
        assert!(both[0].1.contains("1.0 GiB are missing"), "{both:?}");
        assert!(both[1].1.contains("500 are missing"), "{both:?}");
        assert_eq!(room.compared(Need::new(Some(0), 1_500, Storage::Bundle))[1].1, "1000 (enough for 0)");
        let unknown = room.compared(Need::new(None, 10, Storage::Loose));
        assert_eq!(unknown[0].1, "1.0 GiB (how much is needed is unknown)");
        assert_eq!(unknown[1].1, "1000 (enough for 10)");
    }

    #[test]
    fn a_full_file_system_refuses_a_run() {
        let out = Path::new("out");
        for (bytes, files, refused) in [
            (GIB, None, None),
            (GIB, Some(100), None),
            (LEAST_BYTES - 1, None, Some("1.0 MiB to begin")),
            (GIB, Some(99), Some("99 more files")),
        ] {
            let why = Room { bytes, files }.refusal(out);
            assert_eq!(why.is_some(), refused.is_some());
            assert!(why.unwrap_or_default().contains(refused.unwrap_or_default()));
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_file_system_of_a_mirror_that_is_not_there_yet_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Room::at(&dir.path().join("not/there/yet")).is_some_and(|room| room.bytes > 0));
    }
}
