//! Distribution of the open files that the system allows.

/// Files for the process itself and for its current work: half of the allowed ones, within these bounds.
const OWN_FILES: std::ops::RangeInclusive<usize> = 24..=128;
/// Most bundles that are open at a time.
const MAX_OPEN_BUNDLES: usize = 256;
/// Most files that are kept open for bodies in progress.
const MAX_KEPT_FILES: usize = 256;

/// Limits on open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Files {
    /// Connections.
    pub(crate) connections: usize,
    /// Releases that are kept open between two pieces.
    pub(crate) kept: usize,
    /// Releases that are opened for one piece, at a time.
    pub(crate) opening: usize,
    /// Bundles.
    pub(crate) bundles: usize,
}

impl Files {
    /// Divides `allowed` files; connections get as many as they want, where possible.
    pub(crate) fn of(allowed: usize, connections: usize) -> Self {
        let rest = allowed.saturating_sub((allowed / 2).clamp(*OWN_FILES.start(), *OWN_FILES.end()));
        let kept = (rest / 8).clamp(1, MAX_KEPT_FILES);
        let bundles = (rest / 8).clamp(1, MAX_OPEN_BUNDLES);
        let left = rest.saturating_sub(kept + bundles).max(1);
        Self { connections: connections.min(left), kept, opening: (allowed / 16).clamp(1, 32), bundles }
    }
}

/// Returns how many files this process may have open.
#[cfg(unix)]
pub(crate) fn allowed() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

#[cfg(not(unix))]
pub(crate) fn allowed() -> usize {
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_shared_out_within_what_is_allowed() {
        for (allowed, connections, expected) in [
            (usize::MAX, 512, 512),
            (1_024, 512, 512),
            (1_024, 5_000, 672),
            (256, 512, 96),
            (128, 512, 48),
            (128, 10, 10),
            (64, 512, 24),
            (32, 512, 6),
            (16, 512, 1),
            (0, 512, 1),
        ] {
            let files = Files::of(allowed, connections);
            assert_eq!(files.connections, expected, "{allowed} for {connections}: {files:?}");
            assert!(allowed < 32 || files.connections + files.kept + files.bundles <= allowed, "{files:?}");
        }
    }
}
