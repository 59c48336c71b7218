//! Builds the programs without any trace of this machine.
//!
//! The compiler can replace paths, by flags that contain them. Cargo must not see these flags: it names directories
//! after a hash of all flags, and such names get into programs, too. So this program wraps the compiler and adds the
//! flags.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::packages::Id;
use super::{PROGRAMS, printed};
use crate::cargo;

/// The variable with the added flags, and their separator.
const FLAGS: &str = "XTASK_RUSTC_FLAGS";
const SEPARATOR: &str = "\u{1f}";

/// Variables that change what compilers do, and are removed; the flags of `.cargo/config.toml` stay.
const FOREIGN: &[&str] = &[
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CFLAGS",
    "CPPFLAGS",
    "CXXFLAGS",
    "LDFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
];

/// The paths that replace those of this machine in programs.
const WORKSPACE: &str = "/build/mirror-rust-crates";
const TARGET_DIR: &str = "/build/target";
const CARGO_HOME: &str = "/build/cargo";

/// The settings with which the programs are built.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) root: PathBuf,
    pub(crate) target_dir: PathBuf,
    pub(crate) target: String,
    pub(crate) profile: String,
    /// `rustc 1.95.0 (…)`.
    pub(crate) compiler: String,
    pub(crate) sysroot: PathBuf,
    epoch: u64,
    /// Wraps the compiler.
    wrapper: PathBuf,
}

/// A copy of this program, which wraps the compiler: cargo may replace this program while a build of an hour goes on.
#[derive(Debug)]
pub(crate) struct Wrapper {
    dir: tempfile::TempDir,
}

/// The programs that were built, and the packages that Cargo compiled for them: those whose code can be in a program.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) programs: Vec<Program>,
    pub(crate) compiled: BTreeSet<Id>,
}

/// A program that was built.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) file_name: String,
    pub(crate) path: PathBuf,
}

impl Wrapper {
    /// Copies this program; the copy is removed when the value is dropped.
    pub(crate) fn copy() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("the path of this program is unknown")?;
        let wrapper = Self { dir: tempfile::tempdir().context("could not make a temporary directory")? };
        std::fs::copy(&own, wrapper.path()).with_context(|| format!("could not copy {}", own.display()))?;
        Ok(wrapper)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join(format!("xtask{}", std::env::consts::EXE_SUFFIX))
    }
}

impl Build {
    /// Asks the compiler for its version.
    pub(crate) fn prepare(
        root: &Path,
        target_dir: &Path,
        profile: &str,
        target: Option<&str>,
        epoch: u64,
        wrapper: &Wrapper,
    ) -> anyhow::Result<Self> {
        let rustc = || {
            let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
            command.current_dir(root);
            command
        };
        let verbose = printed(rustc().arg("-vV"))?;
        let host = verbose.lines().find_map(|line| line.strip_prefix("host: "));
        let target =
            target.or(host).context("rustc does not report the target of this machine; give --target")?;
        let compiler = verbose.lines().next().unwrap_or_default();
        let sysroot = printed(rustc().args(["--print", "sysroot"]))?;
        std::fs::create_dir_all(target_dir)
            .with_context(|| format!("could not make {}", target_dir.display()))?;
        Ok(Self {
            root: root.to_owned(),
            target_dir: target_dir.canonicalize().context("the target directory vanished")?,
            target: target.to_owned(),
            profile: profile.to_owned(),
            compiler: compiler.to_owned(),
            sysroot: PathBuf::from(sysroot.trim_end()),
            epoch,
            wrapper: wrapper.path(),
        })
    }

    /// Builds the programs.
    pub(crate) fn programs(&self) -> anyhow::Result<Built> {
        let mut command = self.cargo()?;
        let Self { profile, target, .. } = self;
        // Strips debug information, but not the symbol table, from which CPU profiles take function names.
        let strip = format!("profile.{profile}.strip=\"debuginfo\"");
        command.args(["build", "--locked", "--bins", "--profile", profile, "--target", target]);
        command.args(["--config", &strip, "--message-format", "json-render-diagnostics"]).args(selected());
        // Messages for people go to the standard error.
        command.stderr(Stdio::inherit());
        let output = command.output().context("cargo could not be started")?;
        if !output.status.success() {
            bail!("cargo ended with {}; its report is above", output.status);
        }
        let messages = String::from_utf8(output.stdout).context("cargo printed text that is not UTF-8")?;
        // Only the directory of the profile `dev` has another name than its profile.
        let dir = if profile == "dev" { "debug" } else { profile };
        let dir = self.target_dir.join(target).join(dir);
        let ending = if target.contains("windows") { ".exe" } else { "" };
        let program = |name: &'static str| {
            let file_name = format!("{name}{ending}");
            Program { name, path: dir.join(&file_name), file_name }
        };
        Ok(Built {
            compiled: compiled(&messages, &self.target_dir.join(target))?,
            programs: PROGRAMS.iter().copied().map(program).collect(),
        })
    }

    /// Runs a program that prints something about its own flags.
    pub(crate) fn generated(&self, program: &Program, below: &[&str], kind: &str) -> anyhow::Result<String> {
        let mut command = Command::new(&program.path);
        command.args(below).args(["--generate", kind]).env("SOURCE_DATE_EPOCH", self.epoch.to_string());
        printed(&mut command)
    }

    /// Returns the compression level: a high one is worth its time only for a release.
    pub(crate) fn compression_level(&self) -> i32 {
        if self.profile == "dist" { 19 } else { 3 }
    }

    /// Returns a Cargo command whose results depend only on the sources and the toolchain.
    fn cargo(&self) -> anyhow::Result<Command> {
        let mut command = cargo();
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target_dir);
        for variable in FOREIGN {
            command.env_remove(variable);
        }
        let c_flags = format!("CFLAGS_{}", self.target.replace('-', "_"));
        command
            .env("RUSTC_WRAPPER", &self.wrapper)
            .env(FLAGS, self.rust_flags()?.join(SEPARATOR))
            .env(c_flags, self.c_flags()?)
            .env("CARGO_INCREMENTAL", "0")
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string())
            // Keeps Apple's tools from writing the time into object libraries.
            .env("ZERO_AR_DATE", "1")
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        Ok(command)
    }

    fn rust_flags(&self) -> anyhow::Result<Vec<String>> {
        let mapped = self.mapped()?;
        let mut flags: Vec<String> =
            mapped.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")).collect();
        if self.target.ends_with("msvc") {
            // The linker writes a hash instead of the time.
            flags.extend(["-C".to_owned(), "link-arg=/Brepro".to_owned()]);
        }
        Ok(flags)
    }

    /// Returns the flags of C code: SQLite and zstd name their sources in assertions.
    fn c_flags(&self) -> anyhow::Result<String> {
        if self.target.ends_with("msvc") {
            return Ok(String::new());
        }
        let flags = self.mapped()?;
        let flags: Vec<String> =
            flags.iter().map(|(from, to)| format!("-ffile-prefix-map={from}={to}")).collect();
        if let Some(flag) = flags.iter().find(|flag| flag.contains(char::is_whitespace)) {
            bail!(
                "flags for C compilers are separated by spaces, and this one contains some: {flag}; build in another \
                 directory"
            );
        }
        Ok(flags.join(" "))
    }

    /// Returns the paths of this machine that must not be in programs.
    pub(crate) fn own_paths(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.mapped()?.into_iter().map(|(path, _)| path).collect())
    }

    /// Returns the paths of this machine and their replacements. The last that matches counts.
    fn mapped(&self) -> anyhow::Result<Vec<(String, &'static str)>> {
        let home = match std::env::var_os("CARGO_HOME") {
            Some(home) => PathBuf::from(home),
            None => {
                std::env::home_dir().context("there is no home directory; set CARGO_HOME")?.join(".cargo")
            }
        };
        let paths =
            [(home, CARGO_HOME), (self.root.clone(), WORKSPACE), (self.target_dir.clone(), TARGET_DIR)];
        let text = |(path, to): (PathBuf, &'static str)| {
            let path = path.into_os_string().into_string();
            let path = path.map_err(|path| anyhow::anyhow!("{} is not UTF-8", Path::new(&path).display()));
            Ok((path?, to))
        };
        paths.into_iter().map(text).collect()
    }
}

/// A message of `cargo build --message-format json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Returns the packages that were compiled for the target, whose files Cargo puts below `dir`. Macros and build scripts are
/// compiled for this machine, into another directory.
fn compiled(messages: &str, dir: &Path) -> anyhow::Result<BTreeSet<Id>> {
    let mut found = BTreeSet::new();
    for line in messages.lines() {
        let message: Message = serde_json::from_str(line)
            .with_context(|| format!("could not parse a message of cargo: {line}"))?;
        if message.reason == "compiler-artifact" && message.filenames.iter().any(|file| file.starts_with(dir))
        {
            let id = message.package_id.as_deref().and_then(id_of);
            found.insert(id.with_context(|| format!("cargo names no package: {line}"))?);
        }
    }
    Ok(found)
}

/// Parses the id of a package: `registry+https://…#name@version`, or `path+file:///…/name#version`.
fn id_of(package: &str) -> Option<Id> {
    let (source, fragment) = package.split_once('#')?;
    let (name, version) = match fragment.split_once('@') {
        Some((name, version)) => (name, version),
        None => (source.rsplit('/').next()?, fragment),
    };
    Some(Id { name: name.to_owned(), version: version.to_owned() })
}

/// Runs the compiler with the added flags, when this program was started as its wrapper.
pub(crate) fn in_place_of_rustc() -> Option<ExitCode> {
    let flags = std::env::var(FLAGS).ok()?;
    let mut arguments = std::env::args_os().skip(1);
    let mut command = Command::new(arguments.next()?);
    command.args(arguments).args(flags.split(SEPARATOR));
    let status = command.status().ok();
    Some(status.filter(std::process::ExitStatus::success).map_or(ExitCode::FAILURE, |_| ExitCode::SUCCESS))
}

/// Returns the arguments that select only the programs: other packages would enable features.
pub(crate) fn selected() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().flat_map(|program| ["--package", program])
}

#[cfg(test)]
impl Build {
    /// Returns a build that never runs.
    pub(crate) fn of_a_test(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            target_dir: root.join("target"),
            target: "x86_64-unknown-linux-gnu".to_owned(),
            profile: "dist".to_owned(),
            compiler: "rustc 1.95.0".to_owned(),
            sysroot: root.join("rust"),
            epoch: 1,
            wrapper: root.join("xtask"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(root: &str) -> Build {
        Build::of_a_test(Path::new(root))
    }

    #[test]
    fn flags_contain_paths_only_to_replace_them() {
        let build = build("/home/a/here");
        let flags = build.rust_flags().unwrap();
        assert!(flags.contains(&"--remap-path-prefix=/home/a/here=/build/mirror-rust-crates".to_owned()));
        // A directory comes after its parent: the last that matches counts.
        let place = |path: &str| flags.iter().position(|flag| flag.contains(path)).unwrap();
        assert!(place("/home/a/here/target=") > place("/home/a/here="));
        assert!(build.c_flags().unwrap().contains("-ffile-prefix-map=/home/a/here/target=/build/target"));
    }

    #[test]
    fn c_code_cannot_be_built_below_a_path_with_spaces() {
        assert!(build("/home/a b").c_flags().is_err());
    }

    #[test]
    fn what_was_compiled_for_the_target_is_read_from_messages() {
        let artifact = |id: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"{id}","filenames":["{file}"],"fresh":true}}"#
            )
        };
        let messages = [
            artifact("registry+https://r.example/index#serde@1.0.2", "/t/x86/dist/deps/libserde.rlib"),
            artifact("registry+https://r.example/index#syn@2.0.0", "/t/dist/deps/libsyn.rlib"),
            artifact("path+file:///w/crates/mirror-fs#0.1.0", "/t/x86/dist/deps/libmirror_fs.rlib"),
            artifact("path+file:///w/crates/program#other-name@0.1.0", "/t/x86/dist/other-name"),
            r#"{"reason":"build-script-executed","package_id":"registry+https://r.example/index#ring@1.0.0"}"#.to_owned(),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let found = compiled(&messages.join("\n"), Path::new("/t/x86")).unwrap();
        let found: Vec<String> = found.iter().map(|id| format!("{} {}", id.name, id.version)).collect();
        assert_eq!(found, ["mirror-fs 0.1.0", "other-name 0.1.0", "serde 1.0.2"]);
        assert!(compiled("no JSON", Path::new("/t")).is_err());
    }

    #[test]
    fn the_wrapper_is_a_copy_of_this_program_until_it_is_dropped() {
        let wrapper = Wrapper::copy().unwrap();
        let (path, own) = (wrapper.path(), std::env::current_exe().unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), std::fs::metadata(own).unwrap().len());
        // As the compiler, with the arguments of the compiler.
        let mut command = Command::new(&path);
        assert!(command.arg("--list").output().unwrap().status.success());
        drop(wrapper);
        assert!(!path.exists());
    }

    #[test]
    fn every_program_is_selected() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let mut programs: Vec<String> = std::fs::read_dir(crates)
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.path().join("src/main.rs").exists())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        programs.sort();
        assert_eq!(programs, PROGRAMS);
    }
}
