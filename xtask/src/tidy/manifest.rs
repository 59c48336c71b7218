//! The lines of a `Cargo.toml`, as far as the checks need them.
//!
//! Cargo has parsed the file before we see it (`cargo metadata`), so it is valid TOML. What metadata
//! does not tell is which entries a member inherits; for that, sections, keys and the text of their
//! values are enough.

#[derive(Debug, Default)]
pub(crate) struct Manifest {
    entries: Vec<Entry>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) section: String,
    pub(crate) key: String,
    /// Without comments; lines of a value that spans several are joined by a space.
    pub(crate) value: String,
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let mut section = String::new();
        let mut depth = 0;
        for line in text.lines().map(|line| without_comment(line).trim()) {
            if line.is_empty() {
                continue;
            }
            if depth > 0 {
                if let Some(open) = entries.last_mut() {
                    open.value.push(' ');
                    open.value.push_str(line);
                }
                depth += nesting(line);
            } else if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned();
            } else if let Some((key, value)) = line.split_once('=') {
                depth = nesting(value);
                let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
                entries.push(Entry { section: section.clone(), key, value });
            }
        }
        Self { entries }
    }

    /// Returns the value of a key, when the section has it.
    pub(crate) fn value(&self, section: &str, key: &str) -> Option<&str> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.section == section && entry.key == key).map(|entry| entry.value.as_str())
    }

    pub(crate) fn section<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.section == section)
    }

    /// Entries of every dependency section of a package, those for a platform included.
    pub(crate) fn dependencies(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| is_dependency_section(&entry.section))
    }
}

impl Entry {
    /// Returns the name of the dependency in this entry.
    pub(crate) fn dependency(&self) -> &str {
        self.key.split('.').next().unwrap_or(&self.key).trim_matches('"')
    }

    /// Returns whether it is `name.workspace = true` or `name = { workspace = true, … }`.
    pub(crate) fn is_inherited(&self) -> bool {
        let dotted = self.key.ends_with(".workspace") && self.value == "true";
        let without_spaces: String = self.value.split_whitespace().collect();
        let mut fields = without_spaces.trim_matches(['{', '}']).split(',');
        dotted || (without_spaces.starts_with('{') && fields.any(|field| field == "workspace=true"))
    }
}

/// Returns whether a section belongs to a package's dependencies, for one platform or for all. So does a table of its
/// own (`[dependencies.name]`): its keys are no inherited dependencies, and the check says so.
fn is_dependency_section(section: &str) -> bool {
    let is_kind = |part| matches!(part, "dependencies" | "dev-dependencies" | "build-dependencies");
    !section.starts_with("workspace.") && section.split('.').any(is_kind)
}

fn without_comment(line: &str) -> &str {
    let end = outside_strings(line).find(|(_, c)| *c == '#').map_or(line.len(), |(at, _)| at);
    &line[..end]
}

/// Counts the brackets and braces that stay open after this text.
fn nesting(text: &str) -> i32 {
    outside_strings(text)
        .map(|(_, c)| match c {
            '[' | '{' => 1,
            ']' | '}' => -1,
            _ => 0,
        })
        .sum()
}

fn outside_strings(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote = None;
    text.char_indices().filter(move |(_, c)| match quote {
        Some(open) => {
            if *c == open {
                quote = None;
            }
            false
        }
        None => {
            if matches!(c, '"' | '\'') {
                quote = Some(*c);
            }
            quote.is_none()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r##"
[package]
name = "a" # the name
license.workspace = true

[dependencies]
plain = "1"
dotted.workspace = true
table = { workspace = true, features = [
    "x#y", # why
    "z",
] }
local = { path = "../local" }

[target.'cfg(unix)'.dependencies]
unix.workspace = true

[dev-dependencies]
testing.workspace = true

[features]
extra = []
"##;

    #[test]
    fn sections_keys_and_values() {
        let manifest = Manifest::parse(TEXT);
        assert_eq!(manifest.value("package", "name"), Some("\"a\""));
        assert_eq!(manifest.value("package", "license.workspace"), Some("true"));
        assert_eq!(manifest.value("package", "version"), None);
        let table = r##"{ workspace = true, features = [ "x#y", "z", ] }"##;
        assert_eq!(manifest.value("dependencies", "table"), Some(table));
        assert_eq!(manifest.section("features").count(), 1);
    }

    #[test]
    fn inherited_and_not() {
        let manifest = Manifest::parse(TEXT);
        let read: Vec<(&str, bool)> =
            manifest.dependencies().map(|entry| (entry.dependency(), entry.is_inherited())).collect();
        assert_eq!(
            read,
            [
                ("plain", false),
                ("dotted", true),
                ("table", true),
                ("local", false),
                ("unix", true),
                ("testing", true)
            ]
        );
    }

    #[test]
    fn a_table_of_its_own_counts_as_not_inherited() {
        for section in ["dependencies.odd", "target.\"cfg(unix)\".dev-dependencies.odd"] {
            let manifest = Manifest::parse(&format!("[{section}]\nversion = \"1\"\n"));
            let read: Vec<bool> = manifest.dependencies().map(Entry::is_inherited).collect();
            assert_eq!(read, [false], "{section}");
        }
    }

    #[test]
    fn the_workspace_table_is_no_use_of_it() {
        let manifest = Manifest::parse("[workspace.dependencies]\na = \"1\"\n");
        assert_eq!(manifest.dependencies().count(), 0);
        assert_eq!(manifest.section("workspace.dependencies").count(), 1);
    }
}
