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

/// The dependencies of a release that are followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Follow<'t> {
    /// Those of these targets; none means those of all targets.
    pub(crate) targets: &'t [Target],
    /// Also those for tests.
    pub(crate) dev: bool,
}

/// The dependencies of a release that are not followed, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Optional ones that no feature turns on.
    pub(crate) optional: u64,
    /// Those of other targets.
    pub(crate) other_targets: u64,
    /// Those for tests.
    pub(crate) dev: u64,
}

/// The fate of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Followed,
    ForTests,
    Optional,
    OfAnotherTarget,
}

/// The feature that is active unless it is declined.
pub(crate) const DEFAULT: &str = "default";

impl Manifest {
    /// Reads a line; an unreadable one has no dependencies.
    pub(crate) fn read(line: &[u8]) -> Self {
        Self(Requirements::read(line).unwrap_or_default())
    }

    fn deps(&self) -> impl Iterator<Item = &Dependency> {
        self.0.deps.iter().flatten()
    }

    /// Returns the optional dependencies; those for tests never are.
    fn optional_deps(&self) -> impl Iterator<Item = &Dependency> {
        self.deps().filter(|dep| dep.is_optional() && !dep.is_for_development())
    }

    fn is_optional(&self, name: &str) -> bool {
        self.optional_deps().any(|dep| dep.name == name)
    }

    /// Returns whether a dependent may request this feature.
    pub(crate) fn has(&self, feature: &str) -> bool {
        feature == DEFAULT || self.0.feature(feature).is_some() || self.is_optional(feature)
    }

    /// Returns all of its features, optional dependencies among them.
    pub(crate) fn all_features(&self) -> BTreeSet<String> {
        let optional = self.optional_deps().map(|dep| dep.name.as_str());
        self.0.feature_names().chain(optional).chain([DEFAULT]).map(str::to_owned).collect()
    }

    /// Returns the needs with `features`.
    pub(crate) fn needs(&self, features: &BTreeSet<String>, follow: Follow<'_>) -> Needs {
        let active = self.activate(features);
        let mut needs = Needs::default();
        for dep in self.deps().filter(|dep| active.fate(dep, follow) == Fate::Followed) {
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

    /// Counts the dependencies that are not followed with `features`.
    pub(crate) fn left_out(&self, features: &BTreeSet<String>, follow: Follow<'_>) -> LeftOut {
        let active = self.activate(features);
        let mut left_out = LeftOut::default();
        for dep in self.deps() {
            match active.fate(dep, follow) {
                Fate::Followed => {}
                Fate::ForTests => left_out.dev += 1,
                Fate::Optional => left_out.optional += 1,
                Fate::OfAnotherTarget => left_out.other_targets += 1,
            }
        }
        left_out
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

impl Active<'_> {
    fn fate(&self, dep: &Dependency, follow: Follow<'_>) -> Fate {
        let is_here = |platform: &String| {
            follow.targets.is_empty() || follow.targets.iter().any(|target| target.may_match(platform))
        };
        if dep.is_for_development() && !follow.dev {
            Fate::ForTests
        } else if dep.is_optional() && !self.dependencies.contains(dep.name.as_str()) {
            Fate::Optional
        } else if !dep.target.as_ref().is_none_or(is_here) {
            Fate::OfAnotherTarget
        } else {
            Fate::Followed
        }
    }
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
        let needs = manifest().needs(&features, Follow { targets: &targets, dev: false });
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
        assert_eq!(manifest().needs(&all, Follow { targets: &[], dev: false }).crates.len(), 5);
        assert!(manifest().has("implicit") && manifest().has("modern") && !manifest().has("plain"));
    }

    #[test]
    fn what_is_left_out_is_counted_once_by_its_first_reason() {
        let linux: [Target; 1] = ["x86_64-unknown-linux-gnu".parse().expect("target")];
        let counted = |features: &[&str], targets: &[Target], dev| {
            let features = features.iter().map(|feature| (*feature).to_owned()).collect();
            let follow = Follow { targets, dev };
            let LeftOut { optional, other_targets, dev } = manifest().left_out(&features, follow);
            let followed = manifest().needs(&features, follow).crates.len() as u64;
            // One of the seven is in another registry.
            assert_eq!(followed + optional + other_targets + dev, 6);
            (optional, other_targets, dev)
        };
        assert_eq!(counted(&[], &linux, false), (3, 1, 1));
        assert_eq!(counted(&["loop"], &[], false), (2, 0, 1));
        assert_eq!(counted(&["loop", "modern"], &linux, true), (0, 1, 0));
    }

    #[test]
    fn a_line_that_cannot_be_read_needs_nothing() {
        for line in ["", "{}", "null", "{\"deps\":null}", "{\"deps\":[{}]}", "[1]"] {
            let follow = Follow { targets: &[], dev: true };
            assert!(
                Manifest::read(line.as_bytes()).needs(&BTreeSet::new(), follow).crates.is_empty(),
                "{line}"
            );
        }
    }
}
