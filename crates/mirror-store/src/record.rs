//! `.mirror/mirror.json`: the record of a mirror.

use std::fs;
use std::io;
use std::path::Path;

use mirror_types::{Cause, Layout, MirrorId};
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, at};

/// The newest format that this version writes and reads.
const FORMAT: u32 = 2;
/// Longest record that is read, in bytes; ours have some 300.
const MAX_RECORD_BYTES: u64 = 64 << 10;

/// The record of a mirror, `.mirror/mirror.json`: one JSON object.
///
/// Format 1 has the layout alone. Format 2 adds the id of the mirror and where its manifest and its bundles
/// are. Both places are paths, absolute or relative to the root of the mirror, with `/` between the parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorRecord {
    /// The layout of the releases below the root.
    pub layout: Layout,
    /// The id; `None` in format 1.
    pub id: Option<MirrorId>,
    /// The manifest; `None` in format 1.
    pub manifest: Option<String>,
    /// The directory of the bundles; `None` takes the default place.
    pub bundles: Option<String>,
    /// The root as an absolute path when the record was written: it distinguishes a copy of a mirror from the original.
    pub root: Option<String>,
}

/// The JSON form of the record.
#[derive(Serialize, Deserialize)]
struct Written {
    format_version: u32,
    layout: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<MirrorId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bundles: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<String>,
}

impl MirrorRecord {
    /// Makes the record of a mirror that has no id yet.
    #[must_use]
    pub const fn of_layout(layout: Layout) -> Self {
        Self { layout, id: None, manifest: None, bundles: None, root: None }
    }

    /// Reads the record of the mirror at `root`, without following a link; `None` when there is none. Blocks.
    ///
    /// # Errors
    /// When it cannot be read or understood, or is not a regular file.
    pub fn read(root: &Path) -> Result<Option<Self>, StoreError> {
        let path = &root.join(".mirror/mirror.json");
        let mut text = Vec::new();
        match fs::symlink_metadata(path) {
            Ok(meta) if !meta.is_file() => {
                return Err(StoreError::Strange { path: path.clone(), expected: "a regular file" });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at("look at", path)(error)),
        }
        let file = mirror_fs::open_to_read(path).map_err(at("read", path))?;
        io::Read::read_to_end(&mut io::Read::take(file, MAX_RECORD_BYTES), &mut text)
            .map_err(at("read", path))?;
        Self::parse(&text).map(Some).map_err(|source| StoreError::BadRecord { path: path.to_owned(), source })
    }

    fn parse(text: &[u8]) -> Result<Self, Cause> {
        let written: Written = serde_json::from_slice(text).map_err(Cause::new)?;
        if !(1..=FORMAT).contains(&written.format_version) {
            return Err(Cause::new(format!("format_version {}", written.format_version)));
        }
        let layout =
            written.layout.parse().map_err(|error: mirror_types::UnknownLayout| Cause::new(error))?;
        Ok(Self {
            layout,
            id: written.id,
            manifest: written.manifest,
            bundles: written.bundles,
            root: written.root,
        })
    }

    /// Returns the text of the file.
    pub(crate) fn to_text(&self) -> String {
        let written = Written {
            format_version: if self.id.is_some() { FORMAT } else { 1 },
            layout: self.layout.as_str().to_owned(),
            id: self.id,
            manifest: self.manifest.clone(),
            bundles: self.bundles.clone(),
            root: self.root.clone(),
        };
        format!("{}\n", serde_json::json!(written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_in_both_formats() {
        let bare = MirrorRecord::of_layout(Layout::Cargo);
        let whole = MirrorRecord {
            id: Some(MirrorId::from_bytes([7; 16])),
            manifest: Some("manifest.jsonl".to_owned()),
            bundles: Some("../b".to_owned()),
            root: Some("/srv/m".to_owned()),
            ..bare.clone()
        };
        for (record, format) in [(bare, 1), (whole, 2)] {
            let text = record.to_text();
            assert!(text.contains(&format!("\"format_version\":{format}")), "{text}");
            assert_eq!(MirrorRecord::parse(text.as_bytes()).ok(), Some(record));
        }
    }

    #[test]
    fn newer_and_damaged_records_are_refused() {
        for text in [
            "{\"format_version\":3,\"layout\":\"shard\"}",
            "{\"format_version\":2,\"layout\":\"x\"}",
            "",
            "[]",
        ] {
            assert!(MirrorRecord::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
