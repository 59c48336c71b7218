//! Checks that every place which names the compiler's version names that of the workspace, and what the image contains.

use super::manifest::Manifest;
use super::workspace::File;
use crate::dist::PROGRAMS;

const IMAGE: &str = "docs/deploy/Containerfile";

/// Checks the versions of Rust in documents, workflows and the image: other ones would only show where they are used.
pub(crate) fn versions(root: &Manifest, files: &[File]) -> Vec<String> {
    let Some(expected) =
        root.value(&["workspace", "package", "rust-version"]).and_then(|version| version.as_str())
    else {
        return vec!["Cargo.toml: [workspace.package] has no `rust-version`".to_owned()];
    };
    let mut faults = Vec::new();
    for File { path, text } in files {
        let Some(before) = before_version(path) else { continue };
        for (line, number) in text.lines().zip(1..) {
            if let Some(found) = version_after(line, before).filter(|found| *found != expected) {
                faults.push(format!(
                    "{path}:{number}: Rust {found} is not {expected}, the `rust-version` of Cargo.toml"
                ));
            }
        }
    }
    faults
}

/// Checks that the image has every program.
pub(crate) fn programs_of_the_image(files: &[File]) -> Vec<String> {
    let Some(image) = files.iter().find(|file| file.path == IMAGE) else {
        return vec![format!("{IMAGE} is missing, or git does not track it")];
    };
    let words: Vec<&str> = image.text.split_whitespace().collect();
    let is_built = |name: &&str| words.windows(2).any(|pair| pair == ["--package", *name]);
    let is_copied = |name: &&str| words.iter().filter(|word| word.trim_end_matches(';') == *name).count() > 1;
    let missing = PROGRAMS.iter().filter(|name| !(is_built(name) && is_copied(name)));
    missing.map(|name| format!("{IMAGE}: the image has no `{name}`: build and copy it")).collect()
}

/// Returns the text before a version of Rust in files like this one.
fn before_version(path: &str) -> Option<&'static str> {
    if path == IMAGE {
        return Some("/rust:");
    }
    if path.starts_with(".github/workflows/") {
        return Some("RUST_VERSION: \"");
    }
    // The changelog is about the past.
    (path.ends_with(".md") && path != "CHANGELOG.md").then_some("Rust ")
}

fn version_after<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(before)?;
    let end =
        rest.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(rest.len());
    let version = rest[..end].trim_end_matches('.');
    version.contains('.').then_some(version)
}

#[cfg(test)]
mod tests {
    use super::super::workspace::build::file;
    use super::*;

    fn root() -> Manifest {
        Manifest::parse("[workspace.package]\nrust-version = \"1.95\"\n").unwrap()
    }

    #[test]
    fn every_place_names_the_version_of_the_workspace() {
        let good = [
            file("README.md", "You need Rust 1.95 or newer. Rust is a language.\n"),
            file(".github/workflows/ci.yml", "  RUST_VERSION: \"1.95\"\n"),
            file(IMAGE, "FROM docker.io/library/rust:1.95-bookworm AS build\n"),
            file("CHANGELOG.md", "Rust 1.90 is no longer enough.\n"),
            file("crates/x/src/lib.rs", "// Rust 1.90\n"),
        ];
        assert_eq!(versions(&root(), &good), Vec::<String>::new());
        let bad = [
            file("docs/install.md", "\nYou need Rust 1.94.\n"),
            file(".github/workflows/ci.yml", "  RUST_VERSION: \"1.96\"\n"),
            file(IMAGE, "FROM docker.io/library/rust:1.95.1-bookworm AS build\n"),
        ];
        let faults = versions(&root(), &bad);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert_eq!(faults[0], "docs/install.md:2: Rust 1.94 is not 1.95, the `rust-version` of Cargo.toml");
        assert_eq!(versions(&Manifest::default(), &[]).len(), 1);
    }

    #[test]
    fn the_image_has_every_program() {
        let packages: String = PROGRAMS.iter().map(|name| format!(" --package {name}")).collect();
        let image = |copied: &str| {
            file(IMAGE, &format!("RUN cargo build{packages} && for program in {copied}; do\n"))
        };
        assert_eq!(programs_of_the_image(&[image(&PROGRAMS.join(" "))]), Vec::<String>::new());
        let faults = programs_of_the_image(&[image(&PROGRAMS[1..].join(" "))]);
        assert_eq!(
            faults,
            ["docs/deploy/Containerfile: the image has no `archive-hasher`: build and copy it"]
        );
        assert_eq!(programs_of_the_image(&[]).len(), 1);
    }
}
