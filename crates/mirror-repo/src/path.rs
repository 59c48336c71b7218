//! Paths in the form of the record of a mirror: relative to its root where that makes sense.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::error::RepoError;

/// Removes `.` and `..` from a path without asking the disk.
pub(crate) fn normalized(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            // There is nothing above the root of the file system.
            Component::ParentDir if out.has_root() => {}
            other => out.push(other),
        }
    }
    out
}

/// Returns the path with all links resolved in its existing part, absolute against `base`.
pub(crate) fn real(path: &Path, base: &Path) -> PathBuf {
    let path = base.join(path);
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let mut parts = path.components();
    match parts.next_back() {
        Some(Component::Normal(name)) => real(parts.as_path(), base).join(name),
        Some(Component::ParentDir) => {
            let mut above = real(parts.as_path(), base);
            above.pop();
            above
        }
        _ => normalized(&path),
    }
}

/// Returns the form of `place` in the record; both paths must be real ones. Inside the root and beside it the form is
/// relative, so that they can be moved together; where they share nothing but the root of the file system it is
/// absolute.
pub(crate) fn recorded(root: &Path, place: &Path) -> Result<String, RepoError> {
    let common = root.components().zip(place.components()).take_while(|(a, b)| a == b).count();
    let shared = root.components().take(common).any(|part| matches!(part, Component::Normal(_)));
    let path = if shared {
        let up = root.components().skip(common).map(|_| OsStr::new(".."));
        let down = place.components().skip(common).map(Component::as_os_str);
        up.chain(down).collect()
    } else {
        place.to_owned()
    };
    let text = path.to_str().ok_or_else(|| RepoError::NotText { path: place.to_owned() })?;
    Ok(if cfg!(windows) { text.replace('\\', "/") } else { text.to_owned() })
}

/// Returns the path that a record names.
pub(crate) fn placed(root: &Path, text: &str) -> PathBuf {
    normalized(&root.join(text))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn places_are_relative_where_they_can_be_moved_together() {
        for (root, place, text) in [
            ("/srv/m", "/srv/m/manifest.jsonl", "manifest.jsonl"),
            ("/srv/m", "/srv/m/a/b", "a/b"),
            ("/srv/m", "/srv/mf", "../mf"),
            ("/srv/x/m", "/srv/b", "../../b"),
            ("/srv/m", "/var/log/mf", "/var/log/mf"),
            ("/m", "/mf", "/mf"),
            ("/srv/m", "/srv/m", ""),
        ] {
            let found = recorded(Path::new(root), Path::new(place)).expect("text");
            assert_eq!(found, text, "{root} {place}");
            assert_eq!(placed(Path::new(root), &found), Path::new(place), "{root} {place}");
        }
    }

    #[test]
    fn what_is_not_there_yet_is_real_as_far_as_it_is() {
        let dir = tempfile::tempdir().expect("dir");
        let base = dir.path().canonicalize().expect("real");
        std::os::unix::fs::symlink(&base, base.join("link")).expect("link");
        assert_eq!(real(Path::new("link/a/../b/c"), &base), base.join("b/c"));
        assert_eq!(normalized(Path::new("/../a/./b/..")), Path::new("/a"));
    }
}
