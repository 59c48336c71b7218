//! The `Cargo.toml` of each package.

use super::manifest::Manifest;
use super::workspace::Member;

/// Checks that each package takes lints and licence from the workspace, says what it is, and is never published by
/// accident.
pub(crate) fn package_sections(members: &[Member]) -> Vec<String> {
    let mut faults = Vec::new();
    for Member { name, description, publish, manifest, .. } in members {
        let mut fault = |text: &str| faults.push(format!("{name}: {text}"));
        if manifest.value("lints", "workspace") != Some("true") {
            fault("Cargo.toml lacks `[lints] workspace = true`");
        }
        if description.as_deref().is_none_or(|text| text.trim().is_empty()) {
            fault("Cargo.toml lacks a description");
        }
        if manifest.value("package", "license.workspace") != Some("true") {
            fault("Cargo.toml lacks `license.workspace = true`");
        }
        // The workspace says `publish = false` once, for all.
        if manifest.value("package", "publish.workspace") != Some("true") {
            fault("Cargo.toml lacks `publish.workspace = true`");
        }
        if publish.as_ref().is_none_or(|registries| !registries.is_empty()) {
            fault("cargo would publish it; `publish` must be false");
        }
    }
    faults
}

/// Checks that versions are chosen once, in the root manifest.
pub(crate) fn inherited_dependencies(members: &[Member]) -> Vec<String> {
    let mut faults = Vec::new();
    for Member { name, manifest, .. } in members {
        for entry in manifest.dependencies().filter(|entry| !entry.is_inherited()) {
            faults.push(format!(
                "{name}: `{}` in [{}] must be `workspace = true`, with its version in the root Cargo.toml",
                entry.key, entry.section
            ));
        }
    }
    faults
}

/// Checks that each entry is used: one that nobody uses is a decision that nobody looks after.
pub(crate) fn used_dependencies(root: &Manifest, members: &[Member]) -> Vec<String> {
    let is_used = |name: &str| {
        let mut used = members.iter().flat_map(|member| member.manifest.dependencies());
        used.any(|entry| entry.dependency() == name)
    };
    root.section("workspace.dependencies")
        .map(super::manifest::Entry::dependency)
        .filter(|name| !is_used(name))
        .map(|name| format!("Cargo.toml: no package uses `{name}` of [workspace.dependencies]; remove it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::workspace::build::member_with_manifest;
    use super::*;

    const GOOD: &str = "[package]\nlicense.workspace = true\npublish.workspace = true\n\n\
                        [lints]\nworkspace = true\n";

    fn described(manifest: &str) -> Member {
        let member = member_with_manifest("a", manifest);
        Member { description: Some("What it is.".to_owned()), publish: Some(Vec::new()), ..member }
    }

    #[test]
    fn a_good_package_passes() {
        assert_eq!(package_sections(&[described(GOOD)]), Vec::<String>::new());
    }

    #[test]
    fn every_missing_line_is_a_fault() {
        for line in ["license.workspace = true\n", "publish.workspace = true\n", "workspace = true\n"] {
            // The last of the three is the end of the others, so it is taken from the end of the text.
            let at = GOOD.rfind(line).unwrap();
            let without = format!("{}{}", &GOOD[..at], &GOOD[at + line.len()..]);
            assert_eq!(package_sections(&[described(&without)]).len(), 1, "without {line}");
        }
        assert_eq!(package_sections(&[Member { description: None, ..described(GOOD) }]).len(), 1);
        let blank = Some(" ".to_owned());
        assert_eq!(package_sections(&[Member { description: blank, ..described(GOOD) }]).len(), 1);
    }

    #[test]
    fn what_can_be_published_is_a_fault() {
        for publish in [None, Some(vec!["somewhere".to_owned()])] {
            let faults = package_sections(&[Member { publish, ..described(GOOD) }]);
            assert_eq!(faults, ["a: cargo would publish it; `publish` must be false"]);
        }
    }

    #[test]
    fn versions_stand_in_the_root() {
        let good = member_with_manifest("a", "[dependencies]\nx.workspace = true\n");
        assert_eq!(inherited_dependencies(&[good]), Vec::<String>::new());
        let bad = member_with_manifest("a", "[dev-dependencies]\nx = \"1\"\ny = { path = \"../y\" }\n");
        let faults = inherited_dependencies(&[bad]);
        assert_eq!(faults.len(), 2);
        assert!(faults[0].starts_with("a: `x` in [dev-dependencies]"), "{faults:?}");
    }

    #[test]
    fn unused_entries_are_faults() {
        let root = Manifest::parse("[workspace.dependencies]\nx = \"1\"\ny = { version = \"1\" }\n");
        let uses_x = || member_with_manifest("a", "[dependencies]\nx.workspace = true\n");
        let uses_y = member_with_manifest(
            "b",
            "[target.'cfg(unix)'.dependencies]\ny = { workspace = true, features = [\"z\"] }\n",
        );
        assert_eq!(used_dependencies(&root, &[uses_x(), uses_y]), Vec::<String>::new());
        let faults = used_dependencies(&root, &[uses_x()]);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("`y`"), "{faults:?}");
    }
}
