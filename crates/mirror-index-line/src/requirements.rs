use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::InvalidLine;

/// Features of a release, each with those it turns on.
type Features = BTreeMap<String, Vec<String>>;

/// The dependencies and features in a line. A field that is missing or `null` is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Requirements {
    /// Dependencies of all kinds.
    pub deps: Option<Vec<Dependency>>,
    /// Features.
    pub features: Option<Features>,
    /// Features in the newer notation, which older versions of Cargo do not read.
    pub features2: Option<Features>,
}

/// A dependency of a release, as it is in a line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Dependency {
    /// Its name in the manifest.
    pub name: String,
    /// The version requirement.
    pub req: String,
    /// `normal`, `build` or `dev`.
    pub kind: Option<String>,
    /// The address of its registry, when that is another one.
    pub registry: Option<String>,
    /// The crate, when the dependency is renamed.
    pub package: Option<String>,
    /// True if it is needed only with a feature.
    pub optional: Option<bool>,
    /// The platforms that have it.
    pub target: Option<String>,
    /// The features that it requests.
    pub features: Option<Vec<String>>,
    /// True if its default features are wanted.
    pub default_features: Option<bool>,
}

impl Requirements {
    /// Reads a line of an index, and ignores all other fields.
    ///
    /// # Errors
    /// When it is no JSON object, or dependencies or features are not as in an index.
    pub fn read(line: &[u8]) -> Result<Self, InvalidLine> {
        Ok(serde_json::from_slice(line)?)
    }

    /// Returns the features that a feature turns on, in both notations; `None` when there is no such feature.
    pub fn feature(&self, name: &str) -> Option<impl Iterator<Item = &str>> {
        let found = [&self.features, &self.features2].map(|table| table.as_ref()?.get(name));
        found.iter().any(Option::is_some).then(|| found.into_iter().flatten().flatten().map(String::as_str))
    }

    /// Returns the names of all features, in both notations; a name in both comes twice.
    pub fn feature_names(&self) -> impl Iterator<Item = &str> {
        [&self.features, &self.features2].into_iter().flatten().flat_map(BTreeMap::keys).map(String::as_str)
    }
}

impl Dependency {
    /// Returns the name of the crate.
    #[must_use]
    pub fn crate_name(&self) -> &str {
        self.package.as_ref().unwrap_or(&self.name)
    }

    /// Returns whether it matters only to tests, examples and benchmarks of the crate itself.
    #[must_use]
    pub fn is_for_development(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }

    /// Returns whether it is needed only with a feature.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.optional == Some(true)
    }
}
