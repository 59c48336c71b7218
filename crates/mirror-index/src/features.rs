//! Resolves the active dependencies of a release and their features, as Cargo does.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use mirror_index_line::{Dependency, Requirements};
use mirror_types::CrateName;

use crate::target::Target;

/// The dependencies and features in a line of the index.
#[derive(Debug)]
pub(crate) struct Manifest(Requirements);

/// A requirement on another crate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Need {
    pub(crate) req: String,
    /// The requested features; `default` among them, unless it was declined.
    pub(crate) features: BTreeSet<String>,
}

/// The needs of a release with some features.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    pub(crate) crates: Vec<(CrateName, Need)>,
    /// The registries of dependencies in other registries.
    pub(crate) elsewhere: BTreeSet<String>,
}

/// The feature that is active unless it is declined.
pub(crate) const DEFAULT: &str = "default";

impl Manifest {
    /// Reads a line; an unreadable one has no dependencies.
    pub(crate) fn read(line: &[u8]) -> Self {
        Self(Requirements::read(line).unwrap_or_default())
    }

    fn deps(&self) -> impl Iterator<Item = &Dependency> {
        // Dependencies for tests matter only to the workspace of a crate.
        self.0.deps.iter().flatten().filter(|dep| !dep.is_for_development())
    }

    fn is_optional(&self, name: &str) -> bool {
        self.deps().any(|dep| dep.name == name && dep.is_optional())
    }

    /// Returns whether a dependent may request this feature.
    pub(crate) fn has(&self, feature: &str) -> bool {
        feature == DEFAULT || self.0.feature(feature).is_some() || self.is_optional(feature)
    }

    /// Returns all of its features, optional dependencies among them.
    pub(crate) fn all_features(&self) -> BTreeSet<String> {
        let optional = self.deps().filter(|dep| dep.is_optional()).map(|dep| dep.name.as_str());
        self.0.feature_names().chain(optional).chain([DEFAULT]).map(str::to_owned).collect()
    }

    /// Returns the needs with `features` on one of `targets`, or on any when there are none.
    pub(crate) fn needs(&self, features: &BTreeSet<String>, targets: &[Target]) -> Needs {
        let active = self.activate(features);
        let mut needs = Needs::default();
        for dep in self.deps() {
            let wanted = !dep.is_optional() || active.dependencies.contains(dep.name.as_str());
            let here = match &dep.target {
                Some(platform) if !targets.is_empty() => {
                    targets.iter().any(|target| target.may_match(platform))
                }
                _ => true,
            };
            if !wanted || !here {
                continue;
            }
            if let Some(registry) = &dep.registry {
                needs.elsewhere.insert(registry.clone());
                continue;
            }
            let Ok(name) = CrateName::new(dep.crate_name()) else { continue };
            let own = dep.features.iter().flatten().map(String::as_str);
            let passed_on = active.passed_on.get(dep.name.as_str()).into_iter().flatten().copied();
            let default = (dep.default_features != Some(false)).then_some(DEFAULT);
            let features = own.chain(passed_on).chain(default).map(str::to_owned).collect();
            needs.crates.push((name, Need { req: dep.req.clone(), features }));
        }
        needs
    }

    fn activate<'m>(&'m self, features: &'m BTreeSet<String>) -> Active<'m> {
        let mut active = Active::default();
        let mut seen = HashSet::new();
        let mut open: Vec<&str> = features.iter().map(String::as_str).collect();
        while let Some(feature) = open.pop() {
            if !seen.insert(feature) {
                continue;
            }
            let Some(values) = self.0.feature(feature) else {
                active.dependencies.insert(feature);
                continue;
            };
            for value in values {
                if let Some(dep) = value.strip_prefix("dep:") {
                    active.dependencies.insert(dep);
                } else if let Some((dep, feature)) = value.split_once('/') {
                    let strong = dep.strip_suffix('?').is_none();
                    let dep = dep.trim_end_matches('?');
                    active.passed_on.entry(dep).or_default().insert(feature);
                    if strong && self.is_optional(dep) {
                        active.dependencies.insert(dep);
                        open.push(dep);
                    }
                } else {
                    open.push(value);
                }
            }
        }
        active
    }
}

/// The dependencies and features that a set of features turns on.
#[derive(Debug, Default)]
struct Active<'m> {
    /// Active optional dependencies, by their names in the manifest.
    dependencies: BTreeSet<&'m str>,
    /// Features of dependencies, by the dependency's name in the manifest.
    passed_on: BTreeMap<&'m str, BTreeSet<&'m str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let optional = |name: &str| format!("{{\"name\":\"{name}\",\"req\":\"1\",\"optional\":true}}");
        let line = format!(
            "{{\"deps\":[{},{},{},{{\"name\":\"plain\",\"req\":\"2\",\"features\":[\"x\"],\"default_features\":false}},\
             {{\"name\":\"tests\",\"req\":\"1\",\"kind\":\"dev\"}},{{\"name\":\"far\",\"req\":\"1\",\"registry\":\"r\"}},\
             {{\"name\":\"win\",\"req\":\"1\",\"target\":\"cfg(windows)\",\"package\":\"really\"}}],\
             \"features\":{{\"default\":[\"std\"],\"std\":[\"plain/std\",\"weak?/std\"],\"loop\":[\"loop\",\"implicit\"]}},\
             \"features2\":{{\"modern\":[\"dep:hidden\",\"weak/extra\"]}}}}",
            optional("implicit"),
            optional("hidden"),
            optional("weak"),
        );
        Manifest::read(line.as_bytes())
    }

    fn needs(features: &[&str], target: Option<&str>) -> Vec<String> {
        let features = features.iter().map(|feature| (*feature).to_owned()).collect();
        let targets: Vec<Target> = target.into_iter().map(|target| target.parse().expect("target")).collect();
        let needs = manifest().needs(&features, &targets);
        assert_eq!(needs.elsewhere, BTreeSet::from(["r".to_owned()]));
        let shown = |(name, need): &(CrateName, Need)| {
            format!("{name} {} {}", need.req, need.features.iter().cloned().collect::<Vec<_>>().join("+"))
        };
        needs.crates.iter().map(shown).collect()
    }

    #[test]
    fn features_activate_what_cargo_activates() {
        let linux = Some("x86_64-unknown-linux-gnu");
        assert_eq!(needs(&[], linux), ["plain 2 x"]);
        assert_eq!(needs(&[], None), ["plain 2 x", "really 1 default"]);
        assert_eq!(needs(&["default"], linux), ["plain 2 std+x"], "a weak feature turns nothing on");
        assert_eq!(needs(&["loop"], linux), ["implicit 1 default", "plain 2 x"]);
        assert_eq!(
            needs(&["modern", "std"], linux),
            ["hidden 1 default", "weak 1 default+extra+std", "plain 2 std+x"]
        );
        assert_eq!(needs(&["no-such"], linux), ["plain 2 x"]);
        let all = manifest().all_features();
        assert_eq!(manifest().needs(&all, &[]).crates.len(), 5);
        assert!(manifest().has("implicit") && manifest().has("modern") && !manifest().has("plain"));
    }

    #[test]
    fn a_line_that_cannot_be_read_needs_nothing() {
        for line in ["", "{}", "null", "{\"deps\":null}", "{\"deps\":[{}]}", "[1]"] {
            assert!(Manifest::read(line.as_bytes()).needs(&BTreeSet::new(), &[]).crates.is_empty(), "{line}");
        }
    }
}
