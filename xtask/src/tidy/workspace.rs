//! Reads the input of the checks: packages from Cargo, files from git.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::manifest::Manifest;
use super::trees::{self, Tree};
use crate::cargo;

#[derive(Debug)]
pub(crate) struct Workspace {
    /// The root manifest.
    pub(crate) root: Manifest,
    pub(crate) members: Vec<Member>,
    pub(crate) trees: Vec<Tree>,
    /// Tracked text files.
    pub(crate) files: Vec<File>,
    /// Tracked files that are not text.
    pub(crate) other_paths: Vec<String>,
}

/// One package of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// The registries to which Cargo would publish it: `None` means any, an empty list none.
    pub(crate) publish: Option<Vec<String>>,
    pub(crate) keywords: Vec<String>,
    pub(crate) categories: Vec<String>,
    /// The path of its README.
    pub(crate) readme: Option<String>,
    /// True if other packages can use it.
    pub(crate) is_library: bool,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: Vec<String>,
    pub(crate) manifest: Manifest,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    #[serde(deserialize_with = "kind")]
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

/// One tracked text file; the path has forward slashes and starts at the root.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    description: Option<String>,
    publish: Option<Vec<String>>,
    keywords: Vec<String>,
    categories: Vec<String>,
    readme: Option<String>,
    targets: Vec<Target>,
    dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
    manifest_path: String,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

fn kind<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None => Ok(Kind::Normal),
        Some("build") => Ok(Kind::Build),
        Some("dev") => Ok(Kind::Dev),
        Some(other) => Err(serde::de::Error::custom(format!("unknown kind of dependency: {other}"))),
    }
}

impl Workspace {
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let (files, other_paths) = tracked_files(root)?;
        Ok(Self {
            root: manifest(&root.join("Cargo.toml"))?,
            members: members(root)?,
            trees: trees::programs().map(|program| tree(root, program)).collect::<Result<_, _>>()?,
            files,
            other_paths,
        })
    }
}

/// Asks Cargo for the packages of the workspace.
pub(crate) fn members(root: &Path) -> anyhow::Result<Vec<Member>> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(root);
    let metadata: Metadata = serde_json::from_slice(&output(&mut command)?)
        .context("could not parse the output of `cargo metadata`")?;
    metadata.packages.into_iter().map(member).collect()
}

fn member(package: Package) -> anyhow::Result<Member> {
    Ok(Member {
        manifest: manifest(Path::new(&package.manifest_path))?,
        name: package.name,
        description: package.description,
        publish: package.publish,
        keywords: package.keywords,
        categories: package.categories,
        readme: package.readme,
        is_library: package.targets.iter().flat_map(|target| &target.kind).any(|kind| kind == "lib"),
        dependencies: package.dependencies,
        features: package.features.into_keys().collect(),
    })
}

fn tree(root: &Path, program: &str) -> anyhow::Result<Tree> {
    let mut command = cargo();
    command.args(["tree", "--package", program, "--edges", "normal,build", "--prefix", "none"]);
    let printed = output(command.args(["--format", "{p}"]).current_dir(root))?;
    Ok(Tree::parse(program, &String::from_utf8_lossy(&printed)))
}

fn manifest(path: &Path) -> anyhow::Result<Manifest> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Manifest::parse(&text).with_context(|| format!("cannot parse {}", path.display()))
}

fn tracked_files(root: &Path) -> anyhow::Result<(Vec<File>, Vec<String>)> {
    let listing = output(Command::new("git").args(["ls-files", "-z"]).current_dir(root))?;
    let listing = String::from_utf8(listing).context("a tracked file has a name that is not UTF-8")?;
    let (mut files, mut other_paths) = (Vec::new(), Vec::new());
    for path in listing.split_terminator('\0') {
        let bytes = match std::fs::read(root.join(path)) {
            Ok(bytes) => bytes,
            // Deleted in the working tree, but not committed yet: the commit will not have it either.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
        };
        match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => files.push(File { path: path.to_owned(), text }),
            _ => other_paths.push(path.to_owned()),
        }
    }
    Ok((files, other_paths))
}

fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {}", output.status, reason.trim_end());
    }
    Ok(output.stdout)
}

/// Builders for the tests of the checks.
#[cfg(test)]
pub(crate) mod build {
    use super::{Dependency, File, Kind, Manifest, Member};

    pub(crate) fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn member(name: &str, dependencies: &[(&str, Kind)]) -> Member {
        let dependencies =
            dependencies.iter().map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: *kind });
        Member { name: name.to_owned(), dependencies: dependencies.collect(), ..Member::default() }
    }

    pub(crate) fn member_with_manifest(name: &str, text: &str) -> Member {
        Member { manifest: Manifest::parse(text).unwrap(), ..member(name, &[]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_dependencies_are_read() {
        let text = r#"[{"name":"a","kind":null},{"name":"b","kind":"build"},{"name":"c","kind":"dev"}]"#;
        let read: Vec<Dependency> = serde_json::from_str(text).unwrap();
        let kinds: Vec<Kind> = read.iter().map(|dependency| dependency.kind).collect();
        assert_eq!(kinds, [Kind::Normal, Kind::Build, Kind::Dev]);
        assert!(serde_json::from_str::<Dependency>(r#"{"name":"d","kind":"odd"}"#).is_err());
    }
}
