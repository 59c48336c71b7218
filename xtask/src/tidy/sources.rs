//! Checks the text of tracked files.

use super::workspace::File;

/// Most lines of a source file. A longer one has more than one responsibility, or soon will.
const MAX_SOURCE_LINES: usize = 600;
/// Most lines of `lib.rs`, which is a table of contents.
const MAX_LIB_LINES: usize = 60;

/// Text that must not be in a `.rs` file, and the alternative. Concatenated from pieces, because this file is checked,
/// too.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("todo", "!("), "finish it, or leave it out"),
    (concat!("unimplemented", "!("), "finish it, or leave it out"),
    (concat!("dbg", "!("), "use an event of `tracing`, or nothing"),
    (concat!("#[", "allow("), "use #[expect(lint, reason = \"...\")], which fails once it is not needed"),
    (concat!("#![", "allow("), "use #![expect(lint, reason = \"...\")], which fails once it is not needed"),
    (concat!("#[", "ignore"), "tests always run; a measurement belongs in `cargo xtask bench`"),
];

/// Checks that source files are short enough to be read in one go.
pub(crate) fn lengths(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for File { path, text } in files.iter().filter(|file| is_source(&file.path)) {
        let lines = text.lines().count();
        if path.ends_with("/lib.rs") && lines > MAX_LIB_LINES {
            faults.push(format!(
                "{path} has {lines} lines; a table of contents has at most {MAX_LIB_LINES}: move code to modules"
            ));
        } else if lines > MAX_SOURCE_LINES {
            faults
                .push(format!("{path} has {lines} lines, at most {MAX_SOURCE_LINES} are allowed: split it"));
        }
    }
    faults
}

/// Returns whether a path is one of `crates/*/src/**.rs` and `xtask/src/**.rs`; tests may be longer.
fn is_source(path: &str) -> bool {
    let mut parts = path.split('/');
    let package = match parts.next() {
        Some("crates") => parts.next().is_some(),
        first => first == Some("xtask"),
    };
    package && parts.next() == Some("src") && path.ends_with(".rs")
}

/// Checks that there is no trailing whitespace, and in Rust no tabs and no unfinished code.
pub(crate) fn forbidden_text(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for File { path, text } in files {
        let is_rust = path.ends_with(".rs");
        for (line, number) in text.lines().zip(1..) {
            let mut fault = |what: &str| faults.push(format!("{path}:{number}: {what}"));
            if line.trim_end() != line {
                fault("whitespace at the end of the line");
            }
            if is_rust && line.contains('\t') {
                fault("a tab; indent with spaces, and write \\t in strings");
            }
            for (found, instead) in FORBIDDEN.iter().filter(|(found, _)| is_rust && line.contains(found)) {
                fault(&format!("`{found}`: {instead}"));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::workspace::build::file;
    use super::*;

    fn long(path: &str, lines: usize) -> File {
        file(path, &"x\n".repeat(lines))
    }

    #[test]
    fn a_file_above_the_limit_is_a_fault() {
        let good = [
            long("crates/a/src/deep/b.rs", 600),
            long("xtask/src/main.rs", 600),
            long("crates/a/src/lib.rs", 60),
            long("crates/a/tests/it/main.rs", 5000),
            long("docs/book.md", 5000),
        ];
        assert_eq!(lengths(&good), Vec::<String>::new());
        let bad =
            [long("crates/a/src/b.rs", 601), long("xtask/src/c.rs", 700), long("crates/a/src/lib.rs", 61)];
        let faults = lengths(&bad);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].starts_with("crates/a/src/b.rs has 601 lines"), "{faults:?}");
    }

    #[test]
    fn trailing_whitespace_is_a_fault_in_any_text() {
        let faults = forbidden_text(&[file("README.md", "good\nbad \nbad\t\n")]);
        let expected = [2, 3].map(|number| format!("README.md:{number}: whitespace at the end of the line"));
        assert_eq!(faults, expected);
    }

    #[test]
    fn line_ends_of_windows_are_no_fault() {
        assert_eq!(forbidden_text(&[file("a.rs", "good\r\ngood\r\n")]), Vec::<String>::new());
    }

    #[test]
    fn tabs_are_faults_only_in_rust() {
        assert_eq!(forbidden_text(&[file("Makefile", "\tgood\n")]), Vec::<String>::new());
        assert_eq!(forbidden_text(&[file("a.rs", "\tbad\n")]).len(), 1);
    }

    #[test]
    fn unfinished_code_is_a_fault() {
        for (text, _) in FORBIDDEN {
            let line = format!("    {text}x)]\n");
            assert_eq!(forbidden_text(&[file("a.rs", &line)]).len(), 1, "{text}");
            assert_eq!(forbidden_text(&[file("a.md", &line)]), Vec::<String>::new(), "{text}");
        }
        let good = "#[expect(lint, reason = \"why\")]\nfn todo() {}\n";
        assert_eq!(forbidden_text(&[file("a.rs", good)]), Vec::<String>::new());
    }
}
