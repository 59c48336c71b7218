//! Reads a `Cargo.toml`, because `cargo metadata` does not report which entries a member inherits.

use toml::{Table, Value};

#[derive(Debug, Default)]
pub(crate) struct Manifest(Table);

/// An entry of a dependency section.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// `dependencies`, or `target.cfg(unix).dependencies`.
    pub(crate) section: String,
    pub(crate) name: &'a str,
    pub(crate) value: &'a Value,
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        text.parse().map(Self)
    }

    /// Returns the value at a path of keys, the outermost first.
    pub(crate) fn value(&self, keys: &[&str]) -> Option<&Value> {
        let (first, inner) = keys.split_first()?;
        inner.iter().try_fold(self.0.get(*first)?, |value, key| value.get(key))
    }

    /// Returns whether the value at a path of keys is `true`.
    pub(crate) fn is_true(&self, keys: &[&str]) -> bool {
        self.value(keys) == Some(&Value::Boolean(true))
    }

    /// Returns the entries of `[workspace.dependencies]`.
    pub(crate) fn workspace_dependencies(&self) -> impl Iterator<Item = (&str, &Value)> {
        table(self.value(&["workspace", "dependencies"]))
    }

    /// Returns the entries of every dependency section of a package, those for a platform included.
    pub(crate) fn dependencies(&self) -> impl Iterator<Item = Entry<'_>> {
        let platforms = table(self.0.get("target"))
            .filter_map(|(name, platform)| Some((format!("target.{name}."), platform.as_table()?)));
        std::iter::once((String::new(), &self.0)).chain(platforms).flat_map(|(prefix, parent)| {
            ["dependencies", "dev-dependencies", "build-dependencies"].into_iter().flat_map(move |kind| {
                let section = format!("{prefix}{kind}");
                table(parent.get(kind)).map(move |(name, value)| Entry {
                    section: section.clone(),
                    name,
                    value,
                })
            })
        })
    }
}

impl Entry<'_> {
    /// Returns whether it is `name.workspace = true` or `name = { workspace = true, … }`.
    pub(crate) fn is_inherited(&self) -> bool {
        self.value.get("workspace") == Some(&Value::Boolean(true))
    }
}

/// Returns the entries of a table.
fn table(value: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    value.and_then(Value::as_table).into_iter().flatten().map(|(key, value)| (key.as_str(), value))
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
false-friend = { version = "1", workspace = false }

[dependencies.apart]
workspace = true

[target.'cfg(unix)'.dependencies]
unix.workspace = true

[dev-dependencies]
testing.workspace = true

[features]
extra = []
"##;

    #[test]
    fn paths_of_keys_are_followed() {
        let manifest = Manifest::parse(TEXT).unwrap();
        assert!(manifest.is_true(&["package", "license", "workspace"]));
        for keys in
            [&["package", "version", "workspace"][..], &["package", "name"], &["lints", "workspace"], &[]]
        {
            assert!(!manifest.is_true(keys), "{keys:?}");
        }
        assert!(Manifest::parse("[a").is_err());
    }

    #[test]
    fn inherited_entries_are_recognised() {
        let manifest = Manifest::parse(TEXT).unwrap();
        let mut read: Vec<(String, &str, bool)> = manifest
            .dependencies()
            .map(|entry| (entry.section.clone(), entry.name, entry.is_inherited()))
            .collect();
        read.sort();
        let all = "dependencies";
        assert_eq!(
            read.iter()
                .map(|(section, name, inherited)| (section.as_str(), *name, *inherited))
                .collect::<Vec<_>>(),
            [
                (all, "apart", true),
                (all, "dotted", true),
                (all, "false-friend", false),
                (all, "local", false),
                (all, "plain", false),
                (all, "table", true),
                ("dev-dependencies", "testing", true),
                ("target.cfg(unix).dependencies", "unix", true),
            ]
        );
    }

    #[test]
    fn an_entry_of_the_workspace_is_not_a_use() {
        let manifest = Manifest::parse("[workspace.dependencies]\na = \"1\"\n").unwrap();
        assert_eq!(manifest.dependencies().count(), 0);
        assert_eq!(manifest.workspace_dependencies().map(|(name, _)| name).collect::<Vec<_>>(), ["a"]);
    }
}
