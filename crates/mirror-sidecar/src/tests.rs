//! Sidecars against what serde makes of the same line.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{Facts, Line, LineError, MAX_DEPTH, splice};

const FACTS: Facts<'_> = Facts {
    crate_file: "serde-1.0.0.crate",
    crate_path: "s/er/serde-1.0.0.crate",
    crate_url: "http://h/crates/serde/serde-1.0.0+\"b\".crate",
    index_path: "se/rd/serde",
    storage: Some("filesystem+bundle"),
    bundle_path: Some("D:\\bundles\\bundle-0001.tar.zst"),
    bundle_member: Some("s/er/serde-1.0.0.crate\u{1}"),
    license: Some("MIT OR \"x\""),
};

/// Makes a sidecar with serde, as anybody would.
fn naive(line: &[u8], facts: &Facts<'_>) -> Option<Value> {
    let Value::Object(mut object) = serde_json::from_slice(line).ok()? else { return None };
    for field in ["name", "vers", "cksum"] {
        object.get(field)?.as_str()?;
    }
    if !matches!(object.get("yanked"), None | Some(Value::Null | Value::Bool(_))) {
        return None;
    }
    for (key, value) in facts.known() {
        object.insert(key.to_owned(), value.into());
    }
    Some(Value::Object(object))
}

fn both(line: &[u8], facts: &Facts<'_>) -> Result<(String, String), LineError> {
    let (mut compact, mut pretty) = (Vec::new(), Vec::new());
    let line = Line::read(line)?;
    line.compact(facts, &mut compact)?;
    line.pretty(facts, &mut pretty)?;
    Ok((String::from_utf8(compact).expect("UTF-8"), String::from_utf8(pretty).expect("UTF-8")))
}

#[track_caller]
fn agree(line: &[u8], facts: &Facts<'_>) {
    let shown = String::from_utf8_lossy(line).into_owned();
    let expected = naive(line, facts);
    match (both(line, facts), &expected) {
        (Ok((compact, pretty)), Some(_)) => {
            assert!(!compact.contains('\n'), "{compact}");
            assert_eq!(serde_json::from_str::<Value>(&compact).ok(), expected, "{shown}\n{compact}");
            assert_eq!(serde_json::from_str::<Value>(&pretty).ok(), expected, "{shown}\n{pretty}");
        }
        (Err(_), None) => {}
        (ours, theirs) => panic!("{shown}\nours {ours:?}\nserde {theirs:?}"),
    }
}

const LINE: &str = r#"{"name":"serde","vers":"1.0.0","deps":[],"cksum":"00","features":{},"yanked":false}"#;

#[test]
fn a_plain_line_keeps_its_bytes() {
    let facts =
        Facts { crate_file: "f", crate_path: "p/f", crate_url: "u", index_path: "i", ..Facts::default() };
    let (compact, pretty) = both(LINE.as_bytes(), &facts).expect("good");
    assert_eq!(
        compact,
        r#"{"name":"serde","vers":"1.0.0","deps":[],"cksum":"00","features":{},"yanked":false,"crate_file":"f","crate_path":"p/f","crate_url":"u","index_path":"i"}"#
    );
    let sorted = "{\n  \"cksum\": \"00\",\n  \"crate_file\": \"f\",\n  \"crate_path\": \"p/f\",\n  \"crate_url\": \"u\",\n  \"deps\": [],\n  \
                  \"features\": {},\n  \"index_path\": \"i\",\n  \"name\": \"serde\",\n  \"vers\": \"1.0.0\",\n  \
                  \"yanked\": false\n}\n";
    assert_eq!(pretty, sorted);
    let line = Line::read(LINE.as_bytes()).expect("good");
    assert_eq!(&LINE[line.version_place().expect("plain")], "1.0.0");
    let mut spliced = Vec::new();
    splice(LINE.as_bytes(), &facts, &mut spliced);
    assert_eq!(spliced, compact.as_bytes());
}

/// A field of the line with that name stays where no licence is asked for, byte for byte; otherwise ours wins.
#[test]
fn the_licence_is_the_last_field_and_wins() {
    let line = LINE.replace("\"deps\"", "\"license\":[1.50],\"deps\"");
    let without = Facts { license: None, ..FACTS };
    let (compact, pretty) = both(line.as_bytes(), &without).expect("good");
    assert!(compact.starts_with(line.strip_suffix('}').expect("an object")), "{compact}");
    assert!(pretty.contains("\n  \"license\": [\n    1.50\n  ],\n"), "{pretty}");
    for line in [&line, LINE, &line.replace("license", "l\\u0069cense")] {
        agree(line.as_bytes(), &FACTS);
        agree(line.as_bytes(), &without);
    }
    let (compact, _) = both(LINE.as_bytes(), &FACTS).expect("good");
    assert!(compact.ends_with(",\"license\":\"MIT OR \\\"x\\\"\"}"), "{compact}");
}

/// Both ways of writing escape as serde does, and as Python does that leaves text as it is.
#[test]
fn control_characters_have_one_form() {
    let facts = Facts { bundle_path: Some("a\n\u{8}\t\u{1b}\u{7f}\u{e9}\u{2028}"), ..FACTS };
    let written = "\"a\\n\\b\\t\\u001b\u{7f}\u{e9}\u{2028}\"";
    let (compact, pretty) = both(LINE.as_bytes(), &facts).expect("good");
    let (spaced, _) = both(LINE.replace("\"deps\"", " \"deps\"").as_bytes(), &facts).expect("good");
    assert!(compact.contains(&format!("\"bundle_path\":{written}")), "{compact}");
    assert!(spaced.contains(&format!("\"bundle_path\":{written}")), "{spaced}");
    assert!(pretty.contains(&format!("\"bundle_path\": {written}")), "{pretty}");
}

#[test]
fn numbers_and_strings_stay_as_they_are_written() {
    for value in [
        "123456789012345678901234567890",
        "-0",
        "1.50",
        "1e999",
        "0.1000000000000000055511151231257827",
        "1E+2",
        r#""\u0041\/é\u00e9""#,
        r#"[1.0,{"b":1e0,"a":[2.50]}]"#,
    ] {
        let line = format!(r#"{{"name":"a","vers":"1.0.0","cksum":"","x":{value}}}"#);
        for line in [line.clone(), line.replace(",\"x\"", ",\n \"x\"")] {
            let (compact, pretty) = both(line.as_bytes(), &FACTS).expect("good");
            let dense: String = pretty.split_whitespace().collect();
            let sorted = value.replace(r#""b":1e0,"a":[2.50]"#, r#""a":[2.50],"b":1e0"#);
            let there = compact.contains(&format!("\"x\":{value}")) || compact.contains(&sorted);
            assert!(there, "{value} in {compact}");
            assert!(dense.contains(&format!("\"x\":{sorted}")), "{value} in {pretty}");
        }
    }
}

#[test]
fn keys_that_stand_twice_count_as_they_stand_last() {
    for line in [
        r#"{"name":"a","vers":"1","cksum":"","name":"b"}"#,
        r#"{"name":7,"vers":"1","cksum":"","name":"b"}"#,
        r#"{"name":"b","vers":"1","cksum":"","name":7}"#,
        r#"{"name":"a","vers":"1","cksum":"","n\u0061me":"b"}"#,
        r#"{"name":"a","vers":"1","cksum":"","yanked":1,"yanked":true}"#,
        r#"{"name":"a","vers":"1","cksum":"","yanked":true,"yanked":1}"#,
        r#"{"name":"a","vers":"1","cksum":"","crate_file":"mine","storage":3}"#,
        r#"{"name":"a","vers":"1","cksum":"","x":{"k":1,"k":2,"\u006b":3}}"#,
    ] {
        agree(line.as_bytes(), &FACTS);
        agree(line.as_bytes(), &Facts { storage: None, ..FACTS });
    }
    let many: String = (0..60).map(|n| format!("\"k{}\":{n},", n % 40)).collect();
    agree(format!("{{{many}\"name\":\"a\",\"vers\":\"1\",\"cksum\":\"\"}}").as_bytes(), &FACTS);
}

#[test]
fn what_is_no_object_with_the_fields_is_refused() {
    let error = |line: &str| Line::read(line.as_bytes()).expect_err(line);
    for line in ["[]", "7", "\"x\"", "null", "", " ", "nonsense"] {
        assert_eq!(error(line), LineError::NoObject);
    }
    assert_eq!(error(r#"{"name":"a","vers":"1"}"#), LineError::Missing("cksum"));
    assert!(matches!(error(r#"{"name":["a"],"vers":"1"}"#), LineError::WrongType { field: "name", .. }));
    for line in [
        r#"{"name":"a","vers":"1","cksum":"","x":[1,,2]}"#,
        r#"{"name":"a","vers":"1","cksum":"","x":01}"#,
        r#"{"name":"a","vers":"1","cksum":"","x":tru}"#,
        r#"{"name":"a","vers":"1","cksum":"","x":"\ud800"}"#,
        r#"{"name":"a","vers":"1","cksum":"","x":"\udc00\ud800"}"#,
        r#"{"name":"a","vers":"1","cksum":"","x":"\x"}"#,
        "{\"name\":\"a\",\"vers\":\"1\",\"cksum\":\"\",\"x\":\"\t\"}",
        r#"{"name":"a","vers":"1","cksum":""}}"#,
        r#"{"name":"a","vers":"1","cksum":"",}"#,
        r#"{"name":"a","vers":"1","cksum":""#,
    ] {
        assert!(matches!(error(line), LineError::Syntax { .. }), "{line}");
        agree(line.as_bytes(), &FACTS);
    }
    let broken = [br#"{"name":"a"#.as_slice(), b"\xff\"}"].concat();
    assert_eq!(Line::read(&broken).expect_err("not UTF-8"), LineError::NotUtf8 { at: 10 });
}

#[test]
fn nesting_is_bounded_where_serde_bounds_it() {
    for depth in [MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 100_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let inner = if open == "[" { "" } else { "1" };
            let deep = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
            let line = format!(r#"{{"name":"a","vers":"1","cksum":"","x":{deep}}}"#);
            agree(line.as_bytes(), &FACTS);
            if depth >= MAX_DEPTH {
                assert_eq!(Line::read(line.as_bytes()).expect_err("deep"), LineError::TooDeep);
            }
        }
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Writes a value with spacing and escapes that a seed chooses.
fn odd(value: &Value, seed: &mut u64, out: &mut String) {
    let mut chance = |n: u64| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % n
    };
    let space = ["", "", "", " ", "\t", " \r\n "][usize::try_from(chance(6)).expect("small")];
    let escape = chance(3) == 0;
    let text = |text: &str| {
        if escape {
            let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
            format!("\"{}\"", units.collect::<String>())
        } else {
            Value::from(text).to_string()
        }
    };
    out.push_str(space);
    match value {
        Value::String(inner) => out.push_str(&text(inner)),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                odd(item, seed, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (at, (key, item)) in members.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                out.push_str(&text(key));
                out.push_str(space);
                out.push(':');
                odd(item, seed, out);
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
    out.push_str(space);
}

proptest! {
    #[test]
    fn sidecars_are_what_serde_makes_of_the_line(
        fields in prop::collection::vec(("[a-c]{1,2}|name|vers|crate_url|\\PC{0,3}", values()), 0..8),
        yanked: Option<bool>,
        mut seed: u64,
    ) {
        let mut line = json!({"name": "a", "vers": "1.0.0", "cksum": "00", "yanked": yanked});
        let object = line.as_object_mut().expect("object");
        object.extend(fields);
        agree(line.to_string().as_bytes(), &FACTS);
        let mut text = String::new();
        odd(&line, &mut seed, &mut text);
        agree(text.as_bytes(), &FACTS);
    }

    /// Checks lines that were damaged somewhere: both refuse them, or both read the same.
    #[test]
    fn damaged_lines_are_judged_as_serde_does(cut in 0..90_usize, junk in "[\\]\\[{}\",:0-9a-f\\\\ut ]{0,3}", len in 0..3_usize) {
        let cut = cut.min(LINE.len());
        let line = format!("{}{junk}{}", &LINE[..cut], &LINE[(cut + len).min(LINE.len())..]);
        agree(line.as_bytes(), &FACTS);
    }

    #[test]
    fn any_bytes_may_come(bytes: Vec<u8>) {
        let _ = both(&bytes, &FACTS);
    }
}
