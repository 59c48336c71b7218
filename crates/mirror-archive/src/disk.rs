//! Reads attributes of files, which differ between operating systems.

use std::fs::Metadata;
use std::time::SystemTime;

/// The attributes that must not change while a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size_bytes: u64,
    modified: Option<SystemTime>,
    identity: (u64, u64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { size_bytes: metadata.len(), modified: metadata.modified().ok(), identity: identity(metadata) }
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

/// Returns the permission bits, without set-user-id, set-group-id and the sticky bit.
#[cfg(unix)]
pub(crate) fn mode(metadata: &Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.mode() & 0o777
}

/// Returns the permission bits.
#[cfg(not(unix))]
pub(crate) fn mode(metadata: &Metadata) -> u32 {
    if metadata.is_dir() { 0o755 } else { 0o644 }
}

/// Returns the whole seconds since 1970, rounded down.
#[cfg(unix)]
pub(crate) fn modified_s(metadata: &Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.mtime()
}

/// Returns the whole seconds since 1970, rounded down.
#[cfg(not(unix))]
pub(crate) fn modified_s(metadata: &Metadata) -> i64 {
    let Ok(time) = metadata.modified() else { return 0 };
    let whole = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => whole(since.as_secs()),
        Err(before) => {
            let before = before.duration();
            -whole(before.as_secs() + u64::from(before.subsec_nanos() > 0))
        }
    }
}

/// Names the kind of a special file.
#[cfg(unix)]
pub(crate) fn special(kind: std::fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    if kind.is_fifo() {
        "named pipe"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_block_device() {
        "block device"
    } else if kind.is_char_device() {
        "character device"
    } else {
        "special file"
    }
}

/// Names the kind of a special file.
#[cfg(not(unix))]
pub(crate) fn special(_: std::fs::FileType) -> &'static str {
    "special file"
}
