//! Checks the list of packages that the profile `release` optimises in full.

use super::manifest::Manifest;
use super::workspace::Member;

/// Packages that need no full optimisation: programs parse flags and call the libraries.
const QUICK_ENOUGH: &[&str] = &[
    "archive-hasher",
    "download-crates",
    "extract-bundles",
    "generate-sidecars",
    "mirror-cli",
    "mirror-telemetry",
    "serve-mirror",
];

/// Checks that each other package of the workspace has an entry: without one, a new package would be slow, with no
/// warning.
pub(crate) fn optimised(root: &Manifest, members: &[Member]) -> Vec<String> {
    const SECTION: &str = "profile.release.package";
    let listed = |name: &str| root.value(&["profile", "release", "package", name, "opt-level"]).is_some();
    members
        .iter()
        .map(|member| member.name.as_str())
        .filter(|name| listed(name) == QUICK_ENOUGH.contains(name))
        .map(|name| {
            if listed(name) {
                format!("Cargo.toml: `{name}` is quick enough without an entry in [{SECTION}]; remove it")
            } else {
                format!("Cargo.toml: `{name}` has no `{name}.opt-level = 3` in [{SECTION}]; add it")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::workspace::build::member;
    use super::*;

    #[test]
    fn every_package_is_optimised_or_quick_enough() {
        let root = Manifest::parse("[profile.release.package]\nmirror-fs.opt-level = 3\n").unwrap();
        let [fs, cli, other] = ["mirror-fs", "mirror-cli", "mirror-other"].map(|name| member(name, &[]));
        let faults = optimised(&root, &[fs, cli, other]);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("`mirror-other.opt-level = 3`"), "{faults:?}");
        let root = Manifest::parse("[profile.release.package]\nmirror-cli.opt-level = 3\n").unwrap();
        assert!(optimised(&root, &[member("mirror-cli", &[])])[0].contains("remove it"));
    }
}
