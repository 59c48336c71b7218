//! Paths and how they are written in YAML, TOML and for people.
//!
//! A path is bytes, relative, with `/` between its components, as tar has it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

/// Longest path that is accepted, bytes. Linux allows 4,095.
pub(crate) const MAX_PATH_BYTES: usize = 32 * 1024;
/// The prefix of a path in an inventory that is not UTF-8; no other path begins with it.
const ESCAPED: &str = "./";

/// Compares in the order of the walk: component by component, so that its contents follow a directory.
pub(crate) fn walk_order(a: &[u8], b: &[u8]) -> Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

/// Joins `directory` and a name in it.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        return name.to_vec();
    }
    [directory, b"/", name].concat()
}

/// Returns a path below a root of the file system.
#[cfg(unix)]
pub(crate) fn below(root: &Path, path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    root.join(std::ffi::OsStr::from_bytes(path))
}

/// Returns a path below a root of the file system.
#[cfg(not(unix))]
pub(crate) fn below(root: &Path, path: &[u8]) -> PathBuf {
    root.join(&*String::from_utf8_lossy(path))
}

/// Returns whether a path is transient in a mirror: a lock, the stage, or the shared memory of the catalogue. Programs
/// create these when they need them, so no inventory lists them.
pub(crate) fn is_transient(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        match (part, parts.peek()) {
            (b".mirror", Some(&b"stage")) => return true,
            (b".mirror", Some(&(b"lock" | b"catalogue.sqlite-shm"))) => {
                parts.next();
                return parts.next().is_none();
            }
            (b".bundles.lock", None) => return true,
            _ => {}
        }
    }
    false
}

/// Returns whether a path stays below its root and has one form only: no empty, `.` or `..` component, no NUL, not
/// absolute.
pub(crate) fn is_plain(path: &[u8]) -> bool {
    !path.is_empty()
        && path.len() <= MAX_PATH_BYTES
        && !path.contains(&0)
        && path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

/// Writes every byte that is not part of valid UTF-8, and every `%`, as `%XX`, which percent-decoding undoes.
pub(crate) fn percent(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' { out.push_str("%25") } else { out.push(c) }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Decodes what [`percent`] writes; `None` for any other text.
pub(crate) fn unpercent(text: &str) -> Option<Vec<u8>> {
    let out: Vec<u8> = percent_decode_str(text).collect();
    (percent(&out) == text).then_some(out)
}

/// Returns a path as an inventory writes it, and whether it had to be escaped.
pub(crate) fn key(path: &[u8]) -> (Cow<'_, str>, bool) {
    match std::str::from_utf8(path) {
        Ok(text) => (Cow::Borrowed(text), false),
        Err(_) => (Cow::Owned(format!("{ESCAPED}{}", percent(path))), true),
    }
}

/// Returns the path that an inventory's key stands for; `None` when [`key`] does not write it.
pub(crate) fn unkey(text: &str) -> Option<Vec<u8>> {
    let path = match text.strip_prefix(ESCAPED) {
        Some(escaped) => unpercent(escaped).filter(|path| std::str::from_utf8(path).is_err())?,
        None => text.as_bytes().to_vec(),
    };
    is_plain(&path).then_some(path)
}

/// Returns text that is not a path (a link's target, a directory's name), and whether it had to be escaped.
pub(crate) fn text(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), false),
        Err(_) => (Cow::Owned(percent(bytes)), true),
    }
}

/// Returns whether a terminal or an editor would not show a character as it is: control characters, ends of lines,
/// marks that turn the direction of text around, byte order marks, noncharacters.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{ffff}'
        )
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Writes a double-quoted string that YAML and TOML read alike: both know these escapes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_hidden(c) => {
                let code = u32::from(c);
                let _ =
                    if code > 0xffff { write!(out, "\\U{code:08X}") } else { write!(out, "\\u{code:04X}") };
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Parses what [`quoted`] writes; `None` for any other text.
pub(crate) fn unquoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next()? {
            '"' => '"',
            '\\' => '\\',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => code(&mut chars, 4)?,
            'U' => code(&mut chars, 8)?,
            _ => return None,
        });
    }
    (quoted(&out) == text).then_some(out)
}

fn code(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let text = chars.as_str().get(..digits)?;
    *chars = chars.as_str()[digits..].chars();
    char::from_u32(u32::from_str_radix(text, 16).ok()?)
}

/// Returns a path for people, without characters that control a terminal.
#[must_use]
pub fn shown(path: &[u8]) -> String {
    let mut out = String::new();
    for c in percent_invalid(path).chars() {
        if is_hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

fn percent_invalid(path: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(path) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(percent(path)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_directory_is_followed_by_its_contents() {
        let mut paths = ["a-b", "a", "a/z", "a/b/c", "a/b", "a.c", "b", "a/b-"];
        paths.sort_by(|a, b| walk_order(a.as_bytes(), b.as_bytes()));
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a/b-", "a/z", "a-b", "a.c", "b"]);
    }

    #[test]
    fn paths_that_leave_or_have_two_forms_are_refused() {
        for path in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\0b"] {
            assert!(!is_plain(path.as_bytes()), "{path:?}");
        }
        for path in ["a", "...", "a/b", "-a", ".a/..b"] {
            assert!(is_plain(path.as_bytes()), "{path:?}");
        }
        assert!(!is_plain(&vec![b'a'; MAX_PATH_BYTES + 1]));
    }

    #[test]
    fn escaped_names_never_equal_plain_ones() {
        assert_eq!(key(b"a%FF"), ("a%FF".into(), false));
        assert_eq!(key(b"a%\xff"), ("./a%25%FF".into(), true));
        assert_eq!(unkey("./a%25%FF"), Some(b"a%\xff".to_vec()));
        // Never written: a valid name escaped, lower-case digits, an incomplete escape.
        for text in ["./a", "./a%41", "./a%ff", "./a%F", "./a%", "../a%FF", "./../%FF"] {
            assert_eq!(unkey(text), None, "{text}");
        }
    }

    #[test]
    fn other_spellings_of_a_string_are_refused() {
        for text in
            ["\"\\u0041\"", "\"\\x41\"", "\"a", "a", "\"\\u00e\"", "\"\\uD800\"", "\"\n\"", "\"a\"b\""]
        {
            assert_eq!(unquoted(text), None, "{text}");
        }
        assert_eq!(quoted("a\u{85}\u{feff}\u{1fffe}\u{1f600}"), "\"a\\u0085\\uFEFF\\U0001FFFE\u{1f600}\"");
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(text in "\\PC*|[\\x00-\\x7f]*|.*") {
            let written = quoted(&text);
            prop_assert!(!written.contains('\n'));
            prop_assert_eq!(unquoted(&written), Some(text));
        }

        #[test]
        fn any_path_is_read_back(path in proptest::collection::vec(any::<u8>(), 1..40)) {
            let back = unkey(&key(&path).0);
            prop_assert_eq!(back, is_plain(&path).then_some(path));
        }

        #[test]
        fn quoted_is_read_by_toml(text in ".*") {
            let document: toml::Table = format!("{0} = {0}", quoted(&text)).parse().unwrap();
            prop_assert_eq!(document[&text].as_str(), Some(&*text));
        }

        #[test]
        fn shown_paths_have_no_hidden_characters(path in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(shown(&path).chars().all(|c| !is_hidden(c)));
        }
    }
}
