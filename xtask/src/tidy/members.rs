//! Checks the `Cargo.toml` of each package.

use toml::Value;

use super::manifest::{Entry, Manifest};
use super::workspace::{File, Member};

/// Packages that are never published.
const PRIVATE: &[&str] = &["mirror-testkit", "xtask"];

/// Settings that each package needs, and how to write them.
const INHERITED: &[(&[&str], &str)] = &[
    (&["lints", "workspace"], "`[lints] workspace = true`"),
    (&["package", "license", "workspace"], "`license.workspace = true`"),
    (&["package", "repository", "workspace"], "`repository.workspace = true`"),
    (&["package", "rust-version", "workspace"], "`rust-version.workspace = true`"),
    (&["package", "version", "workspace"], "`version.workspace = true`"),
];

/// Settings that each package for others needs.
const INHERITED_IF_PUBLIC: &[(&[&str], &str)] = &[
    (&["package", "include", "workspace"], "`include.workspace = true`, so that its package is small"),
    (&["package", "publish", "workspace"], "`publish.workspace = true`"),
];

/// Checks that each package has a description and takes lints, licence and version from the workspace; that packages
/// for others have everything that a registry shows; and that the remaining packages cannot be published.
pub(crate) fn package_sections(members: &[Member]) -> Vec<String> {
    let mut faults = Vec::new();
    for member in members {
        let Member { name, description, publish, manifest, .. } = member;
        let mut fault = |text: &str| faults.push(format!("{name}: {text}"));
        let is_public = !PRIVATE.contains(&name.as_str());
        let lines = INHERITED.iter().chain(INHERITED_IF_PUBLIC.iter().filter(|_| is_public));
        for (keys, line) in lines {
            if !manifest.is_true(keys) {
                fault(&format!("Cargo.toml lacks {line}"));
            }
        }
        if description.as_deref().is_none_or(|text| text.trim().is_empty()) {
            fault("Cargo.toml lacks a description");
        }
        let is_unpublishable = publish.as_ref().is_some_and(Vec::is_empty);
        if is_public {
            if is_unpublishable {
                fault(
                    "Cargo would not publish it, but it is not one of the private packages of this workspace",
                );
            }
            registry_page(member, &mut fault);
        } else if !is_unpublishable {
            fault("Cargo would publish it; `publish` must be false");
        }
    }
    faults
}

/// Checks the settings that a registry and docs.rs show.
fn registry_page(member: &Member, fault: &mut dyn FnMut(&str)) {
    let Member { keywords, categories, readme, is_library, manifest, .. } = member;
    // The registry refuses more keywords, and longer ones.
    if keywords.is_empty() || keywords.len() > 5 || keywords.iter().any(|word| word.len() > 20) {
        fault("Cargo.toml must have one to five `keywords` of at most 20 letters");
    }
    if categories.is_empty() || categories.len() > 5 {
        fault("Cargo.toml must have one to five `categories`");
    }
    if readme.is_none() {
        fault("it has no README; a program takes that of the workspace with `readme.workspace = true`");
    }
    if *is_library && !manifest.is_true(&["package", "metadata", "docs", "rs", "all-features"]) {
        fault("Cargo.toml lacks `[package.metadata.docs.rs] all-features = true`");
    }
}

/// Checks that each package for others includes the text of the licence.
pub(crate) fn licences(members: &[Member], files: &[File]) -> Vec<String> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let root = text("LICENSE");
    let public = members.iter().filter(|member| !PRIVATE.contains(&member.name.as_str()));
    let paths = public.map(|member| format!("crates/{}/LICENSE", member.name));
    let faulty = paths.filter(|path| text(path) != root);
    faulty.map(|path| format!("{path} must be a link to ../../LICENSE, for the package")).collect()
}

/// Checks that packages find each other in a registry: each package of this workspace has the version of the workspace
/// beside its path. Packages that are never published have none, so that published ones leave them out.
pub(crate) fn own_versions(root: &Manifest, members: &[Member]) -> Vec<String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let version = text(root.value(&["workspace", "package", "version"])).unwrap_or_default();
    let mut faults = Vec::new();
    for (name, entry) in root.workspace_dependencies() {
        if !members.iter().any(|member| member.name == name) {
            continue;
        }
        let is_private = PRIVATE.contains(&name);
        let stated = text(entry.get("version"));
        if is_private && stated.is_some() {
            faults.push(format!("Cargo.toml: `{name}` is never published, so it must not have a version"));
        }
        if !is_private && stated.as_ref() != Some(&version) {
            faults
                .push(format!("Cargo.toml: `{name}` needs `version = \"{version}\"`, that of the workspace"));
        }
    }
    faults
}

/// Checks that versions are set once, in the root manifest.
pub(crate) fn inherited_dependencies(members: &[Member]) -> Vec<String> {
    let mut faults = Vec::new();
    for Member { name, manifest, .. } in members {
        // A package may depend on itself, with features for its tests; without a version, because Cargo could not
        // package it before that version is published.
        let is_itself = |entry: &Entry<'_>| {
            entry.name == name && entry.value.get("path").and_then(Value::as_str) == Some(".")
        };
        for entry in manifest.dependencies().filter(|entry| !entry.is_inherited() && !is_itself(entry)) {
            faults.push(format!(
                "{name}: `{}` in [{}] must be `workspace = true`, with its version in the root Cargo.toml",
                entry.name, entry.section
            ));
        }
    }
    faults
}

/// Checks that each entry is used.
pub(crate) fn used_dependencies(root: &Manifest, members: &[Member]) -> Vec<String> {
    let is_used = |name: &str| {
        let mut used = members.iter().flat_map(|member| member.manifest.dependencies());
        used.any(|entry| entry.name == name)
    };
    root.workspace_dependencies()
        .map(|(name, _)| name)
        .filter(|name| !is_used(name))
        .map(|name| format!("Cargo.toml: no package uses `{name}` of [workspace.dependencies]; remove it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::workspace::build::{file, member_with_manifest};
    use super::*;

    const GOOD: &str = "[package]\nversion.workspace = true\nrust-version.workspace = true\n\
                        license.workspace = true\nrepository.workspace = true\ninclude.workspace = true\n\
                        publish.workspace = true\n\n[package.metadata.docs.rs]\nall-features = true\n\n\
                        [lints]\nworkspace = true\n";

    fn described(manifest: &str) -> Member {
        let words = |word: &str| vec![word.to_owned()];
        Member {
            description: Some("What it is.".to_owned()),
            keywords: words("mirror"),
            categories: words("filesystem"),
            readme: Some("README.md".to_owned()),
            is_library: true,
            ..member_with_manifest("a", manifest)
        }
    }

    fn private(manifest: &str) -> Member {
        Member { name: "xtask".to_owned(), publish: Some(Vec::new()), ..described(manifest) }
    }

    #[test]
    fn a_good_package_passes() {
        assert_eq!(package_sections(&[described(GOOD), private(GOOD)]), Vec::<String>::new());
    }

    #[test]
    fn every_missing_line_is_a_fault() {
        let lines: Vec<&str> = GOOD.lines().filter(|line| line.ends_with("true")).collect();
        assert_eq!(lines.len(), INHERITED.len() + INHERITED_IF_PUBLIC.len() + 1);
        for line in lines {
            let kept = GOOD.lines().filter(|other| *other != line);
            let without: String = kept.map(|line| format!("{line}\n")).collect();
            assert_eq!(package_sections(&[described(&without)]).len(), 1, "without {line}");
        }
    }

    #[test]
    fn settings_that_the_registry_shows_are_required() {
        let good = || described(GOOD);
        let long = vec!["a".repeat(21)];
        let many = vec!["a".to_owned(); 6];
        let bad = [
            Member { description: None, ..good() },
            Member { description: Some(" ".to_owned()), ..good() },
            Member { keywords: Vec::new(), ..good() },
            Member { keywords: long, ..good() },
            Member { keywords: many.clone(), ..good() },
            Member { categories: Vec::new(), ..good() },
            Member { categories: many, ..good() },
            Member { readme: None, ..good() },
        ];
        for member in bad {
            assert_eq!(package_sections(std::slice::from_ref(&member)).len(), 1, "{member:?}");
        }
    }

    #[test]
    fn only_private_packages_cannot_be_published() {
        for publish in [None, Some(vec!["somewhere".to_owned()])] {
            let faults = package_sections(&[Member { publish, ..private(GOOD) }]);
            assert_eq!(faults, ["xtask: Cargo would publish it; `publish` must be false"]);
        }
        let faults = package_sections(&[Member { publish: Some(Vec::new()), ..described(GOOD) }]);
        assert!(faults[0].starts_with("a: Cargo would not publish it"), "{faults:?}");
    }

    #[test]
    fn a_package_without_the_licence_is_a_fault() {
        let root = || file("LICENSE", "Do as you like.\n");
        let members = [described(GOOD), private(GOOD)];
        let good = [root(), file("crates/a/LICENSE", "Do as you like.\n")];
        assert_eq!(licences(&members, &good), Vec::<String>::new());
        assert_eq!(licences(&members, &[root()]).len(), 1);
        assert_eq!(licences(&members, &[root(), file("crates/a/LICENSE", "../../LICENSE")]).len(), 1);
    }

    #[test]
    fn packages_find_each_other_by_version() {
        let root = |a: &str, xtask: &str| {
            Manifest::parse(&format!(
                "[workspace.package]\nversion = \"1.2.3\"\n\n[workspace.dependencies]\nother = \"1\"\n\
                 a = {{ {a}path = \"crates/a\" }}\nxtask = {{ {xtask}path = \"xtask\" }}\n"
            ))
            .unwrap()
        };
        let members = [described(GOOD), private(GOOD)];
        let versioned = "version = \"1.2.3\", ";
        assert_eq!(own_versions(&root(versioned, ""), &members), Vec::<String>::new());
        assert_eq!(own_versions(&root("", ""), &members).len(), 1);
        assert_eq!(own_versions(&root("version = \"1.2.2\", ", ""), &members).len(), 1);
        assert_eq!(own_versions(&root(versioned, versioned), &members).len(), 1);
    }

    #[test]
    fn versions_are_set_in_the_root() {
        let good = member_with_manifest("a", "[dependencies]\nx.workspace = true\n");
        assert_eq!(inherited_dependencies(&[good]), Vec::<String>::new());
        let bad = member_with_manifest("a", "[dev-dependencies]\nx = \"1\"\ny = { path = \"../y\" }\n");
        let faults = inherited_dependencies(&[bad]);
        assert_eq!(faults.len(), 2);
        assert!(faults[0].starts_with("a: `x` in [dev-dependencies]"), "{faults:?}");
        let itself =
            member_with_manifest("a", "[dev-dependencies]\na = { path = \".\", features = [\"x\"] }\n");
        assert_eq!(inherited_dependencies(&[itself]), Vec::<String>::new());
    }

    #[test]
    fn unused_entries_are_faults() {
        let root = Manifest::parse("[workspace.dependencies]\nx = \"1\"\ny = { version = \"1\" }\n").unwrap();
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
