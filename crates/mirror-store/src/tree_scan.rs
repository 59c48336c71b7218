//! The form of a tree without a record: one of the two layouts, or that of another tool.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;

use mirror_types::Layout;

use crate::error::{StoreError, at};
use crate::tree_form::TreeForm;

/// Releases from which the form of a tree is judged.
const SAMPLE_RELEASES: u32 = 64;
/// Most entries that are looked at for them.
const MAX_ENTRIES: u32 = 50_000;
/// Most directory levels of a form.
const MAX_DEPTH: usize = 5;

/// Returns the form of most releases in a tree, and the path of one of them; `None` where there are none. Looks at a
/// sample; follows no links. Blocks.
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
            if releases >= SAMPLE_RELEASES || entries > MAX_ENTRIES {
                break;
            }
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Ok(kind) = entry.file_type() else { continue };
            if dir.is_empty() && name == ".mirror" {
                continue;
            }
            let rel = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            if kind.is_dir() && depth < MAX_DEPTH {
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
        if releases >= SAMPLE_RELEASES || entries > MAX_ENTRIES {
            break;
        }
    }
    Ok(found
        .into_iter()
        .max_by_key(|(form, count, _)| (*count, *form == TreeForm::Layout(own)))
        .map(|(form, _, path)| (form, path)))
}

/// Returns the layout of a mirror without a record: that of the releases in it, or `layout` where there are none. A
/// requested layout must match theirs.
///
/// # Errors
/// When they are in another layout: a run would fetch them again.
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
