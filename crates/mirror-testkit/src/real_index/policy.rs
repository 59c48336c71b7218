//! What a dry run under a policy counts, compared with what Python counts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::python;
use crate::program::Ended;
use crate::site::put;

const SCRIPT: &str = include_str!("policy.py");

/// A policy, and flags that choose what it judges.
#[derive(Debug, Clone, Copy)]
pub struct PolicyCase {
    /// The name of the case.
    pub name: &'static str,
    /// The policy file. `{age}` stands for the days since the beginning of 2018.
    pub policy: &'static str,
    /// Flags of the selection, each with its value.
    pub flags: &'static [(&'static str, &'static str)],
    /// The rules that hold something back in an index whose releases have publication times.
    pub rules: &'static [&'static str],
}

const YANKED: (&str, &str) = ("--include-yanked", "true");

/// Rules and flags, alone and combined.
pub const POLICY_CASES: [PolicyCase; 11] = [
    PolicyCase { name: "no rule", policy: "", flags: &[YANKED], rules: &[] },
    PolicyCase {
        name: "an age",
        policy: "min-publish-age = \"{age} days\"",
        flags: &[YANKED],
        rules: &["min-publish-age"],
    },
    PolicyCase {
        name: "an allowed name",
        policy: "allow = [\"SERDE\"]",
        flags: &[YANKED],
        rules: &["allow"],
    },
    PolicyCase {
        name: "allowed patterns and versions",
        policy: "allow = [\"tokio-*\", \"r[a-e]*\", \"serde@^1\", \"libc@>=0.2.40, <0.2.60\", \"*sys@=0.3\"]",
        flags: &[YANKED],
        rules: &["allow"],
    },
    PolicyCase {
        name: "denied names, patterns and versions",
        policy: "deny = [\"rand@<0.5\", \"Crossbeam_*\", \"??\", \"*@<0.1\", \"syn@^0.15\"]",
        flags: &[YANKED],
        rules: &["deny"],
    },
    PolicyCase {
        name: "every rule",
        policy: "deny = [\"*-sys\", \"rand@<0.4\"]\nallow = [\"[a-r]*\", \"syn@>=0.11\", \"tokio*\"]\nyanked = \"deny\"\n\
                 min-publish-age = \"{age} days\"\nnewest = 2",
        flags: &[YANKED],
        rules: &["deny", "allow", "yanked", "min-publish-age", "newest"],
    },
    PolicyCase { name: "the newest version", policy: "newest = 1", flags: &[YANKED], rules: &["newest"] },
    PolicyCase {
        name: "a selection by name, without yanked ones",
        policy: "deny = [\"*@<0.2\"]\nmin-publish-age = \"{age} days\"",
        flags: &[("--crates", "s*,tokio*,rand"), ("--exclude", "serde,*-derive")],
        rules: &["deny", "min-publish-age"],
    },
    PolicyCase {
        name: "the registry of a date",
        policy: "min-publish-age = \"{age} days\"\ndeny = [\"f*\"]",
        flags: &[YANKED, ("--as-of", "2018-06-30")],
        rules: &["deny", "min-publish-age"],
    },
    PolicyCase {
        name: "the newest versions of a date",
        policy: "allow = [\"[a-m]*\"]",
        flags: &[("--as-of", "2017-12-31"), ("--latest", "1")],
        rules: &["allow"],
    },
    PolicyCase {
        name: "the newest versions, by an age",
        policy: "min-publish-age = \"{age} days\"",
        flags: &[("--latest", "2")],
        rules: &["min-publish-age"],
    },
];

/// The counts of a dry run under a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct PolicyCounts {
    /// Selected releases.
    pub selected: u64,
    /// Those that would be fetched.
    pub would_fetch: u64,
    /// Yanked releases that are left out.
    pub yanked_skipped: u64,
    /// Releases that are left out because nothing says when they were published.
    pub undated: u64,
    /// Deferred releases, by rule.
    pub deferred: BTreeMap<String, u64>,
}

impl PolicyCounts {
    /// Reads the summary of a dry run.
    #[must_use]
    pub fn of_summary(ended: &Ended) -> Self {
        // Lines of zeros are left out.
        let count = |name: &str| {
            let is_line = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '));
            if ended.stdout.lines().any(is_line) { ended.count(name) } else { 0 }
        };
        let by_rule = ended.stdout.lines().find_map(|line| {
            let (_, rules) = line.strip_prefix("deferred ")?.split_once("being fetched: ")?;
            rules.strip_suffix(')')
        });
        let deferred = by_rule.into_iter().flat_map(|rules| rules.split(", ")).filter_map(|part| {
            let (releases, rule) = part.split_once(' ')?;
            Some((rule.to_owned(), releases.parse().ok()?))
        });
        Self {
            selected: count("selected"),
            would_fetch: count("would fetch"),
            yanked_skipped: count("yanked, skipped"),
            undated: count("undated, skipped"),
            deferred: deferred.collect(),
        }
    }
}

/// Writes a copy of an index directory in which nearly every release has a publication time from 2015 to 2019, which
/// follows from its name and version. Returns the number of lines with one.
///
/// # Errors
/// The output of Python when it failed.
pub fn date_index(index: &Path, out: &Path) -> Result<u64, String> {
    let said = python(SCRIPT, &["date".as_ref(), index.as_os_str(), out.as_os_str()])?;
    said.trim().parse().map_err(|error| format!("{error} in {said}"))
}

/// Has `run` do the dry run of a case, with the policy file and the flags that it is given, and compares its counts with
/// those of Python. `index` is the directory of the index, and `policy` the path at which the policy is written. Returns
/// the counts.
///
/// # Errors
/// What differs, or the output of Python when it failed.
///
/// # Panics
/// When the disk refuses.
pub fn check_policy(
    case: &PolicyCase,
    index: &Path,
    policy: &Path,
    run: &mut dyn FnMut(&[String]) -> Result<Ended, String>,
) -> Result<PolicyCounts, String> {
    /// The first second of 2018.
    const SINCE: Duration = Duration::from_secs(1_514_764_800);
    let age_days =
        SystemTime::now().duration_since(UNIX_EPOCH + SINCE).unwrap_or_default().as_secs() / 86_400;
    put(policy, case.policy.replace("{age}", &age_days.to_string()).as_bytes());
    let shown = policy.to_str().ok_or("the path of the policy is not UTF-8")?;
    let mut flags = vec!["--policy".to_owned(), shown.to_owned()];
    flags.extend(case.flags.iter().map(|(flag, value)| format!("{flag}={value}")));
    loop {
        let before = count(case, index, policy)?;
        let found = PolicyCounts::of_summary(&run(&flags)?);
        let answered = found.would_fetch + found.deferred.values().sum::<u64>();
        if found == before && found.selected == answered {
            return Ok(found);
        }
        // The clock may have passed the moment at which a release is old enough.
        if before == count(case, index, policy)? {
            return Err(format!("{}: {found:?} instead of {before:?}", case.name));
        }
    }
}

/// Counts with Python, by the clock of this moment.
fn count(case: &PolicyCase, index: &Path, policy: &Path) -> Result<PolicyCounts, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64().to_string();
    let mut arguments: Vec<OsString> = vec!["count".into(), index.into(), policy.into(), now.into()];
    for (flag, value) in case.flags {
        arguments.extend([OsString::from(flag), OsString::from(value)]);
    }
    let arguments: Vec<_> = arguments.iter().map(OsString::as_os_str).collect();
    let said = python(SCRIPT, &arguments)?;
    serde_json::from_str(&said).map_err(|error| format!("{error} in {said}"))
}
