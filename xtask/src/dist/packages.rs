//! Finds the packages that the programs are built from, with their licences and checksums.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::build::{Build, selected};
use super::printed;
use crate::cargo;

/// The packages of the programs, by name and version.
#[derive(Debug)]
pub(crate) struct Packages {
    pub(crate) all: BTreeMap<Id, Package>,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) name: String,
    pub(crate) version: String,
}

#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) description: Option<String>,
    pub(crate) repository: Option<String>,
    /// An SPDX expression.
    pub(crate) licence: Option<String>,
    pub(crate) licence_file: Option<PathBuf>,
    pub(crate) authors: Vec<String>,
    pub(crate) directory: PathBuf,
    /// SHA-256 of its release, hexadecimal; packages of this workspace have none.
    pub(crate) checksum: Option<String>,
    /// True if its code runs in a program; false if it only runs at build time.
    pub(crate) is_shipped: bool,
    pub(crate) uses: BTreeSet<Id>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Described>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Described {
    id: String,
    name: String,
    version: String,
    description: Option<String>,
    repository: Option<String>,
    license: Option<String>,
    license_file: Option<PathBuf>,
    authors: Vec<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Packages {
    /// Asks Cargo for the packages of the programs, for one target and with their features.
    pub(crate) fn read(root: &Path, build: &Build) -> anyhow::Result<Self> {
        let tree = |edges: &str| {
            let mut command = cargo();
            command.args(["tree", "--locked", "--prefix", "none", "--format", "{p}"]).current_dir(root);
            command.args(["--edges", edges, "--target", &build.target]).args(selected());
            printed(&mut command).map(|text| listed(&text))
        };
        // Cargo also follows the dependencies of macros, which run in the compiler.
        let shipped = tree("normal,no-proc-macro")?;
        let built = tree("normal,build")?;
        let mut command = cargo();
        command.args(["metadata", "--format-version", "1", "--locked"]).current_dir(root);
        let metadata: Metadata = serde_json::from_str(&printed(&mut command)?)
            .context("could not parse the output of `cargo metadata`")?;
        let lock = std::fs::read_to_string(root.join("Cargo.lock")).context("could not read Cargo.lock")?;
        let lock: Lock = toml::from_str(&lock).context("could not parse Cargo.lock")?;
        Self::join(metadata, lock, &shipped, &built)
    }

    fn join(
        metadata: Metadata,
        lock: Lock,
        shipped: &BTreeSet<Id>,
        built: &BTreeSet<Id>,
    ) -> anyhow::Result<Self> {
        let checksum =
            |locked: Locked| Some((Id { name: locked.name, version: locked.version }, locked.checksum?));
        let checksums: BTreeMap<Id, String> = lock.package.into_iter().filter_map(checksum).collect();
        let ids: BTreeMap<String, Id> =
            metadata.packages.iter().map(|package| (package.id.clone(), package.id())).collect();
        let mut uses = uses(&metadata.resolve, &ids);
        let mut all = BTreeMap::new();
        for package in metadata.packages {
            let id = package.id();
            if !built.contains(&id) {
                continue;
            }
            let directory = package.manifest_path.parent().context("a manifest without a directory")?;
            let package = Package {
                directory: directory.to_owned(),
                description: package.description,
                repository: package.repository,
                licence: package.license,
                licence_file: package.license_file,
                authors: package.authors,
                checksum: checksums.get(&id).cloned(),
                is_shipped: shipped.contains(&id),
                uses: uses.remove(&id).unwrap_or_default().intersection(built).cloned().collect(),
            };
            all.insert(id, package);
        }
        if let Some(unknown) = built.iter().find(|id| !all.contains_key(*id)) {
            bail!("Cargo builds {} {}, but does not describe it", unknown.name, unknown.version);
        }
        let mut own = all.keys().filter(|id| super::PROGRAMS.contains(&id.name.as_str()));
        let version = own.next().context("Cargo builds none of the programs")?.version.clone();
        Ok(Self { all, version })
    }

    /// Returns the version of the workspace.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Returns the third-party packages whose code is in the programs.
    pub(crate) fn third_party(&self) -> impl Iterator<Item = (&Id, &Package)> {
        self.all.iter().filter(|(_, package)| package.is_shipped && package.checksum.is_some())
    }
}

impl Described {
    fn id(&self) -> Id {
        Id { name: self.name.clone(), version: self.version.clone() }
    }
}

/// Returns the dependencies of each package, at run time and at build time, without those of tests.
fn uses(resolve: &Resolve, ids: &BTreeMap<String, Id>) -> BTreeMap<Id, BTreeSet<Id>> {
    let mut uses = BTreeMap::new();
    for node in &resolve.nodes {
        let Some(user) = ids.get(&node.id) else { continue };
        let edges = node.deps.iter();
        let edges =
            edges.filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev")));
        let used = edges.filter_map(|edge| ids.get(&edge.pkg).cloned()).collect();
        uses.insert(user.clone(), used);
    }
    uses
}

/// Parses lines like `serde v1.0.0 (proc-macro)`.
fn listed(text: &str) -> BTreeSet<Id> {
    let id = |line: &str| {
        let (name, rest) = line.trim().split_once(" v")?;
        let version = rest.split(' ').next()?;
        Some(Id { name: name.to_owned(), version: version.to_owned() })
    };
    text.lines().filter_map(id).collect()
}

/// Builders for tests of the documents about packages.
#[cfg(test)]
pub(crate) mod make {
    use super::*;

    pub(crate) fn id(name: &str) -> Id {
        Id { name: name.to_owned(), version: "1.0.0".to_owned() }
    }

    pub(crate) fn package(directory: &Path, licence: &str, checksum: Option<&str>) -> Package {
        Package {
            description: Some("What it is.".to_owned()),
            repository: None,
            licence: Some(licence.to_owned()),
            licence_file: None,
            authors: vec!["A. Person".to_owned()],
            directory: directory.to_owned(),
            checksum: checksum.map(str::to_owned),
            is_shipped: true,
            uses: BTreeSet::new(),
        }
    }

    pub(crate) fn packages(all: impl IntoIterator<Item = (Id, Package)>) -> Packages {
        Packages { all: all.into_iter().collect(), version: "1.0.0".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tree_are_read() {
        let text = "mirror-a v0.1.0 (/x/mirror-a)\nserde v1.0.2\nserde_derive v1.0.2 (proc-macro)\n\nserde v1.0.2 (*)\n";
        let names: Vec<String> =
            listed(text).into_iter().map(|id| format!("{} {}", id.name, id.version)).collect();
        assert_eq!(names, ["mirror-a 0.1.0", "serde 1.0.2", "serde_derive 1.0.2"]);
    }

    fn metadata() -> Metadata {
        let package = |name: &str| {
            format!(
                r#"{{"id":"x#{name}","name":"{name}","version":"1.0.0","description":null,"repository":null,
                "license":"MIT","license_file":null,"authors":[],"manifest_path":"/x/{name}/Cargo.toml"}}"#
            )
        };
        let edge = |to: &str, kind: &str| format!(r#"{{"pkg":"x#{to}","dep_kinds":[{{"kind":{kind}}}]}}"#);
        let text = format!(
            r#"{{"packages":[{}],"resolve":{{"nodes":[{{"id":"x#serve-mirror","deps":[{}]}}]}}}}"#,
            ["serve-mirror", "used", "builder", "tester"].map(package).join(","),
            [edge("used", "null"), edge("builder", "\"build\""), edge("tester", "\"dev\"")].join(","),
        );
        serde_json::from_str(&text).unwrap()
    }

    fn lock() -> Lock {
        toml::from_str("[[package]]\nname = \"used\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n").unwrap()
    }

    #[test]
    fn build_dependencies_are_listed_and_not_shipped() {
        let shipped = [make::id("serve-mirror"), make::id("used")].into();
        let built = [make::id("serve-mirror"), make::id("used"), make::id("builder")].into();
        let packages = Packages::join(metadata(), lock(), &shipped, &built).unwrap();
        assert_eq!(packages.version(), "1.0.0");
        let listed: Vec<(&str, bool)> =
            packages.all.iter().map(|(id, package)| (id.name.as_str(), package.is_shipped)).collect();
        assert_eq!(listed, [("builder", false), ("serve-mirror", true), ("used", true)]);
        let program = &packages.all[&make::id("serve-mirror")];
        assert_eq!(program.uses, [make::id("builder"), make::id("used")].into());
        let others: Vec<&str> = packages.third_party().map(|(id, _)| id.name.as_str()).collect();
        assert_eq!(others, ["used"]);
        assert_eq!(packages.all[&make::id("used")].checksum.as_deref(), Some("ab"));
    }

    #[test]
    fn a_package_that_cargo_does_not_describe_is_an_error() {
        let built = [make::id("serve-mirror"), make::id("strange")].into();
        assert!(Packages::join(metadata(), lock(), &built, &built).is_err());
    }
}
