use std::collections::HashSet;
use std::fmt;

use mirror_types::{CrateName, IndexRecord, Printable, ReleaseId, Sha256, VersionText, index_path};

use crate::fields::Fields;

/// Limits on what an index may hold.
#[derive(Debug, Clone, Copy)]
pub struct IndexLimits {
    /// Longest line, bytes.
    pub max_line_bytes: usize,
}

impl Default for IndexLimits {
    fn default() -> Self {
        Self { max_line_bytes: 1 << 20 }
    }
}

/// A line that is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// The file, as in the index.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: {}", Printable(&self.file), self.line, Printable(&self.reason))
    }
}

/// One file of the index: all lines of one crate, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// `se/rd/serde`
    pub path: String,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// The records of the file at `path` of the index, in its order. Bad lines are given to `faults` and
/// left out: no JSON, a field that is missing or wrong, a crate that belongs elsewhere, a version that
/// was there before. Fields that the mirror does not work with are not looked at.
pub fn parse_file(
    path: &str,
    data: &[u8],
    limits: &IndexLimits,
    faults: &mut dyn FnMut(LineFault),
) -> Vec<IndexRecord> {
    let mut records: Vec<IndexRecord> = Vec::new();
    let mut many = HashSet::new();
    let mut rest = data;
    let mut number = 0;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest);
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[], |end| &rest[end + 1..]);
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let known = records.last().map(|record| &record.id.name);
        let parsed = parse_line(line, path, known, limits).and_then(|record| {
            if is_new(&record, &records, &mut many) {
                Ok(record)
            } else {
                Err(format!("{} stands in the file twice; the first line counts", record.id))
            }
        });
        match parsed {
            Ok(record) => records.push(record),
            Err(reason) => faults(LineFault { file: path.to_owned(), line: number, reason }),
        }
    }
    records
}

/// Most crates have few versions, which are compared faster than hashed.
const FEW: usize = 12;

/// Whether the version of a record was not there before; `many` knows those of a long file.
fn is_new(record: &IndexRecord, before: &[IndexRecord], many: &mut HashSet<VersionText>) -> bool {
    if before.len() < FEW {
        return before.iter().all(|other| other.id.version != record.id.version);
    }
    if many.is_empty() {
        many.extend(before.iter().map(|other| other.id.version.clone()));
    }
    many.insert(record.id.version.clone())
}

/// `known`: the name of the line before, which most lines share.
fn parse_line(
    line: &[u8],
    path: &str,
    known: Option<&CrateName>,
    limits: &IndexLimits,
) -> Result<IndexRecord, String> {
    if line.len() > limits.max_line_bytes {
        return Err(format!("the line has {} bytes, {} are allowed", line.len(), limits.max_line_bytes));
    }
    let line = Fields::read(line).map_err(|error| error.to_string())?;
    let name = match known.filter(|known| known.as_str() == line.name) {
        Some(known) => known.clone(),
        None => {
            let name = CrateName::new(&line.name).map_err(|error| error.to_string())?;
            if index_path(&name) != path {
                return Err(format!("{name} does not belong into this file"));
            }
            name
        }
    };
    let version = VersionText::new(&line.vers).map_err(|error| error.to_string())?;
    let cksum = Sha256::from_hex(&line.cksum).map_err(|error| error.to_string())?;
    Ok(IndexRecord { id: ReleaseId { name, version }, cksum, yanked: line.yanked.unwrap_or(false) })
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
             {{\"name\":\"Serde\",\"vers\":\"1.0.0\",\"cksum\":\"{sum}\"}}\n\
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
}
