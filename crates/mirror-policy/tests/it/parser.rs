//! Every refusal of the parser, with its exact message, and the sample.

use std::time::Duration;

use mirror_policy::{OnAdvisory, Policy, PolicyError, Rule, SAMPLE};
use mirror_types::{FaultKind, chain};

const WAIVER: &str =
    "[[waiver]]\nrelease = \"a@1.0.0\"\nrules = [\"deny\"]\nuntil = 2026-12-31\nwho = \"me\"\nwhy = \"so\"\n";

const AGE: &str = "min-publish-age is \"0\", or a number of seconds, minutes, hours, days, weeks or months, as in \"7 days\"";
const SIZE: &str = "max-crate-size is a number of bytes above 0, or such a number and one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB, as in \"50 MiB\"";
const NEWEST: &str = "newest is a number of versions, as in 3; 0 means all of them";
const DENY: &str = "deny is a list of texts, as in [\"serde\", \"left-pad@<2\", \"spam-*\"]";
const LICENCES: &str = "licenses is a table, as in { allow = [\"MIT\"], missing = \"deny\" }";
const RULES: &str = "waiver.rules is a list of rules, at least one of deleted, deny, allow, advisories, yanked, min-publish-age, max-crate-size, licenses, newest";
const RELEASE: &str = "waiver.release is one release, NAME@VERSION, as in \"serde@1.0.0\"";
const UNTIL: &str = "waiver.until is a date, as in 2026-12-31";

#[test]
fn every_fault_is_refused_with_its_line_and_what_is_allowed() {
    let waiver = |from: &str, to: &str| {
        assert!(WAIVER.contains(from), "{from}");
        WAIVER.replace(from, to)
    };
    let long = "x".repeat(1_001);
    for (text, message) in [
        ("format = 2".to_owned(), "line 1: format is not known; this version reads 1".to_owned()),
        // Keys of a later format are no fault of their own.
        (
            "a-later-key = 1\nformat = 2".to_owned(),
            "line 2: format is not known; this version reads 1".to_owned(),
        ),
        ("format = \"1\"".to_owned(), "line 1: format is not known; this version reads 1".to_owned()),
        (
            "# why\n\nmin-publish-agee = \"7 days\"".to_owned(),
            "line 3: min-publish-agee is not known; the nearest key is min-publish-age".to_owned(),
        ),
        (
            "licences = {}".to_owned(),
            "line 1: licences is not known; the nearest key is licenses".to_owned(),
        ),
        (
            "b = 1\na = 1".to_owned(),
            "line 1: b is not known; the nearest key is deny".to_owned(),
        ),
        (
            "\"\\u001b[2J\" = 1".to_owned(),
            "line 1: \\u{1b}[2J is not known; the nearest key is deny".to_owned(),
        ),
        ("min-publish-age = \"7\"".to_owned(), format!("line 1: {AGE}")),
        ("min-publish-age = \"7 fortnights\"".to_owned(), format!("line 1: {AGE}")),
        ("min-publish-age = 7".to_owned(), format!("line 1: {AGE}")),
        ("offer-deleted = \"yes\"".to_owned(), "line 1: offer-deleted is true or false".to_owned()),
        ("yanked = \"report\"".to_owned(), "line 1: yanked is \"offer\" or \"deny\"".to_owned()),
        ("yanked = true".to_owned(), "line 1: yanked is \"offer\" or \"deny\"".to_owned()),
        ("newest = -1".to_owned(), format!("line 1: {NEWEST}")),
        ("newest = 1.5".to_owned(), format!("line 1: {NEWEST}")),
        ("newest = \"all\"".to_owned(), format!("line 1: {NEWEST}")),
        ("deny = \"a\"".to_owned(), format!("line 1: {DENY}")),
        ("deny = [\n  \"a\",\n  1,\n]".to_owned(), format!("line 3: {DENY}")),
        (
            "allow = [\n  \"../x\",\n]".to_owned(),
            "line 2: allow: `../x` has neither a crate name nor a pattern with * or ?".to_owned(),
        ),
        (
            "deny = [\"\"]".to_owned(),
            "line 1: deny: `` has neither a crate name nor a pattern with * or ?".to_owned(),
        ),
        (
            "deny = [\"@1\"]".to_owned(),
            "line 1: deny: `@1` has neither a crate name nor a pattern with * or ?".to_owned(),
        ),
        (
            "deny = [\"[x\"]".to_owned(),
            "line 1: deny: `[x` has neither a crate name nor a pattern with * or ?".to_owned(),
        ),
        (
            "deny = [\"a@two\"]".to_owned(),
            "line 1: deny: `a@two` has no version requirement behind the @, such as <2 or =1.0.4".to_owned(),
        ),
        (
            "deny = [\"a@\"]".to_owned(),
            "line 1: deny: `a@` has no version requirement behind the @, such as <2 or =1.0.4".to_owned(),
        ),
        ("max-crate-size = \"50 megabytes\"".to_owned(), format!("line 1: {SIZE}")),
        ("max-crate-size = 0".to_owned(), format!("line 1: {SIZE}")),
        ("max-crate-size = -1".to_owned(), format!("line 1: {SIZE}")),
        ("licenses = [\"MIT\"]".to_owned(), format!("line 1: {LICENCES}")),
        (
            "licenses = { alow = [] }".to_owned(),
            "line 1: licenses.alow is not known; the nearest key is licenses.allow".to_owned(),
        ),
        (
            "[licenses]\nallow = [\"MITT\"]".to_owned(),
            "line 2: licenses.allow: `MITT` is not an SPDX licence, such as MIT or Apache-2.0 WITH LLVM-exception"
                .to_owned(),
        ),
        (
            "[licenses]\ndeny = [\"MIT OR ISC\"]".to_owned(),
            "line 2: licenses.deny: `MIT OR ISC` is not an SPDX licence, such as MIT or Apache-2.0 WITH LLVM-exception"
                .to_owned(),
        ),
        (
            "licenses.deny = \"MIT\"".to_owned(),
            "line 1: licenses.deny is a list of texts, as in [\"MIT\", \"Apache-2.0 WITH LLVM-exception\"]".to_owned(),
        ),
        (
            "licenses.missing = \"report\"".to_owned(),
            "line 1: licenses.missing is \"deny\" or \"offer\"".to_owned(),
        ),
        (
            "advisories = \"advisory-db\"".to_owned(),
            "line 1: advisories is a table; write [advisories] above its keys".to_owned(),
        ),
        (
            "[advisories]\nmalicous = \"deny\"".to_owned(),
            "line 2: advisories.malicous is not known; the nearest key is advisories.malicious".to_owned(),
        ),
        (
            "[advisories]\nmalicious = \"warn\"".to_owned(),
            "line 2: advisories.malicious is \"deny\", \"report\" or \"ignore\"".to_owned(),
        ),
        (
            "[advisories]\nvulnerable = 1".to_owned(),
            "line 2: advisories.vulnerable is \"deny\", \"report\" or \"ignore\"".to_owned(),
        ),
        (
            "[advisories]\ndatabase = \"\"".to_owned(),
            "line 2: advisories.database is the path of a directory or a git clone".to_owned(),
        ),
        (
            WAIVER.replace("[[waiver]]", "[waiver]"),
            "line 1: waiver is a list of tables; write [[waiver]] above each".to_owned(),
        ),
        (
            "waiver = [1]".to_owned(),
            "line 1: waiver is a list of tables; write [[waiver]] above each".to_owned(),
        ),
        (
            format!("{WAIVER}\n[[waiver]]\nreason = \"x\""),
            "line 9: waiver.reason is not known; the nearest key is waiver.release".to_owned(),
        ),
        (
            format!("{WAIVER}\n{}", waiver("who = \"me\"\n", "")),
            "line 8: the waiver has no who; it needs release, rules, until, who and why".to_owned(),
        ),
        (
            waiver("until = 2026-12-31\n", ""),
            "line 1: the waiver has no until; it needs release, rules, until, who and why".to_owned(),
        ),
        (waiver("a@1.0.0", "a"), format!("line 2: {RELEASE}")),
        (waiver("a@1.0.0", "a@<2"), format!("line 2: {RELEASE}")),
        (waiver("a@1.0.0", "a*@1.0.0"), format!("line 2: {RELEASE}")),
        (waiver("\"a@1.0.0\"", "7"), format!("line 2: {RELEASE}")),
        (
            waiver("\"deny\"", "\"denyy\""),
            "line 3: waiver.rules: denyy is not a rule; the nearest is deny".to_owned(),
        ),
        (waiver("[\"deny\"]", "[]"), format!("line 3: {RULES}")),
        (waiver("[\"deny\"]", "\"deny\""), format!("line 3: {RULES}")),
        (waiver("[\"deny\"]", "[1]"), format!("line 3: {RULES}")),
        (waiver("2026-12-31", "\"soon\""), format!("line 4: {UNTIL}")),
        (waiver("2026-12-31", "2026-12-31T00:00:00Z"), format!("line 4: {UNTIL}")),
        (waiver("2026-12-31", "9999-12-31"), format!("line 4: {UNTIL}")),
        (waiver("2026-12-31", "20261231"), format!("line 4: {UNTIL}")),
        (
            waiver("\"me\"", "\"\""),
            "line 5: waiver.who is a text of one line, at most 1000 characters".to_owned(),
        ),
        (
            waiver("\"so\"", "\"a\\nb\""),
            "line 6: waiver.why is a text of one line, at most 1000 characters".to_owned(),
        ),
        (
            waiver("\"so\"", &format!("\"{long}\"")),
            "line 6: waiver.why is a text of one line, at most 1000 characters".to_owned(),
        ),
    ] {
        let fault = Policy::parse(&text).expect_err(&text);
        assert_eq!(fault.to_string(), message, "{text}");
    }
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    for (text, line) in [("format 1", 1), ("\nnewest = 1\nnewest = 2\n", 3), ("\n\n[x", 3), ("a = \"\n", 1)] {
        let fault = Policy::parse(text).expect_err(text);
        assert_eq!(fault.line, line, "{fault}");
        assert!(fault.reason.starts_with("this is not TOML: "), "{fault}");
    }
}

#[test]
fn an_empty_file_is_the_default_policy() {
    for text in ["", "# nothing\n", "format = 1\n"] {
        assert_eq!(Policy::parse(text).expect(text).digest(), Policy::default().digest());
    }
}

#[test]
fn values_may_be_written_in_several_ways() {
    for (one, other) in [
        ("newest = 0x10", "newest = 1_6"),
        ("max-crate-size = \"1 KiB\"", "max-crate-size = 1024"),
        ("max-crate-size = \"1024\"", "max-crate-size = \"1024 B\""),
        ("licenses = { allow = [\"MIT\"] }", "[licenses]\nallow = [\"MIT\"]"),
    ] {
        let digest = |text: &str| Policy::parse(text).expect(text).digest();
        assert_eq!(digest(one), digest(other), "{one}");
        assert_ne!(digest(one), Policy::default().digest(), "{one}");
    }
}

#[test]
fn the_sample_is_a_policy() {
    let sample = Policy::parse(SAMPLE).expect("sample");
    assert_eq!(sample.min_publish_age(), Duration::from_secs(7 * 24 * 60 * 60));
    assert_eq!((sample.newest(), sample.offers_deleted()), (0, false));
    assert_eq!(sample.advisory_database(), Some("advisory-db"));
    assert_eq!((sample.on_malicious(), sample.on_vulnerable()), (OnAdvisory::Deny, OnAdvisory::Report));
    let waivers = sample.waivers();
    assert_eq!(waivers.len(), 1);
    let waiver = waivers[0];
    assert_eq!(
        (waiver.release().to_string().as_str(), waiver.rules()),
        ("tokio 1.99.0", &[Rule::MinPublishAge][..])
    );
    assert_eq!((waiver.until().as_str(), waiver.why()), ("2026-12-31", "fixes our outage"));
}

#[test]
fn a_file_is_read_and_its_faults_name_it() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("policy.toml");
    assert!(matches!(Policy::load(&path), Err(PolicyError::Read { .. })));
    let write = |bytes: &[u8]| {
        use std::io::Write as _;
        let mut file = tempfile::NamedTempFile::new_in(dir.path()).expect("file");
        file.write_all(bytes).expect("write");
        file.persist(&path).expect("rename");
    };
    write(b"newest = 2\n");
    assert_eq!(Policy::load(&path).expect("policy").newest(), 2);
    write(b"\nnewst = 2\n");
    let error = Policy::load(&path).expect_err("a wrong key");
    assert_eq!(
        chain(&error),
        format!(
            "could not use the policy {}: line 2: newst is not known; the nearest key is newest",
            path.display()
        )
    );
    assert_eq!(error.kind(), FaultKind::Usage);
    write(b"\xff");
    let error = Policy::load(&path).expect_err("no text");
    assert_eq!(error.to_string(), format!("{} is no policy: it is not UTF-8", path.display()));
    write(&vec![b'\n'; 16 * 1024 * 1024 + 1]);
    let error = Policy::load(&path).expect_err("too large");
    assert_eq!(
        error.to_string(),
        format!("{} is no policy: it is larger than 16777216 bytes", path.display())
    );
}
