//! The advisory database of RustSec.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use mirror_policy::{Advisories, AdvisoriesError, AdvisoryKind, MAX_ADVISORY_BYTES};
use mirror_types::VersionText;

use crate::setup::{advisories, advisory};

fn affected(advisories: &Advisories, name: &str, version: &str) -> Vec<String> {
    let version: VersionText = version.parse().expect(version);
    let of_crate = advisories.of(&name.parse().expect(name)).iter();
    of_crate.filter(|advisory| advisory.affects(&version)).map(|advisory| advisory.id().to_owned()).collect()
}

#[test]
fn an_advisory_is_read_from_markdown() {
    let head = "url = \"https://example.invalid/1\"\ncategories = [\"malicious\", \"code-execution\"]\n\
                keywords = [\"x\"]\naliases = [\"CVE-2026-1\"]\n\n[affected]\narch = [\"x86\"]";
    let files = [advisory(
        "RUSTSEC-2026-0001",
        "evil-crate",
        head,
        "patched = [\">= 1.2.3\"]\nunaffected = [\"< 0.5\"]",
    )];
    let database = advisories(&files);
    let [found] = database.of(&"Evil_Crate".parse().expect("name")) else { panic!("{database:?}") };
    assert_eq!((found.id(), found.package().as_str()), ("RUSTSEC-2026-0001", "evil-crate"));
    assert_eq!(found.title(), "The title of RUSTSEC-2026-0001");
    assert_eq!((found.kind(), found.categories().len()), (AdvisoryKind::Malicious, 2));
    for (version, is_affected) in [
        ("0.4.9", false),
        ("0.5.0", true),
        ("1.2.2", true),
        ("1.2.3", false),
        // Pre-releases have their place in the order of versions, as in RustSec's own tools.
        ("0.5.0-rc.1", false),
        ("1.2.3-rc.1", true),
        ("2.0.0-rc.1", false),
        ("1.2.3+build", false),
        // Cargo would not read it; it must not slip through.
        ("9.0.0-01", true),
    ] {
        assert_eq!(!affected(&database, "evil-crate", version).is_empty(), is_affected, "{version}");
    }
}

#[test]
fn the_older_form_is_read_too() {
    let text = "[advisory]\nid = \"RUSTSEC-2016-0001\"\npackage = \"openssl\"\ndate = \"2016-11-05\"\n\
                title = \"SSL/TLS MitM\"\npatched_versions = [\">= 0.9.0\"]\nunaffected_versions = [\"< 0.1\"]\n";
    let database = Advisories::from_files([("crates/openssl/RUSTSEC-2016-0001.toml", text)]);
    assert_eq!((database.len(), database.faults()), (1, &[][..]));
    let [found] = database.of(&"openssl".parse().expect("name")) else { panic!() };
    assert_eq!((found.title(), found.kind()), ("SSL/TLS MitM", AdvisoryKind::Vulnerable));
    assert_eq!(affected(&database, "openssl", "0.8.0").len(), 1);
    assert!(
        affected(&database, "openssl", "0.9.1").is_empty()
            && affected(&database, "openssl", "0.0.9").is_empty()
    );
}

#[test]
fn the_latest_form_leaves_out_the_name_of_its_head() {
    let text = "```toml\n# A comment.\nid = \"RUSTSEC-2026-0001\"\npackage = \"a\"\ncategories = [\"malicious\"]\n\n\
                [versions]\npatched = [\"> 1.2\"]\n\n[affected]\nos = [\"linux\"]\n```\n\n# A title\n";
    let database = Advisories::from_files([("./crates/a/RUSTSEC-2026-0001.md", text)]);
    assert_eq!((database.len(), database.faults()), (1, &[][..]));
    assert_eq!(database.of(&"a".parse().expect("name"))[0].kind(), AdvisoryKind::Malicious);
    // RustSec's tools read a missing number as zero.
    assert_eq!(affected(&database, "a", "1.2.0").len(), 1);
    assert!(affected(&database, "a", "1.2.1").is_empty());
}

#[test]
fn withdrawn_advisories_do_not_count() {
    let database = advisories(&[
        advisory("RUSTSEC-2026-0001", "a", "withdrawn = \"2026-11-02\"", "patched = []"),
        advisory("RUSTSEC-2026-0002", "a", "withdrawn = 2026-11-02", "patched = []"),
        advisory("RUSTSEC-2026-0003", "a", "obsolete = true", "patched = []"),
        advisory("RUSTSEC-2026-0004", "a", "obsolete = false", "patched = []"),
    ]);
    assert_eq!((database.len(), database.is_empty()), (1, false));
    assert_eq!(affected(&database, "a", "1.0.0"), ["RUSTSEC-2026-0004"]);
}

#[test]
fn a_category_counts_before_what_is_informational() {
    let database = advisories(&[
        advisory(
            "RUSTSEC-2026-0001",
            "a",
            "informational = \"notice\"\ncategories = [\"malicious\"]",
            "patched = []",
        ),
        advisory("RUSTSEC-2026-0002", "a", "informational = \"unsound\"", "patched = []"),
    ]);
    let kinds: Vec<AdvisoryKind> =
        database.of(&"a".parse().expect("name")).iter().map(mirror_policy::Advisory::kind).collect();
    assert_eq!(kinds, [AdvisoryKind::Malicious, AdvisoryKind::Informational]);
}

#[test]
fn bad_files_are_faults_and_others_are_passed_over() {
    let (path, good) = advisory("RUSTSEC-2026-0009", "b", "", "patched = []");
    let large = format!("{good}{}", " ".repeat(MAX_ADVISORY_BYTES));
    let requirement = advisory("RUSTSEC-2026-0008", "a", "", "patched = [\"soon\"]").1;
    let files: Vec<(&str, &[u8])> = vec![
        ("README.md", b"# Database"),
        ("crates/a/README.md", b"# a"),
        ("crates/a/RUSTSEC-2026-0001.md", b"# no TOML"),
        ("crates/a/RUSTSEC-2026-0002.md", b"```toml\n[advisory]\n"),
        ("crates/a/RUSTSEC-2026-0003.md", b"```toml\n[advisory]\nid = 3\n```\n"),
        ("crates/a/RUSTSEC-2026-0004.md", b"\xff"),
        ("crates/a/RUSTSEC-2026-0005.toml", b"[advisory]\nid = \"RUSTSEC-2026-0006\"\npackage = \"a\"\n"),
        ("crates/a/RUSTSEC-2026-0006.toml", b"[advisory]\nid = \"RUSTSEC-2026-0006\"\npackage = \"b\"\n"),
        ("crates/a/RUSTSEC-2026-0007.toml", b"[advisory]\nid = \"RUSTSEC-2026-0007\"\npackage = \"../a\"\n"),
        ("crates/a/RUSTSEC-2026-0008.md", requirement.as_bytes()),
        (&path, good.as_bytes()),
        ("crates/b/RUSTSEC-2026-0009.toml", b"[advisory]\nid = \"RUSTSEC-2026-0009\"\npackage = \"b\"\n"),
        ("crates/c/RUSTSEC-2026-0010.md", large.as_bytes()),
        ("crates/c/RUSTSEC-2026-0010.txt", b""),
        ("rust/std/RUSTSEC-2026-0011.md", b""),
        ("crates/d/e/RUSTSEC-2026-0012.md", b""),
    ];
    let database = Advisories::from_files(files);
    let faults: Vec<String> = database.faults().iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "crates/a/RUSTSEC-2026-0001.md: it does not begin with a block of TOML",
            "crates/a/RUSTSEC-2026-0002.md: its block of TOML has no end",
            "crates/a/RUSTSEC-2026-0003.md: its TOML is not that of an advisory: invalid type: integer `3`, expected a string",
            "crates/a/RUSTSEC-2026-0004.md: it is not UTF-8",
            "crates/a/RUSTSEC-2026-0005.toml: its id is RUSTSEC-2026-0006",
            "crates/a/RUSTSEC-2026-0006.toml: it is about b",
            "crates/a/RUSTSEC-2026-0007.toml: ../a is not a crate name: only ASCII letters, digits, '-' and '_' are allowed",
            "crates/a/RUSTSEC-2026-0008.md: soon is no version requirement",
            "crates/b/RUSTSEC-2026-0009.toml: another file has the same id",
            "crates/c/RUSTSEC-2026-0010.md: it is larger than 1048576 bytes",
        ]
    );
    assert_eq!(database.len(), 1);
}

#[test]
fn the_digest_is_that_of_what_decides() {
    let one = advisory("RUSTSEC-2026-0001", "a", "", "patched = [\">=2\", \"^1.4\"]");
    let other = advisory("RUSTSEC-2026-0002", "b", "", "patched = []");
    let digest = |files: &[(String, String)]| advisories(files).digest();
    let both = digest(&[one.clone(), other.clone()]);
    assert_eq!(both, digest(&[other.clone(), one.clone()]));
    let reworded = advisory("RUSTSEC-2026-0001", "a", "keywords = [\"x\"]", "patched = [\"1.4\", \">= 2\"]");
    assert_eq!(both, digest(&[(reworded.0, reworded.1.replace("A text", "Another text")), other.clone()]));
    let withdrawn = advisory("RUSTSEC-2026-0003", "b", "withdrawn = \"2026-01-01\"", "patched = []");
    assert_eq!(both, digest(&[one.clone(), other.clone(), withdrawn]));
    for changed in [
        advisory("RUSTSEC-2026-0001", "a", "", "patched = [\">=2\"]"),
        advisory("RUSTSEC-2026-0001", "a", "", "patched = [\">=2\"]\nunaffected = [\"^1.4\"]"),
        advisory("RUSTSEC-2026-0001", "a", "categories = [\"malicious\"]", "patched = [\">=2\", \"^1.4\"]"),
        advisory("RUSTSEC-2026-0004", "a", "", "patched = [\">=2\", \"^1.4\"]"),
    ] {
        assert_ne!(both, digest(&[changed, other.clone()]));
    }
}

fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    #[expect(clippy::disallowed_methods, reason = "a test makes a database of its own")]
    std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
    #[expect(clippy::disallowed_methods, reason = "a test makes a database of its own")]
    let mut file = File::create(path).expect("file");
    file.write_all(text.as_bytes()).expect("write");
}

#[test]
fn a_directory_is_read_as_its_files_are() {
    let dir = tempfile::tempdir().expect("directory");
    let empty = Advisories::load(dir.path()).expect_err("no database");
    assert!(matches!(empty, AdvisoriesError::NoDatabase { .. }));
    assert_eq!(
        empty.to_string(),
        format!("{} is no advisory database: it has no directory named crates", dir.path().display())
    );
    let files = [
        advisory("RUSTSEC-2026-0001", "a", "", "patched = []"),
        advisory("RUSTSEC-2026-0002", "b", "categories = [\"malicious\"]", "patched = []"),
    ];
    for (path, text) in &files {
        write(dir.path(), path, text);
    }
    write(dir.path(), "crates/README.md", "# Advisories");
    write(dir.path(), "crates/a/notes.txt", "x");
    write(dir.path(), "crates/c/RUSTSEC-2026-0003.md", "x");
    write(dir.path(), ".git/config", "x");
    let read = Advisories::load(dir.path()).expect("database");
    assert_eq!(read.digest(), advisories(&files).digest());
    assert_eq!(read.faults().len(), 1);
}

/// A database that somebody else made must not read other files of this machine.
#[cfg(unix)]
#[test]
fn links_in_a_database_are_not_followed() {
    let dir = tempfile::tempdir().expect("directory");
    let (path, text) = advisory("RUSTSEC-2026-0001", "a", "", "patched = []");
    write(dir.path(), "elsewhere.md", &text);
    write(dir.path(), &path.replace("0001", "0002"), &text.replace("0001", "0002"));
    let link = |to: &str| std::os::unix::fs::symlink(dir.path().join("elsewhere.md"), dir.path().join(to));
    link(&path).expect("link");
    std::os::unix::fs::symlink(dir.path().join("crates/a"), dir.path().join("crates/b")).expect("link");
    let database = Advisories::load(dir.path()).expect("database");
    assert_eq!(database.len(), 1);
    let faults: Vec<String> = database.faults().iter().map(ToString::to_string).collect();
    assert_eq!(faults, ["crates/a/RUSTSEC-2026-0001.md: it is no file"]);
}
