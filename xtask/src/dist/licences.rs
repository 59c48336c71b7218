//! Writes `THIRD-PARTY-LICENSES.txt`: the licences of other people's code in the programs, with their texts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::build::Build;
use super::packages::{Id, Package, Packages};

/// Levels of directories that are searched in a package: C code in it has its own licences.
const DEPTH: usize = 3;
/// A longer file is not a licence.
const MAX_BYTES: u64 = 256 * 1024;
const RULE: &str = "--------------------------------------------------------------------------------";

/// Writes the document: all packages with their licences first, then each text once, with who uses it.
pub(crate) fn text(packages: &Packages, build: &Build) -> anyhow::Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = String::new();
    for (id, package) in packages.third_party() {
        let licence = package.licence.as_deref().unwrap_or("see its text");
        let _ = write!(list, "{} {}: {licence}", id.name, id.version);
        let files = files(package)?;
        if files.is_empty() {
            let _ = write!(list, " (its package has no text of it; by {})", by(package));
        }
        list.push('\n');
        add(&mut texts, id, files);
    }
    let standard = Id { name: "The Rust standard library".to_owned(), version: build.compiler.clone() };
    let _ = writeln!(list, "{}, of {}: MIT OR Apache-2.0", standard.name, standard.version);
    add(&mut texts, &standard, of_the_standard_library(&build.sysroot)?);

    let mut document = format!(
        "The programs contain other people's code, under these licences. Their texts follow the list.\n\n{list}"
    );
    // Sorted by their first users.
    let mut texts: Vec<(Vec<String>, String)> =
        texts.into_iter().map(|(text, users)| (users, text)).collect();
    texts.sort();
    for (users, text) in texts {
        let _ = write!(document, "\n{RULE}\n{}\n{RULE}\n\n{text}", users.join("\n"));
    }
    Ok(document)
}

fn by(package: &Package) -> String {
    match (&package.authors[..], &package.repository) {
        ([], Some(repository)) => format!("the authors at {repository}"),
        ([], None) => "its authors".to_owned(),
        (authors, _) => authors.join(", "),
    }
}

fn add(texts: &mut BTreeMap<String, Vec<String>>, id: &Id, files: Vec<(String, String)>) {
    for (name, text) in files {
        texts.entry(text).or_default().push(format!("{} {}, {name}", id.name, id.version));
    }
}

/// Returns the licence texts of a package, with their names in it, sorted.
fn files(package: &Package) -> anyhow::Result<Vec<(String, String)>> {
    let mut paths = Vec::new();
    search(&package.directory, DEPTH, &mut paths)?;
    paths.extend(package.licence_file.as_ref().map(|file| package.directory.join(file)));
    read(&package.directory, paths)
}

fn search(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let doing = || format!("could not list {}", directory.display());
    for entry in std::fs::read_dir(directory).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        let kind = entry.file_type().with_context(doing)?;
        if kind.is_dir() && depth > 1 {
            search(&entry.path(), depth - 1, found)?;
        } else if kind.is_file() && is_licence(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Returns whether a file is a licence, a notice, or a list of authors that a licence refers to.
fn is_licence(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_code = ["rs", "c", "h", "py", "sh", "toml", "json", "html"]
        .iter()
        .any(|ending| Path::new(&name).extension().is_some_and(|extension| extension == *ending));
    let begins = ["license", "licence", "copying", "copyright", "notice", "unlicense"];
    !is_code && begins.iter().any(|begin| name.starts_with(begin))
}

fn of_the_standard_library(sysroot: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let directory = sysroot.join("share/doc/rust/licenses");
    let names = ["MIT.txt", "Apache-2.0.txt"].map(|name| directory.join(name));
    // Some distributions of Rust leave them out.
    read(&directory, names.into_iter().filter(|path| path.exists()).collect())
}

fn read(directory: &Path, mut paths: Vec<PathBuf>) -> anyhow::Result<Vec<(String, String)>> {
    paths.sort();
    paths.dedup();
    let mut texts = Vec::new();
    for path in paths {
        let doing = || format!("could not read {}", path.display());
        if path.metadata().with_context(doing)?.len() > MAX_BYTES {
            continue;
        }
        let bytes = std::fs::read(&path).with_context(doing)?;
        let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        let name = path.strip_prefix(directory).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        texts.push((name, format!("{}\n", text.trim_end())));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::super::packages::make::{id, package, packages};
    use super::*;

    #[test]
    fn licences_have_many_names() {
        for name in ["LICENSE", "LICENSE-MIT", "license.txt", "LICENCE.md", "COPYING", "NOTICE", "UNLICENSE"]
        {
            assert!(is_licence(name), "{name}");
        }
        for name in ["licenses.rs", "lib.rs", "README.md", "license.html"] {
            assert!(!is_licence(name), "{name}");
        }
    }

    #[test]
    fn equal_texts_are_written_once_with_all_users() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str, text: Option<&str>, checksum: Option<&str>| {
            let place = dir.path().join(name);
            std::fs::create_dir_all(place.join("c/deep")).unwrap();
            if let Some(text) = text {
                std::fs::write(place.join("LICENSE"), text).unwrap();
            }
            (id(name), package(&place, "MIT", checksum))
        };
        let all = [
            of("alpha", Some("Do as you like.\r\n\r\n"), Some("1")),
            of("beta", Some("Do as you like.\n"), Some("2")),
            of("gamma", None, Some("3")),
            of("own", Some("Ours.\n"), None),
        ];
        std::fs::write(dir.path().join("beta/c/deep/COPYING"), "The C code.\n").unwrap();
        let build = Build::of_a_test(dir.path());
        let text = text(&packages(all), &build).unwrap();
        assert_eq!(text.matches("Do as you like.\n").count(), 1, "{text}");
        for part in [
            "alpha 1.0.0: MIT\nbeta 1.0.0: MIT\n",
            "gamma 1.0.0: MIT (its package has no text of it; by A. Person)\n",
            "alpha 1.0.0, LICENSE\nbeta 1.0.0, LICENSE\n",
            "beta 1.0.0, c/deep/COPYING\n",
            "The C code.\n",
            "The Rust standard library, of rustc 1.95.0: MIT OR Apache-2.0\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("Ours."), "{text}");
    }
}
