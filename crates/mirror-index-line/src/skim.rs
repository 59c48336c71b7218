//! Finds the fields that are read of every line, without building a document.
//!
//! [`skim`] follows the structure of the line: it reads keys of the outermost object, and passes over all other values
//! by their quotes and brackets. Anything unusual — escapes in a key or a wanted value, a repeated field, a value of an
//! unexpected type — it leaves to serde, whose answer counts.

use std::borrow::Cow;

use serde::Deserialize;

/// The fields that are read of every line.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Fields<'a> {
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) vers: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) cksum: Cow<'a, str>,
    #[serde(default)]
    pub(crate) yanked: Option<bool>,
}

/// Reads the fields of a plain line; `None` leaves it to serde.
pub(crate) fn skim(line: &[u8]) -> Option<Fields<'_>> {
    let mut at = Cursor { line, at: 0 };
    let (mut name, mut vers, mut cksum, mut yanked) = (None, None, None, None);
    at.space();
    at.expect(b'{')?;
    loop {
        at.space();
        let key = at.plain_string()?;
        at.space();
        at.expect(b':')?;
        at.space();
        let place = match key {
            b"name" => &mut name,
            b"vers" => &mut vers,
            b"cksum" => &mut cksum,
            b"yanked" => {
                if yanked.replace(at.flag()?).is_some() {
                    return None;
                }
                if at.is_last()? { break } else { continue }
            }
            _ => {
                at.skip_value()?;
                if at.is_last()? { break } else { continue }
            }
        };
        let text = std::str::from_utf8(at.plain_string()?).ok()?;
        if place.replace(text).is_some() {
            return None;
        }
        if at.is_last()? {
            break;
        }
    }
    at.space();
    if at.at != line.len() {
        return None;
    }
    Some(Fields {
        name: name?.into(),
        vers: vers?.into(),
        cksum: cksum?.into(),
        yanked: yanked.and_then(Flag::value),
    })
}

enum Flag {
    True,
    False,
    Null,
}

impl Flag {
    fn value(self) -> Option<bool> {
        match self {
            Self::True => Some(true),
            Self::False => Some(false),
            Self::Null => None,
        }
    }
}

struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

/// The meaning of a byte outside of strings.
const QUOTE: u8 = 1;
const OPEN: u8 = 2;
const CLOSE: u8 = 3;
/// The meaning of a byte inside of strings, beside the quote.
const ESCAPE: u8 = 4;
const CONTROL: u8 = 5;

static KIND: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        kinds[byte] = CONTROL;
        byte += 1;
    }
    kinds[b'"' as usize] = QUOTE;
    kinds[b'{' as usize] = OPEN;
    kinds[b'[' as usize] = OPEN;
    kinds[b'}' as usize] = CLOSE;
    kinds[b']' as usize] = CLOSE;
    kinds[b'\\' as usize] = ESCAPE;
    kinds
};

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Takes a string without escapes; returns the text between its quotes.
    fn plain_string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = &self.line[self.at..];
        let len =
            rest.iter().position(|byte| matches!(KIND[usize::from(*byte)], QUOTE | ESCAPE | CONTROL))?;
        self.at += len + 1;
        (rest[len] == b'"').then(|| &rest[..len])
    }

    fn flag(&mut self) -> Option<Flag> {
        let rest = &self.line[self.at..];
        let (text, flag) = match rest.first()? {
            b't' => (b"true".as_slice(), Flag::True),
            b'f' => (b"false".as_slice(), Flag::False),
            _ => (b"null".as_slice(), Flag::Null),
        };
        self.at += text.len();
        rest.starts_with(text).then_some(flag)
    }

    /// Returns, after a value, whether the object ends here.
    fn is_last(&mut self) -> Option<bool> {
        self.space();
        let last = match self.peek()? {
            b',' => false,
            b'}' => true,
            _ => return None,
        };
        self.at += 1;
        Some(last)
    }

    /// Passes over a value of any kind.
    fn skip_value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.skip_string()
            }
            b'{' | b'[' => self.skip_nested(),
            b't' | b'f' | b'n' => self.flag().map(drop),
            // The syntax of a number is checked where the number is read.
            b'-' | b'0'..=b'9' => {
                while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
                    self.at += 1;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// Moves past the closing quote.
    fn skip_string(&mut self) -> Option<()> {
        loop {
            match KIND[usize::from(self.peek()?)] {
                QUOTE => {
                    self.at += 1;
                    return Some(());
                }
                ESCAPE => self.at += 2,
                CONTROL => return None,
                _ => self.at += 1,
            }
        }
    }

    /// Moves past the bracket that closes this one.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            let kind = KIND[usize::from(self.peek()?)];
            self.at += 1;
            match kind {
                QUOTE => self.skip_string()?,
                OPEN => depth += 1,
                CLOSE => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
                ESCAPE => return None,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::IndexLine;

    /// Checks that every line that serde reads gets the same answer here.
    fn agrees(line: &[u8]) -> Result<(), TestCaseError> {
        let wanted = IndexLine::parse(line).map_err(|error| error.to_string());
        let found = IndexLine::skim(line).map_err(|error| error.to_string());
        if wanted.is_ok() || found.is_err() {
            prop_assert_eq!(found, wanted, "{}", String::from_utf8_lossy(line));
        }
        Ok(())
    }

    /// Generates texts that look like the wanted keys, and other trouble.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("yanked".to_owned()),
            Just("\"cksum\":\"no\"".to_owned()),
            Just("a\\\"b".to_owned()),
            Just("],\"yanked\":true,\"x\":[".to_owned()),
            "[a-z0-9.+-]{0,8}",
            "\\PC{0,6}",
            any::<String>(),
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key(), inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn key() -> impl Strategy<Value = String> {
        const KNOWN: &[&str] = &["name", "vers", "cksum", "yanked", "deps", "features", "pubtime"];
        prop_oneof![3 => prop::sample::select(KNOWN).prop_map(str::to_owned), 1 => text()]
    }

    /// Spells a key or a string as a writer may: plain, or with every character escaped.
    fn spelled(text: &str, escaped: bool) -> String {
        if !escaped {
            return Value::from(text).to_string();
        }
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{units}\"")
    }

    type Field = (String, Value, bool, bool, String);

    /// Generates fields in any order, any of them missing, repeated or of the wrong type, with white space between.
    fn fields() -> impl Strategy<Value = Vec<Field>> {
        let space = "[ \t\r]{0,2}";
        let wanted = (text(), text(), text(), any::<Option<bool>>(), any::<[bool; 4]>(), space).prop_map(
            |(name, vers, cksum, yanked, escaped, space)| {
                let field = |key: &str, value: Value, at: usize| {
                    (key.to_owned(), value, escaped[at], escaped[(at + 1) % 4], space.clone())
                };
                vec![
                    field("name", name.into(), 0),
                    field("vers", vers.into(), 1),
                    field("cksum", cksum.into(), 2),
                    field("yanked", yanked.into(), 3),
                ]
            },
        );
        let other = (key(), value(), prop::bool::weighted(0.1), any::<bool>(), space.prop_map(String::from));
        (wanted, prop::collection::vec(other, 0..6), any::<u8>()).prop_flat_map(|(wanted, others, keep)| {
            let mut all = others;
            all.extend(
                wanted
                    .into_iter()
                    .enumerate()
                    .filter(|(at, _)| keep >= 16 || keep & 1 << at != 0)
                    .map(|(_, f)| f),
            );
            Just(all).prop_shuffle()
        })
    }

    fn write(fields: &[Field]) -> String {
        let parts: Vec<_> = fields
            .iter()
            .map(|(key, value, key_escaped, value_escaped, space)| {
                let value = match value {
                    Value::String(text) => spelled(text, *value_escaped),
                    other => other.to_string(),
                };
                format!("{space}{}{space}:{space}{value}{space}", spelled(key, *key_escaped))
            })
            .collect();
        format!("{{{}}}", parts.join(","))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_line_that_serde_reads_is_read_alike(fields in fields()) {
            agrees(write(&fields).as_bytes())?;
        }

        #[test]
        fn damage_is_never_taken_for_another_record(
            fields in fields(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
        ) {
            let mut line = write(&fields).into_bytes();
            let at = at.index(line.len());
            if cut { line.truncate(at) } else { line[at] = byte }
            agrees(&line)?;
            if cut {
                prop_assert!(IndexLine::skim(&line).is_err(), "a torn line was taken");
            }
        }
    }

    #[test]
    fn plain_lines_need_no_serde() {
        let line = br#"{"name":"a","vers":"1.0.0","deps":[{"name":"b","target":"cfg(x = \"y\")"}],"cksum":"ab","features":{"yanked":["cksum"]},"yanked":true,"rust_version":null,"v":2}"#;
        let fields = skim(line).expect("plain");
        assert_eq!(
            (&*fields.name, &*fields.vers, &*fields.cksum, fields.yanked),
            ("a", "1.0.0", "ab", Some(true))
        );
        for odd in [
            r#"{"name":"a","name":"a","vers":"1","cksum":""}"#,
            r#"{"name":"a","vers":"1"}"#,
            r#"{"name":"a","vers":"1","cksum":""} x"#,
            r#"{"name":"a","vers":1,"cksum":""}"#,
            "",
            "[]",
        ] {
            assert!(skim(odd.as_bytes()).is_none(), "{odd}");
            assert!(IndexLine::skim(odd.as_bytes()).is_err(), "{odd}");
        }
    }
}
