//! A marker with the target of a checkout, for the run after a kill.

use std::fs;
use std::path::{Path, PathBuf};

use gix::ObjectId;

use super::disk;
use super::error::UpdateError;

const NAME: &str = "mirror-checkout";
/// The text in place of a commit where there was none.
const NONE: &str = "none";

/// The marker exists from before the first change of a file until the refs are set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) tip: ObjectId,
    /// The full name of the branch.
    pub(crate) branch: String,
    /// The commit of HEAD when the checkout began.
    pub(crate) old: Option<ObjectId>,
}

pub(crate) fn path(git_dir: &Path) -> PathBuf {
    git_dir.join(NAME)
}

/// The content found in the place of a marker.
pub(crate) enum FoundMarker {
    Absent,
    /// It has too little to continue from.
    Useless,
    Whole(Marker),
}

impl Marker {
    pub(crate) fn write(&self, git_dir: &Path) -> Result<(), UpdateError> {
        let old = self.old.map_or_else(|| NONE.to_owned(), |id| id.to_string());
        let text = format!("{}\n{}\n{old}\n", self.tip, self.branch);
        let path = path(git_dir);
        disk::replace(&path, &path.with_extension("new"), text.as_bytes())
    }

    pub(crate) fn read(git_dir: &Path) -> Result<FoundMarker, UpdateError> {
        let path = path(git_dir);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text).map_or(FoundMarker::Useless, FoundMarker::Whole)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(FoundMarker::Absent),
            Err(error) => Err(UpdateError::storage("read", &path)(error)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let id = |line: &str| ObjectId::from_hex(line.as_bytes()).ok();
        let (tip, branch) = (id(lines.next()?)?, lines.next()?.to_owned());
        let old = match lines.next()? {
            NONE => None,
            line => Some(id(line)?),
        };
        Some(Self { tip, branch, old })
    }
}
