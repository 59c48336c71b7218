//! Compares lines with what serde makes of them.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use crate::{CheckedLine, IndexLine, LineError, Requirements, crate_of, is_like_a_line, lines, records};

/// Reads the index files of a part of the registry's own index.
fn real_files() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/real-index/index");
    let (mut dirs, mut files): (Vec<PathBuf>, _) = (vec![root], Vec::new());
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of the index") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { dirs.push(path) } else { files.push(fs::read(&path).expect("a file")) }
        }
    }
    files
}

#[test]
fn every_real_line_says_what_serde_says() {
    let mut count = 0;
    for file in real_files() {
        for (_, text) in lines(&file) {
            let value: Value = serde_json::from_slice(text).expect("JSON");
            let line = IndexLine::skim(text).expect("a line");
            assert_eq!(line, IndexLine::parse(text).expect("a line"));
            let checked = CheckedLine::read(text).expect("a line");
            assert_eq!(
                (&checked.name, &checked.vers, &checked.cksum, checked.yanked, checked.text().as_bytes()),
                (&line.name, &line.vers, &line.cksum, line.yanked, text)
            );
            assert!(
                checked.is_plain() && !CheckedLine::read_beside(text, &["deps"]).expect("a line").is_plain()
            );
            for (key, value) in value.as_object().expect("an object") {
                let found = line.field(key).expect("a field").expect("it is there");
                assert_eq!(&serde_json::from_str::<Value>(found).expect("JSON"), value, "{key}");
            }
            assert_eq!(
                (&*line.name, &*line.vers, &*line.cksum, line.yanked, line.text()),
                (
                    value["name"].as_str().expect("name"),
                    value["vers"].as_str().expect("vers"),
                    value["cksum"].as_str().expect("cksum"),
                    value["yanked"].as_bool().expect("yanked"),
                    text
                )
            );
            let found = line.requirements().expect("requirements");
            for (dependency, value) in
                found.deps.iter().flatten().zip(value["deps"].as_array().expect("deps"))
            {
                assert_eq!(dependency.name, value["name"]);
                assert_eq!(dependency.req, value["req"]);
                assert_eq!(dependency.crate_name(), value.get("package").unwrap_or(&value["name"]));
                assert_eq!(dependency.is_optional(), value["optional"]);
                assert_eq!(dependency.is_for_development(), value["kind"] == "dev");
            }
            assert_eq!(found.deps.map(|deps| deps.len()), value["deps"].as_array().map(Vec::len));
            assert_eq!(serde_json::to_value(found.features).expect("JSON"), value["features"]);
            count += 1;
        }
        let recorded: Vec<_> = records(&file).collect();
        assert_eq!(recorded.len(), lines(&file).count());
        assert_eq!(crate_of(&file).as_ref(), recorded.first().map(|(record, _)| &record.id.name));
    }
    assert_eq!(count, 883);
}

const SUM: &str = "ababababababababababababababababababababababababababababababab01";

#[test]
fn only_lines_of_releases_that_can_be_mirrored_are_records() {
    let good = format!(r#"{{"name":"a","vers":"1.0.0","cksum":"{SUM}","yanked":null,"x":[1]}}"#);
    let bad = [
        r#"{"name":"a","vers":"1.0.0","cksum":"12"}"#.to_owned(),
        format!(r#"{{"name":"..","vers":"1.0.0","cksum":"{SUM}"}}"#),
        format!(r#"{{"name":"a","vers":"../1","cksum":"{SUM}"}}"#),
        format!(r#"{{"name":"a","vers":"1.0.0","cksum":"{SUM}","yanked":"no"}}"#),
        format!(r#"{{"name":"a","name":"a","vers":"1.0.0","cksum":"{SUM}"}}"#),
        r#"{"name":"a","vers":"1.0.0"}"#.to_owned(),
        " \t".to_owned(),
        "nonsense".to_owned(),
    ];
    for line in &bad {
        assert_eq!(records(line.as_bytes()).count(), 0, "{line}");
    }
    let text = format!("{}\n{good}\n\n{good}", bad.join("\n"));
    let found: Vec<_> = records(text.as_bytes()).collect();
    assert_eq!(found.len(), 2);
    for (record, line) in found {
        assert_eq!((record.id.to_string().as_str(), record.yanked), ("a 1.0.0", false));
        assert_eq!((record.cksum.to_hex().as_str(), line), (SUM, good.as_bytes()));
    }
    assert_eq!(lines(text.as_bytes()).map(|(number, _)| number).last(), Some(11));
}

#[test]
fn skimming_does_not_look_for_faults_that_parsing_finds() {
    let line = format!(r#"{{"name":"a","vers":"1.0.0","deps":[1,,2],"cksum":"{SUM}"}}"#);
    assert_eq!(IndexLine::skim(line.as_bytes()).expect("structure").name, "a");
    assert!(IndexLine::parse(line.as_bytes()).is_err());
    assert!(IndexLine::skim(line.as_bytes()).expect("structure").requirements().is_err());
}

#[test]
fn features_are_those_of_both_notations() {
    let line = br#"{"features":{"a":["b"],"x":[]},"features2":{"a":["dep:c"],"d":["e?/f"]},"deps":null}"#;
    let found = Requirements::read(line).expect("requirements");
    let of = |name| found.feature(name).map(Iterator::collect::<Vec<_>>);
    assert_eq!(of("a"), Some(vec!["b", "dep:c"]));
    assert_eq!(of("x"), Some(vec![]));
    assert_eq!(of("d"), Some(vec!["e?/f"]));
    assert_eq!(of("b"), None);
    assert_eq!(found.feature_names().collect::<Vec<_>>(), ["a", "x", "a", "d"]);
    assert_eq!(found.deps, None);
}

#[test]
fn bad_lines_are_known_as_lines_and_other_texts_are_not() {
    for (text, like) in [
        ("{\"name\":\"a\",\"vers\":7}", Some(true)),
        ("\t {\"cksum\":\"\"}", Some(true)),
        ("{\"errors\":[]}", Some(false)),
        ("{\"name\":null}", Some(false)),
        ("[\"name\"]", None),
        ("{\"name\":", None),
        ("", None),
    ] {
        assert_eq!(is_like_a_line(text.as_bytes()), like, "{text}");
    }
}

#[test]
fn a_file_is_of_the_crate_that_its_first_line_with_a_name_names() {
    let of = |text: &str| crate_of(text.as_bytes()).map(|name| name.to_string());
    assert_eq!(of("nonsense\n\n{\"name\":\"Serde\"}\n{\"name\":\"other\"}"), Some("Serde".to_owned()));
    assert_eq!(of("{\"name\":\"..\"}\n{\"name\":\"other\"}"), None);
    assert_eq!(of("{\"name\":7}\n{\"name\":\"other\"}"), Some("other".to_owned()));
    assert_eq!(of(""), None);
}

#[test]
fn any_field_is_read_on_demand() {
    let text = br#"{"name":"a","vers":"1","cksum":"","pubtime":"2025-01-02T03:04:05Z","rust_version":null,
        "links":"z\u0061","new": { "a" : [1.0] },"new2":1e999}"#;
    let line = IndexLine::skim(text).expect("a line");
    assert_eq!(line.pubtime().expect("pubtime").as_deref(), Some("2025-01-02T03:04:05Z"));
    assert_eq!(line.rust_version().expect("rust_version"), None);
    assert_eq!(line.links().expect("links").as_deref(), Some("za"));
    assert_eq!(line.field("new").expect("new"), Some("{ \"a\" : [1.0] }"));
    assert_eq!(line.field("new2").expect("new2"), Some("1e999"));
    assert_eq!(line.field("missing").expect("missing"), None);
    let line = br#"{"name":"a","vers":"1","cksum":"","pubtime":7,"links":[1,,2]}"#;
    let line = IndexLine::skim(line).expect("structure");
    assert!(matches!(line.pubtime(), Err(LineError::Syntax { .. })));
    let line = IndexLine::skim(br#"{"name":"a","vers":"1","cksum":"","pubtime":7}"#).expect("a line");
    assert_eq!(line.pubtime(), Err(LineError::WrongType { field: "pubtime", expected: "a string" }));
}

#[test]
fn the_time_of_publication_is_known_where_the_line_says_it_well() {
    let at = |pubtime: &str| {
        let text = format!(r#"{{"name":"a","vers":"1","cksum":"","pubtime":{pubtime}}}"#);
        let published = IndexLine::skim(text.as_bytes()).expect("a line").published();
        published.map(|time| time.duration_since(std::time::UNIX_EPOCH).expect("since 1970").as_secs())
    };
    assert_eq!(at(r#""2025-01-02T03:04:05Z""#), Some(1_735_787_045));
    assert_eq!(at(r#""2025-01-02T04:04:05+01:00""#), Some(1_735_787_045));
    for unknown in ["null", "7", r#""""#, r#""yesterday""#, r#""2025-01-02""#, r#""2025-13-02T03:04:05Z""#] {
        assert_eq!(at(unknown), None, "{unknown}");
    }
    assert_eq!(IndexLine::skim(br#"{"name":"a","vers":"1","cksum":""}"#).expect("a line").published(), None);
}

#[test]
fn numbers_of_any_size_are_kept_as_they_are() {
    for number in ["1e999", "-1e999", "100e308", "0e1000308", "1234567890123456789012345678901234567890"] {
        let text = format!(r#"{{"name":"a","vers":"1","cksum":"","new":[{number}],"n\u0065w2":{number}}}"#);
        let line = CheckedLine::read(text.as_bytes()).expect("a line");
        assert_eq!(line.text(), text);
        for (key, value) in [("new", format!("[{number}]")), ("new2", number.to_owned())] {
            assert_eq!(crate::checked::field(text.as_bytes(), key).expect("a line"), Some(value.as_str()));
        }
        assert_eq!(IndexLine::skim(text.as_bytes()).expect("a line").name, "a");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Of repeated keys, and keys written with escapes, the last one counts.
    #[test]
    fn fields_are_those_that_serde_finds(
        fields in prop::collection::vec(("name|vers|cksum|yanked|[a-c\"]", value(), any::<bool>()), 0..12),
        junk in "[\\]\\[{}\",:0-9a-f\\\\ut ]{0,2}",
        cut in any::<prop::sample::Index>(),
        is_whole in prop::bool::weighted(0.8),
    ) {
        let begin = [r#""name":"a","vers":"1.0.0","cksum":"00""#.to_owned()];
        let fields = fields.iter().map(|(key, value, escaped)| {
            let key = match escaped {
                true => format!("\"{}\"", key.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect::<String>()),
                false => Value::from(key.as_str()).to_string(),
            };
            format!("{key}:{value}")
        });
        let parts: Vec<_> = begin.into_iter().filter(|_| is_whole).chain(fields).collect();
        let mut text = format!("{{{}}}", parts.join(","));
        let at = cut.index(text.len());
        if text.is_char_boundary(at) {
            text.insert_str(at, &junk);
        }
        let whole = serde_json::from_str::<serde_json::Map<String, Value>>(&text);
        // Junk can turn a number into one beyond the range of a double, which serde refuses to read and lines may hold.
        prop_assume!(!matches!(&whole, Err(error) if error.to_string().starts_with("number out of range")));
        let whole = whole.ok();
        let string = |key| Some(whole.as_ref()?.get(key)?.as_str()?.to_owned());
        let yanked = match whole.as_ref().and_then(|whole| whole.get("yanked")) {
            None | Some(Value::Null) => Some(false),
            Some(flag) => flag.as_bool(),
        };
        let wanted = (|| Some((string("name")?, string("vers")?, string("cksum")?, yanked?)))();
        let found = CheckedLine::read(text.as_bytes());
        let found = found.map(|line| {
            (line.name.into_owned(), line.vers.into_owned(), line.cksum.into_owned(), line.yanked)
        });
        prop_assert_eq!(found.ok(), wanted, "{}", text);
        for key in ["name", "a", "\"", "none"] {
            let found = crate::checked::field(text.as_bytes(), key);
            let found = found.map(|json| json.map(|json| serde_json::from_str::<Value>(json).expect("JSON")));
            let wanted = whole.as_ref().map(|whole| whole.get(key).cloned());
            prop_assert_eq!(found.ok(), wanted, "{} of {}", key, text);
        }
    }
}
