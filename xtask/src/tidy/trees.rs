//! Checks the dependency trees of the programs for packages that they must not contain.

/// Packages that a program must not be built from. A program that only reads files needs no network, TLS or profiler,
/// and nobody who builds it should wait for them.
const ABSENT: &[(&str, &[&str])] = &[
    ("archive-hasher", &["gix", "hyper", "pprof", "reqwest", "rusqlite", "rustls"]),
    ("extract-bundles", &["gix", "hyper", "pgp", "pprof", "reqwest", "rustls", "ssh-key"]),
    ("generate-sidecars", &["hyper", "pgp", "pprof", "reqwest", "rustls", "ssh-key"]),
    ("serve-mirror", &["gix", "pgp", "pprof", "reqwest", "ssh-key"]),
    ("download-crates", &["pgp", "prost-build", "tikv-jemalloc-sys"]),
];

/// The packages from which a program is built, with its default features.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) program: String,
    pub(crate) packages: Vec<String>,
}

impl Tree {
    /// Parses the output of `cargo tree --prefix none --format {p}`: each line begins with a name.
    pub(crate) fn parse(program: &str, printed: &str) -> Self {
        let names = printed.lines().filter_map(|line| line.split(' ').next());
        Self { program: program.to_owned(), packages: names.map(str::to_owned).collect() }
    }
}

/// Returns the programs whose trees the check needs.
pub(crate) fn programs() -> impl Iterator<Item = &'static str> {
    ABSENT.iter().map(|(program, _)| *program)
}

/// Checks that no program is built from a package that it must not contain.
pub(crate) fn absent(trees: &[Tree]) -> Vec<String> {
    let mut faults = Vec::new();
    for (program, absent) in ABSENT {
        for tree in trees.iter().filter(|tree| tree.program == *program) {
            for package in absent.iter().filter(|name| tree.packages.iter().any(|built| built == *name)) {
                faults.push(format!(
                    "{program} is built from {package}, which it must not contain; `cargo tree -p {program} -e \
                     normal,build -i {package}` shows which crate needs it"
                ));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_a_program_must_not_contain_is_found() {
        let printed =
            "extract-bundles v0.1.0 (/w/crates/extract-bundles)\nhyper-util v0.1.21\ntokio v1.54.1 (*)\n";
        assert_eq!(absent(&[Tree::parse("extract-bundles", printed)]), [""; 0]);
        let faults = absent(&[Tree::parse("extract-bundles", &format!("{printed}hyper v1.12.0\n"))]);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("-p extract-bundles -e normal,build -i hyper`"), "{faults:?}");
        assert_eq!(absent(&[Tree::parse("download-crates", "hyper v1.12.0\n")]), [""; 0]);
    }
}
