//! Files of an index that are not read because of their size, and the text that stands in for them.
//!
//! A reader of the index takes this text as one of its files: a single line that [`FileChecker::fits`] refuses, with
//! the reason. So such a file counts as one with a bad line: it is reported, nothing is concluded about its crate, and
//! the rest of the index is read.
//!
//! [`FileChecker::fits`]: crate::FileChecker::fits

/// Largest file of an index that is read, bytes. The registry's largest has a few megabytes.
pub const MAX_FILE_BYTES: usize = 64 << 20;

/// The beginning of the text. No JSON begins like this, and no line of an index can.
const MARK: &str = "\0not read: ";

/// Returns the stand-in for a file of `size_bytes`, where `max_bytes` are allowed.
#[must_use]
pub fn large(size_bytes: u64, max_bytes: usize) -> Vec<u8> {
    stand_in(&format!("the file has {size_bytes} bytes, {max_bytes} are allowed"))
}

/// Returns the stand-in for a file that is not read for this reason.
#[must_use]
pub fn stand_in(reason: &str) -> Vec<u8> {
    format!("{MARK}{reason}").into_bytes()
}

/// Returns why a file is not read, when `line` is its stand-in.
pub(crate) fn reason(line: &[u8]) -> Option<String> {
    let text = line.strip_prefix(MARK.as_bytes())?;
    Some(String::from_utf8_lossy(text).into_owned())
}
