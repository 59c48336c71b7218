//! The document: one form, and nothing else is read.

use std::process::Command;

use mirror_snapshot::{
    Contents, Gap, GapKind, MAX_GAP_BYTES, MAX_GAPS, MAX_NUMBER, MAX_SNAPSHOT_BYTES, Snapshot, SnapshotError,
    Unit, UnitDigests,
};
use mirror_testkit::{has, run};
use mirror_types::FaultKind;
use proptest::prelude::*;

use crate::world::{CREATED, DAY, at, contents, id, mirror, snapshot, successor};

#[test]
fn a_document_is_read_as_it_was_written() {
    let full = {
        let mut contents = contents();
        contents.serial = 7;
        contents.previous = Some(snapshot().digest());
        contents.policy = Some(snapshot().root());
        contents.index.commit = Some("0a".repeat(20).parse().unwrap());
        contents.index.tree = Some("0b".repeat(32).parse().unwrap());
        Snapshot::new(contents).unwrap()
    };
    for written in [snapshot(), full] {
        let read = Snapshot::parse(written.as_bytes()).unwrap();
        assert_eq!(read, written);
        assert_eq!(read.contents().gaps[0].name.as_str(), "broken", "gaps are sorted");
        assert!(written.as_bytes().is_ascii() && written.as_bytes().ends_with(b"\n}\n"));
    }
}

/// The worked example of `docs/snapshot.md` is what the crate writes.
#[test]
fn the_worked_example_is_true() {
    let page = include_str!("../../../../docs/snapshot.md");
    let written = String::from_utf8(snapshot().as_bytes().to_vec()).unwrap();
    let (head, units) = written.split_once("  \"units\": [\n").unwrap();
    assert!(page.contains(head), "docs/snapshot.md needs:\n{head}");
    let first = units.lines().next().unwrap();
    assert!(page.contains(&format!("  \"units\": [\n{first}\n")), "{first}");
    let rows = crate::world::text(&crate::world::rows());
    assert!(page.contains(&rows), "docs/snapshot.md needs:\n{rows}");
    assert!(page.contains(&snapshot().digest().to_hex()), "docs/snapshot.md needs {}", snapshot().digest());
}

#[test]
fn other_programs_write_the_same_bytes_and_compute_the_same_digests() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot-1.json");
    std::fs::write(&path, snapshot().as_bytes()).unwrap();
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        run(command.args(["-euc", script, "sh"]).arg(&path)).expect(0).stdout.trim_end().to_owned()
    };
    if has("sha256sum", &["--version"]) {
        assert_eq!(shell("sha256sum < $1 | cut -d' ' -f1"), snapshot().digest().to_hex());
    }
    if has("jq", &["--version"]) {
        shell("jq . $1 | cmp - $1");
        assert_eq!(shell("jq -r .root $1"), snapshot().root().to_hex());
        assert_eq!(shell("jq -r '.units[]' $1 | sha256sum | cut -d' ' -f1"), snapshot().root().to_hex());
        // The unit of serde is 8b, which is 139.
        std::fs::write(dir.path().join("rows"), crate::world::text(&crate::world::rows()[2..])).unwrap();
        let serde = snapshot().contents().units.get(Unit::new(0x8b)).to_hex();
        assert_eq!(shell("sha256sum < ${1%/*}/rows | cut -d' ' -f1"), serde);
        assert_eq!(shell("jq -r '.units[139]' $1"), serde);
    }
}

fn refused(text: &str) -> String {
    let error = Snapshot::parse(text.as_bytes()).expect_err(text);
    assert_eq!(error.kind(), FaultKind::Refused);
    mirror_types::chain(&error)
}

/// Returns the document with a change.
fn changed(from: &str, to: &str) -> String {
    let text = String::from_utf8(snapshot().as_bytes().to_vec()).unwrap();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

#[test]
fn the_same_in_another_form_is_refused() {
    let line = |line: u64| format!("the snapshot is not in its canonical form: line {line} differs from it");
    let table = [
        (changed("  \"serial\": 1,", "  \"serial\":1,"), line(4)),
        (changed("\n}\n", "\n}"), line(291)),
        (changed("\n}\n", "\n}\n\n"), line(292)),
        (changed("\n}\n", "\n}\r\n"), line(291)),
        (changed("upstream lost", "\\u0075pstream lost"), line(29)),
        (changed("{\n  \"format\"", "{  \"format\""), line(1)),
        (changed("  \"policy\": null,\n", ""), line(12)),
        (changed("\n}\n", "\n}\n "), line(292)),
    ];
    for (text, message) in table {
        assert_eq!(refused(&text), message);
    }
    // Upper-case digits are the same digest.
    let root = snapshot().root().to_hex();
    assert_eq!(refused(&changed(&root, &root.to_uppercase())), line(32));
    // The order of fields, and of gaps.
    let swapped = changed("  \"previous\": null,\n", "")
        .replace("  \"policy\": null,\n", "  \"policy\": null,\n  \"previous\": null,\n");
    assert_eq!(refused(&swapped), line(7));
}

#[test]
fn what_is_no_snapshot_is_refused() {
    let table = [
        ("".to_owned(), "the document is not a snapshot: EOF while parsing a value at line 1 column 0"),
        ("[1".repeat(300), "the document is not a snapshot: "),
        ("[".repeat(100_000), "the document is not a snapshot: "),
        (
            "{\"format\": 2, \"new\": true}".to_owned(),
            "the snapshot has format 2, and this version reads format 1: use a newer one",
        ),
        (
            changed("  \"serial\": 1,", "  \"serial\": 1,\n  \"more\": 1,"),
            "the document is not a snapshot: unknown field `more`",
        ),
        (
            changed("  \"serial\": 1,", "  \"serial\": 1,\n  \"serial\": 1,"),
            "the document is not a snapshot: duplicate field `serial`",
        ),
        (
            changed("    \"tree\": null", "    \"tree\": \"HEAD\""),
            "the document is not a snapshot: the id of a git object is",
        ),
        (
            changed("  \"serial\": 1,", "  \"serial\": -1,"),
            "the document is not a snapshot: invalid value: integer `-1`",
        ),
        (
            changed("  \"serial\": 1,", "  \"serial\": 1.0,"),
            "the document is not a snapshot: invalid type: floating point",
        ),
        (
            changed("  \"serial\": 1,", "  \"serial\": 0,"),
            "serial of the snapshot is 0, and the first one is 1",
        ),
        (
            changed("  \"serial\": 1,", "  \"serial\": 9007199254740992,"),
            "serial of the snapshot is above 2^53 - 1",
        ),
        (
            changed("03:00:00Z", "03:00:00.0Z"),
            "created of the snapshot is not a time as in 2026-11-27T03:00:00Z",
        ),
        (
            changed("\"created\": \"2026", "\"created\": \"2028"),
            "expires of the snapshot is not after the time of creation",
        ),
        (
            changed("  \"previous\": null", &format!("  \"previous\": \"{}\"", "0".repeat(64))),
            "previous of the snapshot names a snapshot before the first",
        ),
        (
            changed("    \"crates\": 3", "    \"crates\": 5"),
            "crates of the snapshot is above the number of releases",
        ),
        (
            changed("    \"kind\": \"failed\"", "    \"kind\": \"lost\""),
            "the document is not a snapshot: unknown variant `lost`",
        ),
        (
            changed("\"name\": \"broken\"", "\"name\": \"zroken\""),
            "gaps of the snapshot are not sorted, or name a release twice",
        ),
        (
            changed("\"name\": \"broken\"", "\"name\": \"../x\""),
            "the document is not a snapshot: ../x is not a crate name",
        ),
        (
            changed("upstream lost", "upstr\u{e9}am lost"),
            "gaps of the snapshot have a reason that is too long, or not printable ASCII",
        ),
        (
            changed("\"root\": \"", "\"root\": \"x"),
            "the document is not a snapshot: a checksum is 64 hexadecimal digits",
        ),
    ];
    for (text, message) in table {
        let error = refused(&text);
        assert!(error.starts_with(message), "{error}\n{message}");
    }
    let units = String::from_utf8(snapshot().as_bytes().to_vec()).unwrap();
    let last = units.lines().rev().nth(2).unwrap();
    let fewer = units.replacen(&format!(",\n{last}\n"), "\n", 1);
    assert_eq!(refused(&fewer), "units of the snapshot are not 256");
    let root = snapshot().root().to_hex();
    let other = changed(&root, &"0".repeat(64));
    assert_eq!(refused(&other), "root of the snapshot is not the digest of its units");
}

#[test]
fn contents_that_contradict_themselves_make_no_snapshot() {
    let fault = |change: &dyn Fn(&mut Contents)| {
        let mut contents = contents();
        change(&mut contents);
        Snapshot::new(contents).expect_err("refused").to_string()
    };
    assert_eq!(fault(&|c| c.serial = 0), "serial of the snapshot is 0, and the first one is 1");
    assert_eq!(fault(&|c| c.counts.bytes = MAX_NUMBER + 1), "bytes of the snapshot is above 2^53 - 1");
    assert_eq!(
        fault(&|c| c.expires = c.created),
        "expires of the snapshot is not after the time of creation"
    );
    let again = Gap::new(id("broken", "1.0.0"), GapKind::Failed, "once more");
    assert_eq!(
        fault(&|c| c.gaps.push(again.clone())),
        "gaps of the snapshot are not sorted, or name a release twice"
    );
    assert_eq!(
        fault(&|c| c.created = at(0) - std::time::Duration::from_secs(1)),
        "created of the snapshot is before the year 1970 or after the year 9998"
    );
}

#[test]
fn the_bounds_hold_the_most_gaps_at_their_longest() {
    let version = format!("1.0.0-{}", "1".repeat(164));
    let gap = |number: usize| {
        let name = format!("{number:x>64}").replacen('x', "y", 1);
        Gap::new(id(&name[..64], &version), GapKind::Acknowledged, &"\"".repeat(500))
    };
    let with = |count: usize| {
        let mut contents = Contents::new(mirror(), at(CREATED), at(CREATED + DAY), UnitDigests::empty());
        contents.gaps = (0..count).map(gap).collect();
        Snapshot::new(contents)
    };
    let (one, three) = (with(1).unwrap(), with(3).unwrap());
    assert_eq!(Snapshot::parse(three.as_bytes()).unwrap(), three);
    let each = (three.as_bytes().len() - one.as_bytes().len()) / 2;
    assert!(each <= MAX_GAP_BYTES, "{each}");
    assert!(one.as_bytes().len() + MAX_GAPS * each <= MAX_SNAPSHOT_BYTES);
    let error = with(MAX_GAPS + 1).expect_err("too many");
    assert!(matches!(error, SnapshotError::TooManyGaps { count, .. } if count == MAX_GAPS + 1), "{error}");
    let error = Snapshot::parse(&vec![b' '; MAX_SNAPSHOT_BYTES + 1]).expect_err("too long");
    assert!(matches!(error, SnapshotError::TooLarge { .. }), "{error}");
}

#[test]
fn a_snapshot_names_the_one_before() {
    let next = successor(&snapshot());
    assert_eq!((next.serial(), next.contents().previous), (2, Some(snapshot().digest())));
    assert_eq!(next.file_name(), "snapshot-2.json");
    assert_eq!(next.root(), snapshot().root(), "the same is offered");
    assert!(!next.is_expired(at(CREATED)) && next.is_expired(next.contents().expires));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_taken_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Snapshot::parse(&bytes).is_err());
    }

    /// Cuts a good document, and puts something else into the hole: what is accepted is what was written.
    #[test]
    fn a_document_with_any_hole_is_refused(from in 0..20_000_usize, len in 0..40_usize, put in "[\\PC\n]{0,40}") {
        let good = snapshot();
        let (from, len) = (from.min(good.as_bytes().len()), len);
        let until = (from + len).min(good.as_bytes().len());
        let bytes = [&good.as_bytes()[..from], put.as_bytes(), &good.as_bytes()[until..]].concat();
        prop_assert_eq!(Snapshot::parse(&bytes).is_ok(), bytes == good.as_bytes());
    }

    #[test]
    fn every_snapshot_is_read_as_it_was_written(
        serial in 2..=MAX_NUMBER,
        created in 0..4_000_000_000_u64,
        valid in 1..4_000_000_000_u64,
        releases in 0..=MAX_NUMBER,
        digest: [u8; 32],
        unit: u8,
        has_previous: bool,
        reasons in prop::collection::btree_map("[a-z][a-zA-Z0-9_-]{0,8}", "\\PC{0,30}", 0..5),
    ) {
        let digest = mirror_types::Sha256::from_bytes(digest);
        let mut units = UnitDigests::empty();
        units.set(Unit::new(unit), digest);
        let mut contents = Contents::new(mirror(), at(created), at(created + valid), units);
        contents.serial = serial;
        contents.previous = has_previous.then_some(digest);
        contents.policy = (!has_previous).then_some(digest);
        contents.counts.releases = releases;
        contents.gaps =
            reasons.iter().map(|(name, why)| Gap::new(id(name, "1.0.0"), GapKind::Failed, why)).collect();
        let written = Snapshot::new(contents).unwrap();
        prop_assert_eq!(Snapshot::parse(written.as_bytes()).unwrap(), written);
    }
}
