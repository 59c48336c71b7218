//! Which mirrors the records of a manifest belong to.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use mirror_manifest::{ManifestReader, ManifestRecord};
use mirror_types::{Layout, MirrorId, ReleaseId};

use crate::error::RepoError;
use crate::path::real;

/// Most different roots that are remembered while a manifest is read.
const MAX_ROOTS: usize = 1_000;

/// The mirror that a manifest is compared with.
pub(crate) struct Claimant<'a> {
    /// Its root, with all links resolved.
    pub(crate) root: &'a Path,
    /// Its id, when it has one.
    pub(crate) id: Option<MirrorId>,
    /// The directory against which relative paths in records are resolved.
    pub(crate) working_dir: &'a Path,
}

/// Counts of the records of a manifest, by owner.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Records of the claimant.
    pub(crate) own: u64,
    /// Records of other mirrors.
    pub(crate) others: u64,
    /// The ids in own records, when these are recognized by their paths alone: the claimant has no id yet.
    pub(crate) own_ids: BTreeSet<MirrorId>,
    /// The other mirror that the first foreign record names.
    pub(crate) first_other: Option<String>,
    /// The roots in records of other mirrors.
    other_roots: BTreeSet<String>,
    /// True if a record of another mirror carries an id.
    others_have_ids: bool,
    /// True if a record is of schema 2 or later, in which `downloaded` is proof.
    proof: bool,
    /// The directory of the bundle in the last own record that names one.
    pub(crate) bundles: Option<String>,
}

impl Survey {
    /// Returns whether the records name one mirror by a path that does not exist, because the mirror was moved.
    pub(crate) fn is_of_one_moved(&self, claimant: &Claimant<'_>) -> bool {
        let gone = |root: &String| !real(Path::new(root), claimant.working_dir).exists();
        self.own == 0
            && !self.others_have_ids
            && self.other_roots.len() == 1
            && self.other_roots.iter().all(gone)
    }

    /// Returns whether no record proves that a release is held.
    pub(crate) fn proves_nothing(&self) -> bool {
        !self.proof
    }
}

/// Reads a whole manifest and counts its records by owner. Passes over lines that are no records. Streams;
/// blocks.
pub(crate) fn survey(path: &Path, claimant: &Claimant<'_>) -> Result<Survey, RepoError> {
    let mut found = Survey::default();
    each_line(path, claimant, &mut |_, owner| {
        match owner {
            RecordOwner::None => {}
            RecordOwner::Own { id, bundle, schema } => {
                found.own += 1;
                found.proof |= schema >= 2;
                found.own_ids.extend(id.filter(|_| claimant.id.is_none()));
                if let Some(bundle) = bundle {
                    found.bundles = Some(bundle);
                }
            }
            RecordOwner::Other { id, root, schema } => {
                found.others += 1;
                found.proof |= schema >= 2;
                found.others_have_ids |= id.is_some();
                if found.first_other.is_none() {
                    found.first_other = Some(match (id, &root) {
                        (Some(id), _) => format!("the mirror with the id {id}"),
                        (None, root) => format!("the mirror at {}", mirror_types::Printable(root)),
                    });
                }
                if found.other_roots.len() < MAX_ROOTS {
                    found.other_roots.insert(root);
                }
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// Passes each own line of a manifest, with its newline, to `take`. Streams; blocks.
pub(crate) fn own_lines(
    path: &Path,
    claimant: &Claimant<'_>,
    take: &mut dyn FnMut(&[u8]) -> Result<(), RepoError>,
) -> Result<(), RepoError> {
    each_line(path, claimant, &mut |line, owner| match owner {
        RecordOwner::Own { .. } => take(line),
        _ => Ok(()),
    })
}

/// The owner of a record.
enum RecordOwner {
    /// The record names no file.
    None,
    Own {
        id: Option<MirrorId>,
        bundle: Option<String>,
        schema: u32,
    },
    Other {
        id: Option<MirrorId>,
        root: String,
        schema: u32,
    },
}

/// A callback that takes a line with its newline, and its owner.
type Visit<'a> = dyn FnMut(&[u8], RecordOwner) -> Result<(), RepoError> + 'a;

fn each_line(path: &Path, claimant: &Claimant<'_>, visit: &mut Visit<'_>) -> Result<(), RepoError> {
    let fail = |doing| move |source| RepoError::Io { doing, path: path.to_owned(), source };
    let mut reader = ManifestReader::open(path, 0).map_err(fail("open"))?;
    let mut roots = Roots { claimant, known: HashMap::new() };
    while let Some(line) = reader.next_line().map_err(fail("read"))? {
        let Ok(record) = line.record() else { continue };
        visit(line.whole(), roots.owner_of(record))?;
    }
    Ok(())
}

/// Decides whether the roots in records are the claimant's, once for each.
struct Roots<'a> {
    claimant: &'a Claimant<'a>,
    known: HashMap<String, bool>,
}

impl Roots<'_> {
    fn owner_of(&mut self, record: ManifestRecord) -> RecordOwner {
        let (id, schema) = (record.mirror, record.schema_version);
        let mut roots = roots_of(&record);
        let own = match (id, self.claimant.id) {
            (Some(id), Some(own)) => id == own,
            (None, _) if roots.is_empty() => return RecordOwner::None,
            _ => roots.iter().any(|root| self.is_own(root)),
        };
        if own {
            let bundle = record.bundle_path.filter(|_| record.ok).and_then(|path| directory(&path));
            RecordOwner::Own { id, bundle, schema }
        } else {
            RecordOwner::Other { id, root: roots.pop().unwrap_or_default(), schema }
        }
    }

    fn is_own(&mut self, root: &str) -> bool {
        if let Some(own) = self.known.get(root) {
            return *own;
        }
        let own = real(Path::new(root), self.claimant.working_dir) == self.claimant.root;
        if self.known.len() < MAX_ROOTS {
            self.known.insert(root.to_owned(), own);
        }
        own
    }
}

/// Returns the roots that the path of a record may name: the path without the place of the release in a layout. A short
/// name fits both layouts, `3/l/log/log-1.0.0.crate`.
fn roots_of(record: &ManifestRecord) -> Vec<String> {
    let path = record.path.replace('\\', "/");
    if path.is_empty() {
        return Vec::new();
    }
    let mut roots = Vec::new();
    if let Some(id) = path.rsplit('/').next().and_then(ReleaseId::of_file) {
        for layout in [Layout::Shard, Layout::Cargo] {
            if let Some(root) = path.strip_suffix(&layout.path(&id)).and_then(|root| root.strip_suffix('/')) {
                roots.push(if root.is_empty() { "/" } else { root }.to_owned());
            }
        }
    }
    if roots.is_empty() {
        roots.push(directory(&path).unwrap_or_default());
    }
    roots
}

fn directory(path: &str) -> Option<String> {
    path.rsplit_once(['/', '\\']).map(|(dir, _)| dir.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(path: &str) -> Vec<String> {
        roots_of(&ManifestRecord { path: path.to_owned(), ..ManifestRecord::default() })
    }

    #[test]
    fn the_root_is_what_stands_before_the_place_of_the_release() {
        for (path, found) in [
            ("out/s/er/serde-1.0.0.crate", &["out"][..]),
            ("./m/se/rd/serde/serde-1.0.0.crate", &["./m"]),
            ("/srv/m/3/l/log/log-0.1.0.crate", &["/srv/m/3/l", "/srv/m"]),
            (r"S:\out\s\er\serde-1.0.0.crate", &["S:/out"]),
            ("/s/er/serde-1.0.0.crate", &["/"]),
            ("a/serde-1.0.0.crate", &["a"]),
            ("notes/one.txt", &["notes"]),
            ("", &[]),
        ] {
            assert_eq!(roots(path), found, "{path}");
        }
    }
}
