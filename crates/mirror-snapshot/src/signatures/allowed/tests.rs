use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::signatures::RevokedKeys;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti user@example.com";

fn key() -> KeyData {
    PublicKey::from_openssh(KEY).expect("key").key_data().clone()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn found(line: &str, identity: Option<&str>, seconds: u64) -> Result<String, Reason> {
    let list = AllowedSigners::parse_in(line, &TimeZone::UTC).expect("list");
    list.find(&key(), identity, at(seconds)).map(str::to_owned)
}

#[test]
fn lines_are_read_as_openssh_reads_them() {
    for (line, principals) in [
        (format!("a@x {KEY}"), "a@x"),
        (format!("  a@x,b@x\t{KEY}  "), "a@x,b@x"),
        (format!("# comment\n\n   # another\na@x {KEY}\n"), "a@x"),
        (format!("\"a x,b\" {KEY}"), "a x,b"),
        (format!("* namespaces=\"mirror-snapshot\" {KEY}"), "*"),
        (format!("* NameSpaces=\"file,mirror-*\" {KEY}"), "*"),
        (format!("* namespaces=\"*\",valid-after=\"19700102Z\",valid-before=\"20991231\" {KEY}"), "*"),
        (format!("* {}", KEY.trim_end_matches(" user@example.com")), "*"),
    ] {
        assert_eq!(found(&line, None, 1_700_000_000).as_deref(), Ok(principals), "{line}");
    }
}

#[test]
fn wrong_lines_are_refused_with_their_number() {
    let table = [
        ("a@x", "it does not begin with principals and white space"),
        ("\"a@x ssh-ed25519", "it does not begin with principals and white space"),
        ("a@x namespaces=\"a\"", "there is no public key behind the principals and options"),
        ("a@x namespaces=\"a\" ssh-ed25519", "there is no public key behind the principals and options"),
        (
            "a@x ssh-ed25519 AAAA",
            "ssh-ed25519 is neither a public key nor one of the options namespaces, valid-after and valid-before",
        ),
        ("a@x cert-authority KEY", "certificate authorities are not supported: list the keys themselves"),
        (
            "a@x namespaces=\"file\",cert-authority KEY",
            "certificate authorities are not supported: list the keys themselves",
        ),
        ("a@x namespaces KEY", "the option namespaces needs a value in quotes"),
        (
            "a@x namespaces=file KEY",
            "the value of an option is in quotes, as in namespaces=\"mirror-snapshot\"",
        ),
        ("a@x namespaces=\"a\",namespaces=\"b\" KEY", "the option namespaces is there twice"),
        ("a@x valid-after=\"2026\" KEY", "valid-after is a time such as 20271231Z or 20271231235959Z"),
        ("a@x valid-after=\"20261301Z\" KEY", "valid-after is a time such as 20271231Z or 20271231235959Z"),
        (
            "a@x valid-after=\"20270101Z\",valid-before=\"20260101Z\" KEY",
            "valid-before is not later than valid-after",
        ),
        (
            "a@x touch-required KEY",
            "touch-required is neither a public key nor one of the options namespaces, valid-after and valid-before",
        ),
        (
            "a@x \u{1b}[2J KEY",
            "\\u{1b}[2j is neither a public key nor one of the options namespaces, valid-after and valid-before",
        ),
    ];
    for (line, why) in table {
        let line = line.replace("KEY", KEY);
        let error = AllowedSigners::parse_in(&format!("# first\n{line}"), &TimeZone::UTC).expect_err(&line);
        assert_eq!(error, AllowedSignersError::Line { line: 2, why: why.to_owned() }, "{line}");
        assert_eq!(error.kind(), FaultKind::Usage);
    }
}

#[test]
fn an_entry_counts_for_its_namespace_identity_and_time() {
    let line = format!(
        "*@x namespaces=\"mirror-*\",valid-after=\"19700101000100Z\",valid-before=\"197001010002Z\" {KEY}"
    );
    let outside = Reason::OutsideValidity { after: Some(at(60)), before: Some(at(120)) };
    assert_eq!(found(&line, None, 59), Err(outside));
    assert_eq!(found(&line, None, 60).as_deref(), Ok("*@x"));
    assert_eq!(found(&line, None, 120).as_deref(), Ok("*@x"));
    assert_eq!(found(&line, None, 121), Err(outside));
    assert_eq!(found(&line, Some("a@x"), 60).as_deref(), Ok("*@x"));
    assert_eq!(found(&line, Some("a@y"), 60), Err(Reason::OtherIdentity));
    assert_eq!(found(&format!("a namespaces=\"file\" {KEY}"), None, 60), Err(Reason::OtherNamespace));
    assert_eq!(found("# nobody", None, 60), Err(Reason::Unknown));
    // A later line may allow what an earlier one does not.
    assert_eq!(found(&format!("a namespaces=\"file\" {KEY}\nb {KEY}"), None, 60).as_deref(), Ok("b"));
}

#[test]
fn times_are_local_unless_they_end_with_z() {
    let zone = TimeZone::fixed(jiff::tz::offset(2));
    for (text, seconds) in [
        ("19700102Z", Some(86_400)),
        ("19700102utc", Some(86_400)),
        ("19700102", Some(79_200)),
        ("197001020300", Some(90_000)),
        ("19700102030001z", Some(97_201)),
        ("19700101Z", None),
        ("19700230Z", None),
        ("1970010203Z", None),
        ("1970010é", None),
        ("+1970010", None),
        ("", None),
    ] {
        assert_eq!(parse_time(text, &zone), seconds.map(at), "{text}");
    }
}

#[test]
fn revoked_keys_are_listed_one_a_line() {
    let list = RevokedKeys::parse(format!("# gone\n\n{KEY}\n").as_bytes()).expect("list");
    assert!(list.contains(&key()) && !list.is_empty());
    assert!(!RevokedKeys::parse(b"").expect("list").contains(&key()));
    let error = RevokedKeys::parse(format!("{KEY}\nssh-ed25519 x").as_bytes()).expect_err("refused");
    assert_eq!(error.to_string(), "line 2 of the list of keys: it is not a public key as in id_ed25519.pub");
    assert_eq!(RevokedKeys::parse(b"SSHKRL\n\0\0").expect_err("refused"), AllowedSignersError::BinaryList);
}

proptest::proptest! {
    #[test]
    fn any_text_is_taken_without_panic(text in "\\PC{0,60}", tail in "[a-z=\",\\\\ \\n-]{0,40}") {
        let _ = AllowedSigners::parse_in(&format!("{text} {tail} {KEY}"), &TimeZone::UTC);
        let _ = RevokedKeys::parse(text.as_bytes());
        let _ = parse_time(&text, &TimeZone::UTC);
    }
}
