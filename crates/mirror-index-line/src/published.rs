//! Finds the time of publication without reading the whole line: a policy on age asks for it of every line.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::scanner::Scanner;

static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("pubtime"));
static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\u"));

/// Finds the string in the field `pubtime` of a plain line, which must have the structure of a JSON object; `None` inside
/// when the line does not contain the word. Leaves everything else to a full parse, by returning `None`: the word may be
/// written with escapes, occur twice, or be the key of an inner object.
pub(crate) fn find(line: &[u8]) -> Option<Option<&str>> {
    // A key could be written with escapes.
    if ESCAPE.find(line).is_some() {
        return None;
    }
    let Some(at) = NAME.find(line) else { return Some(None) };
    let rest = line.get(at + "pubtime".len()..)?;
    if NAME.find(rest).is_some() || !matches!(line[..at], [.., b'{' | b',', b'"']) {
        return None;
    }
    let rest = std::str::from_utf8(rest.strip_prefix(b"\":\"")?).ok()?;
    let (value, behind) = rest.split_once('"')?;
    if value.contains('\\') {
        return None;
    }
    // With members of one object behind it, it is a member of the outermost.
    is_end_of_object(behind).then_some(Some(value))
}

fn is_end_of_object(text: &str) -> bool {
    let mut at = Scanner::new(text);
    let mut read = || {
        while at.goes_on(b'}')? {
            at.key()?;
            at.value(1)?;
        }
        at.end()
    };
    read().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::IndexLine;

    const BEGIN: &str = r#"{"name":"a","vers":"1.0.0","cksum":"00""#;

    /// Reads the field as [`IndexLine::pubtime`] does.
    fn slowly(line: &str) -> Option<String> {
        let line = IndexLine::parse(line.as_bytes()).expect("a line");
        line.pubtime().ok().flatten().map(std::borrow::Cow::into_owned)
    }

    #[test]
    fn plain_lines_need_no_full_parse() {
        for (rest, found) in [
            (r#","pubtime":"2025-01-02T03:04:05Z","v":2}"#, Some("2025-01-02T03:04:05Z")),
            (r#","deps":[{"target":"cfg(x = \"y\")"}],"pubtime":"t"}"#, Some("t")),
            (r#","features":{"x":["y"]}}"#, None),
        ] {
            assert_eq!(find(format!("{BEGIN}{rest}").as_bytes()), Some(found), "{rest}");
        }
        assert_eq!(find(br#"{"pubtime":"t","name":"a"}"#), Some(Some("t")));
    }

    #[test]
    fn whatever_is_odd_is_left_to_the_full_parse() {
        for rest in [
            r#","pubtime" :"t"}"#,
            r#","pubtime":null}"#,
            r#","pubtime":7}"#,
            r#","pub\u0074ime":"t"}"#,
            r#","pubtime":"a","pubtime":"b"}"#,
            r#","x":{"pubtime":"t"}}"#,
            r#","x":{"pubtime":"t"},"y":1}"#,
            r#","x":[{"a":1,"pubtime":"t"}]}"#,
            r#","x\"pubtime":"t"}"#,
            r#","x":"pubtime"}"#,
            r#","pubtime":"a\\b"}"#,
            r#","pubtime":"t"} x"#,
        ] {
            assert_eq!(find(format!("{BEGIN}{rest}").as_bytes()), None, "{rest}");
        }
    }

    fn member() -> impl Strategy<Value = String> {
        let key = prop_oneof![Just("pubtime"), Just("a"), Just("x\\\"pubtime"), Just("pub\\u0074ime")];
        let text = "[a-z:,{}T0-9]{0,6}|pubtime|\\\\\"pubtime\\\\\":\\\\\"x|\\\\u0041";
        let leaf = prop_oneof![text.prop_map(|text| format!("\"{text}\"")), Just("null".to_owned())];
        let value = leaf.prop_recursive(2, 8, 3, |inner| {
            let object = prop::collection::vec(("a|pubtime", inner.clone()), 0..3).prop_map(|members| {
                let members: Vec<_> =
                    members.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            });
            let list = prop::collection::vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(",")));
            prop_oneof![object, list]
        });
        (key, value, " ?").prop_map(|(key, value, space)| format!("\"{key}\"{space}:{value}"))
    }

    proptest! {
        #[test]
        fn the_full_parse_agrees(members in prop::collection::vec(member(), 0..5)) {
            let members: String = members.iter().map(|member| format!(",{member}")).collect();
            let line = format!("{BEGIN}{members}}}");
            if let Some(found) = find(line.as_bytes()) {
                prop_assert_eq!(found.map(str::to_owned), slowly(&line), "{}", line);
            }
        }
    }
}
