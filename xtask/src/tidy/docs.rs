//! Checks the documents that readers and tools look for.

use super::workspace::{File, Member};

const ARCHITECTURE: &str = "docs/architecture.md";
const REQUIRED: &[&str] = &["CHANGELOG.md", "README.md", ARCHITECTURE, "LICENSE", "deny.toml", ".ci/run"];

/// The first line of `lib.rs`.
const INCLUDES_README: &str = "#![doc = include_str!(\"../README.md\")]";

/// Checks that the files that people and tools look for exist.
pub(crate) fn required_files(files: &[File], other_paths: &[String]) -> Vec<String> {
    let is_there = |path: &str| {
        files.iter().any(|file| file.path == path) || other_paths.iter().any(|other| other == path)
    };
    let missing = REQUIRED.iter().filter(|path| !is_there(path));
    missing.map(|path| format!("{path} is missing, or git does not track it")).collect()
}

/// Checks that the architecture names every package, in code font.
pub(crate) fn architecture(files: &[File], members: &[Member]) -> Vec<String> {
    let text = files.iter().find(|file| file.path == ARCHITECTURE).map_or("", |file| file.text.as_str());
    let unnamed = members.iter().filter(|member| !text.contains(&format!("`{}`", member.name)));
    unnamed.map(|member| format!("{ARCHITECTURE} does not name `{}`", member.name)).collect()
}

/// Checks that the doc of each library crate is its README, with an example that the tests compile.
pub(crate) fn readmes(files: &[File]) -> Vec<String> {
    let crates = files.iter().filter_map(|file| Some((file.path.strip_suffix("/src/lib.rs")?, file)));
    let mut faults = Vec::new();
    for (dir, lib) in crates {
        if !lib.text.starts_with(INCLUDES_README) {
            faults.push(format!("{}: its first line is not `{INCLUDES_README}`", lib.path));
        }
        let readme = format!("{dir}/README.md");
        if !files.iter().any(|file| file.path == readme && file.text.contains("\n```rust")) {
            faults.push(format!("{readme} is missing, or has no example in Rust"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::workspace::build::{file, member};
    use super::*;

    #[test]
    fn a_crate_whose_doc_is_not_its_readme_is_a_fault() {
        let lib = || file("crates/a/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n");
        let readme = || file("crates/a/README.md", "# a\n\n```rust,no_run\nrun();\n```\n");
        assert_eq!(readmes(&[readme(), lib()]), Vec::<String>::new());
        let missing = "crates/a/README.md is missing, or has no example in Rust";
        assert_eq!(readmes(&[lib()]), [missing]);
        assert_eq!(readmes(&[lib(), file("crates/a/README.md", "# a\n")]), [missing]);
        let other = file("crates/a/src/lib.rs", "//! A crate.\n");
        assert_eq!(readmes(&[readme(), other]).len(), 1);
        assert_eq!(readmes(&[file("crates/b/src/main.rs", "")]), Vec::<String>::new());
    }

    #[test]
    fn every_missing_file_is_named() {
        let all: Vec<File> = REQUIRED.iter().map(|path| file(path, "")).collect();
        assert_eq!(required_files(&all, &[]), Vec::<String>::new());
        let faults = required_files(&all[1..], &[]);
        assert_eq!(faults, ["CHANGELOG.md is missing, or git does not track it"]);
        assert_eq!(required_files(&all[1..], &["CHANGELOG.md".to_owned()]), Vec::<String>::new());
        assert_eq!(required_files(&[], &[]).len(), REQUIRED.len());
    }

    #[test]
    fn every_package_is_named_in_full() {
        let members = [member("mirror-a", &[]), member("mirror-b", &[])];
        let good = file(ARCHITECTURE, "| `mirror-a` | x |\n| `mirror-b` | y |\n");
        assert_eq!(architecture(&[good], &members), Vec::<String>::new());
        let bad = file(ARCHITECTURE, "`mirror-a` and `mirror-b-more`\n");
        assert_eq!(architecture(&[bad], &members), ["docs/architecture.md does not name `mirror-b`"]);
    }
}
