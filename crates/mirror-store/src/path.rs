use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// Joins a `/`-separated path below `root`. Every part must be plain: not empty, not `.` or `..`, no separator of any
/// system, no NUL, no colon.
pub(crate) fn below(root: &Path, rel: &str) -> Result<PathBuf, StoreError> {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.bytes().any(|b| matches!(b, b'\\' | b':' | 0) || b.is_ascii_control())
    };
    if !rel.split('/').all(plain) {
        return Err(StoreError::UnsafePath { path: rel.to_owned() });
    }
    let mut path = PathBuf::with_capacity(root.as_os_str().len() + rel.len() + 1);
    path.push(root);
    path.push(rel);
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "c:a", "a\0", "a\nb"] {
            assert!(below(Path::new("/r"), bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            below(Path::new("/r"), "a-/b/c-1.0.0+x.crate").expect("good"),
            Path::new("/r/a-/b/c-1.0.0+x.crate")
        );
    }
}
