//! Looks at the first files of an index to find out whether it is one.

use std::ops::ControlFlow;

use mirror_index_line::{is_like_a_line, lines};

use crate::oversize;
use crate::record::IndexFile;

/// Files after which an index without a line is rejected.
const MAX_LOOKED_AT: usize = 100;

/// The first impression of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glance {
    /// There is no file in the places of index files.
    Empty,
    /// There are files in the places of index files, and none of those examined has a line of an index.
    Foreign {
        /// The number of files that were examined.
        files: usize,
        /// The path of the first.
        path: String,
        /// A description of that file, for people.
        what: &'static str,
    },
    /// A file has lines of an index.
    Index,
}

impl Glance {
    /// Looks at the first files that `scan` yields, until one has a line of an index, or is empty: usually the first
    /// one.
    ///
    /// # Errors
    /// The errors of the scan.
    pub fn of<E>(
        scan: impl FnOnce(&mut dyn FnMut(IndexFile) -> ControlFlow<()>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut glance = Self::Empty;
        scan(&mut |file| {
            glance = match (what_else(&file.data), std::mem::replace(&mut glance, Self::Index)) {
                (None, _) => return ControlFlow::Break(()),
                (Some(_), Self::Foreign { files, path, what }) => {
                    Self::Foreign { files: files + 1, path, what }
                }
                (Some(what), _) => Self::Foreign { files: 1, path: file.path, what },
            };
            match glance {
                Self::Foreign { files, .. } if files < MAX_LOOKED_AT => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        })?;
        Ok(glance)
    }
}

/// Returns a description of a file without a line of an index; `None` for one that has such a line, and for an empty
/// one.
fn what_else(data: &[u8]) -> Option<&'static str> {
    let mut any = false;
    let mut json = false;
    for (_, line) in lines(data) {
        // The stand-in for a file that is too large does not show what the file is.
        if oversize::reason(line).is_some() {
            return None;
        }
        any = true;
        match is_like_a_line(line) {
            Some(true) => return None,
            Some(false) => json = true,
            None => {}
        }
    }
    let text = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data).trim_ascii_start();
    match text {
        _ if !any => None,
        [b'<', ..] => Some("a web page"),
        // A version of the format, one byte, and texts, each with a zero after it.
        [1..=8, ..] if data.contains(&0) => Some("an entry of Cargo's own cache"),
        _ if json => Some("JSON of another kind"),
        _ => Some("text or data of another kind"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_another_kind_are_distinguished_from_bad_lines() {
        for (data, what) in [
            (&b"<!DOCTYPE html>\n<html><body>Sign in</body></html>\n"[..], "a web page"),
            (b"\xef\xbb\xbf\n <html>", "a web page"),
            (
                b"\x03\x02\0\0\0etag: \"x\"\x001.0.0\0{\"name\":\"a\",\"vers\":\"1.0.0\"}\0",
                "an entry of Cargo's own cache",
            ),
            (b"{\"errors\":[{\"detail\":\"not found\"}]}\n", "JSON of another kind"),
            (b"fn main() {}\n", "text or data of another kind"),
            (b"\x7fELF\0\0", "text or data of another kind"),
        ] {
            assert_eq!(what_else(data), Some(what), "{}", String::from_utf8_lossy(data));
        }
        for data in [
            &b""[..],
            b"\n \n",
            b"{\"name\":\"a\",\"vers\":7}\n",
            b"nonsense\n{\"cksum\":\"\"}",
            b"<html>\n{\"vers\":\"1.0.0\"}\n",
        ] {
            assert_eq!(what_else(data), None, "{}", String::from_utf8_lossy(data));
        }
    }
}
