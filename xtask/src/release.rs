//! `cargo xtask release X.Y.Z`: version, changelog, package check, commit and tag, only on this machine.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use semver::Version;

use crate::cargo;
use crate::ci::PACKAGE;
use crate::dist::{git, printed};

/// The files that a release changes.
const CHANGED: [&str; 3] = ["Cargo.toml", "Cargo.lock", "CHANGELOG.md"];
const BRANCH: &str = "main";
const UNRELEASED: &str = "## Unreleased\n";

/// Options of `cargo xtask release`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The version to release.
    #[arg(value_name = "X.Y.Z")]
    version: Version,
    /// Make the release in a temporary clone, and show it.
    #[arg(long)]
    dry_run: bool,
}

/// Makes the commit and the tag; pushes nothing.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let version = &options.version;
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    check(root, version)?;
    if options.dry_run {
        let dir = tempfile::tempdir().context("could not make a temporary directory")?;
        let clone = dir.path().join("clone");
        printed(Command::new("git").args(["clone", "--quiet"]).arg(root).arg(&clone))?;
        for key in ["user.name", "user.email"] {
            git(&clone, &["config", key, git(root, &["config", key])?.trim()])?;
        }
        make(&clone, version, &today)?;
        println!("{}", git(&clone, &["show", "--stat", "--patch", &format!("v{version}")])?);
        println!("release: {version} can be made; nothing was changed here");
        return Ok(());
    }
    make(root, version, &today)?;
    println!("release: {version} is committed and tagged on this machine; to publish it:");
    println!("git push origin {BRANCH} v{version}");
    Ok(())
}

/// Checks that the repository is in a state to release.
fn check(root: &Path, version: &Version) -> anyhow::Result<()> {
    let branch = git(root, &["rev-parse", "--abbrev-ref", "HEAD"])?;
    if branch.trim() != BRANCH {
        bail!("a release is made on {BRANCH}, but this is {}; check out {BRANCH}", branch.trim());
    }
    let changed = git(root, &["status", "--porcelain"])?;
    if !changed.is_empty() {
        bail!("there are changes that are not committed:\n{changed}commit or stash them first");
    }
    let tag = format!("v{version}");
    if !git(root, &["tag", "--list", &tag])?.is_empty() {
        bail!("the tag {tag} exists already; release another version");
    }
    let manifest = read(root, "Cargo.toml")?;
    let current = current_version(&manifest)?;
    // The first release has the version that the workspace began with.
    if *version < current {
        bail!("{version} is older than the version of the workspace, {current}");
    }
    Ok(())
}

fn make(root: &Path, version: &Version, today: &str) -> anyhow::Result<()> {
    let made = change(root, version, today).and_then(|notes| record(root, version, &notes));
    if made.is_err() {
        let mut restore = vec!["restore", "--staged", "--worktree", "--"];
        restore.extend(CHANGED);
        git(root, &restore).context("could not revert the changes of the failed release")?;
    }
    made
}

/// Changes the files, and checks that the packages can be made. Returns the notes of the release.
fn change(root: &Path, version: &Version, today: &str) -> anyhow::Result<String> {
    let (changelog, notes) = cut(&read(root, "CHANGELOG.md")?, version, today)?;
    let manifest = with_version(&read(root, "Cargo.toml")?, version)?;
    write(root, "CHANGELOG.md", &changelog)?;
    write(root, "Cargo.toml", &manifest)?;
    // Only packages of the workspace change in it, so that no network is needed.
    printed(cargo().args(["update", "--workspace", "--offline", "--quiet"]).current_dir(root))?;
    let mut package = cargo();
    package.args(PACKAGE).arg("--quiet").current_dir(root);
    let status = package.status().context("cargo could not be started")?;
    if !status.success() {
        bail!("the packages of {version} cannot be made: {status}; Cargo's report is above");
    }
    Ok(notes)
}

/// Commits the files and tags the commit.
fn record(root: &Path, version: &Version, notes: &str) -> anyhow::Result<()> {
    let mut commit = vec!["commit", "--quiet", "--message"];
    let message = format!("This is version {version}");
    commit.extend([message.as_str(), "--"]);
    commit.extend(CHANGED);
    git(root, &commit)?;
    let tag = format!("v{version}");
    let message = format!("Mirror Rust Crates {version}\n\n{notes}\n");
    // Headings in the notes begin with `#`, which git would take for a comment.
    git(root, &["tag", "--annotate", "--cleanup=verbatim", "--message", &message, &tag])?;
    Ok(())
}

/// Turns the unreleased section into that of this version, and begins a new one. Returns the changelog and the notes.
fn cut(changelog: &str, version: &Version, today: &str) -> anyhow::Result<(String, String)> {
    let at = changelog.find(UNRELEASED).context("CHANGELOG.md has no section \"## Unreleased\"")?;
    let (before, rest) = (&changelog[..at], &changelog[at + UNRELEASED.len()..]);
    let notes = rest.find("\n## ").map_or(rest, |end| &rest[..end]).trim();
    if notes.is_empty() {
        bail!(
            "the section \"Unreleased\" of CHANGELOG.md is empty: list what changed since the last release"
        );
    }
    let changelog = format!("{before}{UNRELEASED}\n## {version}, {today}\n{rest}");
    Ok((changelog, notes.to_owned()))
}

fn current_version(manifest: &str) -> anyhow::Result<Version> {
    let table: toml::Table = manifest.parse().context("Cargo.toml is not TOML")?;
    let version =
        table.get("workspace").and_then(|workspace| workspace.get("package")?.get("version")?.as_str());
    let version = version.context("Cargo.toml has no version in [workspace.package]")?;
    version.parse().with_context(|| format!("{version:?} in Cargo.toml is not a version"))
}

/// Replaces the current version in the root manifest: that of the workspace, and those beside the paths of its
/// packages.
fn with_version(manifest: &str, version: &Version) -> anyhow::Result<String> {
    let old = format!("version = \"{}\"", current_version(manifest)?);
    let new = format!("version = \"{version}\"");
    let mut section = "";
    let mut text = String::new();
    for line in manifest.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            section = trimmed;
        }
        let is_own = match section {
            "[workspace.package]" => trimmed == old,
            "[workspace.dependencies]" => line.contains("path = "),
            _ => false,
        };
        text.push_str(&if is_own { line.replace(&old, &new) } else { line.to_owned() });
    }
    Ok(text)
}

fn read(root: &Path, name: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(root.join(name)).with_context(|| format!("could not read {name}"))
}

fn write(root: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    std::fs::write(root.join(name), text).with_context(|| format!("could not write {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"[workspace]
members = ["a", "b"]
resolver = "3"

[workspace.package]
version = "0.1.0"
edition = "2024"

[workspace.dependencies]
b = { version = "0.1.0", path = "b" }
"#;
    const CHANGELOG: &str =
        "# Changelog\n\n## Unreleased\n\n- It works.\n\n## 0.0.1, 2025-01-01\n\n- It begins.\n";

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    /// Makes a repository with a workspace of two packages, one of which uses the other.
    fn repository() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let member = |name: &str, dependencies: &str| {
            std::fs::create_dir_all(root.join(name).join("src")).unwrap();
            let manifest = format!(
                "[package]\nname = \"{name}\"\nversion.workspace = true\nedition.workspace = true\n\
                 description = \"A package.\"\nlicense = \"MIT\"\nrepository = \"https://example.org/\"\n{dependencies}"
            );
            write(root, &format!("{name}/Cargo.toml"), &manifest).unwrap();
            write(root, &format!("{name}/src/lib.rs"), "").unwrap();
        };
        member("a", "\n[dependencies]\nb.workspace = true\n");
        member("b", "");
        write(root, "Cargo.toml", MANIFEST).unwrap();
        write(root, "CHANGELOG.md", CHANGELOG).unwrap();
        write(root, ".gitignore", "/target\n").unwrap();
        printed(cargo().args(["generate-lockfile", "--offline", "--quiet"]).current_dir(root)).unwrap();
        git(root, &["init", "--quiet", "--initial-branch", BRANCH]).unwrap();
        for (key, value) in
            [("user.name", "A. Person"), ("user.email", "a@example.org"), ("tag.gpgSign", "false")]
        {
            git(root, &["config", key, value]).unwrap();
        }
        git(root, &["add", "."]).unwrap();
        git(root, &["commit", "--quiet", "--message", "Everything is there"]).unwrap();
        dir
    }

    fn release(root: &Path, text: &str, dry_run: bool) -> anyhow::Result<()> {
        run(root, &Options { version: version(text), dry_run })
    }

    fn fault(result: anyhow::Result<()>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn a_release_is_one_commit_and_one_tag() {
        let dir = repository();
        let root = dir.path();
        release(root, "0.2.0", false).unwrap();
        let lock = read(root, "Cargo.lock").unwrap();
        assert_eq!(lock.matches("version = \"0.2.0\"").count(), 2, "{lock}");
        let manifest = read(root, "Cargo.toml").unwrap();
        assert_eq!(manifest.matches("version = \"0.2.0\"").count(), 2, "{manifest}");
        let changelog = read(root, "CHANGELOG.md").unwrap();
        assert!(changelog.contains("## Unreleased\n\n## 0.2.0, 20"), "{changelog}");
        assert_eq!(git(root, &["status", "--porcelain"]).unwrap(), "");
        assert_eq!(git(root, &["rev-list", "--count", "HEAD"]).unwrap().trim(), "2");
        assert_eq!(git(root, &["cat-file", "-t", "v0.2.0"]).unwrap().trim(), "tag");
        let message = git(root, &["tag", "--list", "--format=%(contents)", "v0.2.0"]).unwrap();
        assert!(message.contains("- It works.") && !message.contains("It begins"), "{message}");
        // The next release has no notes yet.
        assert!(fault(release(root, "0.3.0", false)).contains("is empty"));
        assert!(fault(release(root, "0.2.0", false)).contains("tag v0.2.0 exists already"));
        assert_eq!(git(root, &["status", "--porcelain"]).unwrap(), "", "a failed release leaves nothing");
    }

    #[test]
    fn a_dry_run_changes_nothing() {
        let dir = repository();
        let before = git(dir.path(), &["for-each-ref"]).unwrap();
        release(dir.path(), "0.1.0", true).unwrap();
        assert_eq!(git(dir.path(), &["for-each-ref"]).unwrap(), before);
        assert_eq!(read(dir.path(), "Cargo.toml").unwrap(), MANIFEST);
    }

    #[test]
    fn a_state_that_cannot_be_released_is_refused() {
        let dir = repository();
        let root = dir.path();
        assert!(
            fault(release(root, "0.0.9", false)).contains("older than the version of the workspace, 0.1.0")
        );
        write(root, "new", "").unwrap();
        assert!(fault(release(root, "0.2.0", false)).contains("not committed:\n?? new"));
        std::fs::remove_file(root.join("new")).unwrap();
        git(root, &["checkout", "--quiet", "-b", "other"]).unwrap();
        assert!(fault(release(root, "0.2.0", false)).contains("made on main, but this is other"));
    }

    #[test]
    fn a_package_that_cannot_be_made_reverts_everything() {
        let dir = repository();
        let root = dir.path();
        let manifest = MANIFEST.replace("version = \"0.1.0\", path", "path");
        write(root, "Cargo.toml", &manifest).unwrap();
        git(root, &["commit", "--quiet", "--all", "--message", "Packages do not find each other"]).unwrap();
        assert!(fault(release(root, "0.2.0", false)).contains("the packages of 0.2.0 cannot be made"));
        assert_eq!(read(root, "Cargo.toml").unwrap(), manifest);
        assert_eq!(git(root, &["status", "--porcelain"]).unwrap(), "");
        assert_eq!(git(root, &["tag"]).unwrap(), "");
    }

    #[test]
    fn only_versions_of_the_workspace_change() {
        let manifest = "[workspace.package]\nversion = \"1.0.0\"\nrust-version = \"1.95\"\n\n[workspace.dependencies]\n\
                        own = { version = \"1.0.0\", path = \"own\" }\nother = { version = \"1.0.0\" }\n";
        let expected = "[workspace.package]\nversion = \"1.1.0\"\nrust-version = \"1.95\"\n\n[workspace.dependencies]\n\
                        own = { version = \"1.1.0\", path = \"own\" }\nother = { version = \"1.0.0\" }\n";
        assert_eq!(with_version(manifest, &version("1.1.0")).unwrap(), expected);
    }

    #[test]
    fn the_changelog_keeps_older_sections() {
        let (changelog, notes) = cut(CHANGELOG, &version("0.1.0"), "2026-01-02").unwrap();
        assert_eq!(notes, "- It works.");
        let expected = "# Changelog\n\n## Unreleased\n\n## 0.1.0, 2026-01-02\n\n- It works.\n\n## 0.0.1, 2025-01-01\n\n\
                        - It begins.\n";
        assert_eq!(changelog, expected);
    }
}
