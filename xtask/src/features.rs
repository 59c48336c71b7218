//! The step `features` of the gate: compiles each package with features by itself, with none and with each of them.
//!
//! Other steps compile the whole workspace, where a package gets every feature that any other package enables. `cargo
//! xtask proof packages` compiles every package by itself, which takes too long for the gate.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::cargo;
use crate::tidy::Member;

/// Checks the combinations; stops at the first that does not compile.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    for arguments in combinations(&crate::tidy::members(root)?) {
        let status = cargo()
            .args(["clippy", "--quiet", "--locked", "--no-deps"])
            .args(&arguments)
            .args(["--", "-D", "warnings"])
            .current_dir(root)
            .status()
            .context("cargo could not be started")?;
        if !status.success() {
            bail!("`cargo clippy {}` ended with {status}; its report is above", arguments.join(" "));
        }
    }
    Ok(())
}

/// Returns the arguments of `cargo clippy` for each package with features: without them, and with each alone.
fn combinations(members: &[Member]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for Member { name, features, .. } in members.iter().filter(|member| !member.features.is_empty()) {
        let bare = ["--package", name, "--no-default-features"].map(str::to_owned).to_vec();
        let with = |feature: &String| [bare.as_slice(), &["--features".to_owned(), feature.clone()]].concat();
        let alone: Vec<_> = features.iter().filter(|feature| *feature != "default").map(with).collect();
        all.push(bare);
        all.extend(alone);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_checked_without_features_and_with_each_alone() {
        let member = |name: &str, features: &[&str]| Member {
            name: name.to_owned(),
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
            ..Member::default()
        };
        let found = combinations(&[member("a", &[]), member("b", &["default", "x", "y"])]);
        let lines: Vec<String> = found.iter().map(|arguments| arguments.join(" ")).collect();
        assert_eq!(
            lines,
            [
                "--package b --no-default-features",
                "--package b --no-default-features --features x",
                "--package b --no-default-features --features y",
            ]
        );
    }
}
