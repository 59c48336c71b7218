//! Limits on the files and connections of this process.

/// Returns how many connections a run may have, so that enough files are left; `None` when they suffice anyway. Raises
/// the limit of the process as far as the system allows.
#[cfg(unix)]
pub(crate) fn connections() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// Catalogue, manifest, lock, logs, the index and the files being written.
    const FILES: u64 = 32;
    let Rlimit { maximum, current } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(65_536, |most| most.min(65_536));
    let limit = match current {
        Some(now) if now < wanted => {
            let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
            if raised.is_ok() { wanted } else { now }
        }
        Some(now) => now,
        None => return None,
    };
    (limit < 512).then(|| usize::try_from(limit.saturating_sub(FILES) / 2).unwrap_or(1).max(1))
}

#[cfg(not(unix))]
pub(crate) fn connections() -> Option<usize> {
    None
}
