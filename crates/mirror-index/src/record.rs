use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;

use mirror_index_line::{IndexLine, lines};
use mirror_types::{
    CLIPPED_MESSAGE_BYTES, CLIPPED_VALUE_BYTES, CrateName, IndexRecord, ReleaseId, Sha256, VersionText,
    clipped, index_path, last_of_each,
};

use crate::oversize;

/// Limits on the contents of an index, and on what is read.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct IndexLimits {
    /// Longest line, bytes.
    pub max_line_bytes: usize,
    /// True if the time of publication is to be read, which takes a full parse of every line.
    pub reads_published: bool,
}

impl Default for IndexLimits {
    fn default() -> Self {
        Self { max_line_bytes: 1 << 20, reads_published: false }
    }
}

/// A line that is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// The file, as in the index.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The reason.
    pub reason: String,
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = clipped(&self.file, CLIPPED_VALUE_BYTES);
        write!(f, "{file}, line {}: {}", self.line, clipped(&self.reason, CLIPPED_MESSAGE_BYTES))
    }
}

/// One file of the index: all lines of one crate, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// `se/rd/serde`.
    pub path: String,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A callback that takes a file of the index: its path and its bytes. For a file that is too large it gets one line
/// that [`FileChecker::fits`] refuses, with the reason.
pub type Visit<'v> = Box<dyn FnMut(&str, &[u8]) -> ControlFlow<()> + 'v>;

/// Parses the records of the file at `path` of the index, in order. Passes bad lines to `faults` and leaves them out:
/// lines that are no JSON, have a missing or wrong field, or a crate that belongs elsewhere. The last line of a release
/// counts, as for Cargo. Ignores fields that the mirror does not use.
pub fn parse_file(
    path: &str,
    data: &[u8],
    limits: &IndexLimits,
    faults: &mut dyn FnMut(LineFault),
) -> Vec<IndexRecord> {
    let mut records: Vec<IndexRecord> = Vec::new();
    let mut checker = FileChecker::new(path, limits);
    let mut spellings = Spellings::default();
    for (number, line) in lines(data) {
        let parsed = checker.fits(line).and_then(|()| {
            let line = IndexLine::skim(line).map_err(|error| error.to_string())?;
            let record = checker.check(&line.name, &line.vers, &line.cksum, line.yanked)?;
            Ok(match limits.reads_published {
                true => IndexRecord { published: line.published(), ..record },
                false => record,
            })
        });
        match parsed.and_then(|record| spellings.check(&records, record)) {
            Ok(record) => records.push(record),
            Err(reason) => faults(LineFault { file: path.to_owned(), line: number, reason }),
        }
    }
    last_of_each(&mut records, |record| &record.id);
    records
}

/// Refuses a version that is in the file under another spelling of the name: two files that differ only in case would
/// be one on some systems. Costs nothing as long as one spelling is used.
#[derive(Default)]
struct Spellings(HashMap<VersionText, CrateName>);

impl Spellings {
    fn check(&mut self, before: &[IndexRecord], record: IndexRecord) -> Result<IndexRecord, String> {
        let Some(first) = before.first() else { return Ok(record) };
        if self.0.is_empty() {
            if first.id.name == record.id.name {
                return Ok(record);
            }
            self.0.extend(before.iter().map(|record| (record.id.version.clone(), record.id.name.clone())));
        }
        let ReleaseId { name, version } = &record.id;
        let known = self.0.entry(version.clone()).or_insert_with(|| name.clone());
        if known == name {
            Ok(record)
        } else {
            Err(format!("{} is already in the file as {known}", record.id))
        }
    }
}

/// Checks the lines of one index file by the rules of [`parse_file`], for callers that read lines themselves.
#[derive(Debug)]
pub struct FileChecker<'a> {
    path: &'a str,
    limits: &'a IndexLimits,
    /// The name in the line before, which most lines share.
    known: Option<CrateName>,
}

impl<'a> FileChecker<'a> {
    /// Begins the file at `path` of the index, whose lines must follow in order.
    #[must_use]
    pub fn new(path: &'a str, limits: &'a IndexLimits) -> Self {
        Self { path, limits, known: None }
    }

    /// Checks that a line is not too long to be read, and is not the stand-in for a whole file that is.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn fits(&self, line: &[u8]) -> Result<(), String> {
        if let Some(reason) = oversize::reason(line) {
            return Err(reason);
        }
        if line.len() > self.limits.max_line_bytes {
            return Err(format!(
                "the line has {} bytes, {} are allowed",
                line.len(),
                self.limits.max_line_bytes
            ));
        }
        Ok(())
    }

    /// Checks the fields of a line, and makes its record.
    ///
    /// # Errors
    /// The reason, for people, why the line is bad.
    pub fn check(
        &mut self,
        name: &str,
        version: &str,
        cksum: &str,
        yanked: bool,
    ) -> Result<IndexRecord, String> {
        let name = match self.known.as_ref().filter(|known| known.as_str() == name) {
            Some(known) => known.clone(),
            None => {
                let name = CrateName::new(name).map_err(|error| error.to_string())?;
                if index_path(&name) != self.path {
                    return Err(format!("{name} does not belong into this file"));
                }
                name
            }
        };
        let version = VersionText::new(version).map_err(|error| error.to_string())?;
        let cksum = Sha256::from_hex(cksum).map_err(|error| error.to_string())?;
        let record = IndexRecord { id: ReleaseId { name, version }, cksum, yanked, published: None };
        self.known = Some(record.id.name.clone());
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_lines_are_named_and_the_rest_is_kept() {
        let sum = "ab".repeat(32);
        let data = format!(
            "{{\"name\":\"Serde\",\"vers\":\"1.0.0\",\"cksum\":\"{sum}\",\"new\":[1]}}\nnonsense\n\n\
             {{\"name\":\"serde\",\"vers\":\"../1\",\"cksum\":\"{sum}\"}}\n\
             {{\"name\":\"serde\",\"vers\":\"1.0.1\",\"cksum\":\"12\"}}\n\
             {{\"name\":\"other\",\"vers\":\"1.0.1\",\"cksum\":\"{sum}\"}}\n\
             {{\"name\":\"serde\",\"vers\":\"1.0.0\",\"cksum\":\"{sum}\"}}\n\
             {{\"name\":\"Serde\",\"vers\":\"1.0.0+x\",\"cksum\":\"{sum}\",\"yanked\":true}}"
        );
        let mut faults = Vec::new();
        let records = parse_file("se/rd/serde", data.as_bytes(), &IndexLimits::default(), &mut |fault| {
            faults.push(fault.line);
        });
        let ids: Vec<_> = records.iter().map(|record| (record.id.to_string(), record.yanked)).collect();
        assert_eq!(ids, [("Serde 1.0.0".to_owned(), false), ("Serde 1.0.0+x".to_owned(), true)]);
        assert_eq!(faults, [2, 4, 5, 6, 7]);
    }

    #[test]
    fn the_time_of_publication_is_read_when_it_is_asked_for() {
        let sum = "ab".repeat(32);
        let data = format!(
            "{{\"name\":\"a\",\"vers\":\"1.0.0\",\"cksum\":\"{sum}\",\"pubtime\":\"1970-01-01T00:00:07Z\"}}\n\
             {{\"name\":\"a\",\"vers\":\"1.0.1\",\"cksum\":\"{sum}\",\"pubtime\":7}}"
        );
        let published = |reads_published| {
            let limits = IndexLimits { reads_published, ..IndexLimits::default() };
            let records = parse_file("1/a", data.as_bytes(), &limits, &mut |fault| panic!("{fault}"));
            records.iter().map(|record| record.published).collect::<Vec<_>>()
        };
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(7);
        assert_eq!(published(true), [Some(at), None]);
        assert_eq!(published(false), [None, None]);
    }

    #[test]
    fn the_last_line_of_a_release_counts_and_is_no_fault() {
        // A few lines are compared, many are hashed.
        for others in [0, 24] {
            let line = |version: &str, sum: u8, yanked: bool| {
                let sum = format!("{sum:02x}").repeat(32);
                format!(r#"{{"name":"serde","vers":"{version}","cksum":"{sum}","yanked":{yanked}}}"#) + "\n"
            };
            let between: String = (0..others).map(|at| line(&format!("2.0.{at}"), 9, false)).collect();
            let data =
                line("1.0.0", 1, false) + &line("1.0.1", 2, false) + &between + &line("1.0.0", 3, true);
            let records = parse_file("se/rd/serde", data.as_bytes(), &IndexLimits::default(), &mut |fault| {
                panic!("{fault}")
            });
            assert_eq!(records.len(), 2 + others);
            assert_eq!(records[0].id.version.as_str(), "1.0.1");
            let last = records.last().expect("last");
            assert_eq!((last.id.version.as_str(), last.yanked), ("1.0.0", true));
            assert_eq!(last.cksum, Sha256::from_bytes([3; 32]));
        }
    }
}
