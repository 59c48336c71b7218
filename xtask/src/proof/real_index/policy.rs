//! Dry runs under policies, over the index as it is and over a copy with publication times.

use std::time::Instant;

use anyhow::ensure;
use mirror_testkit::{POLICY_CASES, PolicyCounts, check_policy, date_index};

use super::world::{CHECKOUT, World, print_row};

/// The copy of the index whose releases have publication times.
const DATED: &str = "dated";

pub(super) fn run(world: &World) -> anyhow::Result<()> {
    let began = Instant::now();
    let lines = date_index(&world.path(CHECKOUT), &world.path(DATED)).map_err(anyhow::Error::msg)?;
    print_row("publication times", &format!("{lines} lines got one"), began);
    for index in [CHECKOUT, DATED] {
        for case in &POLICY_CASES {
            let began = Instant::now();
            let mut dry_run = |flags: &[String]| {
                let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
                let dry = ["--dry-run", "--offline", "--out", "none", "--index-dir", index];
                world.download(&[&dry[..], &flags].concat()).map_err(|error| format!("{error:#}"))
            };
            let counts = check_policy(case, &world.path(index), &world.path("policy.toml"), &mut dry_run)
                .map_err(anyhow::Error::msg)?;
            if index == DATED {
                let held_back: Vec<&str> = counts.deferred.keys().map(String::as_str).collect();
                ensure!(
                    held_back.len() == case.rules.len()
                        && case.rules.iter().all(|rule| held_back.contains(rule)),
                    "{}: the rules {held_back:?} held something back instead of {:?}",
                    case.name,
                    case.rules
                );
            }
            print_row(&format!("policy, {index}"), &format!("{}: {}", case.name, described(&counts)), began);
        }
    }
    Ok(())
}

fn described(counts: &PolicyCounts) -> String {
    let deferred: Vec<String> =
        counts.deferred.iter().map(|(rule, releases)| format!("{releases} {rule}")).collect();
    format!("{} of {} releases; deferred: {}", counts.would_fetch, counts.selected, deferred.join(", "))
}
