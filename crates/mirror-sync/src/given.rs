//! Reads whole the files that a person names, up to a size beyond which they cannot be valid.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::error::SyncError;

/// Largest lockfile, list of crates or file of acknowledged gaps, bytes.
pub const MAX_TEXT_BYTES: u64 = 64 << 20;
/// Largest list of URLs or checksums, bytes: several times all that a registry has.
pub(crate) const MAX_LIST_BYTES: u64 = 2 << 30;

/// Reads a text of at most `max_bytes`; `what` describes it to people. The file may be a pipe.
///
/// # Errors
/// When it cannot be read, is larger, or is no text.
pub fn read_text(what: &'static str, path: &Path, max_bytes: u64) -> Result<String, SyncError> {
    let read = || {
        let mut text = String::new();
        let read = File::open(path)?.take(max_bytes + 1).read_to_string(&mut text);
        if text.len() as u64 > max_bytes {
            let text = format!("it has more than {max_bytes} bytes, which is as far as one is read");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        read.map(|_| text)
    };
    read().map_err(|source| SyncError::Read { what, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_has_no_end_is_refused() {
        let mut file = tempfile::NamedTempFile::new().expect("file");
        file.write_all(b"0123456789").expect("written");
        let path = file.path();
        assert_eq!(read_text("the list", path, 10).expect("fits"), "0123456789");
        let refused = read_text("the list", path, 9).expect_err("too large");
        let text = format!("{refused}: {}", std::error::Error::source(&refused).expect("a cause"));
        assert!(text.contains("could not read the list") && text.contains("more than 9 bytes"), "{text}");
        #[cfg(unix)]
        read_text("the list", Path::new("/dev/zero"), 1 << 20).expect_err("endless");
    }
}
