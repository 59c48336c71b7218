//! Checks that the upstream registry's addresses are in one file.
//!
//! `upstream.rs` composes them from the domain, so that even this file has no whole address. All other
//! files take them from there: tests then cannot reach the internet by a pasted address, and a change
//! of host is a change of one file. Prose may name the registry.

use super::workspace::File;

const HOME: &str = "crates/mirror-types/src/upstream.rs";
/// The domain, concatenated from pieces, because this file is checked, too.
const DOMAIN: &str = concat!("crates", ".io");

/// Checks that no other `.rs` file contains the domain in an address, as a host, or as a whole string from which an
/// address could be composed.
pub(crate) fn one_home(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    match files.iter().find(|file| file.path == HOME) {
        Some(home) if home.text.lines().any(names_upstream) => {}
        Some(_) => faults.push(format!("{HOME} no longer contains \"{DOMAIN}\"; update this check")),
        None => faults.push(format!("{HOME} is missing; update this check")),
    }
    for File { path, text } in files.iter().filter(|file| file.path.ends_with(".rs") && file.path != HOME) {
        for (line, number) in text.lines().zip(1..) {
            if names_upstream(line) {
                faults.push(format!(
                    "{path}:{number}: an address of {DOMAIN}; take it from mirror_types::upstream ({HOME})"
                ));
            }
        }
    }
    faults
}

fn names_upstream(line: &str) -> bool {
    line.match_indices(DOMAIN).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + DOMAIN.len()..]);
        let word = before.rsplit(is_delimiter).next().unwrap_or(before);
        let whole_string = before.ends_with('"') && after.starts_with('"');
        word.contains("://") || word.ends_with('.') || whole_string
    })
}

fn is_delimiter(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')')
}

#[cfg(test)]
mod tests {
    use super::super::workspace::build::file;
    use super::*;

    fn home() -> File {
        file(HOME, &format!("pub const REGISTRY: &str = \"{DOMAIN}\";\n"))
    }

    #[test]
    fn prose_may_name_the_registry() {
        let prose =
            format!("/// Mirrors {DOMAIN}, and `{DOMAIN}`. See {DOMAIN}-index.\nlet a = \"of {DOMAIN}\";\n");
        let readme = format!("https://{DOMAIN}/\n");
        let files = [home(), file("crates/a/src/b.rs", &prose), file("README.md", &readme)];
        assert_eq!(one_home(&files), Vec::<String>::new());
    }

    #[test]
    fn addresses_outside_their_file_are_faults() {
        let bad = [
            format!("get(\"https://static.{DOMAIN}/x\")"),
            format!("//! See <https://github.com/rust-lang/{DOMAIN}-index>."),
            format!("let host = \"index.{DOMAIN}\";"),
            format!("let domain = \"{DOMAIN}\";"),
        ];
        for line in bad {
            let faults = one_home(&[home(), file("crates/a/tests/it/b.rs", &line)]);
            assert_eq!(faults.len(), 1, "{line}");
            assert!(faults[0].starts_with("crates/a/tests/it/b.rs:1: "), "{faults:?}");
        }
    }

    #[test]
    fn a_moved_file_is_noticed() {
        assert_eq!(one_home(&[]).len(), 1);
        assert_eq!(one_home(&[file(HOME, "pub const OTHER: u8 = 0;\n")]).len(), 1);
    }
}
