//! What a tree without a record is: releases in one of the two layouts, or as other tools lay them out.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io;
use std::path::Path;

use mirror_types::{CrateName, Layout, ReleaseId, VersionText, index_prefix};

use crate::error::{StoreError, at};
use crate::path::below;
use crate::store::Store;

/// Releases that tell the form of a tree.
const ENOUGH: u32 = 64;
/// Entries that are looked at for them.
const MOST_ENTRIES: u32 = 50_000;
/// Directories below each other that a form has at most.
const DEEPEST: usize = 5;
/// The name of a release's file where a tool keeps the paths of the registry's API.
const DOWNLOAD: &str = "download";

/// How the releases of a tree are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TreeForm {
    /// In a layout that a mirror may have.
    Layout(Layout),
    /// `{crate}-{version}.crate`, all in one directory.
    Flat,
    /// `{crate}/{crate}-{version}.crate`.
    ByCrate,
    /// `{lowerprefix}/{crate}/{crate}-{version}.crate`.
    LowerPrefix,
    /// `{crate}/{version}/{crate}-{version}.crate`, or with Cargo's prefix before it.
    ByVersion,
    /// `{crate}/{version}/download`, or with Cargo's prefix before it.
    Download,
}

impl TreeForm {
    /// Returns the pattern of its paths.
    #[must_use]
    pub const fn pattern(self) -> &'static str {
        match self {
            Self::Layout(Layout::Shard) => "s/er/serde-1.0.0.crate",
            Self::Layout(Layout::Cargo) => "{prefix}/{crate}/{crate}-{version}.crate",
            Self::Flat => "{crate}-{version}.crate",
            Self::ByCrate => "{crate}/{crate}-{version}.crate",
            Self::LowerPrefix => "{lowerprefix}/{crate}/{crate}-{version}.crate",
            Self::ByVersion => "{crate}/{version}/{crate}-{version}.crate",
            Self::Download => "{crate}/{version}/download",
        }
    }

    /// Returns the release whose file has this path, `/` between its parts, and the form. Of a path that is one in
    /// several forms it is that of `own`, when that is among them.
    #[must_use]
    pub fn of_path(path: &str, own: Layout) -> Option<(ReleaseId, Self)> {
        let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
        if file == DOWNLOAD {
            let (above, version) = dir.rsplit_once('/')?;
            let name = above.rsplit('/').next()?;
            let id = ReleaseId { name: CrateName::new(name).ok()?, version: VersionText::new(version).ok()? };
            return is_of_crate(above, &id.name).then_some((id, Self::Download));
        }
        let id = ReleaseId::of_file(file)?;
        let name = id.name.as_str();
        let lower = format!("{}/{name}", index_prefix(&name.to_ascii_lowercase()));
        let form = if own.dir(&id.name) == dir {
            Self::Layout(own)
        } else if let Some(layout) =
            [Layout::Shard, Layout::Cargo].into_iter().find(|of| of.dir(&id.name) == dir)
        {
            Self::Layout(layout)
        } else if dir.is_empty() {
            Self::Flat
        } else if dir == name {
            Self::ByCrate
        } else if dir == lower {
            Self::LowerPrefix
        } else if dir
            .strip_suffix(id.version.as_str())
            .is_some_and(|above| above.strip_suffix('/').is_some_and(|above| is_of_crate(above, &id.name)))
        {
            Self::ByVersion
        } else {
            return None;
        };
        Some((id, form))
    }
}

/// Whether a directory is that of a crate, with Cargo's prefix before it or without.
fn is_of_crate(dir: &str, name: &CrateName) -> bool {
    dir == name.as_str() || dir == Layout::Cargo.dir(name)
}

/// Returns the form of most releases in a tree, and the path of one of them; `None` where there are none. Looks at
/// some of them; follows no link. Blocks.
///
/// # Errors
/// When a directory cannot be listed.
pub(crate) fn tree_form(root: &Path, own: Layout) -> Result<Option<(TreeForm, String)>, StoreError> {
    let mut found: Vec<(TreeForm, u32, String)> = Vec::new();
    let (mut releases, mut entries) = (0, 0);
    let mut dirs = VecDeque::from([(String::new(), 0)]);
    while let Some((dir, depth)) = dirs.pop_front() {
        let path = if dir.is_empty() { root.to_owned() } else { root.join(&dir) };
        let listing = match mirror_fs::patient(|| fs::read_dir(&path)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                continue;
            }
            listing => listing.map_err(at("list", &path))?,
        };
        for entry in listing {
            let entry = entry.map_err(at("list", &path))?;
            entries += 1;
            if releases >= ENOUGH || entries > MOST_ENTRIES {
                break;
            }
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Ok(kind) = entry.file_type() else { continue };
            if dir.is_empty() && name == ".mirror" {
                continue;
            }
            let rel = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            if kind.is_dir() && depth < DEEPEST {
                dirs.push_front((rel, depth + 1));
            } else if kind.is_file()
                && let Some((_, form)) = TreeForm::of_path(&rel, own)
            {
                releases += 1;
                match found.iter_mut().find(|(known, ..)| *known == form) {
                    Some((_, count, _)) => *count += 1,
                    None => found.push((form, 1, rel)),
                }
            }
        }
        if releases >= ENOUGH || entries > MOST_ENTRIES {
            break;
        }
    }
    Ok(found
        .into_iter()
        .max_by_key(|(form, count, _)| (*count, *form == TreeForm::Layout(own)))
        .map(|(form, _, path)| (form, path)))
}

/// Returns the layout of a mirror without a record: that of the releases that are there, or `layout` where there
/// are none. One that was asked for must be theirs.
///
/// # Errors
/// When they are laid out in another way, so that they would be fetched again beside themselves.
pub(crate) fn layout_of_tree(root: &Path, layout: Layout, asked: bool) -> Result<Layout, StoreError> {
    match tree_form(root, layout)? {
        None => Ok(layout),
        Some((TreeForm::Layout(found), _)) if found == layout || !asked => Ok(found),
        Some((TreeForm::Layout(found), _)) => {
            Err(StoreError::LayoutMismatch { root: root.to_owned(), found, asked: layout })
        }
        Some((form, example)) => Err(StoreError::OtherTree { root: root.to_owned(), form, example }),
    }
}

impl Store {
    /// Moves files of this tree to where releases belong: from a path to a path, both below the root, the second
    /// free. Directories that are empty then are removed. On return all of it survives a power cut; a crash leaves
    /// each file in one of both places. Blocks.
    ///
    /// # Errors
    /// When a path is not plain, something is in the way, or the disk refuses.
    pub fn move_releases(&self, moves: &[(String, String)]) -> Result<(), StoreError> {
        let mut touched = HashSet::new();
        for (from, to) in moves {
            self.check_way(from)?;
            self.check_way(to)?;
            let (from_path, to_path) = (below(self.root(), from)?, below(self.root(), to)?);
            if let Some((dir, _)) = to.rsplit_once('/') {
                self.make_dirs(dir, &mut touched)?;
                touched.insert(dir.to_owned());
            }
            self.fs().rename(&from_path, &to_path).map_err(at("move to its place", &from_path))?;
        }
        let emptied: HashSet<&str> =
            moves.iter().filter_map(|(from, _)| from.rsplit_once('/')).map(|at| at.0).collect();
        for dir in emptied {
            let above = dir.match_indices('/').map(|(at, _)| &dir[..at]).chain([dir]).collect::<Vec<_>>();
            // Until one is not empty.
            let _ = above.into_iter().rev().try_for_each(|dir| fs::remove_dir(self.root().join(dir)));
        }
        self.sync_dirs(touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_known_by_its_paths() {
        let of = |path: &str, own| TreeForm::of_path(path, own).map(|(id, form)| (id.to_string(), form));
        for (path, id, form) in [
            ("s/er/serde-1.0.0.crate", "serde 1.0.0", TreeForm::Layout(Layout::Shard)),
            ("se/rd/serde/serde-1.0.0.crate", "serde 1.0.0", TreeForm::Layout(Layout::Cargo)),
            ("serde-1.0.0.crate", "serde 1.0.0", TreeForm::Flat),
            ("serde/serde-1.0.0.crate", "serde 1.0.0", TreeForm::ByCrate),
            ("in/fl/Inflector/Inflector-0.1.0.crate", "Inflector 0.1.0", TreeForm::LowerPrefix),
            ("serde/1.0.0+x/serde-1.0.0+x.crate", "serde 1.0.0+x", TreeForm::ByVersion),
            ("se/rd/serde/1.0.0/serde-1.0.0.crate", "serde 1.0.0", TreeForm::ByVersion),
            ("serde/1.0.0/download", "serde 1.0.0", TreeForm::Download),
            ("se/rd/serde/1.0.0/download", "serde 1.0.0", TreeForm::Download),
        ] {
            assert_eq!(of(path, Layout::Shard), Some((id.to_owned(), form)), "{path}");
        }
        for path in [
            "x/serde-1.0.0.crate",
            "old/s/er/serde-1.0.0.crate",
            "serde/1.0.1/serde-1.0.0.crate",
            "serde/x1.0.0/serde-1.0.0.crate",
            "download",
            "serde/download",
            "x/serde/1.0.0/download",
            "serde/1/download",
            "s/er/serde-1.0.0.crate.json",
        ] {
            assert_eq!(of(path, Layout::Shard), None, "{path}");
        }
        // The shortest names have one path in several forms.
        assert_eq!(
            of("ab/ab-1.0.0.crate", Layout::Shard).map(|found| found.1),
            Some(TreeForm::Layout(Layout::Shard))
        );
    }
}
