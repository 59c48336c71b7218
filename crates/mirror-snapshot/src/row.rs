use std::cmp::Ordering;
use std::fmt;
use std::io::{self, BufRead};

use mirror_types::{CrateName, FaultKind, ReleaseId, Sha256, VersionText};

use crate::unit::Unit;

/// The longest row with its newline, in bytes: the longest name and version, a checksum, the longer state.
pub const MAX_ROW_BYTES: usize =
    mirror_types::MAX_NAME_BYTES + 1 + mirror_types::MAX_VERSION_BYTES + 1 + 64 + 1 + 8;

/// The state in which a release is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowState {
    /// To everybody.
    Offered,
    /// To lockfiles that name it.
    Yanked,
}

impl RowState {
    /// Returns the word in a row.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Yanked => "yanked",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Offered, Self::Yanked].into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for RowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One offered release. Its text is `name version checksum state` with single spaces and a newline behind it; unit
/// digests are computed over these texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Crate and version.
    pub id: ReleaseId,
    /// SHA-256 of the `.crate` file.
    pub checksum: Sha256,
    /// The state in which it is offered.
    pub state: RowState,
}

impl Row {
    /// Parses the text of a row, without its newline.
    ///
    /// # Errors
    /// When [`Row::push_line`] would not write the same text; the reason has no more than a few words.
    pub fn parse(line: &str) -> Result<Self, &'static str> {
        let mut fields = line.split(' ');
        let mut next = || fields.next().ok_or("it has fewer than four fields");
        let (name, version, checksum, state) = (next()?, next()?, next()?, next()?);
        if fields.next().is_some() {
            return Err("it has more than four fields");
        }
        let name = CrateName::new(name).map_err(|_| "its first field is not a crate name")?;
        let version = VersionText::new(version).map_err(|_| "its second field is not a version")?;
        let is_lower = checksum.bytes().all(|byte| !byte.is_ascii_uppercase());
        let checksum = Sha256::from_hex(checksum).ok().filter(|_| is_lower);
        let checksum = checksum.ok_or("its third field is not 64 lower-case hexadecimal digits")?;
        let state = RowState::parse(state).ok_or("its last field is neither offered nor yanked")?;
        Ok(Self { id: ReleaseId { name, version }, checksum, state })
    }

    /// Appends the text of the row, with its newline.
    pub fn push_line(&self, text: &mut String) {
        text.push_str(self.id.name.as_str());
        text.push(' ');
        text.push_str(self.id.version.as_str());
        text.push(' ');
        self.checksum.push_hex(text);
        text.push(' ');
        text.push_str(self.state.as_str());
        text.push('\n');
    }
}

/// Compares two releases in the order of rows: by the lower-case name, then by the name, then by the bytes of the
/// version.
#[must_use]
pub fn row_order(a: &ReleaseId, b: &ReleaseId) -> Ordering {
    if a.name == b.name {
        return a.version.cmp(&b.version);
    }
    name_order(&a.name, &b.name)
}

/// Compares two crates in the order of rows.
pub(crate) fn name_order(a: &CrateName, b: &CrateName) -> Ordering {
    let lower = |name: &CrateName| name.as_str().to_ascii_lowercase();
    lower(a).cmp(&lower(b)).then_with(|| a.cmp(b))
}

/// Why rows are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// A line is no row. Take another copy of the rows.
    #[error("line {line} of the rows of a snapshot is not a row: {why}")]
    BadLine {
        /// Counted from 1.
        line: u64,
        /// The reason.
        why: &'static str,
    },
    /// A row does not follow the one before it in the order of rows. Sort them with [`row_order`].
    #[error("the row of {later} is behind that of {earlier}, but does not follow it in the order of rows")]
    Unordered {
        /// The row that came first.
        earlier: ReleaseId,
        /// The row that should have come before it.
        later: ReleaseId,
    },
    /// A release has two rows. Leave one out.
    #[error("{0} has two rows")]
    Repeated(ReleaseId),
    /// A row belongs to another unit than the one that is digested. Choose rows by [`Unit::of`].
    #[error("the row of {id} is among those of unit {unit}, and belongs to another")]
    OtherUnit {
        /// The release.
        id: ReleaseId,
        /// The unit that is digested.
        unit: Unit,
    },
    /// The rows could not be read.
    #[error("reading the rows of a snapshot")]
    Read(#[from] io::Error),
}

impl RowError {
    /// Returns the kind of fault.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Read(_) => FaultKind::Storage,
            Self::Unordered { .. } | Self::Repeated(_) | Self::OtherUnit { .. } | Self::BadLine { .. } => {
                FaultKind::Refused
            }
        }
    }

    /// Checks that a row follows the one before it.
    pub(crate) fn check_order(before: Option<&ReleaseId>, after: &ReleaseId) -> Result<(), Self> {
        match before.map(|before| (before, row_order(before, after))) {
            None | Some((_, Ordering::Less)) => Ok(()),
            Some((_, Ordering::Equal)) => Err(Self::Repeated(after.clone())),
            Some((before, Ordering::Greater)) => {
                Err(Self::Unordered { earlier: before.clone(), later: after.clone() })
            }
        }
    }
}

/// Reads rows from their text, one at a time, in bounded memory. Does not check their order. Ends after the first
/// error. Blocks as its reader does.
#[derive(Debug)]
pub struct RowReader<R> {
    reader: R,
    line: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> RowReader<R> {
    /// Reads from `reader`, which should be buffered generously.
    #[must_use]
    pub fn new(reader: R) -> Self {
        Self { reader, line: 0, buffer: Vec::with_capacity(MAX_ROW_BYTES), ended: false }
    }

    fn read(&mut self) -> Result<Option<Row>, RowError> {
        self.buffer.clear();
        let mut limited = io::Read::take(&mut self.reader, MAX_ROW_BYTES as u64);
        if limited.read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(None);
        }
        self.line += 1;
        let bad = |why| RowError::BadLine { line: self.line, why };
        let line = match self.buffer.split_last() {
            Some((b'\n', line)) => line,
            _ if self.buffer.len() == MAX_ROW_BYTES => return Err(bad("it is too long")),
            _ => return Err(bad("it does not end with a newline")),
        };
        let line = std::str::from_utf8(line).map_err(|_| bad("it is not ASCII"))?;
        Row::parse(line).map(Some).map_err(bad)
    }
}

impl<R: BufRead> Iterator for RowReader<R> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read();
        self.ended = !matches!(read, Ok(Some(_)));
        read.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, version: &str) -> ReleaseId {
        ReleaseId { name: name.parse().expect("name"), version: version.parse().expect("version") }
    }

    #[test]
    fn rows_are_sorted_by_lower_case_name_then_name_then_bytes_of_the_version() {
        let sorted = [
            id("a-b", "1.0.0"),
            id("a_b", "1.0.0"),
            id("Ab", "1.0.0"),
            id("ab", "0.1.0"),
            id("ab", "1.0.0"),
            id("ab", "1.0.0+b"),
            id("ab", "1.0.0-a"),
            id("ab", "10.0.0"),
            id("ab", "2.0.0"),
            id("B", "1.0.0"),
        ];
        for (at, a) in sorted.iter().enumerate() {
            for (other, b) in sorted.iter().enumerate() {
                assert_eq!(row_order(a, b), at.cmp(&other), "{a}, {b}");
            }
        }
    }

    #[test]
    fn only_the_text_that_is_written_is_read() {
        let sum = "0a".repeat(32);
        let good = format!("serde 1.0.0 {sum} yanked");
        let row = Row::parse(&good).expect("row");
        let mut text = String::new();
        row.push_line(&mut text);
        assert_eq!(text, format!("{good}\n"));
        for (bad, why) in [
            (String::new(), "it has fewer than four fields"),
            (format!("serde 1.0.0 {sum}"), "it has fewer than four fields"),
            (format!("{good} "), "it has more than four fields"),
            (format!("serde  1.0.0 {sum}"), "its second field is not a version"),
            (format!(" 1.0.0 {sum} yanked"), "its first field is not a crate name"),
            (
                format!("serde 1.0.0 {} yanked", sum.to_uppercase()),
                "its third field is not 64 lower-case hexadecimal digits",
            ),
            (format!("serde 1.0.0 {sum} Yanked"), "its last field is neither offered nor yanked"),
            (format!("serde 1.0.0 {sum} yanked\r"), "its last field is neither offered nor yanked"),
        ] {
            assert_eq!(Row::parse(&bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn a_reader_reads_the_longest_row_and_no_longer_line() {
        let longest = Row {
            id: id(&"x".repeat(64), &format!("1.0.0-{}", "1".repeat(164))),
            checksum: Sha256::from_bytes([1; 32]),
            state: RowState::Offered,
        };
        let mut text = String::new();
        longest.push_line(&mut text);
        assert_eq!(text.len(), MAX_ROW_BYTES);
        let read: Vec<_> = RowReader::new(text.as_bytes()).collect::<Result<_, _>>().expect("rows");
        assert_eq!(read, [longest]);
        for (bad, why) in [
            (format!("x{text}"), "line 1 of the rows of a snapshot is not a row: it is too long"),
            (
                text.trim_end().to_owned(),
                "line 1 of the rows of a snapshot is not a row: it does not end with a newline",
            ),
            (
                format!("{text}\u{e9}\n"),
                "line 2 of the rows of a snapshot is not a row: it has fewer than four fields",
            ),
        ] {
            let mut reader = RowReader::new(bad.as_bytes());
            let error = reader.by_ref().find_map(Result::err).expect("refused");
            assert_eq!(error.to_string(), why);
            assert_eq!(error.kind(), FaultKind::Refused);
            assert!(reader.next().is_none(), "a reader ends after an error");
        }
    }
}
