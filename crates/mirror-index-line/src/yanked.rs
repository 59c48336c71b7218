//! Sets the flag of a yank in a line.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The flag of a line, as text; `null` is a text, too.
#[derive(Deserialize)]
struct Flag<'a> {
    #[serde(default, borrow, deserialize_with = "text")]
    yanked: Option<&'a RawValue>,
}

fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Returns a line of an index with its flag `yanked` set, and every other byte as it was; `None` when the line is no
/// object, or has the flag twice.
#[must_use]
pub fn with_yanked(line: &[u8], is_yanked: bool) -> Option<Cow<'_, [u8]>> {
    let Flag { yanked } = serde_json::from_slice(line).ok()?;
    let word = if is_yanked { "true" } else { "false" };
    let (range, word) = match yanked {
        None if !is_yanked => return Some(line.into()),
        Some(now) if now.get() == word => return Some(line.into()),
        Some(now) => {
            let at = now.get().as_ptr().addr() - line.as_ptr().addr();
            (at..at + now.get().len(), word.to_owned())
        }
        None => {
            let at = line.iter().position(|byte| *byte == b'{')? + 1;
            let is_empty = line[at..].trim_ascii_start().starts_with(b"}");
            (at..at, format!("\"yanked\":{word}{}", if is_empty { "" } else { "," }))
        }
    };
    Some([&line[..range.start], word.as_bytes(), &line[range.end..]].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_flag_changes() {
        for (line, yanked, unyanked) in [
            (r#"{"a":1,"yanked":false}"#, r#"{"a":1,"yanked":true}"#, r#"{"a":1,"yanked":false}"#),
            (
                r#" { "yanked" : true , "x": [1.50, {"yanked":false}] }"#,
                r#" { "yanked" : true , "x": [1.50, {"yanked":false}] }"#,
                r#" { "yanked" : false , "x": [1.50, {"yanked":false}] }"#,
            ),
            (
                r#"{"a":{"yanked":true}}"#,
                r#"{"yanked":true,"a":{"yanked":true}}"#,
                r#"{"a":{"yanked":true}}"#,
            ),
            (r#"{"yanked":null}"#, r#"{"yanked":true}"#, r#"{"yanked":false}"#),
            (
                r#"{"y\u0061nked":null,"é":"😀"}"#,
                r#"{"y\u0061nked":true,"é":"😀"}"#,
                r#"{"y\u0061nked":false,"é":"😀"}"#,
            ),
            ("{ }", "{\"yanked\":true }", "{ }"),
        ] {
            for (is_yanked, expected) in [(true, yanked), (false, unyanked)] {
                let set = with_yanked(line.as_bytes(), is_yanked).expect(line);
                assert_eq!(String::from_utf8_lossy(&set), expected, "{line}");
            }
        }
        for line in ["", "[]", "7", "{", r#"{"yanked":true,"yanked":false}"#, r#"{"yanked":true} x"#] {
            assert_eq!(with_yanked(line.as_bytes(), true), None, "{line}");
        }
    }
}
