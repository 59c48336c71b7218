//! `cargo xtask dist`: builds the archive of a release for one target, with everything that belongs to it.
//!
//! Two runs on one commit write the same bytes, wherever the repository is: paths are mapped, times are those of the
//! commit, and lists are sorted. `--check` proves it.

mod archive;
mod build;
mod check;
mod licences;
mod packages;
mod sbom;
mod sums;
mod trial;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use archive::{Content, Entry};
pub(crate) use build::in_place_of_rustc;
use build::{Build, Wrapper};
use packages::Packages;

/// The name of the product, before version and target.
const PRODUCT: &str = "mirror-rust-crates";

/// The programs of a release.
pub(crate) const PROGRAMS: &[&str] =
    &["archive-hasher", "download-crates", "extract-bundles", "generate-sidecars", "serve-mirror"];

/// Options of `cargo xtask dist`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Cargo profile of the programs; `dev` makes a larger archive in less time, to try this command.
    #[arg(long, value_name = "NAME", default_value = "dist")]
    profile: String,
    /// Target of the programs, which must run on this machine: they write their own man pages. Default: this machine's.
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Directory for the archive, the SBOM and the sums. Default: `reproducible/dist` in Cargo's target directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Armored private OpenPGP key that signs the sums, with archive-hasher; its passphrase is read from the
    /// environment variable ARCHIVE_HASHER_PASSPHRASE.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// SSH key that signs the sums, with ssh-keygen; its private half may be with an agent.
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    /// Include uncommitted changes; the archive is not a release then.
    #[arg(long)]
    allow_dirty: bool,
    /// Build the last commit twice, in two clones in different directories, and compare every byte.
    #[arg(long, conflicts_with_all = ["allow_dirty", "key", "ssh_key"])]
    check: bool,
}

/// The results of one run.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) archive: PathBuf,
    pub(crate) sbom: PathBuf,
    pub(crate) sums: PathBuf,
}

/// Makes the archive, or checks that two builds are equal.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let wrapper = Wrapper::copy()?;
    if options.check {
        return check::run(root, options, &wrapper);
    }
    let target_dir = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    };
    // Cargo does not see the flags that replace paths, so it would reuse what was built without them.
    let made = make(root, options, &target_dir.join("reproducible"), &wrapper)?;
    for path in [&made.archive, &made.sbom, &made.sums] {
        println!("{}", path.display());
    }
    Ok(())
}

/// Builds below a target directory, and writes the archive and the files that go with it.
fn make(root: &Path, options: &Options, target_dir: &Path, wrapper: &Wrapper) -> anyhow::Result<Made> {
    // Paths in programs are mapped as the compiler sees them: without links.
    let root = &root.canonicalize().with_context(|| format!("could not find {}", root.display()))?;
    if !options.allow_dirty {
        refuse_dirty(root)?;
    }
    let epoch = commit_time(root)?;
    let build =
        Build::prepare(root, target_dir, &options.profile, options.target.as_deref(), epoch, wrapper)?;
    let packages = Packages::read(root, &build)?;
    let name = format!("{PRODUCT}-{}-{}", packages.version(), build.target);
    let out = options.out.clone().unwrap_or_else(|| build.target_dir.join("dist"));
    std::fs::create_dir_all(&out).with_context(|| format!("could not make {}", out.display()))?;

    println!(
        "dist: building {} programs for {} in the profile {}",
        PROGRAMS.len(),
        build.target,
        build.profile
    );
    let built = build.programs()?;
    let sbom = sbom::document(&packages, &build, epoch)?;
    let mut entries = documents(root, &packages, &build)?;
    entries.insert(format!("share/doc/{PRODUCT}/sbom.cdx.json"), Entry::file(sbom.clone()));
    for program in &built.programs {
        entries.extend(of_program(&build, program)?);
    }

    let made = Made {
        archive: out.join(format!("{name}.tar.zst")),
        sbom: out.join(format!("{name}.cdx.json")),
        sums: out.join("SHA256SUMS"),
    };
    archive::write(&made.archive, &name, &entries, epoch, build.compression_level())?;
    std::fs::write(&made.sbom, &sbom).with_context(|| format!("could not write {}", made.sbom.display()))?;
    sums::write(&made.sums, &[&made.archive, &made.sbom])?;
    let hasher = built.programs.iter().find(|program| program.name == "archive-hasher");
    let keys = sums::Keys { openpgp: options.key.as_deref(), ssh: options.ssh_key.as_deref() };
    sums::sign(&made.sums, &keys, hasher.map(|program| program.path.as_path()))?;
    trial::run(&made, &build, &built)?;
    Ok(made)
}

/// Returns a program, its man pages and its completions, each at its path below an installation prefix.
fn of_program(build: &Build, program: &build::Program) -> anyhow::Result<BTreeMap<String, Entry>> {
    let name = program.name;
    let mut entries = BTreeMap::new();
    entries.insert(format!("bin/{}", program.file_name), Entry::program(program.path.clone()));
    for command in build.generated(program, &[], "commands")?.lines() {
        let below: Vec<&str> = command.split(' ').skip(1).collect();
        let page = build.generated(program, &below, "man")?;
        let path = format!("share/man/man1/{}.1", command.replace(' ', "-"));
        entries.insert(path, Entry::file(page));
    }
    for (shell, path) in [
        ("bash", format!("share/bash-completion/completions/{name}")),
        ("zsh", format!("share/zsh/site-functions/_{name}")),
        ("fish", format!("share/fish/vendor_completions.d/{name}.fish")),
        ("elvish", format!("share/elvish/lib/{name}.elv")),
        ("powershell", format!("share/powershell/{name}.ps1")),
    ] {
        entries.insert(path, Entry::file(build.generated(program, &[], shell)?));
    }
    Ok(entries)
}

/// Returns the documents, and the units for systemd.
fn documents(root: &Path, packages: &Packages, build: &Build) -> anyhow::Result<BTreeMap<String, Entry>> {
    let doc = format!("share/doc/{PRODUCT}");
    let listed = git(root, &["ls-files", "-z", "--", "docs", "README.md", "CHANGELOG.md", "LICENSE"])?;
    let mut entries = BTreeMap::new();
    for path in listed.split_terminator('\0') {
        if path.starts_with("docs/api/") {
            // These are for reviewers; readers have docs.rs.
            continue;
        }
        let bytes = std::fs::read(root.join(path)).with_context(|| format!("could not read {path}"))?;
        let place = match path.strip_prefix("docs/deploy/") {
            Some(unit) if unit.ends_with(".service") || unit.ends_with(".timer") => {
                format!("lib/systemd/system/{unit}")
            }
            Some(user) if user.ends_with(".sysusers") => format!("lib/sysusers.d/{PRODUCT}.conf"),
            _ => format!("{doc}/{path}"),
        };
        entries.insert(place, Entry { is_program: false, content: Content::Bytes(bytes) });
    }
    entries.insert(format!("{doc}/THIRD-PARTY-LICENSES.txt"), Entry::file(licences::text(packages, build)?));
    Ok(entries)
}

fn refuse_dirty(root: &Path) -> anyhow::Result<()> {
    let changed = git(root, &["status", "--porcelain"])?;
    if changed.is_empty() {
        return Ok(());
    }
    bail!(
        "a release is made of a commit, and {} has changes that are not committed:\n{changed}commit them, or try with \
         --allow-dirty",
        root.display()
    )
}

/// Returns the time of the last commit, in seconds since 1970. Everything in the archive has this time.
fn commit_time(root: &Path) -> anyhow::Result<u64> {
    let text = git(root, &["log", "-1", "--format=%ct"])?;
    text.trim().parse().with_context(|| format!("git gave {text:?} as the time of the last commit"))
}

/// Runs git in a repository and returns what it prints.
pub(crate) fn git(root: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    printed(Command::new("git").args(arguments).current_dir(root))
}

/// Runs a command to its end and returns what it prints.
pub(crate) fn printed(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("could not start {command:?}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {}", output.status, reason.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} printed text that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(entry: &Entry) -> &[u8] {
        match &entry.content {
            Content::Bytes(bytes) => bytes,
            Content::File(path) => panic!("{} is a file", path.display()),
        }
    }

    /// Checks everything in an archive but the programs, made from this workspace.
    #[test]
    fn documents_of_this_workspace_are_complete() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
        let target = tempfile::tempdir().unwrap();
        let wrapper = Wrapper::copy().unwrap();
        let build = Build::prepare(&root, target.path(), "dist", None, 1_700_000_000, &wrapper).unwrap();
        let packages = Packages::read(&root, &build).unwrap();
        assert!(packages.third_party().count() > 100);
        for (id, package) in packages.third_party() {
            assert!(package.licence.is_some(), "{id:?} has no licence");
        }
        let shipped =
            |name: &str| packages.all.iter().any(|(id, package)| id.name == name && package.is_shipped);
        assert!(shipped("serde") && !shipped("serde_derive") && !shipped("mirror-testkit"));
        let bill = sbom::document(&packages, &build, 1_700_000_000).unwrap();
        assert!(bill.contains("\"purl\": \"pkg:cargo/serde@"), "{bill}");

        let entries = documents(&root, &packages, &build).unwrap();
        for path in [
            "lib/systemd/system/download-crates.service",
            "lib/systemd/system/download-crates.timer",
            "lib/systemd/system/serve-mirror.service",
            "lib/sysusers.d/mirror-rust-crates.conf",
            "share/doc/mirror-rust-crates/CHANGELOG.md",
            "share/doc/mirror-rust-crates/LICENSE",
            "share/doc/mirror-rust-crates/docs/install.md",
            "share/doc/mirror-rust-crates/docs/deploy/mirror-rust-crates.env",
        ] {
            assert!(entries.contains_key(path), "{path}: {:?}", entries.keys());
        }
        let licences = bytes(&entries["share/doc/mirror-rust-crates/THIRD-PARTY-LICENSES.txt"]);
        let licences = String::from_utf8_lossy(licences);
        for (id, _) in packages.third_party() {
            assert!(licences.contains(&format!("\n{} {}: ", id.name, id.version)), "{id:?}");
        }
    }
}
