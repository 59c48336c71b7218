//! Checks which package uses which against the table of `docs/architecture.md`.

use super::workspace::{Kind, Member};

/// The package that tests of any package may use.
const TESTKIT: &str = "mirror-testkit";

/// The table. A row is a package and the packages of this workspace that it may use, all from rows above its own:
/// arrows point up the table and down the house.
const TABLE: &[(&str, &[&str])] = &[
    ("mirror-types", &[]),
    ("mirror-fs", &[]),
    ("mirror-checksum", &["mirror-types"]),
    ("mirror-tar", &[]),
    ("mirror-tls", &[]),
    ("mirror-listen", &[]),
    ("mirror-console", &["mirror-types", "mirror-checksum"]),
    ("mirror-telemetry", &["mirror-types", "mirror-listen", "mirror-console"]),
    ("mirror-index-line", &["mirror-types"]),
    ("mirror-index", &["mirror-types", "mirror-fs", "mirror-index-line"]),
    ("mirror-git", &["mirror-types", "mirror-fs", "mirror-tls", "mirror-index"]),
    ("mirror-policy", &["mirror-types", "mirror-checksum", "mirror-index"]),
    ("mirror-fetch", &["mirror-types", "mirror-fs", "mirror-checksum", "mirror-tls"]),
    ("mirror-bundle", &["mirror-types", "mirror-checksum", "mirror-fs", "mirror-tar"]),
    ("mirror-store", &["mirror-types", "mirror-checksum", "mirror-fs", "mirror-bundle"]),
    ("mirror-manifest", &["mirror-types", "mirror-fs", "mirror-index-line"]),
    ("mirror-snapshot", &["mirror-types", "mirror-checksum", "mirror-fs"]),
    (
        "mirror-repo",
        &[
            "mirror-types",
            "mirror-fs",
            "mirror-index-line",
            "mirror-bundle",
            "mirror-store",
            "mirror-manifest",
            "mirror-snapshot",
        ],
    ),
    (
        "mirror-sidecar",
        &[
            "mirror-types",
            "mirror-index-line",
            "mirror-index",
            "mirror-git",
            "mirror-bundle",
            "mirror-store",
            "mirror-manifest",
            "mirror-repo",
        ],
    ),
    (
        "mirror-sync",
        &[
            "mirror-types",
            "mirror-checksum",
            "mirror-index",
            "mirror-git",
            "mirror-fetch",
            "mirror-tar",
            "mirror-bundle",
            "mirror-store",
            "mirror-manifest",
            "mirror-snapshot",
            "mirror-policy",
            "mirror-repo",
        ],
    ),
    ("mirror-extract", &["mirror-types", "mirror-checksum", "mirror-bundle", "mirror-store", "mirror-repo"]),
    ("mirror-cli", &["mirror-types", "mirror-telemetry"]),
    (
        "download-crates",
        &[
            "mirror-types",
            "mirror-fetch",
            "mirror-git",
            "mirror-repo",
            "mirror-sync",
            "mirror-telemetry",
            "mirror-cli",
        ],
    ),
    ("generate-sidecars", &["mirror-types", "mirror-sidecar", "mirror-telemetry", "mirror-cli"]),
    ("extract-bundles", &["mirror-types", "mirror-extract", "mirror-telemetry", "mirror-cli"]),
    (
        "mirror-serve",
        &[
            "mirror-types",
            "mirror-checksum",
            "mirror-tls",
            "mirror-console",
            "mirror-index-line",
            "mirror-listen",
            "mirror-bundle",
            "mirror-store",
            "mirror-manifest",
            "mirror-repo",
        ],
    ),
    ("serve-mirror", &["mirror-types", "mirror-cli", "mirror-serve", "mirror-telemetry"]),
    ("mirror-archive", &["mirror-types", "mirror-fs", "mirror-tar"]),
    ("archive-hasher", &["mirror-types", "mirror-archive", "mirror-telemetry", "mirror-cli"]),
    (TESTKIT, &["mirror-types"]),
    ("xtask", &[TESTKIT]),
];

/// The packages that the tests of a package use besides its own dependencies.
const FOR_TESTS: &[(&str, &[&str])] = &[
    // These tests read the contents of bundles.
    ("download-crates", &["mirror-bundle"]),
    ("extract-bundles", &["mirror-bundle"]),
    // These tests make the mirrors that are served.
    ("serve-mirror", &["mirror-fs", "mirror-store", "mirror-sync", "mirror-extract"]),
];

/// Packages of blocking code. They run on separate threads: on an executor, a slow disk would stop the network.
const BLOCKING: &[&str] = &[
    "mirror-types",
    "mirror-fs",
    "mirror-checksum",
    "mirror-tar",
    "mirror-tls",
    "mirror-console",
    "mirror-index-line",
    "mirror-index",
    "mirror-git",
    "mirror-policy",
    "mirror-bundle",
    "mirror-store",
    "mirror-manifest",
    "mirror-snapshot",
    "mirror-repo",
    "mirror-sidecar",
    "mirror-archive",
];

/// Checks that each package uses only what its row allows; tests may use the testkit as well.
pub(crate) fn table(members: &[Member]) -> Vec<String> {
    let is_member = |name: &str| members.iter().any(|member| member.name == name);
    let mut faults = Vec::new();
    for member in members {
        let name = &member.name;
        let Some((_, allowed)) = TABLE.iter().find(|(row, _)| row == name) else {
            faults.push(format!(
                "{name} has no row in the dependency table: add it to xtask/src/tidy/edges.rs and to \
                 docs/architecture.md"
            ));
            continue;
        };
        let of_tests = FOR_TESTS.iter().find(|(row, _)| row == name).map_or(&[][..], |(_, used)| used);
        let used = member.dependencies.iter().filter(|dependency| is_member(&dependency.name));
        for dependency in used {
            let used = dependency.name.as_str();
            // A package enables its features for its tests by depending on itself.
            let for_tests = dependency.kind == Kind::Dev
                && name != TESTKIT
                && (used == TESTKIT || used == name || of_tests.contains(&used));
            if !allowed.contains(&used) && !for_tests {
                let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
                let kind = kind_name(dependency.kind);
                faults.push(format!(
                    "{name} must not have {used} as a {kind}dependency; of this workspace it may use {allowed}"
                ));
            }
        }
    }
    faults
}

/// Checks that each package uses everything that its row allows, so that unused permissions are removed.
pub(crate) fn unused(members: &[Member]) -> Vec<String> {
    let mut faults = order();
    for (name, allowed) in TABLE.iter().chain(FOR_TESTS) {
        let Some(member) = members.iter().find(|member| member.name == *name) else { continue };
        for package in *allowed {
            if !member.dependencies.iter().any(|used| used.name == *package) {
                faults.push(format!(
                    "the dependency table lets {name} use {package}, which it does not: take it out of \
                     xtask/src/tidy/edges.rs"
                ));
            }
        }
    }
    faults
}

/// Checks that each row uses only rows above it.
fn order() -> Vec<String> {
    let place = |name: &str| TABLE.iter().position(|(row, _)| *row == name);
    let upward = TABLE.iter().enumerate().flat_map(|(at, (row, allowed))| {
        allowed
            .iter()
            .filter(move |used| place(used).is_none_or(|of| of >= at))
            .map(move |used| format!("the dependency table lets {row} use {used}, which is not above it"))
    });
    upward.collect()
}

/// Checks that packages of blocking code do not depend on async libraries, except for tests.
pub(crate) fn blocking_crates(members: &[Member]) -> Vec<String> {
    let mut faults = Vec::new();
    for member in members.iter().filter(|member| BLOCKING.contains(&member.name.as_str())) {
        for dependency in member.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev) {
            if is_async(&dependency.name) {
                faults.push(format!(
                    "{} is blocking code and must not depend on {}; async belongs in fetch, telemetry and \
                     mirror-sync",
                    member.name, dependency.name
                ));
            }
        }
    }
    faults
}

fn is_async(name: &str) -> bool {
    ["tokio", "futures"]
        .iter()
        .any(|family| name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Normal => "",
        Kind::Build => "build ",
        Kind::Dev => "dev-",
    }
}

#[cfg(test)]
mod tests {
    use super::super::workspace::build::member;
    use super::*;

    fn alone(name: &str) -> Member {
        member(name, &[])
    }

    #[test]
    fn uses_that_the_table_allows_pass() {
        let members = [
            alone("mirror-types"),
            alone(TESTKIT),
            member(
                "mirror-store",
                &[("mirror-types", Kind::Normal), (TESTKIT, Kind::Dev), ("mirror-store", Kind::Dev)],
            ),
            member("mirror-sync", &[("mirror-store", Kind::Normal), ("serde", Kind::Normal)]),
            member("xtask", &[(TESTKIT, Kind::Normal)]),
        ];
        assert_eq!(table(&members), Vec::<String>::new());
    }

    #[test]
    fn a_package_must_not_use_its_sibling() {
        let members = [alone("mirror-index"), member("mirror-manifest", &[("mirror-index", Kind::Normal)])];
        assert_eq!(
            table(&members),
            [
                "mirror-manifest must not have mirror-index as a dependency; of this workspace it may use mirror-types, mirror-fs, mirror-index-line"
            ]
        );
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        for kind in [Kind::Normal, Kind::Build] {
            let members = [alone(TESTKIT), member("mirror-types", &[(TESTKIT, kind)])];
            let faults = table(&members);
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].contains("may use nothing"), "{faults:?}");
        }
        assert_eq!(table(&[member(TESTKIT, &[(TESTKIT, Kind::Dev)])]).len(), 1);
    }

    #[test]
    fn only_tests_depend_on_their_own_package() {
        let faults = table(&[member("mirror-store", &[("mirror-store", Kind::Normal)])]);
        assert!(faults[0].contains("must not have mirror-store as a dependency"), "{faults:?}");
    }

    #[test]
    fn tests_must_not_use_other_siblings() {
        let members = [alone("mirror-store"), member("mirror-index", &[("mirror-store", Kind::Dev)])];
        let faults = table(&members);
        assert!(faults[0].contains("as a dev-dependency"), "{faults:?}");
    }

    #[test]
    fn dependencies_of_tests_are_not_shipped() {
        let uses = |kind| {
            let used = [("mirror-sync", kind), ("mirror-extract", Kind::Dev), ("mirror-serve", Kind::Normal)];
            let members = [alone("mirror-sync"), alone("mirror-extract"), member("serve-mirror", &used)];
            table(&members)
        };
        assert_eq!(uses(Kind::Dev), [""; 0]);
        let faults = uses(Kind::Normal);
        assert!(faults[0].contains("serve-mirror must not have mirror-sync as a dependency"), "{faults:?}");
    }

    #[test]
    fn an_unused_permission_is_a_fault() {
        let faults = unused(&[alone("mirror-checksum")]);
        assert!(faults[0].contains("lets mirror-checksum use mirror-types, which it does not"), "{faults:?}");
    }

    #[test]
    fn the_table_is_in_order() {
        assert_eq!(order(), [""; 0]);
    }

    #[test]
    fn a_new_package_needs_a_row() {
        let faults = table(&[alone("mirror-novelty")]);
        assert!(faults[0].contains("add it to"), "{faults:?}");
    }

    #[test]
    fn rows_only_name_packages_with_rows() {
        for (name, allowed) in TABLE {
            for used in *allowed {
                assert!(TABLE.iter().any(|(row, _)| row == used), "{name} may use {used}, which has no row");
            }
        }
    }

    #[test]
    fn async_stays_out_of_blocking_code() {
        let shipped = |name| blocking_crates(&[member("mirror-index", &[(name, Kind::Normal)])]).len();
        assert_eq!(["tokio", "tokio-util", "futures-util", "tokiox", "gix"].map(shipped), [1, 1, 1, 0, 0]);
        let tests = member("mirror-index", &[("tokio", Kind::Dev)]);
        let fetch = member("mirror-fetch", &[("tokio", Kind::Normal)]);
        assert_eq!(blocking_crates(&[tests, fetch]), Vec::<String>::new());
    }
}
