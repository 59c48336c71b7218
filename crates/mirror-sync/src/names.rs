//! Finds the index files that hold the crates that a selection names, in whatever spelling.

use std::collections::HashSet;

use mirror_index::Selection;
use mirror_types::{CrateName, index_path};

use crate::error::SyncError;

/// Crates to look up one by one; one pass through the whole index finds more of them faster.
const MAX_NAMED_CRATES: usize = 20_000;
/// Most `-` and `_` in a name of which all spellings are tried.
const MAX_SPELLED_PLACES: usize = 6;

/// Returns the other spellings of a name that an index would store elsewhere: the registry treats `-` and `_` alike.
/// Empty when there are too many.
pub(crate) fn spellings(name: &CrateName) -> Vec<CrateName> {
    let places: Vec<usize> = name.as_str().match_indices(['-', '_']).map(|(at, _)| at).collect();
    if places.len() > MAX_SPELLED_PLACES {
        return Vec::new();
    }
    let all = (0..1_usize << places.len()).filter_map(|bits| {
        let mut text = name.as_str().to_owned();
        for (n, at) in places.iter().enumerate() {
            text.replace_range(at..&(at + 1), if bits & 1 << n == 0 { "-" } else { "_" });
        }
        CrateName::new(&text).ok()
    });
    all.filter(|other| other != name).collect()
}

/// Returns the paths at which the files of the selected crates can be, each once, when the selection names few crates,
/// and each by name.
pub(crate) fn paths_of(selection: &Selection) -> Option<Vec<String>> {
    let names = named(selection).filter(|names| names.len() <= MAX_NAMED_CRATES)?;
    let mut seen = HashSet::new();
    let mut paths = Vec::with_capacity(names.len());
    for name in names {
        if name.as_str().matches(['-', '_']).count() > MAX_SPELLED_PLACES {
            return None;
        }
        let spelled = std::iter::once(name.clone()).chain(spellings(&name));
        paths.extend(spelled.map(|name| index_path(&name)).filter(|path| seen.insert(path.clone())));
    }
    Some(paths)
}

/// Returns the crates that a sparse registry is asked for: it cannot list what it has.
pub(crate) fn sparse_names(selection: &Selection) -> Result<Vec<CrateName>, SyncError> {
    let mut names = named(selection).ok_or(SyncError::CratesUnnamed)?;
    names.retain(|name| selection.wants_crate(name));
    names.sort();
    Ok(names)
}

/// Returns the crates of a selection that names them one by one.
pub(crate) fn named(selection: &Selection) -> Option<Vec<CrateName>> {
    match (&selection.locked, selection.include.exact_names()) {
        (Some(locked), _) => Some(locked.names()),
        (None, Some(names)) if !names.is_empty() => Some(names),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use mirror_index::NameSet;

    use super::*;

    fn selection(names: &[&str]) -> Selection {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut selection = Selection::default();
        selection.include = NameSet::parse(&names).expect("names");
        selection
    }

    #[test]
    fn each_file_is_looked_at_once_whatever_the_spelling() {
        let paths = paths_of(&selection(&["foo-bar", "FOO_BAR", "foo_bar", "other"])).expect("paths");
        assert_eq!(paths, ["fo/o-/foo-bar", "fo/o_/foo_bar", "ot/he/other"]);
        let names = sparse_names(&selection(&["Other", "other", "OTHER"])).expect("names");
        assert_eq!(names.len(), 1);
        assert!(paths_of(&selection(&["a-b-c-d-e-f-g-h"])).is_none(), "too many spellings");
        assert!(sparse_names(&selection(&["foo*"])).is_err());
    }
}
