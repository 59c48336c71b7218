//! Tries an archive: unpacks it into an empty directory and uses everything in it, without the environment of this
//! process.

mod bill;
mod job;
mod traces;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use mirror_testkit::{check_completion, check_man, has};

use super::build::{Build, Built};
use super::{Made, PROGRAMS, archive};

/// A flag of each program, which its completions must offer.
const FLAGS: &[(&str, &str)] = &[
    ("archive-hasher", "--out-prefix"),
    ("download-crates", "--index-dir"),
    ("extract-bundles", "--bundles-dir"),
    ("generate-sidecars", "--jsonl-out"),
    ("serve-mirror", "--public-url"),
];

/// The libraries that a program for glibc may need: those of glibc, and the unwinder, which every system has that has a
/// package of programs in C++ or Rust.
const LIBRARIES: &[&str] = &["ld-linux-", "libc.so.", "libgcc_s.so.", "libm.so."];

/// An archive that was unpacked.
struct Trial {
    dir: tempfile::TempDir,
    /// The directory in the archive, laid out like an installation prefix.
    prefix: PathBuf,
}

/// Checks the archive and what goes with it; the first fault ends the trial.
///
/// # Panics
/// When a shell or a reader of man pages finds a fault.
pub(crate) fn run(made: &Made, build: &Build, built: &Built) -> anyhow::Result<()> {
    sums(&made.sums)?;
    let trial = Trial::unpack(&made.archive)?;
    for name in PROGRAMS {
        trial.introduces_itself(name)?;
        trial.needs_no_other_libraries(name, &build.target)?;
    }
    trial.pages()?;
    traces::check(&archive::read(&made.archive)?, &build.own_paths()?)?;
    bill::check(&trial.document("sbom.cdx.json")?, &built.compiled)?;
    bill::licences(&trial.document("THIRD-PARTY-LICENSES.txt")?, &built.compiled)?;
    job::run(&trial, &made.sums)?;
    println!("dist: {} was unpacked, and everything in it works", made.archive.display());
    Ok(())
}

/// Checks the sums with the tool that receivers use.
fn sums(sums: &Path) -> anyhow::Result<()> {
    if !has("sha256sum", &["--version"]) {
        return Ok(());
    }
    let dir = sums.parent().context("the sums are in no directory")?;
    let name = sums.file_name().unwrap_or_default();
    super::printed(Command::new("sha256sum").args(["--check", "--strict"]).arg(name).current_dir(dir))?;
    Ok(())
}

impl Trial {
    fn unpack(archive: &Path) -> anyhow::Result<Self> {
        let doing = || format!("could not unpack {}", archive.display());
        let dir = tempfile::tempdir().context("could not make a temporary directory")?;
        let file = std::fs::File::open(archive).with_context(doing)?;
        let unpacked = zstd::Decoder::new(file).with_context(doing)?;
        tar::Archive::new(unpacked).unpack(dir.path().join("prefix")).with_context(doing)?;
        let top = only_entry(&dir.path().join("prefix"))?;
        std::fs::create_dir(dir.path().join("work")).with_context(doing)?;
        Ok(Self { prefix: top, dir })
    }

    /// Returns the empty directory in which programs run; it is their home, too.
    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn program(&self, name: &str) -> PathBuf {
        self.prefix.join("bin").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    /// Returns a command that runs a program of the archive without any variable of this process, and without a PATH.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.program(name));
        command.current_dir(self.work()).env_clear().env("HOME", self.work());
        // Windows finds its own libraries, sockets among them, by this variable.
        if let Some(root) = std::env::var_os("SystemRoot") {
            command.env("SystemRoot", root);
        }
        command
    }

    /// Runs a program of the archive; any exit code but 0 is a fault. Returns what it prints.
    fn printed<S: AsRef<OsStr>>(&self, name: &str, arguments: &[S]) -> anyhow::Result<String> {
        super::printed(self.command(name).args(arguments))
    }

    /// Checks version and help.
    fn introduces_itself(&self, name: &str) -> anyhow::Result<()> {
        let version = self.printed(name, &["--version"])?;
        let expected = format!("{name} {}", self.version()?);
        ensure!(version.trim_end() == expected, "{name} --version prints {version:?}, not {expected:?}");
        for help in ["-h", "--help"] {
            let text = self.printed(name, &[help])?;
            ensure!(text.contains(&format!("Usage: {name}")), "{name} {help} shows no usage:\n{text}");
        }
        Ok(())
    }

    /// Returns the version in the name of the directory, `mirror-rust-crates-VERSION-TARGET`.
    fn version(&self) -> anyhow::Result<String> {
        let name = self.prefix.file_name().unwrap_or_default().to_string_lossy();
        let rest = name.strip_prefix(super::PRODUCT).and_then(|rest| rest.strip_prefix('-'));
        let version = rest.and_then(|rest| rest.split_once('-'));
        Ok(version.with_context(|| format!("{name} has no version and no target"))?.0.to_owned())
    }

    /// Checks which libraries the system must have.
    fn needs_no_other_libraries(&self, name: &str, target: &str) -> anyhow::Result<()> {
        if !target.contains("linux") || !has("readelf", &["--version"]) {
            return Ok(());
        }
        let dynamic =
            super::printed(Command::new("readelf").args(["--dynamic", "--wide"]).arg(self.program(name)))?;
        let allowed = if target.ends_with("gnu") { LIBRARIES } else { &[] };
        for library in needed(&dynamic) {
            ensure!(
                allowed.iter().any(|begin| library.starts_with(begin)),
                "{name} needs the library {library}, which a system for {target} may not have"
            );
        }
        Ok(())
    }

    /// Has every man page and every completion read by the programs that they are for.
    fn pages(&self) -> anyhow::Result<()> {
        for (name, flag) in FLAGS {
            let share = self.prefix.join("share");
            check_completion("bash", &share.join(format!("bash-completion/completions/{name}")), name, flag);
            check_completion("zsh", &share.join(format!("zsh/site-functions/_{name}")), name, flag);
            check_completion(
                "fish",
                &share.join(format!("fish/vendor_completions.d/{name}.fish")),
                name,
                flag,
            );
            let page = share.join(format!("man/man1/{name}.1"));
            ensure!(page.is_file(), "{name} has no man page");
        }
        let dir = self.prefix.join("share/man/man1");
        for entry in std::fs::read_dir(&dir).with_context(|| format!("could not list {}", dir.display()))? {
            check_man(&entry.with_context(|| format!("could not list {}", dir.display()))?.path());
        }
        Ok(())
    }

    fn document(&self, name: &str) -> anyhow::Result<String> {
        let path = self.prefix.join("share/doc").join(super::PRODUCT).join(name);
        std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
    }
}

fn only_entry(dir: &Path) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.with_context(|| format!("could not list {}", dir.display()))?;
    match &entries[..] {
        [only] => Ok(only.path()),
        entries => bail!("the archive has {} entries at its top instead of one directory", entries.len()),
    }
}

/// Returns the libraries in the output of `readelf --dynamic`.
fn needed(dynamic: &str) -> Vec<&str> {
    let library = |line: &'_ str| -> Option<(usize, usize)> {
        if !line.contains("(NEEDED)") {
            return None;
        }
        Some((line.find('[')? + 1, line.rfind(']')?))
    };
    dynamic.lines().filter_map(|line| library(line).map(|(from, to)| &line[from..to])).collect()
}

#[cfg(test)]
mod tests {
    use super::super::archive::{Entry, write};
    use super::*;

    #[test]
    fn every_program_has_a_flag_to_complete() {
        let names: Vec<&str> = FLAGS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, PROGRAMS);
    }

    #[test]
    fn needed_libraries_are_read() {
        let text = " 0x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]\n \
                    0x000000000000000e (SONAME)  Library soname: [x]\n \
                    0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]\n";
        assert_eq!(needed(text), ["libgcc_s.so.1", "libc.so.6"]);
        assert_eq!(needed("There is no dynamic section in this file.\n"), Vec::<&str>::new());
    }

    #[test]
    fn an_archive_is_unpacked_below_its_only_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar.zst");
        let entries = [("share/doc/mirror-rust-crates/one".to_owned(), Entry::file("text\n".to_owned()))];
        write(&path, "mirror-rust-crates-1.2.3-x86_64-unknown-linux-gnu", &entries.into(), 1, 1).unwrap();
        let trial = Trial::unpack(&path).unwrap();
        assert_eq!(trial.version().unwrap(), "1.2.3");
        assert_eq!(trial.document("one").unwrap(), "text\n");
        assert!(trial.document("two").is_err());
        assert!(trial.introduces_itself("serve-mirror").is_err());
    }

    #[test]
    fn sums_of_other_bytes_are_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        let (file, list) = (dir.path().join("one"), dir.path().join("SHA256SUMS"));
        std::fs::write(&file, "abc").unwrap();
        crate::dist::sums::write(&list, &[&file]).unwrap();
        sums(&list).unwrap();
        std::fs::write(&file, "abd").unwrap();
        if has("sha256sum", &["--version"]) {
            assert!(sums(&list).is_err());
        }
    }
}
