//! The commands in the documents that are not run, and why.

use std::collections::BTreeSet;

/// Document, beginning of the command, reason.
const TABLE: &[(&str, &str, &str)] = &[
    ("README.md", "cargo test --workspace", "the step `test` of the gate runs it"),
    (
        "docs/install.md",
        "sha256sum --check --ignore-missing",
        "needs the files of a release; `cargo xtask dist` makes and checks them",
    ),
    (
        "docs/install.md",
        "gpg --verify",
        "needs the files of a release; `cargo xtask dist` makes and checks them",
    ),
    (
        "docs/install.md",
        "ssh-keygen -Y verify",
        "needs the files of a release; `cargo xtask dist` makes and checks them",
    ),
    (
        "docs/install.md",
        "tar --zstd -xf mirror-rust-crates-",
        "writes to /usr/local: needs root and a release",
    ),
    ("docs/install.md", "cargo install", "builds for minutes; `cargo xtask bench p9` does it"),
    ("docs/install.md", "systemd-sysusers", "needs root and systemd"),
    ("docs/install.md", "systemctl", "needs root and systemd"),
    ("docs/install.md", "cp /usr/local/share", "needs root and an installed release"),
    ("docs/quick-start.md", "cargo install", "builds for minutes; `cargo xtask bench p9` does it"),
    ("docs/console.md", "curl -s", "asks a run that is going on"),
    ("docs/policy.md", "generate-sidecars --offered", "names a flag, and is no whole command"),
    ("docs/troubleshooting.md", "download-crates --gaps", "names a flag, and is no whole command"),
    (
        "docs/releasing.md",
        "cargo xtask release",
        "makes a release of this checkout; its own tests make one in a clone",
    ),
    ("docs/releasing.md", "git push", "shows a release to others"),
    ("docs/releasing.md", "archive-hasher sign SHA256SUMS", "needs the key of the project's releases"),
    ("docs/releasing.md", "ssh-keygen -Y sign", "needs the key of the project's releases"),
];

/// Returns the number of the row that skips a command, and its reason.
pub(super) fn of(page: &str, command: &str) -> Option<(usize, &'static str)> {
    let mut rows = TABLE.iter().enumerate();
    rows.find_map(|(number, (its_page, beginning, reason))| {
        (*its_page == page && command.starts_with(beginning)).then_some((number, *reason))
    })
}

/// Returns the rows that no command needed.
pub(super) fn unused(used: &BTreeSet<usize>) -> Vec<(&'static str, &'static str)> {
    let rows = TABLE.iter().enumerate().filter(|(number, _)| !used.contains(number));
    rows.map(|(_, (page, beginning, _))| (*page, *beginning)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_counts_for_its_document_alone() {
        assert!(of("docs/install.md", "systemctl daemon-reload").is_some());
        assert!(of("README.md", "systemctl daemon-reload").is_none());
        assert!(of("docs/install.md", "download-crates --help").is_none());
    }

    #[test]
    fn rows_that_nothing_needs_are_reported() {
        assert_eq!(unused(&BTreeSet::new()).len(), TABLE.len());
        assert!(unused(&(0..TABLE.len()).collect()).is_empty());
    }
}
