use std::borrow::Cow;
use std::ops::Range;

use mirror_index_line::{CheckedLine, LineError};

use crate::document::Document;
use crate::facts::{Facts, KEYS};

/// A line of the index, checked to be one JSON object, with the fields that say which release it is.
#[derive(Debug, Clone)]
pub struct Line<'a> {
    /// The crate.
    pub name: Cow<'a, str>,
    /// Its version.
    pub version: Cow<'a, str>,
    /// Checksum of its `.crate`.
    pub cksum: Cow<'a, str>,
    /// True if it is yanked.
    pub yanked: bool,
    text: &'a str,
    /// True if facts can be put behind the last field as the line stands.
    plain: bool,
}

impl<'a> Line<'a> {
    /// Reads a line, without the newline at its end. All of it is checked, and nothing of it is kept
    /// beyond the call but references.
    ///
    /// # Errors
    /// When it is no JSON object, or lacks one of the fields that every line has.
    pub fn read(line: &'a [u8]) -> Result<Self, LineError> {
        let line = CheckedLine::read_beside(line, &KEYS)?;
        let (text, plain) = (line.text(), line.is_plain());
        let CheckedLine { name, vers: version, cksum, yanked, .. } = line;
        Ok(Self { name, version, cksum, yanked, text, plain })
    }

    /// Returns where the version stands in a line that [`splice`] may be used on; `None` for any other.
    #[must_use]
    pub fn version_place(&self) -> Option<Range<usize>> {
        let Cow::Borrowed(version) = self.version else { return None };
        let start = (version.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        (self.plain && start < self.text.len()).then(|| start..start + version.len())
    }

    /// Appends the sidecar on one line, without a newline: the fields as they are in the line, the
    /// facts behind them.
    ///
    /// # Errors
    /// None that [`Line::read`] did not have.
    pub fn compact(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> Result<(), LineError> {
        let has_license = || self.text.contains("\"license\"");
        if self.plain && (facts.license.is_none() || !has_license()) {
            splice(self.text.as_bytes(), facts, out);
            return Ok(());
        }
        let document = Document::new(self.text, facts).map_err(unreadable)?;
        serde_json::to_writer(out, &document).map_err(unreadable)
    }

    /// Appends the sidecar for people: keys sorted, two spaces for each level, a newline at the end.
    ///
    /// # Errors
    /// None that [`Line::read`] did not have.
    pub fn pretty(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> Result<(), LineError> {
        let document = Document::new(self.text, facts).map_err(unreadable)?;
        serde_json::to_writer_pretty(&mut *out, &document).map_err(unreadable)?;
        out.push(b'\n');
        Ok(())
    }
}

/// Reports a line that serde does not read, although [`Line::read`] did.
fn unreadable(_: serde_json::Error) -> LineError {
    LineError::NoObject
}

/// Appends the sidecar of a line for which [`Line::version_place`] gave a place, which is not read
/// again.
pub fn splice(line: &[u8], facts: &Facts<'_>, out: &mut Vec<u8>) {
    let body = line.strip_suffix(b"}").unwrap_or(line);
    out.extend_from_slice(body);
    facts.append(out);
    out.push(b'}');
}
