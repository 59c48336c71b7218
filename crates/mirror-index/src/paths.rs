//! The paths of the files of an index.

use mirror_types::{CrateName, index_path};

/// Returns whether the path of a file is the right one for the crate of its name; other files of an index have no
/// records.
#[must_use]
pub fn is_index_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    CrateName::new(name).is_ok_and(|name| index_path(&name) == path)
}

/// Returns whether index files may be in a directory: `1`, `2`, `3`, `3/a`, `ab`, `ab/cd`.
#[must_use]
pub fn holds_index_files(dir: &str) -> bool {
    let dir = dir.trim_end_matches('/');
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    dir.split('/').all(plain)
        && match dir.split_once('/') {
            None => matches!(dir, "1" | "2" | "3") || dir.len() == 2,
            Some(("3", rest)) => rest.len() == 1,
            Some((first, rest)) => first.len() == 2 && rest.len() == 2,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_are_named_after_their_crate_count() {
        for path in ["1/a", "2/ab", "3/a/abc", "se/rd/serde", "a-/_b/a-_b"] {
            assert!(is_index_file(path), "{path}");
            let mut dir = path;
            while let Some((above, _)) = dir.rsplit_once('/') {
                assert!(holds_index_files(above) && holds_index_files(&format!("{above}/")), "{above}");
                dir = above;
            }
        }
        for path in [
            "LICENSE",
            ".drone.yml",
            "config.json",
            ".DS_Store",
            "se/.DS_Store",
            "se/rd/serde~",
            "se/rd/.serde.swp",
            "se/rd/other",
            "se/rd/Serde",
            "serde",
            "scripts/update.sh",
            "1/ab",
            "se/rd/serde/serde",
            "",
        ] {
            assert!(!is_index_file(path), "{path}");
        }
        for dir in [".git", ".github", "lost+found", "scripts", "4", "se/rdx", "3/ab", "se/rd/e", "..", ""] {
            assert!(!holds_index_files(dir), "{dir}");
        }
    }
}
