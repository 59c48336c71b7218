use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mirror_types::{CrateName, IndexRecord, ReleaseId};
use semver::{Version, VersionReq};
use serde::Deserialize;

use crate::record::{IndexFile, IndexLimits, LineFault, parse_file};
use crate::selection::Selection;

/// Everything that could satisfy a dependency of what a selection begins with: every version that
/// matches a requirement, normal and build dependencies, optional and target-specific ones
/// included, transitively. A state machine without I/O: ask [`Closure::next_needed`], answer with
/// [`Closure::provide`], until nothing is needed.
#[derive(Debug)]
pub struct Closure {
    selection: Selection,
    roots: HashSet<String>,
    asked: HashSet<String>,
    needed: Vec<CrateName>,
    files: HashMap<String, Crate>,
    /// Requirements on crates that were not provided yet, by canonical name.
    waiting: HashMap<String, BTreeSet<String>>,
    done: HashSet<(String, String)>,
    chosen: BTreeMap<CrateName, Vec<IndexRecord>>,
}

#[derive(Debug, Default)]
struct Crate {
    releases: Vec<Release>,
}

#[derive(Debug)]
struct Release {
    record: IndexRecord,
    version: Option<Version>,
    deps: Vec<(CrateName, String)>,
    chosen: bool,
}

#[derive(Deserialize)]
struct Deps {
    #[serde(default)]
    deps: Vec<Dep>,
    vers: String,
}

#[derive(Deserialize)]
struct Dep {
    name: String,
    req: String,
    kind: Option<String>,
    registry: Option<String>,
    package: Option<String>,
}

impl Closure {
    /// Begins with what `selection` takes of the crates that it names.
    #[must_use]
    pub fn new(selection: Selection) -> Self {
        let mut names = match &selection.locked {
            Some(locked) => locked.names(),
            None => selection.include.exact_names().unwrap_or_default(),
        };
        names.retain(|name| selection.wants_crate(name));
        let roots: HashSet<String> = names.iter().map(CrateName::canonical).collect();
        Self {
            selection,
            asked: roots.clone(),
            roots,
            needed: names,
            files: HashMap::new(),
            waiting: HashMap::new(),
            done: HashSet::new(),
            chosen: BTreeMap::new(),
        }
    }

    /// Crates whose index file must be provided now; each is asked for once.
    pub fn next_needed(&mut self) -> Vec<CrateName> {
        std::mem::take(&mut self.needed)
    }

    /// Takes the index file of a crate; `None` when there is none.
    pub fn provide(
        &mut self,
        name: &CrateName,
        file: Option<IndexFile>,
        limits: &IndexLimits,
        faults: &mut dyn FnMut(LineFault),
    ) {
        let key = name.canonical();
        let Some(file) = file else { return };
        let records = parse_file(&file.path, &file.data, limits, faults);
        let mut deps = dependencies(&file);
        let releases = records
            .iter()
            .map(|record| Release {
                version: Version::parse(record.id.version.as_str()).ok(),
                deps: deps.remove(record.id.version.as_str()).unwrap_or_default(),
                record: record.clone(),
                chosen: false,
            })
            .collect();
        self.files.insert(key.clone(), Crate { releases });
        let mut work = Vec::new();
        if self.roots.contains(&key) {
            let wanted: HashSet<ReleaseId> =
                self.selection.select(records).records.into_iter().map(|record| record.id).collect();
            self.choose(&key, |release| wanted.contains(&release.record.id), &mut work);
        }
        for req in self.waiting.remove(&key).unwrap_or_default() {
            self.require(&key, &req, &mut work);
        }
        while let Some((name, req)) = work.pop() {
            let key = name.canonical();
            if self.selection.exclude.matches(&name) {
                continue;
            }
            if self.files.contains_key(&key) {
                self.require(&key, &req, &mut work);
            } else {
                if self.asked.insert(key.clone()) {
                    self.needed.push(name);
                }
                self.waiting.entry(key).or_default().insert(req);
            }
        }
    }

    fn require(&mut self, key: &str, req: &str, work: &mut Vec<(CrateName, String)>) {
        if !self.done.insert((key.to_owned(), req.to_owned())) {
            return;
        }
        let Ok(req) = VersionReq::parse(req) else { return };
        let yanked = self.selection.include_yanked;
        let fits = |release: &Release| {
            (yanked || !release.record.yanked)
                && release.version.as_ref().is_some_and(|version| req.matches(version))
        };
        // With `--latest N` the newest N that fit each requirement, not every one.
        let oldest = match (self.selection.latest, self.files.get(key)) {
            (1.., Some(found)) => {
                let fitting = found.releases.iter().filter(|release| fits(release));
                let mut versions: Vec<_> = fitting.filter_map(|release| release.version.clone()).collect();
                versions.sort_by(|a, b| b.cmp(a));
                versions.truncate(self.selection.latest);
                versions.pop()
            }
            _ => None,
        };
        self.choose(key, |release| fits(release) && release.version >= oldest, work);
    }

    fn choose(&mut self, key: &str, wanted: impl Fn(&Release) -> bool, work: &mut Vec<(CrateName, String)>) {
        let Some(releases) = self.files.get_mut(key).map(|found| &mut found.releases) else { return };
        for release in releases.iter_mut().filter(|release| !release.chosen && wanted(release)) {
            release.chosen = true;
            work.append(&mut release.deps);
            self.chosen.entry(release.record.id.name.clone()).or_default().push(release.record.clone());
        }
    }

    /// What was chosen, by crate, in order.
    #[must_use]
    pub fn finish(self) -> Vec<Vec<IndexRecord>> {
        self.chosen
            .into_values()
            .map(|mut records| {
                records.sort_by(|a, b| a.id.cmp(&b.id));
                records
            })
            .collect()
    }
}

/// Normal and build dependencies in the same registry, by version text.
fn dependencies(file: &IndexFile) -> HashMap<String, Vec<(CrateName, String)>> {
    file.data
        .split(|&b| b == b'\n')
        .filter_map(|line| serde_json::from_slice::<Deps>(line).ok())
        .map(|release| {
            let deps = release
                .deps
                .into_iter()
                .filter(|dep| dep.kind.as_deref() != Some("dev") && dep.registry.is_none())
                .filter_map(|dep| {
                    Some((CrateName::new(dep.package.as_ref().unwrap_or(&dep.name)).ok()?, dep.req))
                })
                .collect();
            (release.vers, deps)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::NameSet;

    fn line(name: &str, vers: &str, yanked: bool, deps: &str) -> String {
        let sum = "ab".repeat(32);
        format!(
            "{{\"name\":\"{name}\",\"vers\":\"{vers}\",\"deps\":[{deps}],\"cksum\":\"{sum}\",\"yanked\":{yanked}}}\n"
        )
    }

    fn dep(name: &str, req: &str, kind: &str, more: &str) -> String {
        format!("{{\"name\":\"{name}\",\"req\":\"{req}\",\"kind\":\"{kind}\"{more}}}")
    }

    #[test]
    fn everything_that_could_satisfy_is_chosen() {
        let top = [
            dep("renamed", "^1", "normal", ",\"package\":\"Leaf\",\"optional\":true"),
            dep("tests", "*", "dev", ""),
            dep("far", "*", "normal", ",\"registry\":\"https://other/\""),
            dep("helper", "1", "build", ""),
        ]
        .join(",");
        let index = HashMap::from([
            ("top", line("top", "1.0.0", false, &top) + &line("top", "2.0.0", true, "")),
            (
                "leaf",
                line("Leaf", "1.0.0", false, "")
                    + &line("Leaf", "1.5.0", false, "")
                    + &line("Leaf", "1.6.0", true, "")
                    + &line("Leaf", "2.0.0", false, ""),
            ),
            ("helper", line("helper", "1.1.0", false, &dep("top", "1", "normal", ""))),
        ]);
        let include = NameSet::parse(&["top".into()]).expect("names");
        let mut closure = Closure::new(Selection { include, ..Selection::default() });
        let mut asked = Vec::new();
        loop {
            let names = closure.next_needed();
            if names.is_empty() {
                break;
            }
            for name in names {
                let key = name.as_str().to_ascii_lowercase();
                let path = mirror_types::index_path(&name);
                let data = index.get(key.as_str()).map(|text| text.clone().into_bytes());
                asked.push(key);
                let file = data.map(|data| IndexFile { path, data });
                closure.provide(&name, file, &IndexLimits::default(), &mut |fault| panic!("{fault}"));
            }
        }
        asked.sort();
        assert_eq!(asked, ["helper", "leaf", "top"]);
        let ids: Vec<_> =
            closure.finish().into_iter().flatten().map(|record| record.id.to_string()).collect();
        assert_eq!(ids, ["Leaf 1.0.0", "Leaf 1.5.0", "helper 1.1.0", "top 1.0.0"]);
    }
}
