//! Checks that two builds of one commit are equal, each in its own clone, in directories with different names.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::archive::Contents;
use super::build::Wrapper;
use super::{Made, Options, archive, git, make, printed};

/// Names of the clones. Their lengths differ, because a path of another length moves everything after it.
const CLONES: [&str; 2] = ["a", "another/place/with-a-longer-name"];

/// Builds twice and compares the archives.
pub(crate) fn run(root: &Path, options: &Options, wrapper: &Wrapper) -> anyhow::Result<()> {
    let commit = git(root, &["rev-parse", "HEAD"])?;
    let dir = tempfile::tempdir().context("could not make a temporary directory")?;
    let mut made = Vec::new();
    for name in CLONES {
        let clone = dir.path().join(name);
        printed(Command::new("git").args(["clone", "--quiet", "--no-checkout"]).arg(root).arg(&clone))?;
        git(&clone, &["checkout", "--quiet", "--detach", commit.trim()])?;
        made.push(make_in(&clone, options, wrapper)?);
    }
    compare(&made[0], &made[1])?;
    println!("dist: two builds of {} in different directories are equal, byte for byte:", commit.trim());
    print!("{}", std::fs::read_to_string(&made[0].sums).context("could not read the sums")?);
    if let Some(out) = &options.out {
        std::fs::create_dir_all(out).with_context(|| format!("could not make {}", out.display()))?;
        for path in [&made[0].archive, &made[0].sbom, &made[0].sums] {
            let to = out.join(path.file_name().unwrap_or_default());
            std::fs::copy(path, &to).with_context(|| format!("could not write {}", to.display()))?;
        }
    }
    Ok(())
}

/// Builds in a clone, with the target directory inside.
fn make_in(clone: &Path, options: &Options, wrapper: &Wrapper) -> anyhow::Result<Made> {
    let options = Options { check: false, out: None, ..options.clone() };
    make(clone, &options, &clone.join("target"), wrapper)
}

fn compare(one: &Made, other: &Made) -> anyhow::Result<()> {
    let differing = differing(&archive::read(&one.archive)?, &archive::read(&other.archive)?);
    if !differing.is_empty() {
        bail!("two builds of one commit differ in {}", differing.join(", "));
    }
    for (one, other) in [(&one.archive, &other.archive), (&one.sbom, &other.sbom), (&one.sums, &other.sums)] {
        let read =
            |path: &Path| std::fs::read(path).with_context(|| format!("could not read {}", path.display()));
        if read(one)? != read(other)? {
            bail!("{} and {} contain the same files, but are not equal", one.display(), other.display());
        }
    }
    Ok(())
}

/// Returns the paths that only one archive has, or that are not equal in both.
fn differing(one: &Contents, other: &Contents) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    names.into_iter().filter(|name| one.get(*name) != other.get(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_named() {
        let file = |bytes: &[u8]| (0o644, 1, bytes.to_vec());
        let one = Contents::from([("a".to_owned(), file(b"1")), ("b".to_owned(), file(b"2"))]);
        let mut other = one.clone();
        assert_eq!(differing(&one, &other), Vec::<String>::new());
        other.insert("b".to_owned(), (0o755, 1, b"2".to_vec()));
        other.insert("c".to_owned(), file(b""));
        assert_eq!(differing(&one, &other), ["b", "c"]);
    }
}
