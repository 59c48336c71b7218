//! Checks docs/prometheus and docs/grafana: promtool accepts them, and real programs expose what they name.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::world::World;

const RULES: &str = "docs/prometheus/alerts.yml";
const TESTS: &str = "docs/prometheus/alerts.test.yml";
const DASHBOARD: &str = "docs/grafana/mirror.json";
const PAGE: &str = "docs/prometheus.md";

/// Metrics of `download-crates` that only a run under a policy, or one that retries and fails, exposes. The tests of
/// mirror-telemetry render them.
const NOT_IN_EVERY_RUN: &[&str] = &[
    "crates_download_failures_total",
    "crates_download_held_back_releases",
    "crates_download_advisory_releases",
    "crates_download_advisories_age_seconds",
];

/// Checks rules, their tests, the dashboard and the table of metrics.
pub(super) fn check(root: &Path, world: &World) -> anyhow::Result<()> {
    promtool(root, &["check", "rules", RULES])?;
    promtool(root, &["test", "rules", TESTS])?;
    let expressions = dashboard(root)?;
    parse(&expressions, world)?;

    let exposed = names(&world.metrics()?, false);
    let mut known = exposed.clone();
    known.extend(NOT_IN_EVERY_RUN.iter().map(|name| (*name).to_owned()));
    let rules = read(root, RULES)?;
    let expected = rules.lines().filter(|line| !line.contains("description:"));
    let mut named = names(&expected.collect::<Vec<_>>().join("\n"), true);
    named.extend(names(&expressions.join("\n"), true));
    let unknown: Vec<_> = named.difference(&known).collect();
    if !unknown.is_empty() {
        bail!("rules or dashboard name metrics that no program exposes: {unknown:?}");
    }
    let page = names(&read(root, PAGE)?, true);
    let undescribed: Vec<_> = known.difference(&page).collect();
    if !undescribed.is_empty() {
        bail!("{PAGE} does not describe {undescribed:?}");
    }
    println!(
        "monitoring: promtool accepts the alerts and their tests; {} expressions of the dashboard; {} metrics exposed",
        expressions.len(),
        exposed.len()
    );
    Ok(())
}

fn read(root: &Path, path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(root.join(path)).with_context(|| format!("could not read {path}"))
}

fn promtool(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(root)
        .output()
        .context("promtool could not be started; .ci/run installs it")?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!("promtool {} fails:\n{}", arguments.join(" "), String::from_utf8_lossy(&text));
    }
    Ok(())
}

/// Returns the expressions of the dashboard; fails when a panel has none, or shares its number.
fn dashboard(root: &Path) -> anyhow::Result<Vec<String>> {
    let board: serde_json::Value = serde_json::from_str(&read(root, DASHBOARD)?)
        .with_context(|| format!("could not parse {DASHBOARD}"))?;
    let panels = board["panels"].as_array().with_context(|| format!("{DASHBOARD} has no panels"))?;
    let mut expressions = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap_or_default();
        let id = panel["id"].as_u64().with_context(|| format!("the panel {title:?} has no id"))?;
        let targets = panel["targets"].as_array().filter(|targets| !targets.is_empty());
        let targets = targets.with_context(|| format!("the panel {title:?} has no query"))?;
        if !ids.insert(id) || title.is_empty() || panel["type"].as_str().is_none() {
            bail!("the panel {id} of {DASHBOARD} has no title, no type, or the id of another");
        }
        for target in targets {
            let expression =
                target["expr"].as_str().with_context(|| format!("a query of {title:?} is empty"))?;
            expressions.push(expression.replace("$__rate_interval", "5m"));
        }
    }
    Ok(expressions)
}

/// Lets promtool parse expressions, as recording rules.
fn parse(expressions: &[String], world: &World) -> anyhow::Result<()> {
    let rules: Vec<_> = expressions
        .iter()
        .enumerate()
        .map(|(number, expression)| serde_json::json!({"record": format!("panel:{number}"), "expr": expression}))
        .collect();
    let file = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    // JSON is YAML.
    std::fs::write(world.path().join("dashboard.yml"), file.to_string())
        .context("could not write dashboard.yml")?;
    promtool(world.path(), &["check", "rules", "dashboard.yml"])
}

/// Returns the names of metrics in a text. Histograms are named without their suffixes.
fn names(text: &str, in_prose: bool) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| in_prose || !line.starts_with('#'));
    let words = lines.flat_map(|line| {
        line.split(|one: char| !(one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_'))
    });
    words
        .filter(|word| word.starts_with("crates_") && !word.ends_with('_'))
        .map(|word| {
            let ends = ["_seconds_bucket", "_seconds_sum", "_seconds_count"];
            let histogram = ends.iter().find_map(|end| word.strip_suffix(end));
            histogram.map_or_else(|| word.to_owned(), |name| format!("{name}_seconds"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_expressions_and_in_what_is_exposed() {
        let found = names("rate(crates_a_total[5m]) / crates_b_seconds_bucket{le=\"1\"} + up", true);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["crates_a_total", "crates_b_seconds"]);
        let found = names("# HELP crates_a_total text\ncrates_c{x=\"y\"} 1\n", false);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["crates_c"]);
    }
}
