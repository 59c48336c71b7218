//! Checks that libraries name no flags: flags belong to programs, whose hints (`mirror-cli`) name them.

use super::workspace::File;

/// Flags of other programs that a library may name, because a person has to run that program. Each row has the end of
/// the path, the flag, and the program with the reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "mirror-git/src/repository.rs",
        "--ref-format",
        "of git clone: the index is to be cloned in another form",
    ),
    ("mirror-git/src/repository.rs", "--filter", "of git clone: the index is to be cloned whole"),
    ("mirror-git/src/update/checkout.rs", "--hard", "of git reset: commits are to be given up by hand"),
    ("mirror-git/src/update/refs.rs", "--move", "of git branch: a branch is to make room"),
];

/// Crates that may name flags: that of the hints, and that of the tests.
const EXEMPT: &[&str] = &["mirror-cli", "mirror-testkit"];

/// Checks that no string in a library crate contains `--` and a letter, outside tests and comments.
pub(crate) fn in_libraries(files: &[File]) -> Vec<String> {
    let test_modules: Vec<String> = files.iter().flat_map(modules_of_tests).collect();
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| is_library(&file.path)) {
        let is_test = test_modules.iter().any(|module| {
            file.path.strip_prefix(module.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
        if is_test {
            continue;
        }
        for (at, text) in strings(&file.text) {
            for flag in flags(text) {
                let allowed =
                    |(path, known, _): &(&str, &str, &str)| file.path.ends_with(path) && *known == flag;
                if !ALLOWED.iter().any(allowed) {
                    let line = 1 + file.text[..at].matches('\n').count();
                    faults.push(format!(
                        "{}:{line}: a string of a library names the flag {flag}; say what helps as mirror_types::Advice, \
                         and which flag that is in crates/mirror-cli/src/hints.rs",
                        file.path
                    ));
                }
            }
        }
    }
    faults
}

fn is_library(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("crates")
        && parts.next().is_some_and(|name| name.starts_with("mirror-") && !EXEMPT.contains(&name))
        && parts.next() == Some("src")
        && path.ends_with(".rs")
}

/// Returns the paths, without extension, of the modules that a file declares only for tests.
fn modules_of_tests(file: &File) -> Vec<String> {
    let Some(own) = file.path.strip_suffix(".rs") else { return Vec::new() };
    let dir = match own.rsplit_once('/') {
        Some((dir, "lib" | "main" | "mod")) => dir,
        _ => own,
    };
    let mut found = Vec::new();
    let mut lines = file.text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line != TESTS {
            continue;
        }
        let declared = lines.find(|line| !line.starts_with("#["));
        let declared = declared.map(|line| line.trim_start_matches("pub ").trim_start_matches("pub(crate) "));
        if let Some(name) = declared.and_then(|line| line.strip_prefix("mod ")?.strip_suffix(';')) {
            found.push(format!("{dir}/{name}"));
        }
    }
    found
}

const TESTS: &str = "#[cfg(test)]";

/// Returns the strings in a source text with their offsets, without those in items for tests.
fn strings(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    // The number of open braces, and that number at the start of an item for tests.
    let (mut depth, mut test_item) = (0_usize, None);
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if test_item.is_none() && rest.starts_with(TESTS) {
            test_item = Some(depth);
            at += TESTS.len();
            continue;
        }
        let (len, quoted) = token(rest, text[..at].chars().next_back());
        if let Some(quoted) = quoted.filter(|_| test_item.is_none()) {
            found.push((at, quoted));
        }
        match &rest[..len] {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                test_item = test_item.filter(|before| depth > *before);
            }
            // An item without a body.
            ";" if test_item == Some(depth) => test_item = None,
            _ => {}
        }
        at += len;
    }
    found
}

/// Returns the length in bytes of the token that begins here: a comment, a string with its contents, a character
/// literal, or else one character.
fn token(rest: &str, before: Option<char>) -> (usize, Option<&str>) {
    let whole = |end: Option<usize>| end.unwrap_or(rest.len());
    let first = rest.chars().next().map_or(1, char::len_utf8);
    if rest.starts_with("//") {
        return (whole(rest.find('\n')), None);
    }
    if rest.starts_with("/*") {
        return (whole(rest.find("*/").map(|end| end + 2)), None);
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let end = whole(end_of_string(quoted).map(|end| end + 1));
        return ((end + 1).min(rest.len()), Some(&quoted[..end.min(quoted.len())]));
    }
    let in_a_word = before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !in_a_word || before == Some('b')) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if let Some(quoted) = raw[hashes..].strip_prefix('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let end = quoted.find(&close).unwrap_or(quoted.len());
            return ((2 + hashes + end + close.len()).min(rest.len()), Some(&quoted[..end]));
        }
    }
    if let Some(character) = rest.strip_prefix('\'') {
        return (1 + end_of_character(character), None);
    }
    (first, None)
}

/// Returns the offset of the quote that ends a string.
fn end_of_string(quoted: &str) -> Option<usize> {
    let mut escaped = false;
    quoted.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// Returns the number of bytes after the quote of a character literal; `None` if the quote begins a lifetime.
fn end_of_character(character: &str) -> usize {
    let mut chars = character.char_indices();
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let from = at + c.len_utf8();
            character[from..].find('\'').map_or(0, |end| from + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Returns the flags in a string, with their dashes.
fn flags(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("--").filter_map(|(at, dashes)| {
        let before = text[..at].chars().next_back();
        let name = &text[at + dashes.len()..];
        let len = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(name.len());
        let is_flag = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-');
        is_flag.then(|| &text[at..at + dashes.len() + len])
    })
}

#[cfg(test)]
mod tests {
    use super::super::workspace::build::file;
    use super::*;

    const PATH: &str = "crates/mirror-a/src/b.rs";

    fn faults(text: &str) -> Vec<String> {
        in_libraries(&[file(PATH, text)])
    }

    #[test]
    fn flags_in_strings_are_found() {
        let good = concat!(
            "// give --out\n/// `--out`, \"--out\"\n/* \"--out\" */ fn f<'a>(x: &'a str) { g('\"', '\\'', \"a--b -- c\"); }\n",
            "#[error(\"no flag\")]\nconst R: &str = r#\"\"--> \"#;\n",
            "#[cfg(test)]\nconst T: &str = \"--out\";\n#[cfg(test)]\nmod tests { fn t() { f(\"--out\") } }\n",
        );
        assert_eq!(faults(good), Vec::<String>::new());
        let bad = [
            "#[error(\"choose another --out\")]",
            "f(\"a \\\" b\", \"c\\\\\", \"two lines \\\n    and --index-dir\")",
            "f(r#\"\"--out\" is it\"#, b'\"', 'x')",
            "f(b\"--out\")",
            "#[cfg(test)]\nmod tests { fn t() { f(\"{ --out\") } }\nconst A: &str = \"--out\";",
        ];
        for text in bad {
            let faults = faults(text);
            assert_eq!(faults.len(), 1, "{text}: {faults:?}");
            assert!(faults[0].starts_with(PATH), "{faults:?}");
        }
        let two = faults("f(\"x\");\n\nf(\"--one and --two\");");
        assert_eq!(two.len(), 2);
        assert!(two[0].starts_with("crates/mirror-a/src/b.rs:3: ") && two[0].contains("--one;"), "{two:?}");
    }

    #[test]
    fn programs_tests_and_hints_may_name_flags() {
        let bad = "f(\"--out\")";
        for path in [
            "crates/download-crates/src/main.rs",
            "crates/mirror-cli/src/hints.rs",
            "crates/mirror-testkit/src/kills.rs",
            "crates/mirror-a/tests/it/main.rs",
            "crates/mirror-a/README.md",
        ] {
            assert_eq!(in_libraries(&[file(path, bad)]), Vec::<String>::new(), "{path}");
        }
        let declared = "#[cfg(test)]\nmod crash;\n#[cfg(test)]\npub(crate) mod sift;\nmod other;\n";
        let in_tests = ["crates/mirror-a/src/crash.rs", "crates/mirror-a/src/sift/deep.rs"];
        for path in in_tests {
            let files = [file("crates/mirror-a/src/lib.rs", declared), file(path, bad)];
            assert_eq!(in_libraries(&files), Vec::<String>::new(), "{path}");
        }
        let files = [file("crates/mirror-a/src/lib.rs", declared), file("crates/mirror-a/src/other.rs", bad)];
        assert_eq!(in_libraries(&files).len(), 1);
        let nested = [
            file("crates/mirror-a/src/x.rs", "#[cfg(test)]\nmod tests;\n"),
            file("crates/mirror-a/src/x/tests.rs", bad),
        ];
        assert_eq!(in_libraries(&nested), Vec::<String>::new());
    }

    #[test]
    fn flags_of_other_programs_have_a_reason() {
        for (path, flag, reason) in ALLOWED {
            let path = format!("crates/{path}");
            assert_eq!(
                in_libraries(&[file(&path, &format!("f(\"{flag}\")"))]),
                Vec::<String>::new(),
                "{path}"
            );
            assert_eq!(in_libraries(&[file(PATH, &format!("f(\"{flag}\")"))]).len(), 1, "{flag}");
            assert!(reason.len() > 10, "{flag}");
        }
    }
}
